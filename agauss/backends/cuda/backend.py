"""CuPy arrays in, CuPy arrays out: a pass by a CUDA kernel; knows no formula.

The bits are those of cpu/backend.py. All that touches a device is the runtime's (device.py), so
the tests run this file with another.
"""

from collections.abc import Hashable, Sequence
from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

import numpy as np

from agauss.backends import steps
from agauss.backends.cuda.source import HEAD, ITEMSIZE, SHORT_TILE, Spec
from agauss.backends.protocol import Noise, Pass
from agauss.backends.strides import coalesce, in_elements, overlap, row_major, span
from agauss.maths.domain import is_calm
from agauss.maths.noise import NORMALS_PER_BLOCK
from agauss.maths.sums import CHUNK, LANES, TILE

Shape = tuple[int, ...]
Form = tuple[Shape, Shape, str, int]  # shape, strides, dtype, how far off 16 bytes its address is

# Places in struct Work.
SUMS, PARTIALS, COUNTER, SEED_LOW, SEED_HIGH, DRAW, STREAM, INDEX = (
    HEAD.index(name) for name in ("sums", "partials", "counter", "seed_low", "seed_high", "draw", "stream", "index")
)

WARP, THREADS = 32, 256
ALIGNED = 16  # bytes that a thread reads at once
TASKS = 2048  # what there is to do is cut into so many tasks where it can be, enough for any device
MAX_PIECE = 2048  # vectors that a block maps in one task at most
MOST_NORMALS = max(NORMALS_PER_BLOCK.values())
# More than are resident, so that blocks that end early make room for others. A multiple of each number that can be
# resident, 1 to 6 and 8, so that no last few are left to run alone.
BLOCKS_PER_PROCESSOR = 120


class Launch(NamedTuple):
    """All that is the same in calls with arrays of the same forms."""

    spec: Spec
    template: np.ndarray
    addresses: tuple[int, ...]  # where the arrays' addresses go,
    noise: int  # and where the linear index of the noise's first element
    threads: int
    tasks: int
    kept: Shape  # the shape of the sum
    partials: int

    def blocks(self, processors: int) -> int:
        return min(self.tasks, processors * BLOCKS_PER_PROCESSOR * THREADS // self.threads)


class Backend:
    """The backend of the arrays of a runtime."""

    def __init__(self, runtime: Any) -> None:
        self.runtime = runtime
        self.empty = runtime.empty

    def run(
        self, work: Pass, arrays: Sequence[Any], noise: Noise | None = None, outs: Sequence[Any] | None = None
    ) -> tuple[Any, ...]:
        """The term's values at every element, one array for each of the pass's dtypes, in `outs` where they are given,
        and the sum over the axes, if there are any."""
        with self.runtime.on(arrays[0]):
            results = self.made(work, arrays[0]) if outs is None else list(outs)
            for a in arrays:
                self.refuse_misaligned(a)
            # What is new overlaps nothing.
            sinks = results if outs is None else [self._apart(out, arrays) for out in results]
            forms = tuple(map(self._form, arrays)), tuple([None if a is None else self._form(a) for a in sinks])
            launch = prepare(work, *forms, *_of_noise(noise, work.shape))
            if steps.watching():
                _tell(launch.spec)
            addresses = [self.runtime.address(a) for a in (*arrays, *sinks) if a is not None]
            total = self.launched(launch, work, arrays[0], addresses, noise)
            for sink, out in zip(sinks, results, strict=True):
                if sink is not out:
                    out[...] = sink
            return tuple(results) if work.axes is None else (*results, total)

    def plan(
        self, work: Pass, arrays: Sequence[Any], noise: Noise | None = None, outs: Sequence[Any] | None = None
    ) -> "Planned | None":
        """The pass for arrays of the same forms as these."""
        sources = tuple(map(self._form, arrays))
        if outs is None:
            sinks = tuple([None if t is None else _new(work.shape, t) for t in work.dtypes])
        else:
            sinks = tuple([None if out is None else self._form(out) for out in outs])
        launch = prepare(work, sources, sinks, *_of_noise(noise, work.shape))
        forms = [form for form in (*sources, *sinks) if form is not None]
        return Planned(self, launch, work, forms) if launch.tasks else None

    def forms(self, arrays: Sequence[Any]) -> Hashable | None:
        """What a plan for these arrays depends on, but for their alignment, which the plan looks at."""
        kind = arrays[0].__class__
        if any([a.__class__ is not kind for a in arrays]):  # noqa: C419, for speed
            return None
        return tuple([(a.shape, a.strides, a.dtype) for a in arrays])

    def made(self, work: Pass, like: Any) -> list[Any]:
        return [None if t is None else self.empty(work.shape, t, like) for t in work.dtypes]

    def launched(self, launch: Launch, work: Pass, like: Any, addresses: Sequence[int], noise: Noise | None) -> Any:
        """Fill the outputs, given the addresses of all inputs and outputs, and return the sum over the axes, if any."""
        runtime = self.runtime
        total = None if work.axes is None else self.empty(launch.kept, work.total, like)
        if launch.tasks == 0:
            if total is not None:
                total[...] = 0
            return total
        words = launch.template.copy()
        for place, address in zip(launch.addresses, addresses, strict=True):
            words[place] = address
        index = _room = None  # kept until the launch
        if noise is not None:
            seed_low, seed_high, stream = noise.words
            words[SEED_LOW : STREAM + 1] = seed_low, seed_high, noise.draw, stream
            words[launch.noise] = noise.start
            if noise.index is not None:
                index = runtime.ids(noise.index, like)
                words[INDEX] = runtime.address(index)
        if total is not None:
            words[SUMS] = runtime.address(total)
            if launch.partials:
                _room, words[PARTIALS], words[COUNTER] = runtime.partials(launch.partials)
        runtime.launch(launch.spec, launch.blocks(runtime.processors()), launch.threads, words)
        return total

    def _form(self, a: Any) -> Form:
        return a.shape, a.strides, a.dtype.name, self.runtime.address(a) % ALIGNED

    def refuse_misaligned(self, a: Any, name: str = "CuPy arrays") -> None:
        """A device reads whole, aligned items alone. CuPy does not look, so it could not copy the array either."""
        off = self.runtime.address(a) % a.itemsize
        if off or any([n % a.itemsize for n in a.strides]):  # noqa: C419, for speed
            raise ValueError(
                f"{name} must have an address and strides in multiples of the item's {a.itemsize} bytes; "
                f"got an address {off} bytes off and strides {a.strides}"
            )

    def _apart(self, out: Any, arrays: Sequence[Any]) -> Any:
        """`out`, or a new array where writing there would change what is still to be read."""
        if out is None:
            return None
        place = Place(self.runtime.address(out), out)
        for a in arrays:
            same = self.runtime.address(a) == self.runtime.address(out) and a.strides == out.strides
            if same and a.shape == out.shape and a.dtype == out.dtype:
                continue
            if overlap(Place(self.runtime.address(a), a), place):
                return self.runtime.scratch(out.shape, out.dtype)
        return out


class Place:
    """Where an array lies on a device, told as NumPy's arrays tell it."""

    def __init__(self, address: int, a: Any) -> None:
        kind = f"|V{a.itemsize}"
        self.__array_interface__ = {
            "version": 3, "typestr": kind, "data": (address, True), "shape": a.shape, "strides": a.strides
        }  # fmt: skip


class Planned:
    """A launch for arrays of known forms, whose addresses are all that it is still to be told."""

    def __init__(self, backend: Backend, launch: Launch, work: Pass, forms: Sequence[Form]) -> None:
        self._backend, self._launch, self._work = backend, launch, work
        self._offsets = [form[3] for form in forms]
        self._spans = [span(shape, strides, ITEMSIZE[name]) for shape, strides, name, _ in forms]

    def __call__(
        self, arrays: Sequence[Any], words: Sequence[int] = (), outs: Sequence[Any] | None = None
    ) -> tuple[Any, ...] | None:
        backend, runtime, work = self._backend, self._backend.runtime, self._work
        device = runtime.device(arrays[0])
        with runtime.on(arrays[0]):
            results = backend.made(work, arrays[0]) if outs is None else outs
            all_ = [a for a in (*arrays, *results) if a is not None]
            addresses = [runtime.address(a) for a in all_]
            if any([place % ALIGNED != off for place, off in zip(addresses, self._offsets, strict=True)]):  # noqa: C419
                return None
            if any([runtime.device(a) != device for a in all_]):  # noqa: C419, for speed
                return None
            if outs is not None and self._overlap(addresses, len(arrays)):
                return None
            noise = Noise((words[0], words[1], words[2])) if words else None
            total = backend.launched(self._launch, work, arrays[0], addresses, noise)
        return tuple(results) if work.axes is None else (*results, total)

    def _overlap(self, addresses: Sequence[int], inputs: int) -> bool:
        """Whether what is written may be read too, by the bytes from the first to the last of each array."""
        places = [
            (address + first, address + end) for address, (first, end) in zip(addresses, self._spans, strict=True)
        ]
        for first, end in places[inputs:]:
            for start, stop in places[:inputs]:
                if first < stop and start < end:
                    return True
        return False


def _of_noise(noise: Noise | None, shape: Shape) -> tuple[tuple[Shape, int] | None, str]:
    """Where the noise lies in its linear index, and what places along the first axis choose."""
    if noise is None:
        return None, ""
    return (noise.strides or row_major(shape), noise.start % MOST_NORMALS), "" if noise.index is None else "ids"


def _new(shape: Shape, dtype: Any) -> Form:
    """The form of an array that is made for a result."""
    name = np.dtype(dtype).name
    return shape, tuple([n * ITEMSIZE[name] for n in row_major(shape)]), name, 0


@lru_cache(maxsize=4096)
def prepare(
    work: Pass,
    sources: tuple[Form, ...],
    sinks: tuple[Form | None, ...],
    place: tuple[Shape, int] | None,
    chosen: str = "",
    pointed: bool = False,
) -> Launch:
    """The kernel and its words. `place` says where the noise lies in its linear index, by each axis's steps and by how
    far off a block it begins; None where there is no noise. `chosen` is "ids" or "keys" where places along the first
    axis choose these. `pointed`: the words of keys will be their addresses."""
    shape, axes, bounds = work.shape, work.axes, work.bounds
    kept = tuple([n for axis, n in enumerate(shape) if axes is None or axis not in axes])
    if 0 in shape:
        return Launch(None, None, (), 0, 0, 0, kept, 0)  # type: ignore[arg-type]
    reduced = () if axes is None else tuple(sorted(axes))
    forms = [form for form in (*sources, *sinks) if form is not None]
    real = "float64" if any(dtype == "float64" for _, _, dtype, _ in forms) else "float32"
    noisy = place is not None

    # The strides of everything that has an address or, as the noise has, a linear index.
    ndim = len(shape)
    linear = list(row_major(shape))
    by_array = [in_elements(s, strides, ITEMSIZE[dtype], ndim) for s, strides, dtype, _ in sources]
    by_array += [list(place[0])] if place else []
    by_array += [linear if f is None else in_elements(f[0], f[1], ITEMSIZE[f[2]], ndim) for f in sinks]

    def dimensions(axes: Sequence[int]) -> tuple[list[int], list[Shape], int]:
        batch = axes.index(0) if chosen and 0 in axes else -1
        found = coalesce([shape[axis] for axis in axes], [tuple(s[axis] for s in by_array) for axis in axes], batch)
        return found if found[0] else ([1], [(0,) * len(by_array)], -1)

    if axes is None:
        extents, strides, batch = dimensions(range(ndim))
        inner, inner_strides = extents[-1:], strides[-1:]
        outer, outer_strides = (extents[:-1], strides[:-1]) if extents[:-1] else ([1], [(0,) * len(by_array)])
        batch += len(outer) + 1 - len(extents) if batch >= 0 else 0
    else:
        outer, outer_strides, batch = dimensions([axis for axis in range(ndim) if axis not in reduced])
        inner, inner_strides, inner_batch = dimensions(reduced)
        batch = len(outer) + inner_batch if inner_batch >= 0 else batch
    rows, columns = prod(outer), prod(inner)
    extents, strides = outer + inner, outer_strides + inner_strides

    def step(k: int) -> int:
        own = [s[k] for s in inner_strides]
        return 0 if not any(own) else 1 if own == list(row_major(tuple(inner))) else 2

    steps = [step(k) for k in range(len(by_array))]
    noise_at = len(sources)
    noise_step = 0 if not noisy else 1 if steps[noise_at] == 1 and batch < len(outer) else 2
    dtypes: list[str | None] = [dtype for _, _, dtype, _ in sources] + [None] * noisy
    dtypes += [None if f is None else f[2] for f in sinks]
    offsets = [form[3] for form in sources] + [0] * noisy + [0 if f is None else f[3] for f in sinks]
    adjacent = [k for k, dtype in enumerate(dtypes) if dtype is not None and steps[k] == 1]

    # Elements to a thread: 16 bytes of each array, but for rows of sums, whose lanes are what they are.
    vector = 2 if real == "float64" else 4
    if axes is None and adjacent and all(ITEMSIZE[dtypes[k]] == 2 for k in adjacent):
        vector = 8
    per_block = NORMALS_PER_BLOCK[64 if real == "float64" else 32]
    whole = columns % vector == 0 and all(s != 2 or d is None for s, d in zip(steps, dtypes, strict=True))
    for k in adjacent:
        bytes_at_once = vector * ITEMSIZE[dtypes[k]]
        whole = whole and offsets[k] % min(16, bytes_at_once) == 0
        whole = whole and not any(s[k] * ITEMSIZE[dtypes[k]] % bytes_at_once for s in outer_strides)
    if place:
        starts = [place[1], *(s[noise_at] for s in outer_strides)]
        whole = whole and noise_step == 1 and not any(start % per_block for start in starts)

    vectors = columns // vector if whole else (columns + vector - 1 + vector - 1) // vector
    loop, packed, threads, partials = "map", False, THREADS, 0
    tile_rows = pieces = parts = piece = 1
    if axes is None:
        piece = THREADS * max(1, min(MAX_PIECE, rows * vectors // TASKS) // THREADS)
        packed = rows > 1 and vectors <= piece // 2
        tile_rows = piece // vectors if packed else 1
        pieces = 1 if packed else -(-vectors // piece)
        tasks = -(-rows // tile_rows) * pieces
    elif columns < 2 * LANES:
        loop, tile_rows = "short_rows", SHORT_TILE // (columns | 1)
        tasks = -(-rows // tile_rows)
    else:
        loop, pieces = "row_reduce", -(-columns // CHUNK)
        tiles = -(-min(columns, CHUNK) // TILE)
        at_once = THREADS * vector // LANES  # tiles
        piece = tiles
        if rows * pieces * 4 <= TASKS:
            # Small blocks spread evenly. But the last one adds up what is left, best with a thread for each chunk.
            least = max(at_once * WARP // THREADS, -(-rows * pieces * at_once // THREADS))
            piece = min(tiles, at_once // 2, 1 << (least - 1).bit_length())
        parts = -(-tiles // piece)
        tasks = rows * pieces * parts
        threads = max(WARP, THREADS * min(at_once, 1 << (piece - 1).bit_length()) // at_once)
        if pieces * parts > 1:
            partials = rows * pieces * (2 + (CHUNK // TILE if parts > 1 else 0))

    spec = Spec(
        loop,
        work.term.__name__,
        real,
        tuple([(dtype, steps[k]) for k, (_, _, dtype, _) in enumerate(sources)]),
        tuple([(None if f is None else f[2], steps[noise_at + noisy + k]) for k, f in enumerate(sinks)]),
        len(outer),
        len(extents),
        vector,
        whole,
        packed,
        next((k for k in adjacent if k < noise_at), -1) if not whole else -1,
        noise_step,
        batch if chosen else -1,
        tuple([kind for _, kind, _, _ in bounds]),
        _two([position for position, _, _, _ in bounds]),
        _two([position - work.cotangents for position, _, _, _ in bounds]) if work.cotangents else (-1, -1),
        -1 if work.summed is None else work.summed,
        "float32" if work.total is None else np.dtype(work.total).name,
        is_calm(work.term, work.bounds),
        pointed,
        chosen == "keys",
    )
    none = [0] * (2 - len(bounds))
    lows = [_bits(low, real) for _, _, low, _ in bounds] + none
    highs = [_bits(high, real) for _, _, _, high in bounds] + none
    known = {
        "rows": rows,
        "columns": columns,
        "vectors": vectors,
        "tile_rows": tile_rows,
        "pieces": pieces,
        "piece": piece,
        "parts": parts,
        "tasks": tasks,
        "magic": -(-(2**32) // vectors),
    }
    head = [known.get(name, 0) for name in HEAD] + lows + highs
    words, places = head + extents, []
    for k in range(len(by_array)):
        places.append(len(words))
        words += [0, *(s[k] for s in strides)]
    addresses = tuple([place for place, dtype in zip(places, dtypes, strict=True) if dtype is not None])
    noise = places[noise_at] if noisy else 0
    return Launch(spec, np.array(words, dtype=np.int64), addresses, noise, threads, tasks, kept, partials)


def _tell(spec: Spec | None) -> None:
    if spec is None:
        return
    steps.step("CUDA kernel", f"{spec.loop} of {spec.term}", spec.real, "cupy")
    if not spec.whole:
        steps.note("rows are not whole, aligned vectors of 16 bytes: their ends are masked")
    if any(dtype is not None and step == 2 for dtype, step in (*spec.inputs, *spec.outputs)):
        steps.note("an array whose last axis is not adjacent in memory is read element by element")


def _two(positions: Sequence[int]) -> tuple[int, int]:
    first, second = (*positions, -1, -1)[:2]
    return first, second


def _bits(x: float, real: str) -> int:
    with np.errstate(over="ignore"):  # a bound beyond the dtype is inf
        number = np.array(x).astype(real)
    return int(number.view(f"i{number.itemsize}"))
