"""What the checks compare with: the formulas in Python's decimal arithmetic, to 28 digits; knows nothing of agauss.

A sum is a list of terms, for its error is measured against the sum of their sizes: where terms cancel, adding them up
in a row cannot be right to an ulp of what is left.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np

LOG_2PI = np.asarray(Decimal("1.837877066409345483560659472811235"))
ONE = np.asarray(Decimal(1))

exp = np.frompyfunc(Decimal.exp, 1, 1)
_decimal = np.frompyfunc(lambda value: Decimal(float(value)), 1, 1)  # every float is one exactly


class Truth(NamedTuple):
    """True values, and the sizes in whose last places errors are counted."""

    value: Any
    size: Any


def exact(values: Any) -> Any:
    """Floats as an array of Decimals."""
    return np.asarray(_decimal(values), dtype=object)


def total(terms: Sequence[Any], axes: tuple[int, ...] = ()) -> Truth:
    """The sum of terms, which broadcast against each other, and then over axes."""
    whole = np.broadcast_arrays(*terms)
    return Truth(*(np.asarray(np.sum(np.asarray(sum(them)), axis=axes)) for them in (whole, map(abs, whole))))


def cancelled(terms: Sequence[Any], axes: tuple[int, ...] = ()) -> Truth:
    """The same, where an error is counted in the last place of what is left."""
    value, _ = total(terms, axes)
    return Truth(value, abs(value))


def std(logvar: Any) -> list[Any]:
    return [exp(exact(logvar) / 2)]


def var(logvar: Any) -> list[Any]:
    return [exp(exact(logvar))]


def kl(mean: Any, logvar: Any, mean2: Any = 0.0, logvar2: Any = 0.0) -> list[Any]:
    """(d^2 / var2 + var / var2 - 1 - logvar + logvar2) / 2, as terms."""
    mean, logvar, mean2, logvar2 = map(exact, (mean, logvar, mean2, logvar2))
    terms = (mean - mean2) ** 2 / exp(logvar2), exp(logvar - logvar2), -ONE, -logvar, logvar2
    return [term / 2 for term in terms]


def kl_gradient(mean: Any, logvar: Any) -> tuple[list[Any], list[Any]]:
    """mean and (var - 1) / 2: by the mean and by the log-variance, as terms."""
    return [exact(mean)], [exp(exact(logvar)) / 2, -ONE / 2]


def nll(x: Any, mean: Any, logvar: Any) -> list[Any]:
    """(log(2 pi) + logvar + (x - mean)^2 / var) / 2, as terms."""
    x, mean, logvar = map(exact, (x, mean, logvar))
    return [LOG_2PI / 2, logvar / 2, (x - mean) ** 2 / exp(logvar) / 2]


def nll_gradient(x: Any, mean: Any, logvar: Any) -> tuple[list[Any], list[Any]]:
    """(mean - x) / var and (1 - (x - mean)^2 / var) / 2: by the mean and by the log-variance, as terms."""
    x, mean, logvar = map(exact, (x, mean, logvar))
    return [(mean - x) / exp(logvar)], [ONE / 2, -((x - mean) ** 2) / exp(logvar) / 2]


def sample(mean: Any, logvar: Any, eps: Any) -> list[Any]:
    """mean + std * eps, as terms."""
    return [exact(mean), exp(exact(logvar) / 2) * exact(eps)]


def sample_gradient(logvar: Any, eps: Any) -> tuple[list[Any], list[Any]]:
    """1 and std * eps / 2: by the mean and by the log-variance, as terms."""
    by_logvar = exp(exact(logvar) / 2) * exact(eps) / 2
    return [np.broadcast_to(ONE, by_logvar.shape)], [by_logvar]


def ulps(got: Any, truth: Truth) -> Any:
    """Errors in units in the last place, float64; inf where a value is not finite."""
    finite = np.isfinite(got)
    units = np.spacing(truth.size.astype(np.float64).astype(got.dtype))
    errors = abs(exact(np.where(finite, got, 0)) - truth.value) / exact(units)
    return np.where(finite, errors.astype(np.float64), np.inf)
