"""The table of operations, a row each. What an operation takes, and its derivative, are found by its term."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import Any

from agauss.maths import formulas

Term = Callable[..., Any]


class Result(Enum):
    """What becomes of a term's value at each element."""

    SUM = "added up over the axes, float32 or wider"
    COUNT = "added up over the axes, an integer"
    WIDE = "kept, float32 or wider"
    OWN = "kept, in the arguments' dtype"


@dataclass(frozen=True, eq=False)
class Operation:
    """A row of the table, hashed by identity.

    Attributes
    ----------
    name : of the operation; unique
    term : the function of formulas.py
    results : the name of each of the term's values, and what becomes of it
    arguments : the public function's array arguments; the term's, where not given
    parameters : numbers that the term takes after its arrays, of their wide dtype; by them there is no gradient
    function : the public function's name, where two operations share one
    noisy : whether the term's last argument is noise
    vjp : the term's vector-Jacobian product, or None
    """

    name: str
    term: Term
    results: dict[str, Result]
    arguments: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()
    function: str = ""
    noisy: bool = field(init=False)
    vjp: Term | None = field(init=False)

    def __post_init__(self) -> None:
        taken = _parameters(self.term)
        noisy = taken[-1] == "eps"
        taken = taken[:-1] if noisy else taken
        n = len(taken) - len(self.parameters)
        if taken[n:] != self.parameters:
            raise TypeError(f"{self.name} must take its parameters after its arguments; got {taken}")
        taken = taken[:n]
        vjp = getattr(formulas, f"{self.term.__name__}_vjp", None)
        if vjp is not None and _parameters(vjp)[len(self.results) :] != _parameters(self.term):
            raise TypeError(f"{vjp.__name__} must take a cotangent for each value and then what its term takes")
        if self.arguments and len(self.arguments) != len(taken):
            raise TypeError(f"{self.name} must have a name for each of its term's arguments; got {self.arguments}")
        for name, derived in (
            ("arguments", self.arguments or taken),
            ("function", self.function or self.name),
            ("noisy", noisy),
            ("vjp", vjp),
        ):
            object.__setattr__(self, name, derived)

    @cached_property
    def summed(self) -> int | None:
        """The place of the value that is added up, if one is."""
        kinds = tuple(self.results.values())
        return next((k for k, kind in enumerate(kinds) if kind in (Result.SUM, Result.COUNT)), None)

    @cached_property
    def keeps(self) -> bool:
        """Whether its first value is kept, and not added up."""
        return self.summed != 0


def _parameters(term: Term) -> tuple[str, ...]:
    """The names of what a term takes after its vocabulary."""
    return tuple(inspect.signature(term).parameters)[1:]


OPERATIONS: dict[str, Operation] = {}


def _row(name: str, *kinds: Result, term: Term | None = None, **more: Any) -> Operation:
    names = more.pop("values", (name,))
    found = Operation(name, term or getattr(formulas, name), dict(zip(names, kinds, strict=True)), **more)
    OPERATIONS[name] = found
    return found


KL = _row("kl", Result.SUM)
KL_PRIOR = _row("kl_prior", Result.SUM, function="kl")
NORMAL_KL = _row("normal_kl", Result.WIDE, term=formulas.kl, arguments=("mean1", "logvar1", "mean2", "logvar2"))
WASSERSTEIN2_SQUARED = _row("wasserstein2_squared", Result.SUM)
JEFFREYS = _row("jeffreys", Result.SUM)
BHATTACHARYYA = _row("bhattacharyya", Result.SUM)
RENYI = _row("renyi", Result.SUM, parameters=("alpha",))
RENYI_ABOVE_ONE = _row("renyi_above_one", Result.SUM, parameters=("alpha",), function="renyi")
NLL = _row("nll", Result.SUM)
DISCRETIZED_NLL = _row("discretized_nll", Result.SUM, parameters=("width", "low", "high"))
LOG_PROB = _row("log_prob", Result.SUM)
LOG_DENSITY_RATIO = _row("log_density_ratio", Result.SUM)
LOG_DENSITY_RATIO_PRIOR = _row("log_density_ratio_prior", Result.SUM, function="log_density_ratio")
BERNOULLI_NLL = _row("bernoulli_nll", Result.SUM)
BERNOULLI_ENTROPY = _row("bernoulli_entropy", Result.SUM)
ENTROPY = _row("entropy", Result.SUM)
STD = _row("std", Result.WIDE)
VAR = _row("var", Result.WIDE)
MODE = _row("mode", Result.OWN)
CLAMP = _row("clamp", Result.OWN, term=formulas.value, arguments=("logvar",))
SATURATED = _row("saturated", Result.COUNT, term=formulas.outside, arguments=("logvar", "low", "high"))
SAMPLE = _row("sample", Result.OWN)
SAMPLE_AND_KL = _row("sample_and_kl", Result.OWN, Result.SUM, values=("z", "kl"))
NOISE = _row("noise", Result.OWN)
