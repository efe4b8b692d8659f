"""The vocabulary where bounds keep every log-variance near 0 (`is_calm` of domain.py): mathlib.py's, unguarded."""

from agauss.backends.cpu.mathlib import *  # noqa: F403
from agauss.backends.cpu.mathlib import (
    exp_of,
    half_expm1_of,
    half_expm1x_of,
    half_power,
    inlined,
    nearest,
    power,
    rest,
    whole,
)


@inlined
def exp(x):
    n = nearest(x)
    return exp_of(rest(x, n)) * power(n)


@inlined
def half_expm1(x):
    n = whole(x)
    return half_expm1_of(rest(x, n), half_power(n))


@inlined
def expm1(x):
    y = half_expm1(x)
    return y + y


@inlined
def half_expm1x(x):
    n = whole(x)
    return half_expm1x_of(x, rest(x, n), half_power(n))


@inlined
def infinite(x):
    return False
