"""Calls on small arrays, where what counts is what Python costs: 16 rows of 40 parameters."""

from collections.abc import Callable
from typing import Any

import agauss as ag

from . import common, peers

SHAPE = "16x40"
CALLS: dict[str, Callable[[common.Inputs], Callable[[], Any]]] = {
    "kl function": lambda a: lambda: ag.kl(a.mean, a.logvar, axis=1),
    "q.kl() with construction": lambda a: lambda: ag.DiagonalGaussianDistribution(a.parameters).kl(),
    "numpy": peers.numpy_kl,
    "torch eager": peers.torch_kl,
}


class Small:
    param_names = ("call", "dtype")
    params = (list(CALLS), ["float32", "float64"])
    unit = "seconds"

    def track_call(self, call, dtype):
        """By our own clock: asv's does setup between any two calls."""
        return common.interleaved({call: CALLS[call](common.Inputs(SHAPE, dtype))}, rounds=10)[call]
