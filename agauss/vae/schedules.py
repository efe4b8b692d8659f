"""Weights, capacities and floors as functions of the step, exact at both ends; they count steps, not epochs."""

from __future__ import annotations  # help() shows them as they are written

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from agauss.arrays import is_number, library_of
from agauss.typing import Number
from agauss.vae.arguments import whole
from agauss.words import index_of

__all__ = ["Schedule", "constant", "cosine", "cyclical", "linear", "sigmoid"]

SHARPNESS = 12.0  # of the sigmoid: how many units of its argument a warm-up spans


@dataclass(frozen=True, slots=True, weakref_slot=True)  # jax.jit refers to what it compiles weakly
class Schedule:
    """A number for each step, as ``linear`` and the others make it: call it with the step.

    Step 0 gives ``start``. Step ``steps``, and every later one, gives ``stop``. The step is an int, or an array of
    integers where a library traces or maps: then so is the value, of the library's default floating dtype.

    Examples
    --------
    >>> from agauss import vae
    >>> beta = vae.linear(0.0, 1.0, 1000)
    >>> beta(250), beta.finished(250), beta.finished(1000)
    (0.25, False, True)
    """

    kind: str
    start: float
    stop: float
    steps: int
    _curve: Callable[..., Any] = field(repr=False, compare=False)
    n_cycle: int = 1
    ratio: float = 1.0

    def __call__(self, step: Any) -> Any:
        """The value at a step.

        Raises
        ------
        TypeError, ValueError
            For a step that is no integer, and a negative one. Arrays are not checked.
        """
        library = None if index_of(step) is not None and not hasattr(step, "shape") else library_of(step)
        if library is None:
            now = whole("step", step, 0)
            if now in (0, self.steps) or now > self.steps:  # the curves round
                return self.stop if now >= self.steps else self.start
            return self._value(math, self._place(now) / self.steps)
        xp = library.xp
        if not xp.isdtype(step.dtype, "integral"):
            raise TypeError(f"step must be an integer; got {step.dtype}")
        real = xp.__array_namespace_info__().default_dtypes()["real floating"]
        share = xp.astype(self._place(xp.where(step < self.steps, step, 0 * step)), real) / max(1, self.steps)
        value = self._value(xp, share)
        value = xp.where(step == 0, 0 * value + self.start, value)
        return xp.where(step >= self.steps, 0 * value + self.stop, value)

    def finished(self, step: int) -> bool:
        """Whether training up to this step has come to the schedule's end.

        Examples
        --------
        >>> from agauss import vae
        >>> vae.constant(1.0).finished(0)
        True
        """
        return whole("step", step, 0) >= self.steps

    def _place(self, step: Any) -> Any:
        """The step's place in its cycle, in units of 1 / n_cycle: integers, so that nothing is accumulated."""
        return step * self.n_cycle % self.steps if self.n_cycle > 1 else step

    def _value(self, m: Any, share: Any) -> Any:
        """The value at a share of a cycle, whose rise takes the first `ratio` of it."""
        if self.ratio < 1.0:
            risen = share / self.ratio
            share = min(risen, 1.0) if m is math else m.where(risen < 1, risen, 0 * risen + 1)
        return self.start + (self.stop - self.start) * self._curve(m, share)


def constant(value: Number) -> Schedule:
    """The same value at every step.

    Examples
    --------
    >>> from agauss import vae
    >>> vae.constant(4.0)(10)
    4.0
    """
    value = _finite("value", value)
    return Schedule("constant", value, value, 0, _straight)


def linear(start: Number, stop: Number, steps: int) -> Schedule:
    """From start to stop in a straight line, and stop thereafter.

    Parameters
    ----------
    start, stop : number
    steps : int
        At least 1.

    Returns
    -------
    Schedule

    Raises
    ------
    TypeError, ValueError
        For numbers that are not finite, and steps that are not a positive integer.

    References
    ----------
    Sonderby et al., "Ladder variational autoencoders", 2016 (warm-up of the KL's weight).

    Examples
    --------
    >>> from agauss import vae
    >>> [vae.linear(0.0, 1.0, 4)(step) for step in (0, 1, 4, 9)]
    [0.0, 0.25, 1.0, 1.0]
    """
    return _schedule("linear", start, stop, steps, _straight)


def cosine(start: Number, stop: Number, steps: int) -> Schedule:
    """From start to stop by half a wave, slow at both ends; see ``linear``.

    Examples
    --------
    >>> from agauss import vae
    >>> [round(vae.cosine(0.0, 1.0, 4)(step), 3) for step in (0, 1, 2, 4)]
    [0.0, 0.146, 0.5, 1.0]
    """
    return _schedule("cosine", start, stop, steps, lambda m, share: 0.5 - 0.5 * m.cos(math.pi * share))


def sigmoid(start: Number, stop: Number, steps: int) -> Schedule:
    """From start to stop along the logistic function between -6 and 6, stretched to meet both; see ``linear``.

    References
    ----------
    Bowman et al., "Generating sentences from a continuous space", 2016.

    Examples
    --------
    >>> from agauss import vae
    >>> [round(vae.sigmoid(0.0, 1.0, 4)(step), 3) for step in (0, 1, 2, 4)]
    [0.0, 0.045, 0.5, 1.0]
    """
    scale = 0.5 / math.tanh(SHARPNESS / 4)
    # The logistic function is (1 + tanh(x / 2)) / 2.
    curve = lambda m, share: 0.5 + scale * m.tanh(SHARPNESS / 2 * (share - 0.5))  # noqa: E731
    return _schedule("sigmoid", start, stop, steps, curve)


def cyclical(start: Number, stop: Number, steps: int, n_cycle: int = 4, ratio: Number = 0.5) -> Schedule:
    """``n_cycle`` times from start to stop: in a straight line for the first ``ratio`` of a cycle, then stop.

    Parameters
    ----------
    start, stop, steps : see ``linear``
        ``steps`` are those of all cycles together. From step ``steps`` on the value is stop.
    n_cycle : int
        From 1 to ``steps``.
    ratio : number
        Over 0 and at most 1.

    Returns
    -------
    Schedule

    Raises
    ------
    TypeError, ValueError
        As ``linear``; for an ``n_cycle`` or a ``ratio`` outside its range.

    References
    ----------
    Fu et al., "Cyclical annealing schedule: a simple approach to mitigating KL vanishing", 2019.

    Examples
    --------
    >>> from agauss import vae
    >>> [vae.cyclical(0.0, 1.0, 16, n_cycle=2)(step) for step in (0, 2, 4, 7, 8, 10, 16)]
    [0.0, 0.5, 1.0, 1.0, 0.0, 0.5, 1.0]
    """
    found = _schedule("cyclical", start, stop, steps, _straight)
    cycles = whole("n_cycle", n_cycle, 1)
    if cycles > found.steps:
        raise ValueError(f"n_cycle must be at most the {found.steps} steps; got {cycles}")
    if not is_number(ratio) or not 0 < ratio <= 1:
        raise ValueError(f"ratio must be over 0 and at most 1; got {ratio!r}")
    return Schedule("cyclical", found.start, found.stop, found.steps, _straight, cycles, float(ratio))


def _straight(_: Any, share: Any) -> Any:
    return share


def _schedule(kind: str, start: Any, stop: Any, steps: Any, curve: Callable[..., Any]) -> Schedule:
    return Schedule(kind, _finite("start", start), _finite("stop", stop), whole("steps", steps, 1), curve)


def _finite(name: str, value: Any) -> float:
    if not is_number(value):
        raise TypeError(f"{name} must be a number; got {type(value).__name__}")
    if not math.isfinite(value):
        raise ValueError(f"{name} must be finite; got {value}")
    return float(value)
