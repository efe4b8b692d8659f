"""What kernels gain their speed by leaves their bits: vectors of any width, and no guards where bounds allow it."""

import hashlib
from functools import partial

import ml_dtypes
import numpy as np
import pytest
from processes import run
from vectors import over

import agauss as ag
from agauss.backends.cpu import calm, mathlib
from agauss.maths import formulas
from agauss.maths.domain import REACH, is_calm

NARROW, WIDE = (-30.0, 20.0), (-REACH - 1, REACH + 1)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ["exp", "expm1", "half_expm1x"])
def test_a_function_has_its_guarded_twins_bits_at_log_variances_and_their_differences(name, dtype):
    rng = np.random.default_rng(0)
    small = rng.choice([-1, 1], 100_000) * np.exp(rng.uniform(-60, 0, 100_000))
    ends = np.array([0.0, -0.0, np.nan, 2 * REACH, -2 * REACH])
    x = np.concatenate([rng.uniform(-2 * REACH, 2 * REACH, 300_000), small, ends]).astype(dtype)
    calm_bits, bits = (over(getattr(m, name))(x).tobytes() for m in (calm, mathlib))
    assert calm_bits == bits


@pytest.mark.parametrize("function", [ag.kl, partial(ag.renyi, alpha=0.9375)], ids=["kl", "renyi"])
@pytest.mark.parametrize("bounds", [NARROW, (-REACH, REACH, "straight-through")], ids=str)
def test_a_divergence_is_the_one_without_bounds_at_log_variances_within_them(bounds, function):
    mean, logvar, mean2, logvar2 = np.random.default_rng(1).uniform(-20, 20, (4, 1003)).astype(np.float32)
    got = function(mean, logvar, mean2, logvar2, axis=(), bounds=bounds, bounds2=bounds)
    assert got.tobytes() == function(mean, logvar, mean2, logvar2, axis=()).tobytes()


def bounded(term, *limits, kind="hard"):
    return term, tuple((position, kind, low, high) for position, (low, high) in enumerate(limits, 1))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (bounded(formulas.kl_prior, NARROW), True),
        (bounded(formulas.kl, NARROW, (-REACH, REACH)), True),
        (bounded(formulas.kl_prior), False),
        (bounded(formulas.kl_prior, WIDE), False),
        (bounded(formulas.kl_prior, NARROW, kind="soft"), False),  # whose own exponentials take any number
        (bounded(formulas.kl, NARROW), False),  # the other log-variance is free
        (bounded(formulas.kl, NARROW, WIDE), False),
        (bounded(formulas.renyi, NARROW, NARROW), True),  # whose alpha is between 0 and 1
        (bounded(formulas.renyi_above_one, NARROW, NARROW), False),  # takes exp of alpha times a difference
        (bounded(formulas.bernoulli_nll), False),  # has no log-variance
    ],
)
def test_a_kernel_is_calm_only_where_all_its_exponentials_are_of_bounded_log_variances(given, expected):
    assert is_calm(*given) is expected


# Large arrays of a half type are read and written in the loop where they lie together, and otherwise by tiles.
LARGE = {
    "one row": lambda a: a.reshape(-1),
    "rows that end within a vector": lambda a: a.reshape(9, -1)[:, :-3],
    "rows shorter than a vector": lambda a: a.reshape(-1, 6),
    "every other column": lambda a: a.reshape(9, -1)[:, ::2],
    "backwards": lambda a: a.reshape(9, -1)[:, ::-1],
}


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
@pytest.mark.parametrize("view", LARGE.values(), ids=LARGE)
def test_large_arrays_of_a_half_type_give_what_float32_gives_rounded(view, name):
    half = np.dtype(getattr(ml_dtypes, name, name))
    numbers = np.random.default_rng(2).standard_normal((3, 9 * 9000)).astype(half)
    numbers[:, 5], numbers[:, 6], numbers[:, 7] = np.nan, np.inf, 1e-6  # 1e-6 is subnormal in float16
    mean, logvar, out = map(view, numbers)
    wide_mean, wide_logvar = mean.astype(np.float32), logvar.astype(np.float32)

    def same(got, expected):
        assert got.dtype == expected.dtype
        np.testing.assert_array_equal(got.astype(np.float32), expected.astype(np.float32))  # any NaN equals another

    with np.errstate(invalid="ignore"):
        same(ag.kl(mean, logvar, axis=-1), ag.kl(wide_mean, wide_logvar, axis=-1))
        z = ag.sample(wide_mean, wide_logvar, rng=1).astype(half)
        same(ag.sample(mean, logvar, rng=1, out=out), z)
        by_wide = ag.kl_vjp(wide_mean, wide_logvar, cotangent=0.3, axis=-1)
        for got, expected in zip(ag.kl_vjp(mean, logvar, cotangent=0.3, axis=-1), by_wide, strict=True):
            same(got, expected.astype(half))
        same(ag.sample(mean, logvar, rng=1, out=mean), z)  # which is read before it is written


# One element, a vector less one, a tile and three, rows of four, and a row of 40.
WORK = """
def results(np, ag):
    for dtype in ("float32", "float64"):
        for shape in ((1,), (31,), (1027,), (50, 4), (3, 40)):
            mean, logvar = np.random.default_rng(0).normal(size=(2, *shape)).astype(dtype)
            yield from (ag.kl(mean, logvar, axis=-1), ag.sample(mean, logvar, rng=7))
"""


@pytest.mark.slow
@pytest.mark.parametrize("width", [32, 128])
def test_bits_do_not_depend_on_the_width_of_vectors(width, tmp_path):
    scope = {}
    exec(WORK, scope)
    expected = hashlib.sha256(b"".join(np.asarray(v).tobytes() for v in scope["results"](np, ag))).hexdigest()
    script = f"""
from agauss.backends.cpu import vectors
vectors.BYTES = {width}
print(hashlib.sha256(b"".join(np.asarray(v).tobytes() for v in results(np, ag))).hexdigest())
"""
    assert run(WORK + script, tmp_path, NUMBA_CACHE_DIR=tmp_path).stdout.split()[-1] == expected
