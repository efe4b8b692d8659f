"""A pass as a call that XLA makes, by the Numba loops; knows no JAX. xla_handler.py has what XLA calls.

A call has one attribute, which is all but buffers. It names a pass's functions by digests of what they are made from,
and holds no address: a compiled program may be kept on disk, and in another process it runs the same ones or none.
"""

import ctypes
import sys
from collections.abc import Iterable, Sequence
from functools import cache as remembered
from itertools import chain
from math import prod
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
from llvmlite import binding
from numba.core.registry import cpu_target
from numba.core.runtime.nrt import rtsys

from agauss.backends.cpu import backend, cache, descriptor, kernels, pycall
from agauss.backends.cpu import xla_frame as frame
from agauss.backends.protocol import Pass, Shape

_SOURCES = frame.__name__, "agauss.backends.cpu.machine", "agauss.backends.cpu.xla_handler"
_MOST_KERNELS = 4096
_table = np.zeros(frame.FIRST + 2 * _MOST_KERNELS, np.int64)
_unknown = ctypes.create_string_buffer(
    b"agauss has no such kernel in this process: trace and compile the function here"
)
_refused = ctypes.create_string_buffer(b"CUDA refuses to launch a kernel of agauss")
_known: set[str] = set()  # keys of the kernels in the table
_adding = Lock()
_functions: dict[str, kernels.Kernel] = {}
Rows = Sequence[Sequence[int]]  # of what `Array.words` says


class Array(NamedTuple):
    """Where an array lies: in the argument or the result of a number. All else is in bytes."""

    shape: Shape
    dtype: np.dtype[Any]
    strides: Shape
    number: int
    size: int  # of the argument or the result, or of a turn's part of it
    step: int  # from one turn's to the next
    offset: int = 0

    @classmethod
    def of(cls, shape: Shape, dtype: Any, number: int, turning: bool = False) -> "Array":
        """An argument or a result itself, in C order."""
        size = prod(shape) * dtype.itemsize
        return cls(shape, dtype, backend.row_major_bytes(shape, dtype), number, size, size * turning)

    @property
    def form(self) -> backend.Form:
        return self.shape, self.strides, self.dtype

    def words(self, slot: int, kind: int = frame.ADDRESS, fresh: bool = False) -> tuple[int, ...]:
        """What the attribute says of it."""
        return slot, kind, self.number, self.offset, self.step, self.size * (fresh and self.offset == 0)

    def part(self, starts: Sequence[int], shape: Shape, steps: Sequence[int]) -> "Array":
        """A slice of it."""
        offset = self.offset + sum([n * start for n, start in zip(self.strides, starts, strict=True)])
        own = tuple([n * step for n, step in zip(self.strides, steps, strict=True)])
        return self._replace(shape=shape, strides=own, offset=offset)

    def halves(self, axis: int) -> list["Array"]:
        """Its halves along an axis that is counted from the end."""
        place, ones = len(self.shape) + axis, (1,) * len(self.shape)
        half = self.shape[place] // 2
        shape = (*self.shape[:place], half, *self.shape[place + 1 :])
        starts = [tuple([at * (k == place) for k in range(len(shape))]) for at in (0, half)]
        return [self.part(start, shape, ones) for start in starts]


class Words(NamedTuple):
    """Noise, whose key's words and ids are arguments."""

    strides: Shape
    start: int
    draw: int
    words: Sequence[Array]
    ids: Array | None


@remembered
def handler() -> int:
    """The address of what XLA is to call."""
    rtsys.initialize(cpu_target.target_context)  # makes C's and Numba's own functions known to LLVM
    if sys.byteorder != "little" or not all(map(binding.address_of_symbol, frame.FUNCTIONS)):
        raise NotImplementedError("this machine is not one that the handler is for")
    binding.add_symbol(frame.SYMBOL, pycall.address(_table))
    _table[frame.HELPER] = _function("helper").address
    _table[frame.UNKNOWN], _table[frame.REFUSED] = map(ctypes.addressof, (_unknown, _refused))
    return _function("handler").address


def _function(name: str) -> kernels.Kernel:
    def named() -> tuple[object, ...]:
        return name, *map(cache.source, _SOURCES)

    return kernels.made(_functions, name, named, lambda key: _compiled(name, key), arguments=1)


def _compiled(name: str, key: str) -> Any:
    from agauss.backends.cpu import xla_handler

    return getattr(xla_handler, f"make_{name}")(key)


def on_devices(launch: int, set_words: int) -> None:
    """Tell the handler the addresses of the functions of CUDA's driver."""
    _table[frame.LAUNCH], _table[frame.SET] = launch, set_words


def has_room() -> bool:
    """Whether the table can take the functions of one more call."""
    return bool(_table[frame.COUNT] + 3 <= _MOST_KERNELS)


def echo() -> np.ndarray:
    """The attribute of a call that copies the first 64 bits of its argument to its result."""
    return written({}, [], [], ())


def written(head: dict[int, int], sources: Rows, sinks: Rows, descriptor: Iterable[int]) -> np.ndarray:
    """An attribute, of what its head is to hold, and of what it says of arrays."""
    head = {frame.SOURCES: len(sources), frame.SINKS: len(sinks), **head}
    first = [head.get(place, 0) for place in range(frame.HEAD)]
    return np.array([*first, *chain(*sources, *sinks), *descriptor], np.int64)


def attribute(
    work: Pass,
    sources: Sequence[Array],
    sinks: Sequence[Array | None],
    total: Array | None,
    noise: Words | None,
    turns: int,
) -> tuple[np.ndarray, int] | None:
    """A call's attribute, and the words of one more result that it needs; None where there is nothing for the loops.

    The partial sums are one more result, of words of uint32: JAX may have no float64.
    """
    outs = tuple([None if a is None else a.form for a in sinks])
    strides = None if noise is None else noise.strides
    indexed = noise is not None and noise.ids is not None
    loop = backend.prepare(work, tuple([a.form for a in sources]), outs, strides, indexed, False)
    if loop is None or loop.kernel is None or len(loop.template) > frame.MOST_WORDS or not has_room():
        return None
    template, slot = loop.template.copy(), loop.first_slot
    for place, function in loop.called.items():
        template[place] = digest(function.key, function.address)
    read = []
    for a in sources:
        read.append(a.words(slot))
        slot += loop.slot_step
    if noise is not None:
        template[slot], template[descriptor.DRAW] = noise.start, noise.draw
        for place, a in zip((descriptor.SEED_LOW, descriptor.SEED_HIGH, descriptor.STREAM), noise.words, strict=True):
            read.append(a.words(place, frame.WORD))
        if noise.ids is not None:
            read.append(noise.ids.words(descriptor.INDEX))
    made, slot = [], loop.sink_slot
    for sink in sinks:
        if sink is not None:
            made.append(sink.words(slot, fresh=True))
        slot += loop.slot_step
    head = {frame.KERNEL: digest(loop.kernel.key, loop.kernel.address), frame.TURNS: turns}
    head |= {frame.TASKS: loop.tasks, frame.PARALLEL: loop.parallel}
    if total is not None:
        made.append(total.words(-1 if loop.partials else descriptor.SUMS))
        if loop.partials:
            made.append(Array.of((), np.dtype(np.float64), total.number + 1).words(descriptor.SUMS))
            rows = prod(loop.kept)
            head |= {frame.ROWS: rows, frame.PARTIALS: loop.partials // rows}
            head[frame.TOTAL] = frame.TOTALS.index(total.dtype.name)
    return written(head, read, made, template), 2 * loop.partials


def digest(key: str, address: int) -> int:
    """The number by which a call names a kernel, which the table has from now on."""
    found = int(key[-15:], 16)
    with _adding:
        if key not in _known:
            _known.add(key)
            count = int(_table[frame.COUNT])
            place = frame.FIRST + 2 * count
            _table[place : place + 2] = found, address
            _table[frame.COUNT] = count + 1  # last, for a call may be reading
    return found
