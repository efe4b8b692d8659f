"""Print the table of docs/estimators.md, and draw its figure: variances of gradients on a linear-Gaussian model.

    python tools/variances.py

z ~ N(0, I) of 4 latents, x | z ~ N(W z, 0.3 I) of 6 pixels, and q is a Gaussian beside the true posterior, or that
itself. Each estimate is a datum of its own, so that all are one call.
"""

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure

import agauss as ag
from agauss import vae

DOCS = Path(__file__).parents[1] / "docs"
SAMPLES = (4, 64)
DRAWS, VAR = 20_000, 0.3
KEY = ag.random.Key(2026)


def estimates(samples, mean, logvar, x, weights):
    """The estimators' names, and their gradients with respect to mean, shape (DRAWS, latents)."""
    mean, logvar = (np.broadcast_to(a, (DRAWS, *a.shape)) for a in (mean, logvar))
    z = ag.sample(mean, logvar, rng=KEY, sample_shape=samples)
    fit = ag.log_prob(x, z @ weights.T, np.log(VAR), axis=-1)
    log_weights = fit + ag.log_prob(z, 0.0, 0.0, axis=-1) - ag.log_prob(z, mean, logvar, axis=-1)
    d_each = (x - z @ weights.T) @ weights / VAR  # of log p(x | z) with respect to z

    kl_gradient = -ag.kl_vjp(mean, logvar, cotangent=1.0, axis=())[0]
    # With a known KL the score function is of the likelihood alone.
    yield "ELBO", "score function", vae.score_function(fit, z, mean, logvar)[0] + kl_gradient
    baseline = vae.score_function(fit, z, mean, logvar, "leave-one-out")[0]
    yield "ELBO", "score function, leave-one-out baseline", baseline + kl_gradient
    yield "ELBO", "pathwise, KL in closed form", d_each.mean(0) + kl_gradient
    even = np.full(fit.shape, 1 / samples)
    for name in ("standard", "sticking-the-landing"):
        yield "ELBO", name, vae.iwae_gradients(even, even[..., None] * d_each, z, mean, logvar, estimator=name)[0]
    (shares,) = vae.iwae_vjp(log_weights, axis=0, cotangent=1.0)
    for name in ("standard", "sticking-the-landing", "doubly-reparameterised"):
        yield "IWAE", name, vae.iwae_gradients(shares, shares[..., None] * d_each, z, mean, logvar, estimator=name)[0]


def variances():
    """For each estimator and number of samples its variances, with q beside the posterior and q at the posterior."""
    rng = np.random.default_rng(0)
    weights = np.linalg.qr(rng.normal(size=(6, 4)))[0] * [2.0, 1.5, 1.0, 0.5]
    x = rng.normal(size=4) @ weights.T + np.sqrt(VAR) * rng.normal(size=6)
    precision = 1 + (weights**2).sum(0) / VAR
    true = x @ weights / VAR / precision, -np.log(precision)
    for samples in SAMPLES:
        beside = estimates(samples, true[0] + 0.3, true[1] + 0.5, x, weights)
        there = estimates(samples, *true, x, weights)
        for (bound, name, far), (_, _, near) in zip(beside, there, strict=True):
            one, other = (g.var(0).sum() for g in (far, near))
            yield bound, name, samples, one, other if other > 1e-20 else 0  # but for rounding


def draw(rows):
    matplotlib.rc_file(DOCS / "gallery" / "matplotlibrc")
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    axes = figure.subplots()
    for samples, style in zip(SAMPLES, "os", strict=True):
        found = {f"{bound}: {name}": one for bound, name, k, one, _ in rows if k == samples}
        axes.semilogx(list(found.values()), list(found), style, label=f"{samples} samples")
    axes.invert_yaxis()
    axes.grid(axis="y")
    axes.set(xlabel="variance of the gradient with respect to the mean, q beside the posterior")
    axes.legend()
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(DOCS / "estimators.png", dpi=80)


def main():
    rows = list(variances())
    print("| bound | estimator | samples | variance, q beside the posterior | variance, q at the posterior |")
    print("|---|---|---|---|---|")
    for bound, name, samples, one, other in rows:
        print(f"| {bound} | {name} | {samples} | {one:.3g} | {other:.3g} |")
    draw(rows)


if __name__ == "__main__":
    main()
