"""The calls that JAX differentiates, and arrays for them."""

import jax
import jax.numpy as jnp
import numpy as np
from cases import CALLS as EVERY
from cases import METHODS, RICH
from oracles import same_bits

from agauss.integrations import jax as agj

D = agj.DiagonalGaussianDistribution


def inputs(dtype=np.float32):
    """x, mean, logvar, column and row that broadcast, and parameters."""
    rng = np.random.default_rng(0)
    shapes = ((3, 4, 2), (3, 4, 2), (3, 4, 2), (4, 1), (3, 1, 2), (3, 8, 2))
    return [jnp.asarray(rng.normal(size=shape).astype(dtype)) for shape in shapes]


SOME = ("q.sample_and_kl", "q.kl", "q.nll", "q.std and var")  # XLA compiles long
CALLS = {**RICH, "kl_prior of everything": EVERY["kl_prior of everything"], **{name: METHODS[name] for name in SOME}}


def assert_same(found, want):
    found, want = jax.tree.leaves(found), jax.tree.leaves(want)
    for got, exact in zip(found, want, strict=True):
        np.testing.assert_array_equal(got, exact)  # which says where they differ
        assert same_bits(np.asarray(got), np.asarray(exact))


def assert_close(got, want, ulps=4):
    """Within some units of float32's precision, of the larger of the value and 1."""
    got, want = np.asarray(got), np.asarray(want)
    assert got.dtype == want.dtype
    np.testing.assert_allclose(got, want, rtol=ulps * 2.0**-23, atol=ulps * 2.0**-23)
