"""Every operation of the table has all that belongs to it; what was forgotten is named, with the file it goes to."""

import inspect
import sys
from pathlib import Path

import pytest
from cases import CASES, DOMAIN, PLAIN
from edges import ROWS

import agauss as ag
from agauss import ops
from agauss.arrays import NUMPY
from agauss.integrations import autograd as aga
from agauss.integrations import jax as agj
from agauss.integrations import torch as agt
from agauss.maths import formulas
from agauss.operations import OPERATIONS, Result

ROOT = Path(__file__).parents[1]
FUNCTION = "a public function in agauss/ops/*.py, and its name in that file's __all__"
PARTS = "noise", "value", "outside"  # formulas that are rows under another name, or random.normal's
public = pytest.mark.parametrize("name", [name for name in OPERATIONS if name != "noise"])


def terms():
    """The formulas that have a derivative: what an operation can be made of."""
    own = {name for name, f in vars(formulas).items() if inspect.isfunction(f)}
    bounds = {f.__name__ for pair in formulas.BOUNDS.values() for f in pair} | set(formulas.BOUNDS)
    return {name for name in own if f"{name}_vjp" in own} - bounds


def test_every_formula_with_a_derivative_has_a_row():
    rows = {op.term.__name__ for op in OPERATIONS.values()}
    assert len(rows) > 10
    assert terms() - rows == set(), "give it a row in agauss/operations.py"


@public
def test_an_operation_has_its_derivative(name):
    """But counts, which have none."""
    op = OPERATIONS[name]
    if Result.COUNT not in op.results.values():
        assert op.vjp is not None, f"write {op.term.__name__}_vjp in agauss/maths/formulas.py"


@public
def test_an_operation_has_its_public_functions(name):
    op = OPERATIONS[name]
    assert op.function in ops.NAMES, f"{op.function} needs {FUNCTION}"
    if op.vjp is not None:
        assert f"{op.function}_vjp" in ops.NAMES, f"{op.function}_vjp needs {FUNCTION}"


@public
def test_the_public_function_takes_what_the_table_says(name):
    op, case = OPERATIONS[name], CASES[name]
    given = inspect.signature(getattr(ag, op.function)).parameters
    if case.arguments != ("parameters",):
        wanted = {"logvar": "bounds", "logvar2": "bounds2"}
        limits = {wanted[a] for a in op.arguments if a in wanted and case.bounded}
        own = [a for a in op.arguments if a in given or a not in ("low", "high")]  # a count's, of its bounds
        assert [a for a in given if a in op.arguments] == own
        assert limits <= set(given)
        assert ("axis" in given) == (op.summed is not None)
    assert set(op.parameters) <= set(given)
    assert ("rng" in given) == op.noisy
    assert ("out" in given) or name in ("normal_kl", "saturated")  # their models' signatures have none


@public
def test_the_integrations_have_it(name):
    for module in (agt, agj, aga):
        assert hasattr(module, OPERATIONS[name].function), f"{module.__name__} derives from the table; it lacks {name}"


@public
def test_the_tests_have_its_plain_form_and_its_arguments_domains(name):
    op, case = OPERATIONS[name], CASES[name]
    if op.vjp is not None:
        assert name in PLAIN, f"write the plain form of {name}: PLAIN in tests/cases.py"
        names = inspect.signature(PLAIN[name]).parameters
        assert len(names) > 1 or "given" in names
    for argument in case.drawn:
        assert argument.rstrip("0123456789") in DOMAIN, f"say what {argument} may be: DOMAIN in tests/cases.py"


@public
def test_the_tests_have_its_edges(name):
    """But where they are another row's, or what comes in goes out."""
    if name not in ("clamp", "mode", "normal_kl", "sample_and_kl", "saturated"):
        assert name in {row.operation for row in ROWS}, (
            f"say what {name} is at infinite and missing arguments: ROWS in tests/edges.py"
        )


@public
def test_it_is_benchmarked_with_inputs_that_there_are(name):
    """The smallest of them, once: the work itself derives from the table."""
    folder = str(ROOT / "benchmarks")
    sys.path.insert(0, folder)
    try:
        from benchmarks import common
    finally:
        sys.path.remove(folder)
    title = common.TITLES.get(name, name.replace("_", " "))
    works = [title, f"{title} vjp"] if OPERATIONS[name].vjp is not None else [title]
    for work in works:
        try:
            with common.on_reference(NUMPY):  # which compiles nothing
                common.OURS[work](common.inputs("2x4x3", "float32"))
        except AttributeError as error:
            pytest.fail(f"{error}: an argument of {name} is to be added to Inputs in benchmarks/benchmarks/common.py")


def test_the_tests_know_of_no_other_operations():
    assert set(PLAIN) <= set(OPERATIONS), "a plain form in tests/cases.py has no row in agauss/operations.py"
