"""
Full covariance
===============

No diagonal Gaussian is a correlated one. Which is the nearest depends on the direction of the KL: one covers the full
Gaussian, and the other stays inside it. :doc:`/guides/full-covariance` has the class.
"""

import matplotlib.pyplot as plt
import numpy as np

import agauss as ag

covariance = np.array([[1.0, 0.9], [0.9, 1.0]])
full = ag.MultivariateNormal.from_covariance(np.zeros((2000, 2)), np.broadcast_to(covariance, (2000, 2, 2)))


# %%
# The diagonal of the covariance gives the one that covers. The diagonal of its inverse gives the one inside.


def diagonal(var):
    return ag.DiagonalGaussianDistribution.from_mean_logvar(np.zeros((2000, 2)), np.log(var) * np.ones((2000, 2)))


wide, narrow = diagonal(np.diag(covariance)), diagonal(1 / np.diag(np.linalg.inv(covariance)))
to_full = ag.MultivariateNormal.from_diagonal(narrow).kl(full)[0]
shown = {
    "full covariance": full,
    f"least KL(full, q): {full.kl(wide)[0]:.2f} nats": wide,
    f"least KL(q, full): {to_full:.2f} nats": narrow,
}

figure, axes = plt.subplots(1, 3, figsize=(9, 3.2), layout="constrained", sharex=True, sharey=True)
for place, (title, q) in zip(axes, shown.items(), strict=True):
    place.plot(*q.sample(rng=7).T, ".", ms=2, alpha=0.5)
    place.set(title=title, aspect="equal")
plt.show()
