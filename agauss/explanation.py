"""`explain`, which says what path a call takes; knows no path itself: it reads the steps that backends note."""

from collections.abc import Callable
from typing import Any, NamedTuple

from agauss.arrays import advice
from agauss.backends import steps
from agauss.backends.steps import Step


class Explanation(NamedTuple):
    """What a call did. It prints each pass over the arrays, and below it what was copied and why it is slow."""

    op: str
    steps: tuple[Step, ...]

    def __repr__(self) -> str:
        lines = [f"{self.op}: {len(self.steps)} pass{'' if len(self.steps) == 1 else 'es'}"]
        if not self.steps:
            lines.append("  no kernel of agauss ran")
        for step in self.steps:
            lines.append(f"  {step.backend} for {step.library}: {step.kernel} in {step.dtype}")
            lines += [f"    copies {text}" for text in step.copies or ["nothing"]]
            lines += [f"    {text}" for text in step.notes]
        return "\n".join(lines)


def explain(op: Callable[..., Any], *args: Any, **kwargs: Any) -> Explanation:
    """Which path a call takes: the backend, the kernel, its dtype, the copies made, and what makes it slow.

    It makes the call once and reports what it did.

    Parameters
    ----------
    op : a function of agauss or of an integration, or a method of a distribution
    *args, **kwargs : its arguments

    Returns
    -------
    Explanation
        With ``steps``, a ``Step`` for each pass; of a compiled function (``jax.jit``, ``torch.compile``) only those of
        a call that traces it, and of a Dask array what will be done with each block.

    Raises
    ------
    TypeError, ValueError
        As the call itself does.

    Examples
    --------
    >>> import agauss as ag, numpy as np
    >>> ag.explain(ag.kl, np.zeros((4, 3)), np.zeros((4, 3)), axis=1)
    kl: 1 pass
      Numba loops for numpy: row_reduce of kl_prior in float64
        copies nothing
        on one thread: 12 elements are fewer than 32768
    """
    if not callable(op):
        raise TypeError(f"op must be a function, and its arguments follow it; got {type(op).__name__}")
    with steps.watched() as found:
        op(*args, **kwargs)
    for step in found:
        step.notes += advice(step.backend, step.library)
    return Explanation(getattr(op, "__name__", repr(op)), tuple(found))
