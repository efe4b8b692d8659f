"""How Numba kernels read a work descriptor and move tiles between arrays and scratch memory; knows no formula.

A descriptor is written by plans.py, and descriptor.py names its fields. An array is read where it lies if its next
elements are adjacent and the loop takes them as they are stored. Otherwise it is copied, a tile at a time, to scratch.
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic, register_jitable

from agauss.backends.cpu.descriptor import (
    ADDRESS,
    BFLOAT16,
    BUFFERED,
    DIRECT,
    EACH,
    EXTENTS,
    FLOAT16,
    NDIM,
    STORAGE,
    STRIDES,
)
from agauss.backends.cpu.halves import load_stored, read, store_as, write
from agauss.backends.cpu.mathlib import inlined, like
from agauss.backends.cpu.vectors import BYTES, Vector, lanes_of, load_from, put_vector, store_to, vector_at
from agauss.maths.sums import TILE

WIDEST = BYTES // 4  # the most lanes that a vector has, those of float32
NARROW = 8  # columns in rows that are copied column by column
# Elements are moved and computed a tile at a time: a handful of tiles fit in the first-level cache.
SCRATCH = TILE + 4 * WIDEST  # noise is made by vectors of whole blocks, of four normals at the most

WORDS = types.CPointer(types.int64)
OF_TASKS = types.void(WORDS, types.int64, types.int64)  # a function (descriptor, first task, last task)
OF_TILE = types.void(WORDS, WORDS, types.int64)  # a function (descriptor, frame, elements)


@intrinsic
def pointer(typing_context, address, x):
    """A pointer to x's dtype from an address."""
    result = types.CPointer(x)

    def codegen(context, builder, signature, args):
        return builder.inttoptr(args[0], context.get_value_type(result))

    return result(types.int64, x), codegen


@intrinsic
def advance(typing_context, pointer, n):
    def codegen(context, builder, signature, args):
        return builder.gep(args[0], [args[1]])

    return pointer(pointer, types.int64), codegen


@intrinsic
def address_of(typing_context, pointer):
    def codegen(context, builder, signature, args):
        return builder.ptrtoint(args[0], ir.IntType(64))

    return types.int64(pointer), codegen


@intrinsic
def cast(typing_context, pointer, x):
    """The pointer as one to x's dtype."""
    result = types.CPointer(x)

    def codegen(context, builder, signature, args):
        return builder.bitcast(args[0], context.get_value_type(result))

    return result(pointer, x), codegen


@intrinsic
def call(typing_context, function, a, b, c):
    """Call the C function of three int64 at an address."""

    def codegen(context, builder, signature, args):
        of = ir.FunctionType(ir.VoidType(), [ir.IntType(64)] * 3)
        builder.call(builder.inttoptr(args[0], of.as_pointer()), args[1:])
        return context.get_dummy_value()

    return types.void(*[types.int64] * 4), codegen


@intrinsic
def stack_of(typing_context, count, x):
    """A pointer to room for so many numbers of x's dtype on the stack, until the function returns."""
    result = types.CPointer(types.unliteral(x))

    def codegen(context, builder, signature, args):
        return builder.alloca(context.get_data_type(result.dtype), size=args[0])

    return result(types.int64, x), codegen


@intrinsic
def words_of(typing_context, frame, place, slots):
    """A word of each array, from a place in the frame on, as many as there are slots."""
    result = types.UniTuple(types.int64, slots.count)

    def codegen(context, builder, signature, args):
        places = [builder.add(args[1], ir.Constant(args[1].type, EACH * k)) for k in range(slots.count)]
        return context.make_tuple(builder, result, [builder.load(builder.gep(args[0], [p])) for p in places])

    return result(frame, types.int64, slots), codegen


@intrinsic
def pick(typing_context, addresses, storages, i, x):
    """The tuple of the vectors of x's dtype that stand from element i on at each address, stored as the storages say
    if there are any."""
    vector = Vector(x, lanes_of(x))
    result = types.UniTuple(vector, addresses.count)

    def codegen(context, builder, signature, args):
        of, found = context.get_value_type(vector), []
        for k in range(addresses.count):
            pointer = builder.inttoptr(builder.extract_value(args[0], k), of.element.as_pointer())
            if storages.count:
                found.append(load_stored(builder, pointer, args[2], builder.extract_value(args[1], k), of))
            else:
                found.append(load_from(builder, pointer, args[2], of))
        return context.make_tuple(builder, result, found)

    return result(addresses, storages, types.int64, x), codegen


@intrinsic
def put(typing_context, addresses, storages, i, values):
    """Store the vectors, each from element i on at its address and as the storages say."""

    def codegen(context, builder, signature, args):
        for k in range(addresses.count):
            x = builder.extract_value(args[3], k)
            pointer = builder.inttoptr(builder.extract_value(args[0], k), x.type.element.as_pointer())
            if storages.count:
                store_as(builder, x, pointer, args[2], builder.extract_value(args[1], k))
            else:
                store_to(builder, x, pointer, args[2])
        return context.get_dummy_value()

    return types.void(addresses, storages, types.int64, values), codegen


def sum_by_halves(builder, vector, width):
    """In a codegen, the sum of a vector's numbers: k and k + width / 2, and so on."""
    while width > 1:
        width //= 2
        halves = [ir.Constant(ir.VectorType(ir.IntType(32), width), list(range(k, k + width))) for k in (0, width)]
        vector = builder.fadd(*[builder.shuffle_vector(vector, vector, half) for half in halves])
    return builder.extract_element(vector, ir.Constant(ir.IntType(32), 0))


@intrinsic
def float_of_bits(typing_context, bits, x):
    """The float64 that an int64 holds, in x's dtype."""

    def codegen(context, builder, signature, args):
        return context.cast(builder, builder.bitcast(args[0], ir.DoubleType()), types.float64, x)

    return x(types.int64, x), codegen


@register_jitable
def array(d, k):
    """Where array k is described."""
    return EXTENTS + d[NDIM] + k * (STRIDES + d[NDIM])


@register_jitable
def part(scratch, k):
    """The tile of scratch number k."""
    return advance(scratch, k * SCRATCH)


@register_jitable
def offset(d, array, row):
    """Where a row of the innermost dimension begins, in elements from the array's address."""
    ndim = d[NDIM]
    strides = array + STRIDES
    if ndim == 1:
        return 0
    if ndim == 2:
        return row * d[strides]
    result = 0
    for axis in range(ndim - 2, -1, -1):
        extent = d[EXTENTS + axis]
        rest = row // extent
        result += (row - rest * extent) * d[strides + axis]
        row = rest
    return result


@inlined
def place(d, array, row, i, x):
    """A pointer to what stands i elements after a row's first; of x's dtype, whatever is stored there."""
    i += offset(d, array, row)
    if d[array + STORAGE] % BUFFERED == DIRECT:
        return advance(pointer(d[array + ADDRESS], x), i)
    return pointer(d[array + ADDRESS] + 2 * i, x)


@register_jitable
def lies_together(d, array, column, n):
    """Whether n elements from a column on are adjacent, and may be read or written where they lie."""
    inner, last = d[EXTENTS + d[NDIM] - 1], array + STRIDES + d[NDIM] - 1
    if d[array + STORAGE] >= BUFFERED or d[last] != 1 or n < WIDEST:
        return False
    return column + n <= inner or (d[NDIM] == 2 and d[last - 1] == inner)


@register_jitable
def has_short_rows(d, array, column, n):
    """Whether elements are whole rows of an array of two dimensions, so short that a loop for each would cost more."""
    inner = d[EXTENTS + d[NDIM] - 1]
    short = d[NDIM] == 2 and inner <= NARROW and column == 0 and n % inner == 0
    return short and d[array + STORAGE] % BUFFERED == DIRECT


@register_jitable
def copy_by_columns(source, source_row, source_column, sink, sink_row, sink_column, columns, rows):
    if columns == 4 and sink_column == 1:
        if source_column == 1:
            for row in range(rows):
                put_vector(sink, row * sink_row, vector_at(source, row * source_row, 4))
            return
        if source_column == 0:  # one number for the row: a cotangent, say
            for row in range(rows):
                four = like(source[row * source_row], vector_at(sink, row * sink_row, 4))  # of which the type counts
                put_vector(sink, row * sink_row, four)
            return
    for column in range(columns):
        for row in range(rows):
            sink[row * sink_row + column * sink_column] = source[row * source_row + column * source_column]


@register_jitable
def copy_in(d, array, row, column, n, scratch, x):
    """Copy n elements of an array, from a column of a row on, to scratch."""
    inner = d[EXTENTS + d[NDIM] - 1]
    stride = d[array + STRIDES + d[NDIM] - 1]
    storage = d[array + STORAGE] % BUFFERED
    if has_short_rows(d, array, column, n):
        copy_by_columns(place(d, array, row, 0, x), d[array + STRIDES], stride, scratch, inner, 1, inner, n // inner)
        return
    done = 0
    while done < n:
        run = min(inner - column, n - done)
        source, sink = place(d, array, row, column * stride, x), advance(scratch, done)
        if stride == 0:
            repeated = read(source, 0, storage, x)
            for i in range(run):
                sink[i] = repeated
        elif storage == FLOAT16:
            for i in range(run):
                sink[i] = read(source, i * stride, FLOAT16, x)
        elif storage == BFLOAT16:
            for i in range(run):
                sink[i] = read(source, i * stride, BFLOAT16, x)
        elif stride == 1:
            for i in range(run):
                sink[i] = source[i]
        else:
            for i in range(run):
                sink[i] = source[i * stride]
        done += run
        row += 1
        column = 0


@register_jitable
def copy_out(d, array, row, column, n, scratch, x):
    """Copy scratch to n elements of an output, from a column of a row on."""
    inner = d[EXTENTS + d[NDIM] - 1]
    stride = d[array + STRIDES + d[NDIM] - 1]
    storage = d[array + STORAGE] % BUFFERED
    if has_short_rows(d, array, column, n):
        copy_by_columns(scratch, inner, 1, place(d, array, row, 0, x), d[array + STRIDES], stride, inner, n // inner)
        return
    done = 0
    while done < n:
        run = min(inner - column, n - done)
        sink, source = place(d, array, row, column * stride, x), advance(scratch, done)
        if storage == FLOAT16:
            for i in range(run):
                write(sink, i * stride, FLOAT16, source[i])
        elif storage == BFLOAT16:
            for i in range(run):
                write(sink, i * stride, BFLOAT16, source[i])
        else:
            for i in range(run):
                sink[i * stride] = source[i]
        done += run
        row += 1
        column = 0
