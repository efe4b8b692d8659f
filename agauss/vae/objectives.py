"""What a VAE is trained on and judged by: the evidence lower bound, and changes to its KL.

All values are for one datum, in nats: sums over pixels and latents were made before, and means over data come after
(docs/sum-or-mean.md).
"""

from __future__ import annotations  # help() shows them as they are written

from typing import Any, Literal

from agauss.arrays import Operands, operands
from agauss.backends.protocol import Shape
from agauss.typing import Array, Number
from agauss.vae.arguments import (
    as_array,
    computing,
    not_negative,
    of_their_dtype,
    one_of,
    pulled,
    shaped,
    trailing,
    whole,
    wide,
)

__all__ = ["elbo", "elbo_vjp", "free_bits", "free_bits_vjp", "kl_capacity", "kl_capacity_vjp"]


def elbo(log_likelihood: Array | Number, kl: Array | Number, *, beta: Array | Number = 1.0) -> Array:
    """Evidence lower bound of each datum: ``log_likelihood - beta * kl``.

    With a beta of 1 its expectation is at most log p(x). With a larger one it is a looser bound, and with a smaller one
    no bound at all.

    Parameters
    ----------
    log_likelihood : array or number
        log p(x | z), summed over pixels: shape (B,), say. A mean over samples of z first, if there are several.
    kl : array or number
        The KL of q(z | x) from the prior, summed over latents.
    beta : array or number
        The KL's weight, not negative: a schedule's value, say. Arrays are not checked.

    Returns
    -------
    array, of the shape that the arguments broadcast to
        In nats, float32 or wider. NaN where beta is 0 and kl is inf.

    Raises
    ------
    TypeError, ValueError
        As ``help(agauss)`` says; for a negative beta.

    References
    ----------
    Kingma and Welling, "Auto-encoding variational Bayes", 2014; Higgins et al., "beta-VAE", 2017.

    Examples
    --------
    >>> import numpy as np
    >>> from agauss import vae
    >>> vae.elbo(np.array([-90.0, -80.0]), np.array([10.0, 20.0]), beta=0.5)
    array([-95., -90.])
    """
    given = _terms(log_likelihood, kl, beta)
    with computing(given):
        fit, divergence, weight = wide(given)
        return as_array(given, fit - weight * divergence)


def elbo_vjp(
    log_likelihood: Array | Number, kl: Array | Number, *, cotangent: Array | Number, beta: Array | Number = 1.0
) -> tuple[Array, Array]:
    """Gradients of ``elbo`` with respect to log_likelihood, 1, and kl, -beta, times the cotangent of its value.

    Examples
    --------
    >>> import numpy as np
    >>> from agauss import vae
    >>> vae.elbo_vjp(np.array([-90.0]), np.array([10.0]), cotangent=1.0, beta=4.0)
    (array([1.]), array([-4.]))
    """
    given = _terms(log_likelihood, kl, beta)
    with computing(given) as xp:
        g = xp.broadcast_to(pulled(cotangent, given.shape, given), given.shape)
        return shaped(given, g, given.arrays[0]), shaped(given, -wide(given)[2] * g, given.arrays[1])


def _terms(log_likelihood: Any, kl: Any, beta: Any) -> Operands:
    not_negative("beta", beta)
    return operands(("log_likelihood", "kl", "beta"), (log_likelihood, kl, of_their_dtype(beta, log_likelihood, kl)))


def kl_capacity(kl: Array | Number, capacity: Array | Number) -> Array:
    """How far the KL is from the capacity that it is to have: ``abs(kl - capacity)``.

    It takes the KL's place in ``elbo``, with a beta of some 100 or 1000, while a schedule raises the capacity.

    Parameters
    ----------
    kl : array or number
        The KL of each datum, summed over latents.
    capacity : array or number
        In nats, not negative: a schedule's value, say. Arrays are not checked.

    Returns
    -------
    array, of the shape that the arguments broadcast to
        In nats, float32 or wider.

    Raises
    ------
    TypeError, ValueError
        As ``help(agauss)`` says; for a negative capacity.

    References
    ----------
    Burgess et al., "Understanding disentangling in beta-VAE", 2018, equation 8.

    Examples
    --------
    >>> import numpy as np
    >>> from agauss import vae
    >>> vae.kl_capacity(np.array([3.0, 12.0]), 10.0)
    array([7., 2.])
    """
    given = _kl_and_capacity(kl, capacity)
    with computing(given) as xp:
        divergence, wanted = wide(given)
        return as_array(given, xp.abs(divergence - wanted))


def kl_capacity_vjp(kl: Array | Number, capacity: Array | Number, *, cotangent: Array | Number) -> tuple[Array]:
    """The gradient of ``kl_capacity`` with respect to kl, times the cotangent of its value.

    1 above the capacity, -1 below, and 0 where the KL has it.

    Examples
    --------
    >>> import numpy as np
    >>> from agauss import vae
    >>> vae.kl_capacity_vjp(np.array([3.0, 12.0]), 10.0, cotangent=1.0)
    (array([-1.,  1.]),)
    """
    given = _kl_and_capacity(kl, capacity)
    with computing(given) as xp:
        divergence, wanted = wide(given)
        slope = xp.sign(divergence - wanted) * pulled(cotangent, given.shape, given)
        return (shaped(given, slope, given.arrays[0]),)


def _kl_and_capacity(kl: Any, capacity: Any) -> Operands:
    not_negative("capacity", capacity)
    return operands(("kl", "capacity"), (kl, of_their_dtype(capacity, kl)))


def free_bits(
    kl_per_latent: Array,
    floor: Array | Number,
    *,
    over: Literal["batch", "sample"] = "batch",
    groups: int | None = None,
) -> tuple[Array, Array]:
    """The KL with a floor beneath each group of latents, and the KL without it: what is trained, and what is reported.

    ``over="batch"`` is Kingma et al. (2016): the mean over the batch, then the maximum of it and the floor for each
    group, then the sum. ``over="sample"`` has the maximum for each datum, as World Models and DreamerV3 do. Below its
    floor a group has no gradient, so it costs nothing to use. Report the second value: the first is not a KL.

    Parameters
    ----------
    kl_per_latent : array, shape (B, C, ...)
        Of each element: ``agauss.kl(..., axis=())``. Shape (B,) is one latent.
    floor : number, or array without dimensions
        For each group, in nats, not negative. Arrays are not checked.
    over : "batch" or "sample"
    groups : int, optional
        Into how many groups of adjacent channels axis 1 is cut. By default each channel is one over the batch, and the
        whole latent is one over a sample.

    Returns
    -------
    trained, reported : array
        In nats for each datum, float32 or wider. Without dimensions over the batch, and of shape (B,) over samples.

    Raises
    ------
    TypeError, ValueError
        As ``help(agauss)`` says; for a negative floor, no samples, and groups that do not divide the channels.

    References
    ----------
    Kingma et al., "Improved variational inference with inverse autoregressive flow", 2016, appendix C.8; Ha and
    Schmidhuber, "World models", 2018; Hafner et al., "Mastering diverse domains through world models", 2023.

    Examples
    --------
    >>> import numpy as np
    >>> from agauss import vae
    >>> kl = np.array([[0.0, 1.0], [0.2, 3.0]])
    >>> trained, reported = vae.free_bits(kl, 0.5)
    >>> print(f"{trained:.2f} {reported:.2f}")
    2.50 2.10
    >>> vae.free_bits(kl, 1.5, over="sample")[0]
    array([1.5, 3.2])
    """
    given, parts, _ = _groups(kl_per_latent, floor, over, groups)
    least = wide(given)[1]
    with computing(given) as xp:
        trained = as_array(given, xp.sum(xp.where(parts >= least, parts, least), axis=-1, dtype=given.wide))
        return trained, as_array(given, xp.sum(parts, axis=-1, dtype=given.wide))


def free_bits_vjp(
    kl_per_latent: Array,
    floor: Array | Number,
    *,
    cotangent: Array | Number,
    over: Literal["batch", "sample"] = "batch",
    groups: int | None = None,
) -> tuple[Array]:
    """The gradient of what ``free_bits`` trains with respect to kl_per_latent, times the cotangent of that value.

    It is 0 in groups under the floor. On it, and above, it is 1, or 1 / B over the batch.

    Examples
    --------
    >>> import numpy as np
    >>> from agauss import vae
    >>> vae.free_bits_vjp(np.array([[0.0, 1.0], [0.2, 3.0]]), 0.5, cotangent=1.0)
    (array([[0. , 0.5],
           [0. , 0.5]]),)
    """
    given, parts, split = _groups(kl_per_latent, floor, over, groups)
    least = wide(given)[1]
    with computing(given) as xp:
        g = pulled(cotangent, tuple(parts.shape[:-1]), given)[..., None]
        if over == "batch":
            g = g / given.shape[0]
        slope = xp.broadcast_to(xp.where(parts >= least, g, xp.zeros_like(g))[..., None], split)
        slope = trailing(xp, xp.reshape(slope, given.shape[:2]), len(given.shape))
        return (shaped(given, xp.broadcast_to(slope, given.shape), given.arrays[0]),)


def _groups(kl: Any, floor: Any, over: str, groups: int | None) -> tuple[Operands, Any, Shape]:
    """The KL of each group, of the batch's mean or of each datum, and the shape (B, groups, channels of one)."""
    one_of("over", over, ("batch", "sample"))
    not_negative("floor", floor)
    given = operands(("kl_per_latent", "floor"), (kl, of_their_dtype(floor, kl)))
    shape = tuple(given.arrays[0].shape)
    if given.arrays[1].shape != ():
        raise ValueError(f"floor must be one number; got shape {tuple(given.arrays[1].shape)}")
    if not shape or shape[0] == 0:
        raise ValueError(f"kl_per_latent must have at least 1 sample along its first axis; got shape {shape}")
    channels = shape[1] if len(shape) > 1 else 1
    count = whole("groups", groups, 1) if groups is not None else channels if over == "batch" else 1
    if count and channels % count:
        raise ValueError(f"groups must divide the {channels} channels along axis 1; got {count}")
    split = shape[0], count, channels // max(1, count)
    with computing(given) as xp:
        parts = xp.sum(wide(given)[0], axis=tuple(range(2, len(shape))), dtype=given.library.widest)
        parts = xp.sum(xp.reshape(parts, split), axis=-1)
        if over == "batch":
            parts = xp.mean(parts, axis=0)
        return given, xp.astype(parts, given.wide), split
