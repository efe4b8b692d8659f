"""The work, the inputs and the backends that every benchmark shares, and the interleaved clock; knows no peer."""

import time
from collections.abc import Callable
from functools import lru_cache, partial
from statistics import median
from typing import Any

import numpy as np

import agauss as ag
from agauss import dispatch

MAIN, LARGE = "256x8x64x64", "1024x8x64x64"
SHAPES = [
    "128x16",  # the digits example's VAE
    MAIN,
    "1x32x13x60x90",  # CogVideoX: one video's latents
    "1000000x8",  # tiny rows
    "1x8000000",  # one huge row
]
DTYPES = ["float16", "float32", "float64"]
BOUNDS = (-30.0, 20.0)


class Inputs:
    """Everything that any of the work reads or writes, for parameters of one shape; outputs are touched already."""

    def __init__(self, shape: str, dtype: str, xp: Any = np) -> None:
        sizes = tuple(int(n) for n in shape.split("x"))
        batch, channels = sizes[0], sizes[1] // 2
        parameters = np.random.default_rng(0).standard_normal(sizes, np.float32).astype(dtype)
        wide = np.float32 if dtype == "float16" else dtype
        self.xp, self.dtype = xp, dtype
        self.parameters = xp.asarray(parameters)
        self.parameters2 = xp.asarray(parameters * 0.5)
        self.mean, self.logvar = self.parameters[:, :channels], self.parameters[:, channels:]
        self.mean2, self.logvar2 = self.parameters2[:, :channels], self.parameters2[:, channels:]
        self.axes = tuple(range(1, len(sizes)))
        self.x = xp.asarray(parameters[:, :channels] * 2.0)
        self.d_z = xp.asarray(parameters[:, channels:] * 3.0)
        self.d_kl = xp.asarray(np.full(batch, 0.1, wide))
        self.z = xp.ones_like(self.x)
        self.gradient = xp.ones_like(self.parameters)
        self.q = ag.DiagonalGaussianDistribution(self.parameters)
        self.q2 = ag.DiagonalGaussianDistribution(self.parameters2)


def forward_and_backward(a: Inputs) -> Any:
    forward = ag.sample_and_kl(a.parameters, rng=7, out=a.z)
    return *forward, ag.sample_and_kl_vjp(a.parameters, cotangent=(a.d_z, a.d_kl), rng=7, out=a.gradient)


OURS: dict[str, Callable[[Inputs], Any]] = {
    "kl": lambda a: a.q.kl(),
    "kl of two": lambda a: a.q.kl(a.q2),
    "nll": lambda a: a.q.nll(a.x),
    "noise": lambda a: ag.random.normal(tuple(a.z.shape), rng=7, dtype=a.dtype, xp=a.xp, out=a.z),
    "sample": lambda a: a.q.sample(rng=7, out=a.z),
    "sample and kl": lambda a: a.q.sample_and_kl(rng=7, out=a.z),
    "forward and backward": forward_and_backward,
    "kl vjp": lambda a: ag.kl_vjp(a.mean, a.logvar, cotangent=a.d_kl, axis=a.axes, bounds=BOUNDS),
    "kl of two vjp": lambda a: ag.kl_vjp(
        a.mean, a.logvar, a.mean2, a.logvar2, cotangent=a.d_kl, axis=a.axes, bounds=BOUNDS, bounds2=BOUNDS
    ),
    "nll vjp": lambda a: ag.nll_vjp(a.x, a.mean, a.logvar, cotangent=a.d_kl, axis=a.axes, bounds=BOUNDS),
    "sample vjp": lambda a: ag.sample_vjp(a.mean, a.logvar, cotangent=a.d_z, rng=7, bounds=BOUNDS),
    "sample and kl vjp": lambda a: ag.sample_and_kl_vjp(a.parameters, cotangent=(a.d_z, a.d_kl), rng=7, out=a.gradient),
}
WORKS = list(OURS)


@lru_cache(maxsize=1)
def prepared(work: str, backend: str, dtype: str, shape: str) -> Callable[[], Any]:
    """The call to time, made once: asv sets up again before every timed call. Ready when the device is."""
    xp, synchronise = BACKENDS[backend]()
    call = partial(OURS[work], Inputs(shape, dtype, xp))
    call()
    return call if synchronise is None else lambda: (call(), synchronise())


def _numba() -> Any:
    vars(dispatch.NUMPY).pop("backend", None)
    dispatch.NUMPY.fills = True
    return np, None


def _array_api_numpy() -> Any:
    """NumPy arrays on the form for any library, in place of the Numba loops."""
    from agauss.reference import Reference

    dispatch.NUMPY.backend, dispatch.NUMPY.fills = Reference(np), False
    return np, None


def _array_api_torch() -> Any:
    import torch

    return torch, None


def _cupy() -> Any:
    try:
        import cupy

        cupy.zeros(1)
    except Exception as error:
        raise NotImplementedError(f"no CuPy with a GPU: {error}") from error
    return cupy, cupy.cuda.get_current_stream().synchronize


BACKENDS: dict[str, Callable[[], Any]] = {
    "numba": _numba,
    "array-api numpy": _array_api_numpy,
    "array-api torch": _array_api_torch,
    "cupy": _cupy,
}


def interleaved(calls: dict[str, Callable[[], Any]], rounds: int, turn: float = 0.01) -> dict[str, float]:
    """Median seconds of each call, measured in turns A B A B ... so that a slow minute strikes all alike.

    A turn is a pause, in which other libraries' threads stop spinning, one call that does not count, and calls for
    `turn` seconds, at least one.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            time.sleep(0.005)
            call()
            end, stop = 0.0, time.perf_counter() + turn
            while end < stop:
                start = time.perf_counter()
                call()
                end = time.perf_counter()
                seconds[name].append(end - start)
    return {name: median(times) for name, times in seconds.items()}
