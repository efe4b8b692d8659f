"""Words in memory, the stack, and C functions that the process has, for functions that other programs call."""

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, register_jitable

from agauss.backends.cpu.memory import pointer


@intrinsic
def stack(typing_context, words):
    """The address of so many words on the stack, a constant."""
    if not isinstance(words, types.IntegerLiteral):
        return None  # and Numba comes again with the literal
    count = words.literal_value

    def codegen(context, builder, signature, args):
        word = ir.IntType(64)
        return builder.ptrtoint(cgutils.alloca_once(builder, word, size=count), word)

    return types.int64(words), codegen


def named(name, kind, *kinds):
    """In an intrinsic, a C function that the process has, of words."""
    c = {types.int64: ir.IntType(64), types.int32: ir.IntType(32), types.void: ir.VoidType()}

    def codegen(context, builder, signature, args):
        function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(c[kind], [c[k] for k in kinds]), name)
        result = builder.call(function, args)
        return context.get_dummy_value() if kind is types.void else result

    return kind(*kinds), codegen


@register_jitable
def word(address):
    return pointer(address, 0)[0]


@register_jitable
def put(address, value):
    pointer(address, 0)[0] = value


@register_jitable
def half_word(address):
    return pointer(address, np.int32(0))
