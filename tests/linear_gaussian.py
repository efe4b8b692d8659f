"""A linear-Gaussian model, whose posterior and evidence are known: z ~ N(0, I), x | z ~ N(W z + b, var I)."""

import numpy as np


class Model:
    """Columns of W are orthogonal, so that the posterior is diagonal."""

    def __init__(self, pixels=5, latents=3, data=4, seed=0):
        rng = np.random.default_rng(seed)
        basis, _ = np.linalg.qr(rng.normal(size=(pixels, latents)))
        self.weights = basis * rng.uniform(0.5, 2.0, latents)
        self.bias, self.var = rng.normal(size=pixels), 0.3
        self.x = rng.normal(size=(data, latents)) @ self.weights.T + self.bias + rng.normal(size=(data, pixels)) * 0.55

    def decode(self, z):
        return z @ self.weights.T + self.bias

    def evidence(self):
        """log p(x) of each datum, by the Cholesky factor of the covariance of x."""
        pixels = len(self.bias)
        factor = np.linalg.cholesky(self.weights @ self.weights.T + self.var * np.eye(pixels))
        white = np.linalg.solve(factor, (self.x - self.bias).T)
        return -0.5 * (white**2).sum(0) - np.log(np.diag(factor)).sum() - pixels / 2 * np.log(2 * np.pi)

    def posterior(self):
        """Mean and log-variance of p(z | x)."""
        precision = 1 + (self.weights**2).sum(0) / self.var
        mean = (self.x - self.bias) @ self.weights / self.var / precision
        return mean, np.broadcast_to(-np.log(precision), mean.shape).copy()

    def expected_log_likelihood(self, mean, logvar):
        """E log p(x | z) under N(mean, exp(logvar)), in closed form."""
        rest = ((self.x - self.decode(mean)) ** 2).sum(1) + np.exp(logvar) @ (self.weights**2).sum(0)
        return -0.5 * rest / self.var - len(self.bias) / 2 * np.log(2 * np.pi * self.var)

    def d_elbo(self, mean, logvar):
        """Gradients of the ELBO with respect to mean and logvar, in closed form."""
        by_mean = (self.x - self.decode(mean)) @ self.weights / self.var - mean
        by_logvar = 0.5 * (1 - np.exp(logvar) * (1 + (self.weights**2).sum(0) / self.var))
        return by_mean, np.broadcast_to(by_logvar, mean.shape)
