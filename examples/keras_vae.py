"""A VAE on digits in Keras 3 on JAX: agauss's sample, KL and likelihood, inside the train step that Keras compiles.

    pip install . keras jax scikit-learn
    python examples/keras_vae.py

The noise's key comes from a SeedGenerator, whose state Keras carries from step to step, and the KL joins the loss by
`add_loss`. Keras's own operations are `keras.ops` and run on any backend; agauss's functions here are those for JAX.
"""

import os
import sys

os.environ["KERAS_BACKEND"] = "jax"  # Keras reads it as it is imported
import keras
import numpy as np
from sklearn.datasets import load_digits

from agauss.integrations import jax as agj

PIXELS, HIDDEN, LATENTS = 64, 256, 8
EPOCHS, BATCH, RATE = 15, 96, 2e-3
HELD_OUT = 360  # a fifth of the digits


class Sampling(keras.layers.Layer):
    """From an encoder's moments, (B, 2C), to a sample, (B, C); adds the KL, a mean over the batch, to the loss."""

    def __init__(self, seed, **kwargs):
        super().__init__(**kwargs)
        self.noise = keras.random.SeedGenerator(seed)

    def call(self, moments):
        z, kl = agj.sample_and_kl(moments, rng=self.noise.next())
        self.add_loss(keras.ops.mean(kl))
        return z

    def compute_output_spec(self, moments):
        return keras.KerasTensor((moments.shape[0], moments.shape[1] // 2), moments.dtype)


class Pixels(keras.layers.Layer):
    """Hands on the decoder's pixels, with the one log-variance that they have learnt."""

    def build(self, shape):
        self.logvar = self.add_weight(initializer=keras.initializers.Constant(-3.0), name="logvar")

    def call(self, mean):
        return keras.ops.stack([mean, keras.ops.broadcast_to(self.logvar, keras.ops.shape(mean))], axis=1)


def nll(digits, decoded):
    """Of each digit, in nats; decoded is mean and log-variance, (B, 2, PIXELS)."""
    return agj.nll(digits, decoded[:, 0], decoded[:, 1], axis=1)


def network(inputs, outputs, *last):
    hidden = keras.layers.Dense(HIDDEN, activation="relu")
    return keras.Sequential([keras.Input((inputs,)), hidden, keras.layers.Dense(outputs), *last])


def main():
    keras.utils.set_random_seed(0)
    digits = (load_digits().data / 16).astype(np.float32)
    np.random.default_rng(0).shuffle(digits)
    held_out, digits = digits[:HELD_OUT], digits[HELD_OUT:]
    encoder, decoder = network(PIXELS, 2 * LATENTS), network(LATENTS, PIXELS, Pixels())
    vae = keras.Sequential([encoder, Sampling(seed=1), decoder])
    vae.compile(optimizer=keras.optimizers.Adam(RATE), loss=nll)
    first = -vae.evaluate(held_out, held_out, verbose=0)  # the mean nll, and the KL with it
    vae.fit(digits, digits, batch_size=BATCH, epochs=EPOCHS, verbose=0)
    last = -vae.evaluate(held_out, held_out, verbose=0)
    kl = float(agj.DiagonalGaussianDistribution(encoder(held_out)).kl().mean())
    one, other = (vae.predict(held_out, verbose=0) for _ in range(2))
    fresh = bool((one != other).any())
    print(f"held-out ELBO: {first:.1f} nats a digit untrained, {last:.1f} after {EPOCHS} epochs")
    print(f"KL: {kl:.1f} of them, in {LATENTS} latents")
    print(f"decoded twice, with other noise the second time: {fresh}; Keras runs on {keras.backend.backend()}")
    return 0 if last > first and kl > 1 and fresh else 1


if __name__ == "__main__":
    sys.exit(main())
