"""The likelihood of bins against mpmath: near the mean, in the far tails, narrow and wide, open and closed.

Arguments are taken as exact. A value of 1 or more is measured in its own ulp. A smaller one counts with what it changes
by when both edges move by their distance from the mean: a mass near 1 is 1 less a tail, and its logarithm is no better
known than the square of that tail's edge.
"""

import math
from functools import lru_cache

import ml_dtypes
import numpy as np
import pytest
from oracles import LIBRARIES, array, assert_ulp, host, mp
from quick import slow_unless

import agauss as ag

DTYPES = ("float32", "float64")
dtypes = pytest.mark.parametrize("dtype", slow_unless(lambda dtype: dtype == "float32", DTYPES))
libraries = pytest.mark.parametrize("library", LIBRARIES)
ULP, ULP_OF_GRADIENTS = 4, 8
COUNT = 400
LOW, HIGH = -2.0, 2.0
# Widths, as float32 has them too, and what a std is of one.
WIDTHS = (2.0**-7, 0.5, 3.0)
STDS = {"far narrower": (0.02, 0.3), "as wide": (0.3, 3.0), "far wider": (3.0, 1e5)}


def beyond(a):
    """The standard normal's mass beyond a."""
    return mp.erfc(a / mp.sqrt(2)) / 2


def density(a):
    return mp.exp(-a * a / 2) / mp.sqrt(2 * mp.pi) if mp.isfinite(a) else mp.mpf(0)


def truth(x, mean, logvar, width, low, high, least=0):
    """The value, the gradients of x and logvar, and the three's scales; `least` is the dtype's least normal number."""
    x, mean, logvar, width = (mp.mpf(float(v)) for v in (x, mean, logvar, width))
    inverse = mp.exp(-logvar / 2)
    a, b = (x - width / 2 - mean) * inverse, (x + width / 2 - mean) * inverse
    a, b = mp.ninf if x <= low else a, mp.inf if x >= high else b
    near, far = (a, b) if a > -b else (-b, -a)
    lost = beyond(-near) + beyond(far)
    mass = beyond(near) - beyond(far)
    value = -mp.log1p(-lost) if near < 0 else -mp.log(mass)
    by_x = (density(a) - density(b)) * inverse / mass
    moved = [e * density(e) / mass if mp.isfinite(e) else mp.mpf(0) for e in (a, b)]
    by_logvar = (moved[1] - moved[0]) / 2
    if value >= 1:  # 1 - by_logvar is the sum of the sizes of 1 / 2 and of the mean of u^2 / 2 over the bin
        return value, by_x, by_logvar, value, abs(by_x), 1 - by_logvar
    # A density is known as its edge's square is, and in the dtype not finer than a subnormal number.
    edges = [e for e in (a, b) if mp.isfinite(e)]
    heights = [density(e) * (1 + e * e) + least for e in edges]
    by_edges = sum(height * inverse / mass for height in heights)
    by_spread = sum(height * abs(e) / mass / 2 for height, e in zip(heights, edges, strict=True))
    return value, by_x, by_logvar, value + sum(map(abs, moved)), by_edges, by_spread


@lru_cache
def cases(dtype, width, stds):
    """Arguments, and the truth of them in columns: centres from the mean to 80 stds from it, open bins among them."""
    rng = np.random.default_rng(5)
    std = width * np.exp(rng.uniform(*np.log(STDS[stds]), COUNT))
    logvar = (2 * np.log(std)).astype(dtype)
    x = rng.uniform(1.1 * LOW, 1.1 * HIGH, COUNT).astype(dtype)
    away = rng.choice([0.01, 0.3, 1, 4, 80], COUNT) * rng.uniform(-1, 1, COUNT)
    mean = (x + away * std).astype(dtype)
    found = [
        truth(*given, width, LOW, HIGH, float(np.finfo(dtype).tiny)) for given in zip(x, mean, logvar, strict=True)
    ]
    return (x, mean, logvar), [np.array(column, object) for column in zip(*found, strict=True)]


@libraries
@dtypes
@pytest.mark.parametrize("stds", STDS)
@pytest.mark.parametrize("width", WIDTHS)
def test_a_value_is_within_4_ulp(library, dtype, width, stds):
    given, (value, _, _, scale, _, _) = cases(dtype, width, stds)
    options = {"width": width, "low": LOW, "high": HIGH, "axis": ()}
    got = ag.discretized_nll(*(array(library, a) for a in given), **options)
    assert_ulp(host(got), value, ULP, given, scale)


@libraries
@dtypes
@pytest.mark.parametrize("stds", STDS)
@pytest.mark.parametrize("width", WIDTHS)
def test_the_gradients_are_within_8_ulp(library, dtype, width, stds):
    given, (_, by_x, by_logvar, _, x_scale, logvar_scale) = cases(dtype, width, stds)
    options = {"width": width, "low": LOW, "high": HIGH, "axis": (), "cotangent": 1.0}
    got = [host(g) for g in ag.discretized_nll_vjp(*(array(library, a) for a in given), **options)]
    assert_ulp(got[0], by_x, ULP_OF_GRADIENTS, given, x_scale)
    assert_ulp(got[2], by_logvar, ULP_OF_GRADIENTS, given, logvar_scale)
    np.testing.assert_array_equal(got[1], -got[0])


@dtypes
@pytest.mark.parametrize("width", [1e-3, 0.25, 2.0, 30.0])
@pytest.mark.parametrize("stds", [6, 40, 1000])
def test_far_tails_are_right_and_have_gradients(dtype, width, stds):
    """Where tanh's approximation has no mass and, clamped, no gradient."""
    x, width = np.array([stds, -stds], dtype), float(np.dtype(dtype).type(width))
    want = [truth(v, 0, 0, width, -1e9, 1e9) for v in x]
    options = {"width": width, "axis": ()}
    value = ag.discretized_nll(x, 0.0, 0.0, **options)
    by_x, _, by_logvar = ag.discretized_nll_vjp(x, np.zeros_like(x), np.zeros_like(x), cotangent=1.0, **options)
    assert_ulp(value, [w[0] for w in want], ULP, [x])
    assert_ulp(by_x, [w[1] for w in want], ULP_OF_GRADIENTS, [x])
    assert_ulp(by_logvar, [w[2] for w in want], ULP_OF_GRADIENTS, [x], [w[5] for w in want])
    assert (np.abs(by_x) > stds / 2 - width).all()


@pytest.mark.parametrize(("stds", "percent"), [(3, 4), (4, 34), (5, 79), (6, 98)])
def test_the_approximation_by_tanh_lacks_the_mass_that_the_docstring_says(stds, percent):
    def approximate(x):
        return (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2  # of Phi (Page, 1977)

    width = 1e-3
    found = approximate(stds + width / 2) - approximate(stds - width / 2)
    exact = math.exp(-ag.discretized_nll(float(stds), 0.0, 0.0, width=width))
    assert round(100 * (1 - found / exact)) == percent
    assert stds < 6 or approximate(np.float32(stds)) == 1  # so that in float32 a bin has none


@dtypes
def test_an_edge_at_the_mean_keeps_what_x_less_the_mean_rounds_off(dtype):
    """The gradient of logvar is as that edge, which is 0 but for the rounding of the mean."""
    rng = np.random.default_rng(8)
    x = rng.uniform(0.5, 1, 300).astype(dtype)
    mean, logvar = np.nextafter(x - x.dtype.type(0.5), x), np.full_like(x, -6)
    want = [truth(*given, 1.0, LOW, HIGH) for given in zip(x, mean, logvar, strict=True)]
    got = ag.discretized_nll_vjp(x, mean, logvar, width=1.0, axis=(), cotangent=1.0)[2]
    assert_ulp(got, [w[2] for w in want], ULP_OF_GRADIENTS, (x, mean), [w[5] for w in want])


@pytest.mark.parametrize("levels", [2, 16, 256])
@pytest.mark.parametrize(("mean", "logvar"), [(0.0, 0.0), (0.3, -9.0), (-1.7, -4.0), (5.0, 2.0)])
def test_the_masses_of_bins_side_by_side_add_up_to_1(levels, mean, logvar):
    x = np.linspace(-1, 1, levels)
    nats = ag.discretized_nll(x, mean, logvar, width=2 / (levels - 1), low=-1, high=1, axis=())
    assert abs(np.exp(-nats).sum() - 1) < 1e-13  # rounding: edges that should meet are computed from either side


@dtypes
def test_a_narrow_bin_has_the_density_times_its_width(dtype):
    rng = np.random.default_rng(6)
    x, mean, logvar = (rng.normal(size=100).astype(dtype) for _ in range(3))
    width = 2.0**-40
    got = ag.discretized_nll(x, mean, logvar, width=width, axis=())
    want = ag.nll(x, mean, logvar, axis=()) - np.log(width).astype(dtype)
    # The bin's own width adds a part of 2^-80 times (x - mean)^2; each side is within 4 ulp of its terms.
    np.testing.assert_allclose(got, want, rtol=8 * np.finfo(dtype).eps)


def test_an_open_bin_has_all_that_is_beyond_its_inner_edge():
    options = {"width": 1.0, "axis": ()}
    closed = ag.discretized_nll(np.array([0.0, 3.0]), 0.0, 0.0, **options)
    ends = ag.discretized_nll(np.array([0.0, 3.0]), 0.0, 0.0, low=0.0, high=3.0, **options)
    assert (ends < closed).all()
    np.testing.assert_allclose(np.exp(-ends), [float(beyond(-0.5)), float(beyond(2.5))], rtol=1e-14)
    whole = ag.discretized_nll(np.array([0.0, 3.0]), 0.0, 0.0, low=-np.inf, high=np.inf, **options)
    np.testing.assert_array_equal(whole, closed)


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_half_types_are_computed_in_float32(kind):
    rng = np.random.default_rng(7)
    half = [rng.normal(size=200).astype(getattr(ml_dtypes, kind, kind)) for _ in range(3)]
    options = {"width": 0.25, "low": -1.0, "high": 1.0, "axis": ()}
    got = ag.discretized_nll(*half, **options)
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, ag.discretized_nll(*(a.astype(np.float32) for a in half), **options))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"width": 0.0}, ValueError, "width must be finite and above 0; got 0.0"),
        ({"width": -1}, ValueError, "width must be finite and above 0; got -1"),
        ({"width": float("nan")}, ValueError, "width must be finite and above 0; got nan"),
        ({"width": float("inf")}, ValueError, "width must be finite and above 0; got inf"),
        ({"width": "wide"}, TypeError, "width must be a real number; got str"),
        ({"width": np.ones(3)}, TypeError, "width must be a real number; got ndarray"),
        ({"width": 1.0, "low": "0"}, TypeError, "low must be None or a real number; got str"),
        ({"width": 1.0, "high": 1j}, TypeError, "high must be None or a real number; got complex"),
        ({"width": 1.0, "low": float("nan")}, ValueError, "low must be under high; got nan and None"),
        ({"width": 1.0, "low": 1.0, "high": 1.0}, ValueError, "low must be under high; got 1.0 and 1.0"),
    ],
)
def test_a_bin_that_is_none_is_refused(options, error, message):
    arrays = np.zeros(2), np.zeros(2), np.zeros(2)
    with pytest.raises(error) as value:
        ag.discretized_nll(*arrays, **options)
    with pytest.raises(error) as gradients:
        ag.discretized_nll_vjp(*arrays, cotangent=1.0, **options)
    assert str(value.value) == str(gradients.value) == message
