"""The calls that PyTorch differentiates, tensors for them, and a plain form."""

import torch
from cases import CALLS, LINEAR_METHODS, METHODS, RICH, arrays

from agauss.integrations import torch as agt

Q = agt.DiagonalGaussianDistribution
DERIVED = {**RICH, "kl_prior of elements": CALLS["kl_prior"], **METHODS, **LINEAR_METHODS}


def normal(*shape, seed=0, dtype=torch.float64, grad=False):
    made = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)
    return made.requires_grad_(grad)


def inputs(dtype=torch.float64, grad=False):
    """x, mean, logvar, column and row that broadcast, and parameters."""
    shapes = ((6, 4, 5), (6, 4, 5), (6, 4, 5), (4, 1), (6, 1, 5), (6, 8, 5))
    return [normal(*shape, seed=k, dtype=dtype, grad=grad) for k, shape in enumerate(shapes)]


def tensors_of(call, dtype=torch.float64, grad=False):
    """Those that a call takes, by name."""
    made = arrays("float64")
    return {name: torch.from_numpy(made[name]).to(dtype).requires_grad_(grad) for name in call.used}


def function_and_tensors(call, dtype=torch.float64):
    """A call as a function of its tensors, and these, which require gradients."""
    tensors = tensors_of(call, dtype, grad=True)
    return lambda *given: call(agt, dict(zip(tensors, given, strict=True))), tuple(tensors.values())


def plain_sample_and_kl(p, eps, low=-30.0, high=20.0):
    """As CogVideo's and diffusers' classes compute it."""
    mean, logvar = torch.chunk(p, 2, dim=1)
    logvar = torch.clamp(logvar, low, high)
    z = mean + torch.exp(0.5 * logvar) * eps
    return z, 0.5 * torch.sum(mean**2 + torch.exp(logvar) - 1.0 - logvar, dim=[1, 2, 3])
