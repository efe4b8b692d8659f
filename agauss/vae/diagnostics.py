"""Whether a VAE's latents are in use; sums.py has the pass over the data."""

from __future__ import annotations  # help() shows them as they are written

from dataclasses import dataclass
from textwrap import fill
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from agauss import ops
from agauss.arrays import is_number, operands
from agauss.distributions import DiagonalGaussianDistribution
from agauss.typing import AnyArray
from agauss.vae.arguments import whole
from agauss.vae.schedules import Schedule
from agauss.vae.sums import Sums, sums_of

__all__ = ["Diagnostics", "DiagnosticsResult"]


@dataclass(frozen=True, slots=True)
class DiagnosticsResult:
    """What ``Diagnostics`` found. Arrays are NumPy's, of float64 or bool, and of one sample's shape.

    Attributes
    ----------
    n : int
        The number of data.
    kl : array
        The mean KL of each latent from the standard normal, in nats. ``kl_total`` is their sum.
    variance_of_means, mean_variance : array
        The population variance of the posterior means over the data, and the mean of the posterior variances.
    active : array of bool
        Where the variance of means exceeds the threshold. ``active_units`` is their number.
    aggregate_mean, aggregate_variance : array
        The moments of the aggregate posterior, the mixture of all data's posteriors.
    aggregate_kl : float
        The KL to the prior of the Gaussian with these moments, in nats: at most that of the aggregate posterior.
    information : float
        ``kl_total - aggregate_kl``, in nats. See the notes of ``Diagnostics``.
    log_likelihood, elbo : float or None
        Means over the data, where ``update`` was given log-likelihoods each time.
    saturated : int
        How many log-variances are outside the bounds.
    non_finite : int
        How many means and log-variances are inf or NaN.
    constant_logvar : int
        How many latents have the same log-variance for all data.
    warnings : tuple of str
    verdict : str

    Examples
    --------
    >>> import agauss as ag, numpy as np
    >>> from agauss import vae
    >>> diagnostics = vae.Diagnostics()
    >>> diagnostics.update(ag.DiagonalGaussianDistribution(np.zeros((3, 4))))
    >>> diagnostics.result().active_units, diagnostics.result().constant_logvar
    (0, 2)
    """

    n: int
    kl: NDArray[Any]
    kl_total: float
    variance_of_means: NDArray[Any]
    mean_variance: NDArray[Any]
    active: NDArray[Any]
    active_units: int
    aggregate_mean: NDArray[Any]
    aggregate_variance: NDArray[Any]
    aggregate_kl: float
    information: float
    log_likelihood: float | None
    elbo: float | None
    saturated: int
    non_finite: int
    constant_logvar: int
    warnings: tuple[str, ...]
    verdict: str

    def __str__(self) -> str:
        return "\n".join([self.verdict, *[f"warning: {warning}" for warning in self.warnings]])


class Diagnostics:
    """One pass over data that says whether a VAE's latents are in use.

    Parameters
    ----------
    threshold : number
        The variance of posterior means over which a latent is active, 0.01 as in Burda et al.
    schedule : Schedule, optional
        The KL's weight in training. It comes with ``step``, the number of steps. The result warns of a warm-up that was
        not finished.
    step : int, optional

    Raises
    ------
    TypeError, ValueError
        For a negative threshold, and where one of ``schedule`` and ``step`` is given alone.

    Notes
    -----
    The mean KL is I(x; z) + KL(aggregate posterior || prior), where I is the information that z has about which of the
    data it came from (Hoffman and Johnson, 2016). ``information`` takes the second term from the aggregate's moments,
    which make it too small. So it is I and how far the aggregate is from a Gaussian of these moments, an upper
    bound on I. It is not negative but for rounding. Other estimates of I can be, and I itself is at most log(n).

    References
    ----------
    Burda, Grosse and Salakhutdinov, "Importance weighted autoencoders", 2016 (active units); Hoffman and Johnson, "ELBO
    surgery", 2016; Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample
    variances", 1979.

    Examples
    --------
    >>> import agauss as ag, numpy as np
    >>> from agauss import vae
    >>> mean = np.array([[-1.0, 0.0], [1.0, 0.0]])
    >>> diagnostics = vae.Diagnostics()
    >>> diagnostics.update(ag.DiagonalGaussianDistribution.from_mean_logvar(mean, np.array([[-2.0, 0.0], [-3.0, 0.1]])))
    >>> diagnostics.result().active
    array([ True, False])
    """

    def __init__(self, threshold: float = 0.01, *, schedule: Schedule | None = None, step: int | None = None) -> None:
        if not is_number(threshold) or not threshold >= 0:
            raise ValueError(f"threshold must be a number, and not negative; got {threshold!r}")
        if (schedule is None) != (step is None):
            raise ValueError("schedule and step must be given together")
        if schedule is not None and not isinstance(schedule, Schedule):
            raise TypeError(f"schedule must be one of agauss.vae; got {type(schedule).__name__}")
        self.threshold = float(threshold)
        self._schedule, self._step = schedule, None if step is None else whole("step", step, 0)
        self._sums: Sums | None = None

    def update(self, q: DiagonalGaussianDistribution[Any], log_likelihood: AnyArray | None = None) -> None:
        """Add a batch: its posteriors and, if they are wanted in the ELBO, the log-likelihoods log p(x | z).

        Of a Dask array all blocks are read, once, and only what is summed is held. Sums of arrays on a GPU are copied
        to the host, which waits for the device. Not for traced arrays.

        Parameters
        ----------
        q : DiagonalGaussianDistribution, of shape (B, ...)
        log_likelihood : array, shape (B,), optional

        Raises
        ------
        TypeError, ValueError
            For a q that is deterministic or of another kind, and samples of another shape than before. For a
            log-likelihood that is no floating array with one value for each datum.
        """
        if not isinstance(q, DiagonalGaussianDistribution):
            raise TypeError(f"q must be a DiagonalGaussianDistribution of agauss; got {type(q).__name__}")
        if q.deterministic:
            raise ValueError("q must not be deterministic: a point has no KL to the prior")
        if log_likelihood is not None:
            found = operands(("log_likelihood",), (log_likelihood,)).shape
            if found != q.shape[:1]:
                raise ValueError(f"log_likelihood must have shape {q.shape[:1]}; got {found}")
        if self._sums is not None and self._sums.kl.shape != q.shape[1:]:
            raise ValueError(f"q must have samples of shape {self._sums.kl.shape}, as before; got {q.shape[1:]}")
        if q.shape[0]:
            self._add(sums_of(q, log_likelihood))

    def merge(self, other: Diagnostics) -> Self:
        """Add what another has seen, as if this one had: for data processed in parts. Returns this one.

        Examples
        --------
        >>> import agauss as ag, numpy as np
        >>> from agauss import vae
        >>> first, second = vae.Diagnostics(), vae.Diagnostics()
        >>> first.update(ag.DiagonalGaussianDistribution(np.zeros((2, 4))))
        >>> second.update(ag.DiagonalGaussianDistribution(np.ones((3, 4))))
        >>> first.merge(second).result().n
        5
        """
        if not isinstance(other, Diagnostics):
            raise TypeError(f"other must be Diagnostics of agauss.vae; got {type(other).__name__}")
        if other._sums is not None:
            if self._sums is not None and self._sums.kl.shape != other._sums.kl.shape:
                raise ValueError(f"other must have samples of shape {self._sums.kl.shape}; got {other._sums.kl.shape}")
            self._add(other._sums)
        return self

    def _add(self, sums: Sums) -> None:
        self._sums = sums if self._sums is None else self._sums.joined(sums)

    def result(self) -> DiagnosticsResult:
        """What was found so far.

        Raises
        ------
        ValueError
            Where there were no data.
        """
        s = self._sums
        if s is None:
            raise ValueError("update must have had at least 1 datum before result; got none")
        with np.errstate(all="ignore"):
            kl, of_means, mean_variance = s.kl / s.n, s.squares / s.n, s.variance / s.n
            variance = of_means + mean_variance
            aggregate = float(ops.kl(s.mean, np.log(variance)))
            fit = None if s.fit is None else s.fit / s.n
        total = float(kl.sum())
        active = of_means > self.threshold
        return DiagnosticsResult(
            n=s.n,
            kl=kl,
            kl_total=total,
            variance_of_means=of_means,
            mean_variance=mean_variance,
            active=active,
            active_units=int(active.sum()),
            aggregate_mean=s.mean,
            aggregate_variance=variance,
            aggregate_kl=aggregate,
            information=total - aggregate,
            log_likelihood=fit,
            elbo=None if fit is None else fit - total,
            saturated=s.saturated,
            non_finite=s.non_finite,
            constant_logvar=int(s.constant.sum()) if s.n > 1 else 0,
            warnings=tuple(self._warnings(s)),
            verdict=_verdict(s, kl, of_means, active, self.threshold),
        )

    def _warnings(self, s: Sums) -> list[str]:
        found = []
        if self._schedule is not None and not self._schedule.finished(self._step or 0):
            found.append(
                f"the {self._schedule.kind} schedule was never finished: training ended at step {self._step} of "
                f"{self._schedule.steps}, at {self._schedule(self._step):.3g} on the way to {self._schedule.stop:.3g}"
            )
        latents = s.kl.size
        if s.n > 1 and s.constant.any():
            found.append(
                f"the log-variance is the same for all {s.n} data in {s.constant.sum()} of {latents} latents: does the "
                "encoder compute it?"
            )
        if s.saturated:
            found.append(f"{s.saturated} of {s.n * latents} log-variances are outside the bounds")
        if s.non_finite:
            found.append(f"{s.non_finite} means and log-variances are inf or NaN")
        return found

    def plot(self, axes: Any = None) -> Any:
        """Bars of the mean KL of each latent, largest first, the active ones filled; the verdict is the title.

        Parameters
        ----------
        axes : matplotlib axes, optional
            Those of a new figure by default.

        Returns
        -------
        matplotlib axes

        Raises
        ------
        ImportError
            Without matplotlib, which ``pip install 'agauss[demo]'`` brings.
        """
        found = self.result()
        if axes is None:
            try:
                from matplotlib.figure import Figure
            except ImportError as error:
                raise ImportError("plot needs matplotlib: pip install 'agauss[demo]'") from error
            axes = Figure(layout="constrained").subplots()
        order = np.argsort(-found.kl, axis=None)
        kl, active = found.kl.ravel()[order], found.active.ravel()[order]
        edges = np.arange(kl.size + 1) + 0.5
        axes.stairs(np.where(active, kl, 0.0), edges, fill=True, color="C0", label=f"active: {found.active_units}")
        axes.stairs(kl, edges, color="0.5", label=f"all: {kl.size}")
        axes.set(xlabel="latent, sorted", ylabel="KL, nats", title=fill(found.verdict, 70))
        axes.legend(frameon=False)
        return axes


def _verdict(s: Sums, kl: Any, of_means: Any, active: Any, threshold: float) -> str:
    """On collapse, in words."""
    total, count, latents = float(kl.sum()), int(active.sum()), kl.size
    if s.non_finite:
        return f"unknown: {s.non_finite} means and log-variances of {s.n} data are inf or NaN"
    if s.n < 2 or not latents:
        return f"unknown: too few data ({s.n}) or latents ({latents})"
    rule = f"have a variance of means over {threshold:g}"
    if count == 0:
        return (
            f"collapsed: 0 of {latents} latents {rule} (the largest is {of_means.max():.2g}), so z says next to "
            f"nothing about x; the KL is {total:.3g} nats"
        )
    if count == latents:
        return f"not collapsed: all {latents} latents {rule}; the KL is {total:.3g} nats"
    rest = float(kl[~active].sum())
    return (
        f"partly collapsed: {count} of {latents} latents {rule}; the other {latents - count} have {rest:.2g} of the "
        f"KL's {total:.3g} nats"
    )
