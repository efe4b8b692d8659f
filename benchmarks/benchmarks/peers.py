"""Others' ways to do the same work, each from the very inputs that agauss gets; knows nothing of agauss.

CogVideo's formulas in PyTorch and JAX, NumPy's, and floors ("alone"): a plain sum or copy of the parameters, and noise
with nothing done to it. A function here takes the inputs and returns the call to time, compiled and ready.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from . import common
from .common import Inputs

Call = Callable[[], Any]


def numpy_kl(a: Inputs) -> Call:
    def call() -> np.ndarray:
        mean, logvar = np.split(a.parameters, 2, axis=1)
        logvar = np.clip(logvar, -30.0, 20.0)
        return 0.5 * np.sum(mean**2 + np.exp(logvar) - 1.0 - logvar, axis=a.axes)

    return call


def numpy_noise(a: Inputs) -> Call:
    rng = np.random.default_rng(7)
    return lambda: rng.standard_normal(out=a.z, dtype=a.z.dtype)


def numpy_copy(a: Inputs) -> Call:
    return lambda: np.copyto(a.gradient, a.parameters)


def _torch_halves(parameters: Any) -> Any:
    import torch

    mean, logvar = torch.chunk(parameters, 2, dim=1)
    return mean, torch.clamp(logvar, -30.0, 20.0)


def _torch_kl(mean: Any, logvar: Any) -> Any:
    """Without the standard deviation, which CogVideo's class makes whether it is used or not."""
    import torch

    return 0.5 * torch.sum(torch.pow(mean, 2) + torch.exp(logvar) - 1.0 - logvar, dim=tuple(range(1, mean.ndim)))


def _torch_sample(mean: Any, logvar: Any) -> Any:
    import torch

    return mean + torch.exp(0.5 * logvar) * torch.randn_like(mean)


def torch_kl(a: Inputs) -> Call:
    import torch

    parameters = torch.from_numpy(a.parameters)
    return lambda: _torch_kl(*_torch_halves(parameters))


def torch_compiled_kl(a: Inputs) -> Call:
    import torch

    parameters = torch.from_numpy(a.parameters)
    compiled = torch.compile(lambda parameters: _torch_kl(*_torch_halves(parameters)), dynamic=False)
    return lambda: compiled(parameters)


def torch_sample(a: Inputs) -> Call:
    import torch

    parameters = torch.from_numpy(a.parameters)
    return lambda: _torch_sample(*_torch_halves(parameters))


def torch_forward_and_backward(a: Inputs) -> Call:
    import torch

    parameters = torch.from_numpy(a.parameters).requires_grad_()
    cotangents = torch.from_numpy(a.d_z), torch.from_numpy(a.d_kl)

    def call() -> Any:
        moments = _torch_halves(parameters)
        values = _torch_sample(*moments), _torch_kl(*moments)
        return *values, *torch.autograd.grad(values, parameters, cotangents)

    return call


def torch_noise(a: Inputs) -> Call:
    import torch

    return torch.from_numpy(a.z).normal_


def torch_sum(a: Inputs) -> Call:
    import torch

    return torch.from_numpy(a.parameters).sum


@lru_cache
def _jax() -> Any:
    import jax

    jax.config.update("jax_enable_x64", True)  # every dtype here is explicit
    return jax


def _jax_halves(parameters: Any) -> Any:
    jnp = _jax().numpy
    mean, logvar = jnp.split(parameters, 2, axis=1)
    return mean, jnp.clip(logvar, -30.0, 20.0)


def _jax_kl(parameters: Any) -> Any:
    jnp = _jax().numpy
    mean, logvar = _jax_halves(parameters)
    return 0.5 * jnp.sum(mean**2 + jnp.exp(logvar) - 1.0 - logvar, axis=tuple(range(1, mean.ndim)))


def _jax_sample(parameters: Any, key: Any) -> Any:
    jax = _jax()
    mean, logvar = _jax_halves(parameters)
    return mean + jax.numpy.exp(0.5 * logvar) * jax.random.normal(key, mean.shape, mean.dtype)


def _jax_forward_and_backward(parameters: Any, key: Any, d_z: Any, d_kl: Any) -> Any:
    """value_and_grad for the two values' own cotangents."""
    values, pullback = _jax().vjp(lambda p: (_jax_sample(p, key), _jax_kl(p)), parameters)
    return values, pullback((d_z, d_kl))


def _jitted(function: Callable[..., Any], *arguments: Any) -> Call:
    jax = _jax()
    compiled = jax.jit(function)
    arguments = tuple(jax.numpy.asarray(argument) for argument in arguments)
    return lambda: jax.block_until_ready(compiled(*arguments))


def jax_kl(a: Inputs) -> Call:
    return _jitted(_jax_kl, a.parameters)


def jax_sample(a: Inputs) -> Call:
    return _jitted(_jax_sample, a.parameters, _jax().random.key(7))


def jax_forward_and_backward(a: Inputs) -> Call:
    return _jitted(_jax_forward_and_backward, a.parameters, _jax().random.key(7), a.d_z, a.d_kl)


PEERS: dict[str, dict[str, Callable[[Inputs], Call]]] = {
    "kl": {
        "torch.compile": torch_compiled_kl,
        "torch eager": torch_kl,
        "numpy": numpy_kl,
        "jax.jit": jax_kl,
        "torch sum alone": torch_sum,
    },
    "sample": {
        "torch eager": torch_sample,
        "jax.jit": jax_sample,
        "torch normal_ alone": torch_noise,
        "numpy copy alone": numpy_copy,
    },
    "noise": {"torch normal_ alone": torch_noise, "numpy": numpy_noise},
    "forward and backward": {
        "torch eager": torch_forward_and_backward,
        "jax.jit": jax_forward_and_backward,
        "numpy copy alone": numpy_copy,
    },
}


PAIRS = {f"{work}: {peer}": (work, peer) for work, peers in PEERS.items() for peer in peers}


@lru_cache(maxsize=1)
def prepared(pair: str, dtype: str, shape: str) -> Call:
    """The call to time, made once: asv sets up again before every timed call."""
    work, peer = PAIRS[pair]
    try:
        call = PEERS[work][peer](Inputs(shape, dtype))
        call()
    except ImportError as error:
        raise NotImplementedError(str(error)) from error
    return call


class _Peers:
    param_names = ("pair", "dtype", "shape")
    repeat = (3, 50, 2.0)

    def setup(self, *case):
        self.call = prepared(*case)

    def time_call(self, *case):
        self.call()


class Shapes(_Peers):
    params = (list(PAIRS), ["float32"], common.SHAPES)


class Dtypes(_Peers):
    params = (list(PAIRS), ["float32", "float64"], [common.MAIN])


class Large(_Peers):
    params = ([pair for pair, (work, _) in PAIRS.items() if work == "kl"], ["float32", "float64"], [common.LARGE])
