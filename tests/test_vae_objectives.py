"""Objectives at their edges, what they refuse, and the wrong versions of them that are in circulation."""

import ast
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from oracles import EVERY_LIBRARY, array, mp, wide
from refusals import assert_refused

import agauss as ag
from agauss import vae

libraries = pytest.mark.parametrize("library", EVERY_LIBRARY)
INF, NAN = np.inf, np.nan


# Free bits


def test_a_group_under_its_floor_costs_nothing_and_has_no_gradient():
    kl = np.array([[0.1, 0.9], [0.3, 1.1]])
    trained, reported = vae.free_bits(kl, 0.5)
    assert float(trained) == pytest.approx(0.5 + 1.0)
    assert float(reported) == pytest.approx(0.2 + 1.0)
    np.testing.assert_array_equal(vae.free_bits_vjp(kl, 0.5, cotangent=1.0)[0], [[0.0, 0.5], [0.0, 0.5]])


def test_the_maximum_is_of_the_batchs_mean_and_not_of_each_sample():
    """A latent that is on for one datum alone has the floor's nats on average, and keeps them."""
    kl = np.array([[0.0], [2.0]])
    assert float(vae.free_bits(kl, 1.0)[0]) == 1.0
    np.testing.assert_array_equal(vae.free_bits(kl, 1.0, over="sample")[0], [1.0, 2.0])


@pytest.mark.parametrize("over", ["batch", "sample"])
def test_a_floor_of_0_is_the_kl_itself_with_its_gradient(over):
    kl = np.array([[0.0, 0.0], [0.2, 0.0]])
    trained, reported = vae.free_bits(kl, 0.0, over=over)
    np.testing.assert_array_equal(trained, reported)
    (gradient,) = vae.free_bits_vjp(kl, 0.0, over=over, cotangent=1.0)
    np.testing.assert_array_equal(gradient, np.full((2, 2), 0.5 if over == "batch" else 1.0))


# The capacity


def test_at_its_capacity_the_kl_has_no_gradient():
    (gradient,) = vae.kl_capacity_vjp(np.array([4.0, 5.0, 6.0]), 5.0, cotangent=3.0)
    np.testing.assert_array_equal(gradient, [-3.0, 0.0, 3.0])


# IWAE

EXTREMES = {
    "all far below": [-1e4, -1e4 - 1, -1e4 - 2],
    "all far above": [1e4, 1e4 - 1, 1e4 - 2],
    "far apart": [1e4, 0.0, -1e4],
    "some impossible": [-INF, -3.0, -4.0],
}


@libraries
@pytest.mark.parametrize("name", EXTREMES)
def test_iwae_is_exact_for_extreme_log_weights(name, library):
    w = EXTREMES[name]
    exact = [mp.exp(mp.mpf(x)) for x in w]
    total = sum(exact)
    bound, weights = vae.iwae(array(library, w, "float32"), axis=0)
    # One rounding of a number of this size, and one of log's.
    want = float(mp.log(total / 3))
    np.testing.assert_allclose(wide(bound), want, rtol=2.0**-22, atol=2.0**-22)
    np.testing.assert_allclose(wide(weights), [float(e / total) for e in exact], rtol=2.0**-21)
    (gradient,) = vae.iwae_vjp(array(library, w, "float32"), axis=0, cotangent=1.0)
    np.testing.assert_array_equal(wide(gradient), wide(weights))


@libraries
def test_iwae_of_infinite_log_weights_has_its_limits(library):
    columns = np.array([[-INF, INF, INF, NAN], [-INF, 0.0, INF, 0.0]], np.float32)
    bound, weights = vae.iwae(array(library, columns), axis=0)
    with np.errstate(invalid="ignore"):  # Dask computes here: inf - inf
        np.testing.assert_array_equal(wide(bound), [-INF, INF, INF, NAN])
        np.testing.assert_array_equal(wide(weights), [[0.5, 1.0, 0.5, NAN], [0.5, 0.0, 0.5, NAN]])


# What follows is wrong, and is found in published code. Each must differ from iwae by more than rounding.


def mean_of_logs(log_weights):
    return log_weights.mean(0)  # the ELBO again: the mean is inside the logarithm


def summed_over_the_batch_first(log_weights):
    joint = log_weights.sum(1)
    return (np.log(np.mean(np.exp(joint - joint.max()))) + joint.max()) / log_weights.shape[1]


def scaled_by_the_least(log_weights):
    least = log_weights.min(0)  # the weight of the worst sample becomes 1, and the best overflow
    with np.errstate(over="ignore"):
        return np.log(np.mean(np.exp(log_weights - least), 0)) + least


def without_the_count(log_weights):
    return np.logaddexp.reduce(log_weights, 0)  # a sum for the mean: it grows with K whatever the model


@pytest.mark.parametrize("wrong", [mean_of_logs, summed_over_the_batch_first, scaled_by_the_least, without_the_count])
def test_the_wrong_versions_in_circulation_are_wrong(wrong):
    log_weights = np.random.default_rng(0).normal(-90, 1000, (16, 5))
    right = np.array([float(mp.log(sum(mp.exp(mp.mpf(x)) for x in column) / 16)) for column in log_weights.T])
    np.testing.assert_allclose(vae.iwae(log_weights, axis=0)[0], right, rtol=1e-12)
    assert np.all(np.abs(wrong(log_weights) - right) > 1.0)


def test_weights_of_the_worst_sample_first_are_wrong():
    """A gradient with softmax(-log_weights), or with reversed weights, learns from the worst samples."""
    log_weights = np.array([-3.0, -1.0, -2.0])
    weights = vae.iwae(log_weights, axis=0)[1]
    assert list(np.argsort(weights)) == list(np.argsort(log_weights))
    wrong = np.exp(-log_weights) / np.exp(-log_weights).sum()
    assert list(np.argsort(wrong)) == list(np.argsort(-log_weights))


# Sums or means: what docs/sum-or-mean.md says, by gradients

PAGE = Path(__file__).parents[1] / "docs" / "sum-or-mean.md"


def conversions():
    """The rows of the page's table: a paper's loss, and the beta that it is, as Python."""
    rows = re.findall(r"^\| `(.*?)` \| `(.*?)` \|", PAGE.read_text(), re.MULTILINE)
    assert len(rows) >= 5
    return rows


@pytest.mark.parametrize("row", range(len(conversions())))
def test_the_pages_beta_makes_a_mean_conventions_gradient_ours(row):
    """Each paper's loss has a gradient of the direction of ours, for decoder and encoder at once."""
    loss, beta = conversions()[row]
    torch.manual_seed(0)
    x = torch.rand(3, 8, dtype=torch.float64)
    logits, mean, logvar = (torch.randn(3, n, dtype=torch.float64, requires_grad=True) for n in (8, 2, 2))
    b, N, M, sigma2 = 0.3, 8, 2, 0.4
    nll = torch.nn.functional.binary_cross_entropy_with_logits(logits, x, reduction="none")
    names = {"b": b, "N": N, "M": M, "nll": nll, "kl": 0.5 * (mean**2 + logvar.exp() - 1 - logvar)}
    if "squared" in loss:
        names["squared"] = (x - logits) ** 2
        nll = names["squared"] / (2 * sigma2)
        names["sigma2"] = sigma2
    for tree in (loss, beta):
        ast.parse(tree, mode="eval")
    theirs = eval(loss, names)
    ours = -vae.elbo(-nll.sum(1), names["kl"].sum(1), beta=eval(beta, names)).mean()
    gradients = [
        torch.cat([g.ravel() for g in torch.autograd.grad(total, (logits, mean, logvar), retain_graph=True)])
        for total in (theirs, ours)
    ]
    scale = (gradients[0] @ gradients[1]) / (gradients[1] @ gradients[1])
    assert scale > 0
    torch.testing.assert_close(gradients[0], scale * gradients[1], rtol=1e-10, atol=1e-12)


# Refusals

ONE = np.ones(3)


@pytest.mark.parametrize(
    ("call", "arguments", "options", "says"),
    [
        (vae.elbo, (ONE, ONE), {"beta": -1.0}, "beta must not be negative; got -1.0"),
        (vae.elbo, (ONE, ONE), {"beta": NAN}, "beta must not be negative; got nan"),
        (vae.elbo, (ONE, np.ones(4)), {}, r"kl must broadcast against log_likelihood; got shapes \(3,\) and \(4,\)"),
        (vae.elbo_vjp, (ONE, ONE), {"cotangent": np.ones(4)}, r"cotangent must broadcast to the value's shape \(3,\)"),
        (vae.kl_capacity, (ONE, -0.5), {}, "capacity must not be negative; got -0.5"),
        (vae.free_bits, (ONE, -2.0), {}, "floor must not be negative; got -2.0"),
        (vae.free_bits, (np.ones((3, 2)), ONE[:2]), {}, r"floor must be one number; got shape \(2,\)"),
        (vae.free_bits, (np.ones((0, 2)), 1.0), {}, r"kl_per_latent must have at least 1 sample.*shape \(0, 2\)"),
        (vae.free_bits, (np.ones((3, 4)), 1.0), {"groups": 3}, "groups must divide the 4 channels along axis 1; got 3"),
        (vae.free_bits, (np.ones((3, 4)), 1.0), {"groups": 2.0}, "groups must be an int; got float"),
        (vae.free_bits, (ONE, 1.0), {"over": "mean"}, "over must be 'batch' or 'sample'; got 'mean'"),
        (
            vae.iwae,
            (np.ones((0, 2)), 0),
            {},
            r"log_weights must have at least 1 sample along axis 0; got shape \(0, 2\)",
        ),
        (vae.iwae, (ONE, None), {}, "axis must be an int, the axis of the samples; got None"),
        (vae.iwae, (ONE, 1), {}, "axis must be within"),
        (vae.iwae, (ONE.astype(int), 0), {}, "log_weights must have a floating dtype"),
    ],
)
def test_bad_input_is_refused_by_name(call, arguments, options, says):
    assert_refused(call, *arguments, says=(says,), **options)
    vjp = getattr(vae, f"{call.__name__.removesuffix('_vjp')}_vjp")
    assert_refused(vjp, *arguments, says=(says,), **{"cotangent": 1.0, **options})


# Truths that every text quotes


def test_the_kl_of_a_textbooks_posterior():
    assert float(ag.kl(np.array([2.0, 0.0]), np.log(np.array([0.25, 4.0])))) == pytest.approx(3.125, rel=1e-15)


def test_minimising_squared_error_is_maximising_a_gaussian_likelihood_of_fixed_variance():
    rng = np.random.default_rng(0)
    x, y, var = rng.normal(size=(4, 9)), rng.normal(size=(4, 9)), 0.3
    nll = ag.nll(x, y, np.log(var), axis=1)
    constant = 9 / 2 * np.log(2 * np.pi * var)
    np.testing.assert_allclose(nll - constant, ((x - y) ** 2).sum(1) / (2 * var), rtol=1e-13)
    by_mean = ag.nll_vjp(x, y, np.log(var), cotangent=1.0, axis=1)[1]
    np.testing.assert_allclose(by_mean * var, y - x, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_a_schedules_value_under_jit_goes_with_every_dtype(dtype):
    """It has JAX's default floating dtype."""
    jax, beta = pytest.importorskip("jax"), vae.linear(0.0, 1.0, 10)
    ll, kl = jax.numpy.ones(3, dtype), jax.numpy.full(3, 2.0, dtype)
    values = jax.jit(
        lambda n: (vae.elbo(ll, kl, beta=beta(n)), vae.kl_capacity(kl, beta(n)), vae.free_bits(kl, 5 * beta(n))[0])
    )(5)
    for found, expected in zip(values, (0.0, 1.5, 2.5), strict=True):
        assert found.dtype == jax.numpy.float32
        assert (found == expected).all()


def test_a_schedule_is_compiled_twice():
    """JAX keeps a weak reference to what it compiles."""
    jax, beta = pytest.importorskip("jax"), vae.linear(0.0, 1.0, 10)
    assert [float(jax.jit(beta)(5)) for _ in range(2)] == [0.5, 0.5]


@pytest.mark.parametrize("beta", [np.array(1), np.array(True), np.array([1.0, 2.0, 3.0], np.float32)], ids=str)
def test_an_array_that_is_no_schedules_value_is_refused(beta):
    with pytest.raises(TypeError, match="beta must have"):
        vae.elbo(np.ones(3), np.ones(3), beta=beta)


def test_the_best_shared_variance_is_the_mean_squared_error():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(4, 9)), rng.normal(size=(4, 9))
    best = np.log(np.mean((x - y) ** 2))
    assert abs(ag.nll_vjp(x, y, best, cotangent=1.0)[2]) < 1e-13 * x.size
    near = [float(ag.nll(x, y, best + step)) for step in (-0.01, 0.0, 0.01)]
    assert near[1] < min(near[0], near[2])
    assert near[1] == pytest.approx(x.size / 2 * (np.log(2 * np.pi) + best + 1), rel=1e-14)
