"""KL near the prior in float32: agauss and the textbook form."""

import matplotlib.pyplot as plt
import numpy as np

import agauss as ag

logvar = np.geomspace(1e-5, 1e-1, 600, dtype=np.float32)
textbook = 0.5 * (np.exp(logvar) - 1 - logvar)
kl = ag.kl(np.float32(0), logvar, axis=())

figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
axes.loglog(logvar, np.abs(textbook), ".", ms=3, color="C1", label="textbook form, its size")
axes.loglog(logvar, kl, color="C0", label="agauss")
axes.set(xlabel="logvar, at mean 0", ylabel="KL, nats")
axes.legend()
figure.savefig("prior.png", dpi=80)
print(f"textbook values below 0.0003 that are 0 or negative: {(textbook <= 0)[logvar < 3e-4].mean():.0%}")
