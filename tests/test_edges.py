"""The values and gradients at infinite and missing arguments are those of edges.py, on every library."""

from itertools import product

import ml_dtypes
import numpy as np
import pytest
from cases import CASES
from edges import ROWS, huge
from oracles import EVERY_LIBRARY, LIBRARIES, array, host, numpy_dtype

NAMES = list(dict.fromkeys(row.operation for row in ROWS))
PAIRS = [("numpy", "float16"), ("torch", "float16"), *((name, "float32") for name in EVERY_LIBRARY)]
PAIRS += [("numpy", "float64"), ("torch", "float64")]
GRADIENTS = list(product(LIBRARIES, ("float32", "float64")))


def columns(rows, library, dtype):
    """The arguments of some rows, as arrays."""
    largest = float(ml_dtypes.finfo(numpy_dtype(dtype)).max)
    numbers = {huge: largest, f"-{huge}": -largest}
    given = zip(*([numbers.get(x, x) for x in row.given] for row in rows), strict=True)
    return [array(library, np.array(column, float), dtype) for column in given]


@pytest.mark.in_turn(6, always=("numpy", "float32"), slow=("numpy",))
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("library", "dtype"), PAIRS, ids="-".join)
def test_values_at_the_edges(library, dtype, name):
    rows, case = [row for row in ROWS if row.operation == name and row.value is not None], CASES[name]
    got = host(case.function(*columns(rows, library, dtype), **case.options(axis=())))
    for row, value in zip(rows, got, strict=True):
        np.testing.assert_array_equal(value, row.value, err_msg=row.where())


@pytest.mark.in_turn(5, always=("numpy", "float32"), slow=("numpy",))
@pytest.mark.parametrize("name", [name for name in NAMES if any(r.gradients for r in ROWS if r.operation == name)])
@pytest.mark.parametrize(("library", "dtype"), GRADIENTS, ids="-".join)
def test_gradients_at_the_edges(library, dtype, name):
    rows, case = [row for row in ROWS if row.operation == name and row.gradients is not None], CASES[name]
    got = case.vjp(*columns(rows, library, dtype), cotangent=1.0, **case.options(axis=()))
    for argument, gradient, want in zip(
        case.arguments, got, zip(*(r.gradients for r in rows), strict=True), strict=True
    ):
        for row, value, exact in zip(rows, host(gradient), want, strict=True):
            np.testing.assert_array_equal(value, exact, err_msg=f"{argument} at {row.where()}")
