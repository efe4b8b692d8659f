"""
A VAE of digits
===============

A variational autoencoder in NumPy alone, trained on 8x8 digits in seconds. The layers and the optimiser are those of
``examples/numpy_vae.py``, which :doc:`/tutorial` goes through. ``agauss demo`` trains a larger one.
"""

import runpy

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from threadpoolctl import threadpool_limits

import agauss as ag

example = runpy.run_path("../../examples/numpy_vae.py")
digits = load_digits().data / 16
held_out, digits = digits[:360], digits[360:]
latents, steps, key = 10, 1000, ag.random.Key(0)

rng = np.random.default_rng(0)
encoder, decoder = example["Network"](rng, 64, 2 * latents), example["Network"](rng, latents, 64)
adam = example["Adam"]([*encoder.weights, *decoder.weights])

# %%
# A training step takes z and the KL from the encoder's output. On the way back, the same key regenerates the noise.


def step(x, key):
    parameters = encoder(x)
    z, _ = ag.sample_and_kl(parameters, rng=key)
    _, d_logits = ag.bernoulli_nll_vjp(x, decoder(z), cotangent=1 / len(x), axis=1)
    d_z, d_decoder = decoder.backward(d_logits)
    d_parameters = ag.sample_and_kl_vjp(parameters, cotangent=(d_z, 1 / len(x)), rng=key)
    _, d_encoder = encoder.backward(d_parameters)
    adam.descend([*d_encoder, *d_decoder])


def elbo(x):
    z, kl = ag.sample_and_kl(encoder(x), rng=key)
    return -ag.bernoulli_nll(x, decoder(z), axis=1).mean() - kl.mean()


curve = []
with threadpool_limits(1, user_api="blas"):  # whose threads make products as small as these no faster
    for number in range(steps):
        if number % 20 == 0:
            curve.append(elbo(held_out))
        step(digits[rng.integers(0, len(digits), 100)], key.fold_in(number))

# %%
# Samples from the prior look like digits, and held-out digits come back.


def decoded(z):
    return 1 / (1 + np.exp(-decoder(z)))


def tiles(axes, images, title):
    images = np.pad(images.reshape(-1, 8, 8), ((0, 0), (1, 1), (1, 1)))
    axes.imshow(np.vstack([np.hstack(row) for row in images.reshape(-1, 12, 10, 10)]), cmap="gray_r", vmin=0, vmax=1)
    axes.set_axis_off()
    axes.set_title(title)


q = ag.DiagonalGaussianDistribution(encoder(held_out))
figure, ((given, back), (drawn, learning)) = plt.subplots(2, 2, figsize=(9, 4.4), layout="constrained")
tiles(given, held_out[:36], "Held-out digits")
tiles(back, decoded(q.mode()[:36]), "Their reconstructions")
tiles(drawn, decoded(ag.random.normal((36, latents), rng=1)), "Samples from the prior")
learning.plot(np.arange(0, steps, 20), curve)
learning.set(title="Held-out ELBO", xlabel="step", ylabel="nats per digit")
plt.show()

# %%
# The KL of each latent says how much of the digit it holds. :doc:`/collapse` is about those that hold nothing.

kl = ag.kl(q.mean, q.logvar, axis=0) / len(held_out)
figure, axes = plt.subplots(figsize=(7, 2.4), layout="constrained")
axes.bar(np.arange(latents), np.sort(kl)[::-1])
axes.set(title=f"KL of each latent, {kl.sum():.1f} nats in all", xlabel="latent, sorted", ylabel="nats per digit")
plt.show()
