"""Estimates of gradients with respect to a posterior's mean and log-variance, from samples of it.

docs/estimators.md compares their variances.
"""

from __future__ import annotations  # help() shows them as they are written

from math import prod
from typing import Any, Literal

from agauss import ops
from agauss.arrays import Operands, library_of, operands
from agauss.backends.protocol import Shape
from agauss.typing import Array, Number
from agauss.vae.arguments import computing, one_of, shaped, trailing, wide

__all__ = ["iwae_gradients", "score_function"]


def score_function(
    values: Array,
    z: Array,
    mean: Array | Number,
    logvar: Array | Number,
    baseline: Literal["leave-one-out"] | Array | Number | None = None,
) -> tuple[Array, Array]:
    """Gradients of the expectation of f(z) with respect to mean and logvar, from values of f alone (REINFORCE).

    The mean over samples of ``(f(z) - baseline)`` times the gradient of ``log_prob(z)``. It is unbiased, and needs no
    gradient of f. Where there is one the reparameterised gradient, ``agauss.sample_vjp``, varies far less.

    Parameters
    ----------
    values : array, shape (K, B), say
        f(z): an array of z's leading axes.
    z : array, shape (K, B, ...)
        Samples of N(mean, exp(logvar)), which are constants here. Leading axes that mean and logvar lack, or have an
        extent of 1 along, are those of samples.
    mean, logvar : array or number
    baseline : None, "leave-one-out", array or number
        What is taken off the values, and must not depend on the same sample: nothing; the mean of the other samples;
        or an array that broadcasts against the values.

    Returns
    -------
    d_mean, d_logvar : array
        Of the arguments' shapes and dtypes. Multiply the values by a cotangent for a vector-Jacobian product.

    Raises
    ------
    TypeError, ValueError
        As ``help(agauss)`` says; for values that do not fit z, and "leave-one-out" of fewer than 2 samples.

    References
    ----------
    Williams, "Simple statistical gradient-following algorithms", 1992; Kool, van Hoof and Welling, "Buy 4 REINFORCE
    samples, get a baseline for free!", 2019.

    Examples
    --------
    >>> import agauss as ag, numpy as np
    >>> from agauss import vae
    >>> z = ag.sample(np.full((100_000, 1), 3.0), 0.0, rng=1)
    >>> d_mean, _ = vae.score_function((z**2)[:, 0], z, np.array([3.0]), 0.0, "leave-one-out")
    >>> d_mean.round(1)  # of 3**2 + 1: 6
    array([6.])
    """
    given, leading = _samples_of("values", values, z, mean, logvar)
    known = operands(("values",), (values,))
    joint = operands(("mean", "logvar"), (mean, logvar)).shape
    joint = (1,) * (len(given.shape) - len(joint)) + joint
    axes = tuple(k for k, n in enumerate(given.shape[: len(leading)]) if joint[k] == 1 and n != 1)
    count = prod(leading[k] for k in axes)
    if count == 0:
        raise ValueError(f"z must have at least 1 sample; got shape {given.shape}")
    if isinstance(baseline, str):
        one_of("baseline", baseline, ("leave-one-out",))
        if count < 2:
            raise ValueError(f'baseline "leave-one-out" must have at least 2 samples; got {count}')
    elif baseline is not None:
        known = operands(("values", "baseline"), (values, baseline))
        if known.shape != leading:
            raise ValueError(f"baseline must broadcast to the values' shape {leading}; got {known.arrays[1].shape}")
    with computing(known) as xp:
        f = wide(known)[0]
        if isinstance(baseline, str):
            # Less the mean of the others: the difference from the mean of all, by K / (K - 1).
            f = (f - xp.mean(f, axis=axes, keepdims=True)) * (count / (count - 1))
        elif baseline is not None:
            f = f - wide(known)[1]
        cotangent = trailing(xp, xp.astype(f / count, given.wide), len(given.shape))
    return ops.log_prob_vjp(z, mean, logvar, cotangent=cotangent, axis=())[1:]


def iwae_gradients(
    weights: Array,
    d_z: Array,
    z: Array,
    mean: Array | Number,
    logvar: Array | Number,
    mean2: Array | Number | None = None,
    logvar2: Array | Number | None = None,
    *,
    estimator: Literal["standard", "sticking-the-landing", "doubly-reparameterised"] = "doubly-reparameterised",
) -> tuple[Array, ...]:
    """Gradients of ``iwae``'s bound with respect to the posterior's mean and logvar, and the prior's if it is given.

    The posterior's samples are ``z = mean + exp(logvar / 2) * eps``, through which every estimator differentiates.
    "standard" differentiates the density of q too. "sticking-the-landing" leaves that out: its variance is 0 where q is
    the true posterior, and it is unbiased for one sample, the ELBO, alone. "doubly-reparameterised" weighs samples by
    the squares of their weights, is unbiased for any number of them, and is the same for one.

    Parameters
    ----------
    weights : array, shape (K, B)
        ``iwae_vjp(log_weights, axis=0, cotangent=g)``: the normalised weights, times the cotangent g of the bound. Of
        z's leading axes, that of samples first.
    d_z : array, shape (K, B, ...)
        The gradient of ``sum(weights * log p(x | z))`` with respect to z. The decoder's backward pass makes it of
        ``weights``, along with the decoder's own gradients, which are final.
    z : array, shape (K, B, ...)
    mean, logvar : array or number
        Of q, as z was drawn.
    mean2, logvar2 : array or number, optional
        Of the prior; both or neither. The standard normal by default.
    estimator : "standard", "sticking-the-landing" or "doubly-reparameterised"

    Returns
    -------
    d_mean, d_logvar : array
        And d_mean2, d_logvar2 where a prior was given. Of the arguments' shapes and dtypes.

    Raises
    ------
    TypeError, ValueError
        As ``help(agauss)`` says; for weights or a d_z that do not fit z.

    References
    ----------
    Roeder, Wu and Duvenaud, "Sticking the landing", 2017; Tucker, Lawson, Gu and Maddison, "Doubly reparameterized
    gradient estimators for Monte Carlo objectives", 2019.

    Examples
    --------
    >>> import agauss as ag, numpy as np
    >>> from agauss import vae
    >>> mean, logvar, x = np.zeros((1, 2)), np.zeros((1, 2)), np.ones((1, 2))
    >>> z = ag.sample(mean, logvar, rng=7, sample_shape=5)
    >>> bound, _ = vae.iwae(ag.log_prob(x, z, 0.0, axis=-1), axis=0)  # q is the prior
    >>> (weights,) = vae.iwae_vjp(ag.log_prob(x, z, 0.0, axis=-1), axis=0, cotangent=1.0)
    >>> d_z = ag.log_prob_vjp(x, z, 0.0, cotangent=weights, axis=-1)[1]
    >>> [d.shape for d in vae.iwae_gradients(weights, d_z, z, mean, logvar)]
    [(1, 2), (1, 2)]
    """
    one_of("estimator", estimator, ("standard", "sticking-the-landing", "doubly-reparameterised"))
    if (mean2 is None) != (logvar2 is None):
        raise ValueError("mean2 and logvar2 must be given together")
    given, _ = _samples_of("weights", weights, z, mean, logvar)
    shape = tuple(operands(("d_z",), (d_z,)).arrays[0].shape)
    if shape != given.shape:
        raise ValueError(f"d_z must have the shape of z, {given.shape}; got {shape}")
    operands(("z", "d_z"), (z, d_z))
    xp = given.library.xp
    share = trailing(xp, xp.astype(weights, given.wide), len(given.shape))
    # A log-weight is log p(x | z) less the log-ratio of the densities of q and the prior.
    by_z, *by_both = ops.log_density_ratio_vjp(z, mean, logvar, mean2, logvar2, cotangent=-share, axis=())
    with computing(given):
        samples, center = wide(given)[:2]
        path = xp.astype(d_z, given.wide) + xp.astype(by_z, given.wide)
        if estimator == "doubly-reparameterised":
            path = path * _unscaled(xp, share)
        d_mean = shaped(given, path, given.arrays[1])
        d_logvar = shaped(given, path * (samples - center) / 2, given.arrays[2])
        if estimator == "standard":
            d_mean, d_logvar = d_mean + by_both[0], d_logvar + by_both[1]
    return (d_mean, d_logvar, *by_both[2:])


def _unscaled(xp: Any, share: Any) -> Any:
    """Weights that sum to 1 over the samples, from such times a cotangent; 0 where that is 0."""
    total = xp.sum(share, axis=0, keepdims=True)
    none = total == 0
    return xp.where(none, 0 * share, share / xp.where(none, total + 1, total))


def _samples_of(name: str, of: Any, z: Any, mean: Any, logvar: Any) -> tuple[Operands, Shape]:
    """z, mean and logvar, and the leading axes of z that belong to the values or weights."""
    given = operands(("z", "mean", "logvar"), (z, mean, logvar))
    found = library_of(of)
    if found is None or found.name != given.library.name:
        raise TypeError(f"{name} must be an array of {given.library.name}; got {type(of).__name__}")
    leading = tuple(of.shape)
    shape = tuple(given.arrays[0].shape)
    if shape != given.shape:
        raise ValueError(f"z must have the shape that mean and logvar broadcast to; got {shape}")
    if leading != given.shape[: len(leading)]:
        raise ValueError(f"{name} must have the leading axes of z, of shape {given.shape}; got {leading}")
    return given, leading
