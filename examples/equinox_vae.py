"""A VAE on digits in JAX, with Equinox and Optax: agauss's distribution is a pytree, and all of a step is compiled.

    pip install . jax equinox optax scikit-learn
    python examples/equinox_vae.py

The encoder's output becomes a `DiagonalGaussianDistribution` inside `jax.jit`, its noise comes from a key of
jax.random, and the gradient is JAX's own, through the derivatives that agauss gives it.
"""

import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from sklearn.datasets import load_digits

from agauss import vae
from agauss.integrations import jax as agj

PIXELS, HIDDEN, LATENTS = 64, 256, 8
STEPS, BATCH, RATE = 300, 96, 2e-3
HELD_OUT = 360  # a fifth of the digits


class VAE(eqx.Module):
    """The decoder's pixels are Gaussian too, with one log-variance that is learnt."""

    encoder: eqx.nn.MLP
    decoder: eqx.nn.MLP
    logvar: jax.Array

    def __init__(self, key):
        keys = jax.random.split(key)
        self.encoder = eqx.nn.MLP(PIXELS, 2 * LATENTS, HIDDEN, 1, key=keys[0])
        self.decoder = eqx.nn.MLP(LATENTS, PIXELS, HIDDEN, 1, key=keys[1])
        self.logvar = jnp.full((), -3.0, jnp.float32)

    def encode(self, digits):
        return agj.DiagonalGaussianDistribution(jax.vmap(self.encoder)(digits))

    def __call__(self, digits, key):
        """The ELBO of each digit, (B,), in nats."""
        q = self.encode(digits)
        z, kl = q.sample_and_kl(rng=key)
        return vae.elbo(agj.log_prob(digits, jax.vmap(self.decoder)(z), self.logvar, axis=1), kl)


@eqx.filter_jit
def loss(model, digits, key):
    return -jnp.mean(model(digits, key))


optimiser = optax.adam(RATE)


@eqx.filter_jit
def step(model, state, digits, key):
    updates, state = optimiser.update(eqx.filter_grad(loss)(model, digits, key), state)
    return eqx.apply_updates(model, updates), state


def main():
    start, shuffle, training, evaluation = jax.random.split(jax.random.key(0), 4)
    digits = jax.random.permutation(shuffle, jnp.asarray(load_digits().data, jnp.float32) / 16)
    held_out, digits = digits[:HELD_OUT], digits[HELD_OUT:]
    model = VAE(start)
    state = optimiser.init(eqx.filter(model, eqx.is_array))
    first = -float(loss(model, held_out, evaluation))
    for key in jax.random.split(training, STEPS):
        choice, noise = jax.random.split(key)
        model, state = step(model, state, jax.random.choice(choice, digits, (BATCH,)), noise)
    last = -float(loss(model, held_out, evaluation))
    # A distribution goes in and out of what is compiled: it is a pytree of its two arrays.
    q = eqx.filter_jit(VAE.encode)(model, held_out)
    kl = float(jax.jit(lambda q: q.kl().mean())(q))
    print(f"held-out ELBO: {first:.1f} nats a digit untrained, {last:.1f} after {STEPS} steps")
    print(f"KL: {kl:.1f} of them, in {LATENTS} latents")
    return 0 if last > first and kl > 1 else 1


if __name__ == "__main__":
    sys.exit(main())
