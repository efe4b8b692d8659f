"""A user's program, which type checkers read and nobody runs: agauss gives back the kind of array that it is given."""

from collections.abc import Callable
from typing import Any, assert_type

import numpy as np
import torch
from numpy.typing import NDArray

import agauss as ag
from agauss.typing import Axis, Bounds, Rng

Doubles = NDArray[np.float64]
Pair = tuple[torch.Tensor, torch.Tensor]
BOUNDS: Bounds = (-30.0, 20.0, "soft")


def loss(x: Doubles, mean: Doubles, logvar: Doubles, axis: Axis = None) -> Doubles:
    assert_type(ag.nll(x, mean, logvar, bounds="hard"), Doubles)
    assert_type(ag.nll_vjp(x, mean, 0.0, cotangent=1.0), tuple[Doubles, Doubles, Doubles])
    return ag.kl(mean, logvar, np.float32(0.0), 0, axis=axis, bounds=BOUNDS, bounds2=(-1, 1))


def forward(parameters: torch.Tensor, rng: Rng = None) -> Pair:
    mean, logvar = parameters.chunk(2, dim=1)
    assert_type(ag.sample(mean, logvar, rng=rng, index=range(8)), torch.Tensor)
    assert_type(ag.vjp(ag.kl, mean, logvar), tuple[Any, Callable[[Any], tuple[torch.Tensor, ...]]])
    return ag.sample_and_kl(parameters, rng=rng)


def backward(parameters: torch.Tensor, cotangent: Pair) -> torch.Tensor:
    return ag.sample_and_kl_vjp(parameters, cotangent=cotangent, rng=ag.random.Key(7))


def posterior(parameters: torch.Tensor) -> torch.Tensor:
    q = ag.DiagonalGaussianDistribution(parameters)
    assert_type(q, ag.DiagonalGaussianDistribution[torch.Tensor])
    assert_type(q.sample_and_kl(rng=np.random.default_rng()), Pair)
    return ag.DiagonalGaussianDistribution.from_mean_logvar(q.mean, 0.0).kl(q)


def noise(key: int) -> NDArray[Any]:
    assert_type(ag.kl(0.0, 0.0), Any)
    return ag.random.normal((2, 3), rng=key)


# What is refused: a comment that no error needs is an error itself.
ag.kl([1.0], np.zeros(1))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
ag.std(0.0, bounds="firm")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
ag.sample(0.0, 0.0, rng="7")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
ag.sample_vjp(0.0, 0.0, cotangent=1.0, rng=None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
ag.nothing()  # type: ignore[attr-defined]  # pyright: ignore
