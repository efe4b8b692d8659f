"""NumPy arrays in, NumPy arrays out: a pass by a Numba kernel; knows no formula. protocol.py says what a pass is."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

import numpy as np

from agauss.backends import steps
from agauss.backends.cpu import descriptor, kernels, plans, pycall, threads
from agauss.backends.cpu.kernels import Kernel, LoopSpec
from agauss.backends.cpu.plans import DISCARDED, INFINITY, Array
from agauss.backends.cpu.pycall import address, function_of
from agauss.backends.protocol import DType, Noise, Pass, Shape
from agauss.backends.strides import overlap, row_major, span
from agauss.maths.domain import is_calm

forms = pycall.forms
PARALLEL_FROM = 32768  # elements; under this a second thread costs more than it brings
Results = Sequence[np.ndarray | None]
Form = tuple[Shape, Shape, np.dtype[Any]]  # shape, strides, dtype


def run(
    work: Pass, arrays: Sequence[np.ndarray], noise: Noise | None = None, outs: Results | None = None
) -> tuple[np.ndarray | None, ...]:
    """The term's values at every element, one array for each of the pass's dtypes, in `outs` where they are given, and
    the sum over the axes, if there are any."""
    if outs is None:
        sinks = results = [None if t is None else np.empty(work.shape, t) for t in work.dtypes]
        shared = False
    else:
        results = list(outs)
        sinks = [_apart(out, arrays) for out in results]
        shared = not {address(a) for a in sinks if a is not None}.isdisjoint(map(address, arrays))
    loop = prepare(
        work,
        tuple(map(_form, arrays)),
        tuple([None if a is None else _form(a) for a in sinks]),
        None if noise is None else noise.strides or row_major(work.shape),
        noise is not None and noise.index is not None,
        shared,
    )
    if loop is None or not all([a.flags.aligned for a in arrays]):  # noqa: C419, for speed
        # Strides between items, or items off their alignment: a field of a structured array, say.
        found = run(work, [a.copy() for a in arrays], noise, outs)
        steps.copy("the arguments: their strides do not count whole, aligned items")
        return found
    if steps.watching():
        _tell(work, [*arrays, *results], loop)
        for sink, out in zip(sinks, results, strict=True):
            if sink is not out:
                steps.copy("out: it overlaps an argument, or its strides do not count whole, aligned items")
    total = loop.fill([address(a) for a in arrays], [0 if a is None else address(a) for a in sinks], noise)
    for sink, out in zip(sinks, results, strict=True):
        if sink is not out:
            out[...] = sink  # type: ignore[index]
    return tuple(results) if total is None else (*results, total)


def plan(
    work: Pass, arrays: Sequence[np.ndarray], noise: Noise | None = None, outs: Results | None = None
) -> "Planned | None":
    """The pass for arrays of the same forms as these."""
    sources = tuple(map(_form, arrays))
    if outs is None:
        sinks = tuple(
            [None if t is None else (work.shape, row_major_bytes(work.shape, t), np.dtype(t)) for t in work.dtypes]
        )
    else:
        sinks = tuple([None if out is None else _form(out) for out in outs])
    strides = None if noise is None else row_major(work.shape)
    loop = prepare(work, sources, sinks, strides, False, False)
    if loop is None or loop.kernel is None or None in sinks:
        return None
    return Planned(loop, work, sources, sinks)  # type: ignore[arg-type]


class Planned:
    """A loop for arrays of known forms, whose addresses are all that it is still to be told."""

    def __init__(self, loop: "Loop", work: Pass, sources: Sequence[Form], sinks: Sequence[Form]) -> None:
        self._loop, self._shape, self._dtypes = loop, work.shape, work.dtypes
        self._kept, self._total = loop.kept, loop.total
        self._misaligned = max([dtype.itemsize for _, _, dtype in sources]) - 1
        self._call = None if loop.parallel or loop.partials else loop.call(sources, sinks)

    def __call__(
        self, arrays: Sequence[np.ndarray], words: Sequence[int] = (), outs: Results | None = None
    ) -> tuple[np.ndarray | None, ...] | None:
        results: list[np.ndarray] = []
        if outs is None:
            for dtype in self._dtypes:
                results.append(np.empty(self._shape, dtype))
        else:
            for out in outs:
                if not out.flags.writeable:  # type: ignore[union-attr]
                    return None
                results.append(out)  # type: ignore[arg-type]
        if self._call is None:
            return self._filled(arrays, words, results, outs is not None)
        if self._total is not None:
            results.append(np.empty(self._kept, self._total))
        return tuple(results) if self._call(*arrays, *results, *words) else None

    def _filled(
        self, arrays: Sequence[np.ndarray], words: Sequence[int], results: Results, given: bool
    ) -> tuple[np.ndarray | None, ...] | None:
        """The same where Python calls no function of ours."""
        sources = [address(a) for a in arrays]
        for source in sources:
            if source & self._misaligned:
                return None
        if given and not all([_is_free(out, arrays) for out in results]):  # type: ignore[arg-type]  # noqa: C419
            return None
        noise = Noise((words[0], words[1], words[2])) if words else None
        total = self._loop.fill(sources, [address(a) for a in results], noise)  # type: ignore[arg-type]
        return tuple(results) if total is None else (*results, total)


def _tell(work: Pass, arrays: Sequence[np.ndarray | None], loop: "Loop") -> None:
    given = [a for a in arrays if a is not None]
    dtype = "float64" if any(a.dtype == np.float64 for a in given) else "float32"
    steps.step("Numba loops", f"{'map' if work.axes is None else 'row_reduce'} of {work.term.__name__}", dtype, "numpy")
    if any(a.dtype.itemsize == 2 for a in given):
        steps.note("half precision is turned into float32 as it is read, and back as it is written")
    if any(a.ndim and a.shape[-1] > 1 and a.strides[-1] not in (0, a.itemsize) for a in given):
        steps.note("an array whose last axis is not adjacent in memory is read or written element by element")
    if not loop.parallel:
        steps.note(f"on one thread: {prod(work.shape)} elements are fewer than {PARALLEL_FROM}")


def empty(shape: Shape, dtype: DType, like: np.ndarray) -> np.ndarray:
    """An array to be filled."""
    return np.empty(shape, dtype)


def refuse_misaligned(a: np.ndarray, name: str) -> None:
    """None is refused: a loop runs on a copy."""


class Loop(NamedTuple):
    """All that is the same in calls with arrays of the same forms."""

    kernel: Kernel | None  # None where there is nothing to do
    called: dict[int, Kernel]  # the functions whose addresses are in the descriptor, and where
    template: np.ndarray
    first_slot: int  # where the first input's address goes,
    sink_slot: int  # the first output's,
    slot_step: int  # and how far apart they are
    tasks: int
    kept: Shape  # the shape of the sum
    total: DType | None  # its dtype
    partials: int
    parallel: bool

    def fill(self, sources: Sequence[int], sinks: Sequence[int], noise: Noise | None) -> np.ndarray | None:
        """Run over inputs and outputs at these addresses, and return the sum, if there is one."""
        if self.kernel is None:
            return None if self.total is None else np.zeros(self.kept, self.total)
        d = self.template.copy()
        slot = self.first_slot
        for source in sources:
            d[slot] = source
            slot += self.slot_step
        index = None  # kept until the kernel has run
        if noise is not None:
            d[slot] = noise.start
            seed_low, seed_high, stream = noise.words
            d[descriptor.SEED_LOW : descriptor.STREAM + 1] = seed_low, seed_high, noise.draw, stream
            if noise.index is not None:
                index = np.ascontiguousarray(noise.index).astype(np.uint64).view(np.int64)
                d[descriptor.INDEX] = address(index)
        slot = self.sink_slot
        for sink in sinks:
            d[slot] = sink
            slot += self.slot_step
        total = None
        if self.total is not None:
            total = np.empty(self.kept, self.total)
            sums = np.empty(self.partials) if self.partials else total
            d[descriptor.SUMS] = address(sums)
        if self.parallel:
            threads.run(self.kernel, address(d), self.tasks)
        else:
            self.kernel(address(d), 0, self.tasks)
        if total is not None and self.partials:
            with np.errstate(all="ignore"):  # inf and NaN are results, not accidents
                total[...] = _pairwise(sums, total.size).reshape(total.shape)
        return total

    def call(self, sources: Sequence[Form], sinks: Sequence[Form]) -> Callable[..., bool] | None:
        """The loop as a function of its inputs, its outputs, its sum, if there is one, and the words of its noise."""
        if self.kernel is None:
            return None
        step, end = self.slot_step, self.first_slot + self.slot_step * len(sources)
        slots = [*range(self.first_slot, end, step), *range(self.sink_slot, self.sink_slot + step * len(sinks), step)]
        arrays = [
            (slot, dtype.itemsize - 1, *span(shape, strides, dtype.itemsize))
            for slot, (shape, strides, dtype) in zip(slots, (*sources, *sinks), strict=True)
        ]
        if self.total is not None:
            arrays.append((descriptor.SUMS, 0, 0, 0))  # it is new, and overlaps nothing
        return function_of(self.kernel, self.template, self.tasks, arrays, len(sources), end != self.sink_slot)


@lru_cache(maxsize=4096)
def prepare(
    work: Pass,
    sources: tuple[Form, ...],
    sinks: tuple[Form | None, ...],
    noise_strides: Shape | None,
    indexed: bool,
    shared: bool,
) -> Loop | None:
    """The kernels and the plan; None where an input cannot be read by items.

    `noise_strides` are those of the noise's linear index, or None where there is no noise; `shared` says that an output
    is an input too.
    """
    shape, axes = work.shape, work.axes
    kept = tuple([n for axis, n in enumerate(shape) if axes is None or axis not in axes])
    if 0 in shape:
        return Loop(None, {}, np.empty(0), 0, 0, 0, 0, kept, work.total, 0, False)
    forms = [form for form in (*sources, *sinks) if form is not None]
    if any(stride % dtype.itemsize for _, strides, dtype in forms for stride in strides):
        return None
    sizes = {dtype.itemsize for _, _, dtype in forms}
    compute = np.float64 if 8 in sizes else np.float32
    large = prod(shape) >= PARALLEL_FROM
    halves = large and 8 not in sizes and 2 in sizes
    inputs = [_entry(form, halves) for form in sources]
    for position, _, low, high in work.bounds:
        inputs[position] = (*inputs[position][:4], low, high)
    if noise_strides is not None:
        inputs.append((shape, noise_strides, 1, None, -INFINITY, INFINITY))
    # Where an output is an input too, its tiles are read whole before they are written.
    outputs = [DISCARDED if form is None else _entry(form, halves, buffered=shared) for form in sinks]
    positions = [position for position, _, _, _ in work.bounds]
    spec = LoopSpec(
        work.term,
        compute,
        len(inputs),
        len(outputs),
        tuple([kind for _, kind, _, _ in work.bounds]),
        _two(positions),
        _two([position - work.cotangents for position in positions]) if work.cotangents else (-1, -1),
        is_calm(work.term, work.bounds),
        halves,
        work.summed,
    )
    called = {descriptor.COMPUTE: kernels.loop(spec)}
    if noise_strides is not None:
        called[descriptor.NOISE] = kernels.noise(compute)
    found = plans.layout_of(shape, axes, inputs, outputs, indexed, work.total == compute)
    for place, function in called.items():
        found.template[place] = function.address
    return Loop(
        kernels.walk(compute),
        called,
        found.template,
        found.first_slot,
        found.first_slot + len(inputs) * found.slot_step,
        found.slot_step,
        found.tasks,
        kept,
        work.total,
        found.partials,
        large,
    )


_STORAGE = {
    "float32": descriptor.DIRECT,
    "float64": descriptor.DIRECT,
    "float16": descriptor.FLOAT16,
    "bfloat16": descriptor.BFLOAT16,
}


def _entry(form: Form, halves: bool, buffered: bool = False) -> Array:
    """`halves`: the loop converts half types itself, so that they need not be copied."""
    shape, strides, dtype = form
    storage = _STORAGE[dtype.name]
    if buffered or (storage != descriptor.DIRECT and not halves):
        storage += descriptor.BUFFERED
    return shape, strides, dtype.itemsize, storage, -INFINITY, INFINITY


def _is_free(out: np.ndarray, arrays: Sequence[np.ndarray]) -> bool:
    """Whether it can be written to at once: it is writeable, on its alignment, and apart from what is read."""
    return out.flags.writeable and out.flags.aligned and not any([np.may_share_memory(out, a) for a in arrays])  # noqa: C419


def _form(a: np.ndarray) -> Form:
    return a.shape, a.strides, a.dtype


def row_major_bytes(shape: Shape, dtype: DType) -> Shape:
    return (
        np.empty(shape, dtype).strides
        if 0 in shape
        else tuple([n * np.dtype(dtype).itemsize for n in row_major(shape)])
    )


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
        if np.may_share_memory(a, out) and not _same(a, out) and overlap(a, out):
            return np.empty(out.shape, out.dtype)
    return out


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    return address(a) == address(b) and a.strides == b.strides and a.shape == b.shape and a.dtype == b.dtype
