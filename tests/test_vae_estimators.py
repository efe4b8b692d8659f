"""Gradient estimators are unbiased where they say so, by closed forms and quadrature; and the truths about the ELBO."""

import numpy as np
import pytest
import torch
from linear_gaussian import Model
from oracles import EVERY_LIBRARY, array, dtype_of, library_of, wide
from quick import slow_in_jax
from refusals import assert_refused

import agauss as ag
from agauss import vae

pytestmark = pytest.mark.usefixtures("one_thread_of_torch")
libraries = pytest.mark.parametrize("library", slow_in_jax(EVERY_LIBRARY))
KEY = ag.random.Key(14)
ESTIMATORS = ("standard", "sticking-the-landing", "doubly-reparameterised")
DRAWS = 40_000
# Standard errors. One of some 40 numbers is beyond by chance once in 3,500 seeds, of which this is none.
SIGMAS = 4.5


def off(estimates, truth):
    """How many standard errors the mean of independent estimates is from the truth, at most."""
    error = estimates.std(0, ddof=1) / np.sqrt(len(estimates))
    return np.max(np.abs(estimates.mean(0) - truth) / error)


# Truths about the bound


def test_the_evidence_is_the_elbo_and_the_kl_to_the_posterior():
    model = Model()
    rng = np.random.default_rng(1)
    mean, logvar = rng.normal(size=(4, 3)), rng.normal(size=(4, 3))
    elbo = vae.elbo(model.expected_log_likelihood(mean, logvar), ag.kl(mean, logvar, axis=1))
    gap = ag.kl(mean, logvar, *model.posterior(), axis=1)
    np.testing.assert_allclose(elbo + gap, model.evidence(), rtol=1e-10)
    assert np.all(gap > 0)


def log_weights(model, z, mean, logvar):
    fit = ag.log_prob(model.x, model.decode(z), np.log(model.var), axis=-1)
    return fit + ag.log_prob(z, 0.0, 0.0, axis=-1) - ag.log_prob(z, mean, logvar, axis=-1)


def test_iwaes_bound_rises_with_the_number_of_samples_to_the_evidence():
    model = Model()
    mean, logvar = model.posterior()
    mean, logvar = mean + 0.3, logvar + 0.5
    z = ag.sample(
        np.broadcast_to(mean, (2**16, *mean.shape)), logvar, rng=KEY
    )  # 65,536 data, faster than as many draws
    every = log_weights(model, z, mean, logvar)
    bounds = []
    for k in (1, 2, 8, 64, 2**10, 2**16):
        bound, _ = vae.iwae(every.reshape(k, -1, 4), axis=0)
        bounds.append(bound.mean(0))
    assert np.all(np.diff(bounds, axis=0) > 0)
    elbo = vae.elbo(model.expected_log_likelihood(mean, logvar), ag.kl(mean, logvar, axis=1))
    np.testing.assert_allclose(bounds[0], elbo, atol=0.02)  # 65,536 samples of a log-weight with a deviation of 1
    np.testing.assert_allclose(bounds[-1], model.evidence(), atol=0.02)


def test_with_the_true_posterior_one_sample_is_the_evidence():
    model = Model()
    mean, logvar = model.posterior()
    z = ag.sample(mean, logvar, rng=KEY, sample_shape=1)
    bound, weights = vae.iwae(log_weights(model, z, mean, logvar), axis=0)
    np.testing.assert_allclose(bound, model.evidence(), rtol=1e-10)
    np.testing.assert_array_equal(weights, np.ones((1, 4)))


# The score function


def of_a_quadratic(mean, logvar, baseline):
    """Many estimates of four samples each, by making each estimate a datum of its own."""
    mean, logvar = (np.broadcast_to(a, (DRAWS, *a.shape)) for a in (mean, logvar))
    z = ag.sample(mean, logvar, rng=KEY, sample_shape=4)
    values = ((z - 1) ** 2).sum(-1)
    return vae.score_function(values, z, mean, logvar, baseline(values))


@pytest.mark.parametrize("baseline", [None, "leave-one-out", "array"])
def test_the_score_function_is_unbiased_for_a_quadratic(baseline):
    """E[sum (z - 1)**2] has the gradients 2 (mean - 1) and exp(logvar)."""
    mean, logvar = np.array([[0.5, -0.7], [2.0, 0.1]]), np.array([[0.2, -1.0], [0.4, 0.0]])
    given = np.array([3.0, 1.0]) if baseline == "array" else baseline
    by_mean, by_logvar = of_a_quadratic(mean, logvar, lambda values: given)
    assert off(by_mean, 2 * (mean - 1)) < SIGMAS
    assert off(by_logvar, np.exp(logvar)) < SIGMAS


def test_a_baseline_of_the_same_samples_mean_would_be_biased():
    """Why one is left out: the test above has the power to see it."""
    mean, logvar = np.array([[0.5]]), np.array([[0.2]])
    by_mean, _ = of_a_quadratic(mean, logvar, lambda values: values.mean(0))
    assert off(by_mean, 2 * (mean - 1)) > 3 * SIGMAS


def test_leaving_one_out_is_the_mean_of_the_others():
    rng = np.random.default_rng(0)
    values, z = rng.normal(size=(5, 2)), rng.normal(size=(5, 2, 3))
    mean, logvar = rng.normal(size=(2, 3)), rng.normal(size=(2, 3))
    others = np.stack([np.delete(values, k, axis=0).mean(0) for k in range(5)])
    for got, want in zip(
        vae.score_function(values, z, mean, logvar, "leave-one-out"),
        vae.score_function(values, z, mean, logvar, others),
        strict=True,
    ):
        np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-14)


@libraries
def test_the_score_function_is_the_gradient_of_weighted_log_densities(library):
    rng = np.random.default_rng(0)
    values, z = rng.normal(size=(5, 2)), rng.normal(size=(5, 2, 3))
    mean, logvar = rng.normal(size=(2, 3)), rng.normal(size=(2, 3))
    m, v = (torch.tensor(a, requires_grad=True) for a in (mean, logvar))
    density = torch.distributions.Normal(m, torch.exp(v / 2)).log_prob(torch.tensor(z)).sum(-1)
    want = torch.autograd.grad((density * torch.tensor(values - 0.5)).sum() / 5, (m, v))
    given = [array(library, a, "float32") for a in (values, z, mean, logvar)]
    for got, w in zip(vae.score_function(*given, 0.5), want, strict=True):
        assert (library_of(got), dtype_of(got)) == (library, "float32")
        np.testing.assert_allclose(wide(got), w.numpy(), rtol=1e-5, atol=1e-5)  # 15 products of float32


# Gradients of the importance-weighted bound


def estimated(model, mean, logvar, k, estimator, draws=DRAWS):
    """Many independent estimates, by making each a datum of its own."""
    z = ag.sample(np.broadcast_to(mean, (draws, *mean.shape)), logvar, rng=KEY, sample_shape=k)
    (weights,) = vae.iwae_vjp(log_weights(model, z, mean, logvar), axis=0, cotangent=1.0)
    residual = (model.x - model.decode(z)) / model.var
    d_z = weights[..., None] * (residual @ model.weights)
    full = [np.broadcast_to(a, z.shape[1:]) for a in (mean, logvar)]
    return vae.iwae_gradients(weights, d_z, z, *full, estimator=estimator)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_with_one_sample_every_estimator_is_unbiased_for_the_elbo(estimator):
    model = Model(data=1)
    mean, logvar = np.array([[0.3, -0.4, 0.1]]), np.array([[-1.0, 0.2, -0.5]])
    for got, truth in zip(estimated(model, mean, logvar, 1, estimator), model.d_elbo(mean, logvar), strict=True):
        assert off(got, truth) < SIGMAS


def by_quadrature(model, mean, logvar):
    """The bound of two samples of one latent, by Gauss and Hermite's rule on both."""
    nodes, shares = np.polynomial.hermite_e.hermegauss(100)
    z = mean + np.exp(logvar / 2) * nodes
    fit = -0.5 * ((model.x - z[:, None] * model.weights.T - model.bias) ** 2 / model.var).sum(1)
    fit = fit - 0.5 * model.x.size * np.log(2 * np.pi * model.var)
    w = fit - 0.5 * z**2 + 0.5 * (logvar + nodes**2)
    pairs = np.logaddexp(w[:, None], w[None, :]) - np.log(2)
    return float(shares @ pairs @ shares / shares.sum() ** 2)


@pytest.mark.parametrize(("estimator", "unbiased"), [("standard", True), (ESTIMATORS[1], False), (ESTIMATORS[2], True)])
def test_with_two_samples_sticking_the_landing_alone_is_biased(estimator, unbiased):
    """As Tucker et al. (2019) say."""
    model = Model(pixels=2, latents=1, data=1)
    mean, logvar, h = 0.2, 0.3, 1e-5
    truth = (
        (by_quadrature(model, mean + h, logvar) - by_quadrature(model, mean - h, logvar)) / (2 * h),
        (by_quadrature(model, mean, logvar + h) - by_quadrature(model, mean, logvar - h)) / (2 * h),
    )
    found = estimated(model, np.array([[mean]]), np.array([[logvar]]), 2, estimator)
    worst = max(off(got, t) for got, t in zip(found, truth, strict=True))
    assert (worst < SIGMAS) == unbiased, worst
    if not unbiased:
        assert worst > 3 * SIGMAS


def test_at_the_true_posterior_sticking_the_landing_has_no_variance():
    model = Model(data=1)
    mean, logvar = model.posterior()
    for got in estimated(model, mean, logvar, 1, "sticking-the-landing", 100):
        np.testing.assert_allclose(got, 0.0, atol=1e-12)
    assert max(np.abs(got).max() for got in estimated(model, mean, logvar, 1, "standard", 100)) > 0.1


@libraries
def test_the_standard_estimator_is_autograd_of_the_bound_with_the_priors_gradients_too(library):
    model, rng = Model(), np.random.default_rng(3)
    mean, logvar, mean2, logvar2 = (rng.normal(size=(4, 3)) for _ in range(4))
    eps = rng.normal(size=(6, 4, 3))
    leaves = [torch.tensor(a, requires_grad=True) for a in (mean, logvar, mean2, logvar2)]
    z = leaves[0] + torch.exp(leaves[1] / 2) * torch.tensor(eps)
    z.retain_grad()
    normal = torch.distributions.Normal
    decoded = z @ torch.tensor(model.weights.T) + torch.tensor(model.bias)
    fit = normal(decoded, model.var**0.5).log_prob(torch.tensor(model.x)).sum(-1)
    p, q = normal(leaves[2], torch.exp(leaves[3] / 2)), normal(leaves[0], torch.exp(leaves[1] / 2))
    w = fit + p.log_prob(z).sum(-1) - q.log_prob(z).sum(-1)
    bound = torch.logsumexp(w, 0) - np.log(6)
    cotangent = torch.tensor([1.0, -2.0, 0.0, 0.5], dtype=torch.float64)
    want = torch.autograd.grad((bound * cotangent).sum(), leaves, retain_graph=True)
    weights = torch.softmax(w, 0).detach() * cotangent
    d_z = torch.autograd.grad((fit * weights).sum(), z)[0]
    dtype = "float32" if library == "jax" else "float64"
    given = [array(library, np.asarray(a), dtype) for a in (weights, d_z, z.detach(), mean, logvar, mean2, logvar2)]
    for got, expected in zip(vae.iwae_gradients(*given, estimator="standard"), want, strict=True):
        assert library_of(got) == library
        np.testing.assert_allclose(
            wide(got), expected.numpy(), **({"rtol": 1e-3, "atol": 1e-3} if library == "jax" else {"rtol": 1e-9})
        )


def test_a_cotangent_in_the_weights_scales_every_estimator():
    model = Model()
    rng = np.random.default_rng(0)
    mean, logvar = rng.normal(size=(4, 3)), rng.normal(size=(4, 3))
    z = ag.sample(mean, logvar, rng=KEY, sample_shape=6)
    w = log_weights(model, z, mean, logvar)
    scale = np.array([1.0, -2.0, 0.0, 0.5])
    d_each = (model.x - model.decode(z)) @ model.weights / model.var
    for estimator in ESTIMATORS:
        one, scaled = (
            vae.iwae_gradients(c, c[..., None] * d_each, z, mean, logvar, estimator=estimator)
            for c in (vae.iwae_vjp(w, 0, cotangent=1.0)[0], vae.iwae_vjp(w, 0, cotangent=scale)[0])
        )
        for a, b in zip(one, scaled, strict=True):
            np.testing.assert_allclose(b, a * scale[:, None], rtol=1e-9, atol=1e-12)


# Refusals

Z, M = np.zeros((5, 2, 3)), np.zeros((2, 3))
F = np.zeros((5, 2))


@pytest.mark.parametrize(
    ("call", "arguments", "options", "says"),
    [
        (vae.score_function, (F[:4], Z, M, M), {}, r"values must have the leading axes of z, of shape \(5, 2, 3\)"),
        (vae.score_function, (1.0, Z, M, M), {}, "values must be an array of numpy; got float"),
        (vae.score_function, (F[:1], Z[:1], M, M, "leave-one-out"), {}, "must have at least 2 samples; got 1"),
        (vae.score_function, (F[:0], Z[:0], M, M), {}, r"z must have at least 1 sample; got shape \(0, 2, 3\)"),
        (vae.score_function, (F, Z, M, M, "mean"), {}, "baseline must be 'leave-one-out'; got 'mean'"),
        (vae.score_function, (F, Z, M, M, np.zeros(3)), {}, r"baseline must broadcast against values"),
        (
            vae.score_function,
            (F, M, Z, M),
            {},
            r"z must have the shape that mean and logvar broadcast to; got \(2, 3\)",
        ),
        (vae.score_function, (F, 1.0, M, M), {}, r"z must have the shape that mean and logvar broadcast to; got \(\)"),
        (vae.iwae_gradients, (F, 1.0, Z, M, M), {}, r"d_z must have the shape of z, \(5, 2, 3\); got \(\)"),
        (vae.iwae_gradients, (F, F, Z, M, M), {}, r"d_z must have the shape of z, \(5, 2, 3\); got \(5, 2\)"),
        (
            vae.iwae_gradients,
            (F, Z.astype("f"), Z, M, M),
            {},
            "d_z must have the dtype of z|z must have the dtype of d_z",
        ),
        (vae.iwae_gradients, (F, Z[:1], Z, M, M), {}, r"d_z must have the shape of z, \(5, 2, 3\); got \(1, 2, 3\)"),
        (vae.iwae_gradients, (F, Z, Z, M, M, M), {}, "mean2 and logvar2 must be given together"),
        (vae.iwae_gradients, (F, Z, Z, M, M), {"estimator": "stl"}, "estimator must be 'standard' or .*; got 'stl'"),
        (vae.iwae_gradients, (F.T, Z, Z, M, M), {}, "weights must have the leading axes of z"),
    ],
)
def test_bad_input_is_refused_by_name(call, arguments, options, says):
    assert_refused(call, *arguments, says=(says,), **options)
