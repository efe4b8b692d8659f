"""Ways from one latent to another: between distributions, and between samples."""

from __future__ import annotations  # help() shows them as they are written

from collections.abc import Sequence
from typing import Any, Literal

from agauss.arrays import Operands, library_of, operands
from agauss.distributions import DiagonalGaussianDistribution
from agauss.typing import AnyArray, Array, Number
from agauss.vae.arguments import as_array, computing, fraction, one_of, pair, pulled, shaped, trailing, wide

__all__ = ["interpolate", "interpolate_vjp", "slerp", "slerp_vjp"]


def interpolate(
    q0: DiagonalGaussianDistribution[Array],
    q1: DiagonalGaussianDistribution[Array],
    t: Number | Sequence[float] | AnyArray,
    path: Literal["linear", "wasserstein"] = "linear",
) -> DiagonalGaussianDistribution[Array]:
    """The distributions on a way from q0, at t = 0, to q1, at t = 1, with exactly these at its ends.

    The means go in a straight line. On the path "linear" so do the log-variances: it is a line in the encoder's output.
    On the path "wasserstein" so do the standard deviations: it is the shortest path by optimal transport.

    Parameters
    ----------
    q0, q1 : DiagonalGaussianDistribution
        Of shapes that broadcast.
    t : number, sequence of numbers or array
        Within 0 and 1. Its axes come first in the result. Arrays of a library other than NumPy are not checked: beyond
        the ends they extrapolate. Where a standard deviation would be negative, logvar is NaN.
    path : "linear" or "wasserstein"

    Returns
    -------
    DiagonalGaussianDistribution
        Of shape ``(*t.shape, *q0.shape)``, with q0's bounds and event axes.

    Raises
    ------
    TypeError, ValueError
        As ``help(agauss)`` says; for a t outside 0 and 1, and where one distribution alone is deterministic.

    References
    ----------
    McCann, "A convexity principle for interacting gases", 1997.

    Examples
    --------
    >>> import agauss as ag, numpy as np
    >>> from agauss import vae
    >>> q0, q1 = (ag.DiagonalGaussianDistribution(np.full((1, 2), x)) for x in (0.0, 2.0))
    >>> vae.interpolate(q0, q1, [0.0, 0.5, 1.0]).mean.ravel()
    array([0., 1., 2.])
    """
    given = _ends(q0, q1, path)
    at = fraction(t, given)
    with computing(given) as xp:
        mean0, logvar0, mean1, logvar1 = [xp.broadcast_to(a, given.shape) for a in wide(given)]
        at = trailing(xp, at, at.ndim + len(given.shape))
        mean = _mixed(xp, mean0, mean1, at)
        logvar = (_mixed if path == "linear" else _between)(xp, logvar0, logvar1, at)
        mean, logvar = xp.astype(mean, given.dtype), xp.astype(logvar, given.dtype)
    # Event axes are counted from the end.
    return type(q0).from_mean_logvar(mean, logvar, q0.deterministic, bounds=q0.bounds, event_axes=q0.event_axes)


def interpolate_vjp(
    q0: DiagonalGaussianDistribution[Array],
    q1: DiagonalGaussianDistribution[Array],
    t: Number | Sequence[float] | AnyArray,
    path: Literal["linear", "wasserstein"] = "linear",
    *,
    cotangent: tuple[Array | Number, Array | Number],
) -> tuple[Array, Array, Array, Array]:
    """Gradients of ``interpolate`` with respect to q0's mean and logvar and q1's, times the cotangents of its own.

    The log-variances are those within bounds.

    Examples
    --------
    >>> import agauss as ag, numpy as np
    >>> from agauss import vae
    >>> q = ag.DiagonalGaussianDistribution(np.zeros((1, 2)))
    >>> [float(g[0, 0]) for g in vae.interpolate_vjp(q, q, 0.25, cotangent=(1.0, 2.0))]
    [0.75, 1.5, 0.25, 0.5]
    """
    given = _ends(q0, q1, path)
    at = fraction(t, given)
    shape = (*at.shape, *given.shape)
    d_mean, d_logvar = pair(cotangent, "d_mean, d_logvar")
    g_mean = pulled(d_mean, shape, given, "cotangent d_mean", given.dtype)
    g_logvar = pulled(d_logvar, shape, given, "cotangent d_logvar", given.dtype)
    with computing(given) as xp:
        logvar0, logvar1 = (xp.broadcast_to(a, given.shape) for a in wide(given)[1::2])
        at = trailing(xp, at, len(shape))
        shares = _shares(xp, logvar0, logvar1, at) if path == "wasserstein" else (1 - at, at)
        found = ((1 - at) * g_mean, shares[0] * g_logvar, at * g_mean, shares[1] * g_logvar)
        full = [xp.broadcast_to(g, shape) for g in found]
        return tuple(shaped(given, g, a) for g, a in zip(full, given.arrays, strict=True))


def _ends(q0: Any, q1: Any, path: str) -> Operands:
    for name, q in (("q0", q0), ("q1", q1)):
        if not isinstance(q, DiagonalGaussianDistribution):
            raise TypeError(f"{name} must be a DiagonalGaussianDistribution of agauss; got {type(q).__name__}")
    if q0.deterministic != q1.deterministic:
        raise ValueError("q0 and q1 must both be deterministic, or neither")
    one_of("path", path, ("linear", "wasserstein"))
    names = ("q0's mean", "q0's logvar", "q1's mean", "q1's logvar")
    return operands(names, (q0.mean, q0.logvar, q1.mean, q1.logvar))


def _mixed(xp: Any, a: Any, b: Any, t: Any) -> Any:
    """(1 - t) a + t b, and the ends exactly, for the other one may be infinite."""
    return _with_ends(xp, a, b, t, (1 - t) * a + t * b)


def _with_ends(xp: Any, a: Any, b: Any, t: Any, between: Any) -> Any:
    return xp.where(t == 0, a, xp.where(t == 1, b, between))


def _stds(xp: Any, logvar0: Any, logvar1: Any, t: Any) -> tuple[Any, Any, Any]:
    """The larger log-variance, and each standard deviation times its share, by the larger one."""
    unit = xp.where(logvar0 > logvar1, logvar0, logvar1)
    # The larger one differs from itself by 0, even if it is infinite.
    less0, less1 = (xp.where(v == unit, xp.zeros_like(unit), v - unit) for v in (logvar0, logvar1))
    return unit, (1 - t) * xp.exp(less0 / 2), t * xp.exp(less1 / 2)


def _between(xp: Any, logvar0: Any, logvar1: Any, t: Any) -> Any:
    """The log-variance whose standard deviation is between two others'."""
    unit, std0, std1 = _stds(xp, logvar0, logvar1, t)
    return _with_ends(xp, logvar0, logvar1, t, unit + 2 * xp.log(std0 + std1))


def _shares(xp: Any, logvar0: Any, logvar1: Any, t: Any) -> tuple[Any, Any]:
    """The derivatives of that by the two."""
    _, std0, std1 = _stds(xp, logvar0, logvar1, t)
    std, ends = std0 + std1, (t == 0) | (t == 1)
    return xp.where(ends, 1 - t, std0 / std), xp.where(ends, t, std1 / std)


def slerp(z0: Array, z1: Array, t: Number | Sequence[float] | AnyArray) -> Array:
    """Spherical interpolation: along the arc from z0, at t = 0, to z1, at t = 1, with exactly these at its ends.

    With the angle w between them it is ``sin((1 - t) w) / sin(w) * z0 + sin(t w) / sin(w) * z1``. Samples of many
    standard normal latents have about the same norm. The arc between them keeps it, and a straight line does not.

    Parameters
    ----------
    z0, z1 : array, shape (B, ...)
        The angle is between whole samples: all axes but the first, or the only one.
    t : number, sequence of numbers or array
        Within 0 and 1. Its axes come first in the result. Arrays of a library other than NumPy are not checked.

    Returns
    -------
    array, shape ``(*t.shape, *z0.shape)``, of the arguments' dtype
        A straight line where the two have one direction, or where one is 0. Between opposite ones there is no one arc:
        the result is large, inf or NaN.

    Raises
    ------
    TypeError, ValueError
        As ``help(agauss)`` says; for arrays without dimensions, and a t outside 0 and 1.

    References
    ----------
    Shoemake, "Animating rotation with quaternion curves", 1985; White, "Sampling generative networks", 2016.

    Examples
    --------
    >>> import numpy as np
    >>> from agauss import vae
    >>> vae.slerp(np.array([1.0, 0.0]), np.array([0.0, 1.0]), [0.0, 0.5, 1.0]).round(3)
    array([[1.   , 0.   ],
           [0.707, 0.707],
           [0.   , 1.   ]])
    """
    given = _vectors(z0, z1)
    at = fraction(t, given)
    with computing(given) as xp:
        a, b = [xp.broadcast_to(z, given.shape) for z in wide(given)]
        w = _angle(xp, given, a, b)[0]
        at = trailing(xp, at, at.ndim + a.ndim)
        return as_array(given, xp.astype(_arc(xp, w, 1 - at)[0] * a + _arc(xp, w, at)[0] * b, given.dtype))


def slerp_vjp(
    z0: Array, z1: Array, t: Number | Sequence[float] | AnyArray, *, cotangent: Array | Number
) -> tuple[Array, Array]:
    """Gradients of ``slerp`` with respect to z0 and z1, times the cotangent of its value.

    Examples
    --------
    >>> import numpy as np
    >>> from agauss import vae
    >>> d_z0, d_z1 = vae.slerp_vjp(np.array([1.0, 0.0]), np.array([2.0, 0.0]), 0.25, cotangent=1.0)
    >>> d_z0
    array([0.75, 0.75])
    """
    given = _vectors(z0, z1)
    at = fraction(t, given)
    shape = (*at.shape, *given.shape)
    g = pulled(cotangent, shape, given, dtype=given.dtype)
    with computing(given) as xp:
        a, b = [xp.broadcast_to(z, given.shape) for z in wide(given)]
        w, by_a, by_b = _angle(xp, given, a, b)
        at = trailing(xp, at, len(shape))
        (to_a, to_a_by_w), (to_b, to_b_by_w) = _arc(xp, w, 1 - at), _arc(xp, w, at)
        axes = tuple(axis - a.ndim + len(shape) for axis in _events(a.ndim))
        by_w = xp.sum(g * (to_a_by_w * a + to_b_by_w * b), axis=axes, keepdims=True)
        full = [xp.broadcast_to(d, shape) for d in (to_a * g + by_w * by_a, to_b * g + by_w * by_b)]
        return tuple(shaped(given, d, z) for d, z in zip(full, given.arrays, strict=True))


def _vectors(z0: Any, z1: Any) -> Operands:
    for name, z in (("z0", z0), ("z1", z1)):
        if library_of(z) is None or not z.shape:
            raise TypeError(f"{name} must be an array of at least 1 dimension; got {type(z).__name__}")
    return operands(("z0", "z1"), (z0, z1))


def _events(rank: int) -> tuple[int, ...]:
    return tuple(range(1, rank)) or (0,)


def _angle(xp: Any, given: Operands, a: Any, b: Any) -> tuple[Any, Any, Any]:
    """The angle between samples, and the gradients of both: unit vectors at right angles to them, over their norms."""
    axes = _events(a.ndim)

    def norm(x: Any) -> Any:
        unit = xp.max(xp.abs(x), axis=axes, keepdims=True)  # so that squares neither overflow nor vanish
        unit = xp.where(unit == 0, unit + 1, unit)
        y = x / unit
        return unit * xp.sqrt(xp.astype(xp.sum(y * y, axis=axes, keepdims=True, dtype=given.library.widest), x.dtype))

    def over(x: Any, n: Any) -> Any:
        return xp.where(n == 0, xp.zeros_like(x), x / xp.where(n == 0, n + 1, n))

    norm_a, norm_b = norm(a), norm(b)
    u, v = over(a, norm_a), over(b, norm_b)
    zero = (norm_a == 0) | (norm_b == 0)
    # The difference and the sum of unit vectors keep the digits that the cosine of a small angle loses (Kahan 2006).
    apart, along = norm(u - v), norm(u + v)
    w = xp.where(zero, xp.zeros_like(apart), 2 * xp.atan2(apart, along))
    cosine = xp.cos(w)
    to_b, to_a = v - cosine * u, u - cosine * v
    return w, -over(over(to_b, norm(to_b)), norm_a), -over(over(to_a, norm(to_a)), norm_b)


def _arc(xp: Any, w: Any, share: Any) -> tuple[Any, Any]:
    """sin(share * w) / sin(w), and its derivative in w, by its series where that would cancel."""
    small = w < xp.finfo(w.dtype).eps ** (1 / 6)
    angle = xp.where(small, xp.ones_like(w), w)
    sine = xp.sin(angle)
    square = share * share
    lead = share * (1 - square) * w
    series = share + lead * w / 6 + lead * w**3 * (7 - 3 * square) / 360
    slope = lead / 3 + lead * w**2 * (7 - 3 * square) / 90
    ratio = xp.where(share == 1, xp.ones_like(w), xp.sin(share * angle) / sine)  # XLA divides by a rounded inverse
    exact = (share * xp.cos(share * angle) - ratio * xp.cos(angle)) / sine
    return xp.where(small, series, ratio), xp.where(small, slope, exact)
