"""What diagnostics are computed from: sums over a batch of posteriors in one pass, and the sums of two batches."""

from __future__ import annotations  # help() shows them as they are written

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agauss import ops
from agauss.arrays import Library, library_of, operands
from agauss.distributions import DiagonalGaussianDistribution
from agauss.options import bound_on
from agauss.vae.arguments import computing, wide


@dataclass(slots=True)
class Sums:
    """Sums over data, from which all else is computed; of one sample's shape but for numbers."""

    n: int
    kl: NDArray[Any]
    mean: NDArray[Any]  # of means
    squares: NDArray[Any]  # of the means' deviations from it
    variance: NDArray[Any]
    constant: NDArray[Any]
    logvar: NDArray[Any]  # the first one
    saturated: int
    non_finite: int
    fit: float | None

    def joined(self, other: Sums) -> Sums:
        n = self.n + other.n
        apart = other.mean - self.mean
        return Sums(
            n,
            self.kl + other.kl,
            self.mean + apart * (other.n / n),
            self.squares + other.squares + apart * apart * (self.n * other.n / n),
            self.variance + other.variance,
            self.constant & other.constant & (self.logvar == other.logvar),
            self.logvar,
            self.saturated + other.saturated,
            self.non_finite + other.non_finite,
            None if self.fit is None or other.fit is None else self.fit + other.fit,
        )


def sums_of(q: DiagonalGaussianDistribution[Any], log_likelihood: Any) -> Sums:
    """A batch's. Means are measured from the first datum's, so that their squares keep their digits in one pass."""
    given = operands(("mean", "logvar"), (q._mean, q._logvar))
    n, library = given.shape[0], given.library
    with computing(given) as xp:
        mean, logvar = (a if a.shape == given.shape else xp.broadcast_to(a, given.shape) for a in wide(given))
        if library.columns is None:
            found = _by_library(library, mean, logvar, q.bounds)
        else:
            found = list(library.columns.sums(mean, logvar, bound_on(q.bounds, 1)))
        found += [mean[:1, ...] + 0, logvar[:1, ...] + 0, *([] if log_likelihood is None else [log_likelihood])]
    kl, shift, squares, variance, varies, saturated, non_finite, first, first_logvar, *rest = (
        np.asarray(a, np.float64) for a in _computed(library, found)
    )
    with np.errstate(all="ignore"):
        return Sums(
            n=n,
            kl=kl,
            mean=first[0] + shift / n,
            squares=np.maximum(squares - shift * shift / n, 0.0),
            variance=variance,
            constant=varies == 0,
            logvar=first_logvar[0],
            saturated=int(saturated),
            non_finite=int(non_finite),
            fit=float(rest[0].sum()) if rest else None,
        )


def _by_library(library: Library, mean: Any, logvar: Any, bounds: Any) -> list[Any]:
    """What backends/cpu/columns.py sums up in one pass, by the library's own functions."""
    xp = library.xp
    apart = mean - mean[:1, ...]

    def total(a: Any) -> Any:
        return xp.sum(a, axis=0, dtype=library.widest)

    return [
        total(ops.kl(mean, logvar, axis=(), bounds=bounds)),
        total(apart),
        total(apart * apart),
        total(ops.var(logvar, bounds=bounds)),
        xp.any(logvar != logvar[:1, ...], axis=0),
        ops.saturated(logvar, bounds=bounds),
        xp.sum(xp.astype(~xp.isfinite(mean), xp.int32) + xp.astype(~xp.isfinite(logvar), xp.int32)),
    ]


def _computed(library: Any, arrays: list[Any]) -> list[Any]:
    """Arrays as NumPy's, computed together where they are lazy; the log-likelihood may be of another library."""
    own = library_of(arrays[-1])
    if own is None or own.name == library.name:
        return library.to_numpy(arrays)
    return [*library.to_numpy(arrays[:-1]), *own.to_numpy(arrays[-1:])]
