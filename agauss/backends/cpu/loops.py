"""The two loops, map and row-reduce, as factories that take a LoopSpec of kernels.py; know no Gaussian.

A kernel is a C function (descriptor, first task, last task) that needs no Python state: any thread may call it. Its
machine code bears the name that it is given.
"""

from types import FunctionType

import numpy as np
from llvmlite import ir
from numba import cfunc, prange, types
from numba.cpython.unsafe.tuple import tuple_setitem
from numba.extending import intrinsic, overload, register_jitable

from agauss.backends.cpu import mathlib
from agauss.backends.cpu.descriptor import (
    COLUMNS,
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
    add_to,
    advance,
    float_of_bits,
    load,
    load_noise,
    pick,
    pointer,
    put,
    scratch_for,
    store,
    target,
)
from agauss.maths import formulas, noise
from agauss.maths.sums import CHUNK, LANES, TILE

for _module in (noise, formulas):
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
def loads(d, slots, start, n, base, noisy, x):
    """A pointer for each input; the last one is noise where `noisy`."""
    pointers = repeat(base, slots)
    for k in range(len(slots)):
        scratch = advance(base, k * SCRATCH)
        if noisy and k == len(slots) - 1:
            made = load_noise(d, array(d, k), start, n, scratch, advance(base, len(slots) * SCRATCH), x)
        else:
            made = load(d, array(d, k), start, n, scratch, x)
        pointers = tuple_setitem(pointers, k, made)
    return pointers


def targets(d, slots, first, start, n, base, x):
    """A pointer for each output; the first one is array `first`."""


@overload(targets)
def _targets(d, slots, first, start, n, base, x):
    if slots.count == 0:
        return lambda d, slots, first, start, n, base, x: ()

    def implementation(d, slots, first, start, n, base, x):
        pointers = repeat(base, slots)
        for k in range(len(slots)):
            scratch = advance(base, k * SCRATCH)
            pointers = tuple_setitem(pointers, k, target(d, array(d, first + k), start, n, scratch, x))
        return pointers

    return implementation


@register_jitable
def stores(d, slots, first, start, n, base, x):
    for k in range(len(slots)):
        store(d, array(d, first + k), start, n, advance(base, k * SCRATCH), x)


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
    return low1, high1, low2, high2


def evaluator(spec):
    """A function (raw, limit) of a term's values at the inputs `raw`. Inputs number `bounded` pass through their bounds
    first, and values number `chained`, the gradients by them, through the bounds' derivatives after; -1 is none."""
    term, bounded, chained = spec.term, spec.bounded, spec.chained
    (bound1, bound1_vjp), (bound2, bound2_vjp) = [formulas.BOUNDS[kind] for kind in (*spec.kinds, "hard", "hard")[:2]]

    @mathlib.inlined
    def evaluate(raw, limit):
        inputs = raw
        if bounded[0] >= 0:
            inputs = tuple_setitem(inputs, bounded[0], bound1(mathlib, raw[bounded[0]], limit[0], limit[1]))
        if bounded[1] >= 0:
            inputs = tuple_setitem(inputs, bounded[1], bound2(mathlib, raw[bounded[1]], limit[2], limit[3]))
        values = as_tuple(term(mathlib, *inputs))
        if chained[0] >= 0:
            g = bound1_vjp(mathlib, values[chained[0]], raw[bounded[0]], limit[0], limit[1])
            values = tuple_setitem(values, chained[0], g)
        if chained[1] >= 0:
            g = bound2_vjp(mathlib, values[chained[1]], raw[bounded[1]], limit[2], limit[3])
            values = tuple_setitem(values, chained[1], g)
        return values

    return evaluate


@register_jitable
def lane_sum(lanes):
    """The lanes added up in float64, by halves."""
    total = scratch_for((0,), 0.0)
    for k in range(LANES):
        total[k] = lanes[k]
        lanes[k] = 0
    width = LANES // 2
    while width > 0:
        for k in range(width):
            total[k] += total[k + width]
        width //= 2
    return total[0]


@register_jitable
def put_sum(d, place, total, x):
    if d[FINAL]:
        pointer(d[SUMS], x)[place] = like(total, x)
    else:
        pointer(d[SUMS], np.float64(0))[place] = total


def make_map(name, spec):
    """outs[k][i] = value k of term(ins[0][i], ins[1][i], ...). Tasks are tiles."""
    ins, outs, n_in, zero = tuple(range(spec.inputs)), tuple(range(spec.outputs)), spec.inputs, spec.dtype(0)
    evaluate, noisy, bounded = evaluator(spec), spec.noisy, spec.bounded

    def map_kernel(d, begin, end):
        in_base, out_base = scratch_for((*ins, 0), zero), scratch_for((*outs, 0), zero)
        limit = limits(d, bounded, zero)
        size, pieces, inner = d[SIZE], d[PIECES], d[EXTENTS + d[NDIM] - 1]
        for task in range(begin, end):
            if pieces == 1:
                start = task * d[INNER_ROWS] * inner
                n = min(d[INNER_ROWS] * inner, size - start)
            else:
                row = task // pieces
                column = (task - row * pieces) * TILE
                start = row * inner + column
                n = min(TILE, inner - column)
            sources = loads(d, ins, start, n, in_base, noisy, zero)
            sinks = targets(d, outs, n_in, start, n, out_base, zero)
            for i in range(n):
                raw = pick(sources, i)
                values = evaluate(raw, limit)
                put(sinks, i, values)
            stores(d, outs, n_in, start, n, out_base, zero)

    return _compiled(name, map_kernel, SIGNATURE, error_model="numpy")


def make_row_reduce(name, spec):
    """sums[task] = the sum of value number `summed` over the task's columns of a row; the first values go to outs.

    Tasks are chunks of a row; of rows under LANES columns, as many rows as a tile holds, with a partial sum each.
    """
    ins, outs, n_in, zero = tuple(range(spec.inputs)), tuple(range(spec.outputs)), spec.inputs, spec.dtype(0)
    evaluate, noisy, bounded, summed = evaluator(spec), spec.noisy, spec.bounded, spec.summed

    def row_reduce_kernel(d, begin, end):
        in_base, out_base = scratch_for((*ins, 0), zero), scratch_for((*outs, 0), zero)
        lanes = scratch_for((0,), zero)
        for k in range(LANES):
            lanes[k] = zero
        limit = limits(d, bounded, zero)
        size, columns = d[SIZE], d[COLUMNS]
        chunks = (columns + CHUNK - 1) // CHUNK
        rows = TILE // columns
        for task in range(begin, end):
            if columns < LANES:
                start = task * rows * columns
                n = min(rows * columns, size - start)
                sources = loads(d, ins, start, n, in_base, noisy, zero)
                sinks = targets(d, outs, n_in, start, n, out_base, zero)
                for i in range(n):
                    raw = pick(sources, i)
                    values = evaluate(raw, limit)
                    put(sinks, i, values)
                    put((lanes,), i, (values[summed],))
                stores(d, outs, n_in, start, n, out_base, zero)
                for row in range(n // columns):
                    total = 0.0
                    for i in range(row * columns, (row + 1) * columns):
                        total += lanes[i]
                    put_sum(d, task * rows + row, total, zero)
            else:
                row = task // chunks
                chunk_begin = (task - row * chunks) * CHUNK
                chunk_end = min(chunk_begin + CHUNK, columns)
                total = 0.0
                for column in range(chunk_begin, chunk_end, TILE):
                    start = row * columns + column
                    n = min(TILE, chunk_end - column)
                    sources = loads(d, ins, start, n, in_base, noisy, zero)
                    sinks = targets(d, outs, n_in, start, n, out_base, zero)
                    whole = n // LANES * LANES
                    for i in range(0, whole, LANES):
                        for k in range(LANES):
                            raw = pick(sources, i + k)
                            values = evaluate(raw, limit)
                            put(sinks, i + k, values)
                            add_to(lanes, k, values[summed])
                    for k in range(n - whole):
                        raw = pick(sources, whole + k)
                        values = evaluate(raw, limit)
                        put(sinks, whole + k, values)
                        add_to(lanes, k, values[summed])
                    stores(d, outs, n_in, start, n, out_base, zero)
                    total += lane_sum(lanes)
                put_sum(d, task, total, zero)

    return _compiled(name, row_reduce_kernel, SIGNATURE, error_model="numpy")


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
