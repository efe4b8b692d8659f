"""How many vector operations a piece of work takes for an element, and how many the cores can issue in a second.

The formulas themselves run on numbers that note what is done to them, as the float32 loops do it. What is computed
twice counts once, as a compiler has it, and what no result depends on does not count.
"""

import inspect
import time
from collections.abc import Callable
from functools import partial
from types import FunctionType, ModuleType, SimpleNamespace
from typing import Any

import numba
import numpy as np

from agauss.backends.cpu import calm, mathlib
from agauss.maths import coefficients, formulas, noise
from agauss.maths.domain import is_calm
from benchmarks import common

# What the vocabulary's primitives take, beside those of one operation. Words are of 64 bits, half as many to a vector.
COST = {
    "scale": 10,  # an add, two subtractions and a shift, and for each of two factors an add, a shift and a product
    "power": 2,  # an add and a shift
    "half_power": 2,
    "split": 5,  # subtract, shift, convert, mask and add
    "fraction": 2,  # convert, multiply and add
    "eighths": 5,  # add, mask, subtract, convert and multiply
    "turned": 8,  # add, shift and two choices; add, and for each sign a mask and its change, as one each
    "mulhilo": 6,  # multiply, shift and mask
    "low": 2,
    "xor": 2,
    "neg": 0,  # fused multiply-adds and subtractions have it
}
ROUNDS, LINKS = 1000, 8


class Number:
    """What an operation gives on other numbers, or a constant, on which no operation is done in a loop."""

    def __init__(self, graph: "Graph", cost: float = 0, operands: tuple["Number", ...] = ()) -> None:
        self.graph, self.cost, self.operands = graph, cost, operands
        self.is_constant = not cost and all(x.is_constant for x in operands)


def _operator(name: str, reflected: bool) -> Callable[..., Number]:
    def apply(self: Number, *others: Any) -> Number:
        return self.graph.node(name, *(others[::-1] if reflected else ()), self, *(() if reflected else others))

    return apply


for _name in ("neg", "add", "sub", "mul", "truediv", "lt", "le", "gt", "ge", "eq", "and", "or", "xor"):
    setattr(Number, f"__{_name}__", _operator(_name, reflected=False))
    setattr(Number, f"__r{_name}__", _operator(_name, reflected=True))
Number.__hash__ = object.__hash__  # type: ignore[method-assign]


class Graph:
    """A vocabulary of formulas.py and noise.py, made of a module's functions, on numbers that note what is done."""

    def __init__(self, module: ModuleType) -> None:
        self._nodes: dict[Any, Number] = {}
        own: dict[str, Any] = {name: partial(self.node, name) for name in ("fma", "where", "sqrt", "trunc", *COST)}
        own |= {
            "like": lambda c, x: self.number(c),
            "number": lambda name, x: self.number(name),
            "polynomial": partial(self._polynomial, -1),
            "parity_polynomial": partial(self._polynomial, 0),  # the square too
            "word": self.number,
            "fraction": lambda word, x: self.node("fraction", word),
            "split": partial(self._two, "split"),
            "eighths": lambda word, x: self.node("eighths", word),
            "turned": partial(self._two, "turned"),
            "mulhilo": partial(self._two, "mulhilo"),
        }
        for name, function in inspect.getmembers(module, inspect.isfunction):
            if name not in own and not function.__closure__:  # to call those above in place of Numba's
                own[name] = FunctionType(function.__code__, own, name)
        own |= {"noise": noise, "_vocabulary": SimpleNamespace(**own)}
        own["_vocabulary"].__dict__.update(own)
        self.vocabulary = own["_vocabulary"]

    def variable(self) -> Number:
        return Number(self, cost=1e-9)  # next to nothing, but no constant

    def number(self, x: Any) -> Number:
        return x if isinstance(x, Number) else self._nodes.setdefault(("constant", x), Number(self))

    def node(self, name: str, *operands: Any, cost: float | None = None) -> Number:
        given = tuple(map(self.number, operands))
        cost = COST.get(name, 1) if cost is None else cost
        cost = 0 if all(x.is_constant for x in given) else cost
        return self._nodes.setdefault((name, given), Number(self, cost, given))

    def _two(self, name: str, *operands: Any) -> tuple[Number, Number]:
        first = self.node(name, *operands)
        return first, self.node(f"{name}'s second", first, cost=0)

    def _polynomial(self, less: int, name: str, x: Number) -> Number:
        return self.node(name, x, cost=len(getattr(coefficients, f"{name}_F32")) + less)


def cost_of(results: Any) -> float:
    """The operations that these numbers depend on."""
    seen: set[Number] = set()
    rest = list(results) if isinstance(results, tuple) else [results]
    while rest:
        x = rest.pop()
        if x not in seen:
            seen.add(x)
            rest += x.operands
    return round(sum(x.cost for x in seen))


def of_noise() -> float:
    """For a normal number: a quarter of its block's."""
    graph = Graph(mathlib)
    key = [graph.number(name) for name in ("draw", "stream", "seed low", "seed high")]
    words = noise.philox(graph.vocabulary, graph.variable(), graph.number("high"), *key)
    return cost_of(noise.normals32(graph.vocabulary, words, graph.variable())) / 4


def of(work: str) -> float:
    """For an element of the mean's shape, with hard bounds on log-variances as the benchmarks have them."""
    if work == "forward and backward":
        return of("sample and kl") + of("sample and kl vjp")
    operation, vjp = common.ROWS[work]
    term = operation.vjp if vjp else operation.term
    first = len(operation.results) if vjp else 0
    bounds = [
        (first + place, "hard", *common.BOUNDS)
        for place, name in enumerate(operation.arguments)
        if name.startswith("logvar")
    ]
    graph = Graph(calm if is_calm(term, tuple(bounds)) else mathlib)
    given = [graph.variable() for _ in list(inspect.signature(term).parameters)[1:]]
    limits = [graph.number(limit) for limit in common.BOUNDS]
    inputs = list(given)
    for place, *_ in bounds:
        inputs[place] = formulas.hard(graph.vocabulary, given[place], *limits)
    found = term(graph.vocabulary, *inputs)
    results = list(found) if isinstance(found, tuple) else [found]
    for place, *_ in bounds if vjp else ():
        own = place - first
        results[own] = formulas.hard_vjp(graph.vocabulary, results[own], given[place], *limits)
    sums = 0 if vjp or operation.summed is None else 1
    return cost_of(tuple(results)) + sums + (of_noise() if operation.noisy else 0)


@numba.njit(fastmath={"contract"}, parallel=True)
def _chains(x: Any, y: Any, threads: int) -> None:
    """Each thread's own: chains of multiply-adds and of additions, on as many numbers as hide what a link takes."""
    for thread in numba.prange(threads):
        row = x[thread]
        for _ in range(ROUNDS):
            for k in range(row.size):
                a = b = row[k]
                a, b = a * y + y, b + y  # written out, for LLVM makes vectors of the innermost loop alone
                a, b = a * y + y, b + y
                a, b = a * y + y, b + y
                a, b = a * y + y, b + y
                a, b = a * y + y, b + y
                a, b = a * y + y, b + y
                a, b = a * y + y, b + y
                a, b = a * y + y, b + y
                row[k] = a * b


def issued() -> float:
    """Operations on float32 numbers that all threads issue in a second, if half of them are multiply-adds and half
    additions, and there is nothing to wait for."""
    threads = numba.get_num_threads()
    x = np.zeros((threads, 1024), np.float32)
    best = float("inf")
    for _ in range(20):
        start = time.perf_counter()
        _chains(x, np.float32(0.5), threads)
        best = min(best, time.perf_counter() - start)
    return 2 * x.size * ROUNDS * LINKS / best
