"""How far one diagonal Gaussian is from another."""

from __future__ import annotations  # help() shows them as they are written

from collections.abc import Sequence
from typing import Any

from agauss.execution import pull_back, value
from agauss.operations import KL, KL_PRIOR, NORMAL_KL, WASSERSTEIN2_SQUARED, Operation
from agauss.typing import Array, Axis, Bounds, Number

__all__ = [
    "kl",
    "kl_vjp",
    "normal_kl",
    "normal_kl_vjp",
    "wasserstein2_squared",
    "wasserstein2_squared_vjp",
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


def wasserstein2_squared(
    mean: Array | Number,
    logvar: Array | Number,
    mean2: Array | Number,
    logvar2: Array | Number,
    *,
    axis: Axis = None,
    bounds: Bounds = None,
    bounds2: Bounds = None,
    out: Array | None = None,
) -> Array:
    """Squared 2-Wasserstein distance between N(mean, exp(logvar)) and N(mean2, exp(logvar2)).

    The sum over ``axis`` of ``(mean - mean2)**2 + (std - std2)**2``. It is never negative. Each element is within 5 ulp
    in float32 and float64, where the two are nearly equal too.

    Parameters
    ----------
    mean, logvar, mean2, logvar2 : array or number
    axis, bounds, bounds2 : see ``kl``
    out : array, optional

    Returns
    -------
    array
        In the squared units of mean, float32 or wider. 0 where the two are equal, were they infinite; inf where a
        variance alone is.

    Raises
    ------
    TypeError, ValueError
        As ``help(agauss)`` says.

    References
    ----------
    Dowson and Landau, "The Frechet distance between multivariate normal distributions", 1982.

    Examples
    --------
    >>> import agauss as ag, numpy as np
    >>> ag.wasserstein2_squared(np.array([0.0, 3.0]), 0.0, 0.0, np.log(4.0), axis=())
    array([ 1., 10.])
    """
    arrays = (mean, logvar, mean2, logvar2)
    return value(WASSERSTEIN2_SQUARED, arrays, axis=axis, bounds=(bounds, bounds2), out=out)


def wasserstein2_squared_vjp(
    mean: Array | Number,
    logvar: Array | Number,
    mean2: Array | Number,
    logvar2: Array | Number,
    *,
    cotangent: Array | Number,
    axis: Axis = None,
    bounds: Bounds = None,
    bounds2: Bounds = None,
    out: Sequence[Array] | None = None,
) -> tuple[Array, Array, Array, Array]:
    """Gradients of ``wasserstein2_squared`` with respect to its four arguments, times the cotangent of its value.

    With respect to mean ``2 (mean - mean2)``, to logvar ``(std - std2) std``, to mean2 ``-2 (mean - mean2)``, and to
    logvar2 ``(std2 - std) std2``.

    Examples
    --------
    >>> import agauss as ag, math
    >>> [round(float(g), 6) for g in ag.wasserstein2_squared_vjp(1.0, 0.0, 0.0, math.log(4), cotangent=1.0)]
    [2.0, -1.0, -2.0, 2.0]
    """
    arrays = (mean, logvar, mean2, logvar2)
    return pull_back(WASSERSTEIN2_SQUARED, arrays, cotangent, axis=axis, bounds=(bounds, bounds2), out=out)


def _form(mean: Any, logvar: Any, mean2: Any, logvar2: Any, bounds2: Any = None) -> tuple[Operation, tuple[Any, ...]]:
    """KL to the standard normal, of two arrays, or to another Gaussian, of four."""
    if mean2 is None and logvar2 is None:
        if bounds2 is not None:
            raise ValueError(f"bounds2 must be None without mean2 and logvar2; got {bounds2!r}")
        return KL_PRIOR, (mean, logvar)
    if mean2 is None or logvar2 is None:
        raise ValueError(
            f"mean2 and logvar2 must be given together; got {'logvar2' if mean2 is None else 'mean2'} alone "
            "(axis and the rest are given by name)"
        )
    return KL, (mean, logvar, mean2, logvar2)
