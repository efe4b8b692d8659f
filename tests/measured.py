"""The largest errors, in ulp of the sum of the terms' sizes, of each operation and its gradients on each backend.

`python tools/numerics.py` records them in ulp.json and prints docs/numerics.md; test_ulp.py finds what is worse.
"""

import json
import math
from pathlib import Path

import numpy as np
from cases import CASES, ELEMENTWISE, draw, long_gradients, long_terms
from oracles import array, host, long, ulp

FILE = Path(__file__).with_name("ulp.json")
BACKENDS = {  # the loops have the kernels' bits, and Dask's blocks theirs; the form is measured with each one's exp
    ("numpy", "float32"): "loops, float32",
    ("numpy", "float64"): "loops, float64",
    ("torch", "float32"): "PyTorch by the form, float32",
    ("torch", "float64"): "PyTorch by the form, float64",
    ("jax", "float32"): "JAX by the form, float32",
    ("array_api_strict", "float64"): "NumPy by the form, float64",
}
# The loops are the same steps everywhere; a library's own exp depends on its version and the processor.
GRAIN = {"numpy": 0.01}
OTHERS_GRAIN = 0.5
SCALES = (1e-6, 1e-3, 1.0, 10.0)
COUNT = 5_000  # for each scale


def inputs(case, dtype):
    """Arguments of several scales, the second Gaussian as near to the first as that."""
    rng = np.random.default_rng(11)
    columns = []
    for place, name in enumerate(case.drawn):
        parts = [np.clip(draw(name, (COUNT,), rng) * scale, -40, 40) for scale in SCALES]
        columns.append(np.concatenate(parts))
        if name.endswith("2") and place >= 2:
            columns[-1] += columns[place - 2]
    return case.within([column.astype(dtype) for column in columns])


def largest(got, terms, dtype):
    want, sizes = sum(terms), sum(np.abs(term) for term in terms)
    unit = np.maximum(ulp(dtype, sizes), np.finfo(dtype).smallest_subnormal)
    # Whatever is smaller may have a subnormal factor, which is known to fewer digits, and XLA takes it for 0.
    held = (want == 0) | (np.abs(want) >= 2.0**30 * np.finfo(dtype).tiny)
    return float(np.max(np.abs(long(got) - want)[held] / unit[held]))


def measured(name, library, dtype):
    """The largest error of an operation's value, and of its gradients."""
    case = CASES[name]
    arrays = inputs(case, dtype)
    given, wide, options = [array(library, a) for a in arrays], [long(a) for a in arrays], case.options(axis=())
    value = largest(case.function(*given, **options), long_terms(case, *wide), dtype)
    gradients = case.vjp(*given, cotangent=1.0, **options)
    pairs = zip(gradients, long_gradients(case, *wide), strict=True)
    return value, max(largest(host(got), terms, dtype) for got, terms in pairs)


def recorded():
    """What is recorded, as {operation: {backend and dtype: [of the value, of the gradients]}}."""
    return json.loads(FILE.read_text())


def record():
    found = {}
    for name in ELEMENTWISE:
        found[name] = {}
        for (library, dtype), title in BACKENDS.items():
            grain = GRAIN.get(library, OTHERS_GRAIN)
            found[name][title] = [round(math.ceil(x / grain) * grain, 2) for x in measured(name, library, dtype)]
    lines = [f'  "{name}": {json.dumps(row)}' for name, row in found.items()]
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def table():
    """The record as docs/numerics.md has it."""
    titles = list(BACKENDS.values())
    lines = [f"| operation | {' | '.join(titles)} |", "|---" * (len(titles) + 1) + "|"]
    for name, row in recorded().items():
        cells = (" and ".join(f"{x:g}" for x in row[title]) for title in titles)
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)
