"""Keys, Philox and arrays of noise, for users; maths/noise.py has the noise's arithmetic."""

from __future__ import annotations  # help() shows them as they are written

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from agauss.arrays import FLOATING, NUMPY, Library, Operands, broadcast, dtype_name, floating, namespace
from agauss.backends.protocol import Noise
from agauss.execution import draws, value
from agauss.keys import Key, words_of
from agauss.maths import noise
from agauss.operations import NOISE
from agauss.options import check_index, refuse_frozen_noise, sizes_of
from agauss.typing import Index, Rng
from agauss.words import ArrayMaths

__all__ = ["Key", "bits", "normal", "philox4x32", "uniform"]

# Of each dtype, how many leading bits of its word a uniform number takes: all that the dtype holds below 1.
DIGITS = {"float16": 11, "bfloat16": 8, "float32": 24, "float64": 53}


def __dir__() -> list[str]:
    return __all__


@overload
def normal(
    shape: int | Sequence[int],
    *,
    rng: Rng,
    dtype: Any = "float32",
    index: Index = None,
    device: Any = None,
    xp: None = None,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]: ...
@overload
def normal(
    shape: int | Sequence[int],
    *,
    rng: Rng,
    dtype: Any = "float32",
    index: Index = None,
    device: Any = None,
    xp: Any,
    out: Any = None,
) -> Any: ...
def normal(
    shape: int | Sequence[int],
    *,
    rng: Rng,
    dtype: Any = "float32",
    index: Index = None,
    device: Any = None,
    xp: Any = None,
    out: Any = None,
) -> Any:
    """Standard normal noise: the eps of ``sample``, the same on every device and for any number of threads.

    Element e of the array, counted in C order, is a function of the key, of e and of the dtype's width
    (docs/noise.md). So a longer array begins with a shorter one's numbers.

    Parameters
    ----------
    shape : int or tuple of ints
    rng : None, int, Key, numpy.random.SeedSequence, or NumPy or CuPy Generator
        None takes fresh entropy; a Generator is advanced by one draw.
    dtype : a floating dtype of ``xp``, or its name
        float16, bfloat16 and float32 hold the same noise, rounded; float64 has noise of its own. ``dtype=x.dtype`` and
        ``xp=`` its library make noise that goes with an array x.
    index : integers, shape (B,), or uint32, shape (B, 2), optional
        The ids of the samples along the first axis, 0 ... B - 1 by default; see ``agauss.sample``.
    device, xp
        Where to make the array, and the array namespace to make it in; NumPy by default.
    out : array, optional
        Filled and returned in place of a new array.

    Raises
    ------
    TypeError, ValueError
        For a dtype that is not floating, a negative extent, an ``rng`` of another kind, an ``out`` that does not fit.

    References
    ----------
    Salmon, Moraes, Dror and Shaw, SC'11 (Philox4x32-10); Box and Muller, Ann. Math. Stat. 29 (1958).

    Examples
    --------
    >>> import agauss as ag
    >>> ag.random.normal(3, rng=1).round(3)
    array([ 0.38 , -0.296, -0.249], dtype=float32)
    >>> ag.random.normal((2, 2), rng=1)[1, 0] == ag.random.normal(3, rng=1)[2]
    np.True_
    """
    sizes = sizes_of(shape, "shape")
    if (xp is None or xp is np) and device is None and isinstance(dtype, (str, np.dtype, type)):
        return value(NOISE, (_nothing(sizes, dtype),), rng=rng, index=index, out=out)
    library = namespace(xp)
    given = Operands(library, [_model(library, dtype, device)], sizes)
    return draws(NOISE, given, (), rng=rng, index=index, out=out)


def uniform(
    shape: int | Sequence[int],
    *,
    rng: Rng,
    dtype: Any = "float32",
    index: Index = None,
    device: Any = None,
    xp: Any = None,
) -> Any:
    """Uniform numbers in [0, 1): of each element's word the leading bits, as many as the dtype holds below 1.

    An element's word is that of ``bits``: of 64 bits for float64, and of 32 for the others. The numbers are multiples
    of 2**-24 in float32, 2**-53 in float64, 2**-11 in float16 and 2**-8 in bfloat16. 1 is never reached, and 0 is as
    likely as each other. All libraries give the same bits.

    Parameters
    ----------
    shape, rng, dtype, index, device, xp : see ``normal``

    Raises
    ------
    TypeError, ValueError
        As for ``normal``.

    Notes
    -----
    It takes the words that ``normal`` takes. So draw uniform and normal noise with different keys, as ``Key.fold_in``
    makes them.

    Examples
    --------
    >>> import agauss as ag
    >>> ag.random.uniform(3, rng=1).round(3)
    array([0.89 , 0.895, 0.586], dtype=float32)
    """
    library = namespace(xp)
    model = _model(library, dtype, device)
    words, digits = _words(library, model, shape, rng, index), DIGITS[dtype_name(model.dtype)]
    wide = Operands(library, [model], ()).wide
    width = 64 if dtype_name(wide) == "float64" else 32
    with library.on(model):
        leading = (words >> (width - digits)) & (2**digits - 1)
        numbers = library.xp.astype(leading, wide) * 2.0**-digits
        return numbers if numbers.dtype == model.dtype else library.xp.astype(numbers, model.dtype)


def bits(
    shape: int | Sequence[int],
    *,
    rng: Rng,
    dtype: Any = "uint32",
    index: Index = None,
    device: Any = None,
    xp: Any = None,
) -> Any:
    """Random integers of all their bits: Philox's words, in the order of the elements.

    As uint32, element e is word e mod 4 of block e div 4. As uint64, it is words 2(e mod 2), the lower half, and
    2(e mod 2) + 1 of block e div 2 (docs/noise.md).

    Parameters
    ----------
    shape, rng, index, device, xp : see ``normal``
    dtype : uint32 or uint64 of ``xp``, or its name

    Raises
    ------
    TypeError, ValueError
        For another dtype, and as for ``normal``.

    Examples
    --------
    >>> import agauss as ag
    >>> ag.random.bits(4, rng=0)
    array([1713891541, 3781805453, 3159862348, 2600524760], dtype=uint32)
    """
    library = namespace(xp)
    name = dtype if isinstance(dtype, str) else np.dtype(dtype).name if xp in (None, np) else dtype_name(dtype)
    if name not in ("uint32", "uint64") or not hasattr(library.xp, name):
        raise TypeError(f"dtype must be uint32 or uint64, where {library.name} has it; got {dtype!r}")
    model = _model(library, "float32" if name == "uint32" else "float64", device)
    words = _words(library, model, shape, rng, index)
    with library.on(model):
        return library.xp.astype(words, getattr(library.xp, name))


@lru_cache
def _nothing(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """An array of NumPy that takes no memory."""
    return np.broadcast_to(np.zeros((), _model(NUMPY, dtype, None).dtype), shape)


def _words(library: Library, model: Any, shape: Any, rng: Any, index: Any) -> Any:
    """The random bits of an array, as integers."""
    sizes = sizes_of(shape, "shape")
    index = None if index is None else check_index(index, library, sizes)
    refuse_frozen_noise(rng, [model])
    return library.words(Noise(words_of(rng), 0, index), sizes, model)


def philox4x32(counter: NDArray[np.uint32], key: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """The words of Philox4x32-10 at counters, under keys: the generator alone, to check or to build on.

    Parameters
    ----------
    counter : uint32 array, shape (..., 4)
    key : uint32 array, shape (..., 2)
        Leading dimensions broadcast.

    Returns
    -------
    uint32 array, shape (..., 4)

    Raises
    ------
    TypeError, ValueError
        For another dtype, or a last extent that is not 4 and 2.

    References
    ----------
    Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC'11, and its known answers.

    Examples
    --------
    >>> import agauss as ag, numpy as np
    >>> ag.random.philox4x32(np.zeros(4, np.uint32), np.zeros(2, np.uint32))
    array([1713891541, 3781805453, 3159862348, 2600524760], dtype=uint32)
    """
    for name, words, n in (("counter", counter, 4), ("key", key, 2)):
        if not isinstance(words, np.ndarray) or words.dtype != np.uint32:
            raise TypeError(
                f"{name} must be a NumPy array of uint32; got {getattr(words, 'dtype', type(words).__name__)}"
            )
        if words.shape[-1:] != (n,):
            raise ValueError(f"{name} must have a last extent of {n}; got shape {words.shape}")
    broadcast(("counter", "key"), (counter.shape[:-1], key.shape[:-1]))
    m = ArrayMaths(np, np.int64)
    wide_counter, wide_key = counter.astype(np.int64), key.astype(np.int64)
    words = noise.philox(m, *(wide_counter[..., k] for k in range(4)), *(wide_key[..., k] for k in range(2)))
    return np.stack(np.broadcast_arrays(*words), axis=-1).astype(np.uint32)


def _model(library: Library, dtype: Any, device: Any) -> Any:
    """An array without dimensions or a certain value, of a dtype given as such or by name, on a device."""
    xp = library.xp
    if isinstance(dtype, str):
        if dtype == "bfloat16" and not hasattr(xp, dtype):
            try:
                from ml_dtypes import bfloat16
            except ImportError:
                raise TypeError("dtype bfloat16 needs the package ml_dtypes") from None
            dtype = bfloat16
        elif dtype not in FLOATING or not hasattr(xp, dtype):
            raise TypeError(f"dtype must be one of {', '.join(FLOATING)} that {library.name} has; got {dtype!r}")
        else:
            dtype = getattr(xp, dtype)
    elif dtype is None:
        raise TypeError(f"dtype must be one of {', '.join(FLOATING)}; got None")
    # asarray, for CuPy's empty would not look at the device.
    try:
        model = xp.empty((), dtype=dtype) if device is None else xp.asarray(0.0, dtype=dtype, device=device)
    except TypeError:
        raise TypeError(f"dtype must be one of {library.name}, or its name; got {dtype!r}") from None
    floating("dtype", model.dtype)
    return model
