"""The noise is standard normal and independent: moments, distribution, tails and correlations of 10^8 float32 and 10^7
float64 normals.

Each bound is the quantile of a statistic's own distribution under true normality, at a false alarm probability of
FALSE_ALARM: with some 500 statistics, correct noise of a random key would fail once in 300 runs. The keys are fixed, so
what passes once passes always.
"""

import math
from functools import lru_cache

import numpy as np
import pytest
from scipy import stats

import agauss as ag
from agauss.random import Key

FALSE_ALARM = 6.8e-6  # 4.5 standard errors to both sides, for what is nearly normal
SIGMAS = 4.5
PIECE, BLOCK = 4_000_000, 125_000
PIECES = {"float32": 25, "float64": 3}
DTYPES = tuple(PIECES)
ORDERS, LAGS, THRESHOLDS = range(1, 7), range(1, 9), (1, 2, 3, 4, 5)
EDGE, PER_UNIT = 7, 512  # the distribution is counted in bins of 1/512 from -7 to 7


def exact_moment(order):
    """E[x^order] of a standard normal: the double factorial of order - 1."""
    return 0 if order % 2 else math.prod(range(1, order, 2))


def dot(a, b):
    """Without BLAS, whose threads wait for each other where the processors are busy."""
    return np.einsum("i,i", a, b)


class Statistics:
    """What is counted and summed of a sequence of pieces, in float64."""

    def __init__(self):
        self.n, self.pairs = 0, dict.fromkeys(LAGS, 0)
        self.powers = dict.fromkeys(ORDERS, 0.0)
        self.products, self.square_products = dict.fromkeys(LAGS, 0.0), dict.fromkeys(LAGS, 0.0)
        self.bins = np.zeros(2 * EDGE * PER_UNIT + 2, np.int64)

    def add(self, piece):
        for start in range(0, piece.size, BLOCK):
            self._add(piece[start : start + BLOCK].astype(np.float64))
        return self

    def _add(self, x):
        self.n += x.size
        power = np.ones_like(x)
        for order in ORDERS:
            power *= x
            self.powers[order] += power.sum()
        squares = x * x - 1
        for lag in LAGS:
            self.pairs[lag] += x.size - lag
            self.products[lag] += dot(x[:-lag], x[lag:])
            self.square_products[lag] += dot(squares[:-lag], squares[lag:])
        places = np.clip(np.floor(x * PER_UNIT) + EDGE * PER_UNIT + 1, 0, self.bins.size - 1)
        self.bins += np.bincount(places.astype(np.int64), minlength=self.bins.size)

    def beyond(self, threshold):
        """How many lie farther from 0 than a whole number, on its side."""
        edge = (threshold + EDGE) * PER_UNIT + 1
        return int(self.bins[edge:].sum() if threshold > 0 else self.bins[:edge].sum())


def piece(number, dtype):
    """Four million normals: of a key and stream of their own, or far along the elements of one key."""
    if number % 2:
        zero = np.zeros((1, 1), dtype)
        row = np.broadcast_to(zero, (1, PIECE))
        return ag.sample(row, row, rng=Key(2026), index=[number * 10**6])[0]
    return ag.random.normal(PIECE, rng=Key(number, number // 4), dtype=dtype)


@lru_cache
def statistics(dtype):
    found = Statistics()
    for number in range(PIECES[dtype]):
        found.add(piece(number, dtype))
    return found


def moment_errors(found):
    """Each moment's distance from the exact one, in standard errors."""
    errors = []
    for order, total in found.powers.items():
        variance = exact_moment(2 * order) - exact_moment(order) ** 2
        errors.append((total / found.n - exact_moment(order)) / math.sqrt(variance / found.n))
    return errors


def kolmogorov_smirnov(found):
    """sqrt(n) sup |F_n - F| over the bins' edges, which is at most the supremum over all x."""
    edges = np.arange(-EDGE * PER_UNIT, EDGE * PER_UNIT + 1) / PER_UNIT
    return math.sqrt(found.n) * np.abs(np.cumsum(found.bins)[:-1] / found.n - stats.norm.cdf(edges)).max()


def test_enough_normals_are_looked_at():
    assert statistics("float32").n == 10**8
    assert statistics("float64").n >= 10**7


@pytest.mark.parametrize("dtype", DTYPES)
def test_moments_to_the_sixth(dtype):
    assert np.abs(moment_errors(statistics(dtype))).max() < SIGMAS


@pytest.mark.parametrize("dtype", DTYPES)
def test_kolmogorov_smirnov(dtype):
    # P(sqrt(n) D > c) < 2 exp(-2 c^2) for every n (Massart 1990).
    assert kolmogorov_smirnov(statistics(dtype)) < math.sqrt(math.log(2 / FALSE_ALARM) / 2)


@pytest.mark.parametrize("dtype", DTYPES)
def test_counts_of_narrow_bins(dtype):
    """Pearson's chi-square over bins of 1/512: what the Kolmogorov-Smirnov distance, which looks far, cannot see."""
    found = statistics(dtype)
    edges = np.arange(-EDGE * PER_UNIT, EDGE * PER_UNIT + 1) / PER_UNIT
    expected = found.n * np.diff(np.concatenate([[0], stats.norm.cdf(edges), [1]]))
    many = expected > 25
    counts = np.append(found.bins[many], found.bins[~many].sum())
    expected = np.append(expected[many], expected[~many].sum())
    chi_square = ((counts - expected) ** 2 / expected).sum()
    assert stats.chi2.isf(1 - FALSE_ALARM / 2, many.sum()) < chi_square < stats.chi2.isf(FALSE_ALARM / 2, many.sum())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("threshold", [sign * t for t in THRESHOLDS for sign in (-1, 1)])
def test_tails(dtype, threshold):
    found = statistics(dtype)
    count = stats.binom(found.n, stats.norm.sf(abs(threshold)))
    assert count.ppf(FALSE_ALARM / 2) <= found.beyond(threshold) <= count.isf(FALSE_ALARM / 2)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("lag", LAGS)
def test_neighbours_are_not_correlated(dtype, lag):
    """Nor are their squares: the two normals of a pair share their radius."""
    found = statistics(dtype)
    assert abs(found.products[lag]) / math.sqrt(found.pairs[lag]) < SIGMAS
    assert abs(found.square_products[lag]) / (2 * math.sqrt(found.pairs[lag])) < SIGMAS


NEIGHBOURS = {  # two sequences that a weak generator would make alike
    "seeds": (Key(7), Key(8)),
    "seeds a high bit apart": (Key(7), Key(7 + 2**63)),
    "seeds with halves exchanged": (Key(7), Key(7 << 32)),
    "streams": (Key(7), Key(7, 1)),
    "seed and stream exchanged": (Key(7, 8), Key(8, 7)),
    "parent and child": (Key(7), Key(7).fold_in(0)),
    "children": (Key(7).fold_in(0), Key(7).fold_in(1)),
    "children of neighbours": (Key(7).fold_in(0), Key(8).fold_in(0)),
    "child and grandchild": (Key(7).fold_in(0), Key(7).fold_in(0).fold_in(0)),
}


def assert_not_correlated(x, y):
    """Nor one's square with the other, nor the squares, at the same place and one apart."""
    x, y = x.astype(np.float64), y.astype(np.float64)
    u, v = x * x - 1, y * y - 1
    for a, b, deviation in ((x, y, 1), (u, y, 2**0.5), (x, v, 2**0.5), (u, v, 2)):
        for one, other in ((a, b), (a[1:], b[:-1]), (a[:-1], b[1:])):
            assert abs(dot(one, other)) / (deviation * math.sqrt(one.size)) < SIGMAS


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NEIGHBOURS)
def test_neighbouring_keys_are_not_correlated(name, dtype):
    first, second = NEIGHBOURS[name]
    assert_not_correlated(*(ag.random.normal(PIECE // 4, rng=key, dtype=dtype) for key in (first, second)))


@pytest.mark.parametrize("dtype", DTYPES)
def test_draws_are_not_correlated(dtype):
    zeros = np.zeros(PIECE // 4, dtype)
    draws = ag.sample(zeros, zeros, rng=Key(7), sample_shape=3)
    assert_not_correlated(draws[0], draws[1])
    assert_not_correlated(draws[1], draws[2])


@pytest.mark.parametrize("dtype", DTYPES)
def test_samples_of_a_batch_are_not_correlated(dtype):
    zeros = np.zeros((3, PIECE // 4), dtype)
    samples = ag.sample(zeros, zeros, rng=Key(7), index=[0, 1, 2**32])
    assert_not_correlated(samples[0], samples[1])
    assert_not_correlated(samples[0], samples[2])


@pytest.mark.parametrize("dtype", DTYPES)
def test_first_normals_over_many_keys_are_normal(dtype):
    """Across keys, and not along one: seeds and children in order, as a training run would use them."""
    base = Key(7)
    for keys in ([Key(s) for s in range(20_000)], [base.fold_in(n) for n in range(20_000)]):
        x = np.array([ag.random.normal(1, rng=key, dtype=dtype)[0] for key in keys])
        assert stats.kstest(x, "norm").pvalue > FALSE_ALARM
        assert_not_correlated(x[::2], x[1::2])


def test_the_bounds_notice_small_faults():
    """A bias, a wrong scale, a dependence between neighbours: each is caught by the bound made for it."""
    x = np.random.default_rng(0).standard_normal(PIECE)
    assert np.abs(moment_errors(Statistics().add(x))).max() < SIGMAS
    assert np.abs(moment_errors(Statistics().add(x + 0.004))).max() > SIGMAS
    assert np.abs(moment_errors(Statistics().add(x * 1.003))).max() > SIGMAS
    assert kolmogorov_smirnov(Statistics().add(x * 1.02)) > math.sqrt(math.log(2 / FALSE_ALARM) / 2)
    mixed = Statistics().add(math.sqrt(1 - 0.005**2) * x + 0.005 * np.roll(x, 3))
    assert abs(mixed.products[3]) / math.sqrt(mixed.pairs[3]) > SIGMAS
    with pytest.raises(AssertionError):
        assert_not_correlated(x, math.sqrt(1 - 0.005**2) * np.random.default_rng(1).standard_normal(PIECE) + 0.005 * x)
