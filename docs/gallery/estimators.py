"""
Variances of gradient estimators
================================

With the same number of samples, estimators of a gradient differ in their variance by factors of up to thousands.
:doc:`/estimators` says which to choose, and has the table that ``python tools/variances.py`` prints.
"""

import matplotlib.pyplot as plt
import numpy as np

import agauss as ag
from agauss import vae

DRAWS, SAMPLES = 2000, (2, 4, 8, 16, 32, 64)

# %%
# The model is linear, z ~ N(0, I) and x | z ~ N(W z, 0.3 I), so its posterior is known. q is a Gaussian beside it.

rng = np.random.default_rng(0)
weights = np.linalg.qr(rng.normal(size=(6, 4)))[0] * [2.0, 1.5, 1.0, 0.5]
x = rng.normal(size=4) @ weights.T + np.sqrt(0.3) * rng.normal(size=6)
precision = 1 + (weights**2).sum(0) / 0.3
mean = np.tile(x @ weights / 0.3 / precision + 0.3, (DRAWS, 1))
logvar = np.tile(0.5 - np.log(precision), (DRAWS, 1))


# %%
# Each draw is a datum of its own, so one call makes all of an estimator's estimates. They are of the gradient with
# respect to the mean.


def estimates(samples):
    z = ag.sample(mean, logvar, rng=ag.random.Key(2026), sample_shape=samples)
    fit = ag.log_prob(x, z @ weights.T, np.log(0.3), axis=-1)
    d_z = (x - z @ weights.T) @ weights / 0.3  # of log p(x | z)
    d_kl = ag.kl_vjp(mean, logvar, cotangent=1.0, axis=())[0]
    yield "ELBO: score function", vae.score_function(fit, z, mean, logvar)[0] - d_kl
    yield "ELBO: its leave-one-out baseline", vae.score_function(fit, z, mean, logvar, "leave-one-out")[0] - d_kl
    yield "ELBO: pathwise, KL in closed form", d_z.mean(0) - d_kl
    log_weights = fit - ag.log_density_ratio(z, mean, logvar, axis=-1)
    (shares,) = vae.iwae_vjp(log_weights, axis=0, cotangent=1.0)
    for name in ("standard", "sticking-the-landing", "doubly-reparameterised"):
        yield f"IWAE: {name}", vae.iwae_gradients(shares, shares[..., None] * d_z, z, mean, logvar, estimator=name)[0]


found = [{name: gradient.var(0).sum() for name, gradient in estimates(samples)} for samples in SAMPLES]

figure, axes = plt.subplots(figsize=(7, 5), layout="constrained")
for name in found[0]:
    axes.loglog(SAMPLES, [each[name] for each in found], ".-", label=name)
axes.set(title="Variance of the gradient, q beside the posterior", xlabel="samples")
axes.set_xticks(SAMPLES, SAMPLES)
axes.minorticks_off()
axes.legend(loc="lower left")
plt.show()
