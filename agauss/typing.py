"""Types of what the public functions take and give, for annotations: arrays in, the same kind of array out.

The kind is the library's. A sum has fewer axes than its arguments and may be wider than they are, so neither the shape
nor the dtype in a type of NumPy's is a promise.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol, SupportsIndex

import numpy as np

from agauss.keys import Key

if TYPE_CHECKING:
    from typing_extensions import TypeVar
else:
    from typing import TypeVar


class AnyArray(Protocol):
    """An array of any library."""

    @property
    def shape(self) -> Any: ...

    @property
    def dtype(self) -> Any: ...


class SeedSequence(Protocol):
    """NumPy's."""

    @property
    def generate_state(self) -> Callable[..., Any]: ...


class Generator(Protocol):
    """NumPy's or CuPy's."""

    @property
    def integers(self) -> Callable[..., Any]: ...


if TYPE_CHECKING:  # typing.TypeVar has defaults from Python 3.13 on
    Array = TypeVar("Array", bound=AnyArray, default=Any)
else:
    Array = TypeVar("Array", bound=AnyArray)

Number = float | np.floating[Any] | np.integer[Any]
Axis = int | Sequence[int] | None
Kind = Literal["hard", "soft", "straight-through"]
Bounds = Kind | tuple[float, float] | tuple[float, float, Kind] | None
Index = AnyArray | Sequence[int] | None  # sample ids
Seed = SupportsIndex | Key | SeedSequence  # gives the same noise each time
Rng = Seed | Generator | None
