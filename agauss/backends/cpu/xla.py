"""A pass as a call that XLA makes, by the Numba loops; knows no JAX. xla_handler.py has what XLA calls.

A call has one attribute, which is all but buffers. It names a pass's functions by digests of what they are made from,
and holds no address: a compiled program may be kept on disk, and in another process it runs the same ones or none.
"""

import ctypes
import sys
from collections.abc import Sequence
from functools import cache as remembered
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
_message = ctypes.create_string_buffer(
    b"agauss has no such kernel in this process: trace and compile the function here"
)
_known: set[str] = set()  # keys of the kernels in the table
_adding = Lock()
_functions: dict[str, kernels.Kernel] = {}


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
    _table[frame.HELPER], _table[frame.MESSAGE] = _function("helper").address, ctypes.addressof(_message)
    return _function("handler").address


def _function(name: str) -> kernels.Kernel:
    def named() -> tuple[object, ...]:
        return name, *map(cache.source, _SOURCES)

    return kernels.made(_functions, name, named, lambda key: _compiled(name, key), arguments=1)


def _compiled(name: str, key: str) -> Any:
    from agauss.backends.cpu import xla_handler

    return getattr(xla_handler, f"make_{name}")(key)


def echo() -> np.ndarray:
    """The attribute of a call that copies the first 64 bits of its argument to its result."""
    return np.zeros(frame.HEAD, np.int64)


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
    if loop is None or loop.kernel is None or len(loop.template) > frame.MOST_WORDS:
        return None
    template, slot = loop.template.copy(), loop.first_slot
    for place, function in loop.called.items():
        template[place] = _digest(function)
    arrays = []
    for a in sources:
        arrays.append(a.words(slot))
        slot += loop.slot_step
    if noise is not None:
        template[slot], template[descriptor.DRAW] = noise.start, noise.draw
        for place, a in zip((descriptor.SEED_LOW, descriptor.SEED_HIGH, descriptor.STREAM), noise.words, strict=True):
            arrays.append(a.words(place, frame.WORD))
        if noise.ids is not None:
            arrays.append(noise.ids.words(descriptor.INDEX))
    head, slot = [0] * frame.HEAD, loop.sink_slot
    head[frame.SOURCES] = len(arrays)
    for sink in sinks:
        if sink is not None:
            arrays.append(sink.words(slot, fresh=True))
        slot += loop.slot_step
    if total is not None:
        arrays.append(total.words(-1 if loop.partials else descriptor.SUMS))
        if loop.partials:
            arrays.append(Array.of((), np.dtype(np.float64), total.number + 1).words(descriptor.SUMS))
            head[frame.ROWS], head[frame.TOTAL] = prod(loop.kept), frame.TOTALS.index(total.dtype.name)
            head[frame.PARTIALS] = loop.partials // head[frame.ROWS]
    head[frame.SINKS] = len(arrays) - head[frame.SOURCES]
    head[frame.KERNEL], head[frame.TASKS], head[frame.TURNS] = _digest(loop.kernel), loop.tasks, turns
    head[frame.PARALLEL] = loop.parallel
    return np.array([*head, *[n for array in arrays for n in array], *template], np.int64), 2 * loop.partials


def _digest(kernel: Any) -> int:
    """The number by which a call names a kernel, which the table has from now on."""
    found = int(kernel.key[-15:], 16)
    with _adding:
        if kernel.key not in _known:
            _known.add(kernel.key)
            count = int(_table[frame.COUNT])
            place = frame.FIRST + 2 * count
            _table[place : place + 2] = found, kernel.address
            _table[frame.COUNT] = count + 1  # last, for a call may be reading
    return found
