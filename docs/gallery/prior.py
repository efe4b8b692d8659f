"""
KL near the prior
=================

The textbook form of the KL subtracts numbers that are nearly equal. In float32 it is noise where the posterior is
close to the prior, as it is for latents that a VAE does not use.
"""

import matplotlib.pyplot as plt
import numpy as np

import agauss as ag

logvar = np.geomspace(1e-5, 1e-1, 600, dtype=np.float32)
textbook = 0.5 * (np.exp(logvar) - 1 - logvar)
kl = ag.kl(np.float32(0), logvar, axis=())

# %%
# A quarter of the textbook's values below a log-variance of 0.0003 are 0, or negative.

print(f"{(textbook <= 0)[logvar < 3e-4].mean():.0%}")

# %%
# agauss's values are a line down to the smallest. :doc:`/derivations` plots the error over the whole domain.

figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
axes.loglog(logvar, np.abs(textbook), ".", ms=3, color="C1", label="textbook form, its size")
axes.loglog(logvar, kl, color="C0", label="agauss")
axes.set(title="KL in float32", xlabel="logvar, at mean 0", ylabel="KL, nats")
axes.legend()
plt.show()
