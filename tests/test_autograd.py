"""agauss.integrations.autograd: HIPS autograd's own checks of both orders, and the loops' values and gradients."""

import subprocess
import sys

import autograd
import autograd.builtins
import autograd.numpy as anp
import numpy as np
import pytest
from autograd.test_util import check_grads
from cases import LINEAR_METHODS, METHODS, RICH, arrays, as_tuple
from scipy.stats import norm

import agauss as ag
from agauss.integrations import autograd as aga

D = aga.DiagonalGaussianDistribution


def inputs():
    """x, mean, logvar, a column and a row that broadcast, and parameters."""
    rng = np.random.default_rng(0)
    return [rng.normal(size=shape) for shape in ((3, 4, 2), (3, 4, 2), (3, 4, 2), (4, 1), (3, 1, 2), (3, 8, 2))]


# Linear in every argument that they depend on: of their second derivatives autograd warns.
LINEAR = {name: RICH[name] for name in ("mode", "clamp", "entropy")} | LINEAR_METHODS
CALLS = {name: call for name, call in {**RICH, **METHODS}.items() if name not in LINEAR}


@pytest.mark.in_turn(2)
@pytest.mark.parametrize("name", [*CALLS, *LINEAR])
def test_values_are_those_of_agauss(name):
    call, given = {**CALLS, **LINEAR}[name], arrays("float64")
    for got, want in zip(as_tuple(call(aga, given)), as_tuple(call(ag, given)), strict=True):
        np.testing.assert_array_equal(got, want, strict=True)


def check(call, order):
    """By all arguments at once: check_grads itself looks at the first alone, and a tuple must be autograd's own."""
    made = arrays("float64")

    def function(given):
        found = call(aga, {name: given[k] for k, name in enumerate(call.used)})
        return autograd.builtins.tuple(found) if isinstance(found, tuple) else found

    check_grads(function, modes=["rev"], order=order)(tuple(made[key] for key in call.used))


@pytest.mark.in_turn(3)
@pytest.mark.parametrize("name", CALLS)
@pytest.mark.filterwarnings("ignore:Output seems independent of input")  # of one argument or another
def test_gradients_and_theirs_are_the_slopes(name):
    check(CALLS[name], order=2)


@pytest.mark.parametrize("name", LINEAR)
@pytest.mark.filterwarnings("ignore:Output seems independent of input")
def test_gradients_of_what_is_linear_are_the_slopes(name):
    check(LINEAR[name], order=1)


def test_numbers_can_be_differentiated_again_and_again():
    def kl(logvar):
        return aga.kl(0.3, logvar)

    by_order = [kl]
    for _ in range(4):
        by_order.append(autograd.grad(by_order[-1]))
    # kl is (0.09 + exp(t) - 1 - t) / 2, whose third and fourth derivatives are exp(t) / 2.
    want = [(0.09 + np.exp(0.5) - 1.5) / 2, np.expm1(0.5) / 2, *[np.exp(0.5) / 2] * 3]
    np.testing.assert_allclose([f(0.5) for f in by_order], want, rtol=1e-14)


def test_a_hessian_is_that_of_the_plain_form():
    x, mean, logvar, *_ = (a.ravel()[:3] for a in inputs())

    def ours(both):
        return aga.nll(x, both[0], both[1])

    def theirs(both):
        return -anp.sum(-0.5 * (np.log(2 * np.pi) + both[1] + (x - both[0]) ** 2 * anp.exp(-both[1])))

    both = np.stack([mean, logvar])
    np.testing.assert_allclose(ours(both), -norm.logpdf(x, mean, np.exp(logvar / 2)).sum(), rtol=1e-13)
    np.testing.assert_allclose(autograd.hessian(ours)(both), autograd.hessian(theirs)(both), rtol=1e-12, atol=1e-12)


def test_a_straight_through_bound_passes_the_gradient_on():
    p = 3 * inputs()[-1]
    got = autograd.grad(lambda p: anp.sum(D(p, bounds=(-1, 1, "straight-through")).kl()))(p)
    want = ag.kl_vjp(p[:, :4], p[:, 4:], cotangent=1.0, bounds=(-1, 1, "straight-through"))
    np.testing.assert_array_equal(got, np.concatenate(want, axis=1))
    assert (got[:, 4:] != 0).all()


def test_the_noise_of_both_ways_is_the_same_where_it_is_fresh():
    zeros = np.zeros(4)
    pullback, z = autograd.make_vjp(lambda v: aga.sample(0.0, v, rng=None))(zeros)
    np.testing.assert_array_equal(pullback(np.ones(4)), z / 2)


def test_a_training_step_descends():
    p, x = inputs()[-1], inputs()[0]

    def loss(p, key):
        z, kl = aga.sample_and_kl(p, rng=key)
        return anp.mean(aga.nll(x, z, 0.0, axis=(1, 2)) + kl)

    before = loss(p, 0)
    for step in range(20):
        p = p - 0.5 * autograd.grad(loss)(p, step)
    assert loss(p, 0) < before


def test_bad_input_is_told_what_it_should_have_been():
    a = np.ones((2, 4))
    with pytest.raises(TypeError, match="out must be None, for autograd"):
        aga.kl(a, a, axis=(), out=a)
    with pytest.raises(ValueError, match="logvar must broadcast against mean"):
        autograd.grad(lambda m: aga.kl(m, np.ones(3)))(a)
    with pytest.raises(TypeError, match="logvar must be an array or a real number; got str"):
        aga.kl(a, "0")
    with pytest.raises(TypeError, match="of the same library as mean"):
        # Not by the integration: boxes go to the array-API form, which takes no other arrays beside them.
        autograd.grad(lambda m: ag.kl(m, a))(a)


def test_without_autograd_the_extra_is_named():
    code = "import sys; sys.modules['autograd'] = None; import agauss; import agauss.integrations.autograd"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert 'agauss.integrations.autograd needs autograd: pip install "agauss[autograd]"' in found.stderr
