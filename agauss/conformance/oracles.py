"""What the checks compare with: the formulas in Python's decimal arithmetic, to 28 digits; knows nothing of agauss.

A sum is a list of terms, for its error is measured against the sum of their sizes: where terms cancel, adding them up in a
row cannot be right to an ulp of what is left.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np

LOG_2PI = Decimal("1.837877066409345483560659472811235")
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


def kl(mean: Any, logvar: Any, mean2: Any = 0.0, logvar2: Any = 0.0) -> list[Any]:
    """(d^2 / var2 + var / var2 - 1 - logvar + logvar2) / 2, as terms."""
    mean, logvar, mean2, logvar2 = map(exact, (mean, logvar, mean2, logvar2))
    terms = (mean - mean2) ** 2 / exp(logvar2), exp(logvar - logvar2), -ONE, -logvar, logvar2
    return [term / 2 for term in terms]


def nll(x: Any, mean: Any, logvar: Any) -> list[Any]:
    """(log(2 pi) + logvar + (x - mean)^2 / var) / 2, as terms."""
    x, mean, logvar = map(exact, (x, mean, logvar))
    return [LOG_2PI * ONE / 2, logvar / 2, (x - mean) ** 2 / exp(logvar) / 2]


def sample(mean: Any, logvar: Any, eps: Any) -> list[Any]:
    """mean + std * eps, as terms."""
    return [exact(mean), exp(exact(logvar) / 2) * exact(eps)]


def ulps(got: Any, truth: Truth) -> float:
    """The largest error, in units in the last place; inf where a value is not finite."""
    if not np.all(np.isfinite(got)):
        return float("inf")
    units = np.spacing(truth.size.astype(np.float64).astype(got.dtype))
    return float(np.max(abs(exact(got) - truth.value) / exact(units)))
