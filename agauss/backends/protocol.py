"""What a backend is given and gives back; knows no array, no formula and no backend."""

from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple, Protocol

# What is Any to a type checker has a name for readers: libraries' arrays and dtypes have no type in common.
Array = Any
DType = Any
Shape = tuple[int, ...]
Term = Callable[..., Any]
Word = Any  # 32 bits of a key: an int, or an array without dimensions that JAX or PyTorch traces
Bound = tuple[int, str, float, float]  # an argument's position, the kind of its bound, low and high
Sinks = Sequence[Array | None] | None  # arrays to fill, one for each value; None where the backend makes them


class Pass(NamedTuple):
    """One walk over arrays that broadcast to a shape, with a term's values at every element. It holds no array, so it
    can be a key, and is prepared once."""

    term: Term
    shape: Shape
    dtypes: tuple[DType | None, ...]  # of each value that is kept as an array; None where it is not wanted
    axes: Shape | None = None  # what the value numbered `summed` is added up over, in `total`, a dtype
    summed: int | None = None
    total: DType | None = None
    bounds: tuple[Bound, ...] = ()
    cotangents: int = 0  # how many of the arrays are cotangents, which come first


class Noise(NamedTuple):
    """What a backend needs to make the noise of an array: `index` holds the sample ids, or is None for 0, 1, 2, ...

    An array that is a block of a larger one says where: `start` is the linear index there of its first element, but for
    what `index` adds, and `strides` are the steps of that index along its axes.
    """

    words: tuple[Word, Word, Word]  # of the key: the lower and upper 32 bits of its seed, and its stream
    draw: int = 0
    index: Any = None  # an array
    strides: Shape | None = None
    start: int = 0

    def at(self, place: Sequence[int]) -> "Noise":
        """The noise of a block that begins at a place in the array of which `strides` says the steps."""
        strides = self.strides or ()
        first = 0 if self.index is None else 1  # the index says where the block lies along its first axis
        start = self.start + sum([n * step for n, step in zip(place[first:], strides[first:], strict=True)])
        return self._replace(start=(start + 2**63) % 2**64 - 2**63)  # modulo 2^64, as the kernels count


class Plan(Protocol):
    """A pass over arrays of known forms: shapes, strides and dtypes."""

    def __call__(
        self, arrays: Sequence[Array], words: Sequence[Word] = (), outs: Sinks = None
    ) -> tuple[Array, ...] | None:
        """What `Backend.run` gives, with the noise of a key's words; None where the arrays' memory does not lie as that
        of the plan's arrays did."""


class Backend(Protocol):
    """What computes a pass, for the arrays of one library or more: a module or an object."""

    def run(
        self, work: Pass, arrays: Sequence[Array], noise: Noise | None = None, outs: Sinks = None
    ) -> tuple[Array, ...]:
        """The values kept, in `outs` where they are given, and after them the sum, if there is one."""

    def plan(self, work: Pass, arrays: Sequence[Array], noise: Noise | None = None, outs: Sinks = None) -> Plan | None:
        """The pass for arrays of the same forms as these; None where each call is to be looked at."""
        return None

    def forms(self, arrays: Sequence[Array]) -> Hashable | None:
        """What a plan for these arrays depends on; None where one of them is not of the backend's own kind."""
        return None

    def empty(self, shape: Shape, dtype: DType, like: Array) -> Array:
        """An array to be filled, where `like` is."""

    def refuse_misaligned(self, a: Array, name: str) -> None:
        """An error where an array that is to be written to cannot be, as it lies in memory."""
        return
