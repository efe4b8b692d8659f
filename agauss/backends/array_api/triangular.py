"""Lower triangular matrices in the arrays of any library; knows the array API standard alone, and no Gaussian."""

from collections.abc import Callable
from typing import Any

import numpy as np


class Triangular:
    """What backends/cpu/triangular.py has, for a namespace.

    ``solver(tril, columns, transposed)`` is the library's own; both arrays have the same leading axes. Without one, the
    namespace may have ``linalg.solve_triangular``, as PyTorch's has. The standard has none, so the last resort is
    substitution by halves.
    """

    def __init__(self, xp: Any, solver: Callable[[Any, Any, bool], Any] | None = None) -> None:
        self.xp = xp
        self._solver = solver

    def product(self, tril: Any, rows: Any) -> Any:
        """L v for each row v."""
        return self.xp.matmul(rows, self.xp.tril(tril).mT)

    def solve(self, tril: Any, rows: Any) -> Any:
        """The solution u of L u = v for each row v."""
        return self._solved(tril, rows, False)

    def solve_transposed(self, tril: Any, rows: Any) -> Any:
        """The solution u of transposed L u = v for each row v."""
        return self._solved(tril, rows, True)

    def solve_lower(self, tril: Any, matrices: Any, transposed: bool = False) -> Any:
        """The lower triangle of X with L X = M, or with transposed L X = M, for lower triangular matrices M."""
        return self.xp.tril(self._solved(tril, self.xp.tril(matrices).mT, transposed).mT)

    def lower(self, matrices: Any) -> Any:
        """The matrices with zeros above the diagonal."""
        return self.xp.tril(matrices)

    def outer(self, rows: Any, others: Any) -> Any:
        """The lower triangle of the sum of v w^T over pairs of rows v and w, and 0 above."""
        return self.xp.tril(self.xp.matmul(rows.mT, others))

    def with_diagonal(self, matrices: Any, diagonal: Any) -> Any:
        """The matrices with another diagonal."""
        places = self.xp.arange(matrices.shape[-1], **_on(matrices))
        return self.xp.where(places[:, None] == places, diagonal[..., None], matrices)

    def _solved(self, tril: Any, rows: Any, transposed: bool) -> Any:
        xp = self.xp
        batch = np.broadcast_shapes(tuple(tril.shape[:-2]), tuple(rows.shape[:-2]))
        tril = xp.broadcast_to(tril, (*batch, *tril.shape[-2:]))
        columns = xp.broadcast_to(rows, (*batch, *rows.shape[-2:])).mT
        if 0 in columns.shape:
            return columns.mT
        if self._solver is not None:
            return self._solver(tril, columns, transposed).mT
        if hasattr(xp.linalg, "solve_triangular"):
            matrix = tril.mT if transposed else tril
            return xp.linalg.solve_triangular(matrix, columns, upper=transposed).mT
        return (_back if transposed else _forward)(xp, tril, columns).mT


def _on(a: Any) -> dict[str, Any]:
    from array_api_compat import device

    where = None if isinstance(a, np.ndarray) else device(a)  # None: a tracer's
    return {} if where is None else {"device": where}


def _forward(xp: Any, tril: Any, columns: Any) -> Any:
    """The first half of the unknowns, and from what they leave the second half."""
    d = tril.shape[-1]
    if d == 1:
        return columns / tril
    half = d // 2
    first = _forward(xp, tril[..., :half, :half], columns[..., :half, :])
    left = columns[..., half:, :] - xp.matmul(tril[..., half:, :half], first)
    return xp.concat([first, _forward(xp, tril[..., half:, half:], left)], axis=-2)


def _back(xp: Any, tril: Any, columns: Any) -> Any:
    """The second half of the unknowns, and from what they leave the first half."""
    d = tril.shape[-1]
    if d == 1:
        return columns / tril
    half = d // 2
    second = _back(xp, tril[..., half:, half:], columns[..., half:, :])
    left = columns[..., :half, :] - xp.matmul(tril[..., half:, :half].mT, second)
    return xp.concat([_back(xp, tril[..., :half, :half], left), second], axis=-2)
