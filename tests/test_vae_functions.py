"""The functions of agauss.vae and their gradients on every library, against plain forms and PyTorch's autograd."""

import jax
import numpy as np
import pytest
import torch
from oracles import EVERY_LIBRARY, array, dtype_of, library_of, wide
from quick import slow_unless
from vae_cases import CASES, expected, flat, inputs

import agauss as ag
from agauss import vae

pytestmark = pytest.mark.usefixtures("one_thread_of_torch")
cases = pytest.mark.parametrize("name", CASES)
libraries = pytest.mark.parametrize("library", EVERY_LIBRARY)
# In units of the dtype's epsilon and of the larger of the value and 1. A dozen roundings; slerp divides by a sine.
TOLERANCE = 100


def assert_close(got, want, dtype):
    limit = TOLERANCE * {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}[dtype]
    assert tuple(got.shape) == want.shape
    np.testing.assert_allclose(wide(got), want, rtol=limit, atol=limit)


def dtypes(library):
    return ("float32",) if library == "jax" else ("float32", "float64")  # which JAX has only where it is told so


@pytest.mark.in_turn(5, always=("numpy",))
@cases
@libraries
def test_values_are_those_of_the_plain_form(name, library):
    case = CASES[name]
    for dtype in dtypes(library):
        arrays = [a.astype(dtype) for a in inputs(case)]
        want, _, _ = expected(case, arrays)
        got = flat(case.function(*[array(library, a) for a in arrays]))
        assert len(got) == len(want)
        for g, w in zip(got, want, strict=True):
            assert library_of(g) == library
            assert dtype_of(g) == dtype
            assert_close(g, w, dtype)


@pytest.mark.in_turn(5, always=("numpy",))
@cases
@libraries
def test_gradients_are_those_of_autograd(name, library):
    case = CASES[name]
    for dtype in dtypes(library):
        arrays = [a.astype(dtype) for a in inputs(case)]
        _, cotangents, want = expected(case, arrays)
        given = [array(library, a) for a in arrays]
        got = flat(case.vjp(*given, [array(library, np.asarray(c, dtype)) for c in cotangents]))
        assert len(got) == len(want)
        for g, w, a in zip(got, want, given, strict=True):
            assert library_of(g) == library
            assert dtype_of(g) == dtype
            assert tuple(g.shape) == tuple(a.shape)
            assert_close(g, w, dtype)


@pytest.mark.in_turn(5)
@cases
def test_jit_changes_nothing(name):
    case = CASES[name]
    arrays = [array("jax", a, "float32") for a in inputs(case)]
    _, cotangents, _ = expected(case, arrays)
    cotangents = [array("jax", c, "float32") for c in cotangents]
    plain = flat(case.function(*arrays)), flat(case.vjp(*arrays, cotangents))
    traced = (
        jax.jit(lambda *a: flat(case.function(*a)))(*arrays),
        jax.jit(lambda *a: flat(case.vjp(*a)))(*arrays, cotangents),
    )
    for got, want in zip(flat(traced), flat(plain), strict=True):
        assert_close(got, wide(want), "float32")


@cases
@pytest.mark.parametrize(("library", "dtype"), [("numpy", "float16"), ("numpy", "bfloat16"), ("torch", "bfloat16")])
def test_half_types_are_computed_in_float32(name, library, dtype):
    case = CASES[name]
    arrays = [array("numpy", a, dtype) for a in inputs(case)]
    want, cotangents, gradients = expected(case, arrays)
    given = [array(library, a) for a in arrays]
    for got, w in zip(flat(case.function(*given)), want, strict=True):
        assert dtype_of(got) == (dtype if case.own else "float32")
        # A single rounding to the half type, of values up to 16; the inputs and numbers such as 0.3 are rounded too.
        np.testing.assert_allclose(wide(got), w, rtol=2.0**-6 if dtype == "bfloat16" else 2.0**-9, atol=0.02)
    cotangents = [array(library, c, dtype if case.own else "float32") for c in cotangents]
    for got, w in zip(flat(case.vjp(*given, cotangents)), gradients, strict=True):
        assert dtype_of(got) == dtype
        np.testing.assert_allclose(wide(got), w, rtol=0.02, atol=0.05)


@cases
def test_a_cotangent_may_be_a_number(name):
    case = CASES[name]
    arrays = inputs(case)
    values, _, _ = expected(case, arrays)
    ones = [np.ones(v.shape) for v in values[: case.trained]]
    for got, want in zip(flat(case.vjp(*arrays, [1.0] * case.trained)), flat(case.vjp(*arrays, ones)), strict=True):
        np.testing.assert_array_equal(got, want)


WHOLE = [name for name in CASES if not name.startswith(("interpolate", "slerp"))]  # these look at t


@pytest.mark.filterwarnings("ignore:.*lru_cache.*:UserWarning")  # PyTorch sees through one, and says so
@pytest.mark.parametrize("name", slow_unless(lambda name: name in ("elbo", "free_bits of two groups", "iwae"), WHOLE))
def test_torch_compile_makes_one_graph_of_an_objective_and_its_gradients(name):
    torch._dynamo.reset()
    case = CASES[name]
    arrays = [torch.tensor(a) for a in inputs(case)]
    _, cotangents, _ = expected(case, arrays)
    cotangents = [torch.tensor(c) for c in cotangents]
    for function, given in ((case.function, arrays), (case.vjp, [*arrays, cotangents])):
        compiled = torch.compile(
            lambda *given, function=function: flat(function(*given)), fullgraph=True, backend="eager"
        )
        for got, want in zip(compiled(*given), flat(function(*given)), strict=True):
            torch.testing.assert_close(got, want, rtol=0, atol=0)


def test_plain_numbers_will_do():
    assert float(vae.elbo(-90.0, 10.0, beta=2.0)) == -110.0
    mean, logvar = vae.product_of_experts([1.0, 3.0], [0.0, 0.0], prior=False)
    assert (float(mean), float(np.exp(logvar))) == (2.0, 0.5)


def test_a_learned_or_traced_beta_broadcasts():
    fit, kl, beta = np.zeros((2, 3)), np.ones(3), np.array([[1.0], [4.0]])
    np.testing.assert_array_equal(vae.elbo(fit, kl, beta=beta), [[-1.0] * 3, [-4.0] * 3])
    d_fit, d_kl = vae.elbo_vjp(fit, kl, beta=beta, cotangent=1.0)
    np.testing.assert_array_equal(d_fit, np.ones((2, 3)))
    np.testing.assert_array_equal(d_kl, [-5.0] * 3)
    traced = jax.jit(lambda beta: vae.elbo(array("jax", fit, "float32"), array("jax", kl, "float32"), beta=beta))
    np.testing.assert_array_equal(traced(3.0), np.full((2, 3), -3.0))


def test_the_module_is_an_attribute_that_is_imported_when_it_is_first_used():
    import subprocess
    import sys

    code = "import sys, agauss; assert 'agauss.vae' not in sys.modules; agauss.vae.elbo; assert 'vae' in dir(agauss)"
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = ag.nothing
