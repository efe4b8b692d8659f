"""Every vjp against the automatic differentiation of plain forms, and against differences of its own forward."""

import itertools
import math

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import torch
from cases import CASES, ELEMENTWISE
from oracles import EVERY_LIBRARY, array, dtype_of, host, library_of, numpy_dtype, same_bits, wide
from plain_gradients import (
    BOUND_KINDS,
    HALF,
    LIMITS,
    SAMPLE,
    SHAPE,
    assert_gradients,
    differences,
    expected,
    libraries,
    ops,
)
from quick import nightly_unless

import agauss as ag

pytestmark = pytest.mark.usefixtures("one_thread_of_torch")

BOUNDED = [name for name in ELEMENTWISE if CASES[name].bounded]


# Against torch's autograd


SHAPES = [SHAPE, (1, 3, 1), (3, 4), (), (2, 1, 4)]  # full, channels alone, a leading one missing, a number, one inside


@pytest.mark.in_turn(3)
@libraries
@pytest.mark.parametrize(
    ("name", "turn"),
    nightly_unless(lambda name, turn: turn == 0 or name == "nll", itertools.product(ELEMENTWISE, range(len(SHAPES)))),
)
def test_gradients_are_those_of_the_plain_form_and_of_their_arguments_shape(name, library, turn):
    case = CASES[name]
    shapes = [SHAPES[(turn + k) % len(SHAPES)] for k in range(len(case.arguments))]
    shape = np.broadcast_shapes(*shapes)
    primals = case.primals(shapes, seed=turn)
    given = [array(library, p) for p in primals]
    rng = np.random.default_rng(1)
    axes = [None, (), *([0, -1, (0,), tuple(range(1, len(shape))), tuple(range(-len(shape), 0))] if shape else [])]
    for axis in axes if case.sums else [None]:
        options = case.options(axis, None)
        value_shape = tuple(case.function(*given, **options).shape)
        full = rng.normal(size=value_shape)
        broadcast = rng.normal(size=tuple(1 if k % 2 == 0 else n for k, n in enumerate(value_shape)))
        for cotangent in (array(library, full), array(library, broadcast), array(library, np.array(0.7)), -1.3, 2):
            got = case.vjp(*given, cotangent=cotangent, **options)
            assert all(library_of(g) == library and dtype_of(g) == "float64" for g in got)
            assert_gradients(got, expected(case, primals, cotangent, **options), primals)


@pytest.mark.in_turn(4)
@libraries
@ops
def test_a_number_among_the_arguments_has_a_gradient_without_dimensions(case, library):
    for number in range(len(case.arguments)):
        primals = case.primals([SHAPE] * 5)
        primals[number] = np.array(0.25)
        given = [array(library, p) for p in primals]
        given[number] = 0.25
        got = case.vjp(*given, cotangent=1.5, **case.options(None, None))
        assert tuple(got[number].shape) == ()
        assert library_of(got[number]) == (library if len(case.arguments) > 1 else "numpy")
        assert_gradients(got, expected(case, primals, 1.5), primals)


# Outside, just outside, on the bounds, just inside and inside.
AROUND = np.array(
    [-9.0, np.nextafter(-1, -2), -1.0, np.nextafter(-1, 0), 0.1, np.nextafter(1.5, 0), 1.5, np.nextafter(1.5, 2), 7.0]
)


@pytest.mark.in_turn(5)
@libraries
@pytest.mark.parametrize(
    ("name", "kind"),
    nightly_unless(lambda name, kind: name == "std" or kind in (None, "soft"), itertools.product(BOUNDED, BOUND_KINDS)),
)
def test_gradients_under_bounds_are_those_of_the_plain_form(name, library, kind):
    case = CASES[name]
    bounds = None if kind is None else (*LIMITS, kind)
    primals = case.primals([AROUND.shape] * 5)
    for place, argument in enumerate(case.arguments):
        if argument in ("logvar", "logvar2"):
            primals[place] = AROUND if argument == "logvar" else AROUND[::-1].copy()
    primals = case.within(primals)
    given = [array(library, p) for p in primals]
    cotangent = np.random.default_rng(2).normal(size=AROUND.shape)
    options = case.options((), bounds)
    want = expected(case, primals, cotangent, **options)
    assert_gradients(case.vjp(*given, cotangent=array(library, cotangent), **options), want, primals)
    # A pair alone is a hard bound.
    if kind == "hard":
        options = case.options((), LIMITS)
        assert_gradients(case.vjp(*given, cotangent=array(library, cotangent), **options), want, primals)


@libraries
@pytest.mark.parametrize("kind", ["hard", "soft", "straight-through"])
def test_a_bound_named_alone_is_at_minus_30_and_20(library, kind):
    logvar = np.array([-31.0, -30.0, -29.0, 0.0, 19.0, 20.0, 21.0])
    want = expected(CASES["std"], [logvar], 1.0, bounds=kind)
    assert_gradients(ag.std_vjp(array(library, logvar), cotangent=1.0, bounds=kind), want, [logvar])


@libraries
def test_the_gradient_on_a_hard_bound_is_that_of_the_inside_and_beyond_it_exactly_0(library):
    (gradient,) = ag.var_vjp(array(library, AROUND), cotangent=1.0, bounds=LIMITS)
    inside = ~((AROUND < -1.0) | (AROUND > 1.5))
    np.testing.assert_array_equal(host(gradient) != 0, inside)


@libraries
def test_each_of_the_two_bounds_of_kl_is_for_its_own_log_variance(library):
    primals = CASES["kl"].primals([(6,)] * 4, scale=3)
    given = [array(library, p) for p in primals]
    for options in ({"bounds": LIMITS}, {"bounds2": LIMITS}, {"bounds": LIMITS, "bounds2": (-2, 0.5, "soft")}):
        want = expected(CASES["kl"], primals, 1.0, **options)
        assert_gradients(ag.kl_vjp(*given, cotangent=1.0, **options), want, primals)


@pytest.mark.slow
def test_plain_kl_and_the_librarys_are_the_same_function():
    # Guards the oracle: the forms that are differentiated above have the library's values.
    for case in map(CASES.get, ELEMENTWISE):
        primals = case.primals([SHAPE] * 5)
        options = case.options((1, 2), (*LIMITS, "soft"))
        value = case.plain(torch, *(torch.tensor(p) for p in primals), **options)
        np.testing.assert_allclose(
            case.function(*primals, **options), value.numpy(), rtol=1e-13, atol=1e-13, err_msg=case.op.name
        )


# Against jax.grad


@pytest.mark.in_turn(4)
@pytest.mark.parametrize(
    ("name", "kind"),
    nightly_unless(lambda name, kind: kind is None or name == "var", itertools.product(ELEMENTWISE, (None, "soft"))),
)
def test_gradients_are_those_of_jax(name, kind):
    case = CASES[name]
    primals = case.primals([(3, 4), (4,), (3, 1), (), (4,)])
    options = case.options(-1, kind and (*LIMITS, kind))
    value_shape = np.shape(case.function(*primals, **options))
    cotangent = np.random.default_rng(3).normal(size=value_shape)
    with jax.enable_x64(True):

        def scalar(*given):
            return jnp.sum(case.plain(jnp, *given, **options) * cotangent)

        want = jax.jit(jax.grad(scalar, argnums=tuple(range(len(primals)))))(*(jnp.asarray(p) for p in primals))
        want = [np.asarray(g) for g in want]
    assert want[0].dtype == np.float64
    assert_gradients(case.vjp(*primals, cotangent=cotangent, **options), want, primals)


# Against differences of the library's own forward


@pytest.mark.in_turn(4)
@pytest.mark.parametrize(
    ("name", "kind"),
    nightly_unless(
        lambda name, kind: kind is None or name in ("std", "nll"),
        [(n, k) for n in ELEMENTWISE for k in (None, "hard", "soft") if k is None or n in BOUNDED],
    ),  # straight-through is meant to differ
)
def test_gradients_are_the_slopes_of_the_forward(name, kind):
    case = CASES[name]
    primals = case.primals([(2, 3), (3,), (2, 1), (), (3,)])
    options = case.options((0,), None if kind is None else (*LIMITS, kind))
    cotangent = np.random.default_rng(4).normal(size=np.shape(case.function(*primals, **options)))
    want = differences(lambda *given: np.sum(case.function(*given, **options) * cotangent), primals)
    assert_gradients(case.vjp(*primals, cotangent=cotangent, **options), want, primals, rtol=1e-7, atol=1e-8)


# dtypes


@pytest.mark.in_turn(8)
@libraries
@ops
@pytest.mark.parametrize("dtype", HALF)
def test_half_precision_gradients_have_the_arguments_dtype_and_are_rounded_once(case, library, dtype):
    shapes = [(64, 5), (5,), (64, 1), (), (5,)]
    primals = [array("numpy", p, dtype) for p in case.primals(shapes)]
    given = [array(library, p, dtype) for p in primals]
    options = case.options(-1, None)
    cotangent = 0.75
    got = case.vjp(*given, cotangent=cotangent, **options)
    assert all(dtype_of(g) == dtype for g in got)
    # Sums over the batch are float32 until the end: half an ulp of the half type, and 1e-4 for sums of up to 320 terms
    # of up to 10 that cancel in float32; sums in the half type itself would be 100 times that off.
    precision = float(ml_dtypes.finfo(numpy_dtype(dtype)).eps) / 2
    want = expected(case, primals, cotangent, **options)
    assert_gradients(got, want, primals, rtol=precision * 1.001, atol=1e-4)


@pytest.mark.in_turn(4)
@libraries
@ops
def test_float32_gradients_are_those_of_the_plain_form(case, library):
    primals = [p.astype(np.float32) for p in case.primals([SHAPE, (3, 4), (2, 1, 1), (1, 3, 1), (4,)])]
    options = case.options((1, 2), None)
    got = case.vjp(*(array(library, p) for p in primals), cotangent=0.7, **options)
    assert all(dtype_of(g) == "float32" for g in got)
    want = expected(case, primals, float(np.float32(0.7)), **options)
    assert_gradients(got, want, primals, rtol=2e-6, atol=1e-5)  # sums of up to 24 that cancel


others = pytest.mark.parametrize("library", [name for name in EVERY_LIBRARY if name != "numpy"])


@pytest.mark.in_turn(2)
@others
@ops
def test_every_vjp_accepts_every_library(library, case):
    primals = [p.astype(np.float32) for p in case.primals([(3, 4)] * 5)]
    options = case.options(None, None)
    got = case.vjp(*(array(library, p) for p in primals), cotangent=0.7, **options)
    assert all(library_of(g) == library for g in got)
    want = [g.astype(np.float64) for g in case.vjp(*primals, cotangent=0.7, **options)]
    assert_gradients(got, want, primals, rtol=1e-5, atol=1e-6)


@others
def test_vjps_of_samples_accept_every_library(library):
    mean, logvar = (p.astype(np.float32) for p in SAMPLE.primals([(3, 4)] * 2))
    got = ag.sample_vjp(array(library, mean), array(library, logvar), cotangent=0.7, rng=1)
    want = [g.astype(np.float64) for g in ag.sample_vjp(mean, logvar, cotangent=0.7, rng=1)]
    assert_gradients(got, want, [mean, logvar], rtol=1e-5, atol=1e-6)
    got = ag.sample_and_kl_vjp(array(library, mean), cotangent=(0.7, 0.3), rng=1)
    assert library_of(got) == library
    want = ag.sample_and_kl_vjp(mean, cotangent=(0.7, 0.3), rng=1)
    np.testing.assert_allclose(wide(got), want, rtol=1e-5, atol=1e-6)


# What holds of any gradient, and of bounds


@pytest.mark.in_turn(5)
@libraries
@ops
def test_the_gradient_is_linear_in_its_cotangent(case, library):
    primals = [array(library, p) for p in case.primals([SHAPE, (3, 4), (2, 1, 1), (), (4,)])]
    options = case.options((0, 2), None)
    for one, double, none in zip(
        *(case.vjp(*primals, cotangent=factor, **options) for factor in (1.0, 2.0, 0.0)), strict=True
    ):
        assert same_bits(host(one) * 2, host(double))  # a power of two: exactly
        np.testing.assert_array_equal(host(none), np.zeros(tuple(one.shape)))


@libraries
@pytest.mark.parametrize(("g", "d", "logvar"), [(1e-3, 100.0, -86.0), (1e-6, 3e3, -80.0), (1e3, 1e-6, 80.0)])
def test_a_gradient_within_range_does_not_pass_through_infinity(library, g, d, logvar):
    """exp(86) is 2e37, times d beyond float32, times the cotangent within it again."""
    x, mean, spread = (array(library, np.full(1, v, np.float32)) for v in (d, 0.0, logvar))
    g, d, logvar = (float(np.float32(v)) for v in (g, d, logvar))
    slope = g * d * math.exp(-logvar)
    by_x, by_mean, by_logvar = (float(host(v)[0]) for v in ag.nll_vjp(x, mean, spread, cotangent=g, axis=()))
    # Four roundings of 2^-24 and one of exp, within an ulp.
    assert by_x == pytest.approx(slope, rel=4e-7)
    assert by_mean == -by_x
    assert by_logvar == pytest.approx(g / 2 - slope * d / 2, rel=8e-7)
    by_mean, _, by_mean2, by_logvar2 = (
        float(host(v)[0]) for v in ag.kl_vjp(x, spread, mean, spread, cotangent=g, axis=())
    )
    assert by_mean == pytest.approx(slope, rel=4e-7)
    assert by_mean2 == -by_mean
    assert by_logvar2 == pytest.approx(-slope * d / 2, rel=8e-7)


@libraries
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_saturated_counts_those_whose_gradient_a_hard_bound_stops(library, dtype):
    """With bounds that the dtype has no number for."""
    kind = numpy_dtype(dtype)
    low, high = -30.004, 20.004
    near = np.concatenate([np.linspace(low - 1, low + 1, 4001), np.linspace(high - 1, high + 1, 4001)]).astype(kind)
    logvar = array(library, near)
    (gradient,) = ag.clamp_vjp(logvar, cotangent=1.0, bounds=(low, high))
    stopped = (host(gradient).astype(np.float32) == 0).sum()
    assert 0 < stopped < near.size
    assert int(ag.saturated(logvar, bounds=(low, high))) == stopped


def test_zeros_of_both_signs_are_one_bound():
    """Equal keys of a cache: the value would depend on which of them came first."""
    logvar = np.array([-1.0, 2.0])
    for low in (-0.0, 0.0, -0.0):
        assert not np.signbit(ag.clamp(logvar, bounds=(low, 1))).any()
    for high in (0.0, -0.0):
        np.testing.assert_array_equal(np.signbit(ag.clamp(logvar, bounds=(-3, high))), [True, False])
