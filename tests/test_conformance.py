"""What the reference implementations get wrong, row by row, that replacing one import is enough, and that
`python -m agauss.conformance` tells right from wrong."""

import math
import os
import re
import subprocess
import sys
import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
import torch
from oracles import (
    EVERY_LIBRARY,
    LIBRARIES,
    array,
    assert_relative,
    assert_ulp,
    dtype_of,
    host,
    library_of,
    mp_kl,
    mp_map,
    plain_kl,
    plain_nll,
    same_bits,
    wide,
)

import agauss as ag
from agauss.conformance import Row, run
from agauss.conformance.__main__ import main, shortened, table
from agauss.conformance.faults import FAULTS
from agauss.conformance.formulas import FORMULAS
from agauss.conformance.libraries import NumPy, library_of_class
from agauss.conformance.subject import Check, Subject
from agauss.conformance.suite import row_of
from agauss.integrations import torch as agt

SHAPES = [(3, 6), (3, 6, 5), (3, 8, 4, 6), (3, 8, 2, 4, 6), (1, 2)]
HALF = ("float16", "bfloat16")
FLOATS = ("float16", "bfloat16", "float32", "float64")
# Reductions come back in float32 or wider.
WIDE = {"float16": "float32", "bfloat16": "float32", "float32": "float32", "float64": "float64"}
# Sums are within 1e-6 in float32 by contract; 1e-13 is the float64 reference's own rounding.
SUM_TOLERANCE = {"float32": 1e-6, "float64": 1e-13}

libraries = pytest.mark.parametrize("library", LIBRARIES)
dtypes = pytest.mark.parametrize("dtype", FLOATS)
shapes = pytest.mark.parametrize("shape", SHAPES, ids=str)


def parameters_of(library, shape, dtype="float32", seed=0):
    return array(library, np.random.default_rng(seed).normal(size=shape), dtype)


def halves(parameters, axis=1):
    return np.split(wide(parameters), 2, axis=axis)


def rest(a):
    return tuple(range(1, a.ndim))


# 5-D video latents, and two and three dimensions


@libraries
@dtypes
@shapes
def test_kl_sums_each_sample_at_every_rank(library, dtype, shape):
    parameters = parameters_of(library, shape, dtype)
    kl = ag.DiagonalGaussianDistribution(parameters).kl()
    mean, logvar = halves(parameters)
    assert library_of(kl) == library
    assert tuple(kl.shape) == shape[:1]
    assert dtype_of(kl) == WIDE[dtype]
    assert_relative(host(kl), plain_kl(mean, logvar).sum(axis=rest(mean)), SUM_TOLERANCE[WIDE[dtype]])


@libraries
@dtypes
@shapes
def test_nll_sums_each_sample_at_every_rank(library, dtype, shape):
    parameters = parameters_of(library, shape, dtype)
    mean, logvar = halves(parameters)
    x = array(library, np.random.default_rng(1).normal(size=mean.shape), dtype)
    nll = ag.DiagonalGaussianDistribution(parameters).nll(x)
    assert library_of(nll) == library
    assert tuple(nll.shape) == shape[:1]
    assert dtype_of(nll) == WIDE[dtype]
    assert_relative(host(nll), plain_nll(wide(x), mean, logvar).sum(axis=rest(mean)), SUM_TOLERANCE[WIDE[dtype]])


@libraries
@shapes
def test_kl_to_another_sums_each_sample_at_every_rank(library, shape):
    first, second = parameters_of(library, shape), parameters_of(library, shape, seed=2)
    kl = ag.DiagonalGaussianDistribution(first).kl(ag.DiagonalGaussianDistribution(second))
    elements = plain_kl(*halves(first), *halves(second))
    assert tuple(kl.shape) == shape[:1]
    assert_relative(host(kl), elements.sum(axis=rest(elements)), 1e-6)


@libraries
@shapes
def test_sample_and_moments_have_the_shape_of_the_mean_at_every_rank(library, shape):
    q = ag.DiagonalGaussianDistribution(parameters_of(library, shape))
    expected = (shape[0], shape[1] // 2, *shape[2:])
    for value in (q.mean, q.logvar, q.std, q.var, q.mode(), q.sample(rng=0)):
        assert tuple(value.shape) == expected
        assert library_of(value) == library


@libraries
def test_the_axis_of_the_channels_and_the_event_axes_can_be_chosen(library):
    parameters = parameters_of(library, (3, 4, 5, 6))
    mean, logvar = halves(parameters, axis=3)
    q = ag.DiagonalGaussianDistribution(parameters, axis=-1, event_axes=(1, 3))
    assert_relative(host(q.kl()), plain_kl(mean, logvar).sum(axis=(1, 3)), 1e-6)
    np.testing.assert_array_equal(host(q.mean), host(parameters)[..., :3])


# deterministic=True


@libraries
@dtypes
@shapes
def test_deterministic_kl_and_nll_are_a_zero_for_each_sample_in_the_result_dtype(library, dtype, shape):
    parameters = parameters_of(library, shape, dtype)
    q = ag.DiagonalGaussianDistribution(parameters, True)
    other = ag.DiagonalGaussianDistribution(parameters_of(library, shape, dtype, seed=3))
    for value in (q.kl(), q.nll(q.mean + 1), q.kl(other)):
        assert library_of(value) == library
        assert dtype_of(value) == WIDE[dtype]
        np.testing.assert_array_equal(host(value), np.zeros(shape[0]))


def test_deterministic_zeros_are_on_the_device_of_the_parameters():
    q = ag.DiagonalGaussianDistribution(torch.empty(3, 8, 4, 4, device="meta", dtype=torch.float64), deterministic=True)
    for value in (q.kl(), q.nll(q.mean), q.std, q.var):
        assert value.device == torch.device("meta")
        assert value.dtype == torch.float64


@libraries
def test_deterministic_nll_follows_dims(library):
    q = ag.DiagonalGaussianDistribution(parameters_of(library, (3, 8, 4, 6)), deterministic=True)
    assert tuple(q.nll(q.mode(), dims=[1, 2, 3]).shape) == (3,)
    assert tuple(q.nll(q.mode(), dims=(2, 3)).shape) == (3, 4)


@libraries
@dtypes
def test_deterministic_std_and_var_are_zero_and_the_sample_is_the_mean(library, dtype):
    parameters = parameters_of(library, (3, 8, 4, 6), dtype)
    q = ag.DiagonalGaussianDistribution(parameters, deterministic=True)
    for value in (q.std, q.var):
        np.testing.assert_array_equal(wide(value), np.zeros((3, 4, 4, 6)))
    assert same_bits(host(q.sample()), host(parameters)[:, :4])
    assert same_bits(host(q.sample(rng=5)), host(parameters)[:, :4])
    assert dtype_of(q.sample()) == dtype


@libraries
def test_kl_to_a_deterministic_distribution_is_infinite_even_where_the_means_match(library):
    parameters = parameters_of(library, (3, 8, 4, 6))
    q = ag.DiagonalGaussianDistribution(parameters)
    same_mean = ag.DiagonalGaussianDistribution(parameters, deterministic=True)
    another = ag.DiagonalGaussianDistribution(parameters_of(library, (3, 8, 4, 6), seed=4), deterministic=True)
    np.testing.assert_array_equal(host(q.kl(same_mean)), np.full(3, np.inf, np.float32))
    np.testing.assert_array_equal(host(q.kl(another)), np.full(3, np.inf, np.float32))
    assert dtype_of(q.kl(same_mean)) == "float32"


@libraries
@dtypes
def test_kl_between_points_is_zero_exactly_where_they_are_the_same(library, dtype):
    values = np.random.default_rng(0).normal(size=(4, 6, 2))
    moved = values.copy()
    moved[1, 0, 0] += 1  # one element of one sample
    moved[3, :3] -= 2  # every element
    moved[2, 3:] += 5  # log-variances alone: still the same point
    first = ag.DiagonalGaussianDistribution(array(library, values, dtype), deterministic=True)
    second = ag.DiagonalGaussianDistribution(array(library, moved, dtype), deterministic=True)
    kl = first.kl(second)
    assert dtype_of(kl) == WIDE[dtype]
    np.testing.assert_array_equal(host(kl), [0.0, np.inf, 0.0, np.inf])


def test_a_gaussian_whose_variance_vanished_is_not_a_point_unless_unbounded():
    # Within the default bounds a log-variance of -inf is -30: a proper Gaussian.
    parameters = np.concatenate([np.ones((2, 3)), np.full((2, 3), -np.inf)], axis=1)
    q = ag.DiagonalGaussianDistribution(parameters)
    point = ag.DiagonalGaussianDistribution(parameters, deterministic=True)
    np.testing.assert_array_equal(q.kl(point), [np.inf, np.inf])
    assert np.all(np.isfinite(q.kl()))


@libraries
def test_deterministic_sample_draws_nothing_from_a_generator(library):
    q = ag.DiagonalGaussianDistribution(parameters_of(library, (3, 8, 4, 6)), deterministic=True)
    generator = np.random.default_rng(11)
    before = generator.bit_generator.state
    q.sample(generator)
    q.sample(rng=generator, sample_shape=(2,))
    q.sample_and_kl(generator)
    ag.DiracDistribution(q.mean).sample(generator)
    assert generator.bit_generator.state == before


@libraries
def test_deterministic_sample_leaves_the_global_generators_alone(library):
    before_numpy, before_torch = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    for deterministic in (True, False):
        ag.DiagonalGaussianDistribution(parameters_of(library, (3, 8)), deterministic=deterministic).sample()
    np.testing.assert_array_equal(np.random.get_state()[1], before_numpy)  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), before_torch)


@libraries
def test_a_sample_advances_a_generator_by_one_draw_whatever_its_size(library):
    states = []
    for shape in ((1, 2), (3, 8, 4, 6)):
        generator = np.random.default_rng(11)
        ag.DiagonalGaussianDistribution(parameters_of(library, shape)).sample(generator)
        states.append(generator.bit_generator.state)
    assert states[0] == states[1] != np.random.default_rng(11).bit_generator.state


# Odd channel counts


@libraries
@pytest.mark.parametrize("shape", [(3, 7), (3, 7, 4), (3, 7, 4, 4), (3, 1, 2, 4, 4)], ids=str)
def test_an_odd_channel_count_is_refused_at_construction(library, shape):
    with pytest.raises(ValueError, match=rf"parameters .*even.*axis 1.*{shape[1]}"):
        ag.DiagonalGaussianDistribution(parameters_of(library, shape))
    with pytest.raises(ValueError, match=rf"parameters .*even.*axis 1.*{shape[1]}"):
        ag.sample_and_kl(parameters_of(library, shape), rng=0)


# Aliasing


def test_numpy_mean_is_a_read_only_view():
    parameters = parameters_of("numpy", (3, 8, 4, 6))
    q = ag.DiagonalGaussianDistribution(parameters)
    assert np.shares_memory(q.mean, parameters)
    assert not q.mean.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        q.mean[...] = 0
    assert parameters.flags.writeable


@pytest.mark.parametrize("bounds", [(-30.0, 20.0), None])
def test_numpy_logvar_std_and_var_cannot_corrupt_the_parameters(bounds):
    parameters = parameters_of("numpy", (3, 8, 4, 6))
    before = parameters.copy()
    q = ag.DiagonalGaussianDistribution(parameters, bounds=bounds)
    for value in (q.logvar, q.std, q.var):
        if value.flags.writeable:
            value[...] = 99
    assert same_bits(parameters, before)


@libraries
@pytest.mark.parametrize("deterministic", [False, True])
def test_editing_mode_or_sample_does_not_change_the_distribution(library, deterministic):
    parameters = parameters_of(library, (3, 8, 4, 6))
    before = host(parameters).copy()
    q = ag.DiagonalGaussianDistribution(parameters, deterministic)
    q.mode()[...] = 99
    q.sample(rng=0)[...] = 99
    assert same_bits(host(parameters), before)
    assert same_bits(host(q.mean), before[:, :4])


@libraries
def test_editing_what_a_dirac_gives_does_not_change_it(library):
    value = parameters_of(library, (3, 8))
    before = host(value).copy()
    dirac = ag.DiracDistribution(value)
    dirac.sample()[...] = 99
    dirac.mode()[...] = 99
    assert same_bits(host(value), before)
    assert same_bits(host(dirac.sample()), before)


# Half precision


@libraries
@pytest.mark.parametrize("dtype", HALF)
def test_half_precision_is_finite_at_the_upper_bound(library, dtype):
    q = ag.DiagonalGaussianDistribution(
        array(library, np.concatenate([np.zeros((2, 4)), np.full((2, 4), 20.0)], axis=1), dtype)
    )
    for value, true in ((q.var, math.exp(20)), (q.std, math.exp(10)), (q.kl(), 4 * 0.5 * (math.exp(20) - 21))):
        assert dtype_of(value) == "float32"
        assert_relative(host(value), np.full(tuple(value.shape), true), 5e-7)  # 4 ulp of float32


@libraries
@pytest.mark.parametrize("dtype", HALF)
def test_half_precision_likelihood_at_the_mean_is_finite_at_the_lower_bound(library, dtype):
    parameters = array(library, np.concatenate([np.ones((2, 4)), np.full((2, 4), -30.0)], axis=1), dtype)
    q = ag.DiagonalGaussianDistribution(parameters)
    assert np.all(host(q.var) > 0)
    assert_relative(host(q.var), np.full((2, 4), math.exp(-30)), 5e-7)
    nll = q.nll(q.mean)
    assert dtype_of(nll) == "float32"
    assert_relative(host(nll), np.full(2, 4 * 0.5 * (math.log(2 * math.pi) - 30)), 5e-7)


@libraries
@pytest.mark.parametrize("dtype", HALF)
def test_half_precision_kl_of_a_latent_does_not_overflow(library, dtype):
    parameters = np.concatenate([np.zeros((1, 4, 64, 64)), np.full((1, 4, 64, 64), -20.0)], axis=1)
    kl = ag.DiagonalGaussianDistribution(array(library, parameters, dtype)).kl()
    assert dtype_of(kl) == "float32"
    assert_relative(host(kl), np.array([4 * 64 * 64 * 0.5 * (math.exp(-20) + 19)]), 1e-6)
    assert round(float(host(kl)[0])) == 155648


@libraries
@pytest.mark.parametrize("dtype", FLOATS)
def test_sample_returns_the_dtype_of_the_parameters(library, dtype):
    q = ag.DiagonalGaussianDistribution(parameters_of(library, (3, 8, 4, 4), dtype))
    assert dtype_of(q.sample(rng=0)) == dtype
    z, kl = q.sample_and_kl(rng=0)
    assert (dtype_of(z), dtype_of(kl)) == (dtype, WIDE[dtype])


# Near the prior


@libraries
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("sign", [1, -1])
def test_kl_near_the_prior_is_a_few_ulp_off_at_most(library, dtype, sign):
    # The textbook form is off by 0.26%, 4.7%, 230% and 27,000% at these in float32.
    logvar = array(library, sign * np.array([1e-2, 1e-3, 1e-4, 1e-5]), dtype)
    mean = array(library, np.zeros(4), dtype)
    want = mp_map(mp_kl, np.zeros(4), wide(logvar))
    assert_ulp(host(ag.kl(mean, logvar, axis=())), want, 4, (host(logvar),))
    one_each = ag.DiagonalGaussianDistribution.from_mean_logvar(mean, logvar)
    assert_ulp(host(one_each.kl()), want, 4, (host(logvar),))


@libraries
@pytest.mark.parametrize("dtype", FLOATS)
def test_kl_is_zero_at_the_prior(library, dtype):
    kl = ag.DiagonalGaussianDistribution(array(library, np.zeros((2, 8, 3, 3)), dtype)).kl()
    np.testing.assert_array_equal(host(kl), [0, 0])


@libraries
@pytest.mark.parametrize("dtype", FLOATS)
def test_kl_from_itself_is_zero(library, dtype):
    q = ag.DiagonalGaussianDistribution(array(library, np.random.default_rng(0).normal(size=(4, 8, 3)) * 9, dtype))
    np.testing.assert_array_equal(host(q.kl(q)), np.zeros(4))


# Log-variances outside the bounds

# Below, at and above the bounds, and between them.
LOGVARS = np.array([-50.0, -30.0, -29.0, 0.5, 19.0, 20.0, 35.0])
OUTSIDE = np.array([True, False, False, False, False, False, True])


def gradient_of_nll(library, bounds, dtype="float64"):
    # At distance 1 from the mean no gradient of the nll by the log-variance is 0 within the bounds.
    x, mean = array(library, np.ones(7), dtype), array(library, np.zeros(7), dtype)
    logvar = array(library, LOGVARS, dtype)
    return host(ag.nll_vjp(x, mean, logvar, cotangent=1.0, bounds=bounds)[2])


@libraries
@pytest.mark.parametrize("bounds", ["hard", (-30, 20), (-30.0, 20.0, "hard")], ids=str)
def test_a_hard_bound_stops_the_gradient_strictly_outside_alone(library, bounds):
    gradient = gradient_of_nll(library, bounds)
    np.testing.assert_array_equal(gradient == 0, OUTSIDE)
    # Inside and on the bound it is the gradient of the unbounded form, (1 - exp(-logvar)) / 2.
    np.testing.assert_allclose(gradient[~OUTSIDE], -np.expm1(-LOGVARS[~OUTSIDE]) / 2, rtol=1e-14)


@libraries
@pytest.mark.parametrize(
    "bounds", ["soft", "straight-through", (-30, 20, "soft"), (-30, 20, "straight-through")], ids=str
)
def test_a_soft_bound_and_a_straight_through_one_let_the_gradient_pass(library, bounds):
    assert np.all(gradient_of_nll(library, bounds) != 0)


@libraries
def test_straight_through_has_the_hard_bounds_value_and_the_gradient_of_none_beyond(library):
    logvar = array(library, LOGVARS)
    np.testing.assert_array_equal(
        host(ag.clamp(logvar, bounds="straight-through")), host(ag.clamp(logvar, bounds="hard"))
    )
    clipped = np.clip(LOGVARS, -30, 20)
    # d nll / d logvar at the clamped value, passed on with factor one.
    np.testing.assert_allclose(gradient_of_nll(library, "straight-through"), -np.expm1(-clipped) / 2, rtol=1e-14)


@libraries
@pytest.mark.parametrize("kind", ["hard", "soft", "straight-through"])
def test_every_kind_of_bound_keeps_its_value_within_the_bounds(library, kind):
    logvar = array(library, np.array([-1e6, -50.0, -31.0, -30.0, 0.0, 20.0, 21.0, 50.0, 1e6]))
    value = host(ag.clamp(logvar, bounds=(-30.0, 20.0, kind)))
    assert np.all((value >= -30) & (value <= 20))
    assert np.all(np.diff(value) >= 0)


@libraries
def test_distributions_clamp_to_minus_30_and_20_by_default(library):
    parameters = array(library, np.stack([np.zeros(7), LOGVARS], axis=1))
    q = ag.DiagonalGaussianDistribution(parameters)
    np.testing.assert_array_equal(host(q.logvar)[:, 0], np.clip(LOGVARS, -30, 20))
    np.testing.assert_array_equal(host(ag.DiagonalGaussianDistribution(parameters, bounds=None).logvar)[:, 0], LOGVARS)
    np.testing.assert_allclose(host(q.kl()), plain_kl(np.zeros(7), np.clip(LOGVARS, -30, 20)), rtol=1e-14)


@libraries
def test_saturation_is_counted_for_each_sample(library):
    logvar = np.zeros((3, 2, 4))
    logvar[0, 0, :3] = [-31, 21, 1e9]
    logvar[1, 1, :3] = [-30, 20, np.nan]  # on a bound, or not a number: not outside
    logvar[2] = -np.inf
    parameters = array(library, np.concatenate([np.zeros((3, 2, 4)), logvar], axis=1), "float32")
    counts = ag.DiagonalGaussianDistribution(parameters).saturated()
    assert dtype_of(counts) == "int64"
    np.testing.assert_array_equal(host(counts), [3, 0, 8])
    np.testing.assert_array_equal(host(ag.DiagonalGaussianDistribution(parameters, bounds=None).saturated()), [0, 0, 0])
    narrow = ag.DiagonalGaussianDistribution(parameters, bounds=(-1, 1))
    np.testing.assert_array_equal(host(narrow.saturated()), [3, 2, 8])


# Memory


def test_a_distribution_holds_its_parameters_and_nothing_more():
    parameters = np.zeros((4, 8, 128, 128), np.float32)  # 2 MiB
    q = ag.DiagonalGaussianDistribution(parameters)
    assert not hasattr(q, "__dict__")
    for name in type(q).__slots__:
        held = getattr(q, name)
        if isinstance(held, np.ndarray):
            assert np.shares_memory(held, parameters), name
        else:
            assert sys.getsizeof(held) < 1000, name


def test_building_a_distribution_and_asking_it_leaves_no_memory_behind():
    parameters = np.zeros((4, 8, 128, 128), np.float32)
    x = np.zeros((4, 4, 128, 128), np.float32)

    def ask():
        q = ag.DiagonalGaussianDistribution(parameters)
        q.kl(), q.nll(x), q.kl(q), q.entropy(), q.saturated()
        return q

    ask()  # compiles, fills the caches
    tracemalloc.start()
    try:
        q = ask()
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert q.shape == (4, 4, 128, 128)
    assert held < 20_000
    # The bound is 1 MB a thread whatever the size: here less than the 4 MiB of parameters would take once.
    assert peak < parameters.nbytes / 2


def test_torch_distributions_hold_views_of_the_parameters():
    parameters = torch.zeros(4, 8, 16, 16)
    q = ag.DiagonalGaussianDistribution(parameters)
    assert q.mean.untyped_storage().data_ptr() == parameters.untyped_storage().data_ptr()
    assert not hasattr(q, "__dict__")
    for name in type(q).__slots__:
        held = getattr(q, name)
        if isinstance(held, torch.Tensor):
            assert held.untyped_storage().data_ptr() == parameters.untyped_storage().data_ptr(), name


# normal_kl with integers


@libraries
@pytest.mark.parametrize("position", range(4))
def test_normal_kl_refuses_an_integer_tensor(library, position):
    arguments = [array(library, np.ones(3), "float32") for _ in range(4)]
    arguments[position] = array(library, np.ones(3), "int64")
    name = ("mean1", "logvar1", "mean2", "logvar2")[position]
    with pytest.raises(TypeError, match=rf"{name} .*floating.*int64"):
        ag.normal_kl(*arguments)


@libraries
def test_normal_kl_does_not_truncate_float_logvars_beside_an_integer_number(library):
    logvar = array(library, np.array([0.5, -0.5]), "float32")
    got = ag.normal_kl(1, logvar, 0, 0)
    assert_relative(host(got), plain_kl(1.0, np.array([0.5, -0.5])), 5e-7)


# Noise


@pytest.mark.parametrize(
    ("library", "dtype"),
    [
        *((name, "float32") for name in EVERY_LIBRARY if name != "numpy"),
        *((name, "float64") for name in EVERY_LIBRARY if name not in ("numpy", "jax")),  # which compiles for seconds
    ],
)
def test_one_seed_gives_the_same_noise_in_every_library_within_2_ulp(library, dtype):
    import jax

    shape = (5, 6, 7)
    expected = ag.random.normal(shape, rng=123, dtype=dtype)
    with jax.enable_x64(True):
        zeros = array(library, np.zeros(shape), dtype)
        got = host(ag.sample(zeros, zeros, rng=123))
    assert got.dtype == expected.dtype
    assert np.max(np.abs(got - expected) / np.spacing(np.abs(expected))) <= 2


@libraries
def test_half_and_single_precision_see_the_same_noise_before_rounding(library):
    shape = (4, 3, 5)
    eps = ag.random.normal(shape, rng=9, dtype="float32")
    for dtype in HALF:
        zeros = array(library, np.zeros(shape), dtype)
        assert same_bits(host(ag.sample(zeros, zeros, rng=9)), host(array("numpy", eps, dtype)))


@libraries
@dtypes
@pytest.mark.parametrize("shape", [(10, 6), (10, 2, 3), (10, 6, 5, 7), (10, 4, 2, 3, 5)], ids=str)
def test_a_batch_of_ten_equals_ten_batches_of_one(library, dtype, shape):
    parameters = parameters_of(library, shape, dtype)
    whole = host(ag.DiagonalGaussianDistribution(parameters).sample(rng=77))
    z, kl = ag.DiagonalGaussianDistribution(parameters).sample_and_kl(rng=77)
    for b in range(10):
        one = ag.DiagonalGaussianDistribution(parameters[b : b + 1])
        assert same_bits(host(one.sample(rng=77, index=[b])), whole[b : b + 1])
        z1, kl1 = one.sample_and_kl(rng=77, index=np.array([b]))
        assert same_bits(host(z1), host(z)[b : b + 1])
        assert same_bits(host(kl1), host(kl)[b : b + 1])


@libraries
def test_the_index_is_a_name_for_each_sample_and_not_its_place(library):
    parameters = parameters_of(library, (6, 4, 5))
    whole = host(ag.DiagonalGaussianDistribution(parameters).sample(rng=77))
    order = np.array([5, 0, 3])
    picked = array(library, host(parameters)[order])
    assert same_bits(host(ag.DiagonalGaussianDistribution(picked).sample(rng=77, index=order)), whole[order])
    ids = array(library, order)
    assert same_bits(host(ag.DiagonalGaussianDistribution(picked).sample(rng=77, index=ids)), whole[order])


@libraries
def test_large_ids_give_noise_of_their_own(library):
    zeros = array(library, np.zeros((4, 5)), "float32")
    ids = [0, 2**31, 2**32, 2**40 + 1]
    z = host(ag.sample(zeros, zeros, rng=1, index=ids))
    assert len({row.tobytes() for row in z}) == 4
    again = host(ag.sample(zeros[3:], zeros[3:], rng=1, index=ids[3:]))
    assert same_bits(again, z[3:])


@pytest.mark.parametrize("library", [name for name in EVERY_LIBRARY if name != "numpy"])
def test_numpy_and_the_array_api_agree_in_counts_exactly_and_in_values_within_a_few_ulp(library):
    values = np.random.default_rng(8).normal(size=(4, 6, 9)).astype(np.float32) * 12
    ours, theirs = ag.DiagonalGaussianDistribution(values), ag.DiagonalGaussianDistribution(array(library, values))
    np.testing.assert_array_equal(host(theirs.saturated()), ours.saturated())
    assert ours.saturated().sum() > 0
    # exp differs by 1 or 2 ulp between libraries: 8 leaves room for what is built on it.
    for name in ("std", "var"):
        a, b = getattr(ours, name), host(getattr(theirs, name))
        assert a.dtype == b.dtype
        assert np.max(np.abs(a - b) / np.spacing(a)) <= 8, name
    # Sums of 27 terms of one sign.
    for a, b in ((ours.kl(), theirs.kl()), (ours.kl(ours), theirs.kl(theirs))):
        assert_relative(host(b), a, 1e-6)


# Replacing one import


class PlainDistribution:
    """The field's class, from its formulas, on 4-D torch tensors."""

    def __init__(self, parameters, deterministic=False):
        self.mean, logvar = torch.chunk(parameters, 2, dim=1)
        self.logvar = torch.clamp(logvar, -30.0, 20.0)
        self.std, self.var = torch.exp(0.5 * self.logvar), torch.exp(self.logvar)
        if deterministic:
            self.std = self.var = torch.zeros_like(self.mean)

    def sample(self, eps):
        return self.mean + self.std * eps

    def kl(self, other=None):
        if other is None:
            terms = self.mean**2 + self.var - 1.0 - self.logvar
        else:
            terms = (self.mean - other.mean) ** 2 / other.var + self.var / other.var - 1.0 - self.logvar + other.logvar
        return 0.5 * terms.sum(dim=[1, 2, 3])

    def nll(self, x, dims=(1, 2, 3)):
        return 0.5 * (math.log(2 * math.pi) + self.logvar + (x - self.mean) ** 2 / self.var).sum(dim=list(dims))

    def mode(self):
        return self.mean


def plain_normal_kl(mean1, logvar1, mean2, logvar2):
    return 0.5 * (-1.0 + logvar2 - logvar1 + torch.exp(logvar1 - logvar2) + (mean1 - mean2) ** 2 * torch.exp(-logvar2))


# The plain form cancels: its own error, relative to terms of the size of 10, is what this allows.
PLAIN = {torch.float32: {"rtol": 2e-5, "atol": 2e-5}, torch.float64: {"rtol": 1e-13, "atol": 1e-13}}
torch_dtypes = pytest.mark.parametrize("dtype", list(PLAIN), ids=str)


@torch_dtypes
def test_replacing_the_import_of_the_distribution_is_enough(dtype):
    generator = torch.Generator().manual_seed(0)
    parameters, parameters2 = (torch.randn(3, 8, 4, 6, dtype=dtype, generator=generator) * 2 for _ in range(2))
    parameters[0, 4:] *= 20  # some of it outside the bounds
    parameters[0, :4] *= 0.1
    plain, plain2 = PlainDistribution(parameters), PlainDistribution(parameters2)
    q, q2 = ag.DiagonalGaussianDistribution(parameters), ag.DiagonalGaussianDistribution(parameters2)
    x = torch.randn(3, 4, 4, 6, dtype=dtype, generator=generator)
    assert_close = lambda a, b: torch.testing.assert_close(a, b, **PLAIN[dtype])  # noqa: E731
    for name in ("mean", "logvar", "std", "var"):
        assert_close(getattr(q, name), getattr(plain, name))
    assert_close(q.kl(), plain.kl())
    assert_close(q2.kl(q), plain2.kl(plain))
    assert_close(q.kl(q2), plain.kl(plain2))
    assert_close(q2.nll(x), plain2.nll(x))
    assert_close(q2.nll(x, dims=[1, 2, 3]), plain2.nll(x))
    assert_close(q2.nll(x, [2, 3]), plain2.nll(x, [2, 3]))
    assert_close(q.mode(), plain.mode())
    eps = torch.from_numpy(
        ag.random.normal((3, 4, 4, 6), rng=5, dtype="float32" if dtype == torch.float32 else "float64")
    )
    assert_close(q.sample(5), plain.sample(eps))


@torch_dtypes
def test_replacing_the_import_is_enough_where_deterministic(dtype):
    parameters = torch.randn(3, 8, 4, 6, dtype=dtype, generator=torch.Generator().manual_seed(0))
    plain, q = PlainDistribution(parameters, True), ag.DiagonalGaussianDistribution(parameters, True)
    for name in ("mean", "logvar", "std", "var"):
        torch.testing.assert_close(getattr(q, name), getattr(plain, name), rtol=0, atol=0)
    torch.testing.assert_close(q.sample(), plain.mean, rtol=0, atol=0)
    torch.testing.assert_close(q.mode(), plain.mean, rtol=0, atol=0)


def test_sample_without_arguments_is_standard_normal_noise_that_differs_each_time():
    q = ag.DiagonalGaussianDistribution(torch.zeros(4, 8, 32, 32))
    first, second = q.sample(), q.sample()
    assert first.shape == (4, 4, 32, 32)
    assert not torch.equal(first, second)
    # 16,384 draws: the mean is normal with standard deviation 0.0078, the variance with 0.011; six of each.
    assert abs(float(first.mean())) < 0.047
    assert abs(float(first.var()) - 1) < 0.067


@libraries
def test_a_dirac_gives_its_value(library):
    value = parameters_of(library, (3, 8))
    dirac = ag.DiracDistribution(value)
    assert same_bits(host(dirac.sample()), host(value))
    assert same_bits(host(dirac.mode()), host(value))


@torch_dtypes
def test_normal_kl_agrees_with_the_plain_form_and_broadcasts(dtype):
    generator = torch.Generator().manual_seed(0)
    mean1, logvar1 = (
        torch.randn(2, 3, 4, 5, dtype=dtype, generator=generator),
        torch.randn(3, 1, 1, dtype=dtype, generator=generator),
    )
    mean2, logvar2 = torch.randn(1, 3, 1, 1, dtype=dtype, generator=generator), torch.tensor(0.3, dtype=dtype)
    for arguments in ((mean1, logvar1, mean2, logvar2), (mean1, mean1, mean1, logvar2)):
        got = ag.normal_kl(*arguments)
        assert got.shape == (2, 3, 4, 5)
        torch.testing.assert_close(got, plain_normal_kl(*arguments), **PLAIN[dtype])
    zero = torch.zeros((), dtype=dtype)
    torch.testing.assert_close(
        ag.normal_kl(mean1, logvar1, 0.0, 0.0), plain_normal_kl(mean1, logvar1, zero, zero), **PLAIN[dtype]
    )


def test_normal_kl_does_not_clamp():
    logvar = torch.tensor([-60.0, 40.0], dtype=torch.float64)
    zero = torch.zeros(2, dtype=torch.float64)
    torch.testing.assert_close(
        ag.normal_kl(zero, logvar, zero, zero), plain_normal_kl(zero, logvar, zero, zero), rtol=1e-14, atol=0
    )


# python -m agauss.conformance

CHECKS = [check.name for check in (*FAULTS, *FORMULAS)]
NEAR_THE_PRIOR = [f"kl at mean 0, logvar {logvar}" for logvar in ("1e-02", "1e-03", "1e-04", "1e-05")]
CPU_AND_GPU = "one seed, CPU and GPU"
BY_AUTOGRAD = [
    "logvar outside [-30, 20]: gradient",
    "logvar outside, on request",
    "gradient of kl",
    "gradient of nll",
    "gradient of sample",
]


class ReferenceDistribution(PlainDistribution):
    """The field's class with what PlainDistribution leaves out: its noise, and its kl and nll where deterministic."""

    def __init__(self, parameters, deterministic=False):
        super().__init__(parameters, deterministic)
        self.parameters, self.deterministic = parameters, deterministic

    def sample(self):
        return super().sample(torch.randn(self.mean.shape).to(self.parameters.device))

    def kl(self, other=None):
        return torch.Tensor([0.0]) if self.deterministic else super().kl(other)

    def nll(self, x, dims=(1, 2, 3)):
        return torch.Tensor([0.0]) if self.deterministic else super().nll(x, dims)


def reference_normal_kl(*arguments):
    tensor = next(a for a in arguments if isinstance(a, torch.Tensor))
    return plain_normal_kl(*(a if isinstance(a, torch.Tensor) else torch.tensor(a).to(tensor) for a in arguments))


def results(rows, result):
    return [row.name for row in rows if row.result == result]


def failing(cls, arrays="numpy", normal_kl=None):
    return results(run(cls, arrays, normal_kl), "fail")


def came(cls, name, arrays="numpy", normal_kl=None):
    (row,) = (row for row in run(cls, arrays, normal_kl) if row.name == name)
    return row.came


def test_the_reference_fails_on_just_the_rows_of_the_fault_table():
    rows = run(ReferenceDistribution, "torch", reference_normal_kl)
    # Of the table, a gradient of 0 outside the bounds is common to all, and one machine has no GPU.
    same = "logvar outside [-30, 20]: gradient"
    assert results(rows, "fail") == [check.name for check in FAULTS if check.name not in (same, CPU_AND_GPU)]
    assert results(rows, "pass") == [same, *(check.name for check in FORMULAS)]


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ("5-D: kl and nll", "kl of shape (2, 5)"),
        ("2-D: kl and nll", "IndexError: Dimension out of range"),
        ("deterministic: kl and nll", "kl of shape (1,), float32"),
        ("kl to a deterministic distribution", "to its mean [nan, nan]"),
        ("deterministic: sample", "the global generator advanced"),
        ("odd channel count", "no error"),
        ("editing mean", "the parameters changed"),
        ("editing mode()", "the distribution changed"),
        ("memory held by a distribution", "2.5 x the parameters"),
        ("kl at mean 0, logvar 1e-05", "for 2.5000082e-11"),
        ("logvar outside, on request", "TypeError: "),
        ("normal_kl: integer first array", "no error; [0.5, 2.0] for [0.5744, 2.0744]"),
    ],
)
def test_a_row_says_what_came(row, what):
    assert what in came(ReferenceDistribution, row, "torch", reference_normal_kl)


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_the_distribution_passes_in_full(library):
    rows = run(ag.DiagonalGaussianDistribution, library, ag.normal_kl)
    expected = [CPU_AND_GPU] if library == "torch" else [CPU_AND_GPU, *BY_AUTOGRAD]
    assert {row.name: row.came for row in rows if row.result == "fail"} == {}
    assert [row.name for row in rows] == CHECKS
    assert set(results(rows, "n/a")) - {CPU_AND_GPU} == set(expected) - {CPU_AND_GPU}


def test_the_integration_of_torch_passes_in_full():
    rows = run(agt.DiagonalGaussianDistribution, "torch", agt.normal_kl)
    assert {row.name: row.came for row in rows if row.result != "pass" and row.name != CPU_AND_GPU} == {}


# Each check is seen to fail: classes with one fault each

Right = ag.DiagonalGaussianDistribution
LATENTS = (2, 3, 4, 5)
MUTANTS = {}  # (row, fault) -> class, arrays, normal_kl


def mutant(row, fault, arrays="numpy", normal_kl=ag.normal_kl):
    def add(cls):
        MUTANTS[row, fault] = cls, arrays, normal_kl
        return cls

    return add


def method_mutant(row, fault, name, method, base=Right, arrays="numpy"):
    """A class that has one method, or property, of its own, which is given the right one's value."""
    right = getattr(base, name)

    def changed(self, *args, **kwargs):
        value = right.fget(self) if isinstance(right, property) else right(self, *args, **kwargs)
        return method(self, value, *args, **kwargs)

    if name == "sample":
        changed = sample_mutant(changed)
    changed = property(changed) if isinstance(right, property) else changed
    mutant(row, fault, arrays)(type(f"Wrong{len(MUTANTS)}", (base,), {name: changed, "__doc__": "Wrong."}))


def sample_mutant(changed):
    def sample(self, rng=None, *, index=None):
        return changed(self, rng, index=index)

    return sample


# Ranks
method_mutant("5-D: kl and nll", "shape", "kl", lambda q, v, *_: np.repeat(v, 5, 0) if len(q.shape) == 5 else v)
method_mutant("5-D: kl and nll", "nll", "nll", lambda q, v, *_: v * (1 + 1e-5) if len(q.shape) == 5 else v)
method_mutant("2-D: kl and nll", "value", "nll", lambda q, v, *_: v * (1 + 1e-5) if len(q.shape) == 2 else v)
method_mutant("3-D: kl and nll", "inf", "kl", lambda q, v, *_: v * np.inf if len(q.shape) == 3 else v)

# deterministic=True
method_mutant(
    "deterministic: kl and nll", "dtype", "kl", lambda q, v, *_: v.astype("float32") if q.deterministic and not _ else v
)
method_mutant("deterministic: kl and nll", "shape", "nll", lambda q, v, *_: v[:1] if q.deterministic else v)
method_mutant("deterministic: kl and nll", "value", "nll", lambda q, v, *_: v + 1 if q.deterministic else v)
method_mutant(
    "deterministic: kl and nll",
    "device",
    "kl",
    lambda q, v, *_: torch.zeros(v.shape, dtype=v.dtype) if q.deterministic and not _ else v,
    agt.DiagonalGaussianDistribution,
    "torch",
)
for fault, wrong in {
    "nan at its mean": lambda same: np.where(same, np.nan, np.inf),
    "finite elsewhere": lambda same: np.where(same, np.inf, 1.0),
}.items():
    method_mutant(
        "kl to a deterministic distribution",
        fault,
        "kl",
        lambda q, v, other=None, *, wrong=wrong: (
            wrong(np.full(v.shape, np.array_equal(q.mean, other.mean)))
            if other and other.deterministic and not q.deterministic
            else v
        ),
    )
method_mutant(
    "kl to a deterministic distribution",
    "points",
    "kl",
    lambda q, v, other=None: np.zeros_like(v) if other and other.deterministic and q.deterministic else v,
)
method_mutant(
    "deterministic: sample", "rng", "sample", lambda q, v, rng, **_: (q.deterministic and rng and rng.random(), v)[1]
)
method_mutant(
    "deterministic: sample",
    "global",
    "sample",
    lambda q, v, *_, **__: (q.deterministic and np.random.random(), v)[1],  # noqa: NPY002
)
method_mutant("deterministic: sample", "value", "sample", lambda q, v, *_, **__: v + q.deterministic)
method_mutant("deterministic: std, var and mode", "std", "std", lambda q, v: v + q.deterministic)


# Arguments and memory
@mutant("odd channel count", "accepted")
class AcceptsOdd(Right):
    def __init__(self, parameters, *args, **kwargs):
        super().__init__(parameters[:, : parameters.shape[1] // 2 * 2], *args, **kwargs)


@mutant("odd channel count", "unclear")
class UnclearAboutOdd(Right):
    def __init__(self, parameters, *args, **kwargs):
        if parameters.shape[1] % 2:
            raise ValueError("bad shape")
        super().__init__(parameters, *args, **kwargs)


@mutant("editing mean", "an alias")
class MeanIsAnAlias(Right):
    """Says nothing of it."""

    @property
    def mean(self):
        return self._mean


@mutant("editing mode()", "an alias of the parameters")
class ModeIsAnAlias(Right):
    def mode(self):
        return self._mean


@mutant("editing mode()", "an alias of a copy")
class ModeIsAnAliasOfACopy(Right):
    def mode(self):
        if not hasattr(self, "copy"):
            self.copy = self._mean.copy()
            self._mean = self.copy
            self._logvar = self._logvar.copy()
        return self.copy


@mutant("memory held by a distribution", "in a slot")
class KeepsStd(Right):
    __slots__ = ("kept",)

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.kept = [super().std]


@mutant("memory held by a distribution", "after use")
class RemembersStd(Right):
    @property
    def std(self):
        if "kept" not in self.__dict__:
            self.kept = {"std": super().std}
        return self.kept["std"]


@mutant("memory held by a distribution", "torch", "torch")
class KeepsVar(agt.DiagonalGaussianDistribution):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.kept = super().var


# Half precision


def is_half(q):
    return q.dtype == np.float16


method_mutant("float16, logvar 20", "var", "var", lambda q, v: v * (np.inf if is_half(q) and v.max() > 1e5 else 1))
method_mutant("float16, logvar 20", "kl", "kl", lambda q, v, *_: v * np.inf if is_half(q) and v.max() > 1e6 else v)
method_mutant(
    "float16, logvar -30", "dtype of var", "var", lambda q, v: v.astype("float16") if is_half(q) and v.max() < 1 else v
)
method_mutant(
    "float16, logvar -30",
    "dtype of nll",
    "nll",
    lambda q, v, *_: v.astype("float16") if is_half(q) and v.size == 1 else v,
)
method_mutant("float16, logvar -30", "var", "var", lambda q, v: v * (not is_half(q) or v.min() > 1e-9))
method_mutant("float16, logvar -30", "nll", "nll", lambda q, v, *_: v * np.nan if is_half(q) and v.size == 1 else v)
method_mutant(
    "float16, 4 x 64 x 64, logvar -20", "inf", "kl", lambda q, v, *_: v * np.inf if q.mean[0].size == 2**14 else v
)
method_mutant("float16: sample", "float32", "sample", lambda q, v, *_, **__: v.astype("float32") if is_half(q) else v)

# Near the prior
for row, near in zip(NEAR_THE_PRIOR, (1e-2, 1e-3, 1e-4, 1e-5), strict=True):
    method_mutant(
        row,
        "8 ulp",
        "kl",
        lambda q, v, *_, logvar=near: (
            v * np.float32(1 + 1e-6) if v.size == 1 and abs(q.logvar.max() / logvar - 1) < 0.1 else v
        ),
    )


# Log-variances outside the bounds


@mutant("logvar outside [-30, 20]: gradient", "passes", "torch")
class StraightThroughByDefault(agt.DiagonalGaussianDistribution):
    def __init__(self, parameters, deterministic=False, *, bounds="straight-through"):
        super().__init__(parameters, deterministic, bounds=bounds)


@mutant("logvar outside, on request", "ignored", "torch")
class AlwaysHard(agt.DiagonalGaussianDistribution):
    def __init__(self, parameters, deterministic=False, *, bounds=None):
        super().__init__(parameters, deterministic)


@mutant("logvar outside, on request", "unknown", "torch")
class WithoutBounds(agt.DiagonalGaussianDistribution):
    def __init__(self, parameters, deterministic=False):
        super().__init__(parameters, deterministic)


method_mutant("logvar outside, counted", "one more", "saturated", lambda q, v: v + 1)

# normal_kl


mutant("normal_kl: integer first array", "truncates", normal_kl=lambda a, *rest: ag.normal_kl(a * 1.0, *rest))(Right)


def unclear_normal_kl(mean1, *rest):
    if mean1.dtype.kind == "i":
        raise TypeError("wrong")
    return ag.normal_kl(mean1, *rest)


mutant("normal_kl: integer first array", "unclear", normal_kl=unclear_normal_kl)(Right)


def clamping_normal_kl(mean1, logvar1, mean2, logvar2):
    return ag.normal_kl(mean1, ag.clamp(logvar1, bounds="hard") if np.ndim(logvar1) else logvar1, mean2, logvar2)


mutant("normal_kl", "clamps", normal_kl=clamping_normal_kl)(Right)
mutant("normal_kl", "numbers", normal_kl=lambda a, b, c, d: ag.normal_kl(a, b, c, d) * (1 if np.ndim(b) else 1.1))(
    Right
)

# Noise


@mutant("one seed, a batch of 10 and ten of 1", "index ignored")
class IgnoresIndex(Right):
    def sample(self, rng=None, *, index=None):
        return super().sample(rng)


@mutant("sample: seeds", "a second call")
class DrawsAnew(Right):
    def sample(self, rng=None, *, index=None):
        again, self.drawn = getattr(self, "drawn", False), not self.deterministic
        return super().sample(rng.spawn(1)[0] if again else rng, index=index)


@mutant("sample: seeds", "one for all")
class OneSeed(Right):
    def sample(self, rng=None, *, index=None):
        return super().sample(None if self.deterministic else 1, index=index)


# Formulas
method_mutant("shapes and dtypes", "dtype", "nll", lambda q, v, *_: v if q.deterministic else v.astype("float32"))
method_mutant(
    "shapes and dtypes",
    "library",
    "kl",
    lambda q, v, other=None: list(v) if other is q else v,
)
method_mutant("mean, logvar and mode", "not clamped", "logvar", lambda q, v: q._logvar)
method_mutant("mean, logvar and mode", "mean", "mean", lambda q, v: v * (1 + (v.dtype == np.float64) * 1e-15))
method_mutant("mean, logvar and mode", "mode", "mode", lambda q, v: v * (1 + (v.dtype == np.float64) * 1e-15))
method_mutant("std and var", "std", "std", lambda q, v: v * v.dtype.type(1 + 1e-6 * (v.dtype == np.float32)))
method_mutant("std and var", "var", "var", lambda q, v: v * v.dtype.type(1 + 1e-15 * (v.dtype == np.float64)))


def here(q):
    return q.shape == LATENTS and not q.deterministic


method_mutant("kl", "value", "kl", lambda q, v, *other: v * v.dtype.type(1 + 1e-5) if here(q) and not other else v)
method_mutant(
    "kl to another", "value", "kl", lambda q, v, *other: v * v.dtype.type(1 + 1e-5) if here(q) and other else v
)
method_mutant("nll", "value", "nll", lambda q, v, *_: v * v.dtype.type(1 + 1e-5) if here(q) and len(_) == 1 else v)
method_mutant("nll over dims [2, 3]", "shape", "nll", lambda q, v, *_: v.sum(axis=1) if len(_) == 2 else v)
method_mutant(
    "sample",
    "var for std",
    "sample",
    lambda q, v, *_, **__: v if is_half(q) or q.deterministic else q.mean + q.std * (v - q.mean),
)
for fault, change in {
    "mean": lambda eps: eps + np.float32(0.1),
    "variance": lambda eps: eps * np.float32(1.1),
    "fourth moment": np.sign,
    "neighbours' product": lambda eps: np.repeat(eps[..., ::2], 2, axis=-1)[..., : eps.shape[-1]],
    "samples' product": lambda eps: np.concatenate([eps[:5], eps[:5]])[[0, 5, 1, 6, 2, 7, 3, 8, 4, 9]],
}.items():
    method_mutant(
        "noise",
        fault,
        "sample",
        lambda q, v, *_, change=change, **__: change(v) if len(v) == 10 and not q.logvar.any() else v,
    )

# Gradients: the value as it is, and a thousandth more of its slope
for row in ("kl", "nll", "sample"):
    name = row
    method_mutant(
        f"gradient of {row}",
        "value",
        name,
        lambda q, v, *_, **__: v + 0.001 * (v - v.detach()) if q._mean.requires_grad else v,
        agt.DiagonalGaussianDistribution,
        "torch",
    )


class DrawsElsewhere(Right):
    """Other noise for arrays that are read-only, which stand for those on a GPU."""

    def sample(self, rng=None, *, index=None):
        if not (self.deterministic or self._mean.flags.writeable):
            rng = rng.spawn(1)[0]
        return super().sample(rng, index=index)


mutant(CPU_AND_GPU, "other noise")(DrawsElsewhere)


def read_only(x):
    x = x.copy()
    x.flags.writeable = False
    return x


@pytest.fixture
def two_devices(monkeypatch):
    monkeypatch.setattr(NumPy, "twins", lambda self, x: (x, read_only(x)))


@pytest.mark.parametrize(("row", "fault"), MUTANTS, ids=lambda value: value.replace(" ", "_"))
def test_a_fault_fails_its_own_row_alone(row, fault, two_devices):
    cls, arrays, normal_kl = MUTANTS[row, fault]
    rows = run(cls, arrays, normal_kl)
    assert {found.name: found.came for found in rows if found.result == "fail"}.keys() == {row}
    if row == "noise":
        assert came(cls, row).startswith(fault)


def test_every_check_has_been_seen_to_fail():
    assert {row for row, _ in MUTANTS} == set(CHECKS)


def test_the_class_without_a_fault_passes_on_two_devices(two_devices):
    rows = run(Right, "numpy", ag.normal_kl)
    assert results(rows, "fail") == []
    assert CPU_AND_GPU in results(rows, "pass")


# What a class may look like


class Seeded(PlainDistribution):
    """Draws with a generator, if one is given, and one number more than it needs where deterministic."""

    def __init__(self, parameters, deterministic=False):
        super().__init__(parameters, deterministic)

    def sample(self, generator=None):
        return super().sample(torch.randn(self.mean.shape, generator=generator, dtype=self.mean.dtype))


class Numbered:
    """The class's noise in NumPy, from a Generator."""

    def __init__(self, parameters, deterministic=False):
        self.mean, self.logvar = np.split(parameters, 2, axis=1)

    def sample(self, rng):
        return self.mean + np.exp(self.logvar / 2) * rng.standard_normal(self.mean.shape, self.mean.dtype)


def test_noise_is_seeded_by_the_first_argument_of_sample_that_can_be():
    def named(*names):
        arguments = ", ".join(("self", *(f"{name}=None" for name in names)))
        return type("Named", (), {"sample": eval(f"lambda {arguments}: None")})

    for names, expected in (
        (("generator", "rng"), "rng"),
        (("key", "generator"), "generator"),
        (("index", "key"), "key"),
        (("index",), None),
        ((), None),
    ):
        assert Subject(named(*names), NumPy()).source_name == expected
    assert Subject(type("Mute", (), {}), NumPy()).source_name is None


def test_a_torch_generator_that_advances_is_seen():
    assert came(Seeded, "deterministic: sample", "torch") == "generator advanced"
    seeds = ("sample: seeds", "sample", "noise", "gradient of sample")
    assert set(seeds) <= set(results(run(Seeded, "torch"), "pass"))


def test_without_an_index_ten_batches_of_one_are_drawn_in_a_row():
    assert "one seed, a batch of 10 and ten of 1" in results(run(Numbered), "pass")


def test_the_shape_of_what_a_class_raises_is_no_matter():
    class Broken:
        def __init__(self, *args, **kwargs):
            raise RuntimeError("no\nway")

    rows = run(Broken)
    assert results(rows, "pass") == []
    assert {row.came for row in rows if row.result == "fail"} == {"RuntimeError: no"}
    assert {"normal_kl", "normal_kl: integer first array"} <= set(results(rows, "n/a"))


def test_a_check_that_compares_nothing_fails():
    row = row_of(Check("row", "something", lambda s: iter(())), Subject(Right, NumPy()))
    assert row == Row("row", "fail", "something", "nothing to compare")


def test_warnings_of_a_class_do_not_reach_the_table():
    class Warns(Right):
        def kl(self, other=None):
            np.float32(1e38) * np.float32(10)
            return super().kl(other)

    assert failing(Warns, normal_kl=ag.normal_kl) == []


# The command line


def columns(out):
    """The first line, the rows by their aligned columns, and the last line."""
    title, _, header, *lines, _, counts = out.splitlines()
    starts = [0, *(re.search(rf"\b{name}\b", header).start() for name in ("row", "expected", "came")), None]
    cells = [tuple(line[a:b].rstrip() for a, b in pairwise(starts)) for line in lines]
    return title, cells, counts


def test_the_command_prints_what_the_rows_say(capsys):
    assert main([f"{__name__}:ReferenceDistribution"]) == 1
    title, cells, counts = columns(capsys.readouterr().out)
    assert title == f"{__name__}:ReferenceDistribution on arrays of torch, noise by the global seed"
    rows = run(ReferenceDistribution, "torch")
    assert cells == [(row.result, row.name, row.expected, shortened(row.came)) for row in rows]
    found = [sum(row.result == result for row in rows) for result in ("pass", "fail", "n/a")]
    assert counts == "{} pass, {} fail, {} n/a".format(*found)
    assert all(found)


def command(*arguments, **options):
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return *columns(done.stdout), done.stderr


def test_the_command_passes_in_full_without_importing_another_library():
    module = ("-X", "importtime", "-m", "agauss.conformance")
    title, cells, counts, err = command(*module, "agauss:DiagonalGaussianDistribution")
    assert title == "agauss:DiagonalGaussianDistribution on arrays of numpy, noise by sample(rng=)"
    assert [name for _, name, *_ in cells] == CHECKS
    assert ", 0 fail, " in counts
    imported = set(re.findall(r"\| +([\w.]+)$", err, re.MULTILINE))
    assert "agauss.conformance.suite" in imported
    assert not imported & {"torch", "jax", "cupy"}


def test_the_integration_of_jax_passes_in_full():
    # JAX compiles some 600 programs for the checks, which takes longer than all the others.
    quickly = {**os.environ, "XLA_FLAGS": "--xla_backend_optimization_level=0 --xla_cpu_parallel_codegen_split_count=1"}
    title, cells, counts, _ = command(
        "-m", "agauss.conformance", "agauss.integrations.jax:DiagonalGaussianDistribution", env=quickly
    )
    assert "on arrays of jax" in title
    assert [name for _, name, *_ in cells] == CHECKS
    assert {name: rest for result, name, *rest in cells if result != "pass" and name != CPU_AND_GPU} == {}
    assert ", 0 fail, " in counts


def test_the_arrays_are_by_default_those_that_the_class_is_written_for(capsys):
    assert library_of_class(Right) == "numpy"
    assert library_of_class(agt.DiagonalGaussianDistribution) == "torch"
    assert main(["agauss:DiagonalGaussianDistribution", "--arrays", "torch"]) == 0
    assert "on arrays of torch" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["agauss"], "module:Class must name a module and a class; got 'agauss'"),
        ([":Class"], "module:Class must name a module and a class; got ':Class'"),
        (["no_such_module:Class"], "cannot import no_such_module: ModuleNotFoundError: No module named"),
        (["raises_when_imported:Class"], "cannot import raises_when_imported: ValueError: first line"),
        (["exits_when_imported:Class"], "cannot import exits_when_imported: SystemExit: 0"),
        (["agauss:NoSuchClass"], "agauss has no class NoSuchClass"),
        (["agauss:kl"], "agauss has no class kl"),
        (["agauss:DiagonalGaussianDistribution", "--arrays", "cupy"], "cannot use cupy: ModuleNotFoundError: "),
    ],
    ids=lambda value: value[0].replace("/", "") if isinstance(value, list) else "",
)
def test_what_cannot_be_run_exits_with_2_and_one_line(arguments, error, tmp_path, monkeypatch, capsys):
    (tmp_path / "raises_when_imported.py").write_text("raise ValueError('first line\\nsecond line')")
    (tmp_path / "exits_when_imported.py").write_text("raise SystemExit(0)")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, "cupy", None)  # as if it were not installed
    with pytest.raises(SystemExit) as exit:
        main(arguments)
    out, err = capsys.readouterr()
    assert exit.value.code == 2
    assert out == ""
    assert err.startswith(f"python -m agauss.conformance: error: {error}")
    assert err.count("\n") == 1


@pytest.mark.parametrize(("arguments", "code"), [(["-h"], 0), ([], 2), (["a:B", "--arrays", "lists"], 2)])
def test_help_and_wrong_arguments(arguments, code, capsys):
    with pytest.raises(SystemExit) as exit:
        main(arguments)
    assert exit.value.code == code
    assert "usage: python -m agauss.conformance" in "".join(capsys.readouterr())


def test_a_long_finding_is_cut_and_the_columns_stay_aligned():
    lines = list(table([Row("a", "pass", "b", "c" * 200), Row("longer", "n/a", "", "")]))
    assert lines == ["      row     expected  came", "pass  a       b         " + "c" * 77 + "...", "n/a   longer"]
