"""JAX arrays in, JAX arrays out: a pass as a primitive; knows no formula."""

import weakref
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.interpreters import ad

from agauss.backends import steps
from agauss.backends.array_api.backend import Words, id_words
from agauss.backends.jax.call import Call
from agauss.backends.jax.derivatives import jvp
from agauss.backends.jax.form import Form
from agauss.backends.jax.primitive import pass_p, registered
from agauss.backends.protocol import Array, Noise, Pass, Sinks
from agauss.words import has_64_bits

ad.primitive_jvps[pass_p] = jvp


class Traced(Form):
    """The backend of JAX arrays, traced or not, which JAX can differentiate."""

    def run(
        self, work: Pass, arrays: Sequence[Array], noise: Noise | None = None, outs: Sinks = None
    ) -> tuple[Array, ...]:
        total = None if work.total is None else np.dtype(work.total)
        work = work._replace(dtypes=tuple([None if t is None else np.dtype(t) for t in work.dtypes]), total=total)
        if steps.watching():
            _tell(work, arrays)
        operands, split = _with_wholes(arrays)
        call = Call(work, split=split)
        if noise is not None:
            operands += [_word(w) for w in noise.words]
            call = call._replace(noise=(noise.strides, noise.start, noise.draw), indexed=noise.index is not None)
            if noise.index is not None:
                operands.append(_pairs(noise.index))
        found = iter(pass_p.bind(*operands, call=call))
        results = [None if t is None else next(found) for t in work.dtypes]
        return (*results, *found)


def halves(whole: Array, first: Any, second: Any, axis: int) -> tuple[Array, Array]:
    """An array's halves. Traced ones are known as such, so that a pass reads the whole, and its gradient is one."""
    pair = whole[first], whole[second]
    if isinstance(whole, jax.core.Tracer):
        from_end = axis if axis < 0 else axis - whole.ndim
        for place, half in enumerate(pair):
            if half is whole:  # of no elements
                continue
            _halves[id(half)] = _Half(weakref.ref(half, partial(_forget, id(half))), whole, from_end, place)
    return pair


def _tell(work: Pass, arrays: Sequence[Any]) -> None:
    """The step, by where it is likely to be computed."""
    dtype = "float64" if any(a.dtype == np.float64 for a in arrays) else "float32"
    devices = (
        [jax.default_backend()] if isinstance(arrays[0], jax.core.Tracer) else [d.platform for d in arrays[0].devices()]
    )
    how = {"cpu": ("cpu", "Numba loops"), "gpu": ("cuda", "CUDA kernel")}.get(devices[0])
    if how and len(devices) == 1 and registered(how[0]):
        kind = "map" if work.axes is None else "row_reduce"
        steps.step(how[1], f"{kind} of {work.term.__name__}", dtype, "jax")
    else:
        steps.step("array-API form", work.term.__name__, dtype, "jax")


class _Half(NamedTuple):
    """A half that lives, and what it is the half of."""

    itself: Any  # a reference that takes the entry away
    whole: Any
    axis: int
    place: int


_halves: dict[int, _Half] = {}  # by their ids, for tracers are not hashed


def _forget(half: int, _: Any, halves: dict[int, _Half] = _halves) -> None:  # which outlives the module
    halves.pop(half, None)


def _with_wholes(arrays: Sequence[Any]) -> tuple[list[Any], tuple[int | None, ...]]:
    """The arrays, with their whole for two halves that follow each other, and the axes that those are halves along."""
    operands: list[Any] = []
    split: list[int | None] = []
    before = None
    for a in arrays:
        half = _halves.get(id(a))
        own = half and before and half.whole is before.whole and half.axis == before.axis
        if own and (before.place, half.place) == (0, 1):
            operands[-1], split[-1], before = half.whole, half.axis, None
        else:
            operands.append(a)
            split.append(None)
            before = half
    return operands, tuple(split)


def _word(w: Any) -> Any:
    if getattr(w, "shape", ()) != ():
        raise ValueError(f"rng must be one key; got {tuple(w.shape)} of them: use jax.vmap over them")
    return np.uint32(w) if isinstance(w, int) else jnp.asarray(w).astype(jnp.uint32)


def _pairs(index: Any) -> Any:
    """Sample ids as rows of a lower and an upper word."""
    if isinstance(index, np.ndarray):
        return np.ascontiguousarray(index).astype("<u8").view("<u4").reshape(-1, 2)
    m = Words(jnp, jnp.int64 if has_64_bits(jnp) else jnp.uint32, 32)
    return jnp.stack(id_words(m, index), axis=-1).astype(jnp.uint32)


def solve_triangular(tril: Any, columns: Any, transposed: bool) -> Any:
    return jax.scipy.linalg.solve_triangular(tril, columns, trans=int(transposed), lower=True)
