"""The class that is looked at, on arrays of its library, and what a check of it is."""

import inspect
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from agauss.conformance.libraries import NumPy
from agauss.conformance.oracles import Truth, ulps
from agauss.dispatch import dtype_name

Finding = tuple[bool, str]  # whether it is right, and what came
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
        error = ulps(values, truth)
        if error <= bound:
            return True, f"{name} {error:.1f} ulp off"
        return False, f"{name} {error:.2g} ulp off, e.g. {values.flat[0]:.8g} for {float(truth.value.flat[0]):.8g}"

    def equal(self, name: str, got: Any, want: Any) -> Finding:
        """Whether an array of the subject's has just these values."""
        if tuple(got.shape) != np.shape(want):
            return False, f"{name} of shape {tuple(got.shape)}"
        values = self.library.host(got)
        if np.array_equal(values, want):
            return True, f"{name} right"
        few = np.size(want) <= 4
        return False, f"{name} {values.tolist() if few else f'wrong in {np.sum(values != want)} elements'}"

    def form(self, x: Any) -> tuple[tuple[int, ...], str]:
        """The shape and the dtype of an array, which is of the subject's library."""
        if not isinstance(x, self.library.kind):
            raise TypeError(f"a {type(x).__name__} came, not an array of {self.library.name}")
        return tuple(x.shape), dtype_name(x.dtype)


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
