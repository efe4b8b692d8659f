"""Which cases of a test every run has; the others are slow, or for the night."""

import pytest

# The operations that every run tries all of agauss on: of each form, with and without bounds, noise and parameters. How
# a pass broadcasts, sums and is bounded is the same code for all; every operation's own numbers are in test_ulp.py.
FEW = (
    "clamp",
    "kl",
    "nll",
    "renyi",
    "sample",
    "sample_and_kl",
    "saturated",
    "std",
)


def nightly_unless(keep, cases, slow=lambda *case: False):
    """The cases, for pytest.mark.parametrize; those that `keep` does not hold for are marked nightly, or slow where
    `slow` holds."""
    marked = []
    for case in cases:
        values = case if isinstance(case, tuple) else (case,)
        mark = () if keep(*values) else pytest.mark.slow if slow(*values) else pytest.mark.nightly
        marked.append(pytest.param(*values, marks=mark))
    return marked


def slow_unless(keep, cases):
    """The same, where all the others are slow."""
    return nightly_unless(keep, cases, slow=lambda *case: True)


def slow_in_jax(libraries):
    """Libraries, of which JAX, that compiles each step of a call for each shape, is slow."""
    return slow_unless(lambda library: library != "jax", libraries)
