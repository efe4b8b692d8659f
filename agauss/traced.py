"""JAX arrays: the array-API form, with the derivatives that formulas.py says; knows no formula.

JAX's own derivative of each step would be NaN where a formula passes through an infinity, and would not see what a
bound says of its gradient.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from agauss import formulas
from agauss.noise import NORMALS_PER_BLOCK, Noise, normal_pair
from agauss.reference import Limits, Reference, Words, words_of


class Traced(Reference):
    """map and row_reduce on JAX arrays, traced or not, which JAX can differentiate."""

    def evaluate(
        self, term: Callable[..., Any], raw: Sequence[Any], bounds: Limits, cotangents: int
    ) -> tuple[Any, ...]:
        if not hasattr(formulas, f"{term.__name__}_vjp"):
            return super().evaluate(term, raw, bounds, cotangents)
        values: tuple[Any, ...] = _differentiable(term, tuple(bounds))(*raw)
        return values

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
        return jnp.where(place % 2 == 0, one, other)


@lru_cache
def _differentiable(term: Callable[..., Any], bounds: tuple[tuple[int, str, float, float], ...]) -> Any:
    """The term's values as a function of its inputs whose derivative is the term's vjp, an output at a time."""
    form = Reference(jnp)
    vjp = getattr(formulas, f"{term.__name__}_vjp")

    @jax.custom_jvp
    def values(*raw: Any) -> tuple[Any, ...]:
        whole = jnp.broadcast_shapes(*(x.shape for x in raw))
        return tuple(jnp.broadcast_to(v, whole) for v in form.evaluate(term, raw, bounds, 0))

    def rule(raw: Any, tangents: Any) -> Any:
        found = values(*raw)
        n = len(found)
        shifted = tuple((position + n, *bound) for position, *bound in bounds)
        slopes = []
        for place, value in enumerate(found):
            weights = [jnp.asarray(float(k == place), value.dtype) for k in range(n)]
            partials = form.evaluate(vjp, [*weights, *raw], shifted, n)  # type: ignore[arg-type]
            # By noise, which comes after the arguments, there is no derivative.
            terms = [p * t for p, t in zip(partials, tangents, strict=False) if not isinstance(t, SymbolicZero)]
            slopes.append(sum(terms, start=jnp.zeros_like(value)))
        return found, tuple(slopes)

    values.defjvp(rule, symbolic_zeros=True)
    return values
