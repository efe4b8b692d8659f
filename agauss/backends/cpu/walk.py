"""The walk over a pass's tasks, a tile at a time, and their sums, as a factory; knows no term.

A walk is a C function (descriptor, first task, last task) that needs no Python state: any thread may call it. There is
one for each computing dtype. It calls two functions whose addresses the descriptor holds: one computes a tile's
elements, the other makes their noise. So each of the three is short, and soon compiled.
"""

import numpy as np
from llvmlite import ir
from numba import cfunc, prange, types
from numba.extending import intrinsic, register_jitable

from agauss.backends.cpu.descriptor import (
    ADDRESS,
    ARRAYS,
    COLUMN,
    COLUMNS,
    COMPUTE,
    DIRECT,
    EACH,
    EXTENTS,
    FINAL,
    FIRST,
    INNER_ROWS,
    INPUTS,
    NDIM,
    NOISE,
    PIECES,
    ROW,
    SIZE,
    STORAGE,
    SUMMANDS,
    SUMMED,
    SUMS,
)
from agauss.backends.cpu.mathlib import like
from agauss.backends.cpu.memory import (
    OF_TASKS,
    SCRATCH,
    address_of,
    array,
    call,
    copy_in,
    copy_out,
    lies_together,
    part,
    place,
    pointer,
    stack_of,
    sum_by_halves,
)
from agauss.backends.cpu.vectors import Vector, put_vector, vector_at, width_of
from agauss.maths.sums import CHUNK, LANES, TILE


def make(name, dtype):
    """The walk of a dtype, whose machine code bears the name."""
    zero = dtype(0)

    def walk(d, begin, end):
        inputs, arrays, columns, inner = d[INPUTS], d[ARRAYS], d[COLUMNS], d[EXTENTS + d[NDIM] - 1]
        loaded = inputs - 1 if d[NOISE] != 0 else inputs
        # A tile of scratch for each array, one for what is added up, and one for the lanes.
        scratch, frame = stack_of((arrays + 2) * SCRATCH, zero), stack_of(FIRST + arrays * EACH, 0)
        summands, lanes = part(scratch, arrays), part(scratch, arrays + 1)
        frame[SUMMANDS], frame[SUMMED] = address_of(summands), address_of(lanes)
        for i in range(LANES):
            lanes[i] = 0
        for task in range(begin, end):
            first, last = span(d, task)
            total = 0.0
            for start in range(first, last, TILE):
                n, row = min(TILE, last - start), start // inner
                column = start - row * inner
                frame[ROW], frame[COLUMN] = row, column
                for k in range(arrays):
                    own, tile = array(d, k), part(scratch, k)
                    at, storage = address_of(tile), DIRECT
                    if lies_together(d, own, column, n):
                        at, storage = address_of(place(d, own, row, column, zero)), d[own + STORAGE]
                    elif k < loaded:
                        copy_in(d, own, row, column, n, tile, zero)
                    frame[FIRST + k * EACH], frame[FIRST + k * EACH + 1] = at, storage
                if loaded < inputs:
                    call(d[NOISE], address_of(d), address_of(frame), n)
                call(d[COMPUTE], address_of(d), address_of(frame), n)
                for k in range(inputs, arrays):
                    own, tile = array(d, k), part(scratch, k)
                    wanted, in_scratch = d[own + ADDRESS] != 0, frame[FIRST + k * EACH] == address_of(tile)
                    if wanted and in_scratch:
                        copy_out(d, own, row, column, n, tile, zero)
                if columns >= LANES:
                    add_rest(lanes, summands, n, zero)
                    total += lane_sum(lanes)
            if columns >= LANES:
                put_sum(d, task, total, zero)
            elif columns > 0:
                put_short_sums(d, task, summands, last - first, zero)

    walk.__qualname__ = name
    return cfunc(OF_TASKS, error_model="numpy")(walk)


def make_parallel(name, _):
    """A function (walk, descriptor, tasks, parts) that calls the walk at an address on all threads."""

    def parallel(walk, d, tasks, parts):
        for k in prange(parts):
            call(walk, d, k * tasks // parts, (k + 1) * tasks // parts)

    parallel.__qualname__ = name
    return cfunc(types.void(*[types.int64] * 4), parallel=True)(parallel)


@register_jitable
def span(d, task):
    """The elements of a task. A map's is whole rows that fit in a tile, or a tile of a longer row. A sum's is a chunk
    of a row; of rows under LANES columns it is as many as a tile holds."""
    size, columns = d[SIZE], d[COLUMNS]
    if columns == 0:
        pieces, inner = d[PIECES], d[EXTENTS + d[NDIM] - 1]
        if pieces == 1:
            first = task * d[INNER_ROWS] * inner
            return first, min(first + d[INNER_ROWS] * inner, size)
        row = task // pieces
        column = (task - row * pieces) * TILE
        return row * inner + column, row * inner + min(column + TILE, inner)
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
