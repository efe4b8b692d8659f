"""Every vjp against the automatic differentiation of plain forms, and against differences of its own forward."""

import itertools
import math

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import torch
from cases import CASES, ELEMENTWISE, as_tuple, each
from oracles import EVERY_LIBRARY, LIBRARIES, array, dtype_of, host, library_of, numpy_dtype, same_bits, wide
from quick import slow_unless

import agauss as ag

libraries = pytest.mark.parametrize("library", LIBRARIES)
HALF = ("float16", "bfloat16")
# float64 against float64: some roundings of 1e-16, and cancellation among a few terms.
CLOSE = {"rtol": 1e-12, "atol": 1e-12}
SHAPE = (2, 3, 4)
BOUND_KINDS = (None, "hard", "soft", "straight-through")
SAMPLE, FUSED = CASES["sample"], CASES["sample_and_kl"]
ops = each(ELEMENTWISE)
BOUNDED = [name for name in ELEMENTWISE if CASES[name].bounded]
bounded_ops = each(BOUNDED)


def expected(case, primals, cotangent, **options):
    """Gradients of the plain form by torch in float64."""
    primals = [torch.tensor(wide(p), dtype=torch.float64, requires_grad=True) for p in primals]
    values = as_tuple(case.plain(torch, *primals, **options))
    cotangents = cotangent if isinstance(cotangent, tuple) else (cotangent,)
    cotangents = [torch.tensor(wide(c) if hasattr(c, "dtype") else c, dtype=torch.float64) for c in cotangents]
    total = sum((v * c).sum() for v, c in zip(values, cotangents, strict=True))
    gradients = torch.autograd.grad(total, primals, allow_unused=True, materialize_grads=True)
    return [g.numpy() for g in gradients]


def assert_gradients(got, want, primals, **tolerance):
    assert isinstance(got, tuple)
    assert len(got) == len(want) == len(primals)
    for place, (g, w, p) in enumerate(zip(got, want, primals, strict=True)):
        assert tuple(g.shape) == tuple(np.shape(p)) == w.shape
        np.testing.assert_allclose(wide(g), w, err_msg=f"argument {place}", **(tolerance or CLOSE))


# Against torch's autograd


SHAPES = [SHAPE, (1, 3, 1), (3, 4), (), (2, 1, 4)]  # full, channels alone, a leading one missing, a number, one inside


@libraries
@pytest.mark.parametrize(
    ("name", "turn"),
    slow_unless(lambda name, turn: turn == 0 or name == "nll", itertools.product(ELEMENTWISE, range(len(SHAPES)))),
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


LIMITS = (-1.0, 1.5)
# Outside, just outside, on the bounds, just inside and inside.
AROUND = np.array(
    [-9.0, np.nextafter(-1, -2), -1.0, np.nextafter(-1, 0), 0.1, np.nextafter(1.5, 0), 1.5, np.nextafter(1.5, 2), 7.0]
)


@libraries
@pytest.mark.parametrize(
    ("name", "kind"),
    slow_unless(lambda name, kind: name == "std" or kind in (None, "soft"), itertools.product(BOUNDED, BOUND_KINDS)),
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


# Against jax.grad


@pytest.mark.parametrize(
    ("name", "kind"),
    slow_unless(lambda name, kind: kind is None or name == "var", itertools.product(ELEMENTWISE, (None, "soft"))),
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


def differences(function, primals, step=1e-5):
    """Central differences of a number; in float64 right to the square of the step, and 1e-16 over it: 1e-10."""
    gradients = []
    for place, primal in enumerate(primals):
        gradient = np.zeros(primal.shape)
        for index in np.ndindex(*primal.shape):
            ends = []
            for sign in (1, -1):
                moved = [p.copy() for p in primals]
                moved[place][index] += sign * step
                ends.append(float(function(*moved)))
            gradient[index] = (ends[0] - ends[1]) / (2 * step)
        gradients.append(gradient)
    return gradients


@pytest.mark.parametrize(
    ("name", "kind"),
    slow_unless(
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


@pytest.mark.parametrize("kind", slow_unless(lambda kind: kind != "hard", [None, "hard", "soft"]))
def test_gradients_of_samples_are_the_slopes_of_the_forward(kind):
    bounds = None if kind is None else (*LIMITS, kind)
    primals = SAMPLE.primals([(2, 3), (3,)])
    cotangent = np.random.default_rng(5).normal(size=(4, 2, 3))
    options = {"rng": 3, "sample_shape": 4, "bounds": bounds}
    want = differences(lambda *given: np.sum(ag.sample(*given, **options) * cotangent), primals)
    assert_gradients(ag.sample_vjp(*primals, cotangent=cotangent, **options), want, primals, rtol=1e-7, atol=1e-8)

    parameters = np.random.default_rng(6).normal(size=(2, 4, 3)) * 2
    d_z, d_kl = cotangent[0][:, None, :] * np.ones((2, 2, 3)), np.array([0.3, -2.0])

    def scalar(given):
        z, kl = ag.sample_and_kl(given, rng=3, bounds=bounds)
        return np.sum(z * d_z) + np.sum(kl * d_kl)

    got = ag.sample_and_kl_vjp(parameters, cotangent=(d_z, d_kl), rng=3, bounds=bounds)
    np.testing.assert_allclose(got, differences(scalar, [parameters])[0], rtol=1e-7, atol=1e-8)


# Samples


def noise(shape, rng, dtype="float64", **options):
    return wide(ag.sample(np.zeros(shape, dtype), np.zeros(shape, dtype), rng=rng, **options))


@libraries
@pytest.mark.parametrize(
    "shapes", [[SHAPE, SHAPE], [SHAPE, (1, 3, 1)], [(3, 4), (2, 1, 1)], [(), SHAPE], [(), ()]], ids=str
)
@pytest.mark.parametrize("kind", slow_unless(lambda kind: kind in (None, "soft"), BOUND_KINDS))
def test_gradients_of_samples_are_those_of_the_plain_form(library, shapes, kind):
    bounds = None if kind is None else (*LIMITS, kind)
    shape = np.broadcast_shapes(*shapes)
    primals = SAMPLE.primals(shapes)
    given = [array(library, p) for p in primals]
    for cotangent in (array(library, np.random.default_rng(7).normal(size=shape)), 0.5):
        got = ag.sample_vjp(*given, cotangent=cotangent, rng=9, bounds=bounds)
        want = expected(SAMPLE, primals, cotangent, eps=torch.tensor(noise(shape, 9)), bounds=bounds)
        assert_gradients(got, want, primals)


@libraries
@pytest.mark.parametrize("sample_shape", [3, (2, 3), (), 0, (1,)], ids=str)
def test_gradients_of_many_draws_are_added_up(library, sample_shape):
    primals = SAMPLE.primals([(2, 3), (3,)])
    given = [array(library, p) for p in primals]
    eps = noise((2, 3), 9, sample_shape=sample_shape)
    for cotangent in (array(library, np.random.default_rng(7).normal(size=eps.shape)), 0.5):
        got = ag.sample_vjp(*given, cotangent=cotangent, rng=9, sample_shape=sample_shape)
        want = expected(SAMPLE, primals, cotangent, eps=torch.tensor(eps))
        assert_gradients(got, want, primals)


@libraries
def test_gradients_of_samples_with_an_index_use_the_noise_of_the_index(library):
    mean, logvar = SAMPLE.primals([(3, 4), (3, 4)])
    given = array(library, mean), array(library, logvar)
    index = np.array([7, 0, 1000])
    cotangent = np.random.default_rng(8).normal(size=(3, 4))
    eps = torch.tensor(noise((3, 4), 9, index=index))
    assert not np.allclose(eps, noise((3, 4), 9))
    want = expected(SAMPLE, [mean, logvar], cotangent, eps=eps)
    for ids in (index, index.tolist(), array(library, index)):
        got = ag.sample_vjp(*given, cotangent=array(library, cotangent), rng=9, index=ids)
        assert_gradients(got, want, given)

    parameters = np.random.default_rng(6).normal(size=(3, 8)) * 2
    want = expected(FUSED, [parameters], (cotangent, 0.5), eps=eps)[0]
    got = ag.sample_and_kl_vjp(
        array(library, parameters), cotangent=(array(library, cotangent), 0.5), rng=9, index=index
    )
    np.testing.assert_allclose(host(got), want, **CLOSE)


@libraries
@pytest.mark.parametrize("kind", slow_unless(lambda kind: kind in ("soft", "default"), [*BOUND_KINDS, "default"]))
@pytest.mark.parametrize(
    ("shape", "axis"), [((2, 6, 3), 1), ((3, 4), -1), ((4, 3, 2, 2, 2), 0), ((2, 3, 4, 6), 3)], ids=str
)
def test_gradients_of_the_fused_pass_are_those_of_the_plain_form(library, shape, axis, kind):
    options = {} if kind == "default" else {"bounds": None if kind is None else (*LIMITS, kind)}
    limits = options or {"bounds": "hard"}
    rng = np.random.default_rng(10)
    parameters = rng.normal(size=shape) * (25 if kind == "default" else 2)
    z, value = ag.sample_and_kl(parameters, rng=9, axis=axis, **options)
    eps = torch.tensor(noise(z.shape, 9))
    d_z, d_kl = rng.normal(size=z.shape), rng.normal(size=value.shape)
    given = array(library, parameters)
    for pair in ((d_z, d_kl), (d_z, 0.0), (0.0, d_kl), (1.0, 2), (d_z[:1], d_kl[:1])):
        want = expected(FUSED, [parameters], pair, eps=eps, axis=axis, **limits)[0]
        cotangent = tuple(array(library, c) if isinstance(c, np.ndarray) else c for c in pair)
        got = ag.sample_and_kl_vjp(given, cotangent=cotangent, rng=9, axis=axis, **options)
        assert dtype_of(got) == "float64"
        # The gradient by a log-variance of 20 is e**10 times that by the others.
        np.testing.assert_allclose(host(got), want, rtol=1e-12, atol=1e-12)


@libraries
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_the_fused_gradient_can_be_written_over_the_parameters(library, dtype):
    values = np.random.default_rng(10).normal(size=(3, 8, 5)) * 2
    parameters = array(library, values, dtype)
    z, value = ag.sample_and_kl(parameters, rng=9)
    d_z, d_kl = array(library, np.ones(tuple(z.shape)), dtype), array(library, np.ones(3), dtype_of(value))
    want = host(ag.sample_and_kl_vjp(parameters, cotangent=(d_z, d_kl), rng=9)).copy()
    out = array(library, np.zeros((3, 8, 5)), dtype)
    assert ag.sample_and_kl_vjp(parameters, cotangent=(d_z, d_kl), rng=9, out=out) is out
    assert same_bits(host(out), want)
    assert ag.sample_and_kl_vjp(parameters, cotangent=(d_z, d_kl), rng=9, out=parameters) is parameters
    assert same_bits(host(parameters), want)


@libraries
def test_the_fused_gradient_is_the_sum_of_the_two(library):
    parameters = np.random.default_rng(10).normal(size=(3, 8, 5))
    given = array(library, parameters)
    mean, logvar = given[:, :4], given[:, 4:]
    both = host(ag.sample_and_kl_vjp(given, cotangent=(1.5, 0.25), rng=9))
    of_sample = ag.sample_vjp(mean, logvar, cotangent=1.5, rng=9, bounds="hard")
    of_kl = ag.kl_vjp(mean, logvar, cotangent=0.25, axis=(1, 2), bounds="hard")
    parts = np.concatenate([host(a) + host(b) for a, b in zip(of_sample, of_kl, strict=True)], axis=1)
    np.testing.assert_allclose(both, parts, **CLOSE)


# dtypes


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


@libraries
@pytest.mark.parametrize("dtype", HALF)
def test_half_precision_gradients_of_samples_have_the_arguments_dtype(library, dtype):
    mean, logvar = (array("numpy", p, dtype) for p in SAMPLE.primals([(64, 5), (5,)]))
    eps = noise((64, 5), 9, "float32")
    cotangent = array("numpy", np.random.default_rng(7).normal(size=(64, 5)), dtype)
    want = expected(SAMPLE, [mean, logvar], cotangent, eps=torch.tensor(eps))
    given = [array(library, a, dtype) for a in (mean, logvar, cotangent)]
    got = ag.sample_vjp(*given[:2], cotangent=given[2], rng=9)
    precision = float(ml_dtypes.finfo(numpy_dtype(dtype)).eps) / 2
    for g, w in zip(got, want, strict=True):
        assert dtype_of(g) == dtype
        np.testing.assert_allclose(wide(g), w, rtol=precision * 1.001, atol=1e-5)


@libraries
@ops
def test_float32_gradients_are_those_of_the_plain_form(case, library):
    primals = [p.astype(np.float32) for p in case.primals([SHAPE, (3, 4), (2, 1, 1), (1, 3, 1), (4,)])]
    options = case.options((1, 2), None)
    got = case.vjp(*(array(library, p) for p in primals), cotangent=0.7, **options)
    assert all(dtype_of(g) == "float32" for g in got)
    want = expected(case, primals, float(np.float32(0.7)), **options)
    assert_gradients(got, want, primals, rtol=2e-6, atol=1e-5)  # sums of up to 24 that cancel


@pytest.mark.parametrize("library", [name for name in EVERY_LIBRARY if name != "numpy"])
def test_every_vjp_accepts_every_library(library):
    for case in map(CASES.get, ELEMENTWISE):
        primals = [p.astype(np.float32) for p in case.primals([(3, 4)] * 5)]
        options = case.options(None, None)
        got = case.vjp(*(array(library, p) for p in primals), cotangent=0.7, **options)
        assert all(library_of(g) == library for g in got)
        want = [g.astype(np.float64) for g in case.vjp(*primals, cotangent=0.7, **options)]
        assert_gradients(got, want, primals, rtol=1e-5, atol=1e-6)
    mean, logvar = (p.astype(np.float32) for p in SAMPLE.primals([(3, 4)] * 2))
    got = ag.sample_vjp(array(library, mean), array(library, logvar), cotangent=0.7, rng=1)
    want = [g.astype(np.float64) for g in ag.sample_vjp(mean, logvar, cotangent=0.7, rng=1)]
    assert_gradients(got, want, [mean, logvar], rtol=1e-5, atol=1e-6)
    got = ag.sample_and_kl_vjp(array(library, mean), cotangent=(0.7, 0.3), rng=1)
    assert library_of(got) == library
    want = ag.sample_and_kl_vjp(mean, cotangent=(0.7, 0.3), rng=1)
    np.testing.assert_allclose(wide(got), want, rtol=1e-5, atol=1e-6)


# vjp


@libraries
@ops
def test_vjp_gives_the_value_and_the_gradients_again_and_again(case, library):
    primals = [array(library, p) for p in case.primals([SHAPE, (3, 4), (2, 1, 1), (), (4,)])]
    options = case.options((0, 2), (*LIMITS, "soft"))
    value, pullback = ag.vjp(case.function, *primals, **options)
    assert same_bits(host(value), host(case.function(*primals, **options)))
    cotangent = array(library, np.random.default_rng(1).normal(size=tuple(value.shape)))
    direct = case.vjp(*primals, cotangent=cotangent, **options)
    for _ in range(2):
        got = pullback(cotangent)
        assert isinstance(got, tuple)
        for a, b, p in zip(got, direct, primals, strict=True):
            assert same_bits(host(a), host(b))
            assert tuple(a.shape) == tuple(p.shape)


RNGS = {
    "int": lambda: 5,
    "key": lambda: ag.random.Key(5, 3),
    "seed sequence": lambda: np.random.SeedSequence(5),
    "generator": lambda: np.random.default_rng(5),
    "none": lambda: None,
}


@libraries
@pytest.mark.parametrize("kind", RNGS)
def test_vjp_of_a_sample_has_the_same_noise_both_ways(library, kind):
    mean, logvar = (array(library, p) for p in SAMPLE.primals([(3, 4), (3, 4)]))
    z, pullback = ag.vjp(ag.sample, mean, logvar, rng=RNGS[kind]())
    d_mean, d_logvar = pullback(1.0)
    np.testing.assert_array_equal(host(d_mean), np.ones((3, 4)))
    # The gradient by logvar is half of the noise at its scale, which is the distance from the mean.
    np.testing.assert_allclose(host(d_logvar), (host(z) - host(mean)) / 2, rtol=1e-12, atol=1e-12)
    for a, b in zip(pullback(1.0), (d_mean, d_logvar), strict=True):
        assert same_bits(host(a), host(b))


@libraries
@pytest.mark.parametrize("kind", RNGS)
def test_vjp_of_the_fused_pass_has_the_same_noise_both_ways(library, kind):
    parameters = array(library, np.random.default_rng(10).normal(size=(3, 8)))
    (z, value), pullback = ag.vjp(ag.sample_and_kl, parameters, rng=RNGS[kind]())
    assert same_bits(host(value), host(ag.DiagonalGaussianDistribution(parameters).kl()))
    (gradient,) = pullback((1.0, 0.0))
    assert tuple(gradient.shape) == (3, 8)
    np.testing.assert_array_equal(host(gradient)[:, :4], np.ones((3, 4)))
    half = (host(z) - host(parameters)[:, :4]) / 2
    np.testing.assert_allclose(host(gradient)[:, 4:], half, rtol=1e-12, atol=1e-12)
    (of_kl,) = pullback((0.0, 1.0))
    np.testing.assert_allclose(host(of_kl)[:, :4], host(parameters)[:, :4], rtol=1e-12)
    assert same_bits(host(pullback((1.0, 0.0))[0]), host(gradient))


def test_vjp_advances_a_generator_once_and_as_the_forward_does():
    mean, logvar = SAMPLE.primals([(3, 4), (3, 4)])
    first, second = np.random.default_rng(5), np.random.default_rng(5)
    z = ag.sample(mean, logvar, rng=first)
    again, pullback = ag.vjp(ag.sample, mean, logvar, rng=second)
    pullback(1.0)
    pullback(np.ones((3, 4)))
    assert same_bits(z, again)
    assert first.bit_generator.state == second.bit_generator.state


def test_vjp_without_an_rng_draws_new_noise_each_time():
    mean, logvar = SAMPLE.primals([(3, 4), (3, 4)])
    assert not np.array_equal(
        ag.vjp(ag.sample, mean, logvar, rng=None)[0], ag.vjp(ag.sample, mean, logvar, rng=None)[0]
    )


@libraries
def test_vjp_hands_on_index_sample_shape_axis_and_bounds(library):
    mean, logvar = (array(library, p) for p in SAMPLE.primals([(3, 4), (3, 4)], scale=3))
    options = {"rng": 5, "index": [4, 9, 2], "sample_shape": (2,), "bounds": LIMITS}
    z, pullback = ag.vjp(ag.sample, mean, logvar, **options)
    assert same_bits(host(z), host(ag.sample(mean, logvar, **options)))
    for a, b in zip(pullback(1.0), ag.sample_vjp(mean, logvar, cotangent=1.0, **options), strict=True):
        assert same_bits(host(a), host(b))
    parameters = array(library, np.random.default_rng(10).normal(size=(6, 3, 2)) * 3)
    options = {"rng": 5, "axis": 0, "index": [4, 9, 2], "bounds": (*LIMITS, "soft")}
    (z, value), pullback = ag.vjp(ag.sample_and_kl, parameters, **options)
    direct = ag.sample_and_kl(parameters, **options)
    assert same_bits(host(z), host(direct[0]))
    assert same_bits(host(value), host(direct[1]))
    want = ag.sample_and_kl_vjp(parameters, cotangent=(0.5, 2.0), **options)
    assert same_bits(host(pullback((0.5, 2.0))[0]), host(want))


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


def test_plain_kl_and_the_librarys_are_the_same_function():
    # Guards the oracle: the forms that are differentiated above have the library's values.
    for case in map(CASES.get, ELEMENTWISE):
        primals = case.primals([SHAPE] * 5)
        options = case.options((1, 2), (*LIMITS, "soft"))
        value = case.plain(torch, *(torch.tensor(p) for p in primals), **options)
        np.testing.assert_allclose(
            case.function(*primals, **options), value.numpy(), rtol=1e-13, atol=1e-13, err_msg=case.op.name
        )


def test_draws_of_half_types_are_added_up_in_float32():
    """In float16 the sum of ones would stop at 2048."""
    zero = np.zeros(1, np.float16)
    d_mean, _ = ag.sample_vjp(zero, zero, cotangent=1.0, rng=7, sample_shape=4096)
    assert d_mean == 4096


@libraries
def test_draws_that_cancel_in_a_half_type_leave_their_rest(library):
    """Each draw rounded to float16 would be infinite, or lost beside its neighbour; their sum is neither."""
    draws, std, logvar = 2_000, math.exp(1.5), np.array([3.0], np.float16)
    g = np.random.default_rng(3).normal(size=(draws, 1)).astype(np.float16)
    g[:2] = 6e4
    eps = ag.sample(np.zeros(1, np.float32), np.zeros(1, np.float32), rng=5, sample_shape=draws).astype(np.float64)
    g[1] = (-6e4 * eps[0] / eps[1])[0]  # their gradients by logvar are beyond float16's 65504
    g64 = g.astype(np.float64)
    assert abs(g64[0] * eps[0] * std / 2) > 65504
    mean, logvar, cotangent = (array(library, a) for a in (np.zeros(1, np.float16), logvar, g))
    _, by_logvar = ag.sample_vjp(mean, logvar, cotangent=cotangent, rng=5, sample_shape=draws)
    terms = 0.5 * g64 * std * eps
    # float32's rounding of each, and one of float16 at the end.
    error = abs(float(host(by_logvar)[0]) - terms.sum())
    assert error <= np.abs(terms).sum() * 2**-22 + abs(terms.sum()) * 2**-10


@pytest.mark.parametrize("rng", [None, np.random.default_rng(0)], ids=["None", "Generator"])
@pytest.mark.parametrize("op", ["sample", "sample_and_kl"])
def test_a_gradient_of_other_noise_than_the_samples_is_refused(op, rng):
    arrays = [np.zeros((2, 4), np.float32)] * (2 if op == "sample" else 1)
    cotangent = 1.0 if op == "sample" else (1.0, 1.0)
    with pytest.raises(TypeError, match=r"rng must be the int or Key that the sample was drawn with; got (None|numpy)"):
        getattr(ag, f"{op}_vjp")(*arrays, cotangent=cotangent, rng=rng)
    value, pullback = ag.vjp(getattr(ag, op), *arrays, rng=rng)
    z = value if op == "sample" else value[0]
    gradient = pullback(1.0 if op == "sample" else (1.0, 0.0))[-1]
    by_logvar = gradient if op == "sample" else gradient[:, 2:]
    np.testing.assert_array_equal(by_logvar * 2, z)  # at mean 0 and std 1, the sample is the noise


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
