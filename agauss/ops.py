"""The operations on diagonal Gaussians, each with its vector-Jacobian product: documentation, checks, dispatch.

agauss/__init__.py says what they have in common: broadcasting, units, dtypes, bounds and errors.
"""

from collections.abc import Callable, Sequence
from typing import Any

from agauss import formulas
from agauss.arguments import (
    DEFAULT_LIMITS,
    Operands,
    Shape,
    block_of,
    check_index,
    check_out,
    cotangent_for,
    halves,
    limit,
    normal_axes,
    normal_bounds,
    normal_shape,
    operands,
)
from agauss.dispatch import library_of
from agauss.noise import Noise, as_key
from agauss.random import draw
from agauss.strides import row_major

Axis = int | Sequence[int] | None
Outs = Sequence[Any] | None  # an array for each gradient
Limits = tuple[tuple[int, str, float, float], ...]  # position of an argument, kind of bound, low, high


def kl(
    mean: Any,
    logvar: Any,
    mean2: Any = None,
    logvar2: Any = None,
    *,
    axis: Axis = None,
    bounds: Any = None,
    bounds2: Any = None,
    out: Any = None,
) -> Any:
    """Kullback-Leibler divergence of N(mean, exp(logvar)) from N(mean2, exp(logvar2)), or from the standard normal.

    The sum over ``axis`` of ``((mean - mean2)**2 / exp(logvar2) + exp(t) - 1 - t) / 2`` with ``t = logvar - logvar2``.
    It is never negative, and right to 4 ulp an element in float32 and float64, near the prior too
    (tests/test_accuracy.py).

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
        In nats, float32 or wider. inf where the second has no spread (logvar2 = -inf), but 0 where the first is the
        very same point; inf where the true value overflows; 0 for an empty sum.

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
    given = _one_or_two(mean, logvar, mean2, logvar2)
    if len(given.arrays) == 2:
        return _reduced(formulas.kl_prior, given, axis, limit(bounds, 1), out)
    return _reduced(formulas.kl, given, axis, limit(bounds, 1) + limit(bounds2, 3, "bounds2"), out)


def kl_vjp(
    mean: Any,
    logvar: Any,
    mean2: Any = None,
    logvar2: Any = None,
    *,
    cotangent: Any,
    axis: Axis = None,
    bounds: Any = None,
    bounds2: Any = None,
    out: Outs = None,
) -> tuple[Any, ...]:
    """Gradients of ``kl`` by each of its array arguments, times the cotangent of its value.

    With t = logvar - logvar2 and d = (mean - mean2) / exp(logvar2): by mean d, by logvar (exp(t) - 1) / 2, by mean2 -d,
    by logvar2 -((mean - mean2) d + exp(t) - 1) / 2; each summed to its argument's shape. ``out``, here and in every
    other ``*_vjp``: an array for each of the arguments, of its shape and dtype, that receives its gradient.

    Examples
    --------
    >>> import agauss as ag, numpy as np
    >>> ag.kl_vjp(np.array([3.0]), np.array([0.0]), cotangent=1.0)
    (array([3.]), array([0.]))
    """
    given = _one_or_two(mean, logvar, mean2, logvar2)
    if len(given.arrays) == 2:
        return _gradients(formulas.kl_prior_vjp, given, cotangent, axis, limit(bounds, 1), out)
    return _gradients(formulas.kl_vjp, given, cotangent, axis, limit(bounds, 1) + limit(bounds2, 3, "bounds2"), out)


def normal_kl(mean1: Any, logvar1: Any, mean2: Any, logvar2: Any) -> Any:
    """``kl`` element by element: the name and the arguments of guided-diffusion's function.

    Arguments broadcast; any of them may be a number, and all of them, which gives float64.

    Examples
    --------
    >>> import agauss as ag, numpy as np
    >>> ag.normal_kl(np.array([0.0, 2.0]), 0.0, 0.0, 0.0)
    array([0., 2.])
    """
    return _reduced(formulas.kl, _two_normals(mean1, logvar1, mean2, logvar2), (), (), None)


def normal_kl_vjp(
    mean1: Any, logvar1: Any, mean2: Any, logvar2: Any, *, cotangent: Any, out: Outs = None
) -> tuple[Any, ...]:
    """Gradients of ``normal_kl`` by its four arguments, times the cotangent of its value; see ``kl_vjp``.

    Examples
    --------
    >>> import agauss as ag
    >>> [float(g) for g in ag.normal_kl_vjp(1.0, 0.0, 0.0, 0.0, cotangent=1.0)]
    [1.0, 0.0, -1.0, -0.5]
    """
    return _gradients(formulas.kl_vjp, _two_normals(mean1, logvar1, mean2, logvar2), cotangent, (), (), out)


def nll(x: Any, mean: Any, logvar: Any, *, axis: Axis = None, bounds: Any = None, out: Any = None) -> Any:
    """Negative log-likelihood: the sum over ``axis`` of ``(log(2 pi) + logvar + (x - mean)**2 / exp(logvar)) / 2``.

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
        In nats, float32 or wider. Where logvar is -inf, inf, and -inf at the mean.

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
    return _reduced(formulas.nll, _observed(x, mean, logvar), axis, limit(bounds, 2), out)


def nll_vjp(
    x: Any, mean: Any, logvar: Any, *, cotangent: Any, axis: Axis = None, bounds: Any = None, out: Outs = None
) -> tuple[Any, ...]:
    """Gradients of ``nll`` by x, mean and logvar, times the cotangent of its value.

    With u = (x - mean) / std: by x u / std, by mean -u / std, by logvar (1 - u**2) / 2.

    Examples
    --------
    >>> import agauss as ag
    >>> [float(g) for g in ag.nll_vjp(2.0, 0.0, 0.0, cotangent=1.0)]
    [2.0, -2.0, -1.5]
    """
    return _gradients(formulas.nll_vjp, _observed(x, mean, logvar), cotangent, axis, limit(bounds, 2), out)


def log_prob(x: Any, mean: Any, logvar: Any, *, axis: Axis = None, bounds: Any = None, out: Any = None) -> Any:
    """Log-density at x: ``-nll(x, mean, logvar)``, with the same arguments.

    Examples
    --------
    >>> import agauss as ag
    >>> round(float(ag.log_prob(0.0, 0.0, 0.0)), 6)
    -0.918939
    """
    return _reduced(formulas.log_prob, _observed(x, mean, logvar), axis, limit(bounds, 2), out)


def log_prob_vjp(
    x: Any, mean: Any, logvar: Any, *, cotangent: Any, axis: Axis = None, bounds: Any = None, out: Outs = None
) -> tuple[Any, ...]:
    """Gradients of ``log_prob`` by x, mean and logvar, times the cotangent of its value; see ``nll_vjp``.

    Examples
    --------
    >>> import agauss as ag
    >>> [float(g) for g in ag.log_prob_vjp(2.0, 0.0, 0.0, cotangent=1.0)]
    [-2.0, 2.0, 1.5]
    """
    return _gradients(formulas.log_prob_vjp, _observed(x, mean, logvar), cotangent, axis, limit(bounds, 2), out)


def entropy(logvar: Any, *, axis: Axis = None, bounds: Any = None, out: Any = None) -> Any:
    """Differential entropy: the sum over ``axis`` of ``(1 + log(2 pi) + logvar) / 2``, in nats.

    Examples
    --------
    >>> import agauss as ag, numpy as np
    >>> ag.entropy(np.zeros((2, 3)), axis=1)
    array([4.2568156, 4.2568156])
    """
    return _reduced(formulas.entropy, _logvar(logvar), axis, limit(bounds, 0), out)


def entropy_vjp(
    logvar: Any, *, cotangent: Any, axis: Axis = None, bounds: Any = None, out: Outs = None
) -> tuple[Any, ...]:
    """The gradient of ``entropy`` by logvar, 1/2, times the cotangent of its value.

    Examples
    --------
    >>> import agauss as ag, numpy as np
    >>> ag.entropy_vjp(np.zeros(2), cotangent=1.0)
    (array([0.5, 0.5]),)
    """
    return _gradients(formulas.entropy_vjp, _logvar(logvar), cotangent, axis, limit(bounds, 0), out)


def std(logvar: Any, *, bounds: Any = None, out: Any = None) -> Any:
    """Standard deviation, ``exp(logvar / 2)``, float32 or wider.

    Examples
    --------
    >>> import agauss as ag, numpy as np
    >>> ag.std(np.log(np.array([4.0, 9.0])))
    array([2., 3.])
    """
    return _reduced(formulas.std, _logvar(logvar), (), limit(bounds, 0), out)


def std_vjp(logvar: Any, *, cotangent: Any, bounds: Any = None, out: Outs = None) -> tuple[Any, ...]:
    """The gradient of ``std`` by logvar, std / 2, times the cotangent of its value.

    Examples
    --------
    >>> import agauss as ag, numpy as np
    >>> ag.std_vjp(np.zeros(1), cotangent=1.0)
    (array([0.5]),)
    """
    return _gradients(formulas.std_vjp, _logvar(logvar), cotangent, (), limit(bounds, 0), out)


def var(logvar: Any, *, bounds: Any = None, out: Any = None) -> Any:
    """Variance, ``exp(logvar)``, float32 or wider.

    Examples
    --------
    >>> import agauss as ag, numpy as np
    >>> ag.var(np.zeros(2))
    array([1., 1.])
    """
    return _reduced(formulas.var, _logvar(logvar), (), limit(bounds, 0), out)


def var_vjp(logvar: Any, *, cotangent: Any, bounds: Any = None, out: Outs = None) -> tuple[Any, ...]:
    """The gradient of ``var`` by logvar, the variance, times the cotangent of its value.

    Examples
    --------
    >>> import agauss as ag, numpy as np
    >>> ag.var_vjp(np.zeros(1), cotangent=3.0)
    (array([3.]),)
    """
    return _gradients(formulas.var_vjp, _logvar(logvar), cotangent, (), limit(bounds, 0), out)


def mode(mean: Any, logvar: Any, *, out: Any = None) -> Any:
    """The most likely value: a new array that holds ``mean`` at the shape that the arguments broadcast to.

    Examples
    --------
    >>> import agauss as ag, numpy as np
    >>> ag.mode(1.5, np.zeros(2))
    array([1.5, 1.5])
    """
    return _mapped(formulas.mode, operands(("mean", "logvar"), (mean, logvar)), (), out)


def mode_vjp(mean: Any, logvar: Any, *, cotangent: Any, out: Outs = None) -> tuple[Any, ...]:
    """Gradients of ``mode``: the cotangent by mean, and 0 by logvar.

    Examples
    --------
    >>> import agauss as ag, numpy as np
    >>> ag.mode_vjp(np.zeros(2), 0.0, cotangent=1.0)
    (array([1., 1.]), array(0.))
    """
    given = operands(("mean", "logvar"), (mean, logvar))
    return _pulled(formulas.mode_vjp, given, [cotangent_for(cotangent, given.shape, given.dtype, given)], (), outs=out)


def clamp(logvar: Any, *, bounds: Any, out: Any = None) -> Any:
    """logvar within its bounds, as a new array of its dtype.

    "hard", or a pair (low, high), cuts at the bounds; its gradient is 0 outside. "straight-through" cuts too, with the
    gradient 1 (which a library's own autograd does not see). "soft" is ``low + softplus(y - low)`` with ``y = high -
    softplus(high - logvar)`` (Chua et al., 2018), whose gradient is nowhere 0 until it underflows. Strings stand for
    [-30, 20]; (low, high, kind) says all. NaN stays.

    Examples
    --------
    >>> import agauss as ag, numpy as np
    >>> ag.clamp(np.array([-50.0, 3.0, 50.0]), bounds=(-30, 20))
    array([-30.,   3.,  20.])
    """
    return _mapped(formulas.value, _logvar(logvar), limit(bounds, 0), out)


def clamp_vjp(logvar: Any, *, cotangent: Any, bounds: Any, out: Outs = None) -> tuple[Any, ...]:
    """The gradient of ``clamp`` by logvar, times the cotangent of its value.

    Examples
    --------
    >>> import agauss as ag, numpy as np
    >>> ag.clamp_vjp(np.array([-50.0, 3.0]), cotangent=1.0, bounds="hard")
    (array([0., 1.]),)
    """
    given = _logvar(logvar)
    g = cotangent_for(cotangent, given.shape, given.dtype, given)
    return _pulled(formulas.value_vjp, given, [g], limit(bounds, 0), outs=out)


def saturated(logvar: Any, *, bounds: Any = DEFAULT_LIMITS, axis: Axis = None) -> Any:
    """How many log-variances over ``axis`` are strictly outside the bounds, where a hard bound stops the gradient.

    An integer of the library's default width, int64 mostly.

    Examples
    --------
    >>> import agauss as ag, numpy as np
    >>> ag.saturated(np.array([-50.0, 3.0, 50.0]))
    array(2)
    """
    checked = normal_bounds(bounds)
    low, high = checked[:2] if checked else (-float("inf"), float("inf"))
    given = operands(("logvar", "low", "high"), (logvar, low, high))
    xp = given.library.xp
    integral = xp.__array_namespace_info__().default_dtypes()["integral"]
    axes = normal_axes(axis, len(given.shape))
    if not axes:
        with given.library.on(given.arrays[0]):
            return xp.astype(_mapped(formulas.outside, given, (), None, given.wide), integral)
    (count,) = given.library.backend.row_reduce(formulas.outside, given.arrays, given.shape, axes, (integral,))
    return count


def sample(
    mean: Any,
    logvar: Any,
    *,
    rng: Any,
    index: Any = None,
    sample_shape: int | Sequence[int] = (),
    bounds: Any = None,
    out: Any = None,
) -> Any:
    """Draw z = mean + exp(logvar / 2) * eps with standard normal eps (reparameterisation).

    The noise of an element depends on the key, its sample's id and its place in the sample alone: threads, devices and
    the way that a batch is cut change no bit.

    Parameters
    ----------
    mean, logvar : array or number
    rng : None, int, Key, numpy.random.SeedSequence, or NumPy or CuPy Generator
        None takes fresh entropy; a Generator is advanced by one draw.
    index : integers, shape (B,), optional
        The ids of the samples along the first axis, 0 ... B - 1 by default: a data set's own, say. A negative id is
        refused in NumPy arrays and lists; in other arrays, where looking may stop a device, it is taken modulo 2**64.
    sample_shape : int or tuple of ints
        Independent draws, along new leading axes.
    bounds : see ``kl``
    out : array, optional
        Of the result's shape and dtype.

    Returns
    -------
    array, shape (\\*sample_shape, \\*broadcast shape), of the arguments' dtype

    Raises
    ------
    TypeError, ValueError
        As ``help(agauss)`` says; for an ``rng`` of another kind, a negative id, and an ``out`` that does not fit.

    References
    ----------
    Kingma and Welling, "Auto-encoding variational Bayes", 2014, section 2.4.

    Examples
    --------
    >>> import agauss as ag, numpy as np
    >>> mean, logvar = np.zeros((10, 3)), np.zeros((10, 3))
    >>> whole = ag.sample(mean, logvar, rng=7)
    >>> part = ag.sample(mean[4:6], logvar[4:6], rng=7, index=[4, 5])
    >>> bool((whole[4:6] == part).all())
    True
    """
    given = operands(("mean", "logvar"), (mean, logvar))
    draws = normal_shape(sample_shape, "sample_shape")
    return draw(formulas.sample, given, rng, index, draws, limit(bounds, 1), out)


def sample_vjp(
    mean: Any,
    logvar: Any,
    *,
    cotangent: Any,
    rng: Any,
    index: Any = None,
    sample_shape: int | Sequence[int] = (),
    bounds: Any = None,
    out: Outs = None,
) -> tuple[Any, ...]:
    """Gradients of ``sample`` by mean, 1, and by logvar, std * eps / 2, times the cotangent of its value.

    The noise is made again from ``rng``, which must stand for the same key: a Key or an int. With ``sample_shape`` the
    draws' gradients are added up.

    Examples
    --------
    >>> import agauss as ag, numpy as np
    >>> d_mean, d_logvar = ag.sample_vjp(np.zeros(2), np.zeros(2), cotangent=np.ones(2), rng=7)
    >>> d_logvar * 2 == ag.sample(np.zeros(2), np.zeros(2), rng=7)
    array([ True,  True])
    """
    given = operands(("mean", "logvar"), (mean, logvar))
    draws = normal_shape(sample_shape, "sample_shape")
    g = cotangent_for(cotangent, draws + given.shape, given.dtype, given)
    index = None if index is None else check_index(index, given.library, given.shape)
    limits, key = limit(bounds, 1), as_key(rng)
    if draws == ():
        return _pulled(formulas.sample_vjp, given, [g], limits, Noise(key, 0, index), out)
    _check_outs(out, given)
    xp = given.library.xp
    with given.library.on(given.arrays[0]):
        g = xp.reshape(xp.broadcast_to(g, draws + given.shape), (-1, *given.shape))
        total = tuple(xp.zeros_like(a, dtype=given.wide) for a in given.arrays)
        for number in range(g.shape[0]):
            one = _pulled(formulas.sample_vjp, given, [g[number, ...]], limits, Noise(key, number, index))
            total = tuple(a + xp.astype(b, given.wide) for a, b in zip(total, one, strict=True))
        return _delivered([xp.astype(a, given.dtype) for a in total], given, out)


def sample_block(
    mean: Any,
    logvar: Any,
    *,
    key: Any,
    offset: int | Sequence[int],
    event_size: int | Sequence[int],
    bounds: Any = None,
    out: Any = None,
) -> Any:
    """Sample a block of a larger array, with the noise that ``sample`` of the whole has there.

    For what cuts arrays by itself: a Ray or Spark task, a loader's worker. ``sample`` does it for Dask arrays.

    Parameters
    ----------
    mean, logvar : array or number
        The block, of at least one dimension where they are broadcast.
    key : int, Key, numpy.random.SeedSequence, or NumPy or CuPy Generator
        What ``sample`` of the whole takes as ``rng``, the same for all blocks. A Generator is advanced by one draw.
    offset, event_size : int, or tuple of ints
        Of whole samples, the id of the block's first one, under 2**64, and how many elements a sample has. Of a block
        that may be cut along any axis, its first element's place in the whole, an int for each axis, and the whole's
        extents from the second axis on.
    bounds : see ``kl``
    out : array, optional
        Of the result's shape and dtype.

    Returns
    -------
    array, of the broadcast shape and the arguments' dtype

    Raises
    ------
    TypeError, ValueError
        As ``help(agauss)`` says; for a ``key`` of another kind or None, and where the block is not within the whole.

    Examples
    --------
    >>> import agauss as ag, numpy as np
    >>> mean, logvar = np.zeros((10, 3, 4)), np.zeros((10, 3, 4))
    >>> whole = ag.sample(mean, logvar, rng=7)
    >>> samples = ag.sample_block(mean[4:6], logvar[4:6], key=7, offset=4, event_size=12)
    >>> bool((whole[4:6] == samples).all())
    True
    >>> block = ag.sample_block(mean[4:6, 1:], logvar[4:6, 1:], key=7, offset=(4, 1, 0), event_size=(3, 4))
    >>> bool((whole[4:6, 1:] == block).all())
    True
    """
    given = operands(("mean", "logvar"), (mean, logvar))
    place, events = block_of(given.shape, offset, event_size)
    if key is None:
        raise TypeError("key must be one that all blocks share, an int or a Key; got None")
    limits = limit(bounds, 1)
    if out is not None:
        check_out(out, given.library, given.shape, given.dtype)  # before a Generator is advanced
    noise = Noise(as_key(key, "key"), strides=row_major((0, *events))).at(place)
    return _mapped(formulas.sample, given, limits, out, noise=noise)


def sample_and_kl(
    parameters: Any,
    *,
    rng: Any,
    axis: int = 1,
    index: Any = None,
    bounds: Any = DEFAULT_LIMITS,
    out: Any = None,
) -> tuple[Any, Any]:
    """A VAE's forward pass, reading the parameters once: z, and the KL to the standard normal of each sample.

    Parameters
    ----------
    parameters : array, shape (B, 2C, ...)
        mean, then log-variance, along ``axis``.
    rng, index : see ``sample``
    axis : int
    bounds : see ``kl``
    out : array, optional
        Receives z.

    Returns
    -------
    z : array, shape (B, C, ...), of the parameters' dtype
    kl : array, shape (B,), in nats, float32 or wider

    Raises
    ------
    TypeError, ValueError
        As ``help(agauss)`` says; for fewer than two dimensions, and an odd extent along ``axis``.

    Examples
    --------
    >>> import agauss as ag, numpy as np
    >>> z, kl = ag.sample_and_kl(np.zeros((3, 8)), rng=7)
    >>> z.shape, kl
    ((3, 4), array([0., 0., 0.]))
    """
    mean, logvar = halves(parameters, axis)
    return sample_and_kl_of(mean, logvar, rng=rng, axis=tuple(range(1, mean.ndim)), index=index, bounds=bounds, out=out)


def sample_and_kl_of(
    mean: Any, logvar: Any, *, rng: Any, axis: Axis, index: Any = None, bounds: Any = None, out: Any = None
) -> tuple[Any, Any]:
    """``sample_and_kl`` for a mean and a log-variance of their own, with the KL summed over ``axis``."""
    given = operands(("mean", "logvar"), (mean, logvar))
    axes, limits = normal_axes(axis, len(given.shape)), limit(bounds, 1)
    if out is not None:
        check_out(out, given.library, given.shape, given.dtype)
    if index is not None:
        index = check_index(index, given.library, given.shape)
    z, total = given.library.backend.row_reduce(
        formulas.sample_and_kl,
        given.arrays,
        given.shape,
        axes,
        (given.dtype, given.wide),
        bounds=limits,
        noise=Noise(as_key(rng), 0, index),
        summed=1,
        outs=(out,) if out is not None and given.library.fills else None,
    )
    return given.library.deliver(z, out), total


def sample_and_kl_vjp(
    parameters: Any,
    *,
    cotangent: tuple[Any, Any],
    rng: Any,
    axis: int = 1,
    index: Any = None,
    bounds: Any = DEFAULT_LIMITS,
    out: Any = None,
) -> Any:
    """The gradient of ``sample_and_kl`` by the parameters, in one pass, with the noise made again from ``rng``.

    Parameters
    ----------
    parameters, rng, axis, index, bounds : as given to ``sample_and_kl``
        ``rng`` must stand for the same key: a Key or an int.
    cotangent : (d_z, d_kl)
        Of z's shape and dtype and of kl's; either may be a number.
    out : array like ``parameters``, optional
        May be ``parameters`` itself.

    Returns
    -------
    array like ``parameters``

    Examples
    --------
    >>> import agauss as ag, numpy as np
    >>> ag.sample_and_kl_vjp(np.full((1, 2), 3.0), cotangent=(0.0, 1.0), rng=7).round(4)
    array([[3.    , 9.5428]])
    """
    mean, logvar = halves(parameters, axis)
    library = library_of(parameters)
    assert library is not None  # halves saw to it
    if out is not None:
        check_out(out, library, tuple(parameters.shape), parameters.dtype)
    options = {"cotangent": cotangent, "rng": rng, "axis": tuple(range(1, mean.ndim)), "index": index, "bounds": bounds}
    if not library.fills:
        return library.deliver(library.xp.concat(sample_and_kl_of_vjp(mean, logvar, **options), axis=axis), out)
    out = library.backend.empty(parameters.shape, parameters.dtype, parameters) if out is None else out
    sample_and_kl_of_vjp(mean, logvar, **options, out=halves(out, axis))
    return out


def sample_and_kl_of_vjp(
    mean: Any,
    logvar: Any,
    *,
    cotangent: tuple[Any, Any],
    rng: Any,
    axis: Axis,
    index: Any = None,
    bounds: Any = None,
    out: Outs = None,
) -> tuple[Any, ...]:
    """Gradients of ``sample_and_kl_of`` by mean and logvar."""
    given = operands(("mean", "logvar"), (mean, logvar))
    axes, limits = normal_axes(axis, len(given.shape)), limit(bounds, 1)
    if not isinstance(cotangent, (tuple, list)) or len(cotangent) != 2:
        raise TypeError(f"cotangent must be a pair (d_z, d_kl); got {type(cotangent).__name__}")
    kept = tuple([n for place, n in enumerate(given.shape) if place not in axes])
    cotangents = [
        cotangent_for(cotangent[0], given.shape, given.dtype, given, "cotangent d_z"),
        _expanded(cotangent_for(cotangent[1], kept, given.wide, given, "cotangent d_kl"), given, axes),
    ]
    if index is not None:
        index = check_index(index, given.library, given.shape)
    return _pulled(formulas.sample_and_kl_vjp, given, cotangents, limits, Noise(as_key(rng), 0, index), out)


def vjp(op: Callable[..., Any], *primals: Any, **kwargs: Any) -> tuple[Any, Callable[[Any], tuple[Any, ...]]]:
    """The value of an operation, and the function that pulls a cotangent of it back; follows ``jax.vjp``.

    Parameters
    ----------
    op : one of this library's functions that have a ``*_vjp``
    *primals : its array arguments
    **kwargs : its other arguments
        An ``rng`` is made into a key once, so that the noise of both ways is the same.

    Returns
    -------
    value
    pullback : cotangent -> tuple of gradients, one for each of the primals

    Examples
    --------
    >>> import agauss as ag, numpy as np
    >>> value, pullback = ag.vjp(ag.kl, np.array([3.0]), np.array([0.0]))
    >>> float(value), pullback(2.0)
    (4.5, (array([6.]), array([0.])))
    """
    backward = _VJPS.get(op)
    if backward is None:
        raise TypeError(f"op must be agauss's own {', '.join(f.__name__ for f in _VJPS)}; got {name_of(op)}")
    if kwargs.get("out") is not None:
        raise TypeError("out must be None under vjp; got an array")
    if "rng" in kwargs:
        kwargs["rng"] = as_key(kwargs["rng"])
    value = op(*primals, **kwargs)

    def pullback(cotangent: Any) -> tuple[Any, ...]:
        gradients = backward(*primals, cotangent=cotangent, **kwargs)
        return gradients if isinstance(gradients, tuple) else (gradients,)

    return value, pullback


_VJPS: dict[Callable[..., Any], Callable[..., Any]] = {
    kl: kl_vjp,
    normal_kl: normal_kl_vjp,
    nll: nll_vjp,
    log_prob: log_prob_vjp,
    entropy: entropy_vjp,
    std: std_vjp,
    var: var_vjp,
    mode: mode_vjp,
    clamp: clamp_vjp,
    sample: sample_vjp,
    sample_and_kl: sample_and_kl_vjp,
}


def name_of(op: Any) -> str:
    return str(getattr(op, "__qualname__", repr(op)))


def _one_or_two(mean: Any, logvar: Any, mean2: Any, logvar2: Any) -> Operands:
    if mean2 is None and logvar2 is None:
        return operands(("mean", "logvar"), (mean, logvar))
    if mean2 is None or logvar2 is None:
        raise ValueError(
            f"mean2 and logvar2 must be given together; got {'logvar2' if mean2 is None else 'mean2'} alone "
            "(axis and the rest are given by name)"
        )
    return operands(("mean", "logvar", "mean2", "logvar2"), (mean, logvar, mean2, logvar2))


def _two_normals(mean1: Any, logvar1: Any, mean2: Any, logvar2: Any) -> Operands:
    return operands(("mean1", "logvar1", "mean2", "logvar2"), (mean1, logvar1, mean2, logvar2))


def _observed(x: Any, mean: Any, logvar: Any) -> Operands:
    return operands(("x", "mean", "logvar"), (x, mean, logvar))


def _logvar(logvar: Any) -> Operands:
    return operands(("logvar",), (logvar,))


def _mapped(
    term: Callable[..., Any],
    given: Operands,
    limits: Limits,
    out: Any,
    dtype: Any = None,
    noise: Noise | None = None,
) -> Any:
    dtype = given.dtype if dtype is None else dtype
    if out is not None:
        check_out(out, given.library, given.shape, dtype)
    library = given.library
    outs = (out,) if out is not None and library.fills else None
    (result,) = library.backend.map(term, given.arrays, given.shape, (dtype,), bounds=limits, noise=noise, outs=outs)
    return library.deliver(result, out)


def _reduced(term: Callable[..., Any], given: Operands, axis: Axis, limits: Limits, out: Any) -> Any:
    """The sum of a term over the axes; over no axes, the term itself."""
    axes, dtype = normal_axes(axis, len(given.shape)), given.wide
    if not axes:
        return _mapped(term, given, limits, out, dtype)
    if out is not None:
        kept = tuple(n for place, n in enumerate(given.shape) if place not in axes)
        check_out(out, given.library, kept, dtype)
    (total,) = given.library.backend.row_reduce(term, given.arrays, given.shape, axes, (dtype,), bounds=limits)
    return given.library.deliver(total, out)


def _gradients(
    term: Callable[..., Any], given: Operands, cotangent: Any, axis: Axis, limits: Limits, out: Outs
) -> tuple[Any, ...]:
    """The gradients of a sum of a term, from the cotangent of the sum."""
    axes = normal_axes(axis, len(given.shape))
    kept = tuple(n for place, n in enumerate(given.shape) if place not in axes)
    g = cotangent_for(cotangent, kept, given.wide, given)
    return _pulled(term, given, [_expanded(g, given, axes)], limits, outs=out)


def _expanded(cotangent: Any, given: Operands, axes: Shape) -> Any:
    """A cotangent of a sum with extents of 1 where the axes were."""
    shape = tuple(cotangent.shape)
    rank = len(given.shape)
    shape = (1,) * (rank - len(axes) - len(shape)) + shape
    entries = iter(shape)
    full = tuple([1 if place in axes else next(entries) for place in range(rank)])
    return given.library.xp.reshape(cotangent, full)


def _pulled(
    term: Callable[..., Any],
    given: Operands,
    cotangents: list[Any],
    limits: Limits,
    noise: Noise | None = None,
    outs: Outs = None,
) -> tuple[Any, ...]:
    """The gradients by the arguments: one map for those of the full shape, a sum for each that was broadcast."""
    shape, backend = given.shape, given.library.backend
    _check_outs(outs, given)
    arrays = [*cotangents, *given.arrays]
    shapes = [tuple(a.shape) for a in given.arrays]
    options: dict[str, Any] = {
        "bounds": tuple([(position + len(cotangents), *bound) for position, *bound in limits]),
        "cotangents": len(cotangents),
        "noise": noise,
    }
    gradients: list[Any] = [None] * len(shapes)
    # The sums first, for the map may write to the arguments.
    for place, own in enumerate(shapes):
        if own != shape:
            padded = (1,) * (len(shape) - len(own)) + own
            axes = tuple([axis for axis, n in enumerate(padded) if n != shape[axis] or axis < len(shape) - len(own)])
            (total,) = backend.row_reduce(term, arrays, shape, axes, (given.dtype,), summed=place, **options)
            gradients[place] = given.library.xp.reshape(total, own)
    dtypes = [given.dtype if own == shape else None for own in shapes]
    if any(dtype is not None for dtype in dtypes):
        sinks = None
        if outs is not None and given.library.fills:
            sinks = [None if dtype is None else out for out, dtype in zip(outs, dtypes, strict=True)]
        mapped = backend.map(term, arrays, shape, dtypes, outs=sinks, **options)
        gradients = [g if total is None else total for g, total in zip(mapped, gradients, strict=True)]
    return _delivered(gradients, given, outs)


def _check_outs(outs: Outs, given: Operands) -> None:
    """Refuse an `out` of a vjp that is not an array for each argument."""
    if outs is None:
        return
    if not isinstance(outs, (tuple, list)) or len(outs) != len(given.arrays):
        raise TypeError(f"out must be None or {len(given.arrays)} arrays, one for each argument; got {_counted(outs)}")
    for own, a in zip(outs, given.arrays, strict=True):
        check_out(own, given.library, tuple(a.shape), given.dtype)


def _counted(x: Any) -> str:
    return f"{len(x)}" if isinstance(x, (tuple, list)) else type(x).__name__


def _delivered(gradients: Sequence[Any], given: Operands, outs: Outs) -> tuple[Any, ...]:
    if outs is None:
        return tuple(gradients)
    return tuple([given.library.deliver(g, out) for g, out in zip(gradients, outs, strict=True)])
