"""Paths between two digits, and how odd shuffled digits are, by the VAE of examples/numpy_vae.py."""

import runpy
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from threadpoolctl import threadpool_limits

from agauss import vae

example = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "numpy_vae.py"))
x, labels = load_digits(return_X_y=True)
x, held_out, judged = x[360:] / 16, x[:180] / 16, x[180:360] / 16
with threadpool_limits(1, user_api="blas"):  # whose threads make products as small as these no faster
    model = example["trained"](x, labels[360:])

one, other = model.posterior(held_out[:1]), model.posterior(held_out[1:2])
between = vae.interpolate(one, other, np.linspace(0, 1, 9), path="wasserstein")
images = 1 / (1 + np.exp(-model.decoder(between.mean)))
shuffled = np.random.default_rng(2).permuted(judged, axis=1)
reference = model.elbo(held_out, labels[:180])[1]
p = {
    name: vae.anomaly(model.elbo(data, labels[180:360])[1], reference)
    for name, data in (("digits", judged), ("the same pixels, shuffled", shuffled))
}

figure, (above, below) = plt.subplots(2, 1, figsize=(7, 4), layout="constrained", height_ratios=(1, 2))
above.imshow(np.hstack(images.reshape(-1, 8, 8)), cmap="gray_r")
above.set_axis_off()
above.set_title("From one held-out digit to another")
below.hist(list(p.values()), bins=np.linspace(0, 1, 21), label=list(p))
below.set(title="Conformal p-values of held-out data", xlabel="p-value", ylabel="number of data")
below.legend()
figure.savefig("latents.png", dpi=80)
