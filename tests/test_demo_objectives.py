"""The objectives of `agauss demo`: their gradients, what collapses the latents, and what the command prints of it."""

import re
from functools import partial

import numpy as np
import pytest
from quick import nightly_unless

import agauss as ag
from agauss import vae
from agauss.cli import demo, main, training

pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")
threadpoolctl = pytest.importorskip("threadpoolctl")

RUNS = [
    ("elbo", "", "objective elbo"),
    ("elbo", "--conditional", "objective elbo, a prior for each label"),
    ("beta", "--beta 2.5", "objective beta, beta 2.5"),
    ("free-bits", "--conditional --floor 0.25", "objective free-bits, beta 1, floor 0.25, a prior for each label"),
    ("annealed", "", "objective annealed, beta 1"),
    ("iwae", "", "objective iwae"),
]


@pytest.mark.parametrize(("objective", "flags", "said"), nightly_unless(lambda *run: run[0] == "free-bits", RUNS))
def test_each_objective_trains_and_its_latents_are_judged(objective, flags, said, tmp_path, capsys):
    out = tmp_path / "a.png"
    command = ["demo", "--objective", objective, *flags.split(), "--epochs", "2", "--latents", "4", "--out", str(out)]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert f"\n{said}\n" in printed
    first, last = map(float, re.search(r"held-out ELBO: (\S+) untrained, (\S+) after 2 epochs", printed).groups())
    # An epoch is enough for the average digit's -251, give or take; the network begins under -400.
    assert last > first + 150
    assert float(re.search(r"held-out IWAE bound, of 64 samples: (\S+)", printed)[1]) > last
    kl = float(re.findall(r"^ +2 .* (\d+\.\d+)$", printed, re.MULTILINE)[0])
    judged = float(re.search(r"^verdict: .*collapsed: .* (?:KL is|KL's) (\S+) nats", printed, re.MULTILINE)[1])
    assert judged == pytest.approx(kl, rel=0.006)  # of three digits; the prior's own KL, were it conditional
    # With 180 digits each way a coin's AUC has a standard deviation of 0.03.
    turned, shuffled = map(float, re.findall(r"anomalies: AUC (\S+) of digits", printed))
    assert turned > 0.6
    assert shuffled > 0.9
    assert out.read_bytes().startswith(b"\x89PNG")


def test_the_demo_without_these_flags_prints_no_verdict(tmp_path, capsys):
    assert main(["demo", "--epochs", "1", "--latents", "2", "--out", str(tmp_path / "a.png")]) == 0
    assert not re.search("objective|verdict|anomalies|IWAE", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--objective beta --beta -1", "argument --beta: must be a number from 0 to 1e6; got '-1'"),
        ("--objective beta --beta nan", "argument --beta: must be a number from 0 to 1e6; got 'nan'"),
        ("--objective beta --beta inf", "argument --beta: must be a number from 0 to 1e6; got 'inf'"),
        ("--objective free-bits --floor -0.5", "argument --floor: must be a number from 0 to 1e6; got '-0.5'"),
        ("--objective free-bits --floor much", "argument --floor: must be a number from 0 to 1e6; got 'much'"),
        ("--objective vae", "argument --objective: invalid choice: 'vae'"),
        ("--beta 2", "agauss demo: --beta must come with --objective beta or free-bits or annealed; got elbo"),
        ("--objective iwae --beta 2", "--beta must come with --objective beta or free-bits or annealed; got iwae"),
        ("--objective annealed --floor 1", "--floor must come with --objective free-bits; got annealed"),
    ],
)
def test_bad_options_are_refused_before_training(flags, message, tmp_path, capsys):
    try:
        code = main(["demo", "--out", str(tmp_path / "a.png"), *flags.split()])
    except SystemExit as stop:
        code = stop.code
    said = capsys.readouterr()
    assert code == 2
    assert message in said.err
    assert said.out == ""


def plain_kl(q, p):
    """Of each element, as the books have it."""
    return 0.5 * (p.logvar - q.logvar + (q.var + (q.mean - p.mean) ** 2) / p.var - 1)


def small(conditional):
    """A VAE whose priors are no standard normals where they are conditional, digits and labels."""
    model = training.VAE(5, 2, ag.random.Key(3), np.float64, conditional)
    if conditional:
        model.priors[:] = np.random.default_rng(0).normal(0, 0.5, model.priors.shape)
    return model, training.load_digits(np.float64)[0][:4], np.array([7, 0, 3, 7])


GRADIENTS = [
    (name, conditional) for name in ("elbo", "beta", "free-bits", "annealed", "iwae") for conditional in (0, 1)
]


@pytest.mark.parametrize(
    ("name", "conditional"),
    nightly_unless(
        lambda name, own: (name, own) in (("beta", 0), ("free-bits", 1)),
        GRADIENTS,
        slow=lambda name, own: (name, own) == ("iwae", 1),
    ),
)
def test_gradients_of_each_objective_agree_with_finite_differences(name, conditional, monkeypatch):
    # The demo's own estimator is unbiased, but no derivative of the bound at one key; test_vae_estimators.py has it.
    monkeypatch.setattr(vae, "iwae_gradients", partial(vae.iwae_gradients, estimator="standard"))
    model, digits, labels = small(bool(conditional))
    key, step = ag.random.Key(4), 1
    kl = plain_kl(model.encode(digits), model.prior(labels)).mean(axis=0)
    floor = kl.mean()  # one latent is above it, and one below
    beta, floor = {"beta": (3.0, 0.0), "free-bits": (2.0, floor), "annealed": (8.0, 0.0)}.get(name, (1.0, 0.0))
    objective = training.objective_of(name, 8, beta, floor)
    weight = 2.0 if name == "annealed" else beta  # a step of the four from 0 to 8

    def value():
        if name == "iwae":
            return model.iwae(digits, labels, training.SAMPLES, key).mean()
        fit, _ = model.elbo(digits, labels, key)
        kl = plain_kl(model.encode(digits), model.prior(labels)).mean(axis=0)
        return fit.mean() - weight * np.maximum(kl, floor).sum()

    gradients = model.gradients(digits, labels, key, objective, step)
    assert len(gradients) == len(model.weights) == 8 + conditional
    h = 1e-5  # a central difference is then right to about h**2, and rounding adds 1e-13 / h
    for weights, gradient in zip(model.weights, gradients, strict=True):
        assert gradient.shape == weights.shape
        numeric = np.empty_like(weights)
        for place in np.ndindex(weights.shape):
            kept = weights[place]
            weights[place] = kept + h
            above = value()
            weights[place] = kept - h
            numeric[place] = (above - value()) / (2 * h)
            weights[place] = kept
        assert np.any(numeric != 0)
        np.testing.assert_allclose(gradient, numeric, rtol=1e-6, atol=1e-6)


def test_the_posterior_in_its_priors_units_keeps_its_kl():
    model, digits, labels = small(conditional=True)
    expected = plain_kl(model.encode(digits), model.prior(labels)).sum(axis=1)
    np.testing.assert_allclose(model.posterior_by_prior(digits, labels).kl(), expected, rtol=1e-12)


def test_the_area_under_the_curve_is_scikit_learns():
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(0)
    low, high = rng.integers(0, 6, 40) / 10, rng.integers(3, 9, 60) / 10  # with ties
    expected = roc_auc_score(np.repeat([0, 1], [40, 60]), np.concatenate([low, high]))
    assert demo.area_under_curve(low, high) == pytest.approx(expected, rel=1e-14)


def judged(name, beta, floor=0.0, rate=training.LEARNING_RATE, seed=1):
    """The verdict on the held-out digits after training."""
    digits, held_out, labels, held_out_labels = training.load_digits()
    model = training.VAE(training.HIDDEN, 16, ag.random.Key(seed, training.WEIGHTS))
    model.decoder.weights[-1][:] = training.log_odds_of_ink(digits)
    objective = training.objective_of(name, 40 * training.steps_of(digits), beta, floor)
    with threadpoolctl.threadpool_limits(1, user_api="blas"):
        for _ in training.train(model, digits, labels, objective, 40, seed, rate):
            pass
    diagnostics = vae.Diagnostics()
    diagnostics.update(model.posterior_by_prior(held_out, held_out_labels))
    return diagnostics.result()


@pytest.mark.slow
def test_too_large_a_beta_collapses_the_latents_and_free_bits_keep_them():
    collapsed, kept = judged("beta", 100.0), judged("free-bits", 100.0, 0.5)
    assert collapsed.verdict.startswith("collapsed: 0 of 16 latents")
    assert kept.verdict.startswith("not collapsed: all 16 latents")
    assert 0.8 < kept.kl_total / (16 * 0.5) < 1.2  # each latent has its floor; these digits are held out


@pytest.mark.slow
def test_annealing_keeps_latents_that_a_hasty_training_loses_at_the_same_beta():
    lost, kept = judged("beta", 10.0, rate=0.05), judged("annealed", 10.0, rate=0.05)
    assert lost.verdict.startswith("collapsed: 0 of 16 latents")
    assert not kept.verdict.startswith("collapsed")
    assert kept.kl_total > 2 * lost.kl_total
