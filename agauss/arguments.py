"""What a public function was given, checked once and made uniform; knows no formula and no backend.

Every error names the argument, what it must be and what came, and is raised before anything is read or written.
"""

import math
import operator
from collections.abc import Callable, Sequence
from functools import lru_cache, wraps
from typing import Any, TypeVar

import numpy as np

from agauss.dispatch import FLOATING, NUMPY, Library, device_of, dtype_name, library_of

Shape = tuple[int, ...]
Bounds = tuple[float, float, str]  # low, high, kind
DEFAULT_LIMITS = (-30.0, 20.0)
BOUND_KINDS = ("hard", "soft", "straight-through")
_SINGLE_OR_DOUBLE = (np.dtype(np.float32), np.dtype(np.float64))  # NumPy's, which most calls come with


F = TypeVar("F", bound=Callable[..., Any])


def remembered(check: F) -> F:
    """A check that remembers the arguments that passed, where they can be: small calls are made again and again."""

    @lru_cache(maxsize=1024)
    def cached(kinds: Any, *args: Any) -> Any:
        return check(*args)

    @wraps(check)
    def call(first: Any, *rest: Any) -> Any:
        # 1, 1.0 and True are the same key, but not the same argument.
        kinds = tuple(map(type, first)) if first.__class__ is tuple else first.__class__
        try:
            return cached(kinds, first, *rest)
        except TypeError:  # cannot be hashed, or is refused: the check itself says which
            return check(first, *rest)

    return call  # type: ignore[return-value]


class Operands:
    """Arrays of one library, dtype and device, and the shape that they broadcast to."""

    __slots__ = ("arrays", "dtype", "library", "shape")

    def __init__(self, library: Library, arrays: list[Any], shape: Shape) -> None:
        self.library = library
        self.arrays = arrays
        self.shape = shape
        self.dtype = arrays[0].dtype

    @property
    def wide(self) -> Any:
        """The dtype of sums: float32 or wider."""
        if self.library is NUMPY and self.dtype in _SINGLE_OR_DOUBLE:
            return self.dtype
        return self.library.xp.float32 if dtype_name(self.dtype) in ("float16", "bfloat16") else self.dtype

    @property
    def device(self) -> Any:
        return device_of(self.arrays[0])


def operands(names: Sequence[str], values: Sequence[Any]) -> Operands:
    """The arguments of an operation; Python numbers take the dtype of the arrays beside them, or else float64."""
    first = values[0]
    if type(first) is np.ndarray and first.dtype in _SINGLE_OR_DOUBLE:
        shape, dtype = first.shape, first.dtype
        for value in values:
            if type(value) is not np.ndarray or value.dtype is not dtype or value.shape != shape:
                return _operands(names, values)
        return Operands(NUMPY, list(values), shape)
    return _operands(names, values)


def _operands(names: Sequence[str], values: Sequence[Any]) -> Operands:
    library: Library | None = None
    model: Any = None
    for name, value in _x_last(names, values):
        if is_number(value):
            continue
        found = library_of(value)
        if found is None:
            raise TypeError(f"{name} must be an array or a real number; got {kind_of(value)}")
        floating(name, value.dtype)
        if library is None:
            library, model, model_name = found, value, name
            continue
        if found.name != library.name:
            raise TypeError(f"{name} must be of the same library as {model_name}, {library.name}; got {found.name}")
        if value.dtype != model.dtype:
            raise TypeError(
                f"{name} must have the dtype of {model_name}, {dtype_name(model.dtype)}; got {dtype_name(value.dtype)}"
            )
        _same_device(name, value, model_name, model)
    if library is None:
        arrays = [np.asarray(real(value), dtype=np.float64) for value in values]
        return Operands(NUMPY, arrays, ())
    arrays = [like(value, library, model) if is_number(value) else value for value in values]
    ordered, shapes = zip(*_x_last(names, [tuple(a.shape) for a in arrays]), strict=True)
    return Operands(library, arrays, broadcast(ordered, shapes))


def _x_last(names: Sequence[str], values: Sequence[Any]) -> list[tuple[str, Any]]:
    """Names and values in the order in which they are checked: it is the Gaussian that says what x must be."""
    pairs = list(zip(names, values, strict=True))
    return [*pairs[1:], pairs[0]] if names[0] == "x" else pairs


def real(number: Any) -> Any:
    """A number that has a float: an int beyond them all is infinite, as 1e400 is."""
    try:
        float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf
    return number


def kind_of(value: Any) -> str:
    """What came where an array was wanted, and what would make one of it."""
    name = type(value).__name__
    if isinstance(value, (list, tuple)):
        return f"{name}: np.asarray(..., dtype) makes an array of it"
    return f"{name}: its to_numpy() is an array" if hasattr(value, "to_numpy") else name


def flag_of(deterministic: Any) -> bool:
    """Whether it is: not the truth of whatever comes, for a logvar may come second by mistake."""
    if not isinstance(deterministic, (bool, np.bool_, int)):
        raise TypeError(
            f"deterministic must be True or False; got {type(deterministic).__name__} (from_mean_logvar takes a mean "
            "and a logvar of their own)"
        )
    return bool(deterministic)


def is_number(value: Any) -> bool:
    if isinstance(value, (bool, np.bool_)):
        return False
    return isinstance(value, (float, int, np.floating, np.integer))


def _same_device(name: str, value: Any, model_name: str, model: Any) -> None:
    device, other = device_of(model), device_of(value)
    if other != device and None not in (other, device):  # None: a tracer of JAX, which has no device yet
        raise ValueError(f"{name} must be on the device of {model_name}, {device}; got {other}")


def like(value: float, library: Library, model: Any, dtype: Any = None) -> Any:
    """A number as an array without dimensions, of the model's dtype, if not of another, and on its device."""
    device = device_of(model)
    options = {} if device is None else {"device": device}
    with np.errstate(over="ignore"):  # a number beyond the dtype is inf
        return library.xp.asarray(real(value), dtype=model.dtype if dtype is None else dtype, **options)


def floating(name: str, dtype: Any) -> str:
    """The dtype's name, where it is one that agauss computes with."""
    found = dtype_name(dtype)
    if found not in FLOATING:
        raise TypeError(f"{name} must have a floating dtype ({', '.join(FLOATING)}); got {found}")
    return found


def broadcast(names: Sequence[str], shapes: Sequence[Shape]) -> Shape:
    shape = shapes[0]
    for name, other in zip(names[1:], shapes[1:], strict=True):
        joined = _broadcast(shape, other)
        if joined is None:
            raise ValueError(f"{name} must broadcast against {names[0]}; got shapes {shape} and {other}")
        shape = joined
    return shape


@remembered
def _broadcast(a: Shape, b: Shape) -> Shape | None:
    if any(n is None or n != n for n in (*a, *b)):
        raise ValueError(f"shapes must be known; got {a} and {b} (Dask: call compute_chunk_sizes() first)")
    a, b = (1,) * (len(b) - len(a)) + a, (1,) * (len(a) - len(b)) + b
    if any(m != n and 1 not in (m, n) for m, n in zip(a, b, strict=True)):
        return None
    return tuple([n if m == 1 else m for m, n in zip(a, b, strict=True)])


def axes_of(axis: int | Sequence[int] | None, rank: int, name: str = "axis") -> Shape:
    """The axes, counted from 0; None is all of them."""
    if axis is None:
        return tuple(range(rank))
    axes = []
    for entry in axis if isinstance(axis, (tuple, list)) else (axis,):
        try:
            place = operator.index(entry)
        except TypeError:
            raise TypeError(f"{name} must be None, an int or a tuple of ints; got {axis!r}") from None
        if not -rank <= place < rank:
            within = f"within {-rank} ... {rank - 1} for {rank} dimensions" if rank else "None or () for 0 dimensions"
            raise ValueError(f"{name} must be {within}; got {axis!r}")
        axes.append(place % rank)
    if len(set(axes)) != len(axes):
        raise ValueError(f"{name} must not name an axis twice; got {axis!r}")
    return tuple(sorted(axes))


def bounds_of(bounds: Any, name: str = "bounds") -> Bounds | None:
    """None, "hard", "soft" or "straight-through", (low, high), or (low, high, kind)."""
    if bounds is None:
        return None
    if isinstance(bounds, str):
        bounds = (*DEFAULT_LIMITS, bounds)
    if not isinstance(bounds, (tuple, list)) or len(bounds) not in (2, 3):
        kinds = ", ".join(f'"{kind}"' for kind in BOUND_KINDS)
        raise TypeError(f"{name} must be None, {kinds}, (low, high) or (low, high, kind); got {bounds!r}")
    low, high, kind = (*bounds, "hard")[:3]
    if not (is_number(low) and is_number(high)):
        raise TypeError(f"{name} must have real numbers for low and high; got {bounds!r}")
    if kind not in BOUND_KINDS:
        raise ValueError(f"{name} must be of the kinds {', '.join(BOUND_KINDS)}; got {kind!r}")
    low, high = real(low), real(high)
    if not low < high or (kind == "soft" and math.isinf(high - low)):
        raise ValueError(f"{name} must have low < high, both finite for soft bounds; got {bounds!r}")
    return float(low), float(high), kind


normal_axes, normal_bounds = remembered(axes_of), remembered(bounds_of)


@remembered
def limit(bounds: Any, position: int, name: str = "bounds") -> tuple[tuple[int, str, float, float], ...]:
    """The bounds on the argument at a position, as backends take them; none where there are none."""
    found = normal_bounds(bounds, name)
    return () if found is None else ((position, found[2], found[0], found[1]),)


def check_out(out: Any, library: Library, shape: Shape, dtype: Any) -> None:
    """Refuse an `out` that the result cannot be written to as it is."""
    found = library_of(out)
    if found is None or found.name != library.name:
        raise TypeError(f"out must be an array of {library.name}; got {type(out).__name__}")
    if not library.writes:
        raise TypeError(f"out must be None for {library.name}, whose arrays cannot be written in place")
    if tuple(out.shape) != shape:
        raise ValueError(f"out must have shape {shape}; got {tuple(out.shape)}")
    if out.dtype != dtype:
        raise TypeError(f"out must have dtype {dtype_name(dtype)}; got {dtype_name(out.dtype)}")
    if library is NUMPY and not out.flags.writeable:
        raise ValueError("out must be writeable; got a read-only array")
    if library.fills and library is not NUMPY:
        library.backend.refuse_misaligned(out, "out")


def check_index(index: Any, library: Library, shape: Shape) -> Any:
    """Sample ids, one for each place along the first axis, as a NumPy array or one of the library's own."""
    if not shape:
        raise ValueError("index must be None where the arrays have no dimensions")
    if isinstance(index, np.ma.MaskedArray):
        raise TypeError(f"index must be integers; got {type(index).__name__}")
    if library_of(index) in (None, NUMPY):
        given = index
        try:
            index = np.asarray(index)
        except ValueError:
            raise ValueError(f"index must have shape {shape[:1]}, an id for each sample; got {index!r}") from None
        if index.size == 0:
            index = index.astype(np.int64)
        elif index.dtype.kind not in "iu" and isinstance(given, (list, tuple)) and all(type(n) is int for n in given):
            if not all(0 <= n < 2**64 for n in given):  # NumPy makes floats or objects of them
                raise ValueError(f"index must be at least 0 and under 2**64; got {given!r}")
            index = np.array(given, np.uint64)
        if index.dtype.kind not in "iu":
            kind = type(given).__name__ if index.ndim == 0 else index.dtype.name
            raise TypeError(f"index must be integers, in an array or a list; got {kind}")
        if index.size and int(index.min()) < 0:
            raise ValueError(f"index must not be negative; got {int(index.min())}")
    else:
        found = library_of(index)
        if found is None or found.name != library.name:
            raise TypeError(f"index must be of {library.name} or NumPy; got {type(index).__name__}")
        if not library.xp.isdtype(index.dtype, "integral"):
            raise TypeError(f"index must be integers; got {dtype_name(index.dtype)}")
    _broadcast(shape[:1], tuple(index.shape))  # shapes that are not known have an error of their own
    if tuple(index.shape) != shape[:1]:
        raise ValueError(f"index must have shape {shape[:1]}, an id for each sample; got {tuple(index.shape)}")
    return index


def normal_shape(shape: Any, name: str) -> Shape:
    try:
        sizes = tuple(operator.index(n) for n in (shape if isinstance(shape, (tuple, list)) else (shape,)))
    except TypeError:
        raise TypeError(f"{name} must be an int or a tuple of ints; got {shape!r}") from None
    if any(n < 0 for n in sizes):
        raise ValueError(f"{name} must not be negative; got {shape!r}")
    return sizes


def block_of(shape: Shape, offset: Any, event_size: Any) -> tuple[Shape, Shape]:
    """Where a block of a shape begins in the whole, and the whole's extents from its second axis on."""
    if not shape:
        raise ValueError("mean must have at least 1 dimension, for samples or a block of them; got shape ()")
    cut = isinstance(offset, (tuple, list))
    if cut != isinstance(event_size, (tuple, list)):
        raise TypeError(f"offset and event_size must both be ints or both be tuples; got {offset!r} and {event_size!r}")
    place, events = normal_shape(offset, "offset"), normal_shape(event_size, "event_size")
    if not cut:
        if events != (math.prod(shape[1:]),):
            raise ValueError(
                f"event_size must be the {math.prod(shape[1:])} elements of one sample of shape {shape[1:]}, or a "
                f"tuple where the block is cut; got {event_size!r}"
            )
        place, events = (*place, *(0,) * (len(shape) - 1)), shape[1:]
    if len(place) != len(shape) or len(events) != len(shape) - 1:
        raise ValueError(
            f"offset must have {len(shape)} entries and event_size {len(shape) - 1} for a block of shape {shape}; got "
            f"{offset!r} and {event_size!r}"
        )
    if any(first + n > extent for first, n, extent in zip(place[1:], shape[1:], events, strict=True)):
        raise ValueError(f"offset must keep a block of shape {shape} within event_size {events}; got {offset!r}")
    if place[0] >= 2**64:
        raise ValueError(f"offset must be under 2**64 along the first axis; got {offset!r}")
    return place, events


def cotangent_for(cotangent: Any, shape: Shape, dtype: Any, given: Operands, name: str = "cotangent") -> Any:
    """A cotangent as an array that broadcasts to the value's shape and has the value's dtype."""
    library, model = given.library, given.arrays[0]
    if is_number(cotangent):
        return like(cotangent, library, model, dtype)
    found = library_of(cotangent)
    if found is None or found.name != library.name:
        raise TypeError(f"{name} must be an array of {library.name} or a number; got {type(cotangent).__name__}")
    if cotangent.dtype != dtype:
        raise TypeError(f"{name} must have the value's dtype, {dtype_name(dtype)}; got {dtype_name(cotangent.dtype)}")
    _same_device(name, cotangent, "the primals", model)
    if _broadcast(shape, tuple(cotangent.shape)) != shape:
        raise ValueError(f"{name} must broadcast to the value's shape {shape}; got {tuple(cotangent.shape)}")
    return cotangent


def halves(parameters: Any, axis: int, name: str = "parameters") -> tuple[Any, Any]:
    """Views of the two halves of an array along an axis."""
    library = library_of(parameters)
    if library is None:
        raise TypeError(f"{name} must be an array; got {kind_of(parameters)}")
    if library is not NUMPY or parameters.dtype not in _SINGLE_OR_DOUBLE:
        floating(name, parameters.dtype)
    first, second = _half_slices(axis, tuple(parameters.shape), name)
    return parameters[first], parameters[second]


def slices_of(axis: int, shape: Shape, name: str) -> tuple[Any, Any]:
    """What to index an array of a shape with, for each of its halves."""
    if len(shape) < 2:
        raise ValueError(f"{name} must have at least 2 dimensions; got shape {shape}")
    if not hasattr(axis, "__index__"):
        raise TypeError(f"axis must be an int; got {axis!r}")
    (place,) = axes_of(axis, len(shape))
    if shape[place] % 2:
        raise ValueError(f"{name} must have an even extent along axis {axis}, mean then logvar; got shape {shape}")
    half, before = shape[place] // 2, (slice(None),) * place
    return (*before, slice(None, half), ...), (*before, slice(half, None), ...)


_half_slices = remembered(slices_of)
