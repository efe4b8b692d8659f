"""What the reference implementations get wrong, row by row, and that replacing one import is enough."""

import math
import sys
import tracemalloc

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
