"""Lower triangular matrices in NumPy arrays, by Numba loops; knows no Gaussian.

NumPy has no triangular solve, and SciPy, which has, is no dependency. The loops read the lower triangle alone, in place.
A matrix is (..., D, D), and what it is applied to are rows of D numbers, (..., N, D). Leading axes broadcast.

No step is reassociated, so a result depends neither on the vector width nor on the threads.
"""

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
from numba import cfunc, types
from numba.core.compiler_lock import global_compiler_lock
from numba.extending import register_jitable

from agauss.backends import steps
from agauss.backends.cpu import cache, kernels, threads
from agauss.backends.cpu.backend import address
from agauss.backends.cpu.memory import advance, pointer

# Of the vector of int64 that a loop reads: addresses, then extents.
MATRICES, PLACES, ROWS, OTHERS, OUT, N, D = range(7)
PARALLEL_FROM = 131072  # elements of matrices; under this a second thread costs more than it brings
SIGNATURE = types.void(types.CPointer(types.int64), types.int64, types.int64)


def product(tril: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """L v for each row v."""
    return _by_rows("product", tril, rows)


def solve(tril: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The solution u of L u = v for each row v, by forward substitution."""
    return _by_rows("solve", tril, rows)


def solve_transposed(tril: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The solution u of transposed L u = v for each row v, by back substitution."""
    return _by_rows("solve_transposed", tril, rows)


def outer(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The lower triangle of the sum of v w^T over pairs of rows v and w, and 0 above."""
    steps.step("Numba loops", "outer", rows.dtype.name, "numpy")
    batch = np.broadcast_shapes(rows.shape[:-2], others.shape[:-2])
    n, d = rows.shape[-2:]
    rows, others = (np.ascontiguousarray(np.broadcast_to(a, (*batch, n, d))) for a in (rows, others))
    out = np.empty((*batch, d, d), rows.dtype)
    _run("outer", rows.dtype, [0, 0, address(rows), address(others), address(out), n, d], prod(batch) * d, n * d)
    return out


def with_diagonal(matrices: np.ndarray, diagonal: np.ndarray) -> np.ndarray:
    """The matrices, which are changed, with another diagonal."""
    places = np.arange(matrices.shape[-1])
    matrices[..., places, places] = diagonal
    return matrices


def _by_rows(name: str, tril: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """A loop's result for each row."""
    steps.step("Numba loops", name, rows.dtype.name, "numpy")
    batch = np.broadcast_shapes(tril.shape[:-2], rows.shape[:-2])
    n, d = rows.shape[-2:]
    rows = np.ascontiguousarray(np.broadcast_to(rows, (*batch, n, d)))
    matrices = np.ascontiguousarray(tril)
    places = np.arange(prod(tril.shape[:-2])).reshape(tril.shape[:-2])
    places = np.ascontiguousarray(np.broadcast_to(places, batch), np.int64)
    if matrices is not tril:
        steps.copy("the matrices: their rows are not adjacent in memory")
    out = np.empty(rows.shape, rows.dtype)
    words = [address(matrices), address(places), address(rows), 0, address(out), n, d]
    _run(name, rows.dtype, words, prod(batch) * n, d * d)
    return out


def _run(name: str, dtype: np.dtype[Any], words: list[int], tasks: int, size: int) -> None:
    """Run a loop's tasks, each of which reads so many elements."""
    kernel = _kernel(name, dtype.type)
    descriptor = np.array(words, np.int64)
    if tasks * size >= PARALLEL_FROM:
        threads.run(kernel, address(descriptor), tasks)
    else:
        kernel(address(descriptor), 0, tasks)


# The loops, as C functions (descriptor, first task, last task) that any thread may call


@register_jitable
def dot(a, b, n, zero):
    """The sum of a[k] b[k] for k under n, in eight lanes."""
    s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = zero
    whole = n - n % 8
    for k in range(0, whole, 8):
        s0 += a[k] * b[k]
        s1 += a[k + 1] * b[k + 1]
        s2 += a[k + 2] * b[k + 2]
        s3 += a[k + 3] * b[k + 3]
        s4 += a[k + 4] * b[k + 4]
        s5 += a[k + 5] * b[k + 5]
        s6 += a[k + 6] * b[k + 6]
        s7 += a[k + 7] * b[k + 7]
    rest = zero
    for k in range(whole, n):
        rest += a[k] * b[k]
    return (((s0 + s4) + (s2 + s6)) + ((s1 + s5) + (s3 + s7))) + rest


@register_jitable
def parts(d, task, zero):
    """The matrix of a task, its row and its result, as pointers."""
    size, place = d[D], pointer(d[PLACES], d[D])[task // d[N]]
    tril = advance(pointer(d[MATRICES], zero), place * size * size)
    return tril, advance(pointer(d[ROWS], zero), task * size), advance(pointer(d[OUT], zero), task * size)


def _product(zero):
    def loop(d, begin, end):
        for task in range(begin, end):
            tril, row, out = parts(d, task, zero)
            for i in range(d[D]):
                out[i] = dot(advance(tril, i * d[D]), row, i + 1, zero)

    return loop


def _solve(zero):
    def loop(d, begin, end):
        for task in range(begin, end):
            tril, row, out = parts(d, task, zero)
            first = 0  # zeros that a row begins with are zeros of the solution: a triangular matrix's rows have many
            while first < d[D] and row[first] == zero:
                out[first] = zero
                first += 1
            for i in range(first, d[D]):
                known = dot(advance(tril, i * d[D] + first), advance(out, first), i - first, zero)
                out[i] = (row[i] - known) / tril[i * d[D] + i]

    return loop


def _solve_transposed(zero):
    def loop(d, begin, end):
        for task in range(begin, end):
            tril, row, out = parts(d, task, zero)
            for i in range(d[D]):
                out[i] = row[i]
            for i in range(d[D] - 1, -1, -1):
                x = out[i] / tril[i * d[D] + i]
                out[i] = x
                above = advance(tril, i * d[D])
                for k in range(i):
                    out[k] -= x * above[k]

    return loop


def _outer(zero):
    def loop(d, begin, end):
        size = d[D]
        for task in range(begin, end):
            item, i = task // size, task % size
            rows = advance(pointer(d[ROWS], zero), item * d[N] * size + i)
            others = advance(pointer(d[OTHERS], zero), item * d[N] * size)
            out = advance(pointer(d[OUT], zero), task * size)
            for j in range(size):
                out[j] = zero
            for n in range(d[N]):
                x, other = rows[n * size], advance(others, n * size)
                for j in range(i + 1):
                    out[j] += x * other[j]

    return loop


LOOPS: dict[str, Callable[[Any], Any]] = {
    "product": _product,
    "solve": _solve,
    "solve_transposed": _solve_transposed,
    "outer": _outer,
}
_kernels: dict[tuple[str, type], kernels.Kernel] = {}


def _kernel(name: str, dtype: type) -> kernels.Kernel:
    return _kernels.get((name, dtype)) or kernels._aside(_make, name, dtype)


def _make(name: str, dtype: type) -> kernels.Kernel:
    """From disk, or compiled by one thread at a time; as in kernels.py, whose cache knows nothing of this file."""
    key = cache.key(name, dtype.__name__, cache._source(__name__))
    function = cache.load(key)
    if function is None:
        with global_compiler_lock:
            loop = LOOPS[name](dtype(0))
            loop.__qualname__ = key
            compiled = cfunc(SIGNATURE, error_model="numpy")(loop)
            cache.save(key, compiled)
            function = cache.Function(compiled.address, compiled)
    made = _kernels[name, dtype] = kernels.Kernel(function, arguments=3)
    return made
