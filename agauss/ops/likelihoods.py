"""How likely values are under a diagonal Gaussian, or under Bernoulli distributions."""

from __future__ import annotations  # help() shows them as they are written

from collections.abc import Sequence
from typing import Any

from agauss.execution import pull_back, value
from agauss.operations import (
    BERNOULLI_ENTROPY,
    BERNOULLI_NLL,
    DISCRETIZED_NLL,
    LOG_DENSITY_RATIO,
    LOG_DENSITY_RATIO_PRIOR,
    LOG_PROB,
    NLL,
    Operation,
)
from agauss.options import bin_of, is_prior
from agauss.typing import Array, Axis, Bounds, Number

__all__ = [
    "bernoulli_entropy",
    "bernoulli_entropy_vjp",
    "bernoulli_nll",
    "bernoulli_nll_vjp",
    "discretized_nll",
    "discretized_nll_vjp",
    "log_density_ratio",
    "log_density_ratio_vjp",
    "log_prob",
    "log_prob_vjp",
    "nll",
    "nll_vjp",
]


def nll(
    x: Array | Number,
    mean: Array | Number,
    logvar: Array | Number,
    *,
    axis: Axis = None,
    bounds: Bounds = None,
    out: Array | None = None,
) -> Array:
    """Negative log-likelihood: the sum over ``axis`` of ``(log(2 pi) + logvar + (x - mean)**2 / exp(logvar)) / 2``.

    The terms may cancel. An element is within 4 ulp of the sum of their sizes, in float32 and float64.

    Parameters
    ----------
    x, mean, logvar : array or number
    axis : None, int or tuple of ints
        What to sum over: everything, by default; ``()`` sums nothing.
    bounds : see ``kl``
    out : array, optional

    Returns
    -------
    array
        In nats, float32 or wider. Where logvar is -inf: inf, but -inf at the mean.

    Raises
    ------
    TypeError, ValueError
        As ``help(agauss)`` says.

    Examples
    --------
    >>> import agauss as ag, numpy as np
    >>> ag.nll(np.zeros((1, 2)), np.zeros((1, 2)), np.zeros((1, 2)), axis=1)
    array([1.83787707])
    """
    return value(NLL, (x, mean, logvar), axis=axis, bounds=(bounds,), out=out)


def nll_vjp(
    x: Array | Number,
    mean: Array | Number,
    logvar: Array | Number,
    *,
    cotangent: Array | Number,
    axis: Axis = None,
    bounds: Bounds = None,
    out: Sequence[Array] | None = None,
) -> tuple[Array, Array, Array]:
    """Gradients of ``nll`` with respect to x, mean and logvar, times the cotangent of its value.

    With u = (x - mean) / std they are u / std, -u / std and (1 - u**2) / 2. The first two are within 4 ulp an element,
    the last, whose terms may cancel, within 4 ulp of (1 + u**2) / 2.

    Examples
    --------
    >>> import agauss as ag
    >>> [float(g) for g in ag.nll_vjp(2.0, 0.0, 0.0, cotangent=1.0)]
    [2.0, -2.0, -1.5]
    """
    return pull_back(NLL, (x, mean, logvar), cotangent, axis=axis, bounds=(bounds,), out=out)


def discretized_nll(
    x: Array | Number,
    mean: Array | Number,
    logvar: Array | Number,
    *,
    width: float,
    low: float | None = None,
    high: float | None = None,
    axis: Axis = None,
    bounds: Bounds = None,
    out: Array | None = None,
) -> Array:
    """Negative log-likelihood of bins: minus the log of the mass that the Gaussian gives to the bin around x.

    The sum over ``axis`` of ``-log(Phi((x + width / 2 - mean) / std) - Phi((x - width / 2 - mean) / std))``, where Phi
    is the standard normal distribution function. The lower edge is -inf where ``x <= low``. The upper edge is inf where
    ``x >= high``. So the masses of bins that lie side by side from low to high add up to 1.

    Parameters
    ----------
    x : array or number
        The centres of the bins.
    mean, logvar : array or number
    width : number
        Of a bin, in the units of x: the distance of neighbouring values. For 256 levels from -1 to 1 it is 2 / 255, and
        for 256 levels from 0 to 1 it is 1 / 255.
    low, high : number, optional
        The least and the greatest value, whose bins are open. By default no bin is open. They are rounded to float32,
        or to float64 where x is of it, so a half type must hold them exactly.
    axis : None, int or tuple of ints
        What to sum over: everything, by default; ``()`` sums nothing.
    bounds : see ``kl``
    out : array, optional

    Returns
    -------
    array
        In nats, float32 or wider, and never negative. Where logvar is inf, a closed bin has inf. Where it is -inf, the
        mean's own bin has 0 and any other has inf.

    Raises
    ------
    TypeError, ValueError
        As ``help(agauss)`` says; and where width is not a finite number above 0, or low is not under high.

    Notes
    -----
    The far tails are exact: the mass does not underflow there, and no gradient vanishes. A value of 1 or more is within
    4 ulp in float32 and float64. A smaller one is the logarithm of a mass near 1. It is within 4 ulp of its sum with
    ``(abs(a) phi(a) + abs(b) phi(b)) / M``, in the notation of ``discretized_nll_vjp``. There is no gradient with
    respect to width, low and high.

    An approximation to Phi by tanh is common in the code of diffusion models. It gives a narrow bin 4% too little mass
    at 3 stds from the mean, 34% at 4 and 79% at 5. In float32 it gives none at 6.

    References
    ----------
    Salimans, Karpathy, Chen and Kingma, "PixelCNN++", 2017, for the likelihood of a bin, of logistic distributions. Ho,
    Jain and Abbeel, "Denoising diffusion probabilistic models", 2020, for that of a Gaussian.

    Examples
    --------
    >>> import agauss as ag, numpy as np
    >>> levels = np.linspace(-1, 1, 256)
    >>> nats = ag.discretized_nll(levels, 0.8, -2.0, width=2 / 255, low=-1, high=1, axis=())
    >>> round(float(np.exp(-nats).sum()), 12)
    1.0
    >>> round(float(ag.discretized_nll(40.0, 0.0, 0.0, width=0.1)), 6)
    802.626882
    """
    given = (x, mean, logvar, *bin_of(width, low, high))
    return value(DISCRETIZED_NLL, given, axis=axis, bounds=(bounds,), out=out)


def discretized_nll_vjp(
    x: Array | Number,
    mean: Array | Number,
    logvar: Array | Number,
    *,
    width: float,
    low: float | None = None,
    high: float | None = None,
    cotangent: Array | Number,
    axis: Axis = None,
    bounds: Bounds = None,
    out: Sequence[Array] | None = None,
) -> tuple[Array, Array, Array]:
    """Gradients of ``discretized_nll`` with respect to x, mean and logvar, times the cotangent of its value.

    Let a and b be the edges less the mean, in stds. Let phi be the standard normal density, and M the mass of the bin.
    With respect to x it is ``(phi(a) - phi(b)) / (std M)``, to mean the same negated, and to logvar
    ``(b phi(b) - a phi(a)) / (2 M)``. The terms of the last may cancel.

    Examples
    --------
    >>> import agauss as ag
    >>> [round(float(g), 6) for g in ag.discretized_nll_vjp(40.0, 0.0, 0.0, width=0.1, cotangent=1.0)]
    [39.97314, -39.97314, -798.426185]
    """
    given = (x, mean, logvar, *bin_of(width, low, high))
    return pull_back(DISCRETIZED_NLL, given, cotangent, axis=axis, bounds=(bounds,), out=out)


def log_prob(
    x: Array | Number,
    mean: Array | Number,
    logvar: Array | Number,
    *,
    axis: Axis = None,
    bounds: Bounds = None,
    out: Array | None = None,
) -> Array:
    """Log-density at x: ``-nll(x, mean, logvar)``, with the same arguments.

    Examples
    --------
    >>> import agauss as ag
    >>> round(float(ag.log_prob(0.0, 0.0, 0.0)), 6)
    -0.918939
    """
    return value(LOG_PROB, (x, mean, logvar), axis=axis, bounds=(bounds,), out=out)


def log_prob_vjp(
    x: Array | Number,
    mean: Array | Number,
    logvar: Array | Number,
    *,
    cotangent: Array | Number,
    axis: Axis = None,
    bounds: Bounds = None,
    out: Sequence[Array] | None = None,
) -> tuple[Array, Array, Array]:
    """Gradients of ``log_prob`` with respect to x, mean and logvar, times the cotangent of its value; see ``nll_vjp``.

    Examples
    --------
    >>> import agauss as ag
    >>> [float(g) for g in ag.log_prob_vjp(2.0, 0.0, 0.0, cotangent=1.0)]
    [-2.0, 2.0, 1.5]
    """
    return pull_back(LOG_PROB, (x, mean, logvar), cotangent, axis=axis, bounds=(bounds,), out=out)


def log_density_ratio(
    z: Array | Number,
    mean: Array | Number,
    logvar: Array | Number,
    mean2: Array | Number | None = None,
    logvar2: Array | Number | None = None,
    *,
    axis: Axis = None,
    bounds: Bounds = None,
    bounds2: Bounds = None,
    out: Array | None = None,
) -> Array:
    """Log-density of N(mean, exp(logvar)) at z, minus that of N(mean2, exp(logvar2)), or of the standard normal.

    The sum over ``axis`` of ``((z - mean2)**2 / exp(logvar2) - (z - mean)**2 / exp(logvar) - logvar + logvar2) / 2``.
    Its mean over samples of the first Gaussian estimates ``kl``. Minus it is the log-weight of importance sampling.

    The terms may cancel. An element is within 4 ulp of the sum of their sizes, in float32 and float64. Where the two
    Gaussians are nearly equal the squares' difference is not taken, and the error is as small as the difference.

    Parameters
    ----------
    z, mean, logvar : array or number
    mean2, logvar2 : array or number, optional
        Both or neither; the standard normal by default.
    axis, bounds, bounds2 : see ``kl``
    out : array, optional

    Returns
    -------
    array
        In nats, float32 or wider. 0 where the two are equal, and z finite. Where logvar alone is -inf: -inf, but inf at
        the mean; where logvar2 alone is, the negative of that. Where z is infinite it is not defined.

    Raises
    ------
    TypeError, ValueError
        As ``help(agauss)`` says; and where only one of ``mean2`` and ``logvar2`` is given.

    References
    ----------
    Burda, Grosse and Salakhutdinov, "Importance weighted autoencoders", 2016.

    Examples
    --------
    >>> import agauss as ag, numpy as np
    >>> ag.log_density_ratio(np.array([0.0, 2.0]), 2.0, 0.0, axis=())
    array([-2.,  2.])
    """
    op, arrays = _form(z, mean, logvar, mean2, logvar2, bounds2)
    return value(op, arrays, axis=axis, bounds=(bounds, bounds2), out=out)


def log_density_ratio_vjp(
    z: Array | Number,
    mean: Array | Number,
    logvar: Array | Number,
    mean2: Array | Number | None = None,
    logvar2: Array | Number | None = None,
    *,
    cotangent: Array | Number,
    axis: Axis = None,
    bounds: Bounds = None,
    bounds2: Bounds = None,
    out: Sequence[Array] | None = None,
) -> tuple[Array, ...]:
    """Gradients of ``log_density_ratio`` with respect to each of its array arguments, times the cotangent of its value.

    With ``u = (z - mean) / std`` and u2 likewise, they are ``u2 / std2 - u / std`` with respect to z, ``u / std`` to
    mean, ``(u**2 - 1) / 2`` to logvar, ``-u2 / std2`` to mean2 and ``(1 - u2**2) / 2`` to logvar2.

    Examples
    --------
    >>> import agauss as ag
    >>> [float(g) for g in ag.log_density_ratio_vjp(2.0, 0.0, 0.0, 1.0, 0.0, cotangent=1.0)]
    [-1.0, 2.0, 1.5, -1.0, 0.0]
    """
    op, arrays = _form(z, mean, logvar, mean2, logvar2, bounds2)
    return pull_back(op, arrays, cotangent, axis=axis, bounds=(bounds, bounds2), out=out)


def bernoulli_nll(x: Array | Number, logits: Array | Number, *, axis: Axis = None, out: Array | None = None) -> Array:
    """Negative log-likelihood of pixels x under Bernoulli distributions: binary cross-entropy with logits.

    The sum over ``axis`` of ``log(1 + exp(logits)) - x logits``, with no cancellation and no overflow. Each element is
    within 4 ulp in float32 and float64.

    For grey x, between 0 and 1, its least value is the entropy of x, and not 0. It is reached at
    ``logits = log(x / (1 - x))``. Subtract ``bernoulli_entropy(x)`` for the divergence, whose least value is 0. That
    does not change the gradient of logits.

    Parameters
    ----------
    x : array or number
        In [0, 1]. What is outside gives NaN, for a check would be another pass.
    logits : array or number
        The log-odds of 1.
    axis : None, int or tuple of ints
        What to sum over: everything, by default; ``()`` sums nothing.
    out : array, optional

    Returns
    -------
    array
        In nats, float32 or wider. At logits of inf it is 0 where x is 1, and inf elsewhere. At logits of
        -inf it is 0 where x is 0, and inf elsewhere.

    Raises
    ------
    TypeError, ValueError
        As ``help(agauss)`` says.

    References
    ----------
    Kingma and Welling, "Auto-encoding variational Bayes", 2014, appendix C.1. Loaiza-Ganem and Cunningham, "The
    continuous Bernoulli", 2019, on grey x, for which this is no log-likelihood.

    Examples
    --------
    >>> import agauss as ag, numpy as np
    >>> ag.bernoulli_nll(np.array([0.0, 0.5, 1.0]), np.array([0.0, 0.0, np.inf]), axis=())
    array([0.69314718, 0.69314718, 0.        ])
    """
    return value(BERNOULLI_NLL, (x, logits), axis=axis, out=out)


def bernoulli_nll_vjp(
    x: Array | Number,
    logits: Array | Number,
    *,
    cotangent: Array | Number,
    axis: Axis = None,
    out: Sequence[Array] | None = None,
) -> tuple[Array, Array]:
    """Gradients of ``bernoulli_nll`` with respect to x and logits, times the cotangent of its value.

    They are ``-logits`` and ``1 / (1 + exp(-logits)) - x``. The latter is within 4 ulp of the sum of its terms' sizes,
    and keeps its digits where x is 0 or 1.

    Examples
    --------
    >>> import agauss as ag
    >>> [float(g) for g in ag.bernoulli_nll_vjp(1.0, 0.0, cotangent=1.0)]
    [-0.0, -0.5]
    """
    return pull_back(BERNOULLI_NLL, (x, logits), cotangent, axis=axis, out=out)


def bernoulli_entropy(x: Array | Number, *, axis: Axis = None, out: Array | None = None) -> Array:
    """Entropy of Bernoulli distributions whose probability of 1 is x: the least value of ``bernoulli_nll``.

    The sum over ``axis`` of ``-x log(x) - (1 - x) log(1 - x)``. Each element is within 4 ulp in float32 and float64.

    Parameters
    ----------
    x : array or number
        In [0, 1]. What is outside gives NaN, for a check would be another pass.
    axis : None, int or tuple of ints
        What to sum over: everything, by default; ``()`` sums nothing.
    out : array, optional

    Returns
    -------
    array
        In nats, float32 or wider; 0 where x is 0 or 1.

    Raises
    ------
    TypeError, ValueError
        As ``help(agauss)`` says.

    References
    ----------
    Shannon, "A mathematical theory of communication", 1948, section 6.

    Examples
    --------
    >>> import agauss as ag, numpy as np
    >>> ag.bernoulli_entropy(np.array([0.0, 0.5, 1.0]), axis=())
    array([0.        , 0.69314718, 0.        ])
    """
    return value(BERNOULLI_ENTROPY, (x,), axis=axis, out=out)


def bernoulli_entropy_vjp(
    x: Array | Number, *, cotangent: Array | Number, axis: Axis = None, out: Sequence[Array] | None = None
) -> tuple[Array]:
    """Gradient of ``bernoulli_entropy``, times the cotangent of its value: ``log((1 - x) / x)``, within 4 ulp.

    Examples
    --------
    >>> import agauss as ag, numpy as np
    >>> ag.bernoulli_entropy_vjp(np.array([0.0, 0.5]), cotangent=1.0)
    (array([inf,  0.]),)
    """
    return pull_back(BERNOULLI_ENTROPY, (x,), cotangent, axis=axis, out=out)


def _form(z: Any, mean: Any, logvar: Any, mean2: Any, logvar2: Any, bounds2: Any) -> tuple[Operation, tuple[Any, ...]]:
    """The ratio to the standard normal's density, or to another Gaussian's."""
    if is_prior(mean2, logvar2, bounds2):
        return LOG_DENSITY_RATIO_PRIOR, (z, mean, logvar)
    return LOG_DENSITY_RATIO, (z, mean, logvar, mean2, logvar2)
