"""Derivatives of passes on JAX arrays: those that formulas.py says; knows no formula itself.

JAX's own derivative of each step would be NaN where a formula passes through an infinity, and would not see what a
bound says of its gradient. Tangents are pushed forward by a primitive that is linear in them. Its transpose is the
vjp's pass, so that a gradient takes one pass and keeps nothing but the operands. Derivatives of those are JAX's own, of
the array-API form.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.interpreters import ad, batching

from agauss.backends.jax.call import Call
from agauss.backends.jax.form import FORM, form
from agauss.backends.jax.primitive import pass_p, primitive
from agauss.backends.protocol import Pass, Shape
from agauss.maths import formulas
from agauss.words import has_64_bits


def jvp(primals: Sequence[Any], tangents: Sequence[Any], *, call: Call) -> tuple[Any, Any]:
    """The rule of a pass."""
    found = pass_p.bind(*primals, call=call)
    wrt = tuple([k for k, t in enumerate(tangents) if type(t) is not ad.Zero])
    given = [tangents[k] for k in wrt]
    if not wrt:
        return found, [_zero(x) for x in found]
    if _vjp_of(call.work.term) is None:
        return found, _pushed_by_jax(partial(form, call=call), primals, wrt, given)
    return found, push_p.bind(*primals, *given, call=call, wrt=wrt)


def _pushed_by_jax(
    function: Callable[..., Any], primals: Sequence[Any], wrt: Sequence[int], tangents: Sequence[Any]
) -> list[Any]:
    """Tangents by JAX's own derivative of a function of whole arrays."""

    def of(*given: Any) -> Any:
        operands = list(primals)
        for k, x in zip(wrt, given, strict=True):
            operands[k] = x
        return function(*operands)

    found, pushed = jax.jvp(of, [primals[k] for k in wrt], list(tangents))
    return [_zero(x) if t.dtype == jax.dtypes.float0 else t for x, t in zip(found, pushed, strict=True)]


def _zero(x: Any) -> Any:
    return ad.Zero.from_primal_value(x)  # type: ignore[attr-defined]


def _vjp_of(term: Callable[..., Any]) -> Callable[..., Any] | None:
    return getattr(formulas, f"{term.__name__}_vjp", None)


@lru_cache
def _gradients_of(term: Callable[..., Any], inputs: int) -> int:
    """How many gradients a vjp has."""
    number = jax.ShapeDtypeStruct((), jnp.float32)
    return len(jax.eval_shape(lambda *raw: FORM.evaluate(term, raw, (), 0), *[number] * inputs))


def _backward(call: Call, cotangents: int, wrt: Sequence[int], dtype: Any) -> Call:
    """The call of the vjp that gives the gradients of some inputs, for arguments of the full shape."""
    work, vjp = call.work, _vjp_of(call.work.term)
    assert vjp is not None
    inputs = len(call.split) + len([axis for axis in call.split if axis is not None])
    count = _gradients_of(vjp, cotangents + inputs + (call.noise is not None))
    bounds = tuple([(position + cotangents, *bound) for position, *bound in work.bounds])
    dtypes = tuple([dtype if k in wrt else None for k in range(count)])
    work = Pass(vjp, work.shape, dtypes, bounds=bounds, cotangents=cotangents)  # type: ignore[arg-type]
    return call._replace(work=work, split=(None,) * cotangents + call.split)


def _parts(call: Call) -> list[Call]:
    """A call for each value by itself: what one does not depend on may be infinite in the other."""
    work = call.work
    if work.term is not formulas.sample_and_kl:
        return [call]
    sample = work._replace(term=formulas.sample, axes=None, summed=None, total=None)
    kl = work._replace(term=formulas.kl_prior, dtypes=(), summed=0)
    return [call._replace(work=sample), Call(kl, split=call.split)]


def _places(call: Call) -> list[list[int]]:
    """Of each operand that is an array, which of the term's inputs it is."""
    found, k = [], 0
    for axis in call.split:
        found.append([k] if axis is None else [k, k + 1])
        k += len(found[-1])
    return found


def _push(*given: Any, call: Call, wrt: tuple[int, ...], run: Callable[..., Any]) -> list[Any]:
    """The tangents of the results, from the operands and the tangents of some of them."""
    if call.turns:
        axes = call.axes()
        one = partial(_push, call=call.once(), wrt=wrt, run=run)
        return list(jax.vmap(one, in_axes=(*axes, *[axes[k] for k in wrt]))(*given))
    operands, tangents = given[: -len(wrt)], given[-len(wrt) :]
    wide = jnp.promote_types(operands[0].dtype, jnp.float32)
    places = _places(call)
    by_input: list[Any] = []
    for k, t in zip(wrt, tangents, strict=True):
        axis = call.split[k]
        by_input += [t] if axis is None else jnp.split(t, 2, axis)
    inputs = [k for operand in wrt for k in places[operand]]
    found = []
    for part, (_, dtype) in zip(_parts(call), call.results(), strict=True):
        own = operands if part.noise else call.arrays(operands)
        partials = run(np.ones((), wide), *own, call=_backward(part, 1, inputs, wide))
        total = sum([p * t.astype(wide) for p, t in zip(partials, by_input, strict=True)])
        if part.work.axes is not None:
            total = jnp.sum(total, axis=part.work.axes, dtype=jnp.float64 if has_64_bits(jnp) else wide)
        found.append(total.astype(dtype))
    return found


def _transposed(cotangents: Sequence[Any], *given: Any, call: Call, wrt: tuple[int, ...]) -> list[Any]:
    operands = given[: -len(wrt)]
    known = tuple([k for k, c in enumerate(cotangents) if type(c) is not ad.Zero])
    values = [cotangents[k] for k in known]
    found = _pull(*operands, *values, call=call, wrt=wrt, known=known) if known else [None] * len(wrt)
    return [None] * len(operands) + found


def _pull(*given: Any, call: Call, wrt: tuple[int, ...], known: tuple[int, ...]) -> list[Any]:
    """The gradients of some operands, from the operands and the cotangents of some results."""
    operands: Sequence[Any] = given[: -len(known)]
    cotangents = list(given[-len(known) :])
    if call.turns:
        one = partial(_pull, call=call.once(), wrt=wrt, known=known)
        each = jax.vmap(one, in_axes=(*call.axes(), *[0] * len(known)))(*given)
        return [g if call.turning[k] else jnp.sum(g, axis=0) for k, g in zip(wrt, each, strict=True)]
    parts = _parts(call)
    if len(known) < len(parts):
        operands = operands if parts[known[0]].noise else call.arrays(operands)
        call = parts[known[0]]
    shape, axes, dtype = call.work.shape, call.work.axes, operands[0].dtype
    if axes is not None:  # what was added up has extents of 1 there
        cotangents[-1] = jnp.reshape(cotangents[-1], [1 if k in axes else n for k, n in enumerate(shape)])
    places = _places(call)
    shapes = {k: _halved(operands[k].shape, call.split[k]) for k in wrt}
    full = [k for k in wrt if shapes[k] == shape]
    backward = _backward(call, len(known), [place for k in full for place in places[k]], dtype)
    joined = [(places[k][0], axis) for k in full if (axis := call.split[k]) is not None]
    backward = backward._replace(joined=tuple(joined))
    found = dict(zip(full, pass_p.bind(*cotangents, *operands, call=backward) if full else (), strict=True))
    for k in wrt:
        if k not in found:
            own = (1,) * (len(shape) - len(shapes[k])) + shapes[k]
            lead = len(shape) - len(shapes[k])
            over = tuple([axis for axis, n in enumerate(own) if n != shape[axis] or axis < lead])
            sums = []
            for place in places[k]:
                work = backward.work._replace(dtypes=(), axes=over, summed=place, total=dtype)
                (total,) = pass_p.bind(*cotangents, *operands, call=backward._replace(work=work, joined=()))
                sums.append(jnp.reshape(total, shapes[k]))
            found[k] = sums[0] if len(sums) == 1 else jnp.concatenate(sums, call.split[k])
    return [found[k] for k in wrt]


def _halved(shape: Shape, axis: int | None) -> Shape:
    if axis is None:
        return shape
    place = len(shape) + axis
    return (*shape[:place], shape[place] // 2, *shape[place + 1 :])


def _push_mapped(given: Sequence[Any], dims: Sequence[Any], *, call: Call, wrt: tuple[int, ...]) -> tuple[Any, Any]:
    found = jax.vmap(partial(_push, call=call, wrt=wrt, run=pass_p.bind), in_axes=tuple(dims))(*given)
    return found, [0] * len(found)


def _push_jvp(primals: Sequence[Any], tangents: Sequence[Any], *, call: Call, wrt: tuple[int, ...]) -> tuple[Any, Any]:
    found = push_p.bind(*primals, call=call, wrt=wrt)
    known = [k for k, t in enumerate(tangents) if type(t) is not ad.Zero]
    by_form = partial(_push, call=call, wrt=wrt, run=form)
    return found, _pushed_by_jax(by_form, primals, known, [tangents[k] for k in known])


push_p = primitive("agauss_push", partial(_push, run=pass_p.bind))
batching.primitive_batchers[push_p] = _push_mapped
ad.primitive_jvps[push_p] = _push_jvp
ad.primitive_transposes[push_p] = _transposed
