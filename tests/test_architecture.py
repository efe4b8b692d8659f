"""What the source must look like: imports point one way, array libraries are named in one file, files are short, and
what is public is listed, documented and differentiable."""

import ast
import inspect
import re
import sys
from graphlib import TopologicalSorter
from pathlib import Path
from types import ModuleType

import pytest

import agauss as ag
from agauss import ops, vae
from agauss.backends.cpu import cache

PACKAGE = Path(ag.__file__).parent
SOURCES = sorted(file for file in PACKAGE.rglob("*.py") if "__pycache__" not in file.parts)
ARRAY_LIBRARIES = ("torch", "jax", "jaxlib", "cupy", "dask", "tensorflow", "array_api_strict")

# From below to above: a file may import what is in a lower layer or in its own folder. "agauss" is the package itself.
LAYERS = (
    ("maths", "remembered", "backends"),
    ("operations", "words", "backends.protocol", "backends.strides", "backends.steps"),
    ("keys",),
    ("typing",),
    ("backends.array_api", "backends.cpu", "backends.cuda"),
    ("backends.jax", "backends.dask"),
    ("arrays",),
    ("options",),
    ("execution",),
    ("ops", "random"),
    ("distributions", "full_covariance"),
    ("multivariate",),
    ("vae",),
    ("versions", "explanation", "console"),
    ("agauss",),
    ("integrations", "cli", "conformance"),
    ("__main__",),
)
LAYER = {name: height for height, names in enumerate(LAYERS) for name in names}
BACKENDS = ("backends.array_api", "backends.cpu", "backends.cuda", "backends.dask")


def module_of(file):
    parts = ("agauss", *file.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(file): ast.parse(file.read_text(), str(file)) for file in SOURCES}


def part_of(module):
    """The file or folder under agauss/, or under agauss/backends/, that a module is or is in."""
    parts = module.split(".")[1:]
    return ".".join(parts[: 2 if parts[0] == "backends" else 1]) if parts else "agauss"


def imports(tree):
    """The full names of all that a module imports, wherever in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                yield name if name in MODULES else node.module


def own_imports(module):
    return {name for name in imports(MODULES[module]) if name.partition(".")[0] == "agauss"}


def foreign_imports(module):
    return {name.partition(".")[0] for name in imports(MODULES[module])} - {"agauss"}


def test_the_parser_sees_the_imports_that_there_are():
    assert "agauss.backends.cpu.backend" in own_imports("agauss.arrays")  # in a function
    assert "agauss.maths.noise" in own_imports("agauss.backends.array_api.backend")
    assert "numba" in foreign_imports("agauss.backends.cpu.mathlib")


@pytest.mark.parametrize("module", MODULES)
def test_every_file_has_a_layer_and_says_first_what_it_is(module):
    assert part_of(module) in LAYER, "give it a layer, above"
    assert ast.get_docstring(MODULES[module]) or not MODULES[module].body


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_downwards(module):
    own = part_of(module)
    for name in own_imports(module):
        other = part_of(name)
        assert other == own != "agauss" or LAYER[other] < LAYER[own], f"{module} imports {name}"


def test_no_modules_import_each_other_in_a_circle():
    TopologicalSorter({module: own_imports(module) for module in MODULES}).prepare()


def test_the_digest_of_the_caches_sources_is_of_all_that_kernels_are_made_from():
    found, left = set(), {"agauss.backends.cpu.kernels"}
    while left:
        found |= left
        left = set().union(*map(own_imports, left)) - found
    assert found == set(cache.MODULES)


@pytest.mark.parametrize("module", ["agauss.maths.parts", "agauss.maths.coefficients", "agauss.maths.noise"])
def test_the_formulas_and_the_noise_import_nothing_of_ours_nor_any_package(module):
    assert own_imports(module) == set()
    assert foreign_imports(module) <= set(sys.stdlib_module_names)


def test_formulas_import_nothing_but_their_parts():
    assert own_imports("agauss.maths.formulas") == {"agauss.maths.parts"}
    assert foreign_imports("agauss.maths.formulas") == foreign_imports("agauss.maths.parts") == set()
    assert foreign_imports("agauss.maths.coefficients") == set()


@pytest.mark.parametrize("module", [m for m in MODULES if part_of(m) != "backends.cpu"])
def test_the_compiler_is_known_to_the_cpu_backend_alone(module):
    assert not foreign_imports(module) & {"numba", "llvmlite"}


@pytest.mark.parametrize("module", [m for m in MODULES if part_of(m) in BACKENDS])
def test_backends_know_neither_each_other_nor_what_is_above(module):
    assert {part_of(name) for name in own_imports(module)} <= {part_of(module), *LAYERS[0], *LAYERS[1]} - {"operations"}


ABOVE = [m for m in MODULES if LAYER.get(part_of(m), 0) > LAYER["arrays"] and part_of(m) not in ("integrations", "cli")]


@pytest.mark.parametrize("module", ABOVE)
def test_nobody_above_arrays_imports_a_backend(module):
    """But the package itself, which must see forks from the beginning, and what reports the threads."""
    found = {part_of(name) for name in own_imports(module)} & {*BACKENDS, "backends.jax"}
    assert found <= ({"backends.cpu"} if module in ("agauss", "agauss.versions") else set())


def libraries_named(tree):
    """The array libraries in a tree's imports, identifiers and strings (of which docstrings say more than a name)."""
    for node in ast.walk(tree):
        words = []
        if isinstance(node, ast.Name):
            words = [node.id]
        elif isinstance(node, ast.Attribute):
            words = [node.attr]
        elif isinstance(node, ast.alias):
            words = [node.name]
        elif isinstance(node, ast.ImportFrom):
            words = [node.module]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            words = [node.value]
        for word in words:
            if re.fullmatch(rf"({'|'.join(ARRAY_LIBRARIES)})(\.[\w.]*)?", word):
                yield word


def test_the_search_for_libraries_finds_them():
    for source in ("import torch.nn", "from jax import numpy", "x = 'dask'", "y.cupy", "import numpy, jax"):
        assert list(libraries_named(ast.parse(source)))
    assert not list(libraries_named(ast.parse("'''torch and jax'''\nx = 'NumPy'")))
    assert {"jax", "dask"} <= set(libraries_named(MODULES["agauss.arrays"]))


@pytest.mark.parametrize(
    "module",
    [
        m
        for m in MODULES
        if part_of(m).removeprefix("backends.")
        not in ("arrays", "versions", "cuda", "dask", "jax", "integrations", "conformance")
    ],
)
def test_only_arrays_py_names_array_libraries(module):
    """But for versions.py, which reports them, what is made for one, and as_key, which knows CuPy's Generator."""
    tree = MODULES[module]
    if module == "agauss.keys":
        tree = ast.Module([node for node in tree.body if getattr(node, "name", None) != "as_key"], [])
    assert list(libraries_named(tree)) == []


# The public names

NAMESPACES = (ag, ag.random, vae)


def is_public(module):
    """Whether the file is signatures and documentation mostly, which have the length that they have."""
    return part_of(module) in ("ops", "random", "distributions")


@pytest.mark.parametrize("module", MODULES)
def test_no_function_but_a_public_one_has_more_than_eight_arguments(module):
    for node in ast.walk(MODULES[module]):
        if isinstance(node, ast.FunctionDef | ast.Lambda):
            name, own = getattr(node, "name", "a lambda"), node.args
            count = len([*own.posonlyargs, *own.args, *own.kwonlyargs])
            assert count <= 8 or (is_public(module) and name[0] != "_"), f"{name} has {count} arguments"


@pytest.mark.parametrize("module", [m for m in MODULES if not is_public(m)])
def test_no_file_but_a_public_one_has_more_than_450_lines(module):
    (file,) = [file for file in SOURCES if module_of(file) == module]
    assert len(file.read_text().splitlines()) <= 450, f"{file.name} is to be two files"


@pytest.mark.parametrize("file", sorted(Path(__file__).parent.glob("*.py")), ids=lambda file: file.name)
def test_no_file_of_the_tests_has_more_than_500_lines(file):
    assert len(file.read_text().splitlines()) <= 500, f"{file.name} is to be two files"


@pytest.mark.parametrize("file", sorted(Path(__file__).parent.glob("*.py")), ids=lambda file: file.name)
def test_no_test_imports_another(file):
    assert not [name for name in imports(ast.parse(file.read_text())) if name.startswith("test_")]


def test_all_lists_what_is_public():
    public = {name for name, value in vars(ag).items() if name[0] != "_" and not isinstance(value, ModuleType)}
    assert public == {name for name in ag.__all__ if not isinstance(getattr(ag, name), ModuleType)}
    assert "random" in ag.__all__


@pytest.mark.parametrize("namespace", NAMESPACES, ids=lambda namespace: namespace.__name__)
def test_all_is_sorted_and_exists(namespace):
    assert namespace.__all__ == sorted(namespace.__all__)
    found = {}
    exec(f"from {namespace.__name__} import *", found)
    assert set(namespace.__all__) <= set(found)


PUBLIC = {
    f"{namespace.__name__}.{name}": getattr(namespace, name)
    for namespace in NAMESPACES
    for name in namespace.__all__
    if not isinstance(getattr(namespace, name), ModuleType)
}


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_function_and_class_has_an_example(name):
    doc = inspect.getdoc(PUBLIC[name])
    assert re.search(r"^Examples\n--------\n(.|\n)*^>>> ", doc, re.MULTILINE), doc


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_function_names_all_its_parameters_types(name):
    if inspect.isfunction(PUBLIC[name]):
        signature = inspect.signature(PUBLIC[name])
        assert signature.return_annotation is not inspect.Signature.empty
        assert all(p.annotation is not inspect.Parameter.empty for p in signature.parameters.values())


VJPS = {name: getattr(ag, f"{name}_vjp") for name in ag.__all__ if f"{name}_vjp" in ag.__all__}


def test_vjp_knows_every_operation_that_has_one():
    assert len(VJPS) >= 10
    assert {op.__name__: backward for op, backward in ops.VJPS.items()} == VJPS
    assert sorted(VJPS) == sorted(name.removesuffix("_vjp") for name in ag.__all__ if name.endswith("_vjp"))


@pytest.mark.parametrize("name", VJPS)
def test_a_vjp_takes_what_its_operation_takes(name):
    forward, backward = (inspect.signature(f).parameters for f in (getattr(ag, name), VJPS[name]))
    for parameter in forward.values():
        if parameter.name != "out":
            assert backward[parameter.name].replace(annotation=None) == parameter.replace(annotation=None)
    assert set(backward) - set(forward) <= {"cotangent", "out"}
    assert "cotangent" in backward


def test_each_formula_is_followed_by_its_derivative():
    names = [node.name for node in MODULES["agauss.maths.formulas"].body if isinstance(node, ast.FunctionDef)]
    derivatives = [name for name in names if name.endswith("_vjp") and name.removesuffix("_vjp") in names]
    assert len(derivatives) >= 12
    for name in derivatives:
        assert names[names.index(name) - 1] == name.removesuffix("_vjp")
