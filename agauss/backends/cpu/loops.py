"""The loop, as a factory that takes a LoopSpec of kernels.py; knows no Gaussian.

A kernel is a C function (descriptor, first task, last task) that needs no Python state: any thread may call it. Its
machine code bears the name that it is given.
"""

from types import FunctionType

import numpy as np
from llvmlite import ir
from numba import cfunc, prange, types
from numba.cpython.unsafe.tuple import tuple_setitem
from numba.extending import intrinsic, overload, register_jitable

from agauss.backends.cpu import calm, mathlib, shared
from agauss.backends.cpu.descriptor import (
    COLUMNS,
    DIRECT,
    EXTENTS,
    FINAL,
    HIGH,
    INNER_ROWS,
    LOW,
    NDIM,
    PIECES,
    SIZE,
    STRIDES,
    SUMS,
)
from agauss.backends.cpu.mathlib import like
from agauss.backends.cpu.memory import (
    SCRATCH,
    advance,
    float_of_bits,
    load,
    pick,
    pointer,
    put,
    scratch_for,
    store,
    sum_by_halves,
    target,
)
from agauss.backends.cpu.normals import load_noise
from agauss.backends.cpu.vectors import Vector, put_vector, vector_at, width_of
from agauss.maths import formulas, noise, parts
from agauss.maths.sums import CHUNK, LANES, TILE

for _module in (noise, parts, formulas):
    for _function in list(vars(_module).values()):
        if isinstance(_function, FunctionType) and _function.__module__ == _module.__name__:
            mathlib.inlined(_function)

SIGNATURE = types.void(types.CPointer(types.int64), types.int64, types.int64)


@intrinsic
def call(typing_context, kernel, d, begin, end):
    """Call the kernel at an address."""

    def codegen(context, builder, signature, args):
        i64 = ir.IntType(64)
        function = ir.FunctionType(ir.VoidType(), [i64, i64, i64])
        builder.call(builder.inttoptr(args[0], function.as_pointer()), args[1:])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64, types.int64), codegen


@intrinsic
def repeat(typing_context, value, slots):
    """`value` once for each of the slots."""
    result = types.UniTuple(value, slots.count)

    def codegen(context, builder, signature, args):
        return context.make_tuple(builder, result, [args[0]] * slots.count)

    return result(value, slots), codegen


def as_tuple(values):
    """A term's values as a tuple, where it may have only one."""


@overload(as_tuple, jit_options={"forceinline": True})
def _as_tuple(values):
    if isinstance(values, types.BaseTuple):
        return lambda values: values
    return lambda values: (values,)


@register_jitable
def array(d, k):
    """Where array k is described."""
    return EXTENTS + d[NDIM] + k * (STRIDES + d[NDIM])


@register_jitable
def loads(d, slots, start, n, base, x, halves):
    """A pointer for each input, and how it is stored there."""
    pointers, stored = repeat(base, slots), repeat(np.int64(DIRECT), slots)
    for k in range(len(slots)):
        source, storage = load(d, array(d, k), start, n, advance(base, k * SCRATCH), x, halves)
        pointers, stored = tuple_setitem(pointers, k, source), tuple_setitem(stored, k, storage)
    return pointers, stored


@register_jitable
def loads_and_noise(d, slots, start, n, base, x, halves):
    """The same where the last input is noise."""
    pointers, stored, last = repeat(base, slots), repeat(np.int64(DIRECT), slots), len(slots) - 1
    for k in range(last):
        source, storage = load(d, array(d, k), start, n, advance(base, k * SCRATCH), x, halves)
        pointers, stored = tuple_setitem(pointers, k, source), tuple_setitem(stored, k, storage)
    noise = load_noise(d, array(d, last), start, n, advance(base, last * SCRATCH), x)
    return tuple_setitem(pointers, last, noise), stored


@register_jitable
def all_of(storages):
    return storages


@register_jitable
def none_of(storages):
    """No storages, where all that a kernel picks and puts is of the computing dtype."""
    return ()


def targets(d, slots, first, start, n, base, x, halves):
    """A pointer for each output, and how to store it there; the first one is array `first`."""


@overload(targets)
def _targets(d, slots, first, start, n, base, x, halves):
    if slots.count == 0:
        return lambda d, slots, first, start, n, base, x, halves: ((), ())

    def implementation(d, slots, first, start, n, base, x, halves):
        pointers, stored = repeat(base, slots), repeat(np.int64(DIRECT), slots)
        for k in range(len(slots)):
            sink, storage = target(d, array(d, first + k), start, n, advance(base, k * SCRATCH), x, halves)
            pointers, stored = tuple_setitem(pointers, k, sink), tuple_setitem(stored, k, storage)
        return pointers, stored

    return implementation


@register_jitable
def stores(d, slots, first, start, n, base, x, halves):
    for k in range(len(slots)):
        store(d, array(d, first + k), start, n, advance(base, k * SCRATCH), x, halves)


@register_jitable
def limits(d, bounded, x):
    """The (low, high) of the first and of the second bounded input, where there are any."""
    low1, high1, low2, high2 = x, x, x, x
    if bounded[0] >= 0:
        low1 = float_of_bits(d[array(d, bounded[0]) + LOW], x)
        high1 = float_of_bits(d[array(d, bounded[0]) + HIGH], x)
    if bounded[1] >= 0:
        low2 = float_of_bits(d[array(d, bounded[1]) + LOW], x)
        high2 = float_of_bits(d[array(d, bounded[1]) + HIGH], x)
    return (low1, high1), (low2, high2)


@mathlib.inlined
def vectors(limit, x):
    return like(limit[0], x), like(limit[1], x)


def evaluator(spec):
    """A function (raw, limit) of a term's values at the inputs `raw`, vectors. Inputs number `bounded` pass through
    their bounds first, and values number `chained`, their gradients, through the bounds' derivatives after; -1 is
    none."""
    term, bounded, chained = spec.term, spec.bounded, spec.chained
    m = calm if spec.calm else mathlib
    (bound1, bound1_vjp), (bound2, bound2_vjp) = [formulas.BOUNDS[kind] for kind in (*spec.kinds, "hard", "hard")[:2]]

    @mathlib.inlined
    def evaluate(raw, limit):
        inputs = raw
        if bounded[0] >= 0:
            inputs = tuple_setitem(inputs, bounded[0], bound1(mathlib, raw[bounded[0]], *vectors(limit[0], raw[0])))
        if bounded[1] >= 0:
            inputs = tuple_setitem(inputs, bounded[1], bound2(mathlib, raw[bounded[1]], *vectors(limit[1], raw[0])))
        values = as_tuple(term(m, *inputs))
        if chained[0] >= 0:
            g = bound1_vjp(mathlib, values[chained[0]], raw[bounded[0]], *vectors(limit[0], raw[0]))
            values = tuple_setitem(values, chained[0], g)
        if chained[1] >= 0:
            g = bound2_vjp(mathlib, values[chained[1]], raw[bounded[1]], *vectors(limit[1], raw[0]))
            values = tuple_setitem(values, chained[1], g)
        return values

    return evaluate


@register_jitable
def tile_span(d, task):
    """The elements of a map's task: whole rows that fit in a tile, or a tile of a longer row."""
    size, pieces, inner = d[SIZE], d[PIECES], d[EXTENTS + d[NDIM] - 1]
    if pieces == 1:
        first = task * d[INNER_ROWS] * inner
        return first, min(first + d[INNER_ROWS] * inner, size)
    row = task // pieces
    column = (task - row * pieces) * TILE
    return row * inner + column, row * inner + min(column + TILE, inner)


@register_jitable
def row_span(d, task):
    """The elements of a sum's task: a chunk of a row; of rows under LANES columns, as many as a tile holds."""
    size, columns = d[SIZE], d[COLUMNS]
    if columns < LANES:
        first = task * (TILE // columns) * columns
        return first, min(first + TILE // columns * columns, size)
    chunks = (columns + CHUNK - 1) // CHUNK
    row = task // chunks
    first = row * columns + (task - row * chunks) * CHUNK
    return first, min(first + CHUNK, (row + 1) * columns)


@register_jitable
def add_to(lanes, i, vector, x):
    """Add a vector to the lanes from i on."""
    put_vector(lanes, i, vector_at(lanes, i, width_of(x)) + vector)


@register_jitable
def add_rest(lanes, summands, n, x):
    """Add the last summands of a tile, which fill no vector. Memory behind them is overwritten."""
    width = width_of(x)
    whole = n // width * width
    if whole < n:
        for i in range(n, whole + width):
            summands[i] = 0
        add_to(lanes, whole % LANES, vector_at(summands, whole, width), x)


@intrinsic
def lane_sum(typing_context, lanes):
    """The sum of the lanes, in float64 and by halves, which leaves them 0."""

    def codegen(context, builder, signature, args):
        of = ir.VectorType(context.get_data_type(lanes.dtype), LANES)
        place, align = builder.bitcast(args[0], of.as_pointer()), lanes.dtype.bitwidth // 8
        total = builder.load(place, align=align)
        builder.store(ir.Constant(of, None), place, align=align)
        if lanes.dtype.bitwidth < 64:
            total = builder.fpext(total, ir.VectorType(ir.DoubleType(), LANES))
        return sum_by_halves(builder, total, LANES)

    return types.float64(lanes), codegen


@register_jitable
def put_sum(d, place, total, x):
    if d[FINAL]:
        pointer(d[SUMS], x)[place] = like(total, x)
    else:
        pointer(d[SUMS], np.float64(0))[place] = total


@intrinsic
def sums_by_fours(typing_context, values):
    """Of rows of four that stand one after the other, each one's sum in float64."""
    result = Vector(types.float64, values.count // 4)

    def codegen(context, builder, signature, args):
        of, i32 = context.get_value_type(result), ir.IntType(32)
        total = None
        for column in range(4):
            places = ir.Constant(ir.VectorType(i32, of.count), list(range(column, values.count, 4)))
            term = builder.shuffle_vector(args[0], args[0], places)
            term = term if term.type == of else builder.fpext(term, of)
            total = term if total is None else builder.fadd(total, term)
        return total

    return result(values), codegen


@intrinsic
def in_dtype(typing_context, values, x):
    """A vector of float64 rounded to x's dtype."""
    result = values.of(x)

    def codegen(context, builder, signature, args):
        of = context.get_value_type(result)
        return args[0] if args[0].type == of else builder.fptrunc(args[0], of)

    return result(values, x), codegen


@register_jitable
def put_short_sums(d, task, values, n, x):
    """The sum of each of the rows whose elements the values are."""
    columns, first = d[COLUMNS], task * (TILE // d[COLUMNS])
    done = 0
    if columns == 4:
        done = n // 16 * 4
        for row in range(0, done, 4):
            totals = sums_by_fours(vector_at(values, row * 4, 16))
            if d[FINAL]:
                put_vector(pointer(d[SUMS], x), first + row, in_dtype(totals, x))
            else:
                put_vector(pointer(d[SUMS], np.float64(0)), first + row, totals)
    for row in range(done, n // columns):
        total = 0.0
        for i in range(row * columns, (row + 1) * columns):
            total += values[i]
        put_sum(d, first + row, total, x)


def make_loop(name, spec):
    """outs[k][i] = value k of term(ins[0][i], ins[1][i], ...), and the sum of value number `summed` over each row."""
    ins, outs, n_in, zero = tuple(range(spec.inputs)), tuple(range(spec.outputs)), spec.inputs, spec.dtype(0)
    evaluate, bounded, summed = evaluator(spec), spec.bounded, spec.summed
    inputs = loads_and_noise if spec.noisy else loads
    span = tile_span if summed is None else row_span
    halves, told = spec.halves, all_of if spec.halves else none_of

    def loop(d, begin, end):
        in_base, out_base = scratch_for((*ins, 0), zero), scratch_for((*outs, 0), zero)
        summands, limit = scratch_for((0,), zero), limits(d, bounded, zero)
        short, width, lanes = d[COLUMNS] < LANES, width_of(zero), scratch_for((0,), zero)
        for i in range(LANES):
            lanes[i] = 0
        for task in range(begin, end):
            first, last = span(d, task)
            total = 0.0
            for start in range(first, last, TILE):
                n = min(TILE, last - start)
                sources, sources_stored = inputs(d, ins, start, n, in_base, zero, halves)
                sinks, sinks_stored = targets(d, outs, n_in, start, n, out_base, zero, halves)
                last_vector = max(0, n - width)
                for i in range(0, n, width):
                    at = min(i, last_vector)  # some elements twice, where vectors do not fit evenly
                    values = evaluate(pick(sources, told(sources_stored), at, width), limit)
                    put(sinks, told(sinks_stored), at, values)
                    if summed is not None:
                        if i + width <= n and not short:
                            add_to(lanes, i % LANES, values[summed], zero)
                        else:
                            put_vector(summands, at, values[summed])
                stores(d, outs, n_in, start, n, out_base, zero, halves)
                if summed is not None and not short:
                    add_rest(lanes, summands, n, zero)
                    total += lane_sum(lanes)
            if summed is not None:
                if short:
                    put_short_sums(d, task, summands, last - first, zero)
                else:
                    put_sum(d, task, total, zero)

    return _compiled(name, loop, SIGNATURE, error_model="numpy")


def make_shared(name, function, dtype):
    """A function of memory.py or normals.py that kernels share, for a dtype."""
    return shared.make(function, name, dtype)


def make_parallel(name):
    """A function (kernel, descriptor, tasks, parts) that calls the kernel at an address on all threads."""

    def parallel(kernel, d, tasks, parts):
        for part in prange(parts):
            call(kernel, d, part * tasks // parts, (part + 1) * tasks // parts)

    int64 = types.int64
    return _compiled(name, parallel, types.void(int64, int64, int64, int64), parallel=True)


def _compiled(name, function, signature, **options):
    function.__qualname__ = name
    return cfunc(signature, **options)(function)
