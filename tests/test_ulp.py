"""No operation is less exact than it has been, and docs/numerics.md prints what is recorded."""

from pathlib import Path

import edges
import measured
import measured_vae
import numpy as np
import pytest
from cases import ELEMENTWISE

NUMERICS = (Path(__file__).parents[1] / "docs" / "numerics.md").read_text()
AGAIN = "run `python tools/numerics.py`"
# What docs/numerics.md and the docstrings say of the loops, whatever is recorded.
PROMISED = dict.fromkeys(ELEMENTWISE, 4) | {
    "bhattacharyya": 5,
    "discretized_nll": 5,
    "renyi": 6,
    "wasserstein2_squared": 5,
}


@pytest.mark.in_turn(4, always=("numpy", "float32"), slow=("numpy",))
@pytest.mark.skipif(np.finfo(np.longdouble).nmant < 60, reason="long doubles of no more digits than doubles")
@pytest.mark.parametrize("name", ELEMENTWISE)
@pytest.mark.parametrize(("library", "dtype"), measured.BACKENDS, ids="-".join)
def test_errors_are_no_larger_than_recorded(library, dtype, name):
    assert name in measured.recorded(), f"tests/ulp.json has no {name}: {AGAIN}"
    limits = measured.recorded()[name][measured.BACKENDS[library, dtype]]
    # A library's own exp depends on its version and on the processor: an ulp of it is not ours to answer for.
    others = 0.0 if library == "numpy" else 1.0
    assert library != "numpy" or max(limits) <= PROMISED[name]
    for what, found, limit in zip(("value", "gradients"), measured.measured(name, library, dtype), limits, strict=True):
        assert found <= limit + others, f"{what}: {found:.3f} ulp, recorded {limit}"


@pytest.mark.in_turn(4)
@pytest.mark.parametrize("name", measured_vae.ROWS)
def test_errors_of_the_functions_around_are_no_larger_than_recorded(name):
    pairs = zip(measured_vae.measured(name), measured_vae.recorded()[name], strict=True)
    assert all(found <= limit + 1.0 for found, limit in pairs), AGAIN  # NumPy's exp is the processor's


@pytest.mark.parametrize("table", [edges.table, measured.table, measured_vae.table], ids=["edges", "ulp", "vae"])
def test_the_page_prints_the_data(table):
    assert table() in NUMERICS, AGAIN
