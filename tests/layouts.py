"""Ways for the same numbers to lie in memory."""

import numpy as np
import pytest
from oracles import (
    LIBRARIES,
    numpy_dtype,
)
from quick import nightly_unless

import agauss as ag

Q = ag.DiagonalGaussianDistribution
FLOATS = ("float16", "bfloat16", "float32", "float64")
SUM_TOLERANCE = {"float16": 1e-6, "bfloat16": 1e-6, "float32": 1e-6, "float64": 1e-13}
libraries = pytest.mark.parametrize("library", LIBRARIES)
# The half types are computed by the loops of float32; those of float64 are compiled for themselves.
dtypes = pytest.mark.parametrize("dtype", nightly_unless(lambda dtype: dtype != "float64", FLOATS))


def values(shape, seed, dtype="float32"):
    return np.random.default_rng(seed).normal(size=shape).astype(numpy_dtype(dtype))


# Ways for the same numbers to lie in memory


def strided(a, tmp_path):
    room = np.full([2 * n + 1 for n in a.shape], np.nan, a.dtype)
    view = room[tuple(slice(1, None, 2) for _ in a.shape)]
    view[...] = a
    return view


def reverse(a):
    return a[(slice(None, None, -1),) * a.ndim]


def negative(a, tmp_path):
    return reverse(reverse(a).copy())


def fortran(a, tmp_path):
    return np.asfortranarray(a)


def permuted(a, tmp_path):
    return np.moveaxis(np.moveaxis(a, 0, -1).copy(), -1, 0)


def last_axis_strided(a, tmp_path):
    room = np.full((*a.shape, 3), np.nan, a.dtype)
    room[..., 1] = a
    return room[..., 1]


def one_axis_negative(a, tmp_path):
    return a[:, ::-1].copy()[:, ::-1]


def cut_out(a, tmp_path):
    room = np.full([n + 5 for n in a.shape], np.nan, a.dtype)
    view = room[tuple(slice(2, 2 + n) for n in a.shape)]
    view[...] = a
    return view


def field_of_a_record(a, tmp_path):
    # bfloat16 cannot be a field: the same bytes, five apart in every record, by hand.
    room = np.zeros((*a.shape, a.dtype.itemsize + 1), np.uint8)
    room[..., 1:] = np.ascontiguousarray(a).view(np.uint8).reshape(*a.shape, a.dtype.itemsize)
    strides = room.strides[:-1]
    view = np.ndarray(a.shape, a.dtype, room.data, 1, strides)
    assert not view.flags.aligned
    return view


def at_an_odd_address(a, tmp_path):
    room = np.zeros(a.nbytes + 1, np.uint8)
    view = np.ndarray(a.shape, a.dtype, room.data, 1)
    view[...] = a
    assert not view.flags.aligned
    return view


def read_only(a, tmp_path):
    a = a.copy()
    a.flags.writeable = False
    return a


def memory_mapped(a, tmp_path):
    path = tmp_path / f"array {len(list(tmp_path.iterdir()))}"
    np.ascontiguousarray(a).view(np.uint8).tofile(path)
    mapped = np.memmap(path, np.uint8, "r")
    return mapped.view(a.dtype).reshape(a.shape)


# Bounds of some of the operations, of several kinds, lest most log-variances be outside.
LIMITS = {"clamp": (-1, 1), "saturated": (-1, 1), "var": (-1, 1, "soft"), "sample": (-1, 1)}
