"""What a backend is given and gives back; knows no array, no formula and no backend."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

Shape = tuple[int, ...]
Term = Callable[..., Any]
Bound = tuple[int, str, float, float]  # an argument's position, the kind of its bound, low and high


class Pass(NamedTuple):
    """One walk over arrays that broadcast to a shape, with a term's values at every element. It holds no array, so it
    can be a key, and is prepared once."""

    term: Term
    shape: Shape
    dtypes: tuple[Any, ...]  # of each value that is kept as an array; None where it is not wanted
    axes: Shape | None = None  # what the value numbered `summed` is added up over, in `total`, a dtype
    summed: int | None = None
    total: Any = None
    bounds: tuple[Bound, ...] = ()
    cotangents: int = 0  # how many of the arrays are cotangents, which come first


class Plan(Protocol):
    """A pass over arrays of known forms: shapes, strides and dtypes."""

    def __call__(self, arrays: Sequence[Any], noise: Any = None) -> tuple[Any, ...] | None:
        """What `Backend.run` gives; None where an array's memory does not lie as the plan's arrays did."""


class Backend(Protocol):
    """What computes a pass, for the arrays of one library or more."""

    def run(
        self, work: Pass, arrays: Sequence[Any], noise: Any = None, outs: Sequence[Any] | None = None
    ) -> tuple[Any, ...]:
        """The values kept, in `outs` where they are given, and after them the sum, if there is one."""

    def plan(self, work: Pass, arrays: Sequence[Any], noise: Any = None) -> Plan | None:
        """The pass for arrays of the same forms as these; None where each call is to be looked at."""
