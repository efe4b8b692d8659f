"""exp, log, sincos and their kin, of cpu/mathlib.py and maths/noise.py: errors in ulp against mpmath, edges, and bits
that do not depend on where in an array an element stands.

The bounds asserted are those of docs/numerics.md; the comments beside them give the largest errors found: for float32
over every argument there is, for float64 over 15 million random ones.
"""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from mpmath import mp, mpf
from numba import njit
from scipy.special import erfcx
from vectors import VECTOR

import agauss as ag
from agauss.backends.cpu import mathlib
from agauss.maths import noise

ROOT = Path(__file__).parents[1]
DTYPES = (np.float32, np.float64)
FUNCTIONS = ("exp", "expm1", "half_expm1x", "log", "log1p", "log1p_unit", "ln", "mills")
SAME = {"log1p_unit": "log1p", "ln": "log"}  # functions of another name elsewhere
# ulp; found:  float32  float64
BOUND = {
    "exp": 1.0,  # 0.988  0.975
    "expm1": 1.6,  # 1.45  1.15
    "half_expm1x": 2.6,  # 2.27  2.42
    "log": 1.0,  # 0.87  0.90
    "log1p": 1.4,  # 1.22  1.22
    "log1p_unit": 1.4,  # 1.24  1.04
    "ln": 1.0,  # 0.85  0.79
    "mills": 3.0,  # 2.77  2.56
    "sincos_turn": 1.4,  # 1.29  1.29: the word's rounding to the dtype is part of it
}


@njit
def sincos_of_words(words, sine, cosine):
    for i in range(words.size):
        sine[i], cosine[i] = noise.sincos_turn(mathlib, words[i], sine[i])


@njit
def uniform_of_words(words, out):
    for i in range(words.size):
        out[i] = mathlib.fraction(words[i], out[i])


def sincos(words, dtype):
    sine, cosine = np.empty(words.size, dtype), np.empty(words.size, dtype)
    sincos_of_words(words, sine, cosine)
    return sine, cosine


def uniform(words, dtype):
    out = np.empty(words.size, dtype)
    uniform_of_words(words, out)
    return out


# Oracles


def by_mpmath(name, x):
    x = mpf(float(x))
    if name == "half_expm1x":
        return (mp.expm1(x) - x if abs(x) > 1e-3 else sum(x**k / mp.factorial(k) for k in range(2, 20))) / 2
    if name == "mills" and x > 1e6:
        return (1 - 1 / x**2) / x  # and 3 / x^5, at most 3e-24 of it
    if name == "mills":
        return mp.exp(x * x / 2) * mp.sqrt(mp.pi / 2) * mp.erfc(x / mp.sqrt(2))
    return getattr(mp, SAME.get(name, name))(x)


def by_wider_floats(name, x):
    """For float32 arguments: NumPy's own functions in float64, which are right to 1e-8 ulp of float32."""
    x = x.astype(np.float64)
    if name == "half_expm1x":
        series = x * x / 2 * (1 + x / 3 * (1 + x / 4 * (1 + x / 5 * (1 + x / 6 * (1 + x / 7 * (1 + x / 8))))))
        return np.where(np.abs(x) < 0.02, series, np.expm1(x) - x) / 2
    if name == "mills":
        return np.sqrt(np.pi / 2) * erfcx(x / np.sqrt(2))
    return getattr(np, SAME.get(name, name))(x)


def ulp_errors(got, want):
    """Errors in units in the last place of the true values, which are mpf."""
    info, errors = np.finfo(got.dtype), []
    overflow = mpf(float(info.max)) * (1 + mpf(2) ** (-info.nmant - 2))  # from here on, the nearest is infinity
    for value, true in zip(got, want, strict=True):
        if np.isinf(value):
            errors.append(0.0 if abs(true) >= overflow and value * true > 0 else np.inf)
            continue
        exponent = min(max(mp.frexp(true)[1], info.minexp + 1), info.maxexp)
        errors.append(float(abs(mpf(float(value)) - true) / mpf(2) ** (exponent - info.nmant - 1)))
    return np.array(errors)


def ulp_errors_of_float32(got, want):
    """The same for float32 against float64, fast."""
    with np.errstate(over="ignore"):
        nearest = want.astype(np.float32)
    finite = np.isfinite(nearest)
    assert (got[~finite] == nearest[~finite]).all()
    return np.abs(got[finite] - want[finite]) / np.spacing(np.abs(nearest[finite])).astype(np.float64)


# Arguments


def random_arguments(name, dtype, n, seed=0):
    """n arguments from all of the function's domain: near 0, near the switches of its form, and out to overflow."""
    rng = np.random.default_rng(seed)
    info = np.finfo(dtype)
    if name in ("log", "ln"):
        parts = [
            np.exp(rng.uniform(np.log(info.tiny) * 0.9999, np.log(info.max) * 0.9999, n)),
            rng.uniform(0.5, 2, n),
            1 + rng.normal(size=n) * np.exp(rng.uniform(-30, -2, n)),
        ]
    elif name == "log1p":
        large = np.exp(rng.uniform(0, np.log(info.max) * 0.9999, n))
        parts = [rng.uniform(0, 1, n), np.exp(rng.uniform(-80, 0, n)), rng.uniform(0.25, 0.45, n), large]
    elif name == "log1p_unit":
        parts = [rng.uniform(0, 1, n), np.exp(rng.uniform(-80, 0, n))]
    elif name == "mills":
        parts = [rng.uniform(0, 2, n), rng.uniform(0, 20, n), np.exp(rng.uniform(-80, 80, n))]
    else:
        top = float(np.log(info.max)) * 1.05
        small = rng.choice([-1, 1], n) * np.exp(rng.uniform(-40, 0.5, n))
        parts = [rng.uniform(-top, top, n), rng.uniform(-1.6, 1.6, n), small]
    return rng.permutation(np.concatenate(parts)).astype(dtype)[:n]


def around(*points, dtype, steps=3):
    """The points, each with its nearest neighbours."""
    found = []
    for point in points:
        below = above = dtype(point)
        found.append(below)
        for _ in range(steps):
            below, above = np.nextafter(below, dtype(-np.inf)), np.nextafter(above, dtype(np.inf))
            found += [below, above]
    return np.array(found, dtype)


def edge_arguments(name, dtype):
    info = np.finfo(dtype)
    tiny, largest = float(info.tiny), float(info.max)
    if name in ("log", "ln"):
        points = [tiny * 1.001, 0.5, 0.5**0.5, 1.0, 2**0.5, 2.0, 1e10, largest / 1.001]
        return np.concatenate([around(*points, dtype=dtype), np.array([tiny, largest], dtype)])
    if name == "log1p":
        points = [1e-30, float(info.eps), 0.25, 2**0.5 - 1, 0.5, 1 - 1e-6, 1.0, 1 / float(info.eps), largest / 1.001]
        return np.concatenate(
            [around(*points, dtype=dtype), np.array([0, info.smallest_subnormal, tiny, largest], dtype)]
        )
    if name == "log1p_unit":
        points = around(1e-30, float(info.eps), 0.25, 0.5, 0.75, 1.0, dtype=dtype)
        return np.concatenate([points[points <= 1], np.array([0, tiny], dtype)])
    if name == "mills":  # its form changes at 12
        return np.concatenate([around(1e-30, 1.0, 4.0, 12.0, dtype=dtype), np.array([0, tiny, largest / 8], dtype)])
    ln2, low = np.log(2), float(np.log(float(info.smallest_subnormal) if dtype is np.float32 else 5e-324))
    points = [
        0.0,
        tiny,
        1.0,
        -1.0,
        ln2,
        ln2 / 2,
        -ln2 / 2,
        1.5 * ln2,
        np.log(largest),
        np.log(largest) + ln2,
        np.log(tiny),
        low,
        low - ln2,
    ]
    points += [k * ln2 / 2 for k in (3, 5, 7, -3, -5, 99, -99)]
    return around(*points, dtype=dtype, steps=4)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_errors_against_mpmath(name, dtype):
    x = np.concatenate([random_arguments(name, dtype, 3000), edge_arguments(name, dtype)])
    with mp.workdps(40):
        errors = ulp_errors(VECTOR[name](x), [by_mpmath(name, value) for value in x])
    assert errors.max() < BOUND[name], x[errors.argmax()]


@pytest.mark.slow
@pytest.mark.parametrize("name", FUNCTIONS)
def test_float32_errors_over_millions_of_arguments(name):
    x = random_arguments(name, np.float32, 2_000_000, seed=1)
    errors = ulp_errors_of_float32(VECTOR[name](x), by_wider_floats(name, x))
    assert errors.max() < BOUND[name], x[errors.argmax()]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_float32_errors_over_strides_of_all_bit_patterns(name):
    patterns = np.arange(0, 0x7F800000, 1009, dtype=np.uint32).view(np.float32)  # from 0 to the largest
    x = np.concatenate([patterns, -patterns])
    if name == "log":
        x = x[x >= np.finfo(np.float32).tiny]
    elif name == "ln":
        x = x[x > 0]
    elif name in ("log1p", "mills"):
        x = x[x >= 0]
    elif name == "log1p_unit":
        x = x[(x >= 0) & (x <= 1)]
    with np.errstate(over="ignore"):
        want = by_wider_floats(name, x)
    errors = ulp_errors_of_float32(VECTOR[name](x), want)
    assert errors.max() < BOUND[name], x[errors.argmax()]


@pytest.mark.skipif(np.finfo(np.longdouble).nmant < 63, reason="long double is no wider than float64 here")
@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name != "mills"])
def test_float64_errors_over_a_million_arguments(name):
    """Against wider floats, which have no Mills' ratio. The small arguments of half_expm1x are left to mpmath."""
    x = random_arguments(name, np.float64, 500_000, seed=2)
    if name == "half_expm1x":
        x = x[np.abs(x) > 0.1]
    wide = x.astype(np.longdouble)
    with np.errstate(over="ignore"):
        want = (np.expm1(wide) - wide) / 2 if name == "half_expm1x" else getattr(np, SAME.get(name, name))(wide)
        nearest = want.astype(np.float64)
    got = VECTOR[name](x)
    finite = np.isfinite(nearest)
    assert (got[~finite] == nearest[~finite]).all()
    errors = np.abs(got - want)[finite] / np.spacing(np.abs(nearest[finite]))
    # At 0.1, expm1(x) - x loses 2^4.3 of long double's 2^-11 ulp.
    assert errors.max() < BOUND[name], x[finite][errors.argmax()]


# Edges


@pytest.mark.parametrize("dtype", DTYPES)
def test_exp_at_its_thresholds(dtype):
    # The last argument that does not overflow, and the last that does not round to zero: both from mpmath.
    info = np.finfo(dtype)
    with mp.workdps(40):
        top = mp.log(mpf(float(info.max)) * (1 + mpf(2) ** (-info.nmant - 2)))
        bottom = mp.log(mpf(float(info.smallest_subnormal)) / 2)
        last = dtype(float(top)) if mpf(float(dtype(float(top)))) < top else np.nextafter(dtype(float(top)), dtype(0))
        least = dtype(float(bottom))
        least = least if mpf(float(least)) > bottom else np.nextafter(least, dtype(0))
    x = np.array([last, np.nextafter(last, dtype(np.inf)), least, np.nextafter(least, dtype(-np.inf))], dtype)
    y = VECTOR["exp"](x)
    assert np.isfinite(y[0])
    assert y[1] == np.inf
    assert y[2] == info.smallest_subnormal
    assert y[3] == 0


@pytest.mark.parametrize("dtype", DTYPES)
def test_values_at_zero_infinity_and_nan(dtype):
    info, inf, nan = np.finfo(dtype), np.inf, np.nan
    x = np.array([0.0, -0.0, inf, -inf, nan, info.max, -info.max, info.smallest_subnormal], dtype)
    want = {
        "exp": [1, 1, inf, 0, nan, inf, 0, 1],
        "expm1": [0, 0, inf, -1, nan, inf, -1, 0],
        "half_expm1x": [0, 0, inf, inf, nan, inf, info.max / 2, 0],
    }
    for name, values in want.items():
        np.testing.assert_array_equal(VECTOR[name](x), np.array(values, dtype), err_msg=name)
    np.testing.assert_array_equal(VECTOR["log1p"](np.array([0, 1, nan], dtype)), np.array([0, np.log(2), nan], dtype))
    positive = x[(x >= 0) | np.isnan(x)]
    np.testing.assert_array_equal(VECTOR["ln"](positive[:4]), np.array([-inf, -inf, inf, nan], dtype))
    np.testing.assert_array_equal(VECTOR["mills"](positive[2:4]), np.array([0, nan], dtype))
    np.testing.assert_array_equal(VECTOR["log"](np.array([1], dtype)), np.array([0], dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_log1p_of_subnormals_is_exact_and_expm1_off_by_one_at_most(dtype):
    least = np.finfo(dtype).smallest_subnormal
    x = (np.arange(1, 1000) * float(least)).astype(dtype)
    np.testing.assert_array_equal(VECTOR["log1p"](x), x)
    assert (np.abs(VECTOR["expm1"](x) - x) <= least).all()  # it computes the half, which has one bit less
    np.testing.assert_array_equal(VECTOR["expm1"](-x), -VECTOR["expm1"](x))


@pytest.mark.parametrize("dtype", DTYPES)
def test_ln_of_subnormals(dtype):
    x = (np.arange(1, 1000) * float(np.finfo(dtype).smallest_subnormal)).astype(dtype)
    with mp.workdps(40):
        errors = ulp_errors(VECTOR["ln"](x), [mp.log(mpf(float(value))) for value in x])
    assert errors.max() < BOUND["ln"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_mills_ratio_never_rises(dtype):
    x = np.sort(np.concatenate([random_arguments("mills", dtype, 100_000, seed=12), edge_arguments("mills", dtype)]))
    y = VECTOR["mills"](x)
    assert (y[1:] <= y[:-1] * dtype(1 + BOUND["mills"] * np.finfo(dtype).eps)).all()
    assert (y > 0).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_half_expm1x_is_never_negative_and_zero_only_by_underflow(dtype):
    x = np.concatenate(
        [random_arguments("half_expm1x", dtype, 1_000_000, seed=3), edge_arguments("half_expm1x", dtype)]
    )
    y = VECTOR["half_expm1x"](x)
    assert (y >= 0).all()
    # x * x / 4 at twice the root of the least normal is that normal: under it underflow begins.
    assert (y[np.abs(x) > 2 * np.sqrt(np.finfo(dtype).tiny)] > 0).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_expm1_has_its_arguments_sign_and_stays_above_minus_one(dtype):
    x = np.concatenate([random_arguments("expm1", dtype, 1_000_000, seed=4), edge_arguments("expm1", dtype)])
    y = VECTOR["expm1"](x)
    assert (y >= -1).all()
    same = np.sign(y) == np.sign(x)
    assert same[np.abs(x) > np.finfo(dtype).smallest_subnormal].all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_log_of_a_uniform_is_never_positive(dtype):
    """Or the radius of a normal would be the root of a negative number."""
    bits = 8 * np.dtype(dtype).itemsize
    words = np.concatenate([words_of(bits, 100_000), edge_words(bits)])
    assert (VECTOR["log"](uniform(words, dtype)) <= 0).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_sqrt_is_correctly_rounded(dtype):
    x = np.abs(random_arguments("exp", dtype, 100_000, seed=5))
    np.testing.assert_array_equal(VECTOR["sqrt"](x), np.sqrt(x))  # IEEE 754 demands it of NumPy's


# Words of noise


def words_of(bits, n, seed=6):
    return np.random.default_rng(seed).integers(0, 2**bits - 1, n, dtype=np.uint64, endpoint=True)


def edge_words(bits):
    """The eighths of a turn and their neighbours, where the sine's polynomial changes, and both ends."""
    eighths = [k * 2 ** (bits - 3) + d for k in range(8) for d in (-2, -1, 0, 1, 2)]
    found = [word % 2**bits for word in eighths] + [1, 2**bits - 129, 2**bits - 127, 2**bits - 1]
    return np.array(found, np.uint64)


def rounded(x, bits):
    with mp.workprec(bits):
        return +mpf(x)


@pytest.mark.parametrize("dtype", DTYPES)
def test_uniform_is_the_middle_of_its_words_interval_twice_rounded(dtype):
    bits, precision = 8 * np.dtype(dtype).itemsize, np.finfo(dtype).nmant + 1
    words = np.concatenate([words_of(bits, 3000), edge_words(bits), np.arange(20, dtype=np.uint64)])
    want = [rounded((rounded(int(w), precision) + mpf(1) / 2) / mpf(2) ** bits, precision) for w in words]
    assert [mpf(float(u)) for u in uniform(words, dtype)] == want


@pytest.mark.parametrize("dtype", DTYPES)
def test_uniform_is_positive_at_most_one_and_monotonic(dtype):
    bits = 8 * np.dtype(dtype).itemsize
    ends = np.array([0, 2**bits - 1], np.uint64)
    u = uniform(np.sort(np.concatenate([words_of(bits, 1_000_000), ends])), dtype)
    assert u[0] == 2.0 ** -(bits + 1)
    assert u[-1] == 1
    assert (np.diff(u) >= 0).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_sincos_turn_against_mpmath(dtype):
    bits = 8 * np.dtype(dtype).itemsize
    words = np.concatenate([words_of(bits, 3000), edge_words(bits)])
    sine, cosine = sincos(words, dtype)
    with mp.workdps(40):
        turns = [mpf(int(w)) / mpf(2) ** bits for w in words]
        errors = [
            ulp_errors(sine, [mp.sinpi(2 * t) for t in turns]),
            ulp_errors(cosine, [mp.cospi(2 * t) for t in turns]),
        ]
    assert np.max(errors) < BOUND["sincos_turn"]


def test_float32_sincos_turn_over_millions_of_words():
    words = words_of(32, 2_000_000, seed=7)
    sine, cosine = sincos(words, np.float32)
    quadrant = ((words + 2**29) >> 30) & 3
    angle = ((words.astype(np.int64) + 2**29) % 2**30 - 2**29) * (np.pi / 2**31)  # exact but for pi
    s, c = np.sin(angle), np.cos(angle)
    quadrant = quadrant.astype(np.int64)
    assert ulp_errors_of_float32(sine, np.choose(quadrant, [s, c, -s, -c])).max() < BOUND["sincos_turn"]
    assert ulp_errors_of_float32(cosine, np.choose(quadrant, [c, -s, -c, s])).max() < BOUND["sincos_turn"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_sincos_turn_is_exact_at_the_quarters(dtype):
    bits = 8 * np.dtype(dtype).itemsize
    sine, cosine = sincos(np.arange(4, dtype=np.uint64) << np.uint64(bits - 2), dtype)
    assert sine.tolist() == [0, 1, 0, -1]
    assert cosine.tolist() == [1, 0, -1, 0]


# Bits


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_vector_bodies_and_loop_tails_give_the_same_bits(name, dtype):
    x = random_arguments(name, dtype, 70, seed=8)
    whole = np.concatenate([VECTOR[name](x[i : i + 1]) for i in range(70)])
    for n in range(1, 71):
        assert VECTOR[name](x[:n]).tobytes() == whole[:n].tobytes()
        assert VECTOR[name](x[70 - n :]).tobytes() == whole[70 - n :].tobytes()


OPS = {  # an operation for each function that it rests on
    "exp": lambda x: ag.var(x),
    "expm1": lambda x: ag.kl_vjp(np.zeros_like(x), x, cotangent=1.0, axis=())[1],
    "half_expm1x": lambda x: ag.kl(np.zeros_like(x), x, axis=()),
    "log1p": lambda x: ag.clamp(x, bounds="soft"),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("op", OPS)
def test_an_elements_bits_do_not_depend_on_the_length_of_its_array(op, dtype):
    x = random_arguments("exp", dtype, 70, seed=9) / dtype(3)
    alone = np.concatenate([OPS[op](x[i : i + 1]) for i in range(70)])
    for n in range(1, 71):
        assert OPS[op](x[:n]).tobytes() == alone[:n].tobytes()
        assert OPS[op](x[70 - n :]).tobytes() == alone[70 - n :].tobytes()


@pytest.mark.parametrize("op", ["exp", "expm1", "half_expm1x"])
def test_operations_compute_what_mathlib_does(op):
    x = random_arguments(op, np.float32, 5000, seed=10)
    scale = np.float32(0.5 if op == "expm1" else 1)
    assert OPS[op](x).tobytes() == (scale * VECTOR[op](x)).tobytes()


def test_python_numbers_give_the_bits_of_arrays():
    x = random_arguments("exp", np.float64, 50, seed=11)
    alone = np.array([ag.var(float(value)) for value in x])
    assert alone.tobytes() == ag.var(x).tobytes()


# Coefficients


@pytest.mark.slow
def test_coefficients_are_what_the_minimax_program_prints():
    printed = subprocess.run(
        [sys.executable, ROOT / "tools" / "minimax.py"], capture_output=True, text=True, check=True, timeout=120
    ).stdout
    assert printed == (ROOT / "agauss" / "maths" / "coefficients.py").read_text()
