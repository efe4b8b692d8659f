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

from agauss.backends.array_api.backend import Reference, Words, words_of
from agauss.backends.protocol import Bound, Noise
from agauss.maths import formulas
from agauss.maths.noise import NORMALS_PER_BLOCK, normal_pair


class Traced(Reference):
    """The backend of JAX arrays, traced or not, which JAX can differentiate."""

    def evaluate(
        self, term: Callable[..., Any], raw: Sequence[Any], bounds: Sequence[Bound], cotangents: int
    ) -> tuple[Any, ...]:
        if term is formulas.sample_and_kl:  # as two, for what one does not depend on may be infinite in the other
            z, kl = (self.evaluate(t, r, bounds, 0) for t, r in ((formulas.sample, raw), (formulas.kl_prior, raw[:-1])))
            return *z, *kl
        if not hasattr(formulas, f"{term.__name__}_vjp"):
            return super().evaluate(term, raw, bounds, cotangents)
        return (_differentiable(term, tuple(bounds))(*raw),)

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


def solve_triangular(tril: Any, columns: Any, transposed: bool) -> Any:
    return jax.scipy.linalg.solve_triangular(tril, columns, trans=int(transposed), lower=True)


@lru_cache
def _differentiable(term: Callable[..., Any], bounds: tuple[tuple[int, str, float, float], ...]) -> Any:
    """The term as a function of its inputs whose derivative is the term's vjp."""
    form = Reference(jnp)
    vjp = getattr(formulas, f"{term.__name__}_vjp")
    shifted = tuple((position + 1, *bound) for position, *bound in bounds)

    @jax.custom_jvp
    def value(*raw: Any) -> Any:
        whole = jnp.broadcast_shapes(*(x.shape for x in raw))
        (found,) = form.evaluate(term, raw, bounds, 0)
        return jnp.broadcast_to(found, whole)

    def rule(raw: Any, tangents: Any) -> Any:
        found = value(*raw)
        partials = form.evaluate(vjp, [jnp.ones((), found.dtype), *raw], shifted, 1)  # type: ignore[arg-type]
        # By noise, which comes after the arguments, there is no derivative.
        terms = [p * t for p, t in zip(partials, tangents, strict=False) if not isinstance(t, SymbolicZero)]
        return found, sum(terms, start=jnp.zeros_like(found))

    value.defjvp(rule, symbolic_zeros=True)
    return value
