"""How far one diagonal Gaussian diverges from another; distances.py has what is the same both ways."""

from __future__ import annotations  # help() shows them as they are written

from collections.abc import Sequence
from typing import Any

from agauss.execution import pull_back, value
from agauss.operations import KL, KL_PRIOR, NORMAL_KL, RENYI, RENYI_ABOVE_ONE, Operation
from agauss.options import is_prior, order_of
from agauss.typing import Array, Axis, Bounds, Number

__all__ = [
    "kl",
    "kl_vjp",
    "normal_kl",
    "normal_kl_vjp",
    "renyi",
    "renyi_vjp",
]


def kl(
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
    """Kullback-Leibler divergence of N(mean, exp(logvar)) from N(mean2, exp(logvar2)), or from the standard normal.

    The sum over ``axis`` of ``((mean - mean2)**2 / exp(logvar2) + exp(t) - 1 - t) / 2`` with ``t = logvar - logvar2``.
    It is never negative. Each element is within 4 ulp in float32 and float64, near the prior too, while
    ``exp(logvar2)`` and its inverse are normal numbers (tests/test_accuracy.py).

    Parameters
    ----------
    mean, logvar : array or number
    mean2, logvar2 : array or number, optional
        Both or neither; the standard normal by default.
    axis : None, int or tuple of ints
        What to sum over: everything, by default; ``()`` sums nothing.
    bounds, bounds2 : None, "hard", "soft", "straight-through", (low, high) or (low, high, kind)
        What ``logvar`` and ``logvar2`` pass through first.
    out : array, optional

    Returns
    -------
    array
        In nats, float32 or wider. An empty sum is 0. inf where the true value overflows, and where the second Gaussian
        is a point (logvar2 = -inf), unless the first is the same point: then 0.

    Raises
    ------
    TypeError, ValueError
        As ``help(agauss)`` says; and where only one of ``mean2`` and ``logvar2`` is given.

    References
    ----------
    Kingma and Welling, "Auto-encoding variational Bayes", 2014, appendix B.

    Examples
    --------
    >>> import agauss as ag, numpy as np
    >>> ag.kl(np.array([[0.0, 1.0], [2.0, 0.0]]), np.zeros((2, 2)), axis=1)
    array([0.5, 2. ])
    """
    op, arrays = _form(mean, logvar, mean2, logvar2, bounds2)
    return value(op, arrays, axis=axis, bounds=(bounds, bounds2), out=out)


def kl_vjp(
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
    """Gradients of ``kl`` with respect to each of its array arguments, times the cotangent of its value.

    Let t = logvar - logvar2 and d = (mean - mean2) / exp(logvar2). For mean and mean2 they are d and -d. For logvar it
    is (exp(t) - 1) / 2, and for logvar2 -((mean - mean2) d + exp(t) - 1) / 2. Each is summed to its argument's shape.
    An element is within 4 ulp. For logvar2, whose terms may cancel, it is within 4 ulp of the sum of their sizes.

    ``out``, here and in every other ``*_vjp``, is an array for each argument, of its shape and dtype, that receives its
    gradient.

    Examples
    --------
    >>> import agauss as ag, numpy as np
    >>> ag.kl_vjp(np.array([3.0]), np.array([0.0]), cotangent=1.0)
    (array([3.]), array([0.]))
    """
    op, arrays = _form(mean, logvar, mean2, logvar2, bounds2)
    return pull_back(op, arrays, cotangent, axis=axis, bounds=(bounds, bounds2), out=out)


def normal_kl(mean1: Array | Number, logvar1: Array | Number, mean2: Array | Number, logvar2: Array | Number) -> Array:
    """``kl`` element by element, with the name and the arguments of guided-diffusion's function.

    Arguments broadcast. Any of them may be a number. If all of them are, the result is float64.

    Examples
    --------
    >>> import agauss as ag, numpy as np
    >>> ag.normal_kl(np.array([0.0, 2.0]), 0.0, 0.0, 0.0)
    array([0., 2.])
    """
    return value(NORMAL_KL, (mean1, logvar1, mean2, logvar2))


def normal_kl_vjp(
    mean1: Array | Number,
    logvar1: Array | Number,
    mean2: Array | Number,
    logvar2: Array | Number,
    *,
    cotangent: Array | Number,
    out: Sequence[Array] | None = None,
) -> tuple[Array, Array, Array, Array]:
    """Gradients of ``normal_kl`` with respect to its four arguments, times the cotangent of its value; see ``kl_vjp``.

    Examples
    --------
    >>> import agauss as ag
    >>> [float(g) for g in ag.normal_kl_vjp(1.0, 0.0, 0.0, 0.0, cotangent=1.0)]
    [1.0, 0.0, -1.0, -0.5]
    """
    return pull_back(NORMAL_KL, (mean1, logvar1, mean2, logvar2), cotangent, out=out)


def renyi(
    mean: Array | Number,
    logvar: Array | Number,
    mean2: Array | Number,
    logvar2: Array | Number,
    *,
    alpha: float,
    axis: Axis = None,
    bounds: Bounds = None,
    bounds2: Bounds = None,
    out: Array | None = None,
) -> Array:
    """Renyi divergence of order alpha of N(mean, exp(logvar)) from N(mean2, exp(logvar2)).

    The logarithm of the integral of ``p**alpha q**(1 - alpha)``, divided by ``alpha - 1``. Let ``c = 1 - alpha`` and
    ``v = c exp(logvar) + alpha exp(logvar2)``. Then it is the sum over ``axis`` of
    ``(alpha (mean - mean2)**2 / v + (log(v) - c logvar - alpha logvar2) / c) / 2``.

    The limits are known: order 0 is 0, order 1 is ``kl``, and infinity is the logarithm of the largest ratio of the
    densities. It grows with alpha, and is never negative. No terms cancel.

    Parameters
    ----------
    mean, logvar, mean2, logvar2 : array or number
    alpha : number
        The order, at least 0; one for all elements. There is no gradient with respect to it.
    axis, bounds, bounds2 : see ``kl``
    out : array, optional

    Returns
    -------
    array
        In nats, float32 or wider. 0 where the two are equal. inf where alpha is above 1 and v is not positive: the
        first is then too wide for the second.

    Raises
    ------
    TypeError, ValueError
        As ``help(agauss)`` says; and where alpha is not a real number, or is negative or NaN.

    Notes
    -----
    For alpha below 1 an element is within 6 ulp, in float32 and float64, while ``|logvar - logvar2|`` is under 4.
    Beyond, exp amplifies the rounding error of its product with alpha. The error grows where alpha is nearly 0 or 1.

    For alpha above 1 an element is within 5 ulp where ``logvar <= logvar2``, however large alpha is. Elsewhere v falls
    towards 0, and the error grows as ``exp(logvar2) / v``.

    References
    ----------
    van Erven and Harremoes, "Renyi divergence and Kullback-Leibler divergence", 2014. Gil, Alajaji and Linder, "Renyi
    divergence measures for commonly used univariate continuous distributions", 2013.

    Examples
    --------
    >>> import agauss as ag, numpy as np
    >>> ag.renyi(np.array([0.0, 2.0]), 0.0, 0.0, 0.0, alpha=0.5, axis=())
    array([0., 1.])
    >>> [round(float(ag.renyi(0.0, 0.0, 0.0, 1.0, alpha=alpha)), 4) for alpha in (0, 0.5, 1, 2, float("inf"))]
    [0.0, 0.1201, 0.1839, 0.2551, 0.5]
    >>> float(ag.renyi(0.0, 1.0, 0.0, 0.0, alpha=2))
    inf
    """
    op, given = _form_of_order(alpha, (mean, logvar, mean2, logvar2))
    return value(op, given, axis=axis, bounds=(bounds, bounds2), out=out)


def renyi_vjp(
    mean: Array | Number,
    logvar: Array | Number,
    mean2: Array | Number,
    logvar2: Array | Number,
    *,
    alpha: float,
    cotangent: Array | Number,
    axis: Axis = None,
    bounds: Bounds = None,
    bounds2: Bounds = None,
    out: Sequence[Array] | None = None,
) -> tuple[Array, Array, Array, Array]:
    """Gradients of ``renyi`` with respect to its four arrays, times the cotangent of its value.

    Let ``d = alpha (mean - mean2) / v`` and ``r = alpha (exp(logvar) - exp(logvar2)) / v / 2``. With respect to mean
    and mean2 they are d and -d, to logvar ``r - (1 - alpha) exp(logvar) d**2 / alpha / 2``, and to logvar2
    ``-r - exp(logvar2) d**2 / 2``. Where the divergence is infinite they are NaN, and for alpha = inf where the two
    Gaussians are equal.

    Examples
    --------
    >>> import agauss as ag
    >>> [float(g) for g in ag.renyi_vjp(2.0, 0.0, 0.0, 0.0, alpha=0.5, cotangent=1.0)]
    [1.0, -0.5, -1.0, -0.5]
    """
    op, given = _form_of_order(alpha, (mean, logvar, mean2, logvar2))
    return pull_back(op, given, cotangent, axis=axis, bounds=(bounds, bounds2), out=out)


def _form(mean: Any, logvar: Any, mean2: Any, logvar2: Any, bounds2: Any = None) -> tuple[Operation, tuple[Any, ...]]:
    """KL to the standard normal, of two arrays, or to another Gaussian, of four."""
    if (mean2 is None and logvar2 is None and bounds2 is None) or is_prior(mean2, logvar2, bounds2):
        return KL_PRIOR, (mean, logvar)
    return KL, (mean, logvar, mean2, logvar2)


def _form_of_order(alpha: Any, arrays: tuple[Any, ...]) -> tuple[Operation, tuple[Any, ...]]:
    """The Renyi divergence of an order, which is a parameter but for KL, that of order 1."""
    order = order_of(alpha)
    if order == 1:
        return KL, arrays
    return (RENYI if order < 1 else RENYI_ABOVE_ONE), (*arrays, order)
