"""A check that remembers what has passed it: small calls are made again and again."""

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


def kinds(x: Any) -> Any:
    """The types of what a tuple holds, which a key must have beside the values: 1, 1.0 and True are equal."""
    return tuple(map(type, x)) if x.__class__ is tuple else x.__class__


def remembered(check: F) -> F:
    """The check, which remembers the arguments that passed, where they can be hashed; itself as ``__wrapped__``."""

    @lru_cache(maxsize=1024)
    def cached(types: Any, *args: Any) -> Any:  # noqa: ARG001, a part of the key
        return check(*args)

    @wraps(check)
    def call(first: Any, *rest: Any) -> Any:
        try:
            return cached(kinds(first), first, *rest)
        except TypeError:  # cannot be hashed, or is refused: the check itself says which
            return check(first, *rest)

    return call  # type: ignore[return-value]
