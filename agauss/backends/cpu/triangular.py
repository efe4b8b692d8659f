"""Lower triangular matrices in NumPy arrays, by Numba loops; knows no Gaussian.

NumPy has no triangular solve, and SciPy, which has one, is no dependency. The loops read the lower triangle alone, in
place. A matrix is (..., D, D), and it is applied to rows of D numbers, (..., N, D). Leading axes broadcast.
"""

from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from agauss.backends import steps
from agauss.backends.cpu import cache, kernels, threads
from agauss.backends.cpu.pycall import address

PARALLEL_FROM = 131072  # elements of matrices; under this a second thread costs more than it brings
_LOOPS = "agauss.backends.cpu.triangular_loops"


def product(tril: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """L v for each row v."""
    return _by_rows("product", tril, rows)


def solve(tril: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The solution u of L u = v for each row v, by forward substitution."""
    return _by_rows("solve", tril, rows)


def solve_transposed(tril: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The solution u of transposed L u = v for each row v, by back substitution."""
    return _by_rows("solve_transposed", tril, rows)


def solve_lower(tril: np.ndarray, matrices: np.ndarray, transposed: bool = False) -> np.ndarray:
    """The lower triangle of X with L X = M, or with transposed L X = M, for lower triangular matrices M."""
    return _by_rows("solve_lower_transposed" if transposed else "solve_lower", tril, matrices, matrices.shape[-1])


def lower(matrices: np.ndarray) -> np.ndarray:
    """The matrices, which may be changed, with zeros above the diagonal."""
    matrices = _adjacent(matrices)
    d, tasks = matrices.shape[-1], prod(matrices.shape[:-2])
    _run("lower", matrices.dtype, [0, 0, 0, 0, address(matrices), d, d], tasks, d * d)
    return matrices


def outer(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The lower triangle of the sum of v w^T over pairs of rows v and w, and 0 above."""
    steps.step("Numba loops", "outer", rows.dtype.name, "numpy")
    batch = np.broadcast_shapes(rows.shape[:-2], others.shape[:-2])
    n, d = rows.shape[-2:]
    rows, others = (_adjacent(_broadcast(a, (*batch, n, d))) for a in (rows, others))
    out = np.empty((*batch, d, d), rows.dtype)
    _run("outer", rows.dtype, [0, 0, address(rows), address(others), address(out), n, d], prod(batch) * d, n * d)
    return out


def with_diagonal(matrices: np.ndarray, diagonal: np.ndarray) -> np.ndarray:
    """The matrices, which are changed, with another diagonal."""
    places = np.arange(matrices.shape[-1])
    matrices[..., places, places] = diagonal
    return matrices


def _by_rows(name: str, tril: np.ndarray, rows: np.ndarray, together: int = 1) -> np.ndarray:
    """A loop's result for each row, so many of which are one task."""
    steps.step("Numba loops", name, rows.dtype.name, "numpy")
    *own, n, d = rows.shape
    places = _places(tril.shape[:-2], tuple(own))
    batch = places.shape
    rows, matrices = _adjacent(_broadcast(rows, (*batch, n, d))), _adjacent(tril)
    if matrices is not tril:
        steps.copy("the matrices: their rows are not adjacent in memory")
    out = np.empty(rows.shape, rows.dtype)
    words = [address(matrices), address(places), address(rows), 0, address(out), n, d]
    _run(name, rows.dtype, words, prod(batch) * n // max(together, 1), d * d * together)
    return out


@lru_cache(maxsize=256)
def _places(of: tuple[int, ...], rows: tuple[int, ...]) -> np.ndarray:
    """Which of the matrices, whose leading axes are `of`, each member of the batch has."""
    places = np.arange(prod(of), dtype=np.int64).reshape(of)
    return _adjacent(_broadcast(places, np.broadcast_shapes(of, rows)))


def _broadcast(a: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return a if a.shape == shape else np.broadcast_to(a, shape)


def _adjacent(a: np.ndarray) -> np.ndarray:
    """The array, or a copy whose elements follow each other in memory, on their alignment."""
    return a if a.flags.c_contiguous and a.flags.aligned else a.copy()


def _run(name: str, dtype: np.dtype[Any], words: list[int], tasks: int, size: int) -> None:
    """Run a loop's tasks, each of which reads so many elements."""
    kernel = _kernel(name, dtype.type)
    descriptor = np.array(words, np.int64)
    if tasks * size >= PARALLEL_FROM:
        threads.run(kernel, address(descriptor), tasks)
    else:
        kernel(address(descriptor), 0, tasks)


_kernels: dict[tuple[str, type], kernels.Kernel] = {}


def _kernel(name: str, dtype: type) -> kernels.Kernel:
    def named() -> tuple[object, ...]:
        # The digest of the sources that is in every kernel's name does not cover these loops.
        return name, dtype.__name__, cache.source(_LOOPS)

    return kernels.made(_kernels, (name, dtype), named, lambda key: _compiled(name, key, dtype), arguments=3)


def _compiled(name: str, key: str, dtype: type) -> Any:
    from agauss.backends.cpu import triangular_loops

    return triangular_loops.make(name, key, dtype)
