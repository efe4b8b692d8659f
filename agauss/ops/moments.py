"""What one diagonal Gaussian is like: its spread, its mode, its entropy, and its log-variance within bounds."""

from __future__ import annotations  # help() shows them as they are written

from collections.abc import Sequence

from agauss.arrays import like, operands
from agauss.backends.protocol import Pass
from agauss.execution import pull_back, value
from agauss.operations import CLAMP, ENTROPY, MODE, SATURATED, STD, VAR
from agauss.options import DEFAULT_LIMITS, axes_of, bounds_of
from agauss.typing import Array, Axis, Bounds, Number

__all__ = [
    "clamp",
    "clamp_vjp",
    "entropy",
    "entropy_vjp",
    "mode",
    "mode_vjp",
    "saturated",
    "std",
    "std_vjp",
    "var",
    "var_vjp",
]


def entropy(logvar: Array | Number, *, axis: Axis = None, bounds: Bounds = None, out: Array | None = None) -> Array:
    """Differential entropy: the sum over ``axis`` of ``(1 + log(2 pi) + logvar) / 2``, in nats.

    The terms may cancel. An element is within 4 ulp of the sum of their sizes, in float32 and float64.

    Examples
    --------
    >>> import agauss as ag, numpy as np
    >>> ag.entropy(np.zeros((2, 3)), axis=1)
    array([4.2568156, 4.2568156])
    """
    return value(ENTROPY, (logvar,), axis=axis, bounds=(bounds,), out=out)


def entropy_vjp(
    logvar: Array | Number,
    *,
    cotangent: Array | Number,
    axis: Axis = None,
    bounds: Bounds = None,
    out: Sequence[Array] | None = None,
) -> tuple[Array]:
    """The gradient of ``entropy`` with respect to logvar, 1/2, times the cotangent of its value.

    Examples
    --------
    >>> import agauss as ag, numpy as np
    >>> ag.entropy_vjp(np.zeros(2), cotangent=1.0)
    (array([0.5, 0.5]),)
    """
    return pull_back(ENTROPY, (logvar,), cotangent, axis=axis, bounds=(bounds,), out=out)


def std(logvar: Array | Number, *, bounds: Bounds = None, out: Array | None = None) -> Array:
    """Standard deviation, ``exp(logvar / 2)``, float32 or wider, within 4 ulp.

    Examples
    --------
    >>> import agauss as ag, numpy as np
    >>> ag.std(np.log(np.array([4.0, 9.0])))
    array([2., 3.])
    """
    return value(STD, (logvar,), bounds=(bounds,), out=out)


def std_vjp(
    logvar: Array | Number, *, cotangent: Array | Number, bounds: Bounds = None, out: Sequence[Array] | None = None
) -> tuple[Array]:
    """The gradient of ``std`` with respect to logvar, std / 2, times the cotangent of its value.

    Examples
    --------
    >>> import agauss as ag, numpy as np
    >>> ag.std_vjp(np.zeros(1), cotangent=1.0)
    (array([0.5]),)
    """
    return pull_back(STD, (logvar,), cotangent, bounds=(bounds,), out=out)


def var(logvar: Array | Number, *, bounds: Bounds = None, out: Array | None = None) -> Array:
    """Variance, ``exp(logvar)``, float32 or wider, within 4 ulp.

    Examples
    --------
    >>> import agauss as ag, numpy as np
    >>> ag.var(np.zeros(2))
    array([1., 1.])
    """
    return value(VAR, (logvar,), bounds=(bounds,), out=out)


def var_vjp(
    logvar: Array | Number, *, cotangent: Array | Number, bounds: Bounds = None, out: Sequence[Array] | None = None
) -> tuple[Array]:
    """The gradient of ``var`` with respect to logvar, the variance, times the cotangent of its value.

    Examples
    --------
    >>> import agauss as ag, numpy as np
    >>> ag.var_vjp(np.zeros(1), cotangent=3.0)
    (array([3.]),)
    """
    return pull_back(VAR, (logvar,), cotangent, bounds=(bounds,), out=out)


def mode(mean: Array | Number, logvar: Array | Number, *, out: Array | None = None) -> Array:
    """The most likely value, ``mean``, as a new array of the shape that the arguments broadcast to.

    Examples
    --------
    >>> import agauss as ag, numpy as np
    >>> ag.mode(1.5, np.zeros(2))
    array([1.5, 1.5])
    """
    return value(MODE, (mean, logvar), out=out)


def mode_vjp(
    mean: Array | Number, logvar: Array | Number, *, cotangent: Array | Number, out: Sequence[Array] | None = None
) -> tuple[Array, Array]:
    """Gradients of ``mode``: the cotangent with respect to mean, and 0 with respect to logvar.

    Examples
    --------
    >>> import agauss as ag, numpy as np
    >>> ag.mode_vjp(np.zeros(2), 0.0, cotangent=1.0)
    (array([1., 1.]), array(0.))
    """
    return pull_back(MODE, (mean, logvar), cotangent, out=out)


def clamp(logvar: Array | Number, *, bounds: Bounds, out: Array | None = None) -> Array:
    """logvar after its bounds, as a new array of its dtype.

    "hard", or a pair (low, high), cuts at the bounds, and its gradient is 0 outside. "straight-through" cuts too, but
    its gradient is 1, which PyTorch's own autograd through ``agauss.clamp`` does not see.

    "soft" is ``low + softplus(y - low)`` with ``y = high - softplus(high - logvar)`` (Chua et al., 2018). Its gradient
    is nowhere 0 until it underflows. It can exceed high, by at most ``log1p(exp(low - high))``: 2e-22 for [-30, 20],
    but 0.13 for [-1, 1].

    A kind alone has the bounds [-30, 20], and (low, high, kind) gives both. NaN passes through.

    Examples
    --------
    >>> import agauss as ag, numpy as np
    >>> ag.clamp(np.array([-50.0, 3.0, 50.0]), bounds=(-30, 20))
    array([-30.,   3.,  20.])
    """
    return value(CLAMP, (logvar,), bounds=(bounds,), out=out)


def clamp_vjp(
    logvar: Array | Number, *, cotangent: Array | Number, bounds: Bounds, out: Sequence[Array] | None = None
) -> tuple[Array]:
    """The gradient of ``clamp`` with respect to logvar, times the cotangent of its value.

    Examples
    --------
    >>> import agauss as ag, numpy as np
    >>> ag.clamp_vjp(np.array([-50.0, 3.0]), cotangent=1.0, bounds="hard")
    (array([0., 1.]),)
    """
    return pull_back(CLAMP, (logvar,), cotangent, bounds=(bounds,), out=out)


def saturated(logvar: Array | Number, *, bounds: Bounds = DEFAULT_LIMITS, axis: Axis = None) -> Array:
    """The number of log-variances over ``axis`` that have ``logvar < low`` or ``logvar > high``.

    There a hard bound stops the gradient. The number is an integer of the library's default width, mostly int64.

    Examples
    --------
    >>> import agauss as ag, numpy as np
    >>> ag.saturated(np.array([-50.0, 3.0, 50.0]))
    array(2)
    """
    low, high = (bounds_of(bounds) or (-float("inf"), float("inf")))[:2]
    given = operands(("logvar",), (logvar,))
    axes = axes_of(axis, len(given.shape))
    # The bounds in the dtype that a gradient compares in: half types would round them.
    arrays = [*given.arrays, *(like(end, given.library, given.arrays[0], given.wide) for end in (low, high))]
    xp, run = given.library.xp, given.library.backend.run
    integral = xp.__array_namespace_info__().default_dtypes()["integral"]
    if axes:
        return run(Pass(SATURATED.term, given.shape, (), axes, 0, integral), arrays)[0]
    with given.library.on(given.arrays[0]):
        return xp.astype(run(Pass(SATURATED.term, given.shape, (given.wide,)), arrays)[0], integral)
