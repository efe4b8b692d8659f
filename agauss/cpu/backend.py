"""NumPy arrays in, NumPy arrays out: map and row-reduce a term by a Numba kernel; knows no formula.

Arguments come checked: floating arrays that broadcast to `shape`. reference.py has the same two functions for every
other array library, and ops.py says what their arguments mean.
"""

import ctypes
from collections.abc import Callable, Sequence
from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

import numpy as np

from agauss import trail
from agauss.cpu import launch, memory
from agauss.cpu.kernels import Limits, Spec, kernel
from agauss.cpu.layout import DISCARDED, INFINITY, Array, plan
from agauss.noise import Noise
from agauss.strides import row_major

PARALLEL_FROM = 32768  # elements; under this a second thread costs more than it brings
Shape = tuple[int, ...]
Form = tuple[Shape, Shape, np.dtype[Any]]  # shape, strides, dtype


def map(
    term: Callable[..., Any],
    arrays: Sequence[np.ndarray],
    shape: Shape,
    dtypes: Sequence[Any],
    *,
    bounds: Limits = (),
    cotangents: int = 0,
    noise: Noise | None = None,
    outs: Sequence[np.ndarray | None] | None = None,
) -> tuple[np.ndarray | None, ...]:
    """The term's values at every element, one array for each of `dtypes`, and None where that is None."""
    results = [None if t is None else np.empty(shape, t) for t in dtypes] if outs is None else list(outs)
    _run(term, arrays, results, None, shape, None, bounds, cotangents, noise, None, outs is not None)
    return tuple(results)


def row_reduce(
    term: Callable[..., Any],
    arrays: Sequence[np.ndarray],
    shape: Shape,
    axes: Shape,
    dtypes: Sequence[Any],
    *,
    bounds: Limits = (),
    cotangents: int = 0,
    noise: Noise | None = None,
    summed: int = 0,
    outs: Sequence[np.ndarray | None] | None = None,
) -> tuple[np.ndarray | None, ...]:
    """The term's first values at every element, and last the sum over `axes` of value number `summed`."""
    results = [np.empty(shape, t) for t in dtypes[:-1]] if outs is None else list(outs)
    callers = outs is not None
    total = _run(term, arrays, results, dtypes[-1], shape, axes, bounds, cotangents, noise, summed, callers)
    return (*results, total)


def _run(
    term: Callable[..., Any],
    arrays: Sequence[np.ndarray],
    results: Sequence[np.ndarray | None],
    dtype: Any,
    shape: Shape,
    axes: Shape | None,
    bounds: Limits,
    cotangents: int,
    noise: Noise | None,
    summed: int | None,
    callers: bool,
) -> np.ndarray | None:
    """Fill the results, and return the sum over the axes, if any. `callers`: the results may overlap the inputs."""
    sinks = [_apart(out, arrays) for out in results] if callers else results
    sources = [address(a) for a in arrays]
    targets = [0 if sink is None else address(sink) for sink in sinks]
    work = _prepare(
        term,
        shape,
        axes,
        tuple([(a.shape, a.strides, a.dtype) for a in arrays]),
        tuple([None if a is None else (a.shape, a.strides, a.dtype) for a in sinks]),
        dtype,
        bounds,
        cotangents,
        None if noise is None else noise.strides or row_major(shape),
        noise is not None and noise.index is not None,
        summed,
        callers and not set(targets).isdisjoint(sources),
    )
    if work is None or not all([a.flags.aligned for a in arrays]):  # noqa: C419, for speed
        # Strides between items, or items off their alignment: a field of a structured array, say.
        tidy = [a.copy() for a in arrays]
        total = _run(term, tidy, results, dtype, shape, axes, bounds, cotangents, noise, summed, callers)
        trail.copy("the arguments: their strides do not count whole, aligned items")
        return total
    if trail.watching():
        _tell(term, [*arrays, *results], axes, shape, work)
        for sink, out in zip(sinks, results, strict=True):
            if sink is not out:
                trail.copy("out: it overlaps an argument, or its strides do not count whole, aligned items")
    if work.tasks == 0:
        return None if axes is None else np.zeros(work.kept, dtype)

    d = work.template.copy()
    slot = work.first_slot
    for source in sources:
        d[slot] = source
        slot += work.slot_step
    if noise is not None:
        d[slot] = noise.start
    slot = work.sink_slot
    for place in targets:
        d[slot] = place
        slot += work.slot_step
    if noise is not None:
        seed_low, seed_high, stream = noise.key.words()
        d[memory.SEED_LOW : memory.STREAM + 1] = seed_low, seed_high, noise.draw, stream
        if noise.index is not None:
            index = np.ascontiguousarray(noise.index).astype(np.uint64).view(np.int64)
            d[memory.INDEX] = address(index)
    total = None
    if axes is not None:
        total = np.empty(work.kept, dtype)
        sums = np.empty(work.partials) if work.partials else total
        d[memory.SUMS] = address(sums)
    if work.parallel:
        launch.run(work.kernel, address(d), work.tasks)
    else:
        work.kernel(address(d), 0, work.tasks)

    if total is not None and work.partials:
        with np.errstate(all="ignore"):  # inf and NaN are results, not accidents
            total[...] = _pairwise(sums, total.size).reshape(total.shape)
    if callers:
        for sink, out in zip(sinks, results, strict=True):
            if sink is not out:
                out[...] = sink  # type: ignore[index]
    return total


def _tell(term: Any, arrays: Sequence[np.ndarray | None], axes: Shape | None, shape: Shape, work: "Work") -> None:
    given = [a for a in arrays if a is not None]
    dtype = "float64" if any(a.dtype == np.float64 for a in given) else "float32"
    trail.step("Numba loops", f"{'map' if axes is None else 'row_reduce'} of {term.__name__}", dtype, "numpy")
    if any(a.dtype.itemsize == 2 for a in given):
        trail.note("half precision is turned into float32 a tile of 1,024 elements at a time")
    if any(a.ndim and a.shape[-1] > 1 and a.strides[-1] not in (0, a.itemsize) for a in given):
        trail.note("an array whose last axis is not adjacent in memory is read or written element by element")
    if not work.parallel:
        trail.note(f"on one thread: {prod(shape)} elements are fewer than {PARALLEL_FROM}")


def empty(shape: Shape, dtype: Any, like: np.ndarray) -> np.ndarray:
    """An array to be filled, where `like` is."""
    return np.empty(shape, dtype)


class Work(NamedTuple):
    """All that is the same in calls with arrays of the same forms."""

    kernel: Callable[[int, int, int], None]
    template: np.ndarray
    first_slot: int  # where the first input's address goes,
    sink_slot: int  # the first output's,
    slot_step: int  # and how far apart they are
    tasks: int
    kept: Shape  # the shape of the sum
    partials: int
    parallel: bool


@lru_cache(maxsize=4096)
def _prepare(
    term: Callable[..., Any],
    shape: Shape,
    axes: Shape | None,
    sources: tuple[Form, ...],
    sinks: tuple[Form | None, ...],
    total: Any,
    bounds: Limits,
    cotangents: int,
    steps: Shape | None,
    indexed: bool,
    summed: int | None,
    shared: bool,
) -> Work | None:
    """The kernel and the plan; None where an input cannot be read by items.

    `steps` are those of the noise's linear index, or None where there is no noise; `shared` says that an output is an
    input too.
    """
    kept = tuple([n for axis, n in enumerate(shape) if axes is None or axis not in axes])
    if 0 in shape:
        return Work(lambda d, begin, end: None, np.empty(0), 0, 0, 0, 0, kept, 0, False)
    forms = [form for form in (*sources, *sinks) if form is not None]
    if any(stride % dtype.itemsize for _, strides, dtype in forms for stride in strides):
        return None
    entries = [_entry(form) for form in sources]
    for position, _, low, high in bounds:
        entries[position] = (*entries[position][:4], low, high)
    if steps is not None:
        entries.append((shape, steps, 1, None, -INFINITY, INFINITY))
    # Where an output is an input too, its tiles are read whole before they are written.
    entries += [DISCARDED if form is None else _entry(form, buffered=shared) for form in sinks]
    positions = [position for position, _, _, _ in bounds]
    double = any(dtype == np.float64 for _, _, dtype in forms)
    compute = np.float64 if double else np.float32
    spec = Spec(
        term,
        compute,
        len(entries) - len(sinks),
        len(sinks),
        steps is not None,
        tuple([kind for _, kind, _, _ in bounds]),
        _two(positions),
        _two([position - cotangents for position in positions]) if cotangents else (-1, -1),
        summed,
    )
    found = plan(shape, axes, tuple(entries), indexed, total == compute)
    parallel = prod(shape) >= PARALLEL_FROM
    sink_slot = found.first_slot + spec.inputs * found.slot_step
    return Work(
        kernel(spec),
        found.template,
        found.first_slot,
        sink_slot,
        found.slot_step,
        found.tasks,
        kept,
        found.partials,
        parallel,
    )


_STORAGE = {"float32": memory.DIRECT, "float64": memory.DIRECT, "float16": memory.FLOAT16, "bfloat16": memory.BFLOAT16}


def _entry(form: Form, buffered: bool = False) -> Array:
    shape, strides, dtype = form
    storage = _STORAGE[dtype.name]
    if buffered and storage == memory.DIRECT:
        storage = memory.BUFFERED
    return shape, strides, dtype.itemsize, storage, -INFINITY, INFINITY


def _two(positions: Sequence[int]) -> tuple[int, int]:
    first, second = (*positions, -1, -1)[:2]
    return first, second


def _pairwise(sums: np.ndarray, rows: int) -> np.ndarray:
    """The rows' sums, always adding neighbours, so that the order depends on the row's length alone."""
    while sums.size > rows:
        sums = sums.reshape(rows, -1)
        even = sums.shape[1] // 2 * 2
        sums = np.concatenate([sums[:, 0:even:2] + sums[:, 1:even:2], sums[:, even:]], axis=1)
    return sums


def _apart(out: np.ndarray | None, arrays: Sequence[np.ndarray]) -> np.ndarray | None:
    """`out`, or a new array where writing there would change what is still to be read, or cannot be done by items."""
    if out is None:
        return None
    if not out.flags.aligned or any(stride % out.itemsize for stride in out.strides):
        return np.empty(out.shape, out.dtype)
    for a in arrays:
        if np.may_share_memory(a, out) and not _same(a, out) and _overlap(a, out):
            return np.empty(out.shape, out.dtype)
    return out


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    return address(a) == address(b) and a.strides == b.strides and a.shape == b.shape and a.dtype == b.dtype


def _overlap(a: np.ndarray, b: np.ndarray) -> bool:
    try:
        return np.shares_memory(a, b, max_work=1000)  # type: ignore[arg-type]
    except np.exceptions.TooHardError:
        return True


def _address_of(a: np.ndarray) -> int:
    return a.ctypes.data


def _address_in(a: np.ndarray) -> int:
    return _pointer_at(id(a) + _HEAD).value


# An array's address is the first field after the head of its object, as NumPy's C headers publish. Reading it there
# takes a tenth of the time of a.ctypes.data, which would be a third of a small call; where it is not so, do without.
_HEAD = object.__basicsize__
_pointer_at = ctypes.c_ssize_t.from_address
_probe = np.empty(3)[1:]
address = _address_in if _address_in(_probe) == _probe.ctypes.data else _address_of
