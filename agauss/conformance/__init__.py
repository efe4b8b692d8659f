"""Conformance: whether a class of diagonal Gaussians has the faults of the reference implementations, row by row.

`python -m agauss.conformance module:Class` prints a table; `run` gives its rows. Nothing here asks agauss for a number.
"""

from agauss.conformance.suite import Row, run

__all__ = ["Row", "run"]
