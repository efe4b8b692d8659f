"""The operations of the table as the tests call them: a plain form of each, and random arrays for its arguments.

A new operation needs a plain form here, and a domain where an argument's name is new. The rest follows from the table
and from the public function's signature: test_table.py says what was forgotten.
"""

import inspect
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import ml_dtypes
import numpy as np
import pytest
from bins import discretized_nll

import agauss as ag
from agauss import ops
from agauss.operations import OPERATIONS, Operation, Result
from agauss.random import Key

# Plain forms: the terms whose sum is the value of an element, for whatever has NumPy's functions and differentiates
# them. m is torch, jax.numpy, or numpy of long doubles, whose derivatives are taken by complex steps.

LOG_2PI = np.log(8 * np.arctan(np.longdouble(1)))


def number(m, x):
    """A constant, of as many digits as the library has."""
    return x if m is np else float(x)


def near_zero(t):
    """exp(t) - 1 - t by a series, of which 15 terms leave 1e-25 for |t| under 0.3."""
    series = 1 + t / 17
    for n in range(16, 2, -1):
        series = 1 + t / n * series
    return t * t / 2 * series


def expm1x(m, t):
    """exp(t) - 1 - t, without cancellation in long double."""
    return m.expm1(t) - t if m is not np else np.where(np.abs(t) < 0.3, near_zero(t), np.expm1(t) - t)


def expm1(m, t):
    """exp(t) - 1; NumPy's own cancels where numbers are complex."""
    return m.expm1(t) if m is not np else np.where(np.abs(t) < 0.3, t + near_zero(t), np.expm1(t))


def log1p(m, x):
    """log(1 + x); NumPy's own cancels where numbers are complex, whose step is too small to count in a square."""
    if m is not np or not np.iscomplexobj(x):
        return m.log1p(x)
    return np.log1p(x.real) + 1j * x.imag / (1 + x.real)


def positive(m, x):
    """Where x, or its real part, is."""
    return (x.real if m is np else x) > 0


def kl(m, mean, logvar, mean2, logvar2):
    return (mean - mean2) ** 2 * m.exp(-logvar2) / 2, expm1x(m, logvar - logvar2) / 2


def kl_prior(m, mean, logvar):
    return mean**2 / 2, expm1x(m, logvar) / 2


def wasserstein2_squared(m, mean, logvar, mean2, logvar2):
    larger = m.maximum(logvar, logvar2)  # by the smaller, the derivative would cancel
    u = (m.minimum(logvar, logvar2) - larger) / 2
    return (mean - mean2) ** 2, m.exp(larger) * expm1(m, u) ** 2


def jeffreys(m, mean, logvar, mean2, logvar2):
    t, square = logvar - logvar2, (mean - mean2) ** 2 / 2
    return square * m.exp(-logvar), square * m.exp(-logvar2), (expm1x(m, t) + expm1x(m, -t)) / 2


def bhattacharyya(m, mean, logvar, mean2, logvar2):
    u = (logvar - logvar2) / 2
    rise = (expm1x(m, u) + expm1x(m, -u)) / 2  # cosh(u) - 1
    return (mean - mean2) ** 2 / (m.exp(logvar) + m.exp(logvar2)) / 4, log1p(m, rise) / 2


def renyi(m, mean, logvar, mean2, logvar2, alpha):
    c, t = 1 - alpha, logvar - logvar2
    v = c * m.exp(logvar) + alpha * m.exp(logvar2)
    rise = c * expm1x(m, alpha * t) + alpha * expm1x(m, -c * t)  # of v over the geometric mean
    return alpha * (mean - mean2) ** 2 / v / 2, log1p(m, rise) / c / 2


def renyi_above_one(m, mean, logvar, mean2, logvar2, alpha):
    b, t = alpha - 1, logvar - logvar2
    v = alpha * m.exp(logvar2) - b * m.exp(logvar)
    log = log1p(m, -b * expm1(m, t))
    return alpha * (mean - mean2) ** 2 / v / 2, expm1x(m, t) / 2, expm1x(m, log) / b / 2


def log_density_ratio(m, z, mean, logvar, mean2, logvar2):
    squares = (z - mean) ** 2 * m.exp(-logvar) / 2, (z - mean2) ** 2 * m.exp(-logvar2) / 2
    return (logvar2 - logvar) / 2, squares[1], -squares[0]


def log_density_ratio_prior(m, z, mean, logvar):
    return log_density_ratio(m, z, mean, logvar, m.zeros_like(mean), m.zeros_like(logvar))


def bernoulli_nll(m, x, logits):
    above = positive(m, logits)
    size = m.where(above, logits, -logits)
    return log1p(m, m.exp(-size)), m.where(above, 1 - x, x) * size


def nll(m, x, mean, logvar):
    return m.zeros_like(logvar) + number(m, LOG_2PI) / 2, logvar / 2, (x - mean) ** 2 * m.exp(-logvar) / 2


def sample(m, mean, logvar, eps):
    return mean, m.exp(logvar / 2) * eps


PLAIN = {
    "kl": kl,
    "kl_prior": kl_prior,
    "normal_kl": kl,
    "wasserstein2_squared": wasserstein2_squared,
    "jeffreys": jeffreys,
    "bhattacharyya": bhattacharyya,
    "renyi": renyi,
    "renyi_above_one": renyi_above_one,
    "log_density_ratio": log_density_ratio,
    "log_density_ratio_prior": log_density_ratio_prior,
    "bernoulli_nll": bernoulli_nll,
    "bernoulli_entropy": lambda m, x: (-x * m.log(x), -(1 - x) * log1p(m, -x)),
    "nll": nll,
    "discretized_nll": discretized_nll,
    "log_prob": lambda m, *given: tuple(-term for term in nll(m, *given)),
    "entropy": lambda m, logvar: (m.zeros_like(logvar) + number(m, 1 + LOG_2PI) / 2, logvar / 2),
    "std": lambda m, logvar: (m.exp(logvar / 2),),
    "var": lambda m, logvar: (m.exp(logvar),),
    "mode": lambda m, mean, logvar: (mean, 0 * logvar),
    "clamp": lambda m, logvar: (logvar,),
    "sample": sample,
    "sample_and_kl": lambda m, mean, logvar, eps: (sample(m, mean, logvar, eps), kl_prior(m, mean, logvar)),
}

# The scale of the normals that an argument is drawn from, by its name without a number. A pixel is in [0, 1].
DOMAIN = {"x": 2.0, "z": 2.0, "mean": 1.0, "logvar": 1.5, "logits": 3.0, "parameters": 1.0, "pixel": 1.0}
PIXELS = {"bernoulli_nll": {"x": "pixel"}, "bernoulli_entropy": {"x": "pixel"}}  # arguments that are drawn as another
OBSERVATIONS = ("x", "z")  # what the Gaussian is asked about, so its arguments are checked first

# The parameters of a row, as float32 has them too. Over the second of them few random arguments diverge.
PARAMETERS = {
    "discretized_nll": {"width": 0.5, "low": -1.0, "high": 1.0},
    "renyi": {"alpha": 0.25},
    "renyi_above_one": {"alpha": 1 + 2**-15},
}

# What an option is, where a function cannot be called without it.
KEY = Key(2026, 8)
NEEDED = {"rng": KEY, "bounds": (-1, 1), "key": KEY, "offset": 0, "event_size": 4, "alpha": 0.25, "width": 0.5}


def found(table, key, what):
    """table[key], or what to write in this file."""
    if key not in table:
        raise LookupError(f"{what} of {key!r} is to be added to tests/cases.py")
    return table[key]


def draw(name, shape, rng):
    """A random array for an argument of this name."""
    made = np.asarray(rng.normal(size=shape)) * found(DOMAIN, name.rstrip("0123456789"), "the DOMAIN")
    return within_0_and_1(made) if name == "pixel" else made


def within_0_and_1(x):
    """Numbers inside of whatever numbers; NaN of those that are infinite."""
    with np.errstate(invalid="ignore"):
        return np.where((inside := np.asarray(np.abs(x) % 1)) == 0, inside.dtype.type(0.5), inside)


def stop(m, x):
    if m.__name__ == "torch":
        return x.detach()
    import jax

    return jax.lax.stop_gradient(x)


def softplus(m, x):
    return m.logaddexp(x, m.zeros_like(x))


def clamped(m, logvar, bounds):
    """With gradient 0 strictly outside hard bounds, 1 inside and on them; 1 everywhere where straight through."""
    if bounds is None:
        return logvar
    low, high, kind = (-30.0, 20.0, bounds) if isinstance(bounds, str) else (*bounds, "hard")[:3]
    if kind == "soft":
        below = high - softplus(m, high - logvar)
        return low + softplus(m, below - low)
    cut = stop(m, m.clip(logvar, low, high))
    if kind == "hard":
        return m.where((logvar < low) | (logvar > high), cut, logvar)
    return cut + logvar - stop(m, logvar)


def summed(m, x, axis):
    if axis == ():
        return x
    return m.sum(x, axis) if axis is not None else m.sum(x)


def positional(function):
    return tuple(p.name for p in inspect.signature(function).parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD)


def needed(function):
    """The options that a function cannot be called without."""
    names = [
        p.name
        for p in inspect.signature(function).parameters.values()
        if p.kind is p.KEYWORD_ONLY and p.default is p.empty and p.name != "cotangent"
    ]
    return {name: found(NEEDED, name, "what is NEEDED") for name in names}


@dataclass(frozen=True, eq=False)
class Case:
    """A row of the table, as its public functions are called."""

    op: Operation

    @property
    def function(self):
        return ops.FUNCTIONS[self.op.function]

    @property
    def vjp(self):
        return ops.VJPS.get(self.function)

    @cached_property
    def arguments(self):
        """The names of the public function's arrays: the operation's, or parameters that hold them."""
        names = positional(self.function)
        return tuple(name for name in names if name in self.op.arguments) or names

    @property
    def drawn(self):
        """The names that say how its arrays are drawn."""
        own = PIXELS.get(self.op.name, {})
        return tuple(own.get(name, name) for name in self.arguments)

    @property
    def parameters(self):
        return PARAMETERS.get(self.op.name, {})

    def within(self, arrays):
        """Arguments in the operation's domain, and where it is well conditioned, of whatever numbers."""
        found = [within_0_and_1(a) if name == "pixel" else a for name, a in zip(self.drawn, arrays, strict=True)]
        if self.op.name == "renyi_above_one":  # the first Gaussian is the narrower one
            found[1], found[3] = -np.abs(found[1]), np.abs(found[3])
        return found

    @property
    def sums(self):
        """Whether the caller says what is summed over."""
        return self.op.summed is not None and self.arguments != ("parameters",)

    @property
    def bounded(self):
        return "bounds" in inspect.signature(self.function).parameters

    @property
    def noisy(self):
        return self.op.noisy

    def options(self, axis=None, bounds=None, bounds2=None):
        """Those of these options that the operation takes, and what it cannot be called without."""
        chosen = needed(self.function) | self.parameters
        if self.sums:
            chosen["axis"] = axis
        if self.bounded:
            chosen["bounds"] = bounds
            if "logvar2" in self.op.arguments:
                chosen["bounds2"] = bounds if bounds2 is None else bounds2
        return chosen

    def primals(self, shapes, seed=0, scale=1.0):
        """An array for each argument, float64."""
        rng = np.random.default_rng(seed)
        return [np.asarray(draw(name, shape, rng) * scale) for name, shape in zip(self.drawn, shapes, strict=False)]

    def terms(self, m, *given):
        """For each value of the operation, the terms whose sum it is at each element; the noise comes last."""
        terms = found(PLAIN, self.op.name, "the PLAIN form")(m, *given, **self.parameters)
        return [terms] if len(self.op.results) == 1 else list(terms)

    def plain(self, m, *primals, eps=None, axis=None, bounds=None, bounds2=None, **parameters):
        """The values that the plain form gives for the public function's arguments and options."""
        assert parameters in ({}, self.parameters)
        if self.arguments == ("parameters",):
            (parameters,), axis = primals, 1 if axis is None else axis
            half, before = parameters.shape[axis] // 2, (slice(None),) * (axis % parameters.ndim)
            primals = [parameters[(*before, slice(None, half))], parameters[(*before, slice(half, None))]]
            axis = tuple(range(1, parameters.ndim))
        limits = {"logvar": bounds, "logvar2": bounds2}
        given = [clamped(m, a, limits.get(name)) for name, a in zip(self.op.arguments, primals, strict=True)]
        values = [sum(terms[1:], terms[0]) for terms in self.terms(m, *given, *([eps] if self.noisy else []))]
        kinds = self.op.results.values()
        values = [summed(m, v, axis) if kind is Result.SUM else v for v, kind in zip(values, kinds, strict=True)]
        return values[0] if len(values) == 1 else tuple(values)


CASES = {name: Case(op) for name, op in OPERATIONS.items() if op.function in ops.FUNCTIONS}
DIFFERENTIABLE = [name for name, case in CASES.items() if case.vjp is not None]
ELEMENTWISE = [name for name in DIFFERENTIABLE if not CASES[name].noisy]  # and without noise


def each(names=ELEMENTWISE):
    """A test of each of the cases, as `case`."""
    names = list(names)
    return pytest.mark.parametrize("case", [CASES[name] for name in names], ids=names)


# Gradients of the plain forms, in long double


def long_terms(case, *given):
    """The terms of an operation of one value."""
    return case.terms(np, *given)[0]


def long_gradients(case, *given, count=None):
    """For each of the first `count` arguments, the derivatives of the terms, by complex steps, which lose no digit."""
    step = np.finfo(np.longdouble).tiny ** np.longdouble(0.75)  # whose square is 0
    gradients = []
    for place in range(len(given) if count is None else count):
        moved = [a + 1j * step if k == place else a for k, a in enumerate(given)]
        terms = [np.imag(np.asarray(term)) / step for term in long_terms(case, *moved)]
        gradients.append(tuple(term for term in terms if np.any(term)) or (terms[0],))
    return gradients


# Public functions, with what they need


class Public(NamedTuple):
    function: object
    arguments: tuple  # the names of its arrays
    options: dict  # that it cannot be called without
    case: Case | None  # None: it is no operation of its own

    def takes(self, option):
        return option in inspect.signature(self.function).parameters


def _public():
    """Every public function of arrays, by its name; of an operation of several forms the one of the most arguments."""
    by_function = {}
    for case in CASES.values():
        if len(case.arguments) > len(getattr(by_function.get(case.function), "arguments", ())):
            by_function[case.function] = case
    for function, case in by_function.items():
        yield Public(function, case.arguments, needed(function), case)
    yield Public(ag.sample_block, positional(ag.sample_block), needed(ag.sample_block), None)
    for function, vjp in ops.VJPS.items():
        case = by_function[function]
        cotangent = (1.0,) * len(case.op.results) if len(case.op.results) > 1 else 1.0
        yield Public(vjp, case.arguments, {**needed(vjp), "cotangent": cotangent}, case)


PUBLIC = {public.function.__name__: public for public in _public()}


# Calls of every operation, on one set of arrays

SHAPE = (6, 4, 5)
FORMS = {"": SHAPE, " column": (4, 1), " row": (6, 1, 5)}
IDS = [5, 4, 2**62, 0, 2**33, 1]


def arrays(dtype="float32", seed=0):
    """NumPy arrays for every argument: of one shape, some that broadcast, parameters, cotangents and ids."""
    rng = np.random.default_rng(seed)
    kind = ml_dtypes.bfloat16 if dtype == "bfloat16" else np.dtype(dtype)
    wide = np.float64 if dtype == "float64" else np.float32  # of all results but samples, and so of their cotangents
    names = dict.fromkeys(name for case in CASES.values() for name in case.drawn if name != "parameters")
    made = {name + form: draw(name, shape, rng).astype(kind) for name in names for form, shape in FORMS.items()}
    return made | {
        "parameters": draw("parameters", (6, 8, 5), rng).astype(kind),
        "g": rng.normal(size=SHAPE).astype(wide),
        "g of sums": rng.normal(size=SHAPE[:1]).astype(wide),
        "g own": rng.normal(size=SHAPE).astype(kind),
        "index": rng.permutation(6) + 2**33,
    }


class Call(NamedTuple):
    """A call of a public function with some of these arrays."""

    function: str
    names: tuple  # of arrays, or numbers
    options: dict
    cotangents: tuple = ()  # names of arrays
    case: Case | None = None

    @property
    def used(self):
        """The names of its arrays."""
        return [name for name in self.names if isinstance(name, str)]

    def __call__(self, module, arrays):
        given = [arrays[name] if isinstance(name, str) else name for name in self.names]
        g = [arrays[name] for name in self.cotangents]
        cotangent = {"cotangent": g[0] if len(g) == 1 else tuple(g)} if g else {}
        return getattr(module, self.function)(*given, **cotangent, **self.options)


def _cotangents(case, events):
    kinds = {Result.SUM: "g of sums" if events else "g", Result.WIDE: "g", Result.OWN: "g own"}
    return tuple(kinds[kind] for kind in case.op.results.values())


def _calls(case):
    """An operation on whole arrays element by element, the same with all that it takes, and its vjp."""
    name, whole = case.op.name, case.drawn
    plain = Call(case.op.function, whole, case.options(axis=()), (), case)
    rich = case.options(axis=(1, 2), bounds=(-1, 1), bounds2=(-2, 0.5))
    mixed = tuple(f"{a}{form}" for a, form in zip(whole, (" column", " row", "", "", ""), strict=False))
    mixed = (*mixed[:-1], 0.25) if len(whole) > 3 else mixed if len(whole) > 1 else whole
    yield name, plain
    if (mixed, rich) != (whole, plain.options):
        yield f"{name} mixed", Call(case.op.function, mixed, rich, (), case)
    if case.vjp is not None:
        partly = tuple(f"{a} row" if k == 1 else a for k, a in enumerate(whole))
        events = case.sums or "parameters" in whole
        yield f"{name}_vjp", Call(f"{case.op.function}_vjp", partly, rich, _cotangents(case, events), case)


def _more():
    """What the table does not tell: ids, draws, kinds of bounds, other axes."""
    whole, soft = ("mean", "logvar"), (-1, 1, "soft")
    yield "kl_prior of everything", Call("kl", whole, {})
    yield "kl over the first and the last", Call("kl", ("mean column", "logvar row", "mean2", 0.5), {"axis": (0, -1)})
    yield "clamp soft", Call("clamp", ("logvar",), {"bounds": soft})
    for kind in ("soft", "straight-through"):
        options = {"axis": (1, 2), "bounds": (-1, 1, kind)}
        yield f"kl_prior_vjp {kind}", Call("kl_vjp", whole, options, ("g of sums",))
    yield "sample by index", Call("sample", whole, {"rng": KEY, "index": IDS})
    yield "sample draws", Call("sample", whole, {"rng": KEY, "sample_shape": (2, 1)})
    yield "sample_vjp by index", Call("sample_vjp", ("mean", "logvar row"), {"rng": KEY, "index": IDS}, ("g own",))


CALLS = dict(call for case in CASES.values() for call in _calls(case)) | dict(_more())
CALLS["random.normal"] = lambda module, arrays: ag.random.normal(SHAPE, rng=KEY, xp=arrays.get("xp", np))
WITH_ARRAYS = [name for name in CALLS if name != "random.normal"]
# One of each operation that has a derivative, with all that it takes, and draws: for what takes long.
RICH = {name: CALLS.get(f"{name} mixed", CALLS[name]) for name in DIFFERENTIABLE} | {
    name: CALLS[name] for name in ("sample by index", "sample draws")
}


# The distribution's methods


class Method(NamedTuple):
    used: tuple
    call: object  # of the class and the arrays

    def __call__(self, module, arrays):
        return self.call(module.DiagonalGaussianDistribution, *(arrays[name] for name in self.used))


P = ("parameters",)
METHODS = {
    "q.sample": Method(P, lambda d, p: d(p).sample(KEY, index=range(3, 9))),
    "q.sample_and_kl": Method(P, lambda d, p: d(p, event_axes=2, bounds="soft").sample_and_kl(KEY)),
    "q.kl": Method(P, lambda d, p: d(p).kl()),
    "q.kl of two": Method((*P, "mean", "logvar row"), lambda d, p, u, v: d(p).kl(d.from_mean_logvar(u, v))),
    "q.nll": Method((*P, "x"), lambda d, p, x: d(p).nll(x)),
    "q.nll of dims": Method(("mean", "logvar", "x"), lambda d, u, v, x: d.from_mean_logvar(u, v).nll(x, dims=[1, 2])),
    "q.log_prob": Method((*P, "x"), lambda d, p, x: d(p, bounds=None).log_prob(x)),
    "q.std and var": Method(P, lambda d, p: (d(p).std, d(p).var)),
}
# Linear in what they depend on.
LINEAR_METHODS = {
    "q.entropy": Method(P, lambda d, p: d(p).entropy()),
    "q.mean and logvar": Method(P, lambda d, p: (d(p).mean, d(p, bounds=(-1, 1)).logvar)),
    "q.mode": Method(P, lambda d, p: d(p).mode()),
    "q.sample of a point": Method(P, lambda d, p: d(p, deterministic=True).sample()),
}


def as_tuple(values):
    return tuple(values) if isinstance(values, (tuple, list)) else (values,)
