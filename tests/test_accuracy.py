"""The numbers against mpmath: every element and every gradient within 4 ulp, sums within 1e-6, and KL never negative.

Arguments are taken as exact, as floats are: the error counted is the library's alone. So only one thing is called
badly conditioned here, the difference of terms that the true value is the small remainder of; such results (nll, its
gradient of the log-variance, that of logvar2 from KL, samples) are measured in ulp of the sum of the terms'
absolute values, the least that an evaluation in the arguments' precision can promise. Everything else, KL and its
other gradients near the prior in particular, is measured in ulp of the true value itself.
"""

import math
from functools import lru_cache

import numpy as np
import pytest
from oracles import (
    LIBRARIES,
    LOG_2PI,
    array,
    assert_relative,
    assert_ulp,
    host,
    mp,
    mp_kl,
    mp_map,
    mp_nll,
    plain_entropy,
    plain_kl,
    plain_nll,
    ulp_error,
)
from quick import nightly_unless

import agauss as ag

ULP = 4  # the contract's bound
DTYPES = ("float32", "float64")
LARGEST_LOGVAR = {"float32": 80.0, "float64": 600.0}
dtypes = pytest.mark.parametrize("dtype", DTYPES)
libraries = pytest.mark.parametrize("library", LIBRARIES)


def both_signs(values):
    values = np.asarray(values)
    return np.unique(np.concatenate([values, -values]))


@lru_cache
def means(dtype):
    """0, subnormal and tiny (whose squares underflow), ordinary, and as large as squares allow."""
    tiny = float(np.finfo(dtype).smallest_subnormal)
    root = math.sqrt(np.finfo(dtype).max)  # its square is just the largest number, half of it well within
    least = math.sqrt(np.finfo(dtype).smallest_normal)  # its square is just no longer normal
    sizes = [
        0.0,
        tiny,
        1000 * tiny,
        least,
        least / 37,
        1e-8,
        1e-4,
        0.013,
        0.3,
        1.0,
        1.7,
        7.5,
        1e4,
        root / 1e3,
        0.99 * root,
    ]
    return both_signs(np.array(sizes).astype(dtype))


@lru_cache
def logvars(dtype):
    """0, subnormal, from 1e-8 near the prior to the largest in range, and numbers at random between."""
    tiny = float(np.finfo(dtype).smallest_subnormal)
    largest = LARGEST_LOGVAR[dtype]
    sizes = [0.0, tiny, 1e-30, *(10.0**p for p in range(-10, 2)), 0.3, 0.69, 0.7, 2.5, 20.0, 30.0, largest / 2, largest]
    rng = np.random.default_rng(1)
    random = np.concatenate([rng.uniform(0, largest, 12), rng.uniform(0, 3, 12), 10 ** rng.uniform(-8, 0, 12)])
    return both_signs(np.concatenate([sizes, random]).astype(dtype))


def grid(*columns):
    """Every combination, as flat arrays."""
    return [a.ravel() for a in np.meshgrid(*columns, indexing="ij")]


def check(function, inputs, want, library, *, scale=None):
    got = function(*(array(library, a) for a in inputs))
    got = host(got)
    assert got.dtype == inputs[0].dtype
    assert_ulp(got, want, ULP, inputs, scale)


# KL to the prior, std, var


@lru_cache
def prior_grid(dtype):
    inputs = grid(means(dtype), logvars(dtype))
    return inputs, mp_map(mp_kl, *inputs)


@libraries
@dtypes
def test_kl_to_the_prior_is_within_4_ulp(library, dtype):
    inputs, want = prior_grid(dtype)
    check(lambda mean, logvar: ag.kl(mean, logvar, axis=()), inputs, want, library)


@libraries
@dtypes
def test_the_gradients_of_kl_to_the_prior_are_within_4_ulp(library, dtype):
    inputs, _ = prior_grid(dtype)
    d_mean, d_logvar = ag.kl_vjp(*(array(library, a) for a in inputs), cotangent=1.0, axis=())
    assert_ulp(host(d_mean), inputs[0], ULP, inputs)
    assert_ulp(host(d_logvar), mp_map(lambda logvar: mp.expm1(logvar) / 2, inputs[1]), ULP, inputs)


@lru_cache
def edges(dtype):
    """Log-variances through the subnormal results of exp to 0, and on to infinity, for std and var both."""
    low, high = math.log(np.finfo(dtype).smallest_subnormal), math.log(np.finfo(dtype).max)
    normal = math.log(np.finfo(dtype).smallest_normal)
    around = [c + d for c in (low, normal, high) for d in (-3.0, -1.0, -0.7, -0.1, 0.0, 0.1, 0.7, 1.0, 3.0)]
    return np.unique(np.concatenate([logvars(dtype), np.array([*around, *(2 * a for a in around)]).astype(dtype)]))


@libraries
@dtypes
def test_std_and_var_are_within_4_ulp_through_subnormal_results_to_overflow(library, dtype):
    logvar = edges(dtype)
    check(ag.std, [logvar], mp_map(lambda v: mp.exp(v / 2), logvar), library)
    check(ag.var, [logvar], mp_map(mp.exp, logvar), library)


@libraries
@dtypes
def test_the_gradients_of_std_and_var_are_within_4_ulp(library, dtype):
    logvar = edges(dtype)
    by_std = mp_map(lambda v: mp.exp(v / 2) / 2, logvar)
    # Where std or var itself overflows its gradient may, though half of it would not.
    held = mp_map(lambda v: mp.exp(v / 2), logvar) < mp.mpf(float(np.finfo(dtype).max))
    check(lambda v: ag.std_vjp(v, cotangent=1.0)[0], [logvar[held]], by_std[held], library)
    check(lambda v: ag.var_vjp(v, cotangent=1.0)[0], [logvar], mp_map(mp.exp, logvar), library)


# KL between two


@lru_cache
def pair_grid(dtype):
    """Edges at random, far pairs, near pairs (log-variances 1e-8 to 1 apart, or neighbours): 4800 of them."""
    rng = np.random.default_rng(2)
    n = 800

    def pick(a):
        return rng.choice(a, n)

    largest = LARGEST_LOGVAR[dtype]
    ordinary = [rng.normal(size=n) * 3, rng.uniform(-3, 3, n), rng.normal(size=n) * 3, rng.uniform(-3, 3, n)]
    far = [
        rng.normal(size=n) * 3,
        rng.uniform(-largest, largest, n),
        rng.normal(size=n) * 3,
        rng.uniform(-largest, largest, n),
    ]
    edge = [pick(means(dtype)), pick(logvars(dtype)), pick(means(dtype)), pick(logvars(dtype))]
    logvar, mean = rng.uniform(-5, 5, n), rng.normal(size=n)
    near = [
        mean,
        logvar,
        mean + rng.choice([-1, 1], n) * 10 ** rng.uniform(-8, 0, n),
        logvar + 10 ** rng.uniform(-8, 0, n),
    ]
    same_mean = [mean, logvar, mean, logvar - 10 ** rng.uniform(-8, 0, n)]
    columns = [np.concatenate(c).astype(dtype) for c in zip(ordinary, far, edge, near, same_mean, strict=True)]
    neighbours = [mean.astype(dtype), logvar.astype(dtype), mean.astype(dtype), np.nextafter(logvar.astype(dtype), 9)]
    return [np.concatenate(c) for c in zip(columns, neighbours, strict=True)]


@lru_cache
def pair_references(dtype):
    inputs = pair_grid(dtype)

    def by_mean(m1, v1, m2, v2):
        return (m1 - m2) * mp.exp(-v2)

    def by_logvar(m1, v1, m2, v2):
        return mp.expm1(v1 - v2) / 2

    def by_logvar2(m1, v1, m2, v2):
        return -((m1 - m2) ** 2 * mp.exp(-v2) + mp.expm1(v1 - v2)) / 2

    def size_by_logvar2(m1, v1, m2, v2):
        return ((m1 - m2) ** 2 * mp.exp(-v2) + abs(mp.expm1(v1 - v2))) / 2

    return [mp_map(f, *inputs) for f in (mp_kl, by_mean, by_logvar, by_logvar2, size_by_logvar2)]


@libraries
@dtypes
def test_kl_between_two_is_within_4_ulp(library, dtype):
    inputs = pair_grid(dtype)
    want = pair_references(dtype)[0]
    check(lambda *given: ag.kl(*given, axis=()), inputs, want, library)
    check(ag.normal_kl, inputs, want, library)


@libraries
@dtypes
def test_the_gradients_of_kl_between_two_are_within_4_ulp(library, dtype):
    inputs = pair_grid(dtype)
    _, by_mean, by_logvar, by_logvar2, size = pair_references(dtype)
    d_mean, d_logvar, d_mean2, d_logvar2 = ag.kl_vjp(*(array(library, a) for a in inputs), cotangent=1.0, axis=())
    assert_ulp(host(d_mean), by_mean, ULP, inputs)
    assert_ulp(host(d_mean2), -by_mean, ULP, inputs)
    assert_ulp(host(d_logvar), by_logvar, ULP, inputs)
    # (mean - mean2)**2 / exp(logvar2) and exp(t) - 1 cancel where t < 0.
    assert_ulp(host(d_logvar2), by_logvar2, ULP, inputs, scale=size)


# Likelihood


@lru_cache
def nll_grid(dtype):
    rng = np.random.default_rng(3)
    n, largest = 1000, LARGEST_LOGVAR[dtype]
    edge = [rng.choice(means(dtype), n), rng.choice(means(dtype), n), rng.choice(logvars(dtype), n)]
    near = [rng.normal(size=n), rng.normal(size=n) * 2, rng.uniform(-4, 4, n)]
    far = [rng.normal(size=n), rng.normal(size=n) * 2, rng.uniform(-largest, largest, n)]
    inputs = [np.concatenate(c).astype(dtype) for c in zip(edge, near, far, strict=True)]

    def size(x, mean, logvar):
        return (LOG_2PI + abs(logvar) + (x - mean) ** 2 * mp.exp(-logvar)) / 2

    def by_x(x, mean, logvar):
        return (x - mean) * mp.exp(-logvar)

    def by_logvar(x, mean, logvar):
        return (1 - (x - mean) ** 2 * mp.exp(-logvar)) / 2

    def size_by_logvar(x, mean, logvar):
        return (1 + (x - mean) ** 2 * mp.exp(-logvar)) / 2

    return inputs, *(mp_map(f, *inputs) for f in (mp_nll, size, by_x, by_logvar, size_by_logvar))


@libraries
@dtypes
def test_nll_and_log_prob_are_within_4_ulp_of_the_sum_of_their_absolute_terms(library, dtype):
    # The nll is 0 where log(2 pi) + logvar = -u**2: there any rounding of u**2 is all of the relative error.
    inputs, want, size, *_ = nll_grid(dtype)
    check(lambda *given: ag.nll(*given, axis=()), inputs, want, library, scale=size)
    check(lambda *given: ag.log_prob(*given, axis=()), inputs, -want, library, scale=size)


@libraries
@dtypes
def test_nll_is_within_4_ulp_of_itself_where_its_terms_have_one_sign(library, dtype):
    inputs, want, *_ = nll_grid(dtype)
    keep = inputs[2] >= 0
    check(lambda *given: ag.nll(*given, axis=()), [a[keep] for a in inputs], want[keep], library)


@libraries
@dtypes
def test_the_gradients_of_nll_are_within_4_ulp(library, dtype):
    inputs, _, _, by_x, by_logvar, size = nll_grid(dtype)
    d_x, d_mean, d_logvar = ag.nll_vjp(*(array(library, a) for a in inputs), cotangent=1.0, axis=())
    assert_ulp(host(d_x), by_x, ULP, inputs)
    assert_ulp(host(d_mean), -by_x, ULP, inputs)
    # 1 - u**2 is 0 at one standard deviation.
    assert_ulp(host(d_logvar), by_logvar, ULP, inputs, scale=size)


@libraries
@dtypes
def test_entropy_is_within_4_ulp_of_the_sum_of_its_absolute_terms(library, dtype):
    logvar = logvars(dtype)
    want = mp_map(lambda v: (1 + LOG_2PI + v) / 2, logvar)
    size = mp_map(lambda v: (1 + LOG_2PI + abs(v)) / 2, logvar)
    check(lambda v: ag.entropy(v, axis=()), [logvar], want, library, scale=size)


# Samples, given their noise


@libraries
@dtypes
def test_samples_and_their_gradients_are_within_4_ulp_given_the_noise(library, dtype):
    rng = np.random.default_rng(4)
    mean = rng.normal(size=2000).astype(dtype) * 5
    logvar = rng.choice(logvars(dtype), 2000)
    given = array(library, mean), array(library, logvar)
    zeros = array(library, np.zeros(2000), dtype)
    eps = host(ag.sample(zeros, zeros, rng=5))
    spread = mp_map(lambda m, v, e: mp.exp(v / 2) * e, mean, logvar, eps)
    # mean + std * eps may cancel.
    size = mp_map(lambda m, v, e: abs(m) + abs(mp.exp(v / 2) * e), mean, logvar, eps)
    assert_ulp(host(ag.sample(*given, rng=5)), mp_map(lambda m: m, mean) + spread, ULP, (mean, logvar, eps), size)
    d_mean, d_logvar = ag.sample_vjp(*given, cotangent=1.0, rng=5)
    np.testing.assert_array_equal(host(d_mean), np.ones(2000))
    assert_ulp(host(d_logvar), spread / 2, ULP, (mean, logvar, eps))


# Overflow begins where the true value does


@libraries
@dtypes
def test_kl_and_nll_do_not_overflow_before_their_true_value_does(library, dtype):
    # Half of a square can be held though the square cannot.
    root = math.sqrt(np.finfo(dtype).max)
    mean = np.array([1.2 * root, -1.4 * root, 1.5 * root]).astype(dtype)
    zero = np.zeros(3, dtype)
    check(lambda m, v: ag.kl(m, v, axis=()), [mean, zero], mp_map(mp_kl, mean, zero), library)
    inputs = [mean, zero, zero, zero]
    check(lambda *given: ag.kl(*given, axis=()), inputs, mp_map(mp_kl, *inputs), library)
    inputs = [mean, zero, zero]
    check(lambda *given: ag.nll(*given, axis=()), inputs, mp_map(mp_nll, *inputs), library)


@libraries
@dtypes
def test_kl_of_a_huge_variance_does_not_overflow_before_its_true_value_does(library, dtype):
    # Half of exp(logvar) can be held though exp(logvar) cannot.
    logvar = (math.log(np.finfo(dtype).max) + np.array([-0.1, 0.1, 0.6, 0.8])).astype(dtype)
    zero = np.zeros(4, dtype)
    check(lambda m, v: ag.kl(m, v, axis=()), [zero, logvar], mp_map(mp_kl, zero, logvar), library)


# Never negative


@dtypes
def test_kl_is_never_negative_for_millions_of_points(dtype):
    rng = np.random.default_rng(6)
    n, points = 500_000, 0
    largest = 1.1 * LARGEST_LOGVAR[dtype]
    for scale in (1e-7, 1e-3, 1.0, largest):
        logvar = (rng.uniform(-scale, scale, n)).astype(dtype)
        logvar2 = (logvar + scale * rng.normal(size=n) * 10.0 ** rng.integers(-8, 1, n)).astype(dtype)
        mean = rng.normal(size=n).astype(dtype)
        mean2 = (mean + rng.normal(size=n) * 10.0 ** rng.integers(-40, 1, n)).astype(dtype)
        for value in (
            ag.kl(np.zeros(n, dtype), logvar, axis=()),
            ag.kl(mean, logvar, mean2, logvar2, axis=()),
            ag.kl(mean, logvar, mean, logvar2, axis=()),
        ):
            assert np.all(value >= 0)
            points += value.size
    assert points > 4_000_000


@libraries
@dtypes
def test_kl_is_never_negative_on_the_edges(library, dtype):
    a = np.unique(
        np.concatenate([edges(dtype), np.array([np.inf, -np.inf]), np.nextafter(logvars(dtype), 1)]).astype(dtype)
    )
    logvar, logvar2 = (array(library, v) for v in grid(a, a))
    zero = array(library, np.zeros(a.size**2), dtype)
    value = host(ag.kl(zero, logvar, zero, logvar2, axis=()))
    defined = ~np.isnan(value)
    assert np.all(value[defined] >= 0)
    # Undefined at most where both are without bounds.
    infinite = np.isinf(host(logvar)) & np.isinf(host(logvar2))
    assert np.all(defined | infinite)
    assert np.all(host(ag.kl(zero, logvar, axis=())) >= 0)


# Sums

COUNT = 10_000_000


def assert_sum(got, terms, size=None):
    """Within 1e-6 of the exact sum, relative to it, or to the sum of absolute terms where they differ in sign."""
    want = math.fsum(terms.ravel()) if terms.size < 10**6 else float(np.sum(terms.reshape(-1, 1000).sum(axis=1)))
    scale = abs(want) if size is None else size
    assert abs(float(host(got)) - want) <= 1e-6 * scale, (float(host(got)), want)


@pytest.mark.parametrize("library", nightly_unless(lambda library: library == "numpy", LIBRARIES))
def test_float32_sums_of_ten_million_elements_are_within_1e_6(library):
    rng = np.random.default_rng(7)
    mean = rng.standard_normal(COUNT, dtype=np.float32)
    logvar = rng.standard_normal(COUNT, dtype=np.float32)
    given = array(library, mean), array(library, logvar)
    # The plain forms in float64, added pairwise, are right to 1e-14.
    assert_sum(ag.kl(*given), plain_kl(mean, logvar))
    likelihoods = plain_nll(0.5, mean, logvar)
    assert_sum(ag.nll(0.5, *given), likelihoods, float(np.abs(likelihoods).sum()))
    assert_sum(ag.entropy(given[1]), plain_entropy(logvar))


# With equal elements every addition of a run rounds the same way, the worst that can happen to a sum; the last two
# are the worst of 3000 for 64 additions in a row.
CONSTANTS = (0.1, 1 / 3, 0.7, 1.6073507, 2.0106087, 3.9425771)


@libraries
@pytest.mark.parametrize("count", nightly_unless(lambda count: count < COUNT, [1_000, 4096, 65_536, 1_000_000, COUNT]))
def test_the_error_of_a_float32_sum_does_not_grow_with_the_number_of_equal_elements(library, count):
    for constant in CONSTANTS if count < COUNT else CONSTANTS[-1:]:
        value = np.float32(constant)
        equal = array(library, np.full(count, value))
        for got, element in (
            (ag.kl(equal, 0.0), plain_kl(value, 0.0)),
            (ag.kl(0.0, equal), plain_kl(0.0, value)),
            (ag.nll(0.0, 0.0, equal), plain_nll(0.0, 0.0, value)),
        ):
            assert_relative(host(got), np.array(count * float(element)), 1e-6)


@libraries
@pytest.mark.parametrize("shape", [(1_000_000, 4), (4, 1_000_000), (1000, 3, 1000)], ids=str)
def test_float32_sums_along_every_axis_are_within_1e_6(library, shape):
    rng = np.random.default_rng(8)
    mean, logvar = (rng.standard_normal(shape, dtype=np.float32) for _ in range(2))
    terms = plain_kl(mean, logvar)
    for axis in (*range(len(shape)), (0, len(shape) - 1)):
        got = host(ag.kl(array(library, mean), array(library, logvar), axis=axis))
        assert_relative(got, terms.sum(axis=axis), 1e-6)


@libraries
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_sums_are_within_1e_6(library, dtype):
    rng = np.random.default_rng(9)
    values = array("numpy", rng.normal(size=(2, 1_000_000)), dtype)
    got = ag.kl(array(library, values[0], dtype), array(library, values[1], dtype))
    assert_sum(got, plain_kl(*values.astype(np.float64)))


@libraries
def test_float64_sums_are_blocked_too(library):
    # Blocks of pairs: some 20 roundings of 1.1e-16 for a million, where a plain loop makes a million of them.
    rng = np.random.default_rng(10)
    mean, logvar = rng.normal(size=(2, 1_000_000))
    want = math.fsum(plain_kl(mean, logvar))
    got = ag.kl(array(library, mean), array(library, logvar))
    assert_relative(host(got), np.array(want), 1e-14)


@libraries
def test_gradients_summed_over_a_broadcast_argument_are_within_1e_6(library):
    # d_mean of a number against a million elements: a sum as long as the forward's.
    rng = np.random.default_rng(11)
    logvar = rng.standard_normal(1_000_000, dtype=np.float32)
    x = rng.standard_normal(1_000_000, dtype=np.float32)
    zero = array(library, np.zeros(()), "float32")
    _, d_mean, _ = ag.nll_vjp(array(library, x), zero, array(library, logvar), cotangent=1.0)
    terms = -x.astype(np.float64) * np.exp(-logvar.astype(np.float64))
    assert_sum(d_mean, terms, float(np.abs(terms).sum()))


# The measure itself


def test_the_measure_counts_ulp_honestly():
    one = np.float32(1)
    assert ulp_error(np.array(np.nextafter(one, np.float32(2))), mp.mpf(1)) == 1
    assert ulp_error(np.array(one), mp.mpf(1) + mp.mpf(2) ** -25) == 0.25
    # Just under a power of two the ulp is the smaller one.
    assert ulp_error(np.array(one), mp.mpf(1) - mp.mpf(2) ** -24) == 1
    assert ulp_error(np.array(np.float32(0)), mp.mpf(0)) == 0
    assert ulp_error(np.array(np.float32(1e-45)), mp.mpf(0)) == 1
    assert ulp_error(np.array(np.float32(0)), mp.mpf(2) ** -149) == 1
    assert ulp_error(np.array(np.float32(np.inf)), mp.mpf("1e39")) == 0
    for wrong in (np.nan, -np.inf, np.finfo(np.float32).max):
        assert ulp_error(np.array(np.float32(wrong)), mp.mpf("1e39")) == np.inf
    for wrong in (np.nan, np.inf, -np.inf):
        assert ulp_error(np.array(np.float32(wrong)), mp.mpf(1)) == np.inf
    assert ulp_error(np.array(np.float32(np.nan)), mp.nan) == 0
    assert ulp_error(one.reshape(()), mp.nan) == np.inf
    with pytest.raises(AssertionError, match="1 of 1 elements are more than 4 ulp off"):
        assert_ulp(np.array([1.0001], np.float32), [mp.mpf(1)], 4)
    with pytest.raises(AssertionError, match="nothing"):
        assert_ulp(np.array([], np.float32), [], 4)
