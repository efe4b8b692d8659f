"""What the fuzzer draws: shapes, layouts in memory, values, bounds, ids and keys; knows nothing of agauss."""

from typing import NamedTuple

import numpy as np
from hypothesis import strategies as st
from oracles import numpy_dtype

EXTENTS = (*(1, 2, 3, 4) * 5, 0)
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


class Argument(NamedTuple):
    """An array to be made, small and printable."""

    shape: tuple[int, ...]
    layout: Layout
    spread: bool  # over the whole shape, by strides of 0
    scale: float
    seed: int

    def values(self, dtype, edges=False):
        """A contiguous array."""
        rng = np.random.default_rng(self.seed)
        x = np.asarray(rng.normal(size=self.shape)) * self.scale
        if edges:
            x = np.where(rng.random(self.shape) < 0.3, rng.choice(EDGES, self.shape), x)
        with np.errstate(over="ignore"):
            return np.asarray(x.clip(-20, 20) if not edges else x).astype(numpy_dtype(dtype))

    def laid_out(self, dtype, whole, edges=False):
        """The same numbers, as they lie."""
        view, _ = lay_out(self.values(dtype, edges), self.layout)
        return np.broadcast_to(view, whole) if self.spread else view


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


@st.composite
def shapes(draw, least=0):
    """0 to 5 dimensions; at times few, of which one is long."""
    if draw(st.integers(0, 7)) < 7:
        return tuple(draw(st.lists(st.sampled_from(EXTENTS), min_size=least, max_size=5)))
    shape = [draw(st.sampled_from(LONG)), *draw(st.lists(st.integers(1, 3), max_size=1))]
    return tuple(reversed(shape)) if draw(st.booleans()) else tuple(shape)


@st.composite
def layouts(draw, rank):
    return Layout(
        tuple(draw(st.permutations(range(rank)))),
        tuple(draw(st.lists(st.sampled_from(STEPS), min_size=rank, max_size=rank))),
        draw(st.sampled_from(tuple(PACKINGS))),
    )


@st.composite
def parts(draw, shape):
    """A shape that broadcasts to `shape`: leading axes left out, others of extent 1."""
    kept = draw(st.integers(0, 2 ** len(shape) - 1))
    ones = tuple([n if kept >> axis & 1 else 1 for axis, n in enumerate(shape)])
    return ones[draw(st.integers(0, len(shape))) :] if draw(st.booleans()) else ones


@st.composite
def arguments(draw, count, shape, broadcast=True):
    """`count` arguments that broadcast to `shape`, one at least being of it."""
    whole = draw(st.integers(0, count - 1)) if broadcast and draw(st.booleans()) else None
    found = []
    for place in range(count):
        own = shape if whole in (None, place) else draw(parts(shape))
        scale, seed = draw(st.sampled_from(SCALES)), draw(st.integers(0, 2**32 - 1))
        found.append(Argument(own, draw(layouts(len(own))), draw(st.booleans()), scale, seed))
    return found


def axes(rank):
    """None, an axis, or several, counted from either end."""
    several = st.lists(st.integers(0, rank - 1), unique=True, max_size=rank) if rank else st.just([])
    one = [st.integers(-rank, rank - 1)] if rank else []
    return st.one_of(st.none(), *one, st.tuples(several, st.booleans()).map(lambda pair: _counted(*pair, rank)))


def _counted(places, from_the_end, rank):
    return tuple([place - rank if from_the_end else place for place in places])


def ids(count):
    """Sample ids: up to the largest, at times twice the same, of any integral dtype that holds them."""
    some = [
        st.lists(st.integers(0, top), min_size=count, max_size=count).map(lambda ids, kind=kind: np.array(ids, kind))
        for top, kind in ((127, np.int8), (2**31 - 1, np.int32), (2**63 - 1, np.int64), (2**64 - 1, np.uint64))
    ]
    return st.one_of(st.none(), *some)


@st.composite
def blocks(draw, shape):
    """A block of an array, as slices."""
    starts = [draw(st.integers(0, max(n - 1, 0))) for n in shape]
    return tuple(
        [slice(start, draw(st.integers(min(start + 1, n), n))) for start, n in zip(starts, shape, strict=True)]
    )


seeds = st.one_of(st.integers(0, 2**64 - 1), st.sampled_from((0, 2**32 - 1, 2**32, 2**64 - 1)))
streams = st.one_of(st.just(0), st.integers(0, 2**32 - 1))
draws = st.sampled_from(((), (), 1, 3, (2, 2), (0,)))
