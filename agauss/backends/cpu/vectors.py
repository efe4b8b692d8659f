"""A Numba type for a vector of numbers, with Python's operators, lane by lane; knows no function of them.

Formulas that are written for one number run on it as they are, and LLVM need not find out how to vectorise a loop. What
each lane computes does not depend on how many lanes there are.
"""

import operator

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

# Of a vector: two registers, whose chains of operations a processor runs side by side.
BYTES = 128 if "+avx512f" in cpu_target.target_context.codegen().magic_tuple()[2] else 64
_LLVM = {types.float32: ir.FloatType(), types.float64: ir.DoubleType(), types.boolean: ir.IntType(1)}


class Vector(types.Type):
    """`count` numbers of a dtype."""

    def __init__(self, dtype, count):
        self.dtype, self.count = dtype, count
        super().__init__(f"Vector({dtype}, {count})")

    @property
    def bitwidth(self):
        return self.dtype.bitwidth

    def of(self, dtype):
        return Vector(dtype, self.count)


@register_model(Vector)
class _Model(models.PrimitiveModel):
    def __init__(self, manager, vector):
        element = _LLVM.get(vector.dtype) or ir.IntType(vector.dtype.bitwidth)
        super().__init__(manager, vector, ir.VectorType(element, vector.count))


# Helpers of codegens, for numbers and vectors alike.


def as_many(like, element):
    """The LLVM type of as many elements as `like` has."""
    return ir.VectorType(element, like.count) if isinstance(like, ir.VectorType) else element


def constant(llvm_type, c):
    if isinstance(llvm_type, ir.VectorType):
        return ir.Constant(llvm_type, [c] * llvm_type.count)
    return ir.Constant(llvm_type, c)


def splat(builder, number, llvm_type):
    """The number in each lane, where the type is a vector's."""
    if not isinstance(llvm_type, ir.VectorType):
        return number
    zero = ir.Constant(ir.IntType(32), 0)
    one = builder.insert_element(ir.Constant(llvm_type, ir.Undefined), number, zero)
    lanes = ir.Constant(ir.VectorType(ir.IntType(32), llvm_type.count), [0] * llvm_type.count)
    return builder.shuffle_vector(one, ir.Constant(llvm_type, ir.Undefined), lanes)


def llvm_call(builder, name, *args):
    """LLVM's function `name` of arguments of one type, which is the result's too."""
    of = args[0].type
    element = of.element if isinstance(of, ir.VectorType) else of
    suffix = f"v{of.count}" if isinstance(of, ir.VectorType) else ""
    function = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(of, [of] * len(args)), f"llvm.{name}.{suffix}{element.intrinsic_name}"
    )
    return builder.call(function, args)


# Operators, of two vectors or of a vector and a number of its dtype.

_FLOATS = {
    operator.add: "fadd",
    operator.sub: "fsub",
    operator.mul: "fmul",
    operator.truediv: "fdiv",
}
_WORDS = {
    operator.add: "add",
    operator.sub: "sub",
    operator.mul: "mul",
    operator.and_: "and_",
    operator.or_: "or_",
    operator.xor: "xor",
    operator.lshift: "shl",
    operator.rshift: "lshr",
}
_COMPARISONS = {
    operator.lt: "<",
    operator.le: "<=",
    operator.gt: ">",
    operator.ge: ">=",
    operator.eq: "==",
}


def _register(op):
    @infer_global(op)
    class Template(AbstractTemplate):
        key = op

        def generic(self, args, kws):
            vector = next((a for a in args if isinstance(a, Vector)), None)
            if vector is None or len(args) != 2:
                return None
            result = vector.of(types.boolean) if op in _COMPARISONS else vector
            return signature(result, *[a if isinstance(a, Vector) else vector.dtype for a in args])

    def lower(context, builder, sig, args):
        vector = next(a for a in sig.args if isinstance(a, Vector))
        of = context.get_value_type(vector)
        a, b = (v if isinstance(t, Vector) else splat(builder, v, of) for v, t in zip(args, sig.args, strict=True))
        real = isinstance(vector.dtype, types.Float)
        if op in _COMPARISONS:
            return (builder.fcmp_ordered if real else builder.icmp_unsigned)(_COMPARISONS[op], a, b)
        return getattr(builder, (_FLOATS if real else _WORDS)[op])(a, b)

    for pair in ((Vector, Vector), (Vector, types.Any), (types.Any, Vector)):
        lower_builtin(op, *pair)(lower)


for _op in {**_FLOATS, **_WORDS, **_COMPARISONS}:
    _register(_op)


@infer_global(operator.neg)
class _Negative(AbstractTemplate):
    key = operator.neg

    def generic(self, args, kws):
        return signature(args[0], args[0]) if isinstance(args[0], Vector) else None


@lower_builtin(operator.neg, Vector)
def _negative(context, builder, sig, args):
    return builder.fneg(args[0])


# Vectors in memory, of numbers that stand side by side.


def load_from(builder, pointer, i, of):
    """In a codegen, the pointer's elements from i on, as the LLVM type `of`: a number, or a vector of them."""
    return builder.load(builder.bitcast(builder.gep(pointer, [i]), of.as_pointer()), align=_alignment(of))


def store_to(builder, x, pointer, i):
    """In a codegen, store a number, or a vector of them, at the pointer's elements from i on."""
    builder.store(x, builder.bitcast(builder.gep(pointer, [i]), x.type.as_pointer()), align=_alignment(x.type))


def _alignment(of):
    element = of.element if isinstance(of, ir.VectorType) else of
    return {ir.DoubleType(): 8, ir.FloatType(): 4}.get(element) or element.width // 8


@intrinsic(prefer_literal=True)
def vector_at(typing_context, pointer, i, count):
    """The vector of the pointer's elements from i on."""
    result = Vector(pointer.dtype, count.literal_value)

    def codegen(context, builder, signature, args):
        return load_from(builder, *args[:2], context.get_value_type(result))

    return result(pointer, types.int64, count), codegen


@intrinsic
def put_vector(typing_context, pointer, i, vector):
    """Store a vector at the pointer's elements from i on."""

    def codegen(context, builder, signature, args):
        store_to(builder, args[2], *args[:2])
        return context.get_dummy_value()

    return types.void(pointer, types.int64, vector), codegen


def lanes_of(dtype):
    """How many numbers of a dtype are computed at a time."""
    return BYTES * 8 // dtype.bitwidth


@intrinsic
def width_of(typing_context, x):
    """The same in a kernel, of x's dtype."""
    width = types.literal(lanes_of(x))

    def codegen(context, builder, signature, args):
        return context.get_constant(types.int64, width.literal_value)

    return width(x), codegen
