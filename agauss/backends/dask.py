"""Dask arrays in, Dask arrays out: a pass block by block, later; knows no formula.

A task makes the pass on its block by way of the block's own library. Each block has the noise that its place in the
whole decides, so the chunks change no bit; only the order of sums is theirs.
"""

from collections.abc import Callable, Sequence
from functools import partial
from math import prod
from typing import Any

import dask.array as da
import numpy as np
from dask.array.core import common_blockdim, normalize_chunks
from dask.array.utils import meta_from_array
from dask.layers import ArraySliceDep

from agauss.backends import steps
from agauss.backends.protocol import Array, Backend, DType, Noise, Pass, Shape, Sinks
from agauss.backends.strides import row_major


class Blocks(Backend):
    """The backend of Dask arrays, whose blocks are of libraries that `library_of` finds."""

    def __init__(self, library_of: Callable[[Any], Any]) -> None:
        self.library_of = library_of

    def run(
        self, work: Pass, arrays: Sequence[Array], noise: Noise | None = None, outs: Sinks = None
    ) -> tuple[Array, ...]:
        """The term's values at every element, and the sum over the axes, if there are any; all of it later."""
        if work.axes is None:
            found = iter(self._per_block(work, arrays, noise))
            return tuple([None if dtype is None else next(found) for dtype in work.dtypes])
        # Blocks' sums are rounded once they are added up.
        dtype, axes, name = work.total, work.axes, work.term.__name__
        widest = dtype if np.dtype(dtype).kind in "iu" else np.float64
        *kept, sums = self._per_block(work._replace(total=widest), arrays, noise)
        meta = meta_from_array(sums._meta, sums.ndim - len(axes), dtype)
        total = da.reduction(sums, _as_it_is, _total, axes, False, dtype, combine=_added, meta=meta, name=name)
        return (*kept, total)

    def empty(self, shape: Shape, dtype: DType, like: Array) -> Array:
        return da.empty_like(like, shape=shape, dtype=dtype)

    def words(self, noise: Noise, shape: Shape, like: Array) -> Array:
        """The random bits of an array, as integers, in chunks of Dask's choice."""
        if shape == ():
            return self.words(noise, (1,), like).reshape(())
        axes, chunks = tuple(range(len(shape))), normalize_chunks("auto", shape, dtype=like.dtype)
        inputs: list[Any] = [ArraySliceDep(chunks), axes]
        if noise.index is not None:
            inputs += [da.asarray(noise.index).rechunk(chunks[:1]), axes[:1]]
        noise = noise._replace(index=None, strides=row_major(shape))
        task = partial(_words_of_block, library_of=self.library_of, noise=noise, like=like._meta.sum())
        return da.blockwise(
            task,
            axes,
            *inputs,
            token="words",
            meta=meta_from_array(like._meta, len(shape), np.int64),
            align_arrays=False,
        )

    def by_events(self, function: Callable[..., Any], signature: str, arrays: Sequence[Array]) -> Array:
        """function(library, *blocks) for blocks that hold whole events; results have the dtype of the first array."""
        model, _ = _model(self.library_of, [a._meta for a in arrays], [a.size for a in arrays])
        cores, results = map(_ranks, signature.split("->"))
        batch = max([a.ndim - rank for a, rank in zip(arrays, cores, strict=True)])
        if len(results) > 1:  # gradients of the full shape, which are added up over blocks later
            full = np.broadcast_shapes(*[a.shape[: a.ndim - rank] for a, rank in zip(arrays, cores, strict=True)])
            arrays = [
                da.broadcast_to(a, (*full, *a.shape[a.ndim - rank :])) for a, rank in zip(arrays, cores, strict=True)
            ]
        metas = [meta_from_array(model, batch + rank, arrays[0].dtype) for rank in results]
        return da.apply_gufunc(
            partial(_of_events, function, self.library_of),
            signature,
            *arrays,
            meta=tuple(metas) if len(metas) > 1 else metas[0],
            allow_rechunk=True,
            vectorize=False,
        )

    def _per_block(self, work: Pass, arrays: Sequence[Array], noise: Noise | None) -> list[Array]:
        """The term's values, the last one summed over the axes within each block, where extents of 1 are left."""
        shape = work.shape
        if any(n != n for n in shape):
            raise ValueError(f"shapes must be known; got {shape} (Dask: call compute_chunk_sizes() first)")
        dtypes = [dtype for dtype in (*work.dtypes, work.total) if dtype is not None]
        metas = [a._meta for a in arrays]
        model, _ = _model(self.library_of, metas, [a.size for a in arrays])
        whole = tuple(range(len(shape)))
        pairs = [(a, whole[len(shape) - a.ndim :]) for a in arrays]
        index = None
        if noise is not None:
            index = noise.index
            noise = noise._replace(index=None, strides=noise.strides or row_major(shape))
        if isinstance(index, da.Array):
            pairs.append((index, whole[:1]))
        chunks = _chunks(pairs, shape, dtypes[0])
        inputs = []
        for a, own in pairs:
            aligned = tuple([chunks[axis] if n == shape[axis] else (n,) for axis, n in zip(own, a.shape, strict=True)])
            inputs += [a if a.chunks == aligned else a.rechunk(aligned), own]
        if index is not None and not isinstance(index, da.Array):
            inputs += [da.from_array(index, chunks=chunks[:1]), whole[:1]]  # each block gets its own ids

        name = work.term.__name__
        steps.step("Dask blocks", name, "each block's own dtype", "dask")
        steps.note(f"{prod(map(len, chunks))} tasks, one for each block, by its own library's backend when computed")
        task = partial(_of_block, library_of=self.library_of, work=work, noise=noise, indexed=index is not None)
        kinds: list[tuple[DType, dict[int, int]]] = [(dtype, {}) for dtype in dtypes]
        if work.axes is not None:
            kinds[-1] = (dtypes[-1], dict.fromkeys(work.axes, 1))

        def blockwise(function: Callable[..., Any], inputs: list[Any], dtype: DType, extents: dict[int, int]) -> Array:
            return da.blockwise(
                function,
                whole,
                *inputs,
                token=name,
                dtype=dtype,
                adjust_chunks=extents,
                meta=meta_from_array(model, len(shape), dtype),
                align_arrays=False,
            )

        inputs = [ArraySliceDep(chunks), whole, *inputs]
        if len(kinds) == 1:
            return [blockwise(task, inputs, *kinds[0])]
        together = blockwise(task, inputs, kinds[0][0], {})  # whose blocks are tuples, for those below
        return [blockwise(_one_of, [together, whole, k, None], *kind) for k, kind in enumerate(kinds)]


def _ranks(cores: str) -> list[int]:
    """How many axes each of the parentheses in a half of a signature has."""
    return [core.count(",") + (core != "") for core in cores[1:-1].split("),(")]


def _chunks(pairs: Sequence[tuple[Array, Shape]], shape: Shape, dtype: DType) -> tuple[Shape, ...]:
    """The largest chunks that lie within all the arrays' own; Dask's choice along axes that no array has."""
    chunks: list[Any] = []
    for axis, n in enumerate(shape):
        own = {a.chunks[axes.index(axis)] for a, axes in pairs if axis in axes and a.shape[axes.index(axis)] == n}
        chunks.append(common_blockdim(own) if own else "auto")
    return normalize_chunks(tuple(chunks), shape, dtype=np.dtype(dtype)) if "auto" in chunks else tuple(chunks)


# What tasks run


def _of_block(
    place: tuple[slice, ...],
    *blocks: Array,
    library_of: Callable[[Any], Any],
    work: Pass,
    noise: Noise | None,
    indexed: bool,
) -> Any:
    """The values at a block, which lies at a place in the whole: one, or a tuple of them."""
    shape = tuple([own.stop - own.start for own in place])
    if noise is not None:
        if indexed:
            *blocks, ids = blocks  # type: ignore[assignment]
            noise = noise._replace(index=ids)
        noise = noise.at([own.start for own in place])
    library, arrays = _of_one_library(library_of, blocks)
    with library.alone():  # the scheduler's threads are as many as there should be
        *found, last = library.backend.run(work._replace(shape=shape), arrays, noise)
    if work.axes is not None:
        last = last.reshape([1 if axis in work.axes else n for axis, n in enumerate(shape)])
    found.append(last)
    found = tuple([value for value in found if value is not None])
    return found[0] if len(found) == 1 else found


def _words_of_block(
    place: tuple[slice, ...], *index: Array, library_of: Callable[[Any], Any], noise: Noise, like: Array
) -> Array:
    """The random bits of a block, which lies at a place in the whole."""
    library, (model,) = _of_one_library(library_of, [like])
    noise = noise._replace(index=index[0] if index else None).at([own.start for own in place])
    return library.words(noise, tuple([own.stop - own.start for own in place]), model)


def _of_events(function: Callable[..., Any], library_of: Callable[[Any], Any], *blocks: Array) -> Any:
    """The values of a function at blocks that hold whole events."""
    library, arrays = _of_one_library(library_of, blocks)
    with library.alone():
        return library.by_events(function, "", *arrays)


def _of_one_library(library_of: Callable[[Any], Any], blocks: Sequence[Array]) -> tuple[Any, list[Array]]:
    """The blocks' library, and the blocks as its arrays: numbers come as NumPy's."""
    arrays = [np.asarray(block) if isinstance(block, np.generic) else block for block in blocks]
    model, library = _model(library_of, arrays, [a.size for a in arrays])
    if not isinstance(model, np.ndarray):
        with library.on(model):
            arrays = [library.xp.asarray(a) if isinstance(a, np.ndarray) else a for a in arrays]
    return library, arrays


def _model(library_of: Callable[[Any], Any], blocks: Sequence[Array], sizes: Sequence[int]) -> tuple[Array, Any]:
    """A block of the library that is to compute, and the library: NumPy's only where all are."""
    found: tuple[Array, Any] | None = None
    for block in blocks:
        library = library_of(block)
        if library is None or not library.fills:
            raise TypeError(
                f"Dask arrays must have blocks of NumPy or CuPy arrays; got {type(block).__module__}."
                f"{type(block).__name__} (map_blocks can make NumPy arrays of them)"
            )
        if found is None or isinstance(found[0], np.ndarray):
            found = block, library
    assert found is not None
    if any(type(block) is not type(found[0]) and size > 1 for block, size in zip(blocks, sizes, strict=True)):
        raise TypeError(
            "Dask arrays must all have blocks of one library; got "
            f"{' and '.join(sorted({type(block).__module__ for block in blocks}))}"
        )
    return found


def _one_of(values: tuple[Array, ...], k: int) -> Array:
    """Not operator.getitem, which Dask would take for the slicing of an array."""
    return values[k]


def _as_it_is(sums: Array, axis: Any, keepdims: bool) -> Array:
    return sums


def _added(sums: Array, axis: Any, keepdims: bool) -> Array:
    with np.errstate(all="ignore"):  # inf and NaN are results, not accidents
        return sums.sum(axis=axis, keepdims=keepdims)


def _total(sums: Array, axis: Any, keepdims: bool, dtype: DType) -> Array:
    with np.errstate(all="ignore"):
        return sums.sum(axis=axis, keepdims=keepdims).astype(dtype)
