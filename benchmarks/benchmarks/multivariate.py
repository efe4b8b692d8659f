"""The full covariance: our time over that of torch.distributions.MultivariateNormal, in turns in one process.

Both construct the distribution in each call, and both are given the same float32 arrays. PyTorch's checks of its
arguments, which read every factor, are off.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

import agauss as ag

from . import common
from .common import Call, imported

SHAPES = ["256x16", "4096x32", "64x256"]
if common.SHAPES == [common.MAIN]:  # to see that each runs, not how fast
    SHAPES = ["4x3"]


class Inputs:
    """Means, factors and points, a second Gaussian, and cotangents."""

    def __init__(self, shape: str) -> None:
        batch, d = map(int, shape.split("x"))
        rng = np.random.default_rng(0)
        self.mean, self.mean2, self.x, self.d_z = rng.standard_normal((4, batch, d), np.float32)
        self.tril, self.tril2 = np.tril(rng.standard_normal((2, batch, d, d), np.float32)) / d
        for tril in (self.tril, self.tril2):
            tril[:, range(d), range(d)] = np.exp(0.5 * rng.standard_normal((batch, d)))
        self.d_value = np.ones(batch, np.float32)


def _ours(work: str, backward: bool, a: Inputs) -> Call:
    def call() -> Any:
        q = ag.MultivariateNormal(a.mean, a.tril)
        p = ag.MultivariateNormal(a.mean2, a.tril2) if work == "kl of two" else None
        if work == "sample":
            return q.sample(rng=7), q.sample_vjp(cotangent=a.d_z, rng=7) if backward else None
        if work == "log_prob":
            return q.log_prob(a.x), q.log_prob_vjp(a.x, cotangent=a.d_value) if backward else None
        return q.kl(p), q.kl_vjp(p, cotangent=a.d_value) if backward else None

    return call


def _theirs(work: str, backward: bool, a: Inputs) -> Call:
    torch = imported("torch")
    normal = torch.distributions.MultivariateNormal
    mean, tril, mean2, tril2, x = (
        torch.from_numpy(array).requires_grad_(backward) for array in (a.mean, a.tril, a.mean2, a.tril2, a.x)
    )
    d_z, d_value, d = torch.from_numpy(a.d_z), torch.from_numpy(a.d_value), a.mean.shape[-1]
    prior = normal(torch.zeros(d), scale_tril=torch.eye(d), validate_args=False)

    def value() -> tuple[Any, tuple[Any, ...], Any]:
        q = normal(mean, scale_tril=tril, validate_args=False)
        if work == "sample":
            return q.rsample(), (mean, tril), d_z
        if work == "log_prob":
            return q.log_prob(x), (x, mean, tril), d_value
        two = work == "kl of two"
        p = normal(mean2, scale_tril=tril2, validate_args=False) if two else prior
        found = torch.distributions.kl_divergence(q, p)
        return found, (mean, tril, mean2, tril2) if two else (mean, tril), d_value

    def call() -> Any:
        found, arguments, cotangent = value()
        return torch.autograd.grad(found, arguments, cotangent) if backward else found

    return call


WORKS: dict[str, Callable[[Inputs], dict[str, Call]]] = {}
for _work in ("sample", "log_prob", "kl", "kl of two"):
    for _backward in (False, True):
        _name = f"{_work}, forward and backward" if _backward else _work
        WORKS[_name] = lambda a, work=_work, backward=_backward: {
            "ours": _ours(work, backward, a),
            "theirs": _theirs(work, backward, a),
        }


class Multivariate:
    params = (list(WORKS), SHAPES)
    param_names = ("work", "shape")
    unit = "ours / theirs"

    def setup(self, work, shape):
        self.calls = WORKS[work](Inputs(shape))
        for call in self.calls.values():
            call()

    def track_ratio(self, work, shape):
        seconds = common.interleaved(self.calls, rounds=common.ROUNDS)
        return seconds["ours"] / seconds["theirs"]
