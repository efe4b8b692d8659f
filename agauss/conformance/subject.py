"""The class that is looked at, on arrays of its library, and what a check of it is."""

import inspect
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from agauss.arrays import dtype_name
from agauss.conformance.expected import Truth, ulps
from agauss.conformance.libraries import NumPy

Finding = tuple[bool, str]  # whether it is right, and what came, empty where that is plain
Findings = Iterator[Finding]
SOURCES = ("rng", "generator", "key")
WIDE = {"float16": "float32", "float32": "float32", "float64": "float64"}  # the dtype of sums


class Subject:
    """A class, its library, and normal_kl where there is one."""

    def __init__(self, cls: Any, library: NumPy, normal_kl: Callable[..., Any] | None = None) -> None:
        self.cls, self.library, self.normal_kl = cls, library, normal_kl
        try:
            self.sample_options = tuple(inspect.signature(cls.sample).parameters)
        except (AttributeError, TypeError, ValueError):  # no such method, or one that does not say
            self.sample_options = ()
        self.source_name = next((name for name in SOURCES if name in self.sample_options), None)

    def of(self, mean: Any, logvar: Any, **options: Any) -> Any:
        """A distribution with NumPy's mean and logvar."""
        return self.cls(self.library.array(np.concatenate([mean, logvar], axis=1)), **options)

    def source(self, seed: int) -> dict[str, Any]:
        """What makes `sample` draw from a seed: an argument, or none after the library's global generator is seeded."""
        if self.source_name is None:
            self.library.seed(seed)
            return {}
        return {self.source_name: self.library.source(self.source_name, seed)}

    def sample(self, q: Any, seed: int) -> Any:
        return self.library.host(q.sample(**self.source(seed)))

    def near(self, name: str, got: Any, truth: Truth, bound: float) -> Finding:
        """Whether an array of the subject's is within so many ulp of true values, and of their shape."""
        if tuple(got.shape) != truth.value.shape:
            return False, f"{name} of shape {tuple(got.shape)}"
        values = self.library.host(got)
        errors = ulps(values, truth)
        worst = np.unravel_index(np.argmax(errors), errors.shape)
        if errors[worst] <= bound:
            return True, f"{name} {errors[worst]:.1f} ulp off"
        off = f"{errors[worst]:.2g} ulp off: " if np.isfinite(values[worst]) else ""
        return False, f"{name} {off}{values[worst]:.8g} instead of {float(truth.value[worst]):.8g}"

    def equal(self, name: str, got: Any, want: Any) -> Finding:
        """Whether an array of the subject's has just these values."""
        if tuple(got.shape) != np.shape(want):
            return False, f"{name} of shape {tuple(got.shape)}"
        values = self.library.host(got)
        few = np.size(want) <= 4
        came = f"{name} {values.tolist() if few else f'wrong in {np.sum(values != want)} elements'}"
        return silent(np.array_equal(values, want), came)

    def form(self, name: str, got: Any, shape: tuple[int, ...], dtype: str) -> Finding:
        """Whether this is an array of the subject's library, of a shape and a dtype."""
        if not isinstance(got, self.library.kind):
            return False, f"{name} a {type(got).__name__}, not an array of {self.library.name}"
        found = tuple(got.shape), dtype_name(got.dtype)
        return silent(found == (shape, dtype), f"{name} of shape {found[0]}, {found[1]}")


def silent(right: bool, came: str) -> Finding:
    """A finding that is worth no word where it is right."""
    return bool(right), "" if right else came


class Check(NamedTuple):
    """A row of the table to be: its findings are made one by one, and the first that is wrong ends it."""

    name: str
    expected: str
    findings: Callable[[Subject], Findings]


class Checks(list[Check]):
    def add(self, name: str, expected: str) -> Callable[[Callable[[Subject], Findings]], Callable[[Subject], Findings]]:
        """A decorator, which adds the function as a check."""

        def add(findings: Callable[[Subject], Findings]) -> Callable[[Subject], Findings]:
            self.append(Check(name, expected, findings))
            return findings

        return add


def ordinary(shape: tuple[int, ...], dtype: str = "float32", seed: int = 0) -> tuple[Any, Any]:
    """A mean and a log-variance as encoders give them, well within all bounds."""
    rng = np.random.default_rng(seed)
    return rng.normal(0, 2, shape).astype(dtype), rng.uniform(-3, 3, shape).astype(dtype)


def filled(shape: tuple[int, ...], mean: float, logvar: float, dtype: str = "float32") -> tuple[Any, Any]:
    return np.full(shape, mean, dtype), np.full(shape, logvar, dtype)


def event(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The axes of a sample."""
    return tuple(range(1, len(shape)))
