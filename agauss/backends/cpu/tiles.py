"""What every kernel does around its loop: it goes through tasks a tile at a time, and adds up; knows no term.

A kernel calls `next_tile` again and again. Its scratch memory has a tile for each array, one for what is added up, and
one for the lanes.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, register_jitable

from agauss.backends.cpu.descriptor import (
    ADDRESS,
    BUFFERED,
    COLUMNS,
    DIRECT,
    EXTENTS,
    FINAL,
    INNER_ROWS,
    NDIM,
    PIECES,
    SIZE,
    STORAGE,
    SUMS,
)
from agauss.backends.cpu.frame import (
    ARRAYS,
    COLUMN,
    COUNT,
    EACH,
    END,
    HALVES,
    INPUTS,
    LAST,
    LOADED,
    OUTPUTS,
    ROW,
    START,
    TASK,
    TOTAL,
)
from agauss.backends.cpu.mathlib import like
from agauss.backends.cpu.memory import (
    address_of,
    advance,
    array,
    cast,
    copy_in,
    copy_out,
    lies_together,
    part,
    place,
    pointer,
    sum_by_halves,
)
from agauss.backends.cpu.shared import shared
from agauss.backends.cpu.vectors import Vector, put_vector, vector_at, width_of
from agauss.maths.sums import CHUNK, LANES, TILE


@register_jitable
def begin_frame(frame, begin, end, inputs, loaded, outputs, halves):
    """Before the first tile of tasks from `begin` on."""
    frame[INPUTS], frame[LOADED], frame[OUTPUTS], frame[HALVES] = inputs, loaded, outputs, halves
    frame[TASK], frame[END] = begin - 1, end
    frame[START] = frame[LAST] = 0


@shared
def next_tile(d, frame, n, scratch, x):
    """Finish the tile of n elements that the kernel has computed, and make ready the next one. Returns its number of
    elements; 0 is before the first and after the last."""
    inner, outputs, end = d[EXTENTS + d[NDIM] - 1], frame[INPUTS], frame[INPUTS] + frame[OUTPUTS]
    if n > 0:
        for k in range(outputs, end):
            if frame[ARRAYS + EACH * k] == address_of(part(scratch, k)) and d[array(d, k) + ADDRESS] != 0:
                copy_out(d, frame, k, scratch, x)  # at 0 is what is not wanted
        if d[COLUMNS] >= LANES:
            add_tile(frame, n, part(scratch, end), part(scratch, end + 1), x)
        frame[START] += n
    if frame[START] == frame[LAST]:
        if n > 0 and d[COLUMNS] > 0:
            put_sums(d, frame, part(scratch, end), x)
        frame[TASK] += 1
        if frame[TASK] == frame[END]:
            return 0
        frame[TOTAL] = 0
        frame[START], frame[LAST] = span(d, frame[TASK])
    start = frame[START]
    n, row = min(TILE, frame[LAST] - start), start // inner
    frame[COUNT], frame[ROW], frame[COLUMN] = n, row, start - row * inner
    for k in range(end):
        if k < frame[LOADED] or k >= outputs:
            own, at = array(d, k), ARRAYS + EACH * k
            if lies_together(d, own, frame[COLUMN], n, frame[HALVES]):
                frame[at] = address_of(place(d, own, row, frame[COLUMN], x))
                frame[at + 1] = d[own + STORAGE] % BUFFERED
            else:
                frame[at], frame[at + 1] = address_of(part(scratch, k)), DIRECT
                if k < outputs:
                    copy_in(d, frame, k, scratch, x)
    return n


@register_jitable
def span(d, task):
    """The elements of a task. A map's is whole rows that fit in a tile, or a tile of a longer row. A sum's is a chunk of
    a row, or of rows under LANES columns as many as a tile holds."""
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


@intrinsic
def words_of(typing_context, frame, place, slots):
    """From a place on, every array's word, as many as there are slots."""
    result = types.UniTuple(types.int64, slots.count)

    def codegen(context, builder, signature, args):
        found = []
        for k in range(slots.count):
            i = builder.add(args[1], ir.Constant(args[1].type, EACH * k))
            found.append(builder.load(builder.gep(args[0], [i])))
        return context.make_tuple(builder, result, found)

    return result(frame, types.int64, slots), codegen


# Sums


@register_jitable
def add_to(lanes, i, vector, x):
    """Add a vector to the lanes from i on."""
    put_vector(lanes, i, vector_at(lanes, i, width_of(x)) + vector)


@register_jitable
def add_tile(frame, n, summands, lanes, x):
    """Add a tile to the task's sum. It is in the lanes, but for its last elements, which fill no vector."""
    width = width_of(x)
    whole = n // width * width
    if whole < n:
        for i in range(n, whole + width):
            summands[i] = 0
        add_to(lanes, whole % LANES, vector_at(summands, whole, width), x)
    cast(advance(frame, TOTAL), 0.0)[0] += lane_sum(lanes)


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
def put_sums(d, frame, summands, x):
    """Store the sum that a task is of, or those of its short rows."""
    if d[COLUMNS] >= LANES:
        put_sum(d, frame[TASK], cast(advance(frame, TOTAL), 0.0)[0], x)
    else:
        put_short_sums(d, frame[TASK], summands, frame[COUNT], x)


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
