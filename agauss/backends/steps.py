"""What a call does, written down where it is done while explanation.py watches; knows no array and no formula."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field


@dataclass
class Step:
    """One pass of a call over its arrays.

    Attributes
    ----------
    backend : "Numba loops", "CUDA kernel", "array-API form" or "Dask blocks"
    kernel : the loop and the term of formulas.py that it computes
    dtype : what it computes in
    library : whose arrays it takes
    copies : the temporary arrays that it makes, and why
    notes : on how many threads it runs and why, and what slows it down
    """

    backend: str
    kernel: str
    dtype: str
    library: str
    copies: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


_steps: ContextVar[list[Step] | None] = ContextVar("steps", default=None)
current = _steps.get  # the list that this thread's steps are added to, or None


@contextmanager
def watched() -> Iterator[list[Step]]:
    """A list to which the steps of this thread's calls are added."""
    steps: list[Step] = []
    token = _steps.set(steps)
    try:
        yield steps
    finally:
        _steps.reset(token)


def watching() -> bool:
    return current() is not None


def step(backend: str, kernel: str, dtype: str, library: str) -> None:
    steps = current()
    if steps is not None:
        steps.append(Step(backend, kernel, dtype, library))


def copy(text: str) -> None:
    steps = current()
    if steps:
        steps[-1].copies.append(text)


def note(text: str) -> None:
    steps = current()
    if steps:
        steps[-1].notes.append(text)
