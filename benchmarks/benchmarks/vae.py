"""agauss.vae: each function of arrays, over means and log-variances of latents; and Diagnostics over kl, in turns."""

import inspect
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

import agauss as ag
from agauss import vae

from . import common
from .common import Call

SHAPES = [common.MAIN, "4096x256"] if len(common.SHAPES) > 1 else [common.MAIN]
K, T = 4, [0.25, 0.75]  # samples of a datum, and places between two latents


class Inputs(common.Inputs):
    """And what the functions take beside latents: values of each datum, and K samples."""

    def __init__(self, parameters: Any) -> None:
        super().__init__(np, parameters, parameters * parameters.dtype.type(0.5))
        self.kl = ag.kl(self.mean, self.logvar, axis=self.axes)
        self.kls = ag.kl(self.mean, self.logvar, axis=())
        self.ends = np.full((len(T), *self.mean.shape), 0.5, self.dtype)
        self.zs = ag.sample(self.mean, self.logvar, rng=7, sample_shape=K)
        axes = tuple(axis + 1 for axis in self.axes)
        self.log_weights = -ag.log_density_ratio(self.zs, self.mean, self.logvar, axis=axes)
        (self.weights,) = vae.iwae_vjp(self.log_weights, 0, cotangent=1.0)


def _update(a: Inputs) -> None:
    vae.Diagnostics().update(a.q, a.kl)


WORKS: dict[str, Callable[[Inputs], Any]] = {
    "Diagnostics.update": _update,
    "anomaly": lambda a: vae.anomaly(a.kl, a.kl),
    "elbo": lambda a: vae.elbo(a.kl, a.kl, beta=0.5),
    "elbo_vjp": lambda a: vae.elbo_vjp(a.kl, a.kl, beta=0.5, cotangent=1.0),
    "free_bits": lambda a: vae.free_bits(a.kls, 0.5),
    "free_bits_vjp": lambda a: vae.free_bits_vjp(a.kls, 0.5, cotangent=1.0),
    "interpolate": lambda a: vae.interpolate(a.q, a.q2, T, "wasserstein"),
    "interpolate_vjp": lambda a: vae.interpolate_vjp(a.q, a.q2, T, "wasserstein", cotangent=(a.ends, a.ends)),
    "iwae": lambda a: vae.iwae(a.log_weights, 0),
    "iwae_gradients": lambda a: vae.iwae_gradients(a.weights, a.zs, a.zs, a.mean, a.logvar),
    "iwae_vjp": lambda a: vae.iwae_vjp(a.log_weights, 0, cotangent=1.0),
    "kl_capacity": lambda a: vae.kl_capacity(a.kl, 5.0),
    "kl_capacity_vjp": lambda a: vae.kl_capacity_vjp(a.kl, 5.0, cotangent=1.0),
    "product_of_experts": lambda a: vae.product_of_experts([a.mean, a.mean2], [a.logvar, a.logvar2]),
    "product_of_experts_vjp": lambda a: vae.product_of_experts_vjp(
        [a.mean, a.mean2], [a.logvar, a.logvar2], cotangent=(a.d_z, a.d_z)
    ),
    "score_function": lambda a: vae.score_function(a.log_weights, a.zs, a.mean, a.logvar, "leave-one-out"),
    "slerp": lambda a: vae.slerp(a.x, a.d_z, T),
    "slerp_vjp": lambda a: vae.slerp_vjp(a.x, a.d_z, T, cotangent=a.ends),
}
_left_out = {
    name
    for name in vae.__all__
    if inspect.isfunction(getattr(vae, name)) and inspect.signature(getattr(vae, name)).return_annotation != "Schedule"
} - set(WORKS)
if _left_out:
    raise LookupError(f"WORKS must have a call of each function of agauss.vae; it lacks {', '.join(sorted(_left_out))}")


@lru_cache(maxsize=1)
def prepared(work: str, shape: str) -> Call:
    """The call to time, made once: asv sets up again before every timed call."""
    sizes = tuple(int(n) for n in shape.split("x"))
    a = Inputs(np.random.default_rng(0).standard_normal(sizes, np.float32))
    WORKS[work](a)
    return lambda: WORKS[work](a)


class Vae:
    params = (list(WORKS), SHAPES)
    param_names = ("work", "shape")
    repeat = (3, 50, 2.0)

    def setup(self, work, shape):
        self.call = prepared(work, shape)

    def time_call(self, work, shape):
        self.call()


class DiagnosticsOverKl:
    params = (SHAPES,)
    param_names = ("shape",)
    unit = "update / kl"

    def setup(self, shape):
        update = prepared("Diagnostics.update", shape)
        q = common.inputs(shape, "float32").q
        self.calls = {"update": update, "kl": q.kl}

    def track_ratio(self, shape):
        seconds = common.interleaved(self.calls, rounds=common.ROUNDS)
        return seconds["update"] / seconds["kl"]
