"""What the fuzzer draws: shapes, layouts in memory, values, bounds, ids and keys; knows nothing of agauss.

A draw of hypothesis takes longer than a call of agauss, so a case is made of a few numbers. 0 is the plainest: an array
that is contiguous, a part that is the whole.
"""

import itertools
import random
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from hypothesis import strategies as st
from oracles import numpy_dtype

EXTENTS = (1, 2, 3, 4, 0)
LONG = (63, 64, 65, 1000, 1023, 1024, 1025, 2049)  # about the lanes of a sum, and a tile
STEPS = (1, 1, 1, 2, 3, -1, -2)
PACKINGS = {  # bytes between items, of items of n bytes, and bytes before the first
    "items": lambda n: (n, 0),
    "apart": lambda n: (2 * n, n),
    "records": lambda n: (n + 1, 1),  # a field of a structured array, off its alignment
    "odd": lambda n: (n, 1),
}
SCALES = (1.0, 1e-4, 6.0)
BOUNDS = (
    "hard",
    "soft",
    "straight-through",
    (-1, 1),
    (-2.0, 0.5, "soft"),
    (-0.25, 3.0, "straight-through"),
    (-float("inf"), 0.5),
    (-1.5, float("inf")),
)
EDGES = (0.0, -0.0, 1.0, np.inf, -np.inf, np.nan, 1e30, -1e30, 1e-40)


class Layout(NamedTuple):
    """How an array lies in memory: which axis is the innermost, how far apart its places are, which way they run."""

    order: tuple[int, ...]
    steps: tuple[int, ...]
    packing: str


class Argument:
    """An array to be made: small and printable."""

    def __init__(self, shape, seed):
        self.shape, self.seed = shape, seed
        rng, rank = random.Random(seed), len(shape)
        self.layout, self.spread, self.scale = layout(seed, rank), False, 1.0
        if seed:
            self.spread, self.scale = rng.random() < 0.5, rng.choice(SCALES)

    def __repr__(self):
        return f"Argument({self.shape}, {self.seed})"

    def values(self, dtype, edges=False):
        """A contiguous array."""
        rng = np.random.default_rng(self.seed)
        x = np.asarray(rng.normal(size=self.shape)) * self.scale
        if edges:
            x = np.where(rng.random(self.shape) < 0.3, rng.choice(EDGES, self.shape), x)
        with np.errstate(over="ignore"):
            return np.asarray(x.clip(-20, 20) if not edges else x).astype(numpy_dtype(dtype))

    def laid_out(self, values, whole):
        """Numbers as they lie, at times spread over the whole shape by strides of 0."""
        view, _ = lay_out(values, self.layout)
        return np.broadcast_to(view, whole) if self.spread else view


def layout(seed, rank):
    rng = random.Random(seed)
    if not seed:
        return Layout(tuple(range(rank))[::-1], (1,) * rank, "items")
    order = tuple(rng.sample(range(rank), rank))
    return Layout(order, tuple(rng.choices(STEPS, k=rank)), rng.choice(tuple(PACKINGS)))


def lay_out(a, layout):
    """A view of the values of `a` and the bytes that it looks at, of which those between the values are NaNs."""
    unit, start = PACKINGS[layout.packing](a.itemsize)
    strides, offset = [0] * a.ndim, start
    for axis in layout.order:
        strides[axis] = layout.steps[axis] * unit
        reach = max(a.shape[axis] - 1, 0) * abs(strides[axis])
        offset += reach if strides[axis] < 0 else 0
        unit += reach
    memory = np.full(start + unit + a.itemsize, 0xFF, np.uint8)
    view = np.ndarray(a.shape, a.dtype, memory, offset, strides)
    view[...] = a
    return view, memory


def filled(view, memory, values):
    """What the bytes would be, were the values written to the view and nothing else."""
    copy = memory.copy()
    offset = view.__array_interface__["data"][0] - memory.__array_interface__["data"][0]
    np.ndarray(view.shape, view.dtype, copy, offset, view.strides)[...] = values
    return copy


def windows(count, shape, room, rng):
    """Offsets and strides, in elements, of `count` views of the same memory; the last one's elements are apart."""
    (rows, columns), found = shape, []
    for last in (False,) * (count - 1) + (True,):
        step = rng.randint(1, 3)
        jump = columns * step + rng.randint(0, 3) if last else rng.randint(0, columns)
        reach = (rows - 1) * jump + (columns - 1) * step
        offset, sign = rng.randrange(room - reach), rng.choice((1, -1))
        found.append((offset, jump, step) if sign == 1 else (offset + reach, -jump, -step))
    return found


def window(memory, shape, place):
    offset, jump, step = place
    n = memory.itemsize
    return np.ndarray(shape, memory.dtype, memory, offset * n, (jump * n, step * n))


def part(shape, number):
    """A shape that broadcasts to `shape`: with leading axes left out, and others of extent 1."""
    ones = tuple([1 if number >> axis & 1 else n for axis, n in enumerate(shape)])
    return ones[(number >> len(shape)) % (len(shape) + 1) :]


def axes(rank, number):
    """None, an axis, or several, counted from either end."""
    kind, number = number % 3, number // 3
    if kind == 0 or not rank:
        return None if number % 2 == 0 or rank else ()
    if kind == 1:
        return number % (2 * rank) - rank
    return tuple([axis - rank if number >> 5 & 1 else axis for axis in range(rank) if number >> axis & 1])


def _shapes():
    """Every small shape of up to 3 dimensions, many of 4 and 5, and some that are long."""
    small = [shape for rank in range(4) for shape in itertools.product(EXTENTS, repeat=rank) if shape.count(0) < 2]
    rng = random.Random(0)
    many = [tuple(rng.choices(EXTENTS, (3, 3, 3, 1, 0.2), k=rng.choice((4, 5)))) for _ in range(200)]
    long = [shape for n in LONG for shape in ((n,), (n, 1), (1, n), (n, 3), (2, n))]
    return [*small, *many, *long]


@lru_cache
def under(n):
    return st.integers(0, n - 1)


shapes = st.sampled_from(_shapes())
numbers = under(2**10)
seeds32 = under(2**32)
operands = st.integers(0, 8)  # of these 0 to 3 say which is of the whole shape, and more that all are


@st.composite
def arguments(draw, count, broadcast=True):
    """`count` arguments that broadcast to a shape."""
    shape, whole = draw(shapes), draw(operands) if broadcast else 8
    own = [shape if whole > 3 or place == whole % count else part(shape, draw(numbers)) for place in range(count)]
    return [Argument(each, draw(seeds32)) for each in own]


ID_KINDS = (np.int8, np.int32, np.int64, np.uint64)


def ids(count, number):
    """Sample ids: up to the largest, at times twice the same, of any integral dtype that holds them; often none."""
    if number % 3 == 0:
        return None
    rng, kind = np.random.default_rng(number), ID_KINDS[number % 4]
    return rng.integers(0, np.iinfo(kind).max if number % 5 else 3, count, kind, endpoint=True)


def block(shape, seed):
    """A block of an array, as slices."""
    rng, found = random.Random(seed), []
    for n in shape:
        start = rng.randrange(n) if n else 0
        found.append(slice(start, rng.randint(min(start + 1, n), n)))
    return tuple(found)


seeds = st.one_of(st.integers(0, 2**64 - 1), st.sampled_from((0, 2**32 - 1, 2**32, 2**64 - 1)))
streams = st.one_of(st.just(0), st.integers(0, 2**32 - 1))
draws = st.sampled_from(((), (), 1, 3, (2, 2), (0,)))
