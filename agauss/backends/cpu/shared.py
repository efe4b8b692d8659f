"""Functions that all kernels of a dtype share: each is compiled once, and kernels call it by a name that LLVM knows.

Numba would copy them into every kernel, which would take longer to compile.
"""

import numpy as np
from llvmlite import ir
from numba import cfunc, types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.numpy_support import from_dtype

from agauss.backends.cpu import cache

WORDS = types.CPointer(types.int64)
_functions = {}


def shared(function):
    """A call of the function (descriptor, frame, number, scratch, x), whose number is an int64, as is its result."""
    name = function.__name__
    _functions[name] = function

    @intrinsic
    def call(typing_context, d, frame, number, scratch, x):
        def codegen(context, builder, signature, args):
            of = ir.FunctionType(ir.IntType(64), [a.type for a in args])
            key = cache.key(name, x.name)  # by which kernels.py has made it known
            return builder.call(cgutils.get_or_insert_function(builder.module, of, key), args)

        return types.int64(WORDS, WORDS, types.int64, scratch, x), codegen

    return call


def make(name, key, dtype):
    """The function of that name for a dtype, compiled under the name `key`."""
    function, x = _functions[name], from_dtype(np.dtype(dtype))
    function.__qualname__ = key
    return cfunc(types.int64(WORDS, WORDS, types.int64, types.CPointer(x), x), error_model="numpy")(function)
