"""Autodiff through the array-API form, which frameworks may use instead of the *_vjp; and the form at the edges."""

import jax
import numpy as np
import pytest
import torch
from array_libraries import LIBRARIES_AND_DTYPES, SUMMED_TOLERANCE, assert_close, given, host, the_form, to
from cases import KEY, RICH, as_tuple
from quick import nightly_unless

import agauss as ag

pytestmark = pytest.mark.usefixtures("one_thread_of_torch")


def by_torch(op, primals, options, cotangent):
    leaves = [p.detach().clone().requires_grad_() for p in primals]
    values = as_tuple(op(*leaves, **options))
    return torch.autograd.grad(values, leaves, as_tuple(cotangent), allow_unused=True, materialize_grads=True)


def by_jax(op, primals, options, cotangent):
    return jax.vjp(lambda *p: op(*p, **options), *primals)[1](cotangent)


def cotangent_of(value, library, seed=1):
    values = [
        to(library, np.random.default_rng(seed).normal(size=v.shape).astype(host(v).dtype)) for v in as_tuple(value)
    ]
    return tuple(values) if isinstance(value, tuple) else values[0]


def parts(name, a):
    """A function, its arrays, what comes after them, and its options."""
    call = RICH[name]
    arrays = [a[key] for key in call.names if isinstance(key, str)]
    return getattr(ag, call.function), arrays, call.names[len(arrays) :], call.options


@pytest.mark.in_turn(4)
@pytest.mark.parametrize("name", RICH)
@pytest.mark.parametrize(("library", "dtype"), [("torch", "float64"), ("torch", "float32"), ("jax", "float32")])
def test_autodiff_of_the_form_agrees_with_the_vjps(library, dtype, name):
    op, primals, numbers, options = parts(name, given(library, dtype))
    value, pullback = ag.vjp(op, *primals, *numbers, **options)
    cotangent = cotangent_of(value, library)
    gradients = (by_torch if library == "torch" else by_jax)(
        lambda *given, **options: op(*given, *numbers, **options), primals, options, cotangent
    )
    for got, want, primal in zip(gradients, pullback(cotangent)[: len(primals)], primals, strict=True):
        assert got.shape == want.shape == primal.shape
        # Each a few ulp off; or a sum of up to 30 products of either sign, each as large as 20.
        unit = float(np.finfo(dtype).eps)
        np.testing.assert_allclose(host(got), host(want), rtol=8 * unit, atol=SUMMED_TOLERANCE * unit)


@pytest.mark.parametrize("name", RICH)
def test_torch_gradients_are_made_of_leaves_that_require_them(name):
    """The *_vjp take tensors that require a gradient as they are."""
    op, plain, numbers, options = parts(name, given("torch", "float64"))
    leaves = [p.clone().requires_grad_() for p in plain]
    value, pullback = ag.vjp(op, *leaves, *numbers, **options)
    cotangent = cotangent_of(value, "torch")
    want = ag.vjp(op, *plain, *numbers, **options)[1](cotangent)
    for got, exact in zip(pullback(cotangent), want, strict=True):
        assert torch.equal(got, exact)


# At the edges


def edges(dtype):
    """Means and log-variances at and beyond everything that a formula switches at, in every combination."""
    logvars = [0.0, -0.0, 1e-30, 1e-8, -1e-8, 1.0, -1.0, 1.0001, 20.0, -30.0, 79.0, 80.0, 81.0, 87.0, 88.0]
    logvars += [89.0, 90.0, -88.0, -90.0, -104.0, -200.0]
    if dtype == "float64":
        logvars += [709.0, 710.0, 800.0, -745.0, -800.0]
    return np.array(logvars, dtype)


EDGE_CALLS = {
    "kl": (ag.kl, 1, {"axis": ()}),
    "kl hard": (ag.kl, 1, {"axis": (), "bounds": "hard"}),
    "kl soft": (ag.kl, 1, {"axis": (), "bounds": "soft"}),
    "kl of two": (ag.kl, 2, {"axis": ()}),
    "nll": (ag.nll, 0, {"axis": ()}),
    "nll soft": (ag.nll, 0, {"axis": (), "bounds": "soft"}),
    "entropy": (ag.entropy, None, {"axis": ()}),
    "std": (ag.std, None, {}),
    "var": (ag.var, None, {}),
    "sample": (ag.sample, 1, {"rng": KEY}),
}


def edge_primals(kind, dtype):
    """Of kind 0 x, mean, logvar; 1 mean, logvar; 2 mean, logvar, mean2, logvar2; None logvar."""
    logvar = edges(dtype)
    mean = np.array([0.0, 1.0, -2.5], dtype)
    if kind is None:
        return [logvar]
    grids = {0: (mean, mean, logvar), 1: (mean, logvar), 2: (mean, logvar, mean, logvar)}[kind]
    return [np.ascontiguousarray(g) for g in np.meshgrid(*grids, indexing="ij")]


@pytest.mark.in_turn(4)
@pytest.mark.parametrize(
    ("library", "dtype", "name"),
    nightly_unless(
        lambda library, dtype, name: dtype == "float32" or name == "std",
        [(*pair, name) for pair in LIBRARIES_AND_DTYPES for name in EDGE_CALLS],
    ),
)
def test_values_and_gradients_at_the_edges_are_those_of_the_loops(library, dtype, name):
    """Without a warning, and infinite in the same places."""
    op, kind, options = EDGE_CALLS[name]
    plain = edge_primals(kind, dtype)
    ones = np.ones(plain[0].shape, dtype)
    want, want_pullback = ag.vjp(op, *plain, **options)
    with the_form(library):
        value, pullback = ag.vjp(op, *(to(library, p) for p in plain), **options)
        found = [value, *pullback(to(library, ones))]
    for got, exact in zip(found, [want, *want_pullback(ones)], strict=True):
        finite = np.isfinite(exact)
        np.testing.assert_array_equal(host(got)[~finite], exact[~finite])
        assert_close(host(got)[finite], exact[finite])


@pytest.mark.parametrize(
    ("library", "dtype", "name"),
    nightly_unless(
        lambda library, dtype, name: dtype == "float32" or name == "std",
        [
            (*pair, name)
            for pair in (("torch", "float32"), ("torch", "float64"), ("jax", "float32"))
            for name in EDGE_CALLS
        ],
    ),
)
def test_autodiff_at_the_edges_is_that_of_the_vjps_while_value_and_precision_are_finite(library, dtype, name):
    """And never NaN there; the chain rule through an infinity is 0 * inf, whatever the formula."""
    op, kind, options = EDGE_CALLS[name]
    plain = edge_primals(kind, dtype)
    primals = [to(library, p) for p in plain]
    ones = to(library, np.ones(plain[0].shape, dtype))
    gradients = (by_torch if library == "torch" else by_jax)(op, primals, options, ones)
    value, pullback = ag.vjp(op, *plain, **options)
    with np.errstate(over="ignore"):
        held = np.isfinite(value) & np.isfinite(sum(np.exp(-p) for p in plain))
    for got, want in zip(gradients, pullback(np.ones(plain[0].shape, dtype)), strict=True):
        got = host(got)
        defined = held & ~np.isnan(want)
        assert not np.isnan(got[defined]).any()
        # Autodiff takes logvar - logvar2 as exact, so it lacks the rounding that the vjp carries: half an eps at 1.
        unit = np.finfo(dtype).eps
        np.testing.assert_allclose(got[defined], want[defined], rtol=1e-5 if dtype == "float32" else 1e-13, atol=unit)
