"""What diagnostics are computed from: sums over a batch of posteriors in one pass, and the sums of two batches."""

from __future__ import annotations  # help() shows them as they are written

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agauss import ops
from agauss.arrays import library_of, operands
from agauss.distributions import DiagonalGaussianDistribution
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
    n, widest = given.shape[0], given.library.widest
    with computing(given) as xp:
        mean, logvar = (xp.broadcast_to(a, given.shape) for a in wide(given))
        origin, logvar0 = mean[:1, ...], logvar[:1, ...]
        apart = mean - origin

        def total(a: Any) -> Any:
            return xp.sum(a, axis=0, dtype=widest)

        found = [
            total(ops.kl(mean, logvar, axis=(), bounds=q.bounds)),
            total(apart),
            total(apart * apart),
            total(ops.var(logvar, bounds=q.bounds)),
            xp.all(logvar == logvar0, axis=0),
            origin + 0,
            logvar0 + 0,
            xp.sum(xp.astype(~xp.isfinite(mean), xp.int32) + xp.astype(~xp.isfinite(logvar), xp.int32)),
        ]
        if q.bounds is not None:
            found.append(ops.saturated(logvar, bounds=q.bounds))
        if log_likelihood is not None:
            found.append(log_likelihood)
    kl, shift, squares, variance, constant, first, first_logvar, non_finite, *rest = (
        np.asarray(a, np.float64) for a in _computed(given.library, found)
    )
    with np.errstate(all="ignore"):
        return Sums(
            n=n,
            kl=kl,
            mean=first[0] + shift / n,
            squares=np.maximum(squares - shift * shift / n, 0.0),
            variance=variance,
            constant=constant != 0,
            logvar=first_logvar[0],
            saturated=0 if q.bounds is None else int(rest[0]),
            non_finite=int(non_finite),
            fit=None if log_likelihood is None else float(rest[-1].sum()),
        )


def _computed(library: Any, arrays: list[Any]) -> list[Any]:
    """Arrays as NumPy's, computed together where they are lazy; the log-likelihood may be of another library."""
    own = library_of(arrays[-1])
    if own is None or own.name == library.name:
        return library.to_numpy(arrays)
    return [*library.to_numpy(arrays[:-1]), *own.to_numpy(arrays[-1:])]
