"""A call by the array-API form, which XLA fuses; knows no formula."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from agauss.backends import steps
from agauss.backends.array_api.backend import Reference, Words, words_of
from agauss.backends.jax.call import Call
from agauss.backends.protocol import Noise
from agauss.maths.noise import NORMALS_PER_BLOCK, normal_pair


class Form(Reference):
    """The array-API form on JAX's arrays."""

    def of_blocks(self, m: Words, n: Noise, low: Any, high: Any, bits: int, like: Any) -> Any:
        """Each normal by itself, though a block's words are then made for each: XLA runs that as one vector loop, where
        a stack of a block's normals takes it forty times as long."""
        size = NORMALS_PER_BLOCK[bits]
        shape = (*jnp.broadcast_shapes(low.shape, high.shape), size)
        place, low, high = (
            jnp.reshape(jnp.broadcast_to(v, shape), (-1,))
            for v in (jnp.arange(size, dtype=m.dtype), low[:, None], high[:, None])
        )
        a, b, c, d = words_of(m, n, low, high)
        if bits == 64:
            one, other = normal_pair(m, m.join(a, b), m.join(c, d), like)
        else:
            one, other = normal_pair(m, jnp.where(place < 2, a, c), jnp.where(place < 2, b, d), like)
        # XLA of JAX 0.12 takes many minutes to compile this fused with what is computed from it.
        return jax.lax.optimization_barrier(jnp.where(place % 2 == 0, one, other))


FORM = Form(jnp, "jax")


def form(*operands: Any, call: Call) -> list[Any]:
    """The pass by the array-API form."""
    if call.turns:
        one = partial(form, call=call.once())
        return list(jax.vmap(one, in_axes=call.axes())(*operands))
    operands, noise = tuple(_apart(operands, call)), None
    arrays = call.arrays(operands)
    if call.noise is not None:
        strides, start, draw = call.noise
        words, ids = operands[len(arrays) : len(arrays) + 3], operands[-1] if call.indexed else None
        noise = Noise(words, draw, ids, strides, start)
    with steps.watched():  # the call has been told of where it was made
        found = list(FORM.run(call.work, arrays, noise))
    for k, axis in call.joined:
        found[k], found[k + 1] = jnp.concatenate(found[k : k + 2], axis), None
    return [x for x in found if x is not None]


def _apart(operands: Sequence[Any], call: Call) -> list[Any]:
    """The operands, in which wholes are their two halves."""
    found: list[Any] = []
    n = len(call.arrays(operands))
    for x, axis in zip(operands[:n], call.split, strict=True):
        found += [x] if axis is None else jnp.split(x, 2, axis)
    return [*found, *operands[n:]]
