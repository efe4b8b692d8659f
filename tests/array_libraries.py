"""The libraries that the array-API form is for: their arrays, calls on them, and how near the results are."""

from contextlib import contextmanager
from functools import cache

import array_api_strict
import dask.array as da
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import torch
from cases import CALLS, SHAPE, arrays, as_tuple

import agauss as ag
from agauss.arrays import NUMPY
from agauss.backends.array_api.backend import Reference

LIBRARIES = ("array_api_strict", "torch", "jax", "dask", "numpy by the array API")
LIBRARIES_AND_DTYPES = [
    (library, dtype)
    for library in LIBRARIES
    for dtype in ("float32", "float64")
    if (library, dtype) != ("jax", "float64")  # which JAX has only where it is told so: test_jax_with_64_bits
]
# In units of the dtype's epsilon and of the larger of the value and 1, to which all inputs here are near. Two
# libraries' exp, expm1 and log1p differ by up to 2 ulp each, and a gradient multiplies two such. Found: 3.0.
TOLERANCE = 5
# But for sums over 20 or 30 terms of either sign, each as large as 20. Found: 25.
SUMMED_TOLERANCE = 50
EITHER_SIGN = ("vjp", "log_density_ratio")
# Normals are made of the same IEEE steps everywhere. A fused multiply-add that is put together from others is off once
# in 2^29 steps, of which a normal takes 50, and then by 1 or 2 ulp: one of 10 million. Found in 8 million: none.
NORMAL_ULPS, NORMALS_OFF = 2, 2


@contextmanager
def the_form(library):
    """Within, NumPy arrays go to the array-API form too, by way of array-api-compat, where that is the library."""
    with pytest.MonkeyPatch.context() as patch:
        if library == "numpy by the array API":
            patch.setattr(NUMPY, "backend", Reference(np))
            patch.setattr(NUMPY, "fills", False)
        yield


def to(library, a):
    """A NumPy array as one of the library's."""
    if library == "torch":
        if a.dtype == ml_dtypes.bfloat16:
            return torch.from_numpy(a.astype(np.float32)).to(torch.bfloat16)
        return torch.from_numpy(a.copy())
    if library == "jax":
        return jnp.asarray(a)
    if library == "dask":
        return da.from_array(a, chunks=tuple(max(1, (n + 1) // 2) for n in a.shape))
    if library == "array_api_strict":
        return array_api_strict.asarray(a, device=array_api_strict.Device("CPU_DEVICE"))
    return a


def host(a):
    if isinstance(a, da.Array):
        return a.compute(scheduler="synchronous")
    if isinstance(a, torch.Tensor):
        a = a.detach()
        return a.float().numpy().astype(ml_dtypes.bfloat16) if a.dtype == torch.bfloat16 else a.numpy()
    return np.asarray(a)


TYPES = {
    "array_api_strict": type(array_api_strict.zeros(1)),
    "torch": torch.Tensor,
    "jax": jax.Array,
    "dask": da.Array,
    "numpy by the array API": (np.ndarray, np.generic),  # np.sum returns a scalar, as no other library does
}


def name_of(dtype):
    return str(getattr(dtype, "name", dtype)).rpartition(".")[2]


def given(library, dtype="float32"):
    return {name: to(library, a) for name, a in arrays(dtype).items()}


NAMESPACES = {"array_api_strict": array_api_strict, "torch": torch, "jax": jnp, "dask": da}


def results(name, library, dtype="float32"):
    """The operation's results on a library, as a tuple."""
    with the_form(library):
        return as_tuple(CALLS[name](ag, {**given(library, dtype), "xp": NAMESPACES.get(library)}))


@cache
def by_the_loops(name, dtype="float32"):
    """The operation's results by NumPy and Numba."""
    return results(name, "numpy", dtype)


def assert_close(got, want, name=""):
    got, want = host(got), np.asarray(want)
    summed = got.size < np.prod(SHAPE) and any(part in name for part in EITHER_SIGN)
    tolerance = SUMMED_TOLERANCE if summed else TOLERANCE
    assert got.shape == want.shape
    if want.dtype.kind in "iu":
        np.testing.assert_array_equal(got, want)
        return
    unit = float(ml_dtypes.finfo(want.dtype).eps)
    wide_got, wide_want = got.astype(np.float64), want.astype(np.float64)
    error = np.abs(wide_got - wide_want) / np.maximum(np.abs(wide_want), 1)
    assert (error <= tolerance * unit).all(), error.max() / unit


def ulps_apart(a, b):
    """How many numbers of their dtype lie between two arrays' elements."""
    whole = np.int32 if a.dtype == np.float32 else np.int64
    places = []
    for x in (a, b):
        bits = np.ascontiguousarray(x).view(whole).astype(object if whole is np.int64 else np.int64)
        places.append(np.where(bits < 0, -(bits & np.iinfo(whole).max), bits))
    return np.abs(places[0] - places[1])


def assert_same_noise(got, want):
    got = host(got)
    assert got.dtype == want.dtype
    assert got.shape == want.shape
    off = np.flatnonzero(got != want)
    assert off.size <= NORMALS_OFF
    assert off.size == 0 or ulps_apart(got.ravel()[off], want.ravel()[off]).max() <= NORMAL_ULPS


def namespace(library):
    import array_api_compat.numpy

    return {
        "array_api_strict": array_api_strict,
        "torch": torch,
        "jax": jnp,
        "dask": da,
        "numpy by the array API": array_api_compat.numpy,
    }[library]
