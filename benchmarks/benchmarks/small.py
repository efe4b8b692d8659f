"""Calls on small arrays, where what counts is what Python costs: 16 rows of 40 parameters, and a single element."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

import agauss as ag

from . import common, peers
from .common import Call, imported

SHAPE = "16x40"


def _element(a: common.Inputs) -> Call:
    mean, logvar = np.zeros(1, np.float32), np.zeros(1, np.float32)
    return lambda: ag.kl(mean, logvar)


def _tensors(backward: bool) -> Callable[[common.Inputs], Call]:
    def make(a: common.Inputs) -> Call:
        torch, module = imported("torch"), imported("agauss.integrations.torch")
        p, d_z, d_kl = (torch.from_numpy(array) for array in (a.parameters, a.d_z, a.d_kl))
        if not backward:
            return lambda: module.DiagonalGaussianDistribution(p).kl()
        p.requires_grad_()

        def step() -> Any:
            values = module.sample_and_kl(p, rng=7)
            return torch.autograd.grad(values, p, (d_z, d_kl))

        return step

    return make


def _theirs(pair: str) -> Callable[[common.Inputs], Call]:
    return lambda a: peers.peer_call(pair, a)


CALLS: dict[str, Callable[[common.Inputs], Call]] = {
    "kl of one element": _element,
    "kl function": lambda a: lambda: ag.kl(a.mean, a.logvar, axis=1),
    "q.kl() with construction": lambda a: lambda: ag.DiagonalGaussianDistribution(a.parameters).kl(),
    "kl: numpy": _theirs("kl: numpy"),
    "kl: torch eager": _theirs("kl: torch eager"),
    "q.kl() with construction, tensors": _tensors(backward=False),
    "forward and backward": lambda a: lambda: common.forward_and_backward(a),
    "forward and backward, tensors": _tensors(backward=True),
    "forward and backward: torch eager": _theirs("forward and backward: torch eager"),
    "kl under jax.jit": lambda a: common.BACKENDS["jax"]("kl", str(a.dtype), SHAPE),
    "kl: jax.jit": _theirs("kl: jax.jit"),
    "noise of 2,048": lambda a: lambda: ag.random.normal(2048, rng=7),
    "noise of 2,048: torch": lambda a: partial(imported("torch").randn, 2048),
}


class Small:
    params = (list(CALLS), ["float32", "float64"])
    param_names = ("call", "dtype")
    unit = "seconds"

    def setup(self, call, dtype):
        self.calls = {call: CALLS[call](common.inputs(SHAPE, dtype))}

    def track_call(self, call, dtype):
        """By our own clock: asv's does setup between any two calls."""
        return common.interleaved(self.calls, common.ROUNDS)[call]
