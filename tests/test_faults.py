"""What the reference implementations get wrong, row by row."""

import math

import numpy as np
import pytest
import torch
from conformance_classes import (
    FLOATS,
    HALF,
    SUM_TOLERANCE,
    WIDE,
    dtypes,
    halves,
    libraries,
    parameters_of,
    rest,
    shapes,
)
from oracles import (
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
