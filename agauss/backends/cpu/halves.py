"""Half types in Numba kernels: read as float32 and written from it, a number or a vector at a time.

A pointer is of the computing dtype, whatever is stored where it points.
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from agauss.backends.cpu.descriptor import DIRECT, FLOAT16
from agauss.backends.cpu.vectors import as_many, constant, load_from, store_to

# In codegens.


def _is(builder, storage, code):
    return builder.icmp_signed("==", storage, ir.Constant(storage.type, code))


def _load_half(builder, pointer, i, storage, like):
    """As float32, what is stored in a half type: a number, or as many as the LLVM type `like` has."""
    i16, i32, half, single = (as_many(like, t) for t in (ir.IntType(16), ir.IntType(32), ir.HalfType(), ir.FloatType()))
    bits = load_from(builder, builder.bitcast(pointer, ir.IntType(16).as_pointer()), i, i16)
    float16 = builder.fpext(builder.bitcast(bits, half), single)
    bfloat16 = builder.bitcast(builder.shl(builder.zext(bits, i32), constant(i32, 16)), single)
    return builder.select(_is(builder, storage, FLOAT16), float16, bfloat16)


def _store_half(builder, x, pointer, i, storage):
    """Round float32 to nearest, ties to even; a NaN stays a quiet NaN."""
    i16, i32, half = (as_many(x.type, t) for t in (ir.IntType(16), ir.IntType(32), ir.HalfType()))
    float16 = builder.bitcast(builder.fptrunc(x, half), i16)
    bits = builder.bitcast(x, i32)
    odd = builder.and_(builder.lshr(bits, constant(i32, 16)), constant(i32, 1))
    rounded = builder.add(bits, builder.add(odd, constant(i32, 0x7FFF)))
    quiet = builder.or_(bits, constant(i32, 0x400000))
    bits = builder.select(builder.fcmp_unordered("uno", x, x), quiet, rounded)
    bfloat16 = builder.trunc(builder.lshr(bits, constant(i32, 16)), i16)
    bits = builder.select(_is(builder, storage, FLOAT16), float16, bfloat16)
    store_to(builder, bits, builder.bitcast(pointer, ir.IntType(16).as_pointer()), i)


def load_stored(builder, pointer, i, storage, of):
    """What is stored at the pointer's elements from i on, as the LLVM type `of`: a float, or a vector of them."""
    with builder.if_else(_is(builder, storage, DIRECT), likely=True) as (direct, half):
        with direct:
            as_it_is, from_direct = load_from(builder, pointer, i, of), builder.block
        with half:
            x = _load_half(builder, pointer, i, storage, of)
            widened, from_half = x if x.type == of else builder.fpext(x, of), builder.block
    result = builder.phi(of)
    result.add_incoming(as_it_is, from_direct)
    result.add_incoming(widened, from_half)
    return result


def store_as(builder, x, pointer, i, storage):
    """Store a number, or a vector of them, at the pointer's elements from i on."""
    single = as_many(x.type, ir.FloatType())
    with builder.if_else(_is(builder, storage, DIRECT), likely=True) as (direct, half):
        with direct:
            store_to(builder, x, pointer, i)
        with half:
            _store_half(builder, x if x.type == single else builder.fptrunc(x, single), pointer, i, storage)


# In kernels.


@intrinsic
def read(typing_context, pointer, i, storage, like):
    """What is stored at the pointer's elements from i on: a number, or as many as `like` has."""

    def codegen(context, builder, signature, args):
        return load_stored(builder, *args[:3], args[3].type)

    return like(pointer, types.int64, types.int64, like), codegen


@intrinsic
def write(typing_context, pointer, i, storage, x):
    """Store a number, or a vector, at the pointer's elements from i on."""

    def codegen(context, builder, signature, args):
        store_as(builder, args[3], *args[:3])
        return context.get_dummy_value()

    return types.void(pointer, types.int64, types.int64, x), codegen
