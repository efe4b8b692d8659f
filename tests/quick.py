"""Which cases of a test every run has; the others are marked slow."""

import pytest


def slow_unless(keep, cases):
    """The cases, for pytest.mark.parametrize; those that `keep` does not hold for are marked slow."""
    marked = []
    for case in cases:
        values = case if isinstance(case, tuple) else (case,)
        marked.append(pytest.param(*values, marks=() if keep(*values) else pytest.mark.slow))
    return marked
