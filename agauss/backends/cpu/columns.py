"""Sums over a batch of posteriors for each latent, in one pass by a Numba loop; knows no diagnostics."""

import struct
from typing import Any

import numpy as np

from agauss.backends.cpu import cache, kernels, threads
from agauss.backends.cpu.backend import PARALLEL_FROM
from agauss.backends.cpu.pycall import address
from agauss.backends.protocol import Bound

N_SUMS = 5  # KL; how far means are from the first datum's, and the squares; variances; whether a log-variance differs
DATA, LATENTS = 1024, 512  # data and latents of a task, whose sums fit in the caches
_LOOPS = "agauss.backends.cpu.column_loops"


def sums(mean: np.ndarray, logvar: np.ndarray, bounds: tuple[Bound, ...]) -> tuple[Any, ...]:
    """For each latent the sums that N_SUMS counts; how many log-variances are outside the bounds; how many means and
    log-variances are inf or NaN. The arrays are of one shape, and not empty."""
    _, kind, low, high = bounds[0] if bounds else (0, "hard", -np.inf, np.inf)
    n, shape = mean.shape[0], mean.shape[1:]
    means, logvars = (_rows(a) for a in (mean, logvar))
    columns = means.shape[1]
    chunks, blocks = -(-n // DATA), -(-columns // LATENTS)
    found, counts = np.empty((chunks, N_SUMS, columns)), np.empty((chunks * blocks, 2), np.int64)
    words: list[int] = []
    for a in (means, logvars):
        words += address(a), a.strides[0] // a.itemsize
    words += address(found), N_SUMS * columns, address(counts), n, columns, DATA, LATENTS
    words += struct.unpack("<2q", struct.pack("<2d", low, high))
    loop, d = _loop(mean.dtype.type, kind), np.array(words, np.int64)
    if mean.size >= PARALLEL_FROM:
        threads.run(loop, address(d), len(counts))
    else:
        loop(address(d), 0, len(counts))
    saturated, non_finite = counts.sum(axis=0)
    return *found.sum(axis=0).reshape(N_SUMS, *shape), saturated, non_finite


def _rows(a: np.ndarray) -> np.ndarray:
    """A row for each datum, whose elements are adjacent: a view, or a copy where there is none."""
    rows = a.reshape(len(a), -1)
    step = rows.strides[1] if rows.shape[1] > 1 else rows.itemsize
    adjacent = step == rows.itemsize and rows.strides[0] % rows.itemsize == 0 and rows.flags.aligned
    return rows if adjacent else rows.copy()


_loops: dict[tuple[type, str], kernels.Kernel] = {}


def _loop(dtype: type, kind: str) -> kernels.Kernel:
    def named() -> tuple[object, ...]:
        return "column sums", dtype.__name__, kind, cache.source(_LOOPS)

    return kernels.made(_loops, (dtype, kind), named, lambda key: _compiled(key, dtype, kind), arguments=3)


def _compiled(key: str, dtype: type, kind: str) -> Any:
    from agauss.backends.cpu import column_loops

    return column_loops.make(key, dtype, kind)
