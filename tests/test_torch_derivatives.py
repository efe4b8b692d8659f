"""agauss.integrations.torch: derivatives of both orders and modes, by autograd, torch.func and torch.compile, against
finite differences and PyTorch's own of the plain form in float64."""

import math

import pytest
import torch
from cases import as_tuple
from torch.autograd import forward_ad
from torch_calls import DERIVED, Q, function_and_tensors, normal

import agauss as ag
from agauss.integrations import torch as agt

# PyTorch's own, of which it warns itself.
pytestmark = [
    pytest.mark.usefixtures("one_thread_of_torch"),
    pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning"),
]
KEY = 7
CLOSE = {"rtol": 1e-12, "atol": 1e-12}  # float64, sums of a few terms
ST = (-1.0, 1.0, "straight-through")


def plain_kl(u, v, u2=0.0, v2=0.0):
    u2, v2 = (torch.as_tensor(a, dtype=u.dtype) for a in (u2, v2))
    return 0.5 * ((u - u2) ** 2 / torch.exp(v2) + torch.exp(v - v2) - 1 - (v - v2)).sum(-1)


def plain_nll(x, u, v):
    return 0.5 * (math.log(2 * math.pi) + v + (x - u) ** 2 / torch.exp(v)).sum(-1)


def plain_sample(u, v):
    shape = torch.broadcast_shapes(u.shape, v.shape)
    return u + torch.exp(v / 2) * torch.from_numpy(ag.random.normal(shape, rng=KEY, dtype="float64"))


# ours and the plain form, of x, mean and logvar, each of shape (2, 3); arguments repeat, broadcast and depend on others
PAIRS = {
    "kl": (lambda x, u, v: agt.kl(u, v, axis=-1), lambda x, u, v: plain_kl(u, v)),
    "kl of one tensor": (lambda x, u, v: agt.kl(u, u, axis=-1), lambda x, u, v: plain_kl(u, u)),
    "kl from itself": (lambda x, u, v: agt.kl(u, v, v, u, axis=-1), lambda x, u, v: plain_kl(u, v, v, u)),
    "kl of views": (
        lambda x, u, v: agt.kl(u[:, :1], u[:1], x, 0.5, axis=-1),
        lambda x, u, v: plain_kl(u[:, :1].expand(2, 3), u[:1].expand(2, 3), x, 0.5),
    ),
    "nll of its own sample": (
        lambda x, u, v: agt.nll(agt.sample(u, v, rng=KEY), u, v, axis=-1),
        lambda x, u, v: plain_nll(plain_sample(u, v), u, v),
    ),
    "log_prob of what depends on x": (
        lambda x, u, v: agt.log_prob(x * u, u, x * v, axis=-1),
        lambda x, u, v: -plain_nll(x * u, u, x * v),
    ),
    "parameters in one": (
        lambda x, u, v: Q(torch.cat([u, v], 1)).nll(x * u),
        lambda x, u, v: plain_nll(x * u, u, v),
    ),
    "sample_and_kl": (
        lambda x, u, v: sum(t.sum() for t in agt.sample_and_kl(torch.cat([u, v], 1), rng=KEY)) * x.sum(),
        lambda x, u, v: (plain_sample(u, v).sum() + plain_kl(u, v).sum()) * x.sum(),
    ),
    "soft bounds": (
        lambda x, u, v: agt.kl(u, v, axis=-1, bounds=(-4, 4, "soft")),
        lambda x, u, v: plain_kl(u, soft(v, -4.0, 4.0)),
    ),
}
pairs = pytest.mark.parametrize(("ours", "theirs"), PAIRS.values(), ids=PAIRS)
SOME = ("kl of one tensor", "nll of its own sample", "soft bounds")  # for what takes long
some_pairs = pytest.mark.parametrize(("ours", "theirs"), [PAIRS[name] for name in SOME], ids=SOME)


def soft(v, low, high):
    y = high - torch.nn.functional.softplus(high - v)
    return low + torch.nn.functional.softplus(y - low)


def three(grad=False):
    return [normal(2, 3, seed=k, grad=grad) for k in range(3)]


def assert_same(found, want):
    torch.testing.assert_close(found, want, **CLOSE)


# Autograd


@pairs
def test_first_and_second_gradients_are_those_of_the_plain_form(ours, theirs):
    weights = three()

    def both(call):
        tensors = three(grad=True)
        value = call(*tensors).sum()
        first = torch.autograd.grad(value, tensors, create_graph=True, allow_unused=True)
        penalty = sum((g * w).sum() + (g**2).sum() for g, w in zip(first, weights, strict=True) if g is not None)
        second = torch.autograd.grad(penalty, tensors, create_graph=True, allow_unused=True)
        third = torch.autograd.grad(sum((g**2).sum() for g in second if g is not None), tensors, allow_unused=True)
        return [[torch.zeros(2, 3) if g is None else g.detach() for g in order] for order in (first, second, third)]

    found, want = both(ours), both(theirs)
    for got, exact in zip(found, want, strict=True):
        # Each order multiplies terms, and their roundings.
        torch.testing.assert_close([g.double() for g in got], [g.double() for g in exact], rtol=1e-9, atol=1e-9)


@some_pairs
def test_every_mode_is_the_slope(ours, theirs):
    tensors = three(grad=True)
    every = {"check_forward_ad": True, "check_batched_grad": True, "check_batched_forward_grad": True}
    assert torch.autograd.gradcheck(ours, tensors, **every)
    assert torch.autograd.gradgradcheck(ours, tensors, check_fwd_over_rev=True, check_batched_grad=True)


@pytest.mark.in_turn(2)
@pytest.mark.parametrize("name", DERIVED)
def test_batched_gradients_are_a_loop(name):
    function, tensors = function_and_tensors(DERIVED[name])
    values = as_tuple(function(*tensors))
    weights = [normal(3, *v.shape, seed=k) for k, v in enumerate(values)]
    options = {"allow_unused": True, "retain_graph": True}
    batched = torch.autograd.grad(values, tensors, weights, is_grads_batched=True, **options)
    for k in range(3):
        each = torch.autograd.grad(values, tensors, [w[k] for w in weights], **options)
        assert_same([g[k] for g in batched if g is not None], [g for g in each if g is not None])


@pytest.mark.in_turn(2)
@pytest.mark.parametrize("name", DERIVED)
def test_tangents_are_what_the_gradients_say(name):
    """<w, J t> = <J' w, t>, of every function, with and without torch.func."""
    function, tensors = function_and_tensors(DERIVED[name])
    tangents = [normal(*t.shape, seed=10 + k) for k, t in enumerate(tensors)]
    values = as_tuple(function(*tensors))
    weights = [normal(*v.shape, seed=20 + k) for k, v in enumerate(values)]
    pulled = torch.autograd.grad(values, tensors, weights, allow_unused=True)
    want = sum((g * t).sum() for g, t in zip(pulled, tangents, strict=True) if g is not None)
    plain = [t.detach() for t in tensors]
    with forward_ad.dual_level():
        duals = [forward_ad.make_dual(a, t) for a, t in zip(plain, tangents, strict=True)]
        found = [forward_ad.unpack_dual(v) for v in as_tuple(function(*duals))]
    assert_same(sum((w * f.tangent).sum() for w, f in zip(weights, found, strict=True)), want)
    assert all(torch.equal(f.primal, v) for f, v in zip(found, values, strict=True))
    _, pushed = torch.func.jvp(lambda *a: as_tuple(function(*a)), tuple(plain), tuple(tangents))
    assert_same(sum((w * p).sum() for w, p in zip(weights, pushed, strict=True)), want)


def test_a_tensor_without_a_tangent_counts_as_a_constant():
    _, u, v = three()
    with forward_ad.dual_level():
        found = forward_ad.unpack_dual(agt.kl(u, forward_ad.make_dual(v, torch.ones_like(v)), axis=-1)).tangent
        assert forward_ad.unpack_dual(agt.kl(u, v)).tangent is None
        assert forward_ad.unpack_dual(agt.saturated(forward_ad.make_dual(v, v))).tangent is None
    assert_same(found, (0.5 * (v.exp() - 1)).sum(-1))


def test_half_precision_has_tangents_of_its_own():
    _, u, v = (t.to(torch.float16) for t in three())
    with forward_ad.dual_level():
        z = forward_ad.unpack_dual(agt.sample(forward_ad.make_dual(u, u), v, rng=KEY))
        kl = forward_ad.unpack_dual(agt.kl(forward_ad.make_dual(u, u), v))
    assert torch.equal(z.tangent, u)
    assert kl.tangent.dtype == torch.float32
    torch.testing.assert_close(kl.tangent, (u.float() ** 2).sum())


@pytest.mark.parametrize(("strategy", "vectorize"), [("forward-mode", True), ("reverse-mode", True)])
def test_jacobians_are_vectorized(strategy, vectorize):
    _, u, v = three()
    found = torch.autograd.functional.jacobian(
        lambda u, v: agt.kl(u, v, axis=-1), (u, v), strategy=strategy, vectorize=vectorize
    )
    assert_same(found, torch.autograd.functional.jacobian(plain_kl, (u, v)))


# torch.func


@pytest.mark.filterwarnings("ignore:Attempted to insert a get_attr Node")  # by linearize, of any function
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [pytest.param(*PAIRS[name], marks=pytest.mark.nightly if name != SOME[0] else (), id=name) for name in SOME],
)
def test_hessians_in_every_mode_are_those_of_the_plain_form(ours, theirs):
    tensors = three()
    want = torch.func.hessian(lambda *a: theirs(*a).sum(), argnums=(1, 2))(*tensors)
    for outer in (torch.func.jacfwd, torch.func.jacrev):
        for inner in (torch.func.jacfwd, torch.func.jacrev):
            found = outer(inner(lambda *a: ours(*a).sum(), argnums=(1, 2)), argnums=(1, 2))(*tensors)
            torch.testing.assert_close(found, want, rtol=1e-11, atol=1e-11)
    value, push = torch.func.linearize(ours, *tensors)
    assert_same((value, push(*tensors)), torch.func.jvp(theirs, tuple(tensors), tuple(tensors)))


def test_per_sample_gradients_are_a_loop():
    p, x = normal(3, 8, 5), normal(3, 4, 5, seed=1)

    def loss(p, x, index):
        q = Q(p[None], bounds=ST)
        return (q.sample(KEY, index=index[None]) ** 2).sum() + q.nll(x[None]).sum() + q.kl().sum()

    ids = torch.tensor([5, 2**40, 0])
    found = torch.func.vmap(torch.func.grad(loss))(p, x, ids)
    assert_same(found, torch.stack([torch.func.grad(loss)(p[k], x[k], ids[k]) for k in range(3)]))
    leaf = p.clone().requires_grad_()
    sum(loss(leaf[k], x[k], ids[k]) for k in range(3)).backward()
    assert_same(found, leaf.grad)


first_derivatives = pytest.mark.parametrize(
    "derivative",
    [
        lambda f, a: torch.func.grad(f)(a),
        lambda f, a: torch.func.vjp(f, a)[1](torch.ones(()))[0],
        lambda f, a: torch.func.jacrev(f)(a),
        lambda f, a: torch.func.jacfwd(f)(a),
        lambda f, a: torch.func.vmap(torch.func.grad(f))(a[None])[0],
        lambda f, a: torch.autograd.functional.jacobian(f, a, strategy="forward-mode", vectorize=True),
        lambda f, a: torch.compile(torch.func.grad(f), fullgraph=True, backend="aot_eager")(a),
        lambda f, a: torch.compile(torch.func.jacfwd(f), fullgraph=True, backend="aot_eager")(a),
    ],
    ids=["grad", "vjp", "jacrev", "jacfwd", "vmap", "forward", "compiled grad", "compiled jacfwd"],
)


@first_derivatives
def test_a_straight_through_bound_passes_every_first_derivative_on(derivative):
    torch._dynamo.reset()
    logvar = torch.tensor([-3.0, 0.0, 3.0])
    (want,) = ag.var_vjp(logvar.numpy(), cotangent=1.0, bounds=ST)
    found = derivative(lambda v: agt.var(v, bounds=ST).sum(), logvar)
    torch.testing.assert_close(found, torch.from_numpy(want))  # exp may be PyTorch's, an ulp off


@first_derivatives
def test_first_derivatives_at_the_mean_are_finite_however_small_the_variance(derivative):
    """exp(100) is inf in float32, and multiplies 0."""
    torch._dynamo.reset()
    x = torch.tensor([1.0, 2.0])
    assert torch.equal(derivative(lambda v: agt.nll(x, x, v), torch.full((2,), -100.0)), torch.full((2,), 0.5))
    assert torch.equal(derivative(lambda m: agt.log_prob(x, m, torch.full((2,), -100.0)), x), torch.zeros(2))


def test_what_has_left_a_transform_is_a_tensor_again():
    kept = []
    a = normal(2, 3)
    torch.func.grad(lambda t: (kept.append(t), t.sum())[1])(a)
    assert torch.equal(agt.kl(kept[0], kept[0]), agt.kl(a, a))
    _, pull = torch.func.vjp(lambda t: agt.kl(t, t), a)
    assert_same(pull(torch.ones((), dtype=a.dtype))[0], a + 0.5 * (a.exp() - 1))


# torch.compile


def dual_tangent(function, a):
    with forward_ad.dual_level():
        return forward_ad.unpack_dual(function(forward_ad.make_dual(a, torch.ones_like(a)))).tangent


@pytest.mark.slow
def test_compiled_functions_keep_tangents_or_say_that_they_cannot():
    torch._dynamo.reset()
    a = normal(2, 3)

    def kl(a):
        return agt.kl(a, a, axis=-1)

    want = (a + 0.5 * (a.exp() - 1)).sum(-1)
    assert_same(dual_tangent(torch.compile(kl, backend="aot_eager"), a), want)
    torch._dynamo.reset()
    with pytest.raises(torch._dynamo.exc.Unsupported, match="disable"):
        dual_tangent(torch.compile(kl, backend="aot_eager", fullgraph=True), a)
    torch._dynamo.reset()
    whole = torch.compile(lambda a, t: torch.func.jvp(kl, (a,), (t,)), backend="inductor", fullgraph=True)
    assert_same(whole(a, torch.ones_like(a)), (kl(a), want))


def test_operators_by_themselves_refuse_tangents():
    a = normal(2, 3)
    with pytest.raises(NotImplementedError, match=r"torch\.ops\.agauss\.var takes no tensors with tangents"):
        dual_tangent(lambda a: torch.ops.agauss.var(a, None, [], [], [], None, None, [], []), a)
