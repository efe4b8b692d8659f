"""What the functions of this package do with their arguments: check them, widen half types, and shape gradients.

Knows no formula. Every error is raised before anything is computed.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from agauss.arrays import FLOATING, NUMPY, Operands, dtype_name, floating, is_number, kind_of, library_of
from agauss.backends.protocol import Shape
from agauss.execution import cotangent_for
from agauss.words import index_of


@contextmanager
def computing(given: Operands) -> Iterator[Any]:
    """The namespace of the arguments' library, where they are; inf and NaN are results there, not accidents."""
    with given.library.on(given.arrays[0]), given.library.quiet():
        yield given.library.xp


def wide(given: Operands) -> list[Any]:
    """The arguments in float32 or wider."""
    return [a if a.dtype == given.wide else given.library.xp.astype(a, given.wide) for a in given.arrays]


def not_negative(name: str, value: Any) -> None:
    """Refuse a negative number, or NaN. Arrays are not checked, for that may wait for a device."""
    if is_number(value) and not value >= 0:
        raise ValueError(f"{name} must not be negative; got {value}")


def of_their_dtype(number: Any, *arrays: Any) -> Any:
    """A floating number that is an array without dimensions, as a schedule gives it under jit, in the arrays' dtype."""
    dtypes = [a.dtype for a in arrays if hasattr(a, "dtype")]
    library = None if is_number(number) or getattr(number, "shape", None) != () or not dtypes else library_of(number)
    if library is None or dtype_name(number.dtype) not in FLOATING:
        return number
    return library.xp.astype(number, dtypes[0])


def whole(name: str, n: Any, least: int) -> int:
    """An integer, as an int."""
    found = index_of(n)
    if found is None:
        raise TypeError(f"{name} must be an int; got {type(n).__name__}")
    if found < least:
        raise ValueError(f"{name} must be at least {least}; got {found}")
    return found


def one_of(name: str, value: Any, choices: Sequence[str]) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be {' or '.join([repr(c) for c in choices])}; got {value!r}")


def fraction(t: Any, given: Operands) -> Any:
    """Places between 0 and 1, numbers or an array, as an array of the library, in float32 or wider."""
    library = given.library
    if not isinstance(t, (int, float, list, tuple, np.ndarray, np.number)):
        found = library_of(t)
        if found is None or found.name != library.name:
            raise TypeError(f"t must be a number, a list or an array of {library.name} or NumPy; got {kind_of(t)}")
        floating("t", t.dtype)
        return library.xp.astype(t, given.wide)
    try:
        places = np.asarray(t, np.float64)
    except (TypeError, ValueError):
        raise TypeError(f"t must hold numbers; got {t!r}") from None
    if not np.all((places >= 0) & (places <= 1)):
        raise ValueError(f"t must be within 0 and 1; got {t}")
    where = {} if given.device is None else {"device": given.device}
    return library.xp.asarray(places.tolist(), dtype=given.wide, **where)


def trailing(xp: Any, a: Any, rank: int) -> Any:
    """`a` with as many axes of extent 1 at its end as it lacks."""
    return xp.reshape(a, (*a.shape, *(1,) * (rank - a.ndim)))


def as_array(given: Operands, value: Any) -> Any:
    """NumPy's reductions give scalars where all others give arrays without dimensions."""
    return np.asarray(value) if given.library is NUMPY else value


def shaped(given: Operands, gradient: Any, argument: Any) -> Any:
    """A gradient of the full shape, summed over the axes along which its argument was broadcast, in its dtype."""
    return as_array(given, given.library.summed_to(gradient, argument.shape, argument.dtype))


def pulled(cotangent: Any, shape: Shape, given: Operands, name: str = "cotangent", dtype: Any = None) -> Any:
    """The cotangent of a value of that shape, checked, in float32 or wider."""
    found = cotangent_for(cotangent, shape, given.wide if dtype is None else dtype, given, name)
    return given.library.xp.astype(found, given.wide)


def pair(cotangent: Any, names: str) -> tuple[Any, Any]:
    if not isinstance(cotangent, (tuple, list)) or len(cotangent) != 2:
        raise TypeError(f"cotangent must be a pair ({names}); got {type(cotangent).__name__}")
    return cotangent[0], cotangent[1]
