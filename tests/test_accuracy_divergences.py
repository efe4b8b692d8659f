"""Divergences, the ratio of densities and pixels against mpmath, numeric integration and identities between them.

As in test_accuracy.py, arguments are exact, and what terms of both signs leave is measured by the sum of their sizes.
"""

import math
from functools import lru_cache

import numpy as np
import pytest
import torch
from oracles import LIBRARIES, array, assert_ulp, host, mp, mp_expm1x, mp_kl, mp_map, ulp_error
from quick import slow_unless
from scipy.integrate import quad

import agauss as ag

ULP = 4
libraries = pytest.mark.parametrize("library", LIBRARIES)
dtypes = pytest.mark.parametrize("dtype", slow_unless(lambda dtype: dtype == "float32", ["float32", "float64"]))
BELOW_ONE = (2.0**-20, 0.25, 0.5, 0.9375, 1 - 2.0**-20)
ABOVE_ONE = (1 + 2.0**-20, 1.5, 2.0, 10.0, 1000.0, math.inf)


@lru_cache
def pairs(dtype):
    """Two Gaussians as far apart as 1e-6 to 20, by mean and log-variance or by log-variance alone; and equal ones."""
    rng = np.random.default_rng(1)
    mean, logvar = rng.normal(size=(2, 120)) * 2
    found = [[mean, logvar, mean, logvar]]
    for scale in (1e-6, 1e-3, 1.0, 4.0, 20.0):
        by_mean, by_logvar = rng.normal(size=(2, 120)) * scale
        found += [[mean, logvar, mean + by_mean, logvar + by_logvar], [mean, logvar, mean, logvar + by_logvar]]
    return [np.concatenate(column).astype(dtype) for column in zip(*found, strict=True)]


def elements(function, library, arrays, **options):
    return host(function(*(array(library, a) for a in arrays), axis=(), **options))


def mp_log_cosh(u):
    """By cosh(u) - 1, for 50 digits of cosh(u) would not do."""
    return mp.log1p((mp_expm1x(u) + mp_expm1x(-u)) / 2)


def mp_bhattacharyya(mean, logvar, mean2, logvar2):
    return (mean - mean2) ** 2 / (mp.exp(logvar) + mp.exp(logvar2)) / 4 + mp_log_cosh((logvar - logvar2) / 2) / 2


def mp_variance(alpha, logvar, logvar2):
    return (1 - alpha) * mp.exp(logvar) + alpha * mp.exp(logvar2)


def mp_renyi(alpha):
    """The formula of Gil, Alajaji and Linder, with 60 digits more than what its logarithms leave."""
    alpha = mp.mpf(alpha)

    def of_infinity(mean, logvar, mean2, logvar2):
        if logvar >= logvar2:
            return mp.mpf(0) if (mean, logvar) == (mean2, logvar2) else mp.inf
        return (mean - mean2) ** 2 / (mp.exp(logvar2) - mp.exp(logvar)) / 2 + (logvar2 - logvar) / 2

    def of_order(mean, logvar, mean2, logvar2):
        with mp.workdps(110):
            v = mp_variance(alpha, logvar, logvar2)
            if v <= 0:
                return mp.inf
            log = mp.log(v) - (1 - alpha) * logvar - alpha * logvar2
            return alpha * (mean - mean2) ** 2 / v / 2 + (log / (1 - alpha) / 2 if logvar != logvar2 else 0)

    return of_infinity if mp.isinf(alpha) else of_order


# Two Gaussians


@libraries
@dtypes
def test_the_jeffreys_divergence_is_within_4_ulp(library, dtype):
    want = mp_map(lambda m, v, m2, v2: mp_kl(m, v, m2, v2) + mp_kl(m2, v2, m, v), *pairs(dtype))
    assert_ulp(elements(ag.jeffreys, library, pairs(dtype)), want, ULP, pairs(dtype))


@libraries
@dtypes
def test_the_bhattacharyya_distance_is_within_4_ulp(library, dtype):
    want = mp_map(mp_bhattacharyya, *pairs(dtype))
    assert_ulp(elements(ag.bhattacharyya, library, pairs(dtype)), want, ULP, pairs(dtype))


@libraries
@dtypes
@pytest.mark.parametrize("alpha", BELOW_ONE)
def test_renyi_divergences_below_one_are_within_6_ulp_while_the_log_variances_are_under_4_apart(library, dtype, alpha):
    apart = np.abs(pairs(dtype)[1].astype(float) - pairs(dtype)[3])
    got, want = elements(ag.renyi, library, pairs(dtype), alpha=alpha), mp_map(mp_renyi(alpha), *pairs(dtype))
    near = apart < 4
    assert_ulp(got[near], want[near], 6)
    # The logarithms' difference and its product with alpha are rounded by half an ulp, which exp magnifies so often.
    assert np.all(ulp_error(got, want) <= 6 + apart)


@libraries
@dtypes
@pytest.mark.parametrize("alpha", ABOVE_ONE)
def test_renyi_divergences_above_one_are_within_5_ulp_times_the_condition(library, dtype, alpha):
    arrays = pairs(dtype)
    got, want = elements(ag.renyi, library, arrays, alpha=alpha), mp_map(mp_renyi(alpha), *arrays)
    finite = want < mp.inf
    assert 0.5 < np.mean(finite) <= 1
    # exp(logvar2) / v is how often the error of v is magnified, which is a difference where logvar > logvar2.
    narrower = mp_map(lambda v, v2: v <= v2, arrays[1], arrays[3]).astype(bool)
    condition = np.ones(got.shape)
    for place in np.flatnonzero(finite & ~narrower):
        logvar, logvar2 = (mp.mpf(float(arrays[k][place])) for k in (1, 3))
        condition[place] = float(mp.exp(logvar2) / mp_variance(mp.mpf(alpha), logvar, logvar2))
    assert np.all(condition >= 1)
    assert np.all(ulp_error(got, want) <= 5 * condition)


@libraries
@dtypes
def test_divergences_are_0_where_the_two_are_equal_and_never_negative(library, dtype):
    rng = np.random.default_rng(2)
    mean, logvar = (rng.normal(size=(2, 20_000)) * [[2], [20]]).astype(dtype)
    near = [mean, logvar, mean, (logvar + rng.normal(size=20_000) * 10.0 ** rng.integers(-8, 1, 20_000)).astype(dtype)]
    orders = [{"alpha": alpha} for alpha in (0, *BELOW_ONE, 1, *ABOVE_ONE)]
    for function, options in [(ag.jeffreys, {}), (ag.bhattacharyya, {}), *((ag.renyi, order) for order in orders)]:
        assert np.all(elements(function, library, [mean, logvar, mean, logvar], **options) == 0)
        assert np.all(elements(function, library, near, **options) >= 0)


@pytest.mark.parametrize(("mean", "logvar", "mean2", "logvar2"), [(0.3, -1.0, -0.4, 0.5), (1.0, 0.25, 0.9, 0.0)])
def test_they_are_the_integrals_that_define_them(mean, logvar, mean2, logvar2):
    def log_density(x, mean, logvar):
        return -((x - mean) ** 2) * math.exp(-logvar) / 2 - (logvar + math.log(2 * math.pi)) / 2

    def integral(of):
        """Of a function of both log-densities; within 1e-9, as quad says of itself."""

        def both(x):
            return of(log_density(x, mean, logvar), log_density(x, mean2, logvar2))

        return quad(both, -30, 30, points=[mean, mean2], epsabs=1e-11, epsrel=1e-11, limit=200)[0]

    arrays = mean, logvar, mean2, logvar2
    close = {"rel": 1e-8}
    jeffreys = integral(lambda p, q: (math.exp(p) - math.exp(q)) * (p - q))
    assert float(ag.jeffreys(*arrays)) == pytest.approx(jeffreys, **close)
    distance = -math.log(integral(lambda p, q: math.exp((p + q) / 2)))
    assert float(ag.bhattacharyya(*arrays)) == pytest.approx(distance, **close)
    for alpha in (0.1, 0.5, 0.9, 1.5, 2.5):
        order = math.log(integral(lambda p, q, a=alpha: math.exp(a * p + (1 - a) * q))) / (alpha - 1)
        assert float(ag.renyi(*arrays, alpha=alpha)) == pytest.approx(order, **close)


def test_the_largest_ratio_of_densities_is_the_order_of_infinity():
    x = np.linspace(-40, 40, 2_000_001)
    largest = ag.log_density_ratio(x, 1.0, -0.5, -0.5, 0.7, axis=()).max()
    assert float(ag.renyi(1.0, -0.5, -0.5, 0.7, alpha=math.inf)) == pytest.approx(largest, rel=1e-8)


def test_orders_of_one_and_of_none_are_kl_and_0_to_the_bit():
    arrays = pairs("float32")
    np.testing.assert_array_equal(ag.renyi(*arrays, alpha=1, axis=()), ag.kl(*arrays, axis=()))
    np.testing.assert_array_equal(ag.renyi(*arrays, alpha=0, axis=()), 0)
    for gradient in ag.renyi_vjp(*arrays, alpha=0, cotangent=1.0):
        np.testing.assert_array_equal(gradient, 0)


def test_a_call_with_another_order_on_the_same_arrays_has_that_order():
    """Its plan is remembered by the arrays' forms alone."""
    arrays = pairs("float64")
    for alpha in (0.25, 0.5, 0.25):
        found = ag.renyi(*arrays, alpha=alpha, axis=())
        np.testing.assert_array_equal(found, [ag.renyi(*place, alpha=alpha) for place in zip(*arrays, strict=True)])


@libraries
def test_order_0_is_0_where_the_inverse_of_a_variance_is_infinite_and_nan_where_that_is(library):
    columns = [11, 1, 0, 0], [-91, -90.5, -math.inf, math.nan], [4, 1.5, 1, 0], [20, -90, 0, 0]
    arrays = [np.array(column, np.float32) for column in columns]
    np.testing.assert_array_equal(elements(ag.renyi, library, arrays, alpha=0), [0, 0, 0, math.nan])
    for gradient in ag.renyi_vjp(*arrays, alpha=0, cotangent=1.0):
        np.testing.assert_array_equal(gradient[:3], 0)


@pytest.mark.parametrize("alpha", [0.25, 0.5, 0.75])
def test_orders_alpha_and_1_less_alpha_are_the_same_divergence_the_other_way(alpha):
    """Of which one half is twice the Bhattacharyya distance."""
    mean, logvar, mean2, logvar2 = pairs("float64")
    one = ag.renyi(mean, logvar, mean2, logvar2, alpha=alpha, axis=())
    other = ag.renyi(mean2, logvar2, mean, logvar, alpha=1 - alpha, axis=())
    np.testing.assert_allclose((1 - alpha) * one, alpha * other, rtol=1e-14)
    if alpha == 0.5:
        np.testing.assert_allclose(one, 2 * ag.bhattacharyya(mean, logvar, mean2, logvar2, axis=()), rtol=1e-14)


@libraries
@pytest.mark.parametrize("alpha", [1.5, 10.0, math.inf])
def test_gradients_above_one_are_those_of_the_plain_form(library, alpha):
    """tests/cases.py has an order of nearly 1, of which few random arguments diverge."""
    mean, logvar, mean2, logvar2 = pairs("float64")
    logvar2 = np.maximum(logvar2, logvar + 0.1)
    primals = [torch.tensor(a, requires_grad=True) for a in (mean, logvar, mean2, logvar2)]
    m, v, m2, v2 = primals
    if math.isinf(alpha):
        plain = (m - m2) ** 2 / (torch.exp(v2) - torch.exp(v)) / 2 + (v2 - v) / 2
    else:
        mixed = (1 - alpha) * torch.exp(v) + alpha * torch.exp(v2)
        log = torch.log(mixed) - (1 - alpha) * v - alpha * v2
        plain = alpha * (m - m2) ** 2 / mixed / 2 + log / (1 - alpha) / 2
    want = torch.autograd.grad(plain.sum(), primals)
    given = [array(library, a) for a in (mean, logvar, mean2, logvar2)]
    for got, expected in zip(ag.renyi_vjp(*given, alpha=alpha, cotangent=1.0), want, strict=True):
        np.testing.assert_allclose(host(got), expected.numpy(), rtol=1e-11, atol=1e-11)


# The ratio of two densities


def mp_ratio(z, mean, logvar, mean2, logvar2):
    return ((z - mean2) ** 2 * mp.exp(-logvar2) - (z - mean) ** 2 * mp.exp(-logvar) - logvar + logvar2) / 2


def mp_size(z, mean, logvar, mean2, logvar2):
    """The sum of the terms' sizes, where the squares' difference is that of d (a + b) and of what t adds."""
    a, b, d, t = z - mean, z - mean2, mean - mean2, logvar - logvar2
    wide, narrow = mp.exp(-max(logvar, logvar2)), mp.exp(-min(logvar, logvar2))
    return (abs(d) * (abs(a) + abs(b)) * wide - (a if t < 0 else b) ** 2 * narrow * mp.expm1(-abs(t)) + abs(t)) / 2


@libraries
@dtypes
def test_the_ratio_is_within_4_ulp_of_terms_that_vanish_with_the_difference_of_the_two(library, dtype):
    z = (np.random.default_rng(3).normal(size=pairs(dtype)[0].size) * 2).astype(dtype)
    arrays = [z, *pairs(dtype)]
    got, want, size = (
        elements(ag.log_density_ratio, library, arrays),
        mp_map(mp_ratio, *arrays),
        mp_map(mp_size, *arrays),
    )
    assert_ulp(got, want, ULP, arrays, size)
    equal = (arrays[1] == arrays[3]) & (arrays[2] == arrays[4])
    assert np.count_nonzero(equal) >= 100
    assert np.all(got[equal] == 0)


@libraries
@dtypes
def test_the_ratio_to_the_standard_normal_is_that_to_a_mean_and_log_variance_of_0(library, dtype):
    z, mean, logvar = pairs(dtype)[:3]
    zero = np.zeros_like(z)
    got = elements(ag.log_density_ratio, library, [z, mean, logvar])
    arrays = [z, mean, logvar, zero, zero]
    assert_ulp(got, mp_map(mp_ratio, *arrays), ULP, arrays, mp_map(mp_size, *arrays))
    np.testing.assert_array_equal(got, elements(ag.log_density_ratio, library, arrays))


def test_the_mean_of_the_ratio_under_the_first_gaussian_is_the_kl():
    """By Gauss and Hermite's rule, which is exact for squares."""
    points, weights = np.polynomial.hermite_e.hermegauss(5)
    mean, logvar = (a[:120] for a in pairs("float64")[:2])
    z = mean + np.exp(logvar / 2) * points[:, None]
    for second in ((), (0.3, -0.4)):
        ratios = ag.log_density_ratio(z, mean, logvar, *second, axis=())
        found = weights @ ratios / math.sqrt(2 * math.pi)
        np.testing.assert_allclose(found, ag.kl(mean, logvar, *second, axis=()), rtol=1e-11, atol=1e-12)


# Pixels


@lru_cache
def pixels(dtype):
    """0, 1, next to them, near a half and between; and logits of every size."""
    rng = np.random.default_rng(4)
    tiny = float(np.finfo(dtype).smallest_subnormal)
    parts = [rng.random(300), rng.random(300) ** 20, 1 - rng.random(150) ** 8, 0.5 + rng.normal(size=150) * 1e-3]
    x = np.concatenate([*parts, [0.0, 1.0, 0.5, tiny, 1000 * tiny, 1e-37, 1e-20]]).clip(0, 1)
    logits = rng.normal(size=x.size) * rng.choice([1e-3, 1.0, 5.0, 60.0, 1e4], x.size)
    return x.astype(dtype), logits.astype(dtype)


def mp_entropy(x):
    return mp.mpf(0) if x in (0, 1) else -x * mp.log(x) - (1 - x) * mp.log1p(-x)


@libraries
@dtypes
def test_the_nll_of_pixels_is_within_4_ulp(library, dtype):
    def nll(x, logits):
        with mp.workdps(100):
            return mp.log1p(mp.exp(-abs(logits))) + (1 - x if logits > 0 else x) * abs(logits)

    got = elements(ag.bernoulli_nll, library, pixels(dtype))
    assert_ulp(got, mp_map(nll, *pixels(dtype)), ULP, pixels(dtype))


@libraries
@dtypes
def test_the_entropy_of_pixels_and_its_gradient_are_within_4_ulp(library, dtype):
    (x, _), given = pixels(dtype), array(library, pixels(dtype)[0])
    assert_ulp(elements(ag.bernoulli_entropy, library, [x]), mp_map(mp_entropy, x), ULP, [x])
    inside = (x > 0) & (x < 1)
    (slope,) = ag.bernoulli_entropy_vjp(given, cotangent=1.0)
    assert_ulp(host(slope)[inside], mp_map(lambda x: mp.log1p(-x) - mp.log(x), x[inside]), ULP, [x[inside]])


@libraries
@dtypes
def test_the_gradient_of_the_nll_by_logits_keeps_its_digits_where_a_pixel_is_0_or_1(library, dtype):
    logits = pixels(dtype)[1]
    logits = logits[np.abs(logits) < 80]  # whose exponentials are normal numbers
    for x in (0.0, 1.0):
        given = array(library, np.full_like(logits, x)), array(library, logits)
        got = host(ag.bernoulli_nll_vjp(*given, cotangent=1.0)[1])
        # exp(-|l|) / (1 + exp(-|l|)) is the least of the two terms, whose sum is 1.
        want = mp_map(lambda v, x=x: 1 / (1 + mp.exp(-v)) if x == 0 else -1 / (1 + mp.exp(v)), logits)
        assert_ulp(got, want, ULP, [logits])


def test_the_least_nll_of_a_grey_pixel_is_its_entropy_and_not_0():
    x = np.array([0.1, 0.25, 0.5, 0.9])
    best = np.log(x / (1 - x))
    entropy = ag.bernoulli_entropy(x, axis=())
    np.testing.assert_allclose(ag.bernoulli_nll(x, best, axis=()), entropy, rtol=1e-14)
    assert np.all(entropy > 0.3)
    for logits in (best - 0.1, best + 0.1, np.zeros(4), np.full(4, 5.0)):
        assert np.all(ag.bernoulli_nll(x, logits, axis=()) >= entropy - 1e-15)


def test_the_nll_of_pixels_is_pytorchs_cross_entropy_with_logits():
    x, logits = pixels("float64")
    theirs = torch.nn.functional.binary_cross_entropy_with_logits(
        torch.tensor(logits), torch.tensor(x), reduction="none"
    )
    # Theirs is max(logits, 0) - x logits and so on, which cancel.
    error = np.abs(ag.bernoulli_nll(x, logits, axis=()) - theirs.numpy())
    assert np.all(error <= 4 * np.finfo(float).eps * (1 + np.abs(logits)))
