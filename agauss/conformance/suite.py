"""Runs all checks: a class and its library in, rows out."""

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

from agauss.conformance.faults import FAULTS
from agauss.conformance.formulas import FORMULAS
from agauss.conformance.libraries import LIBRARIES, NotApplicable
from agauss.conformance.subject import Check, Subject


class Row(NamedTuple):
    name: str
    result: str  # "pass", "fail" or "n/a"
    expected: str
    came: str


def run(cls: Any, arrays: str = "numpy", normal_kl: Callable[..., Any] | None = None) -> list[Row]:
    """What each check says of a class of diagonal Gaussians, ``cls(parameters, deterministic=False)``.

    Seeds the library's global generator where ``cls.sample`` takes neither ``rng`` nor ``generator`` nor ``key``.

    Parameters
    ----------
    cls : class
        With mean, logvar, std, var, ``sample()``, ``kl(other=None)``, ``nll(x, dims)`` and ``mode()``.
    arrays : "numpy", "torch", "jax" or "cupy"
        The library whose arrays it is given.
    normal_kl : function of mean1, logvar1, mean2, logvar2, optional

    Raises
    ------
    ImportError
        Where the library is not installed.

    Examples
    --------
    >>> import agauss as ag
    >>> from agauss.conformance import run
    >>> {row.result for row in run(ag.DiagonalGaussianDistribution, normal_kl=ag.normal_kl)}
    {'pass', 'n/a'}
    """
    subject = Subject(cls, LIBRARIES[arrays](), normal_kl)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an overflow is in its row
        return [row_of(check, subject) for check in (*FAULTS, *FORMULAS)]


def row_of(check: Check, subject: Subject) -> Row:
    came = []
    try:
        for right, what in check.findings(subject):
            if not right:
                return Row(check.name, "fail", check.expected, what)
            came.append(what)
    except NotApplicable as reason:
        return Row(check.name, "n/a", check.expected, str(reason))
    except Exception as error:  # whatever the class does is a finding
        first_line = f"{error}".partition("\n")[0]
        return Row(check.name, "fail", check.expected, f"{type(error).__name__}: {first_line}")
    return Row(check.name, "pass" if came else "fail", check.expected, came[-1] if came else "nothing to compare")
