"""Runs all checks: a class and its library in, rows out."""

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

from agauss.conformance.extras import EXTRAS
from agauss.conformance.faults import FAULTS
from agauss.conformance.formulas import FORMULAS
from agauss.conformance.libraries import LIBRARIES, NotApplicable
from agauss.conformance.subject import Check, Subject


class Row(NamedTuple):
    """What a check has found."""

    name: str
    result: str  # "pass", "fail" or "n/a"
    expected: str
    came: str


def run(cls: Any, arrays: str = "numpy", normal_kl: Callable[..., Any] | None = None) -> list[Row]:
    """A row for each check of a class of diagonal Gaussians, ``cls(parameters, deterministic=False)``.

    Seeds the library's global generator, too.

    Parameters
    ----------
    cls : class
        With mean, std, var, logvar, ``sample()``, ``kl(other=None)``, ``nll(sample, dims)`` and ``mode()``.
    arrays : "numpy", "torch", "jax" or "cupy"
        The library whose arrays it is given.
    normal_kl : function of mean1, logvar1, mean2 and logvar2, optional

    Raises
    ------
    ImportError
        Where the library is not installed.

    Examples
    --------
    >>> import agauss as ag
    >>> from agauss.conformance import run
    >>> sorted({row.result for row in run(ag.DiagonalGaussianDistribution, normal_kl=ag.normal_kl)})
    ['n/a', 'pass']
    """
    return rows_of(Subject(cls, LIBRARIES[arrays](), normal_kl))


def rows_of(subject: Subject) -> list[Row]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an overflow will be seen in its row
        return [row_of(check, subject) for check in (*FAULTS, *FORMULAS, *EXTRAS)]


def row_of(check: Check, subject: Subject) -> Row:
    """The row of a check, whatever the class does."""
    result, came = "fail", "nothing to compare"
    said = []
    try:
        for right, what in check.findings(subject):
            said.append(what)
            if not right:
                result, came = "fail", what
                break
            result, came = "pass", ", ".join(filter(None, said)) or "as expected"
    except NotApplicable as reason:
        result, came = "n/a", str(reason)
    except Exception as error:  # the other rows go on
        result, came = "fail", described(error)
    return Row(check.name, result, check.expected, came)


def described(error: BaseException) -> str:
    """An error's type and the first line of its message."""
    return f"{type(error).__name__}: {error}".partition("\n")[0]
