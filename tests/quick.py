"""Which cases of a test every run has; the others are for the night."""

import pytest

# The operations that every run tries all of agauss on: of each form, with and without bounds, noise and parameters. How
# a pass broadcasts, sums and is bounded is the same code for all; every operation's own numbers are in test_ulp.py.
FEW = (
    "bernoulli_nll",
    "clamp",
    "kl",
    "kl_prior",
    "nll",
    "renyi",
    "sample",
    "sample_and_kl",
    "saturated",
    "std",
)


def nightly_unless(keep, cases):
    """The cases, for pytest.mark.parametrize; those that `keep` does not hold for are marked nightly."""
    marked = []
    for case in cases:
        values = case if isinstance(case, tuple) else (case,)
        marked.append(pytest.param(*values, marks=() if keep(*values) else pytest.mark.nightly))
    return marked
