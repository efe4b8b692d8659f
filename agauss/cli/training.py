"""The demo's digits, networks and training, in NumPy; knows no formula of the Gaussian, and prints nothing.

The layers' gradients are written out below. The latents' samples, KL and gradients are agauss's, and so is all the
noise.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

import agauss as ag
from agauss import vae

Array = npt.NDArray[Any]

SIDE = 8
PIXELS = SIDE * SIDE
LABELS = 10
LEVELS = 16  # a pixel counts the inked dots of a 4x4 block of the scanned bitmap
HELD_OUT = 360  # a fifth
SPLIT_SEED = 0  # one split for every --seed, so that their ELBOs compare
HIDDEN = 512
BATCH = 96
LEARNING_RATE = 0.002
SAMPLES = 5  # of each digit, where training is importance-weighted
CONSTANT = vae.constant(1.0)  # the weight of the KL in the ELBO
WEIGHTS, STEPS, EVALUATION, PRIOR = range(4)  # a stream of the seed for each use of noise


def load_digits(dtype: Any = np.float32) -> tuple[Array, Array, Array, Array]:
    """The digits to train on and those held out, whole numbers from 0 to 16, shape (N, 64); then the labels of both."""
    import sklearn.datasets

    digits, labels = sklearn.datasets.load_digits(return_X_y=True)
    order = np.random.default_rng(SPLIT_SEED).permutation(len(digits))
    digits, labels = digits.astype(dtype)[order], labels[order]
    return digits[HELD_OUT:], digits[:HELD_OUT], labels[HELD_OUT:], labels[:HELD_OUT]


def log_odds_of_ink(training: Array) -> Array:
    """Of each pixel in the average digit, and never infinite."""
    rate = (training.sum(axis=0) + 0.5) / (LEVELS * len(training) + 1)
    return np.asarray(np.log(rate / (1 - rate)))


def log_likelihood(digits: Array, logits: Array) -> Array:
    """Of independent binomials, whose log-odds of ink are the logits: shape (N,), in nats."""
    ways = np.log([math.comb(LEVELS, k) for k in range(LEVELS + 1)]).astype(digits.dtype)
    inked = ways[digits.astype(int)] + digits * logits - LEVELS * np.logaddexp(0, logits)
    return np.asarray(inked.sum(axis=-1))


def histogram_log_likelihood(training: Array, held_out: Array) -> Array:
    """Of independent pixels, each with its levels' frequencies in the training digits: shape (N,), in nats."""
    levels = np.arange(LEVELS + 1)[:, None, None]
    seen = (training == levels).sum(axis=1) + 1 / len(levels)  # each level a little, or an unseen one is impossible
    frequencies = seen / (len(training) + 1)
    return np.asarray(np.log(np.take_along_axis(frequencies, held_out.astype(int), axis=0)).sum(axis=1))


def ink(logits: Array) -> Array:
    """The expected share of ink: the logistic function, as a tanh because exp(-logits) overflows."""
    return np.asarray((1 + np.tanh(logits / 2)) / 2)


class Network:
    """Dense layers with ReLU between them; `weights` holds a matrix and a bias for each in turn."""

    def __init__(self, sizes: tuple[int, ...], key: ag.random.Key, dtype: Any) -> None:
        self.weights: list[Array] = []
        for layer, (n, m) in enumerate(pairwise(sizes)):
            matrix = ag.random.normal((n, m), rng=key.fold_in(layer), dtype=dtype)
            # A variance of 2 / n keeps the activations' size from layer to layer (He et al., 2015).
            self.weights += [matrix * math.sqrt(2 / n), np.zeros(m, dtype)]

    def forward(self, x: Array) -> list[Array]:
        """What goes into each layer, and last what comes out."""
        values: list[Array] = []
        for matrix, bias in self._layers():
            values.append(np.maximum(x, 0) if values else x)
            x = values[-1] @ matrix + bias
        return [*values, x]

    def backward(self, values: list[Array], d: Array) -> tuple[Array, list[Array]]:
        """The gradients of the input and of the weights, from the output's."""
        gradients: list[Array] = []
        for layer, (matrix, _) in reversed(list(enumerate(self._layers()))):
            gradients = [values[layer].T @ d, d.sum(axis=0), *gradients]
            d = d @ matrix.T
            if layer > 0:
                d *= values[layer] > 0
        return d, gradients

    def _layers(self) -> list[tuple[Array, Array]]:
        return list(zip(self.weights[::2], self.weights[1::2], strict=True))


@dataclass(frozen=True)
class Objective:
    """What is maximised: the ELBO with a weight on its KL and a floor beneath each latent's, or IWAE's bound."""

    beta: vae.Schedule = CONSTANT
    floor: float = 0.0  # nats of each latent, of the batch's mean
    samples: int = 1  # of each digit; of more than one, IWAE's bound, which has neither beta nor floor


def objective_of(name: str, steps: int, beta: float = 1.0, floor: float = 0.0) -> Objective:
    """What the command line calls so. Annealing raises the KL's weight from 0 in the first half of the steps."""
    if name == "annealed":
        return Objective(vae.linear(0.0, beta, max(1, steps // 2)))
    return Objective(vae.constant(beta), floor, SAMPLES if name == "iwae" else 1)


class VAE:
    """An encoder from digits to latent Gaussians, a decoder from latents to the log-odds of ink, and the prior.

    The prior is the standard normal. Where it is conditional it begins there, and each label learns its own.
    """

    def __init__(
        self, hidden: int, latents: int, key: ag.random.Key, dtype: Any = np.float32, conditional: bool = False
    ) -> None:
        self.latents, self.conditional = latents, conditional
        self.encoder = Network((PIXELS, hidden, 2 * latents), key.fold_in(0), dtype)
        self.decoder = Network((latents, hidden, PIXELS), key.fold_in(1), dtype)
        self.priors = np.zeros((LABELS, 2 * latents), dtype)
        self.weights = self.encoder.weights + self.decoder.weights + ([self.priors] if conditional else [])

    def encode(self, digits: Array) -> ag.DiagonalGaussianDistribution:
        return ag.DiagonalGaussianDistribution(self.encoder.forward(digits / LEVELS)[-1])

    def prior(self, labels: Array) -> ag.DiagonalGaussianDistribution:
        return ag.DiagonalGaussianDistribution(self.priors[labels])

    def posterior_by_prior(self, digits: Array, labels: Array) -> ag.DiagonalGaussianDistribution:
        """The posterior in its prior's units, which keep the KL: what is left is what the label does not tell."""
        q, p = self.encode(digits), self.prior(labels)
        return ag.DiagonalGaussianDistribution.from_mean_logvar((q.mean - p.mean) / p.std, q.logvar - p.logvar)

    def decode(self, z: Array) -> Array:
        return self.decoder.forward(z)[-1]

    def elbo(self, digits: Array, labels: Array, key: ag.random.Key) -> tuple[Array, Array]:
        """Its two terms for each digit, with one sample of z: log p(digit | z) and the KL, which is taken off."""
        q = self.encode(digits)
        z, kl = (q.sample(key), q.kl(self.prior(labels))) if self.conditional else q.sample_and_kl(key)
        return log_likelihood(digits, self.decode(z)), kl

    def iwae(self, digits: Array, labels: Array, samples: int, key: ag.random.Key) -> Array:
        """The importance-weighted bound on each digit's log p, which is tighter than the ELBO."""
        q, p = self.encode(digits), self.prior(labels)
        z = q.sample(key, sample_shape=samples)
        return vae.iwae(log_likelihood(digits, self.decode(z)) - log_ratio(z, q, p), axis=0)[0]

    def gradients(
        self,
        digits: Array,
        labels: Array,
        key: ag.random.Key,
        objective: Objective = Objective(),
        step: int = 0,
    ) -> list[Array]:
        """Of the objective's mean, by the weights; the same key gives the same z as in `elbo`, or as in `iwae`."""
        encoded = self.encoder.forward(digits / LEVELS)
        if objective.samples > 1:
            d_parameters, d_priors, by_decoder = self._of_iwae(digits, labels, encoded[-1], objective.samples, key)
        else:
            z, _ = ag.sample_and_kl(encoded[-1], rng=key)
            decoded = self.decoder.forward(z)
            d_logits = (digits - LEVELS * ink(decoded[-1])) / len(digits)
            d_z, by_decoder = self.decoder.backward(decoded, d_logits)
            weight = -objective.beta(step)
            alike = not (self.conditional or objective.floor)  # one cotangent for all, so one pass does both gradients
            d_kl = weight / len(digits) if alike else 0.0
            d_parameters = ag.sample_and_kl_vjp(encoded[-1], cotangent=(d_z, d_kl), rng=key)
            if not alike:
                by_kl, d_priors = self._of_kl(encoded[-1], labels, objective.floor, weight)
                d_parameters += by_kl
        _, by_encoder = self.encoder.backward(encoded, d_parameters)
        if not self.conditional:
            return by_encoder + by_decoder
        by_priors = np.zeros_like(self.priors)
        np.add.at(by_priors, labels, d_priors)
        return [*by_encoder, *by_decoder, by_priors]

    def _of_kl(self, parameters: Array, labels: Array, floor: float, weight: float) -> tuple[Array, Array]:
        """Gradients of the KL over its floor, times the weight, by the parameters of each posterior and its prior."""
        four = *np.split(parameters, 2, axis=1), *np.split(self.priors[labels], 2, axis=1)
        limits: dict[str, Any] = {"axis": (), "bounds": "hard", "bounds2": "hard"}  # as the class has them
        (d_kl,) = vae.free_bits_vjp(ag.kl(*four, **limits), floor, cotangent=weight)
        d_mean, d_logvar, d_mean2, d_logvar2 = ag.kl_vjp(*four, cotangent=d_kl, **limits)
        return np.hstack([d_mean, d_logvar]), np.hstack([d_mean2, d_logvar2])

    def _of_iwae(
        self, digits: Array, labels: Array, parameters: Array, samples: int, key: ag.random.Key
    ) -> tuple[Array, Array, list[Array]]:
        """Gradients of IWAE's bound by the parameters of each posterior and its prior, and by the decoder's weights."""
        q, p = ag.DiagonalGaussianDistribution(parameters), self.prior(labels)
        z = q.sample(key, sample_shape=samples)
        decoded = self.decoder.forward(z.reshape(-1, self.latents))
        logits = decoded[-1].reshape(samples, *digits.shape)
        log_weights = log_likelihood(digits, logits) - log_ratio(z, q, p)
        (weights,) = vae.iwae_vjp(log_weights, axis=0, cotangent=1 / len(digits))
        d_logits = weights[..., None] * (digits - LEVELS * ink(logits))
        d_z, by_decoder = self.decoder.backward(decoded, d_logits.reshape(-1, PIXELS))
        gradients = vae.iwae_gradients(weights, d_z.reshape(z.shape), z, q.mean, q.logvar, p.mean, p.logvar)
        return np.hstack(gradients[:2]), np.hstack(gradients[2:]), by_decoder


def log_ratio(z: Array, q: ag.DiagonalGaussianDistribution, p: ag.DiagonalGaussianDistribution) -> Array:
    """log q(z) - log p(z), of samples whose first axis the distributions lack."""
    return ag.log_density_ratio(z, q.mean, q.logvar, p.mean, p.logvar, axis=-1)


def train(
    model: VAE,
    digits: Array,
    labels: Array,
    objective: Objective,
    epochs: int,
    seed: int,
    rate: float = LEARNING_RATE,
    advance: Callable[[], None] = lambda: None,
) -> Iterator[int]:
    """Train, and stop at each epoch's beginning, and at the last one's end, to hand on its number."""
    adam = Adam(model.weights, rate)
    shuffle = np.random.default_rng(seed)
    steps = steps_of(digits)
    for epoch in range(epochs):
        yield epoch
        order = shuffle.permutation(len(digits))
        for step in range(epoch * steps, (epoch + 1) * steps):
            batch = order[step % steps * BATCH :][:BATCH]
            key = ag.random.Key(seed, STEPS).fold_in(step)
            adam.ascend(model.gradients(digits[batch], labels[batch], key, objective, step))
            advance()
    yield epochs


def steps_of(digits: Array) -> int:
    """Of an epoch; the last one's batch is smaller."""
    return -(-len(digits) // BATCH)


class Adam:
    """Steps up the gradient, each weight's by the size that its gradient has had (Kingma and Ba, 2015)."""

    def __init__(self, weights: list[Array], rate: float) -> None:
        self.weights, self.rate, self.steps = weights, rate, 0
        self.first = [np.zeros_like(w) for w in weights]
        self.second = [np.zeros_like(w) for w in weights]

    def ascend(self, gradients: list[Array]) -> None:
        self.steps += 1
        # The averages begin at 0 and are too small at first.
        rate = self.rate * math.sqrt(1 - 0.999**self.steps) / (1 - 0.9**self.steps)
        for weight, gradient, first, second in zip(self.weights, gradients, self.first, self.second, strict=True):
            first += 0.1 * (gradient - first)
            second += 0.001 * (gradient * gradient - second)
            weight += rate * first / (np.sqrt(second) + 1e-8)
