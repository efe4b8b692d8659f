"""Where arrays lie: the fewest dimensions that walk the same elements of several, and whether two have some in common;
knows only shapes, strides and addresses."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

Shape = tuple[int, ...]


@lru_cache(maxsize=4096)
def row_major(shape: Shape) -> Shape:
    """The steps of the linear index, in C order."""
    steps = [1]
    for extent in reversed(shape[1:]):
        steps.insert(0, steps[0] * extent)
    return tuple(steps[: len(shape)])


def in_elements(own_shape: Shape, own_strides: Shape, itemsize: int, ndim: int) -> list[int]:
    """An array's strides in elements, broadcast to `ndim` dimensions."""
    own = [0 if n == 1 else s // itemsize for n, s in zip(own_shape, own_strides, strict=True)]
    return [0] * (ndim - len(own)) + own


def span(shape: Shape, strides: Shape, itemsize: int) -> tuple[int, int]:
    """How many bytes from an array's address its first byte is, and the one after its last; no extent is zero."""
    steps = [stride * (n - 1) for n, stride in zip(shape, strides, strict=True)]
    return sum([n for n in steps if n < 0]), itemsize + sum([n for n in steps if n > 0])


def overlap(a: Any, b: Any) -> bool:
    """Whether two arrays have a byte in common; True where that would take long to tell. No element is read, so each
    may be anything with NumPy's array interface, of memory anywhere."""
    try:
        return np.shares_memory(a, b, max_work=1000)  # type: ignore[arg-type]
    except np.exceptions.TooHardError:
        return True


def coalesce(extents: Sequence[int], strides: Sequence[Shape], alone: int = -1) -> tuple[list[int], list[Shape], int]:
    """The fewest extents and strides (one for each array) of the same elements in the same order, and where among them
    the dimension `alone` is, which is merged with no other; -1 is none."""
    shape: list[int] = []
    steps: list[Shape] = []
    place = -1
    for axis, (extent, step) in enumerate(zip(extents, strides, strict=True)):
        if axis == alone:
            place = len(shape)
        elif extent == 1:
            continue
        elif shape and place != len(shape) - 1 and all(s == t * extent for s, t in zip(steps[-1], step, strict=True)):
            shape[-1] *= extent
            steps[-1] = step
            continue
        shape.append(extent)
        steps.append(step)
    return shape, steps, place
