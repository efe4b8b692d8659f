"""How far two diagonal Gaussians are from each other: what is the same both ways."""

from __future__ import annotations  # help() shows them as they are written

from collections.abc import Sequence

from agauss.execution import pull_back, value
from agauss.operations import BHATTACHARYYA, JEFFREYS, WASSERSTEIN2_SQUARED
from agauss.typing import Array, Axis, Bounds, Number

__all__ = [
    "bhattacharyya",
    "bhattacharyya_vjp",
    "jeffreys",
    "jeffreys_vjp",
    "wasserstein2_squared",
    "wasserstein2_squared_vjp",
]


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
        In the squared units of mean, float32 or wider. 0 where the two are equal, even if both are infinite; inf
        where one variance alone is.

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


def jeffreys(
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
    """Jeffreys divergence between N(mean, exp(logvar)) and N(mean2, exp(logvar2)): ``kl`` both ways, added.

    The sum over ``axis`` of ``((mean - mean2)**2 (1 / exp(logvar) + 1 / exp(logvar2)) + exp(t) + exp(-t) - 2) / 2``
    with ``t = logvar - logvar2``. It is never negative, and no term is. Each element is within 4 ulp in float32 and
    float64, where the two are nearly equal too.

    Parameters
    ----------
    mean, logvar, mean2, logvar2 : array or number
    axis, bounds, bounds2 : see ``kl``
    out : array, optional

    Returns
    -------
    array
        In nats, float32 or wider. 0 where the two are equal, even if both are points; inf where only one
        is a point.

    Raises
    ------
    TypeError, ValueError
        As ``help(agauss)`` says.

    References
    ----------
    Jeffreys, "An invariant form for the prior probability in estimation problems", 1946.

    Examples
    --------
    >>> import agauss as ag, numpy as np
    >>> ag.jeffreys(np.array([0.0, 2.0]), 0.0, 0.0, 0.0, axis=())
    array([0., 4.])
    """
    arrays = (mean, logvar, mean2, logvar2)
    return value(JEFFREYS, arrays, axis=axis, bounds=(bounds, bounds2), out=out)


def jeffreys_vjp(
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
    """Gradients of ``jeffreys`` with respect to its four arguments, times the cotangent of its value.

    Each is the sum of the two that ``kl_vjp`` gives.

    Examples
    --------
    >>> import agauss as ag
    >>> [float(g) for g in ag.jeffreys_vjp(1.0, 0.0, 0.0, 0.0, cotangent=1.0)]
    [2.0, -0.5, -2.0, -0.5]
    """
    arrays = (mean, logvar, mean2, logvar2)
    return pull_back(JEFFREYS, arrays, cotangent, axis=axis, bounds=(bounds, bounds2), out=out)


def bhattacharyya(
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
    """Bhattacharyya distance between N(mean, exp(logvar)) and N(mean2, exp(logvar2)).

    Minus the logarithm of the integral of ``sqrt(p q)``. It is the sum over ``axis`` of
    ``(mean - mean2)**2 / (exp(logvar) + exp(logvar2)) / 4 + log(cosh(t / 2)) / 2`` with ``t = logvar - logvar2``, and
    never negative. Each element is within 4 ulp in float32 and float64, where the two are nearly equal too.

    Parameters
    ----------
    mean, logvar, mean2, logvar2 : array or number
    axis, bounds, bounds2 : see ``kl``
    out : array, optional

    Returns
    -------
    array
        In nats, float32 or wider. 0 where the two are equal, even if both are points; inf where only one
        is a point.

    Raises
    ------
    TypeError, ValueError
        As ``help(agauss)`` says.

    References
    ----------
    Bhattacharyya, "On a measure of divergence between two statistical populations defined by their probability
    distributions", 1943. Kailath, "The divergence and Bhattacharyya distance measures in signal selection", 1967.

    Examples
    --------
    >>> import agauss as ag, numpy as np
    >>> ag.bhattacharyya(np.array([0.0, 4.0]), 0.0, 0.0, 0.0, axis=())
    array([0., 2.])
    """
    arrays = (mean, logvar, mean2, logvar2)
    return value(BHATTACHARYYA, arrays, axis=axis, bounds=(bounds, bounds2), out=out)


def bhattacharyya_vjp(
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
    """Gradients of ``bhattacharyya`` with respect to its four arguments, times the cotangent of its value.

    Let ``s = exp(logvar) + exp(logvar2)`` and ``u = (mean - mean2) / s``. With respect to mean and mean2 they are
    ``u / 2`` and ``-u / 2``, to logvar ``tanh(t / 2) / 4 - u**2 exp(logvar) / 4``, and to logvar2
    ``-tanh(t / 2) / 4 - u**2 exp(logvar2) / 4``. They are within 5 ulp of the sum of their terms' sizes.

    Examples
    --------
    >>> import agauss as ag
    >>> [float(g) for g in ag.bhattacharyya_vjp(4.0, 0.0, 0.0, 0.0, cotangent=1.0)]
    [1.0, -1.0, -1.0, -1.0]
    """
    arrays = (mean, logvar, mean2, logvar2)
    return pull_back(BHATTACHARYYA, arrays, cotangent, axis=axis, bounds=(bounds, bounds2), out=out)
