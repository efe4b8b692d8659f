"""An operation's value, and what its vjp makes of a cotangent: checks, then a pass or more by a backend.

A call with arrays of known forms needs no check again: its plan is remembered, and filled with their addresses.
"""

from collections.abc import Hashable, Iterable, Sequence
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from agauss.arrays import (
    HALF,
    NUMPY,
    PLANNED,
    SINGLE_OR_DOUBLE,
    Library,
    Operands,
    broadcast_two,
    dtype_name,
    is_number,
    library_of,
    like,
    operands,
    real,
    same_device,
    whose,
)
from agauss.backends import steps
from agauss.backends.protocol import Array, Bound, DType, Noise, Pass, Plan, Shape
from agauss.keys import Key, Once, repeatable, words_of
from agauss.maths.noise import FOLD_DRAW
from agauss.operations import Operation, Result
from agauss.options import axes_of, bound_on, check_index, refuse_frozen_noise
from agauss.remembered import kinds
from agauss.typing import Axis, Bounds, Index, Number, Rng, Seed

MAX_DRAWS = FOLD_DRAW
MOST_PLANS = 4096
BOUNDED = {"logvar": "bounds", "logvar2": "bounds2"}  # arguments, and the options that bound them
Outs = Sequence[Array] | None  # an array for each gradient
_plans: dict[Hashable, Plan] = {}


# Values


def value(
    op: Operation,
    arrays: Sequence[Array | Number],
    *,
    axis: Axis = None,
    bounds: Sequence[Bounds] = (),
    rng: Rng | Once = None,
    index: Index | None = None,
    out: Array | None = None,
) -> Any:
    """The operation's values, one or a tuple of them; those that are sums, added up over the axes. Its parameters
    follow the arrays."""
    taken = _taken(op, arrays) if op.parameters else arrays
    outs = (out,) if out is not None and op.keeps else None
    known = index is None
    if op.noisy and not isinstance(rng, (int, Key)):
        refuse_frozen_noise(rng, taken)
        rng = Once(rng)
        known = known and out is None  # an out that is refused must not have advanced a Generator
    key = _key(op, taken, outs, axis, bounds) if known else None
    plan = None if key is None else _plan(key)
    found = None if plan is None else plan(taken, words_of(rng) if op.noisy else (), outs)
    if found is not None and out is not None and not op.keeps:
        library = library_of(found[0])
        assert library is not None  # what is planned is an array of a library
        check_out(out, library, found[0].shape, found[0].dtype)
        found = (library.deliver(found[0], out),)
    if found is None:
        given = _operands(op, arrays)
        work = forward(op, given, axis, bounds)
        _check_out_of(work, given, out)
        index = None if index is None else check_index(index, given.library, given.shape)
        noise = Noise(words_of(rng), 0, index) if op.noisy else None
        found = compute(work, given, noise, out)
        _remember(key, work, given, given.taken, noise, outs)
    return found[0] if len(found) == 1 else found


def forward(op: Operation, given: Operands, axis: Axis = None, bounds: Sequence[Bounds] = ()) -> Pass:
    """The pass that an operation is for these operands."""
    axes = axes_of(axis, len(given.shape)) if op.summed is not None else ()
    kept = [given.dtype if kind is Result.OWN else given.wide for kind in op.results.values()]
    own = bounds_on(op, bounds)
    if not axes:
        return Pass(op.term, given.shape, tuple(kept), bounds=own)
    total = kept.pop(op.summed)  # type: ignore[arg-type]
    return Pass(op.term, given.shape, tuple(kept), axes, op.summed, total, own)


def bounds_on(op: Operation, bounds: Sequence[Bounds]) -> tuple[Bound, ...]:
    """The bounds on an operation's log-variances, as backends take them."""
    found: tuple[Bound, ...] = ()
    options = [(place, BOUNDED[name]) for place, name in enumerate(op.arguments) if name in BOUNDED]
    for (place, option), given in zip(options, bounds, strict=False):
        found += bound_on(given, place, option)
    return found


def compute(work: Pass, given: Operands, noise: Noise | None = None, out: Array | None = None) -> tuple[Array, ...]:
    """A pass's results, the first of them in `out` where there is one."""
    library = given.library
    outs = None
    if out is not None and library.fills and work.dtypes:
        outs = (out, *[library.backend.empty(work.shape, t, given.arrays[0]) for t in work.dtypes[1:]])
    first, *rest = library.backend.run(work, given.taken, noise, outs)
    return library.deliver(first, out), *rest


def _check_out_of(work: Pass, given: Operands, out: Array | None) -> None:
    if out is None:
        return
    if work.dtypes:
        check_out(out, given.library, work.shape, work.dtypes[0])
    else:
        check_out(out, given.library, _left(work.shape, work.axes or ()), work.total)


def _left(shape: Shape, axes: Shape) -> Shape:
    """The shape of a sum over axes."""
    return tuple([n for place, n in enumerate(shape) if place not in axes])


def draws(
    op: Operation,
    given: Operands,
    sample_shape: Shape,
    *,
    bounds: Sequence[Bounds] = (),
    rng: Rng,
    index: Index | None,
    out: Array | None,
) -> Array:
    """A noisy operation's value for each of independent draws, along new leading axes."""
    library, shape = given.library, given.shape
    work = forward(op, given, bounds=bounds)
    if out is not None:
        check_out(out, library, sample_shape + shape, given.dtype)
    if index is not None:
        index = check_index(index, library, shape)
    if prod(sample_shape) > MAX_DRAWS:
        raise ValueError(f"sample_shape must hold at most {MAX_DRAWS} draws; got {sample_shape}")
    refuse_frozen_noise(rng, given.arrays)
    words = words_of(rng)
    if sample_shape == ():
        return compute(work, given, Noise(words, 0, index), out)[0]
    if not library.fills:
        every = [compute(work, given, Noise(words, number, index))[0] for number in range(prod(sample_shape))]
        if not every:
            return library.backend.empty(sample_shape + shape, given.dtype, given.arrays[0])
        return library.deliver(library.xp.reshape(library.xp.stack(every), sample_shape + shape), out)
    # A draw must not overwrite what the next one reads.
    shared = out is not None and any(library.shares_memory(out, a) for a in given.arrays)
    made = out is None or shared
    result: Array = library.backend.empty(sample_shape + shape, given.dtype, given.arrays[0]) if made else out
    for number, place in enumerate(np.ndindex(*sample_shape)):
        compute(work, given, Noise(words, number, index), result[(*place, ...)])
    return library.deliver(result, out)


# Gradients


def pull_back(
    op: Operation,
    arrays: Sequence[Array | Number],
    cotangent: Any,
    *,
    axis: Axis = None,
    bounds: Sequence[Bounds] = (),
    rng: Seed | None = None,
    index: Index | None = None,
    out: Outs = None,
) -> tuple[Array, ...]:
    """The gradient of each of the arrays, from a cotangent of each of the operation's values. Its parameters follow
    the arrays."""
    cotangents = (cotangent,) if len(op.results) == 1 else _one_for_each_value(op, cotangent)
    cotangents = _with_arrays(cotangents, arrays[0], op.results.values())
    taken = (*cotangents, *(_taken(op, arrays) if op.parameters else arrays))
    outs = tuple(out) if isinstance(out, (tuple, list)) else None
    known = index is None and (out is None or outs is not None)
    key = _key(op, taken, outs, axis, bounds) if known else None
    plan = None if key is None else _plan(key)
    found = None
    if plan is not None:
        found = plan(taken, words_of(repeatable(rng)) if op.noisy else (), outs)
    if found is None:
        given = _operands(op, arrays)
        work, given_cotangents = backward(op, given, cotangents, axis, bounds)
        index = None if index is None else check_index(index, given.library, given.shape)
        noise = Noise(words_of(repeatable(rng)), 0, index) if op.noisy else None
        found = gradients(work, given, given_cotangents, noise, out)
        if all(a.shape == given.shape for a in given.arrays):
            _remember(key, work, given, [*given_cotangents, *given.taken], noise, outs)
    return found


def _one_for_each_value(op: Operation, cotangent: Any) -> tuple[Any, ...]:
    if not isinstance(cotangent, (tuple, list)) or len(cotangent) != len(op.results):
        names = ", ".join(f"d_{name}" for name in op.results)
        raise TypeError(f"cotangent must be a pair ({names}); got {type(cotangent).__name__}")
    return tuple(cotangent)


def _taken(op: Operation, arrays: Sequence[Array | Number]) -> Sequence[Array | Number]:
    """The arrays, and after them the parameters, as arrays where these are NumPy's: only arrays can have a plan."""
    n = len(op.arguments)
    return *arrays[:n], *_with_arrays(tuple(arrays[n:]), arrays[0], (Result.WIDE,) * len(arrays[n:]))


def _operands(op: Operation, arrays: Sequence[Array | Number]) -> Operands:
    n = len(op.arguments)
    return operands(op.arguments, arrays[:n], arrays[n:])


def _with_arrays(
    given: tuple[Array | Number, ...], model: Array, results: Iterable[Result]
) -> tuple[Array | Number, ...]:
    """Cotangents of these results, or parameters, in which numbers are arrays, beside NumPy's arrays: so a call with
    numbers can have a plan."""
    if model.__class__ is not np.ndarray:
        return given
    for c in given:
        if c.__class__ is not np.ndarray:
            break
    else:
        return given
    own = model.dtype
    if own in SINGLE_OR_DOUBLE:
        return tuple([_constant(c, own) if is_number(c) else c for c in given])
    if dtype_name(own) not in HALF:
        return given
    wide = np.dtype(np.float32)
    return tuple(
        [
            _constant(c, own if kind is Result.OWN else wide) if is_number(c) else c
            for c, kind in zip(given, results, strict=True)
        ]
    )


def _constant(number: Number, dtype: DType) -> np.ndarray:
    """A number as an array without dimensions. Most come again and again."""
    return _known_constant(number, dtype) if number else np.asarray(number, dtype)  # 0.0 and -0.0 are equal


@lru_cache(maxsize=1024)
def _known_constant(number: Number, dtype: DType) -> np.ndarray:
    with np.errstate(all="ignore"):  # a number beyond the dtype is inf, or 0
        return np.asarray(real(number), dtype)


def backward(
    op: Operation,
    given: Operands,
    cotangents: Sequence[Array | Number],
    axis: Axis = None,
    bounds: Sequence[Bounds] = (),
) -> tuple[Pass, list[Array]]:
    """The pass that an operation's vjp is, for arguments of the full shape, and its cotangents as arrays."""
    axes = axes_of(axis, len(given.shape)) if op.summed is not None else ()
    found = []
    for (value_name, kind), cotangent in zip(op.results.items(), cotangents, strict=True):
        name = "cotangent" if len(cotangents) == 1 else f"cotangent d_{value_name}"
        dtype = given.dtype if kind is Result.OWN else given.wide
        own = axes if kind is Result.SUM else ()
        array = cotangent_for(cotangent, _left(given.shape, own), dtype, given, name)
        found.append(_expanded(array, given, own) if kind is Result.SUM else array)
    n = len(found)
    shifted = tuple([(position + n, kind, low, high) for position, kind, low, high in bounds_on(op, bounds)])
    dtypes = (given.dtype,) * len(given.arrays)
    assert op.vjp is not None
    return Pass(op.vjp, given.shape, dtypes, bounds=shifted, cotangents=n), found


def gradients(
    work: Pass, given: Operands, cotangents: Sequence[Array], noise: Noise | None = None, out: Outs = None
) -> tuple[Array, ...]:
    """The arguments' gradients: one pass for those of the full shape, and one for each that was broadcast, whose
    gradient is a sum."""
    check_outs(out, given)
    shape, backend = given.shape, given.library.backend
    arrays = [*cotangents, *given.taken]
    shapes = [tuple(a.shape) for a in given.arrays]
    found: list[Array] = [None] * len(shapes)
    # The sums first, for what is kept may be written to the arguments.
    for place, own in enumerate(shapes):
        if own != shape:
            padded = (1,) * (len(shape) - len(own)) + own
            axes = tuple([axis for axis, n in enumerate(padded) if n != shape[axis] or axis < len(shape) - len(own)])
            summed = work._replace(dtypes=(), axes=axes, summed=place, total=work.dtypes[place])
            found[place] = given.library.xp.reshape(backend.run(summed, arrays, noise)[0], own)
    full = [own == shape for own in shapes]
    if any(full):
        outs = out if given.library.fills else None
        kept = work._replace(dtypes=tuple([t if own else None for t, own in zip(work.dtypes, full, strict=True)]))
        if outs is not None:
            outs = [o if own else None for o, own in zip(outs, full, strict=True)]
        values = backend.run(kept, arrays, noise, outs)
        found = [kept if own else summed for kept, summed, own in zip(values, found, full, strict=True)]
    return delivered(found, given.library, out)


def cotangent_for(cotangent: Any, shape: Shape, dtype: DType, given: Operands, name: str = "cotangent") -> Array:
    """A cotangent as an array that broadcasts to the value's shape and has the value's dtype."""
    library, model = given.library, given.arrays[0]
    if is_number(cotangent):
        return like(cotangent, library, model, dtype)
    found = library_of(cotangent)
    if found is None or found.name != library.name:
        raise TypeError(f"{name} must be an array of {library.name} or a number; got {whose(cotangent)}")
    if cotangent.dtype != dtype:
        raise TypeError(f"{name} must have the value's dtype, {dtype_name(dtype)}; got {dtype_name(cotangent.dtype)}")
    same_device(name, cotangent, "the primals", model)
    if broadcast_two(shape, tuple(cotangent.shape)) != shape:
        raise ValueError(f"{name} must broadcast to the value's shape {shape}; got {tuple(cotangent.shape)}")
    return cotangent


def _expanded(cotangent: Array, given: Operands, axes: Shape) -> Array:
    """A cotangent of a sum with extents of 1 where the axes were."""
    shape = tuple(cotangent.shape)
    rank = len(given.shape)
    entries = iter((1,) * (rank - len(axes) - len(shape)) + shape)
    full = tuple([1 if place in axes else next(entries) for place in range(rank)])
    return given.library.xp.reshape(cotangent, full)


# Arrays that results are written to


def check_out(out: Array, library: Library, shape: Shape, dtype: DType) -> None:
    """Refuse an `out` that the result cannot be written to as it is."""
    found = library_of(out)
    if found is None or found.name != library.name:
        raise TypeError(f"out must be an array of {library.name}; got {whose(out)}")
    if not library.writes:
        raise TypeError(f"out must be None for {library.name}, whose arrays cannot be written in place")
    if tuple(out.shape) != shape:
        raise ValueError(f"out must have shape {shape}; got {tuple(out.shape)}")
    if out.dtype != dtype:
        raise TypeError(f"out must have dtype {dtype_name(dtype)}; got {dtype_name(out.dtype)}")
    if library is NUMPY and not out.flags.writeable:
        raise ValueError("out must be writeable; got a read-only array")
    library.backend.refuse_misaligned(out, "out")


def check_outs(outs: Outs, given: Operands) -> None:
    """Refuse an `out` of a vjp that is not an array for each argument."""
    if outs is None:
        return
    if not isinstance(outs, (tuple, list)) or len(outs) != len(given.arrays):
        count = len(outs) if isinstance(outs, (tuple, list)) else type(outs).__name__
        raise TypeError(f"out must be None or {len(given.arrays)} arrays, one for each argument; got {count}")
    for own, a in zip(outs, given.arrays, strict=True):
        check_out(own, given.library, tuple(a.shape), given.dtype)


def delivered(results: Sequence[Array], library: Library, outs: Outs) -> tuple[Array, ...]:
    if outs is None:
        return tuple(results)
    return tuple([library.deliver(result, out) for result, out in zip(results, outs, strict=True)])


# Plans


def _key(op: Operation, arrays: Sequence[Array], outs: Outs, axis: Axis, bounds: Sequence[Bounds]) -> Hashable:
    """What a plan depends on: the forms of the arrays, and the options with their types, for 1 == 1.0 == True. None
    where there is no plan to be had."""
    key: list[Any] = [op, len(arrays), axis, axis.__class__ if axis.__class__ is not tuple else kinds(axis)]
    if outs is not None:
        key.append(len(outs))
        arrays = (*arrays, *outs)
    for bound in bounds:
        if bound is not None:
            key += bound, kinds(bound)
        key.append(None)
    library = PLANNED.get(arrays[0].__class__)
    if library is None:
        return None
    backend = library.backend
    forms = backend.forms(arrays)
    return None if forms is None else (*key, backend, forms)


def _plan(key: Hashable) -> Plan | None:
    try:
        return _plans.get(key) if steps.current() is None else None
    except TypeError:  # cannot be hashed: a list of axes, say
        return None


def _remember(
    key: Hashable, work: Pass, given: Operands, arrays: Sequence[Array], noise: Noise | None, outs: Outs
) -> None:
    """Keep the plan of a call that passed its checks."""
    if key is None:
        return
    try:
        hash(key)
    except TypeError:
        return
    plan = given.library.backend.plan(work, arrays, noise, outs)
    if plan is not None:
        if len(_plans) >= MOST_PLANS:
            _plans.clear()
        _plans[key] = plan
