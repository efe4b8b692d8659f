"""Writes coefficients, philox, mathlib, calm, parts and formulas.cuh of agauss/backends/cuda.

They are the Python functions of coefficients.py, noise.py, cpu/mathlib.py, cpu/calm.py, parts.py and formulas.py in
C++: the same names, arguments and operations in the same order, so that a GPU computes the very bits that Numba's loops
do. tests/test_cuda_source.py sees that they are up to date. What the functions are made of is in cuda/intrinsics.cuh.
"""

import ast
from pathlib import Path

from agauss.maths import coefficients

PACKAGE = Path(__file__).parents[1] / "agauss"
FUNCTION = "__device__ __forceinline__"
OPERATORS = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.BitAnd: "&", ast.BitOr: "|", ast.BitXor: "^",
    ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==",
}  # fmt: skip


BY_PARITY = {"EXP", "EXPM1", "LOG1P"}  # the polynomials that are not evaluated by Horner's rule


def expression(node):
    """C++ of an expression, without parentheses around the whole."""
    text = operand(node)
    return text[1:-1] if isinstance(node, (ast.BinOp, ast.Compare)) else text


def operand(node):
    """C++ of an expression inside another; every operation in parentheses, so that no precedence has to be known."""
    match node:
        case ast.Name(name):
            return name
        case ast.Constant(bool() as truth):
            return repr(truth).lower()
        case ast.Constant(number):
            return repr(number)
        case ast.UnaryOp(ast.USub(), inner) if not isinstance(inner, ast.UnaryOp):
            return f"-{operand(inner)}"
        case ast.BinOp(left, op, right) | ast.Compare(left, [op], [right]) if type(op) in OPERATORS:
            return f"({operand(left)} {OPERATORS[type(op)]} {operand(right)})"
        case ast.Subscript(value, ast.Constant(place)):
            return f"{operand(value)}.v{place}"
        case ast.Tuple(elements):
            return f"values({', '.join(map(expression, elements))})"
        case ast.Call(function, arguments):
            return call(function, arguments)
    raise NotImplementedError(ast.dump(node))


def call(function, arguments):
    name = function.attr if isinstance(function, ast.Attribute) else function.id
    arguments = [a for a in arguments if not (isinstance(a, ast.Name) and a.id in ("m", "_vocabulary"))]
    if name in ("number", "polynomial", "parity_polynomial"):
        return f"{name}({arguments[0].value}{{}}, {expression(arguments[1])})"
    if name == "like" and isinstance(arguments[0], ast.Call):  # float("inf") or float("nan")
        return f"{arguments[0].args[0].value}({expression(arguments[1])})"
    if name == "word":
        return f"Word({expression(arguments[0])})"
    return f"{name}({', '.join(map(expression, arguments))})"


class Body:
    """The statements of a function; knows which names there are already, for C++ declares a name once."""

    def __init__(self, names):
        self.names = set(names)

    def statement(self, node):
        match node:
            case ast.Expr(ast.Constant(str())):
                return []
            case ast.Return(value):
                return [f"return {expression(value)};"]
            case ast.For(_, ast.Call(_, [ast.Constant(turns)]), body):
                lines = [line for inner in body for line in self.statement(inner)]
                return ["#pragma unroll", f"for (int turn = 0; turn < {turns}; ++turn) {{", *indented(lines), "}"]
            case ast.Assign([ast.Tuple(targets)], ast.Tuple(values)):
                return self.several([t.id for t in targets], [expression(v) for v in values])
            case ast.Assign([ast.Tuple(targets)], value):
                names = [t.id for t in targets]
                fresh = [name if name not in self.names else f"{name}_" for name in names]
                old = [f"{name} = {name}_;" for name in names if name in self.names]
                self.names.update(names)
                return [f"auto [{', '.join(fresh)}] = {expression(value)};", *old]
            case ast.Assign([target], value):
                return self.several([target.id], [expression(value)])
        raise NotImplementedError(ast.dump(node))

    def several(self, names, values):
        if not self.names & set(names):
            self.names.update(names)
            return [f"auto {name} = {value};" for name, value in zip(names, values, strict=True)]
        if len(names) == 1:
            return [f"{names[0]} = {values[0]};"]
        first = [f"auto {name}_ = {value};" for name, value in zip(names, values, strict=True)]
        return first + [f"{name} = {name}_;" for name in names]


def indented(lines):
    return [line if line.startswith("#") else f"    {line}" for line in lines]


def function(node, prefix=""):
    names = [a.arg for a in node.args.args if a.arg not in ("m", "_vocabulary")]
    body = Body(names)
    lines = [line for statement in node.body for line in body.statement(statement)]
    head = f"{FUNCTION} auto {prefix}{node.name}({', '.join(f'auto {name}' for name in names)})"
    return "\n".join([f"{head} {{", *indented(lines), "}"])


def mirror(path, keep, prefix=""):
    """The C++ of a Python file's constants and functions, of those that `keep` holds for, each name with a prefix."""
    parts = []
    for node in ast.parse((PACKAGE / path).read_text()).body:
        match node:
            case ast.FunctionDef() if keep(node):
                parts.append(function(node, prefix))
            case ast.Assign([ast.Name(name)], ast.Constant(float() | int() as number)) if name.isupper():
                parts.append(f"constexpr {'double' if isinstance(number, float) else 'Word'} {name} = {number!r};")
            case ast.Assign([ast.Tuple(targets)], ast.Tuple(values)) if all(t.id.isupper() for t in targets):
                pairs = zip(targets, values, strict=True)
                parts.append(f"constexpr Word {', '.join(f'{t.id} = {v.value:#x}u' for t, v in pairs)};")
    return page(path, "\n\n".join(parts))


def page(path, text):
    head = f"// Made from agauss/{path} by tools/mirror.py."
    return f"{head}\n\nnamespace agauss {{\n\n{text}\n\n}}  // namespace agauss\n"


def numbers():
    """coefficients.py as overloads: number(NAME{}, x) and polynomial(NAME{}, x)."""
    parts = []
    for name in [n.removesuffix("_F32") for n in vars(coefficients) if n.endswith("_F32")]:
        parts.append(f"struct {name} {{}};")
        for suffix, real in (("_F32", "float"), ("_F64", "double")):
            found = getattr(coefficients, name + suffix)
            kind, argument = ("polynomial", " x") if isinstance(found, tuple) else ("number", "")
            kind = "parity_polynomial" if name in BY_PARITY else kind
            given = found if isinstance(found, tuple) else (found,)
            literals = ", ".join(c.hex() + ("f" if real == "float" else "") for c in given)
            evaluated = {"polynomial": f"horner(x, {literals})", "parity_polynomial": f"by_parity(x, {literals})"}
            value = evaluated.get(kind, literals)
            parts.append(f"{FUNCTION} {real} {kind}({name}, {real}{argument}) {{ return {value}; }}")
    return page("maths/coefficients.py", "\n".join(parts))


def is_term(node):
    return [a.arg for a in node.args.args][:1] == ["m"]


def is_inlined(node):
    """Of cpu/mathlib.py, what is written in terms of the rest."""
    return ast.unparse(node.decorator_list[:1] or [ast.Constant(0)]) == "inlined" and "types." not in ast.unparse(node)


FILES = {
    "coefficients.cuh": numbers,
    "philox.cuh": lambda: mirror("maths/noise.py", is_term),
    "mathlib.cuh": lambda: mirror("backends/cpu/mathlib.py", is_inlined),
    "calm.cuh": lambda: mirror("backends/cpu/calm.py", is_inlined, "calm_"),
    "parts.cuh": lambda: mirror("maths/parts.py", is_term),
    "formulas.cuh": lambda: mirror("maths/formulas.py", is_term),
}

if __name__ == "__main__":
    for name, text in FILES.items():
        (PACKAGE / "backends" / "cuda" / name).write_text(text())
