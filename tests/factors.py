"""Triangular factors for tests, and when what is made of them is near enough."""

import numpy as np
import torch
from oracles import host

EPS = np.finfo(np.float64).eps


def factor(rng, *shape):
    """A factor whose condition stays small at any dimension, with numbers above the diagonal that must not be read."""
    d = shape[-1]
    made = rng.standard_normal((*shape, d)) / d
    places = np.arange(d)
    made[..., places, places] = np.exp(0.5 * rng.standard_normal(shape))
    return made


def assert_close(got, want, ulps=64):
    """Within so many ulp of the largest element: sums of D terms in another order differ by some ulp of their sizes."""
    got = host(got)
    want = want.detach().numpy() if isinstance(want, torch.Tensor) else np.asarray(want)
    assert got.shape == want.shape, (got.shape, want.shape)
    limit = ulps * EPS * max(1.0, np.abs(want).max(initial=0.0))
    assert np.abs(got - want).max(initial=0.0) <= limit, (got, want)
