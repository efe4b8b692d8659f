"""Triangular systems in CuPy arrays, by cuBLAS, which CuPy brings in where it is installed; knows no Gaussian."""

from typing import Any


def solve_triangular(tril: Any, columns: Any, transposed: bool) -> Any:
    from cupyx.scipy.linalg import solve_triangular

    return solve_triangular(tril, columns, trans="T" if transposed else "N", lower=True)
