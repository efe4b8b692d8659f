"""A VAE in NumPy from training to judgement: every line that is not the network itself is one call of agauss.

    pip install . scikit-learn
    python examples/numpy_vae.py

Trains on scikit-learn's handwritten digits with Bernoulli pixels, a beta that is annealed, and free bits. Then it
prints what one wants to know of a VAE: the held-out ELBO and the tighter IWAE bound, whether latents collapsed, a walk
from one digit to another, and how odd noise looks to it. A second VAE has a prior of its own for each digit's label.
"""

import numpy as np
from sklearn.datasets import load_digits
from threadpoolctl import threadpool_limits

import agauss as ag
from agauss import vae

LATENTS, HIDDEN, BATCH, STEPS, RATE = 10, 128, 100, 1500, 0.002
BETA = vae.linear(0.0, 1.0, 500)  # the weight of the KL: a function of the step
FLOOR = 0.1  # nats, which each latent has for free
SAMPLES = 64  # for each digit, in the IWAE bound
KEY = ag.random.Key(0)


class Network:
    """Two layers with a tanh between them."""

    def __init__(self, rng, inputs, outputs):
        shapes = (inputs, HIDDEN), (HIDDEN,), (HIDDEN, outputs), (outputs,)
        self.weights = [rng.normal(size=s) / np.sqrt(s[0]) if len(s) == 2 else np.zeros(s) for s in shapes]

    def __call__(self, x):
        w1, b1, w2, b2 = self.weights
        self.x, self.h = x, np.tanh(x @ w1 + b1)
        return self.h @ w2 + b2

    def backward(self, d_output):
        """The gradient with respect to the last input, and those with respect to the weights."""
        w1, _, w2, _ = self.weights
        d_h = (d_output @ w2.T) * (1 - self.h**2)
        return d_h @ w1.T, [self.x.T @ d_h, d_h.sum(0), self.h.T @ d_output, d_output.sum(0)]


class Adam:
    """Steps down the gradient (Kingma and Ba, 2015)."""

    def __init__(self, weights):
        self.weights, self.step = weights, 0
        self.moments = [(np.zeros_like(w), np.zeros_like(w)) for w in weights]

    def descend(self, gradients):
        self.step += 1
        rate = RATE * np.sqrt(1 - 0.999**self.step) / (1 - 0.9**self.step)
        for w, g, (m, v) in zip(self.weights, gradients, self.moments, strict=True):
            m += 0.1 * (g - m)
            v += 0.001 * (g * g - v)
            w -= rate * m / (np.sqrt(v) + 1e-8)


class VAE:
    """An encoder, a decoder, and a prior with a mean and a log-variance for each label: standard normal at first."""

    def __init__(self, conditional):
        rng = np.random.default_rng(0)
        self.encoder, self.decoder = Network(rng, 64, 2 * LATENTS), Network(rng, LATENTS, 64)
        self.priors, self.conditional = np.zeros((10, 2 * LATENTS)), conditional
        self.adam = Adam([*self.encoder.weights, *self.decoder.weights, self.priors])

    def posterior(self, x):
        return ag.DiagonalGaussianDistribution(self.encoder(x), bounds=None)

    def prior(self, labels):
        return ag.DiagonalGaussianDistribution(self.priors[labels], bounds=None)

    def train(self, x, labels, step):
        """A step up the batch's mean ELBO, whose terms are sums over pixels and over latents."""
        key = KEY.fold_in(step)
        q, p = self.posterior(x), self.prior(labels)
        logits = self.decoder(q.sample(key))
        kl = ag.kl(q.mean, q.logvar, p.mean, p.logvar, axis=())

        _, d_logits = ag.bernoulli_nll_vjp(x, logits, cotangent=1 / len(x), axis=1)
        (d_kl,) = vae.free_bits_vjp(kl, FLOOR, cotangent=BETA(step))
        d_z, d_decoder = self.decoder.backward(d_logits)
        by_sample = ag.sample_vjp(q.mean, q.logvar, cotangent=d_z, rng=key)
        *by_kl, d_p_mean, d_p_logvar = ag.kl_vjp(q.mean, q.logvar, p.mean, p.logvar, cotangent=d_kl, axis=())
        _, d_encoder = self.encoder.backward(np.hstack(by_sample) + np.hstack(by_kl))
        d_priors = np.zeros_like(self.priors)
        if self.conditional:
            np.add.at(d_priors, labels, np.hstack([d_p_mean, d_p_logvar]))
        self.adam.descend([*d_encoder, *d_decoder, d_priors])

    def elbo(self, x, labels):
        """log p(x | z) and the ELBO of each digit, in nats."""
        q = self.posterior(x)
        log_likelihood = -ag.bernoulli_nll(x, self.decoder(q.sample(KEY)), axis=1)
        return log_likelihood, vae.elbo(log_likelihood, q.kl(self.prior(labels)))

    def iwae(self, x, labels):
        """A tighter bound on log p(x), of many samples for each digit."""
        q, p = self.posterior(x), self.prior(labels)
        z = q.sample(KEY, sample_shape=SAMPLES)
        log_ratio = ag.log_density_ratio(z, q.mean, q.logvar, p.mean, p.logvar, axis=-1)
        bound, _ = vae.iwae(-ag.bernoulli_nll(x, self.decoder(z), axis=-1) - log_ratio, axis=0)
        return bound


def trained(x, labels, conditional=False):
    model, shuffle = VAE(conditional), np.random.default_rng(1)
    for step in range(STEPS):
        batch = shuffle.integers(0, len(x), BATCH)
        model.train(x[batch], labels[batch], step)
    return model


def show(images):
    """Images beside each other, in characters."""
    for row in images.reshape(-1, 8, 8).swapaxes(0, 1):
        print("  ".join("".join(" .:*#"[int(4.99 * ink)] * 2 for ink in image) for image in row))


def main():
    x, labels = load_digits(return_X_y=True)
    x = x / 16
    held_out, held_out_labels = x[:360], labels[:360]
    model = trained(x[360:], labels[360:])

    # A grey pixel's Bernoulli likelihood is at most minus its entropy, and not 0.
    ceiling = -ag.bernoulli_entropy(held_out, axis=1).mean()
    log_likelihood, elbo = model.elbo(held_out, held_out_labels)
    bound = model.iwae(held_out, held_out_labels)
    print(f"held-out ELBO {elbo.mean():.2f} nats a digit, IWAE bound {bound.mean():.2f}, no model above {ceiling:.2f}")

    diagnostics = vae.Diagnostics(schedule=BETA, step=STEPS)
    diagnostics.update(model.posterior(held_out), log_likelihood)
    print(diagnostics.result())

    start, end = model.posterior(held_out[:1]), model.posterior(held_out[1:2])
    between = vae.interpolate(start, end, np.linspace(0, 1, 6), path="wasserstein")
    print("from one digit to another:")
    show(1 / (1 + np.exp(-model.decoder(between.mean))))

    noise = np.random.default_rng(2).permuted(held_out, axis=1)  # the same pixels in another order
    p = vae.anomaly(model.elbo(noise, held_out_labels)[1], elbo)
    print(f"anomalies: p-values of shuffled digits at most 0.05: {(p <= 0.05).mean():.0%}")

    conditional = trained(x[360:], labels[360:], conditional=True)
    _, given_label = conditional.elbo(held_out, held_out_labels)
    print(f"with a prior for each label: held-out ELBO {given_label.mean():.2f}")


if __name__ == "__main__":
    with threadpool_limits(1, user_api="blas"):  # whose threads make products as small as these no faster
        main()
