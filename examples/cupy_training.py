"""A linear VAE trained by hand on a GPU with CuPy arrays: every gradient is a *_vjp of agauss or a matrix product.

    pip install '.[cuda13]'    # from a checkout; or '.[cuda12]'
    python examples/cupy_training.py [--numpy]

The array module is a parameter of the loop, and `--numpy` runs the same lines on NumPy. The model is that of
probabilistic PCA, whose best likelihood has a closed form (Tipping and Bishop, 1999) that a linear VAE's ELBO can
reach, so the training is judged by how near it comes.
"""

import sys

import numpy as np

import agauss as ag
from agauss import vae

POINTS, PIXELS, LATENTS, STEPS, RATE = 1000, 12, 3, 800, 0.05
SEED = 2026
DATA, START, TRAINING, EVALUATION = range(4)  # a stream of the seed for each use of noise
DRAWS = 100
NEAR = 0.02  # nats a point


def main(xp):
    x, weights = data(xp), start(xp)
    moments = [(xp.zeros_like(w), xp.zeros_like(w)) for w in weights]
    first = elbo(xp, weights, x)
    for step in range(STEPS):
        gradients = loss_gradients(weights, x, ag.random.Key(SEED, TRAINING).fold_in(step))
        # The rate falls to 0, for the noise of z would keep the weights moving.
        adam(xp, weights, gradients, moments, step + 1, RATE * (1 - step / STEPS))
    last, best = elbo(xp, weights, x), best_likelihood(xp, x)
    print(f"{xp.__name__}: ELBO {first:.3f} nats a point untrained, {last:.3f} after {STEPS} steps")
    print(f"best log-likelihood of the model, in closed form: {best:.3f}, {best - last:.3f} above")
    return 0 if first < last < best < last + NEAR else 1


def data(xp):
    """Points near a hyperplane, centred."""
    key = ag.random.Key(SEED, DATA)
    z = ag.random.normal((POINTS, LATENTS), rng=key.fold_in(0), xp=xp)
    directions = ag.random.normal((LATENTS, PIXELS), rng=key.fold_in(1), xp=xp)
    x = z @ directions + ag.random.normal((POINTS, PIXELS), rng=key.fold_in(2), xp=xp) / 2
    return x - x.mean(axis=0)


def start(xp):
    """The encoder's matrix and bias, the decoder's matrix, and the log-variance of a pixel."""
    key = ag.random.Key(SEED, START)
    encoder = ag.random.normal((PIXELS, 2 * LATENTS), rng=key.fold_in(0), xp=xp) / 10
    decoder = ag.random.normal((LATENTS, PIXELS), rng=key.fold_in(1), xp=xp) / 10
    return [encoder, xp.zeros(2 * LATENTS, "float32"), decoder, xp.zeros((), "float32")]


def loss_gradients(weights, x, key):
    """The weights' gradients of the mean of nll + KL; the backward pass regenerates the noise, so it is not stored."""
    encoder, bias, decoder, logvar = weights
    parameters = x @ encoder + bias
    z, _ = ag.sample_and_kl(parameters, rng=key)
    each = 1 / len(x)
    _, d_mean, d_logvar = ag.nll_vjp(x, z @ decoder, logvar, axis=1, cotangent=each)
    d_parameters = ag.sample_and_kl_vjp(parameters, cotangent=(d_mean @ decoder.T, each), rng=key)
    return [x.T @ d_parameters, d_parameters.sum(axis=0), z.T @ d_mean, d_logvar]


def elbo(xp, weights, x):
    """Its mean over the points, with DRAWS samples of z each."""
    encoder, bias, decoder, logvar = weights
    q = ag.DiagonalGaussianDistribution(x @ encoder + bias)
    z = q.sample(ag.random.Key(SEED, EVALUATION), sample_shape=DRAWS)
    return float(xp.mean(vae.elbo(ag.log_prob(x, z @ decoder, logvar, axis=2), q.kl())))


def adam(xp, weights, gradients, moments, step, rate):
    """A step down (Kingma and Ba, 2015), in place."""
    for w, g, (first, second) in zip(weights, gradients, moments, strict=True):
        first += 0.1 * (g - first)
        second += 0.01 * (g * g - second)
        w -= rate * first / (1 - 0.9**step) / (xp.sqrt(second / (1 - 0.99**step)) + 1e-8)


def best_likelihood(xp, x):
    """The mean log-density of the points under the best such model: by the eigenvalues of their covariance."""
    variances = xp.linalg.eigvalsh(x.T @ x / len(x))  # ascending: the last ones are the latents'
    noise, signal = variances[:-LATENTS], variances[-LATENTS:]
    logs = xp.sum(xp.log(signal)) + len(noise) * xp.log(xp.mean(noise))
    return -float(PIXELS * (np.log(2 * np.pi) + 1) + logs) / 2


if __name__ == "__main__":
    if "--numpy" in sys.argv[1:]:
        sys.exit(main(np))
    try:
        import cupy

        devices = cupy.cuda.runtime.getDeviceCount()
    except Exception:  # the import's, or the driver's
        devices = 0
    if devices:
        sys.exit(main(cupy))
    print("nothing was trained: there is no CuPy with a CUDA device here; --numpy runs the same loop on NumPy")
