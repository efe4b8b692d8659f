"""How likely values are under a diagonal Gaussian."""

from __future__ import annotations  # help() shows them as they are written

from collections.abc import Sequence

from agauss.execution import pull_back, value
from agauss.operations import LOG_PROB, NLL
from agauss.typing import Array, Axis, Bounds, Number

__all__ = [
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
