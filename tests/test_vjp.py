"""vjp(): a value and its gradients, with the same noise both ways."""

import numpy as np
import pytest
from oracles import array, host, same_bits
from plain_gradients import LIMITS, SAMPLE, SHAPE, libraries, ops

import agauss as ag


@pytest.mark.in_turn(8)
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
    # The gradient of logvar is half of the noise at its scale, which is the distance from the mean.
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
