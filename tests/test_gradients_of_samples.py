"""The gradients of samples, and of the fused pass, against plain forms with the same noise."""

import math

import ml_dtypes
import numpy as np
import pytest
import torch
from oracles import array, dtype_of, host, numpy_dtype, same_bits, wide
from plain_gradients import (
    BOUND_KINDS,
    CLOSE,
    FUSED,
    HALF,
    LIMITS,
    SAMPLE,
    SHAPE,
    assert_gradients,
    differences,
    expected,
    libraries,
    noise,
)
from quick import nightly_unless

import agauss as ag

pytestmark = pytest.mark.usefixtures("one_thread_of_torch")


@libraries
@pytest.mark.parametrize(
    "shapes", [[SHAPE, SHAPE], [SHAPE, (1, 3, 1)], [(3, 4), (2, 1, 1)], [(), SHAPE], [(), ()]], ids=str
)
@pytest.mark.parametrize("kind", nightly_unless(lambda kind: kind in (None, "soft"), BOUND_KINDS))
def test_gradients_of_samples_are_those_of_the_plain_form(library, shapes, kind):
    bounds = None if kind is None else (*LIMITS, kind)
    shape = np.broadcast_shapes(*shapes)
    primals = SAMPLE.primals(shapes)
    given = [array(library, p) for p in primals]
    for cotangent in (array(library, np.random.default_rng(7).normal(size=shape)), 0.5):
        got = ag.sample_vjp(*given, cotangent=cotangent, rng=9, bounds=bounds)
        want = expected(SAMPLE, primals, cotangent, eps=torch.tensor(noise(shape, 9)), bounds=bounds)
        assert_gradients(got, want, primals)


@pytest.mark.parametrize("kind", nightly_unless(lambda kind: kind != "hard", [None, "hard", "soft"]))
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


# The fused pass


@libraries
@pytest.mark.parametrize("kind", nightly_unless(lambda kind: kind in ("soft", "default"), [*BOUND_KINDS, "default"]))
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
        # The gradient of a log-variance of 20 is e**10 times that of the others.
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


# Half types


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


def test_draws_of_half_types_are_added_up_in_float32():
    """In float16 the sum of ones would stop at 2048."""
    zero = np.zeros(1, np.float16)
    d_mean, _ = ag.sample_vjp(zero, zero, cotangent=1.0, rng=7, sample_shape=4096)
    assert d_mean == 4096


@libraries
def test_draws_that_cancel_in_a_half_type_leave_their_rest(library):
    """Each draw rounded to float16 would be infinite, or lost beside its neighbour; their sum is neither."""
    draws, std, logvar = 300, math.exp(1.5), np.array([3.0], np.float16)
    g = np.random.default_rng(3).normal(size=(draws, 1)).astype(np.float16)
    g[:2] = 6e4
    eps = ag.sample(np.zeros(1, np.float32), np.zeros(1, np.float32), rng=5, sample_shape=draws).astype(np.float64)
    g[1] = (-6e4 * eps[0] / eps[1])[0]  # logvar's gradients are beyond float16's 65504
    g64 = g.astype(np.float64)
    assert abs(g64[0] * eps[0] * std / 2) > 65504
    mean, logvar, cotangent = (array(library, a) for a in (np.zeros(1, np.float16), logvar, g))
    _, by_logvar = ag.sample_vjp(mean, logvar, cotangent=cotangent, rng=5, sample_shape=draws)
    terms = 0.5 * g64 * std * eps
    # float32's rounding of each, and one of float16 at the end.
    error = abs(float(host(by_logvar)[0]) - terms.sum())
    assert error <= np.abs(terms).sum() * 2**-22 + abs(terms.sum()) * 2**-10
