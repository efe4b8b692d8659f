"""Shapes and strides to a work descriptor (descriptor.py says what one holds); knows no formula and touches no data."""

import struct
from collections.abc import Sequence
from math import prod
from typing import NamedTuple

import numpy as np

from agauss.backends.cpu import descriptor
from agauss.backends.strides import coalesce, in_elements
from agauss.maths.sums import CHUNK, LANES, TILE

# An array without its data: shape, strides in bytes, item size, storage and the bounds on its values. The storage of
# noise, which lies nowhere, is None, and its strides are those of the linear index that it hangs on.
Array = tuple[tuple[int, ...], tuple[int, ...], int, int | None, float, float]
INFINITY = float("inf")
DISCARDED: Array = ((), (), 1, descriptor.BUFFERED, -INFINITY, INFINITY)


class Layout(NamedTuple):
    """How a pass's arrays are walked, and in which tasks."""

    template: np.ndarray  # the descriptor, without what changes from call to call
    first_slot: int  # where the first array's address goes, and
    slot_step: int  # how far the next one's is
    tasks: int
    partials: int  # float64 sums that are still to be added up by rows; 0 where the total is written at once


def _strides(array: Array, shape: tuple[int, ...]) -> list[int]:
    """The array's strides in elements, broadcast to `shape`."""
    own_shape, own_strides, itemsize, storage, _, _ = array
    if storage is None:
        return list(own_strides)
    return in_elements(own_shape, own_strides, itemsize, len(shape))


def _bits(x: float) -> int:
    return int(struct.unpack("<q", struct.pack("<d", x))[0])


def layout_of(
    shape: tuple[int, ...],
    axes: tuple[int, ...] | None,
    inputs: Sequence[Array],
    outputs: Sequence[Array],
    indexed: bool,
    final: bool,
) -> Layout:
    """The layout of a map over `shape`, or of a row-reduce over `axes` of it. No extent is zero.

    `final`: the sums are wanted in the computing dtype, so that rows of one task need no partial sums.
    """
    arrays = [*inputs, *outputs]
    order = list(range(len(shape)))
    if axes is not None:
        order = [axis for axis in order if axis not in axes] + sorted(axes)
    by_array = [_strides(a, shape) for a in arrays]
    strides = [tuple(s[axis] for s in by_array) for axis in order]
    batch = order.index(0) if indexed else -1
    extents, steps, batch_axis = coalesce([shape[axis] for axis in order], strides, batch)
    if not extents:
        extents, steps = [1], [(0,) * len(arrays)]

    size, inner = prod(shape), extents[-1]
    columns = prod(shape[axis] for axis in axes) if axes is not None else 0
    inner_rows, pieces = max(1, TILE // inner), -(-inner // TILE)
    if axes is None:
        tasks, partials = -(-(size // inner) // inner_rows) * pieces, 0
    elif columns < LANES:
        partials = size // columns
        tasks = -(-partials // (TILE // columns))
    else:
        partials = tasks = size // columns * -(-columns // CHUNK)

    ndim = len(extents)
    head = [0] * descriptor.EXTENTS
    head[descriptor.INPUTS], head[descriptor.ARRAYS] = len(inputs), len(arrays)
    head[descriptor.SIZE], head[descriptor.COLUMNS], head[descriptor.NDIM] = size, columns, ndim
    if partials == size // max(1, columns) and final:
        head[descriptor.FINAL], partials = 1, 0
    head[descriptor.INNER_ROWS], head[descriptor.PIECES], head[descriptor.BATCH_AXIS] = inner_rows, pieces, batch_axis
    words = head + extents
    first_slot = len(words) + descriptor.ADDRESS
    for k, (_, _, _, storage, low, high) in enumerate(arrays):
        words += [
            0,
            descriptor.BUFFERED if storage is None else storage,
            _bits(low),
            _bits(high),
            *(step[k] for step in steps),
        ]
    return Layout(np.array(words, dtype=np.int64), first_slot, descriptor.STRIDES + ndim, tasks, partials)
