"""What the tests of conformance share: the class of the field from its formulas, and what the suite says of one."""

import math

import numpy as np
import pytest
import torch
from oracles import (
    LIBRARIES,
    array,
    wide,
)

import agauss as ag
from agauss.conformance import run
from agauss.conformance.extras import EXTRAS
from agauss.conformance.faults import FAULTS
from agauss.conformance.formulas import FORMULAS

SHAPES = [(3, 6), (3, 6, 5), (3, 8, 4, 6), (3, 8, 2, 4, 6), (1, 2)]
HALF = ("float16", "bfloat16")
FLOATS = ("float16", "bfloat16", "float32", "float64")
# Reductions come back in float32 or wider.
WIDE = {"float16": "float32", "bfloat16": "float32", "float32": "float32", "float64": "float64"}
# Sums are within 1e-6 in float32 by contract; 1e-13 is the float64 reference's own rounding.
SUM_TOLERANCE = {"float32": 1e-6, "float64": 1e-13}

libraries = pytest.mark.parametrize("library", LIBRARIES)
dtypes = pytest.mark.parametrize("dtype", FLOATS)
shapes = pytest.mark.parametrize("shape", SHAPES, ids=str)


def parameters_of(library, shape, dtype="float32", seed=0):
    return array(library, np.random.default_rng(seed).normal(size=shape), dtype)


def halves(parameters, axis=1):
    return np.split(wide(parameters), 2, axis=axis)


def rest(a):
    return tuple(range(1, a.ndim))


class PlainDistribution:
    """The field's class, from its formulas, on 4-D torch tensors."""

    def __init__(self, parameters, deterministic=False):
        self.mean, logvar = torch.chunk(parameters, 2, dim=1)
        self.logvar = torch.clamp(logvar, -30.0, 20.0)
        self.std, self.var = torch.exp(0.5 * self.logvar), torch.exp(self.logvar)
        if deterministic:
            self.std = self.var = torch.zeros_like(self.mean)

    def sample(self, eps):
        return self.mean + self.std * eps

    def kl(self, other=None):
        if other is None:
            terms = self.mean**2 + self.var - 1.0 - self.logvar
        else:
            terms = (self.mean - other.mean) ** 2 / other.var + self.var / other.var - 1.0 - self.logvar + other.logvar
        return 0.5 * terms.sum(dim=[1, 2, 3])

    def nll(self, x, dims=(1, 2, 3)):
        return 0.5 * (math.log(2 * math.pi) + self.logvar + (x - self.mean) ** 2 / self.var).sum(dim=list(dims))

    def mode(self):
        return self.mean


def plain_normal_kl(mean1, logvar1, mean2, logvar2):
    return 0.5 * (-1.0 + logvar2 - logvar1 + torch.exp(logvar1 - logvar2) + (mean1 - mean2) ** 2 * torch.exp(-logvar2))


# The plain form cancels: its own error, relative to terms of the size of 10, is what this allows.
PLAIN = {torch.float32: {"rtol": 2e-5, "atol": 2e-5}, torch.float64: {"rtol": 1e-13, "atol": 1e-13}}
torch_dtypes = pytest.mark.parametrize("dtype", list(PLAIN), ids=str)


EXTRA = [check.name for check in EXTRAS]
CHECKS = [*(check.name for check in (*FAULTS, *FORMULAS)), *EXTRA]
NEAR_THE_PRIOR = [f"kl at mean 0, logvar {logvar}" for logvar in ("1e-02", "1e-03", "1e-04", "1e-05")]
CPU_AND_GPU = "one seed, CPU and GPU"
BY_AUTOGRAD = [
    "logvar outside [-30, 20]: gradient",
    "extra: gradient outside the bounds",
    "gradient of kl",
    "gradient of nll",
    "gradient of sample",
]


class ReferenceDistribution(PlainDistribution):
    """The field's class with what PlainDistribution leaves out: its noise, and its kl and nll where deterministic."""

    def __init__(self, parameters, deterministic=False):
        super().__init__(parameters, deterministic)
        self.parameters, self.deterministic = parameters, deterministic

    def sample(self):
        return super().sample(torch.randn(self.mean.shape).to(self.parameters.device))

    def kl(self, other=None):
        return torch.Tensor([0.0]) if self.deterministic else super().kl(other)

    def nll(self, x, dims=(1, 2, 3)):
        return torch.Tensor([0.0]) if self.deterministic else super().nll(x, dims)


def reference_normal_kl(*arguments):
    tensor = next(a for a in arguments if isinstance(a, torch.Tensor))
    return plain_normal_kl(*(a if isinstance(a, torch.Tensor) else torch.tensor(a).to(tensor) for a in arguments))


def results(rows, result):
    return [row.name for row in rows if row.result == result]


def failing(cls, arrays="numpy", normal_kl=None):
    return results(run(cls, arrays, normal_kl), "fail")


def came(cls, name, arrays="numpy", normal_kl=None):
    (row,) = (row for row in run(cls, arrays, normal_kl) if row.name == name)
    return row.came


Right = ag.DiagonalGaussianDistribution
