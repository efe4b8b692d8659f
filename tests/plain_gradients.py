"""Gradients of the plain forms, by torch's autograd and by differences, and what they are compared on."""

import numpy as np
import pytest
import torch
from cases import CASES, ELEMENTWISE, as_tuple, each
from oracles import LIBRARIES, wide

import agauss as ag

libraries = pytest.mark.parametrize("library", LIBRARIES)
HALF = ("float16", "bfloat16")
# float64 against float64: some roundings of 1e-16, and cancellation among a few terms.
CLOSE = {"rtol": 1e-12, "atol": 1e-12}
SHAPE = (2, 3, 4)
BOUND_KINDS = (None, "hard", "soft", "straight-through")
LIMITS = (-1.0, 1.5)
SAMPLE, FUSED = CASES["sample"], CASES["sample_and_kl"]
ops = each(ELEMENTWISE)


def expected(case, primals, cotangent, **options):
    """Gradients of the plain form by torch in float64."""
    primals = [torch.tensor(wide(p), dtype=torch.float64, requires_grad=True) for p in primals]
    values = as_tuple(case.plain(torch, *primals, **options))
    cotangents = cotangent if isinstance(cotangent, tuple) else (cotangent,)
    cotangents = [torch.tensor(wide(c) if hasattr(c, "dtype") else c, dtype=torch.float64) for c in cotangents]
    total = sum((v * c).sum() for v, c in zip(values, cotangents, strict=True))
    gradients = torch.autograd.grad(total, primals, allow_unused=True, materialize_grads=True)
    return [g.numpy() for g in gradients]


def assert_gradients(got, want, primals, **tolerance):
    assert isinstance(got, tuple)
    assert len(got) == len(want) == len(primals)
    for place, (g, w, p) in enumerate(zip(got, want, primals, strict=True)):
        assert tuple(g.shape) == tuple(np.shape(p)) == w.shape
        np.testing.assert_allclose(wide(g), w, err_msg=f"argument {place}", **(tolerance or CLOSE))


def differences(function, primals, step=1e-5):
    """Central differences of a number; in float64 right to the square of the step, and 1e-16 over it: 1e-10."""
    gradients = []
    for place, primal in enumerate(primals):
        gradient = np.zeros(primal.shape)
        for index in np.ndindex(*primal.shape):
            ends = []
            for sign in (1, -1):
                moved = [p.copy() for p in primals]
                moved[place][index] += sign * step
                ends.append(float(function(*moved)))
            gradient[index] = (ends[0] - ends[1]) / (2 * step)
        gradients.append(gradient)
    return gradients


def noise(shape, rng, dtype="float64", **options):
    return wide(ag.sample(np.zeros(shape, dtype), np.zeros(shape, dtype), rng=rng, **options))
