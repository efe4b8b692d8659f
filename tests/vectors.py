"""The elementary functions of mathlib.py, each made into one of vectors."""

import numpy as np
from numba import njit

from agauss.backends.cpu import mathlib
from agauss.maths import noise


def over(function):
    """A function of a scalar made into one of a vector, by a loop that LLVM vectorises."""

    @njit(error_model="numpy")
    def run(x, out):
        for i in range(x.size):
            out[i] = function(x[i])

    def call(x):
        out = np.empty_like(x)
        run(x, out)
        return out

    return call


@njit
def log(x):
    return noise.log(mathlib, x)


VECTOR = {
    name: over(getattr(mathlib, name))
    for name in ("exp", "expm1", "half_expm1x", "log1p", "log1p_unit", "ln", "mills", "sqrt")
}
VECTOR["log"] = over(log)
