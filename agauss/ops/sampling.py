"""Reparameterised samples, and a VAE's forward pass: the sample and its KL in one."""

from __future__ import annotations  # help() shows them as they are written

from collections.abc import Sequence
from math import prod
from typing import Any

from agauss.arrays import library_of, operands
from agauss.backends.protocol import Noise
from agauss.backends.strides import row_major
from agauss.execution import (
    backward,
    check_out,
    check_outs,
    compute,
    cotangent_for,
    delivered,
    draws,
    forward,
    gradients,
    pull_back,
    value,
)
from agauss.keys import as_key, repeatable, words_of
from agauss.operations import SAMPLE, SAMPLE_AND_KL
from agauss.options import DEFAULT_LIMITS, block_of, check_index, halves, sizes_of
from agauss.typing import Array, Axis, Bounds, Generator, Index, Number, Rng, Seed

__all__ = [
    "sample",
    "sample_and_kl",
    "sample_and_kl_vjp",
    "sample_block",
    "sample_vjp",
]


def sample(
    mean: Array | Number,
    logvar: Array | Number,
    *,
    rng: Rng,
    index: Index = None,
    sample_shape: int | Sequence[int] = (),
    bounds: Bounds = None,
    out: Array | None = None,
) -> Array:
    """Draw z = mean + exp(logvar / 2) * eps with standard normal eps (reparameterisation).

    The noise of an element is a function of the key, its sample's id, its position in the sample and the dtype's width.
    Threads, devices, array libraries and the way that a batch is cut do not change it. z has the same bits on NumPy and
    CuPy. Elsewhere the library's own exp may differ in the last digits. Given its noise, an element is within 4 ulp of
    ``abs(mean) + std * abs(eps)``.

    Parameters
    ----------
    mean, logvar : array or number
    rng : None, int, Key, numpy.random.SeedSequence, or NumPy or CuPy Generator
        None takes fresh entropy; a Generator is advanced by one draw.
    index : integers, shape (B,), or uint32, shape (B, 2), optional
        The ids of the samples along the first axis, 0 ... B - 1 by default: a data set's own, say. An id times the
        elements of a sample is taken modulo 2**64, so keep ids small. A negative id is refused in NumPy arrays and
        lists. In other arrays, where checking would force a synchronisation, it is taken modulo 2**64. In shape (B, 2),
        each id is two words, the lower 32 bits first: JAX without x64 cuts wider integers to 32 bits.
    sample_shape : int or tuple of ints
        Independent draws, along new leading axes.
    bounds : see ``kl``
    out : array, optional
        Of the result's shape and dtype.

    Returns
    -------
    array, shape ``sample_shape + broadcast shape``, of the arguments' dtype

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
    sizes = sizes_of(sample_shape, "sample_shape")
    if sizes == ():
        return value(SAMPLE, (mean, logvar), bounds=(bounds,), rng=rng, index=index, out=out)
    given = operands(SAMPLE.arguments, (mean, logvar))
    return draws(SAMPLE, given, sizes, bounds=(bounds,), rng=rng, index=index, out=out)


def sample_vjp(
    mean: Array | Number,
    logvar: Array | Number,
    *,
    cotangent: Array | Number,
    rng: Seed,
    index: Index = None,
    sample_shape: int | Sequence[int] = (),
    bounds: Bounds = None,
    out: Sequence[Array] | None = None,
) -> tuple[Array, Array]:
    """Gradients of ``sample`` with respect to mean, 1, and logvar, std * eps / 2, times the cotangent of its value.

    The noise is regenerated, so ``rng``, ``index``, ``sample_shape`` and ``bounds`` must be what ``sample`` was given.
    A Generator, or None, would give other noise and is refused. With ``sample_shape`` the draws' gradients are added
    up.

    Examples
    --------
    >>> import agauss as ag, numpy as np
    >>> d_mean, d_logvar = ag.sample_vjp(np.zeros(2), np.zeros(2), cotangent=np.ones(2), rng=7)
    >>> d_logvar * 2 == ag.sample(np.zeros(2), np.zeros(2), rng=7)
    array([ True,  True])
    """
    given = operands(SAMPLE.arguments, (mean, logvar))
    sizes = sizes_of(sample_shape, "sample_shape")
    if sizes == ():
        return pull_back(SAMPLE, (mean, logvar), cotangent, bounds=(bounds,), rng=rng, index=index, out=out)
    g = cotangent_for(cotangent, sizes + given.shape, given.dtype, given)
    work, _ = backward(SAMPLE, given, (0.0,), bounds=(bounds,))  # the same for each draw, but for the cotangent
    work = work._replace(dtypes=(given.wide,) * len(given.arrays))
    index = None if index is None else check_index(index, given.library, given.shape)
    words = words_of(repeatable(rng))
    check_outs(out, given)
    xp, widest = given.library.xp, given.library.widest
    with given.library.on(given.arrays[0]), given.library.quiet():
        g = xp.reshape(xp.broadcast_to(g, sizes + given.shape), (prod(sizes), *given.shape))
        total = tuple(xp.zeros_like(a, dtype=widest) for a in given.arrays)
        for number in range(g.shape[0]):
            one = gradients(work, given, (g[number, ...],), Noise(words, number, index))
            total = tuple(a + xp.astype(b, widest) for a, b in zip(total, one, strict=True))
        return delivered([xp.astype(a, given.dtype) for a in total], given.library, out)


def sample_block(
    mean: Array | Number,
    logvar: Array | Number,
    *,
    key: Seed | Generator,
    offset: int | Sequence[int],
    event_size: int | Sequence[int],
    bounds: Bounds = None,
    out: Array | None = None,
) -> Array:
    """Sample a block of a larger array, with the noise that ``sample`` of the whole has there.

    For programs that cut arrays themselves: a Ray or Spark task, a loader's worker. Dask arrays need only ``sample``.

    Parameters
    ----------
    mean, logvar : array or number
        The block. Broadcast, they have at least one dimension.
    key : int, Key, numpy.random.SeedSequence, or NumPy or CuPy Generator
        What ``sample`` of the whole takes as ``rng``, the same for all blocks. A Generator is advanced by one draw.
    offset, event_size : int, or tuple of ints
        Whole samples: ``offset`` is the id of the first, under 2**64, and ``event_size`` the elements per sample.
        Arbitrary blocks: ``offset`` is the block's start index on each axis, and ``event_size`` the full array's shape
        without the batch axis.
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
    given = operands(SAMPLE.arguments, (mean, logvar))
    place, events = block_of(given.shape, offset, event_size)
    if key is None:
        raise TypeError("key must be one that all blocks share, an int or a Key; got None")
    work = forward(SAMPLE, given, bounds=(bounds,))
    if out is not None:
        check_out(out, given.library, given.shape, given.dtype)
    noise = Noise(as_key(key, "key").words(), strides=row_major((0, *events))).at(place)
    return compute(work, given, noise, out)[0]


def sample_and_kl(
    parameters: Array,
    *,
    rng: Rng,
    axis: int = 1,
    index: Index = None,
    bounds: Bounds = DEFAULT_LIMITS,
    out: Array | None = None,
) -> tuple[Array, Array]:
    """A VAE's forward pass, reading the parameters once: z, and the KL to the standard normal of each sample.

    The log-variance is bounded to [-30, 20] by default, as in the class and unlike in ``sample`` and ``kl``. For the KL
    to another prior, or of each latent, call these two.

    Parameters
    ----------
    parameters : array, shape (B, 2C, ...)
        mean, then log-variance, along ``axis``.
    rng, index : see ``sample``
    axis : int
    bounds : see ``kl``
    out : array, optional
        Receives z. The KL is always a new array.

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
    mean: Array | Number,
    logvar: Array | Number,
    *,
    rng: Rng,
    axis: Axis,
    index: Index = None,
    bounds: Bounds = None,
    out: Array | None = None,
) -> tuple[Array, Array]:
    """``sample_and_kl`` for a mean and a log-variance of their own, with the KL summed over ``axis``."""
    return value(SAMPLE_AND_KL, (mean, logvar), axis=axis, bounds=(bounds,), rng=rng, index=index, out=out)


def sample_and_kl_vjp(
    parameters: Array,
    *,
    cotangent: tuple[Array | Number, Array | Number],
    rng: Seed,
    axis: int = 1,
    index: Index = None,
    bounds: Bounds = DEFAULT_LIMITS,
    out: Array | None = None,
) -> Array:
    """The gradient of ``sample_and_kl`` with respect to the parameters, in one pass; see ``sample_vjp`` for ``rng``.

    Parameters
    ----------
    parameters, rng, axis, index, bounds : as given to ``sample_and_kl``
        ``rng`` must not be a Generator or None, for the noise is regenerated from it.
    cotangent : (d_z, d_kl)
        Of z's shape and dtype and of kl's, or what broadcasts to them; either may be a number.
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
    options: dict[str, Any] = {
        "cotangent": cotangent,
        "rng": rng,
        "axis": tuple(range(1, mean.ndim)),
        "index": index,
        "bounds": bounds,
    }
    if not library.fills:
        return library.deliver(library.xp.concat(sample_and_kl_of_vjp(mean, logvar, **options), axis=axis), out)
    out = library.backend.empty(parameters.shape, parameters.dtype, parameters) if out is None else out
    sample_and_kl_of_vjp(mean, logvar, **options, out=halves(out, axis))
    return out


def sample_and_kl_of_vjp(
    mean: Array | Number,
    logvar: Array | Number,
    *,
    cotangent: tuple[Array | Number, Array | Number],
    rng: Seed,
    axis: Axis,
    index: Index = None,
    bounds: Bounds = None,
    out: Sequence[Array] | None = None,
) -> tuple[Array, Array]:
    """Gradients of ``sample_and_kl_of`` with respect to mean and logvar."""
    return pull_back(
        SAMPLE_AND_KL, (mean, logvar), cotangent, axis=axis, bounds=(bounds,), rng=rng, index=index, out=out
    )
