"""The product of several posteriors of one latent."""

from __future__ import annotations  # help() shows them as they are written

from collections.abc import Sequence
from typing import Any

from agauss.arrays import Operands, library_of, operands
from agauss.typing import Array, Number
from agauss.vae.arguments import as_array, computing, pair, pulled, shaped, wide

__all__ = ["product_of_experts", "product_of_experts_vjp"]


def product_of_experts(
    means: Sequence[Array | Number] | Array, logvars: Sequence[Array | Number] | Array, *, prior: bool = True
) -> tuple[Array, Array]:
    """The normalised product of Gaussians, one for each expert: a multimodal VAE's joint posterior.

    Its precision is the sum of the experts' precisions, and its mean their means' average, weighted by precision.
    Precisions are taken in units of the largest, so that nothing overflows.

    Parameters
    ----------
    means, logvars : sequences of arrays or numbers
        One for each expert, which broadcast. In an array, experts are along the first axis.
    prior : bool
        Whether the standard normal is one more expert.

    Returns
    -------
    mean, logvar : array, of the experts' dtype
        A logvar of inf takes an expert out, as where its modality is missing. One of -inf decides alone.

    Raises
    ------
    TypeError, ValueError
        As ``help(agauss)`` says; for no experts, and where means and logvars are not equally many.

    References
    ----------
    Hinton, "Training products of experts by minimizing contrastive divergence", 2002; Wu and Goodman, "Multimodal
    generative models for scalable weakly-supervised learning", 2018.

    Examples
    --------
    >>> import numpy as np
    >>> from agauss import vae
    >>> mean, logvar = vae.product_of_experts([np.array([1.0]), np.array([3.0])], [0.0, 0.0], prior=False)
    >>> mean, np.exp(logvar)
    (array([2.]), array([0.5]))
    """
    given, _ = _experts(means, logvars, prior)
    with computing(given) as xp:
        mean, logvar, _ = _product(xp, given)
        return tuple(as_array(given, xp.astype(a, given.dtype)) for a in (mean, logvar))


def product_of_experts_vjp(
    means: Sequence[Array | Number] | Array,
    logvars: Sequence[Array | Number] | Array,
    *,
    cotangent: tuple[Array | Number, Array | Number],
    prior: bool = True,
) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
    """Gradients of ``product_of_experts`` with respect to each mean and logvar, times the cotangents of its values.

    With an expert's share w of the precision they are w, and for logvar w (mean of the product - its mean) from the
    mean and w from the log-variance.

    Examples
    --------
    >>> from agauss import vae
    >>> d_means, d_logvars = vae.product_of_experts_vjp([1.0, 3.0], [0.0, 0.0], cotangent=(1.0, 0.0), prior=False)
    >>> [float(g) for g in (*d_means, *d_logvars)]
    [0.5, 0.5, 0.5, -0.5]
    """
    given, count = _experts(means, logvars, prior)
    d_mean, d_logvar = pair(cotangent, "d_mean, d_logvar")
    g_mean = pulled(d_mean, given.shape, given, "cotangent d_mean", given.dtype)
    g_logvar = pulled(d_logvar, given.shape, given, "cotangent d_logvar", given.dtype)
    with computing(given) as xp:
        mean, _, shares = _product(xp, given)
        by_mean, by_logvar = [], []
        for own, share, of_mean, of_logvar in zip(
            wide(given)[::2], shares, given.arrays[::2], given.arrays[1::2], strict=True
        ):
            by_mean.append(shaped(given, share * g_mean, of_mean))
            by_logvar.append(shaped(given, share * (g_mean * (mean - own) + g_logvar), of_logvar))
        return tuple(by_mean[:count]), tuple(by_logvar[:count])


def _experts(means: Any, logvars: Any, prior: bool) -> tuple[Operands, int]:
    """The mean and the logvar of each expert in turn, the prior's last, and how many experts there are without it."""
    count, logvar_count = _count("means", means), _count("logvars", logvars)
    if count == 0 or logvar_count != count:
        raise ValueError(f"means and logvars must be of as many experts, at least 1; got {count} and {logvar_count}")
    names, values = [], []
    for k in range(count):
        names += [f"means[{k}]", f"logvars[{k}]"]
        values += [x[k] if isinstance(x, (list, tuple)) else x[k, ...] for x in (means, logvars)]
    if prior:
        names, values = [*names, "the prior's mean", "the prior's logvar"], [*values, 0.0, 0.0]
    return operands(names, values), count


def _count(name: str, experts: Any) -> int:
    if isinstance(experts, (list, tuple)):
        return len(experts)
    if library_of(experts) is None or not experts.shape:
        raise TypeError(f"{name} must be a list, a tuple or an array of experts; got {type(experts).__name__}")
    return int(experts.shape[0])


def _product(xp: Any, given: Operands) -> tuple[Any, Any, list[Any]]:
    """The product's mean and logvar, and each expert's share of the precision."""
    arrays = [xp.broadcast_to(a, given.shape) for a in wide(given)]
    means, logvars = arrays[::2], arrays[1::2]
    least = logvars[0]
    for logvar in logvars[1:]:
        least = xp.where(logvar < least, logvar, least)
    zero = xp.zeros_like(least)
    unit = xp.where(least == float("inf"), zero, least)
    # The most precise one differs from itself by 0, even if its variance is 0 or infinite.
    precisions = [xp.exp(xp.where(logvar == least, zero, unit - logvar)) for logvar in logvars]
    total = sum(precisions[1:], precisions[0])
    shares = [precision / total for precision in precisions]
    mean = zero
    for own, share in zip(means, shares, strict=True):
        mean = mean + share * own
    return mean, least - xp.log(total), shares
