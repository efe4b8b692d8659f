"""NumPy arrays in, NumPy arrays out: map and row-reduce a term by a Numba kernel; knows no formula.

Arguments come checked: floating arrays that broadcast to `shape`. reference.py has the same two functions for every
other array library, and ops.py says what their arguments mean.
"""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np

from agauss.cpu import launch, memory
from agauss.cpu.kernels import Limits, Spec, kernel
from agauss.cpu.layout import DISCARDED, INFINITY, NOISE, Array, plan
from agauss.noise import MASK32, Noise

PARALLEL_FROM = 32768  # elements; under this a second thread costs more than it brings
Shape = tuple[int, ...]


def map(
    term: Callable[..., Any],
    arrays: Sequence[np.ndarray],
    shape: Shape,
    dtypes: Sequence[Any],
    *,
    bounds: Sequence[Limits] = (),
    cotangents: int = 0,
    noise: Noise | None = None,
    outs: Sequence[np.ndarray | None] | None = None,
) -> tuple[np.ndarray | None, ...]:
    """The term's values at every element, one array for each of `dtypes`, and None where that is None."""
    results = [
        None if dtype is None else np.empty(shape, dtype) if out is None else out
        for out, dtype in zip(outs or (None,) * len(dtypes), dtypes, strict=True)
    ]
    _run(term, arrays, results, shape, None, bounds, cotangents, noise, None, outs is not None)
    return tuple(results)


def row_reduce(
    term: Callable[..., Any],
    arrays: Sequence[np.ndarray],
    shape: Shape,
    axes: Shape,
    dtypes: Sequence[Any],
    *,
    bounds: Sequence[Limits] = (),
    cotangents: int = 0,
    noise: Noise | None = None,
    summed: int = 0,
    outs: Sequence[np.ndarray | None] | None = None,
) -> tuple[np.ndarray, ...]:
    """The term's first values at every element, and last the sum over `axes` of value number `summed`."""
    *mapped, dtype = dtypes
    results = [np.empty(shape, t) if out is None else out for t, out in zip(mapped, outs or (None,) * len(mapped), strict=True)]
    kept = tuple([n for axis, n in enumerate(shape) if axis not in axes])
    sums = _run(term, arrays, results, shape, axes, bounds, cotangents, noise, summed, outs is not None)
    total = np.zeros(kept, dtype) if sums is None else _pairwise(sums, prod(kept)).astype(dtype).reshape(kept)
    return (*results, total)


def _pairwise(sums: np.ndarray, rows: int) -> np.ndarray:
    """The rows' sums, always adding neighbours, so that the order depends on the row's length alone."""
    while sums.size > rows:
        sums = sums.reshape(rows, -1)
        even = sums.shape[1] // 2 * 2
        sums = np.concatenate([sums[:, 0:even:2] + sums[:, 1:even:2], sums[:, even:]], axis=1)
    return sums


def _run(
    term: Callable[..., Any],
    arrays: Sequence[np.ndarray],
    results: Sequence[np.ndarray | None],
    shape: Shape,
    axes: Shape | None,
    bounds: Sequence[Limits],
    cotangents: int,
    noise: Noise | None,
    summed: int | None,
    callers: bool,
) -> np.ndarray | None:
    """Fill the results, and return the partial sums of a row-reduce. `callers`: the results may overlap the arrays."""
    if 0 in shape:
        return None
    sources = [a if _steps_by_item(a) else a.copy() for a in arrays]
    sinks = [_apart(out, sources) if callers else out for out in results]

    entries = [_entry(a) for a in sources]
    for position, _, low, high in bounds:
        entries[position] = (*entries[position][:4], low, high)
    addresses = [a.ctypes.data for a in sources]
    if noise is not None:
        entries.append(NOISE)
        addresses.append(0)
    for sink in sinks:
        if sink is None:
            entries.append(DISCARDED)
            addresses.append(0)
            continue
        entry, address = _entry(sink), sink.ctypes.data
        if callers and entry[3] == memory.DIRECT and address in addresses:
            entry = (*entry[:3], memory.BUFFERED, *entry[4:])
        entries.append(entry)
        addresses.append(address)

    double = any([entry[2] == 8 for entry in entries])
    spec = Spec(
        term,
        np.float64 if double else np.float32,
        len(entries) - len(sinks),
        len(sinks),
        noise is not None,
        tuple([kind for _, kind, _, _ in bounds]),
        _two([position for position, _, _, _ in bounds]),
        _two([position - cotangents for position, _, _, _ in bounds]) if cotangents else (-1, -1),
        summed,
    )
    work = plan(shape, axes, tuple(entries), noise is not None and noise.index is not None)
    d = work.template.copy()
    for slot, address in zip(work.slots, addresses, strict=True):
        d[slot] = address
    if noise is not None:
        seed, stream = noise.key.seed, noise.key.stream
        d[memory.SEED_LOW : memory.STREAM + 1] = seed & MASK32, seed >> 32, noise.draw, stream
        if noise.index is not None:
            index = np.ascontiguousarray(noise.index).astype(np.uint64).view(np.int64)
            d[memory.INDEX] = index.ctypes.data
    partials = None
    if summed is not None:
        partials = np.empty(work.partials)
        d[memory.PARTIALS] = partials.ctypes.data
    launch.run(kernel(spec), d, work.tasks, parallel=d[memory.SIZE] >= PARALLEL_FROM)

    for sink, out in zip(sinks, results, strict=True):
        if sink is not out:
            out[...] = sink  # type: ignore[index]
    return partials


def _steps_by_item(a: np.ndarray) -> bool:
    """Whether the strides count items: not so for, say, a field of a structured array."""
    if a.flags.c_contiguous and a.flags.aligned:
        return True
    itemsize = a.itemsize
    return a.flags.aligned and not any(stride % itemsize for stride in a.strides)


def _apart(out: np.ndarray | None, sources: Sequence[np.ndarray]) -> np.ndarray | None:
    """`out`, or a new array where writing there would change what is still to be read, or where it cannot be reached."""
    if out is None:
        return None
    for a in sources:
        same = a.ctypes.data == out.ctypes.data and a.strides == out.strides and a.shape == out.shape
        if not same and _overlap(a, out):
            return np.empty(out.shape, out.dtype)
    return out if _steps_by_item(out) else np.empty(out.shape, out.dtype)


def _overlap(a: np.ndarray, b: np.ndarray) -> bool:
    try:
        return np.may_share_memory(a, b) and np.shares_memory(a, b, max_work=1000)
    except np.exceptions.TooHardError:
        return True


_STORAGE = {"float32": memory.DIRECT, "float64": memory.DIRECT, "float16": memory.FLOAT16, "bfloat16": memory.BFLOAT16}
_storages: dict[Any, int] = {}


def _entry(a: np.ndarray) -> Array:
    storage = _storages.get(a.dtype)
    if storage is None:
        storage = _storages[a.dtype] = _STORAGE[a.dtype.name]
    return (a.shape, a.strides, a.itemsize, storage, -INFINITY, INFINITY)


def _two(positions: Sequence[int]) -> tuple[int, int]:
    first, second = (*positions, -1, -1)[:2]
    return first, second
