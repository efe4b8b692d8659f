"""What tells one pass on JAX arrays from another, but its operands; knows no JAX and no formula."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from agauss.backends.protocol import Pass, Shape


class Call(NamedTuple):
    """All that tells one pass from another but its operands. These are the arrays, then for noise the three words of
    the key, and then the ids, in rows of two words. Axes of arrays are counted from the end."""

    work: Pass
    noise: tuple[Shape | None, int, int] | None = None  # strides, start and draw
    indexed: bool = False
    split: tuple[int | None, ...] = ()  # of each array, the axis along which two inputs are its halves
    joined: tuple[tuple[int, int], ...] = ()  # a value that is kept as half of one result with the next, and the axis
    turning: tuple[bool, ...] = ()  # the operands with one more leading axis, for each place of which there is a pass
    turns: int = 0  # and its extent; 0 where there is none

    def arrays(self, operands: Sequence[Any]) -> Sequence[Any]:
        return operands if self.noise is None else operands[: -3 - self.indexed]

    def results(self) -> list[tuple[Shape, Any]]:
        """The shapes and dtypes of what comes of it."""
        work, lead, joined = self.work, (self.turns,) if self.turns else (), dict(self.joined)
        found = []
        for k, dtype in enumerate(work.dtypes):
            if dtype is not None and k - 1 not in joined:
                found.append((lead + (_doubled(work.shape, joined[k]) if k in joined else work.shape), dtype))
        if work.axes is not None:
            found.append((lead + tuple([n for k, n in enumerate(work.shape) if k not in work.axes]), work.total))
        return found

    def once(self) -> "Call":
        """A turn by itself."""
        return self._replace(turning=(), turns=0)

    def axes(self) -> tuple[int | None, ...]:
        """What of each operand vmap is to map over, for turns."""
        return tuple([0 if turned else None for turned in self.turning])


def _doubled(shape: Shape, axis: int) -> Shape:
    place = len(shape) + axis
    return (*shape[:place], 2 * shape[place], *shape[place + 1 :])
