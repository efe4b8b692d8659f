"""The noise of a tile of elements, in short loops over vectors; noise.py has the arithmetic.

As one loop it would be longer than a processor looks ahead, and wait for each step of the arithmetic.
"""

from llvmlite import ir
from numba import cfunc, types
from numba.core import cgutils
from numba.extending import intrinsic, overload, register_jitable

from agauss.backends.cpu import mathlib
from agauss.backends.cpu.descriptor import (
    ADDRESS,
    BATCH_AXIS,
    COLUMN,
    DRAW,
    EACH,
    EXTENTS,
    FIRST,
    INDEX,
    INPUTS,
    NDIM,
    ROW,
    SEED_HIGH,
    SEED_LOW,
    STREAM,
    STRIDES,
)
from agauss.backends.cpu.memory import OF_TILE, SCRATCH, address_of, advance, array, cast, pointer, stack_of
from agauss.backends.cpu.vectors import put_vector, store_to, vector_at, width_of
from agauss.maths import noise


@register_jitable
def generate(d, element, n, scratch, x):
    """A pointer into scratch to the noise of n consecutive elements, made by whole blocks."""
    per_block, width = normals_per_block(x), width_of(x)
    first = types.uint64(element) // types.uint64(per_block)
    head = types.int64(types.uint64(element) - first * types.uint64(per_block))
    blocks = (head + n + per_block - 1) // per_block
    streams = streams_for(x)
    zeros = mathlib.like(0.0, vector_at(scratch, 0, width))
    key = word(d, DRAW), word(d, STREAM), word(d, SEED_LOW), word(d, SEED_HIGH)
    for j in range(blocks):
        put_words(streams, j, words_of_block(first + types.uint64(j), key, x))
    for j in range(0, blocks, width):
        for k in range(0, len(streams), 2):
            put_vector(cast(streams[k], x), j, noise.radius(mathlib, vector_at(streams[k], j, width), zeros))
    for j in range(0, blocks, width):
        put_interleaved(scratch, j * per_block, normals(streams, j, x, zeros))
    return advance(scratch, head)


@register_jitable
def word(d, field):
    """Without its upper half, which LLVM would multiply too."""
    return mathlib.low(types.uint64(d[field]))


@intrinsic
def normals_per_block(typing_context, x):
    def codegen(context, builder, signature, args):
        return context.get_constant(types.int64, noise.NORMALS_PER_BLOCK[x.bitwidth])

    return types.int64(x), codegen


@intrinsic
def streams_for(typing_context, x):
    """Scratch memory for the words of each block's normals, and in their place for what is made of them."""
    count = noise.NORMALS_PER_BLOCK[x.bitwidth]
    result = types.UniTuple(types.CPointer(types.uint32 if x.bitwidth == 32 else types.uint64), count)

    def codegen(context, builder, signature, args):
        of = context.get_data_type(result.dtype.dtype)
        streams = [cgutils.alloca_once(builder, of, size=SCRATCH // count) for _ in range(count)]
        return context.make_tuple(builder, result, streams)

    return result(x), codegen


@register_jitable(forceinline=True)
def words_of_block(block, key, x):
    return of_width(noise.philox(mathlib, mathlib.low(block), block >> types.uint64(32), *key), x)


def of_width(words, x):
    """A block's four words, each two of them as one for float64."""


@overload(of_width, jit_options={"forceinline": True})
def _of_width(words, x):
    if x.bitwidth == 32:
        return lambda words, x: words
    return lambda words, x: (mathlib.join(words[0], words[1]), mathlib.join(words[2], words[3]))


@intrinsic
def put_words(typing_context, streams, j, words):
    def codegen(context, builder, signature, args):
        for k in range(streams.count):
            place = builder.gep(builder.extract_value(args[0], k), [args[1]])
            word = builder.extract_value(args[2], k)
            builder.store(word if word.type == place.type.pointee else builder.trunc(word, place.type.pointee), place)
        return context.get_dummy_value()

    return types.void(streams, types.int64, words), codegen


@register_jitable(forceinline=True)
def pair(streams, k, j, x, zeros):
    length, word = vector_at(cast(streams[k], x), j, width_of(x)), vector_at(streams[k + 1], j, width_of(x))
    return noise.around(mathlib, length, word, zeros)


def normals(streams, j, x, zeros):
    """The normals of blocks from j on, those at one place in each block as a vector."""


@overload(normals, jit_options={"forceinline": True})
def _normals(streams, j, x, zeros):
    if streams.count == 2:
        return lambda streams, j, x, zeros: pair(streams, 0, j, x, zeros)
    return lambda streams, j, x, zeros: pair(streams, 0, j, x, zeros) + pair(streams, 2, j, x, zeros)


@intrinsic
def put_interleaved(typing_context, pointer, i, vectors):
    """Store the first number of each vector at the pointer's elements from i on, and then the second of each, ..."""
    size, count = vectors.count, vectors.dtype.count
    halves = [[n for n in range(count) if n % size // (size // 2) == upper] for upper in (0, 1)]

    def codegen(context, builder, signature, args):
        parts = [builder.extract_value(args[2], k) for k in range(size)]
        # Numbers move faster within 16 bytes, which a block fills. Vector k comes to have blocks k, k + size, ...
        for _ in range(size.bit_length() - 1):
            parts = [_in_turns(builder, a, b, places, 1) for a, b in _pairs(parts) for places in halves]
        while len(parts) > 1:
            parts = [_in_turns(builder, a, b, range(0, a.type.count, size), size) for a, b in _pairs(parts)]
        store_to(builder, parts[0], *args[:2])
        return context.get_dummy_value()

    return types.void(pointer, types.int64, vectors), codegen


def _pairs(parts):
    """Each of the first half with its like of the second."""
    half = len(parts) // 2
    return list(zip(parts[:half], parts[half:], strict=True))


def _in_turns(builder, a, b, places, unit):
    """So many adjacent numbers of a and of b in turns, from each of the places on."""
    order = [place + n + a.type.count * of for place in places for of in (0, 1) for n in range(unit)]
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(ir.IntType(32), len(order)), order))


def make(name, dtype):
    """A function (descriptor, frame, n) of a dtype, which makes n elements of the last input's noise in scratch.

    Noise hangs on a linear index, in the whole array where this one is a block. Where others have an address, it has
    the index's first value; its strides are the index's.
    """
    zero = dtype(0)

    def noise_of_tile(d, frame, n):
        own, at = array(d, d[INPUTS] - 1), FIRST + EACH * (d[INPUTS] - 1)
        ndim, strides, row, column = d[NDIM], own + STRIDES, frame[ROW], frame[COLUMN]
        scratch, spare = pointer(frame[at], zero), stack_of(SCRATCH, zero)
        inner, stride = d[EXTENTS + ndim - 1], d[strides + ndim - 1]
        by_index = d[BATCH_AXIS] == ndim - 1
        adjacent = d[BATCH_AXIS] < 0 and stride == 1
        for axis in range(ndim - 1):
            adjacent &= d[strides + axis] == d[EXTENTS + axis + 1] * d[strides + axis + 1]
        done = 0
        while done < n:
            element, run, rest = d[own + ADDRESS], n - done, row
            if adjacent:  # the rows of the noise, if not of what is read with it
                element += row * inner + column
            else:
                for axis in range(ndim - 2, -1, -1):
                    extent = d[EXTENTS + axis]
                    place = rest % extent
                    rest = rest // extent
                    element += (sample_id(d, place) if axis == d[BATCH_AXIS] else place) * d[strides + axis]
                element += (sample_id(d, column) if by_index else column) * stride
                run = 1 if by_index or stride != 1 else min(inner - column, run)
            if run == n:
                frame[at] = address_of(generate(d, element, n, scratch, zero))
                return
            made = generate(d, element, run, spare, zero)
            for i in range(run):
                scratch[done + i] = made[i]
            done += run
            column += run
            if column == inner:
                row += 1
                column = 0

    noise_of_tile.__qualname__ = name
    return cfunc(OF_TILE, error_model="numpy")(noise_of_tile)


@register_jitable
def sample_id(d, place):
    return pointer(d[INDEX], types.int64(0))[place]
