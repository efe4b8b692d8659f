"""
Interpolation and anomalies
===========================

What a trained VAE is good for: paths between the posteriors of two digits, and p-values that tell odd data. The VAE is
that of ``examples/numpy_vae.py``, which :doc:`/tutorial` goes through.
"""

import runpy

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from threadpoolctl import threadpool_limits

from agauss import vae

example = runpy.run_path("../../examples/numpy_vae.py")
x, labels = load_digits(return_X_y=True)
x, held_out, judged = x[360:] / 16, x[:180] / 16, x[180:360] / 16
with threadpool_limits(1, user_api="blas"):  # whose threads make products as small as these no faster
    model = example["trained"](x, labels[360:])

# %%
# :func:`agauss.vae.interpolate` walks between the posteriors of two held-out digits.

one, other = model.posterior(held_out[:1]), model.posterior(held_out[1:2])
between = vae.interpolate(one, other, np.linspace(0, 1, 9), path="wasserstein")
images = 1 / (1 + np.exp(-model.decoder(between.mean)))

figure, axes = plt.subplots(figsize=(7, 1.2), layout="constrained")
axes.imshow(np.hstack(images.reshape(-1, 8, 8)), cmap="gray_r")
axes.set_axis_off()
axes.set_title("From one held-out digit to another")
plt.show()

# %%
# :func:`agauss.vae.anomaly` gives p-values. Those of held-out digits are uniform, and those of shuffled ones small.

shuffled = np.random.default_rng(2).permuted(judged, axis=1)
reference = model.elbo(held_out, labels[:180])[1]
p = {
    name: vae.anomaly(model.elbo(data, labels[180:360])[1], reference)
    for name, data in (("digits", judged), ("the same pixels, shuffled", shuffled))
}

figure, axes = plt.subplots(figsize=(7, 3), layout="constrained")
axes.hist(list(p.values()), bins=np.linspace(0, 1, 21), label=list(p))
axes.set(title="Conformal p-values of held-out data", xlabel="p-value", ylabel="number of data")
axes.legend()
plt.show()
