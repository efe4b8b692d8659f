"""Where a term's exponentials are known to be normal numbers, so that it needs no guards; knows no backend."""

from collections.abc import Callable
from typing import Any

from agauss.maths import formulas

REACH = 40.0  # the exponential of a log-variance so near 0, or of a difference of two, is a normal number
# Terms that take exponentials of more than log-variances, differences of two, and parts of these: renyi's alpha is
# between 0 and 1.
STEEP = {
    formulas.renyi_above_one,
    formulas.renyi_above_one_vjp,
    formulas.discretized_nll,
    formulas.discretized_nll_vjp,
}

Limits = tuple[tuple[int, str, float, float], ...]  # inputs' positions, their kinds of bound, low and high


def is_calm(term: Callable[..., Any], bounds: Limits) -> bool:
    """Whether each log-variance is kept within REACH of 0, and no exponential is taken of anything else."""
    code = term.__code__
    log_variances = [name for name in code.co_varnames[: code.co_argcount] if name.startswith("logvar")]
    near = [kind != "soft" and low >= -REACH and high <= REACH for _, kind, low, high in bounds]
    return all(near) and len(near) == len(log_variances) > 0 and term not in STEEP
