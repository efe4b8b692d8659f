"""What a function was given beside arrays - axis, bounds, sizes, sample ids - checked and made uniform.

Every error names the argument, what it must be and what came, and is raised before anything is read or written.
"""

import math
import operator
from collections.abc import Sequence
from inspect import unwrap
from typing import Any, get_args

import numpy as np

from agauss.arrays import (
    NUMPY,
    SINGLE_OR_DOUBLE,
    Library,
    broadcast_two,
    dtype_name,
    floating,
    is_number,
    is_traced,
    kind_of,
    library_of,
    real,
)
from agauss.backends.protocol import Shape
from agauss.keys import Once, is_fresh, name_of_rng
from agauss.remembered import remembered
from agauss.typing import Axis, Kind
from agauss.words import has_64_bits

DEFAULT_LIMITS = (-30.0, 20.0)
BOUND_KINDS = get_args(Kind)


def refuse_frozen_noise(rng: Any, arrays: Sequence[Any]) -> None:
    """None and Generators are refused beside traced arrays: the key would be a constant of the program."""
    rng = rng.given if isinstance(rng, Once) else rng
    if is_fresh(rng) and any(map(is_traced, arrays)):
        raise TypeError(
            "rng must be a key or an int inside jit, grad and vmap, or each call would have the same noise; "
            f"got {name_of_rng(rng)}"
        )


def flag_of(deterministic: Any) -> bool:
    """Whether it is: not the truth of whatever comes, for a logvar may come second by mistake."""
    if not isinstance(deterministic, (bool, np.bool_, int)):
        raise TypeError(
            f"deterministic must be True or False; got {type(deterministic).__name__} (from_mean_logvar takes a mean "
            "and a logvar of their own)"
        )
    return bool(deterministic)


def is_prior(mean2: Any, logvar2: Any, bounds2: Any) -> bool:
    """Whether the second Gaussian is the standard normal, for neither its mean nor its log-variance is given."""
    if mean2 is None and logvar2 is None:
        if bounds2 is not None:
            raise ValueError(f"bounds2 must be None without mean2 and logvar2; got {bounds2!r}")
        return True
    if mean2 is None or logvar2 is None:
        raise ValueError(
            f"mean2 and logvar2 must be given together; got {'logvar2' if mean2 is None else 'mean2'} alone "
            "(axis and the rest are given by name)"
        )
    return False


def order_of(alpha: Any) -> float:
    """The order of a divergence."""
    if not is_number(alpha):
        raise TypeError(f"alpha must be a real number; got {type(alpha).__name__}")
    if not alpha >= 0:
        raise ValueError(f"alpha must be at least 0; got {alpha!r}")
    return float(real(alpha))


def bin_of(width: Any, low: Any, high: Any) -> tuple[float, float, float]:
    """The width of bins, and from where on the lowest and the highest are open."""
    if not is_number(width):
        raise TypeError(f"width must be a real number; got {type(width).__name__}")
    if not 0 < width < math.inf:
        raise ValueError(f"width must be finite and above 0; got {width!r}")
    for name, end in (("low", low), ("high", high)):
        if end is not None and not is_number(end):
            raise TypeError(f"{name} must be None or a real number; got {type(end).__name__}")
    lowest = -math.inf if low is None else float(real(low))
    highest = math.inf if high is None else float(real(high))
    if not lowest < highest:
        raise ValueError(f"low must be under high; got {low!r} and {high!r}")
    return float(real(width)), lowest, highest


@remembered
def axes_of(axis: Axis, rank: int, name: str = "axis") -> Shape:
    """The axes, counted from 0; None is all of them."""
    if axis is None:
        return tuple(range(rank))
    axes = []
    for entry in axis if isinstance(axis, (tuple, list)) else (axis,):
        try:
            place = _whole(entry)
        except TypeError:
            raise TypeError(f"{name} must be None, an int or a tuple of ints; got {axis!r}") from None
        if not -rank <= place < rank:
            within = f"within {-rank} ... {rank - 1} for {rank} dimensions" if rank else "None or () for 0 dimensions"
            raise ValueError(f"{name} must be {within}; got {axis!r}")
        axes.append(place % rank)
    if len(set(axes)) != len(axes):
        raise ValueError(f"{name} must not name an axis twice; got {axis!r}")
    return tuple(sorted(axes))


@remembered
def bounds_of(bounds: Any, name: str = "bounds") -> tuple[float, float, Kind] | None:
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
    return float(low) + 0.0, float(high) + 0.0, kind  # -0.0 and 0.0, equal as keys of a cache, are one bound


@remembered
def bound_on(bounds: Any, position: int, name: str = "bounds") -> tuple[tuple[int, str, float, float], ...]:
    """The bound on the argument at a position, as backends take it; none where there is none."""
    found = bounds_of(bounds, name)
    return () if found is None else ((position, found[2], found[0], found[1]),)


def _whole(n: Any) -> int:
    """n as an int; True and False are none."""
    if isinstance(n, bool):
        raise TypeError
    return operator.index(n)


def sizes_of(shape: Any, name: str) -> Shape:
    try:
        sizes = tuple(_whole(n) for n in (shape if isinstance(shape, (tuple, list)) else (shape,)))
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
    place, events = sizes_of(offset, "offset"), sizes_of(event_size, "event_size")
    if not cut:
        if events != (math.prod(shape[1:]),):
            raise ValueError(
                f"event_size must be the {math.prod(shape[1:])} elements of one sample of shape {shape[1:]}, or a "
                f"tuple where the block is cut; got {event_size!r}"
            )
        place, events = (*place, *(0,) * (len(shape) - 1)), shape[1:]
    if math.prod(events) >= 2**63:
        raise ValueError(f"event_size must be under 2**63 elements; got {event_size!r}")
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


def halves(parameters: Any, axis: int, name: str = "parameters") -> tuple[Any, Any]:
    """Views of the two halves of an array along an axis."""
    library = library_of(parameters)
    if library is None:
        raise TypeError(f"{name} must be an array; got {kind_of(parameters)}")
    if library is not NUMPY or parameters.dtype not in SINGLE_OR_DOUBLE:
        floating(name, parameters.dtype)
    first, second = slices_of(axis, tuple(parameters.shape), name)
    return library.halves(parameters, first, second, axis)


@remembered
def slices_of(axis: int, shape: Shape, name: str) -> tuple[Any, Any]:
    """What to index an array of a shape with, for each of its halves."""
    if len(shape) < 2:
        raise ValueError(f"{name} must have at least 2 dimensions; got shape {shape} (one sample alone is x[None])")
    if not hasattr(axis, "__index__"):
        raise TypeError(f"axis must be an int; got {axis!r}")
    # Without its memory: this has one, and torch.compile looks through this one's to what is within.
    (place,) = unwrap(axes_of)(axis, len(shape))
    if shape[place] % 2:
        raise ValueError(f"{name} must have an even extent along axis {axis}, mean then logvar; got shape {shape}")
    half, before = shape[place] // 2, (slice(None),) * place
    return (*before, slice(None, half), ...), (*before, slice(half, None), ...)


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
        if index.size == 0 and index.dtype.kind not in "iu":
            index = index.astype(np.int64)
        elif index.dtype.kind not in "iu" and isinstance(given, (list, tuple)) and all(type(n) is int for n in given):
            if not all(0 <= n < 2**64 for n in given):  # NumPy makes floats or objects of them
                raise ValueError(f"index must be at least 0 and under 2**64; got {given!r}")
            index = np.array(given, np.uint64)
        if index.dtype.kind not in "iu":
            kind = type(given).__name__ if index.ndim == 0 else "text" if index.dtype.kind in "US" else index.dtype.name
            wide = " (np.array(ids, np.uint64) keeps those from 2**63 on)" if index.dtype == np.float64 else ""
            raise TypeError(f"index must be integers, in an array or a list; got {kind}{wide}")
        if index.size and int(index.min()) < 0:
            raise ValueError(f"index must not be negative; got {int(index.min())}")
    else:
        found = library_of(index)
        if found is None or found.name != library.name:
            own = "a NumPy array" if library is NUMPY else f"an array of {library.name} or NumPy"
            raise TypeError(f"index must be {own} or a list; got {kind_of(index)}")
        if not library.xp.isdtype(index.dtype, "integral"):
            raise TypeError(f"index must be integers; got {dtype_name(index.dtype)}")
    broadcast_two(shape[:1], tuple(index.shape[:1]))  # shapes that are not known have an error of their own
    words = (*shape[:1], 2)
    if tuple(index.shape) == words and dtype_name(index.dtype) == "uint32":
        return _joined(index, NUMPY if isinstance(index, np.ndarray) else library)
    if tuple(index.shape) != shape[:1]:
        raise ValueError(
            f"index must have shape {shape[:1]}, an id for each sample, or {words} and dtype uint32, two words "
            f"for each; got {tuple(index.shape)}, {dtype_name(index.dtype)} (one sample alone is x[None], with one id)"
        )
    return index


def _joined(words: Any, library: Library) -> Any:
    """Ids from their two words, the lower one first; the words as they are where a library has no 64 bits."""
    if library is NUMPY:
        wide = words.astype(np.uint64)
    elif has_64_bits(library.xp):
        wide = library.xp.astype(words, library.xp.int64)
    else:
        return words
    with library.on(words):
        return wide[:, 0] | wide[:, 1] << 32
