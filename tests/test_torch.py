"""agauss.integrations.torch: the loops' bits on tensors, gradients of both orders, and all that PyTorch does with an
operator: autograd, compile, autocast, torch.func."""

import inspect
import math
import subprocess
import sys
import warnings

import ml_dtypes
import numpy as np
import pytest
import torch
from cases import CALLS, KEY, WITH_ARRAYS, Method, as_tuple
from oracles import host
from quick import slow_unless
from torch_calls import DERIVED, Q, function_and_tensors, inputs, normal, tensors_of

import agauss as ag
from agauss import ops
from agauss.integrations import torch as agt
from agauss.integrations import torch_memory as memory
from agauss.integrations.torch_operators import OPERATORS, Operator
from agauss.operations import STD, Result
from agauss.random import Key

# PyTorch's own, of which it warns itself.
pytestmark = [
    pytest.mark.usefixtures("one_thread_of_torch"),
    pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning"),
]


COUNTS = {
    "q.saturated": Method(("parameters",), lambda d, p: d(p, bounds=(-1, 1)).saturated()),
    "q.kl of a point": Method(("parameters",), lambda d, p: d(p, deterministic=True).kl()),
    "q.draws of a point": Method(("parameters",), lambda d, p: d(p, deterministic=True).sample(sample_shape=2)),
    "q.nll of a point": Method(("parameters", "x"), lambda d, p, x: d(p, deterministic=True).nll(x)),
    "q.sample_and_kl of a point": Method(("parameters",), lambda d, p: d(p, deterministic=True).sample_and_kl()),
}
FORWARD = {name: CALLS[name] for name in WITH_ARRAYS if not CALLS[name].cotangents} | DERIVED | COUNTS


# Values


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", FORWARD)
def test_tensors_have_the_bits_of_the_numpy_arrays(name, dtype):
    call = FORWARD[name]
    tensors = tensors_of(call, dtype)
    expected = as_tuple(call(ag, {name: host(t) for name, t in tensors.items()}))
    for got, want in zip(as_tuple(call(agt, tensors)), expected, strict=True):
        assert isinstance(got, torch.Tensor)
        assert host(got).dtype == want.dtype
        np.testing.assert_array_equal(host(got), want, strict=True)


def test_tensors_are_read_where_they_lie():
    whole = normal(6, 8, 10, dtype=torch.float32)
    for tensor in (whole, whole[:, ::2], whole.transpose(0, 2), whole[2:3].expand(6, 8, 10), whole.to(torch.bfloat16)):
        array = memory.array_of(tensor)
        assert array.ctypes.data == tensor.data_ptr()
        assert [s // array.itemsize for s in array.strides] == list(tensor.stride())
        assert memory.tensor_of(array).data_ptr() == tensor.data_ptr()
    part = whole.transpose(0, 2)[1:, ::2]
    np.testing.assert_array_equal(agt.kl(part, part, axis=()), ag.kl(part.numpy(), part.numpy(), axis=()))


def test_parameters_that_are_modules_own_work():
    p = torch.nn.Parameter(normal(2, 8, 3, dtype=torch.float32))
    assert Q(p).kl().requires_grad
    assert torch.equal(Q(p).kl(), Q(p.detach()).kl())


# Gradients


@pytest.mark.parametrize("name", slow_unless(lambda name: name in ("kl", "q.nll", "sample"), DERIVED))
def test_gradients_and_theirs_are_the_slopes(name):
    call, tensors = function_and_tensors(DERIVED[name])
    assert torch.autograd.gradcheck(call, tensors)
    assert torch.autograd.gradgradcheck(call, tensors)


def plain_sample_and_kl(p, eps, low=-30.0, high=20.0):
    """As CogVideo's and diffusers' classes compute it."""
    mean, logvar = torch.chunk(p, 2, dim=1)
    logvar = torch.clamp(logvar, low, high)
    z = mean + torch.exp(0.5 * logvar) * eps
    return z, 0.5 * torch.sum(mean**2 + torch.exp(logvar) - 1.0 - logvar, dim=[1, 2, 3])


def plain_nll(p, x):
    mean, logvar = torch.chunk(p, 2, dim=1)
    logvar = torch.clamp(logvar, -30.0, 20.0)
    return 0.5 * torch.sum(math.log(2 * math.pi) + logvar + (x - mean) ** 2 / torch.exp(logvar), dim=[1, 2, 3])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_training_step_is_that_of_the_plain_form(dtype):
    ours, theirs = (normal(3, 8, 4, 4, dtype=dtype, grad=True) for _ in range(2))
    x, w = normal(3, 4, 4, 4, seed=1, dtype=dtype), normal(3, 4, 4, 4, seed=2, dtype=dtype)
    eps = torch.from_numpy(ag.random.normal((3, 4, 4, 4), rng=7, dtype=x.numpy().dtype))
    q = Q(ours)
    z, kl = q.sample(7), q.kl()
    ((z * w).sum() + kl.sum() + q.nll(x).sum()).backward()
    z2, kl2 = plain_sample_and_kl(theirs, eps)
    ((z2 * w).sum() + kl2.sum() + plain_nll(theirs, x).sum()).backward()
    # Sums of 64 terms of the size of 1, of which the plain form's are off by an ulp or two each.
    close = {"rtol": 1e-5, "atol": 1e-5} if dtype is torch.float32 else {"rtol": 1e-13, "atol": 1e-13}
    for a, b in ((z, z2), (kl, kl2), (ours.grad, theirs.grad)):
        torch.testing.assert_close(a, b, **close)


def test_the_fused_step_has_the_bits_of_the_one_in_numpy():
    p = normal(5, 8, 3, dtype=torch.float32, grad=True)
    w, u = normal(5, 4, 3, seed=1, dtype=torch.float32), normal(5, seed=2, dtype=torch.float32)
    z, kl = agt.sample_and_kl(p, rng=7, index=[3, 1, 4, 1, 5])
    torch.autograd.backward((z, kl), (w, u))
    want = ag.sample_and_kl_vjp(
        p.detach().numpy(), cotangent=(w.numpy(), u.numpy()), rng=7, index=np.array([3, 1, 4, 1, 5])
    )
    np.testing.assert_array_equal(p.grad, want, strict=True)


def test_a_straight_through_bound_passes_the_gradient_on():
    p = 3 * normal(5, 8, 3)
    leaf = p.clone().requires_grad_()
    Q(leaf, bounds=(-1, 1, "straight-through")).kl().sum().backward()
    mean, logvar = (half.numpy() for half in p.chunk(2, 1))
    want = ag.kl_vjp(mean, logvar, cotangent=1.0, bounds=(-1, 1, "straight-through"))
    np.testing.assert_array_equal(leaf.grad, np.concatenate(want, axis=1))
    assert (leaf.grad[:, 4:] != 0).all()


def test_half_precision_gradients_come_in_half_precision():
    for dtype in (torch.float16, torch.bfloat16):
        p = normal(5, 8, 3, dtype=dtype, grad=True)
        q = Q(p)
        (q.kl().sum() + q.sample(7).float().sum()).backward()
        assert p.grad.dtype == dtype


def test_nothing_is_kept_for_the_gradient_but_the_parameters():
    p, x = normal(6, 8, 50, dtype=torch.float32, grad=True), normal(6, 4, 50, seed=1, dtype=torch.float32)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        q = Q(p)
        values = [q.sample(7), *q.sample_and_kl(7), q.kl(), q.nll(x), q.log_prob(x)]
    storages = {t.untyped_storage().data_ptr() for t in kept if t.numel() > 2}  # a key is two integers
    assert storages == {p.untyped_storage().data_ptr(), x.untyped_storage().data_ptr()}
    assert len(values) == 6


def test_only_what_requires_a_gradient_gets_one():
    x, mean, logvar, *_ = inputs()
    mean.requires_grad_()
    agt.nll(x, mean, logvar).backward()
    assert mean.grad is not None
    assert x.grad is None
    assert logvar.grad is None
    assert not agt.kl(x, logvar).requires_grad
    with torch.no_grad():
        assert not agt.kl(mean, logvar).requires_grad
    with torch.inference_mode():
        assert agt.kl(mean, logvar) == agt.kl(mean.detach(), logvar)


def test_the_parameters_may_not_change_between_the_two_ways():
    p = normal(2, 8, 3)
    leaf = p.clone().requires_grad_()
    held = leaf * 1.0
    kl = Q(held).kl()
    held.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        kl.sum().backward()


# As operators


def operator_arguments():
    """What each operator takes: its tensors, then split, axis, bounds, bounds2, key, index and sample_shape, and the
    parameters alpha, width, low and high."""
    x, mean, logvar, column, row, p = inputs(grad=True)
    key = torch.tensor([7, 0])
    none = (None, None, None, None)
    parameters = {"renyi": (0.25, None, None, None), "discretized_nll": (None, 0.5, -1.0, 1.0)}
    plain = (None, [1, 2], [], [], None, None, [])
    each = (None, [], [-1.0, 1.0, 1.0], [], None, None, [], *none)
    tensors = {"mean": mean, "logvar": logvar, "mean2": column, "logvar2": row, "x": x, "z": x, "logits": mean}
    pixels = {"x": x.detach().sigmoid().requires_grad_()}
    derived = {
        name: (
            *((tensors | pixels if "bernoulli" in name else tensors).get(own) for own in operator.tensors),
            *plain,
            *parameters.get(name, none),
        )
        for name, operator in OPERATORS.items()
        if Result.SUM in operator.kinds
    }
    return derived | {
        "kl": (column, row, None, None, *plain, *none),
        "normal_kl": (mean, row, column, logvar, None, [], [], [], None, None, [], *none),
        "nll": (x, p, None, 1, [0, 2], [-1.0, 1.0, 1.0], [], None, None, [], *none),
        "std": (logvar, *each),
        "var": (logvar, *each),
        "clamp": (logvar, *each),
        "mode": (column, row, None, [], [], [], None, None, [], *none),
        "saturated": (logvar, None, [0], [-1.0, 1.0, 0.0], [], None, None, [], *none),
        "sample": (mean, row, None, [], [], [], key, None, [2], *none),
        "sample_and_kl": (p, None, 1, [1, 2], [], [], key, torch.tensor([5, 4, 2, 0, 2**33, 1]), [], *none),
    }


@pytest.mark.parametrize("name", ops.FUNCTIONS)
def test_every_function_is_here_with_its_own_signature_and_documentation(name):
    own, found = (inspect.signature(getattr(m, name)).parameters for m in (ops, agt))
    assert name in agt.__all__
    assert name in OPERATORS
    assert [n for n in found if n != "generator"] == [n for n in own if n != "out"]
    assert all(found[n].default == own[n].default for n in found if n not in ("generator", "rng"))
    doc = inspect.getdoc(getattr(agt, name))
    assert doc.startswith(f"``agauss.{name}`` of ")
    assert "out : " not in doc
    assert "ag." not in doc


def test_a_call_that_is_none_has_pythons_own_error():
    t = torch.zeros(2)
    for call, says in (
        (lambda: agt.kl(t), r"kl\(\) missing 1 required positional argument: 'logvar'"),
        (lambda: agt.std(t, "soft"), r"std\(\) takes 1 positional argument but 2 were given"),
        (lambda: agt.nll(t, t, t, out=t), r"nll\(\) got an unexpected keyword argument 'out'"),
    ):
        with pytest.raises(TypeError, match=says):
            call()


def test_an_option_without_a_place_in_the_schema_is_told():
    def spread(mean, logvar, *, axis=None, order=1.0, out=None): ...

    with pytest.raises(TypeError, match="std must have a place in Options for order"):
        Operator(STD, spread, None)


def test_every_operator_is_listed_here():
    assert set(operator_arguments()) == set(OPERATORS)


@pytest.mark.parametrize("name", slow_unless(lambda name: name in ("kl", "saturated", "sample"), OPERATORS))
def test_operators_are_what_pytorch_wants_of_one(name):
    args = operator_arguments()[name]
    found = torch.library.opcheck(getattr(torch.ops.agauss, name).default, args)
    assert set(found.values()) == {"SUCCESS"}
    if name == "saturated":
        return
    n = len(OPERATORS[name].tensors)
    values = as_tuple(OPERATORS[name].forward(*args))
    cotangents = [normal(*v.shape, seed=9, grad=True) for v in values]
    found = torch.library.opcheck(getattr(torch.ops.agauss, f"{name}_vjp").default, (*args[:n], *cotangents, *args[n:]))
    assert set(found.values()) == {"SUCCESS"}


def step(p, x, rng):
    q = Q(p)
    z, kl = q.sample_and_kl(rng)
    return z, kl, q.kl(), q.sample(rng), q.nll(x), q.mean, q.std, q.logvar, q.mode(), agt.entropy(q.logvar, axis=1)


@pytest.mark.parametrize("backend", slow_unless(lambda backend: backend == "aot_eager", ["aot_eager", "inductor"]))
def test_a_step_compiles_whole_and_has_the_same_bits(backend):
    torch._dynamo.reset()
    p, x = normal(3, 8, 5, dtype=torch.float32, grad=True), normal(3, 4, 5, seed=1, dtype=torch.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", ".*torch.jit.script.*", DeprecationWarning)  # PyTorch's own
        compiled = torch.compile(step, fullgraph=True, backend=backend)
        found, want = compiled(p, x, 7), step(p, x, 7)
    for got, exact in zip(found, want, strict=True):
        assert torch.equal(got, exact)
    (by_compiled,) = torch.autograd.grad([v.sum() for v in found], p)
    (by_eager,) = torch.autograd.grad([v.sum() for v in want], p)
    # Ten gradients of the size of 1 are added up, in whatever order.
    torch.testing.assert_close(by_compiled, by_eager, rtol=1e-5, atol=1e-5)


def test_a_compiled_step_serves_every_seed_and_shape():
    torch._dynamo.reset()
    counter = torch._dynamo.testing.CompileCounter()
    compiled = torch.compile(
        lambda p, seed: agt.sample_and_kl(p, rng=seed), fullgraph=True, dynamic=True, backend=counter
    )
    for seed, n in ((3, 4), (4, 5), (2**62, 6), (10, 7)):
        p = normal(n, 8, n + 1, dtype=torch.float32)
        for got, want in zip(compiled(p, seed), agt.sample_and_kl(p, rng=seed), strict=True):
            assert torch.equal(got, want)
    assert counter.frame_count == 1


def test_a_compiled_step_draws_anew_each_time():
    torch._dynamo.reset()
    p = normal(3, 8, 5, dtype=torch.float32)
    compiled = torch.compile(lambda p: Q(p).sample(), fullgraph=True, backend="aot_eager")
    torch.manual_seed(3)
    first, second = compiled(p), compiled(p)
    torch.manual_seed(3)
    assert torch.equal(compiled(p), first)
    assert not torch.equal(first, second)


def test_a_step_can_be_exported():
    class Encoder(torch.nn.Module):
        def forward(self, p):
            return agt.sample_and_kl(p, rng=7)

    p = normal(3, 8, 5, dtype=torch.float32)
    exported = torch.export.export(Encoder(), (p,))
    assert "agauss.sample_and_kl" in str(exported.graph)
    for got, want in zip(exported.module()(p), agt.sample_and_kl(p, rng=7), strict=True):
        assert torch.equal(got, want)


def test_shapes_are_known_without_data():
    p = torch.empty(3, 8, 5, device="meta", dtype=torch.float16)
    z, kl = Q(p).sample_and_kl(7)
    assert (z.shape, z.dtype, kl.shape, kl.dtype) == ((3, 4, 5), torch.float16, (3,), torch.float32)


# autocast


def test_autocast_may_mix_dtypes():
    lin, x = torch.nn.Linear(5, 8), normal(4, 4, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        p = lin(normal(4, 5, dtype=torch.float32))
        q = Q(p)
        z, kl, nll = q.sample(1), q.kl(), q.nll(x)
        assert (p.dtype, z.dtype, kl.dtype, nll.dtype) == (*[torch.bfloat16] * 2, *[torch.float32] * 2)
        assert torch.equal(nll, Q(p.float()).nll(x))
        (z.float().sum() + kl.sum() + nll.sum()).backward()
    assert torch.isfinite(lin.weight.grad).all()
    with pytest.raises(TypeError, match="x must have the dtype of mean, bfloat16; got float32"):
        Q(p.detach()).nll(x)


# torch.func


def test_vmap_is_a_loop():
    _, mean, logvar, _, row, p = inputs()
    calls = (
        (lambda u, v: agt.kl(u, v, axis=0), (mean, logvar), (0, 0)),
        (lambda u, v: agt.kl(u, v), (mean, logvar[:, 0]), (1, None)),
        (lambda u, v: agt.nll(u, 0.5, v, axis=(-1,)), (mean, row), (2, 2)),
        (lambda u: agt.std(u), (logvar,), (1,)),
        (lambda p: Q(p[None]).sample_and_kl(7), (p,), (0,)),
        (lambda p: Q(p).kl(), (p,), (2,)),
    )
    for call, args, dims in calls:
        batched = as_tuple(torch.func.vmap(call, in_dims=dims)(*args))
        n = next(a.shape[d] for a, d in zip(args, dims, strict=True) if d is not None)
        each = [
            as_tuple(call(*(a if d is None else a.select(d, i) for a, d in zip(args, dims, strict=True))))
            for i in range(n)
        ]
        for place, got in enumerate(batched):
            # Sums go in another order.
            torch.testing.assert_close(got, torch.stack([e[place] for e in each]), rtol=1e-14, atol=1e-14)


def test_grad_jacobian_hessian_and_jvp_are_those_of_the_plain_form():
    eps = torch.from_numpy(ag.random.normal((1, 2, 3, 1), rng=7, dtype="float64"))
    p, t = normal(1, 4, 3, 1), normal(1, 4, 3, 1, seed=1)

    def ours(p):
        z, kl = agt.sample_and_kl(p, rng=7)
        return (z**2).sum() + kl.sum()

    def theirs(p):
        z, kl = plain_sample_and_kl(p, eps)
        return (z**2).sum() + kl.sum()

    close = {"rtol": 1e-12, "atol": 1e-12}
    torch.testing.assert_close(torch.func.grad(ours)(p), torch.func.grad(theirs)(p), **close)
    torch.testing.assert_close(torch.func.hessian(ours)(p), torch.func.hessian(theirs)(p), **close)
    torch.testing.assert_close(torch.func.jvp(ours, (p,), (t,)), torch.func.jvp(theirs, (p,), (t,)), **close)
    jacobian = torch.func.jacrev(lambda p: agt.sample_and_kl(p, rng=7))(p)
    want = torch.func.jacrev(lambda p: plain_sample_and_kl(p, eps))(p)
    torch.testing.assert_close(jacobian, want, **close)
    each = torch.func.vmap(torch.func.grad(ours), in_dims=0)(torch.stack([p, 2 * p]))
    torch.testing.assert_close(each, torch.stack([torch.func.grad(theirs)(a) for a in (p, 2 * p)]), **close)


# Generators


def test_the_default_generator_decides_where_nothing_is_given():
    p = normal(3, 8, 5)
    torch.manual_seed(1)
    first, second = Q(p).sample(), Q(p).sample()
    torch.manual_seed(1)
    assert torch.equal(Q(p).sample(), first)
    assert not torch.equal(first, second)


def test_a_generator_is_taken_by_position_and_by_name():
    p = normal(3, 8, 5)

    def seeded():
        return torch.Generator().manual_seed(5)

    first = Q(p).sample(seeded())
    generator = seeded()
    for other in (
        Q(p).sample(rng=seeded()),
        Q(p).sample(generator=seeded()),
        agt.sample_and_kl(p, generator=generator)[0],
        Q(p).sample_and_kl(seeded())[0],
        agt.sample(*p.chunk(2, 1), generator=seeded(), bounds=(-30, 20)),
    ):
        assert torch.equal(first, other)
    assert not torch.equal(Q(p).sample(generator), first)
    with pytest.raises(TypeError, match="rng and generator must not both be given"):
        Q(p).sample(3, generator=generator)


def test_a_list_of_generators_is_one_for_each_sample():
    """So that a sample's noise is its generator's, whatever the batch, as diffusers has it."""
    p = normal(3, 8, 5)
    generators = [torch.Generator().manual_seed(k) for k in range(3)]
    whole = Q(p).sample(generators)
    for k in range(3):
        assert torch.equal(Q(p[k : k + 1]).sample(torch.Generator().manual_seed(k)), whole[k : k + 1])
    with pytest.raises(ValueError, match="generator must be one, or one for each of 3 samples; got 2"):
        Q(p).sample(generators[:2])


def test_a_point_draws_nothing():
    generator = torch.Generator().manual_seed(5)
    before = generator.get_state()
    q = Q(normal(3, 8, 5), deterministic=True)
    assert torch.equal(q.sample(generator), q.mean)
    q.sample_and_kl(generator)
    assert torch.equal(generator.get_state(), before)


# In the place of other classes


def test_code_that_is_written_for_diffusers_runs():
    """The uses of the class there: AutoencoderKL.encode, its forward, and training scripts."""
    moments = normal(2, 8, 4, 4, dtype=torch.float32, grad=True)
    posterior = agt.DiagonalGaussianDistribution(moments, deterministic=False)
    for z in (posterior.sample(generator=torch.Generator()), posterior.mode(), posterior.sample()):
        assert z.shape == (2, 4, 4, 4)
    assert posterior.parameters is moments
    assert posterior.mean.shape == posterior.logvar.shape == posterior.std.shape == posterior.var.shape == z.shape
    other = agt.DiagonalGaussianDistribution(torch.zeros(2, 8, 4, 4))
    loss = posterior.kl().mean() + posterior.kl(other).mean() + posterior.nll(z.detach(), dims=[1, 2, 3]).mean()
    loss.backward()
    assert posterior.kl().shape == (2,)
    assert torch.isfinite(moments.grad).all()
    assert torch.equal(agt.DiracDistribution(z).mode(), z)
    assert agt.normal_kl(moments, 0.0, 0.0, torch.zeros(())).shape == moments.shape
    assert isinstance(posterior, ag.DiagonalGaussianDistribution)


def test_the_mode_can_be_edited():
    p = normal(2, 8, 3)
    before = p.clone()
    Q(p).mode().zero_()
    Q(p, deterministic=True).sample().zero_()
    assert torch.equal(p, before)


# Bad input


def test_what_is_no_tensor_is_told_how_to_become_one():
    a, t = np.zeros((2, 4)), torch.zeros(2, 4)
    for call in (
        lambda: agt.kl(a, a),
        lambda: agt.kl(t, a),
        lambda: agt.nll(a, t, t),
        lambda: agt.kl(None, t),
        lambda: agt.normal_kl(t, None, t, t),
        lambda: agt.entropy(None),
        lambda: agt.DiagonalGaussianDistribution(None),
        lambda: Q(t).nll(a),
        lambda: agt.DiagonalGaussianDistribution(a),
        lambda: agt.sample(t, "0", rng=1),
    ):
        with pytest.raises(TypeError, match=r"must be a torch.Tensor or a real number; got \w+ .*torch.from_numpy"):
            call()


@pytest.mark.parametrize(
    ("call", "kind", "says"),
    [
        (lambda t: agt.kl(t, t.double()), TypeError, "logvar must have the dtype of mean, float32; got float64"),
        (lambda t: agt.kl(t, t[:, :3]), ValueError, r"logvar must broadcast against mean; got shapes \(2, 4\)"),
        (lambda t: agt.kl(t.int(), t.int()), TypeError, "mean must have a floating dtype .* got int32"),
        (lambda t: agt.kl(t, t, t), ValueError, "mean2 and logvar2 must be given together; got mean2 alone"),
        (lambda t: agt.kl(t, t, logvar2=t), ValueError, "mean2 and logvar2 must be given together; got logvar2 alone"),
        (lambda t: agt.kl(t, t, axis=2), ValueError, "axis must be within"),
        (lambda t: agt.kl(t, t, axis="1"), TypeError, "axis must be None, an int or a tuple of ints"),
        (lambda t: agt.kl(t, t, bounds="tight"), ValueError, "bounds must be of the kinds"),
        (lambda t: agt.sample(t, t, rng=-1), ValueError, "rng must be at least 0"),
        (lambda t: agt.sample(t, t, rng=1.5), TypeError, "rng must be None, an int"),
        (lambda t: agt.sample(t, t, rng=1, index=[1]), ValueError, r"index must have shape \(2,\)"),
        (lambda t: agt.sample(t, t, rng=1, index=[0.5, 1]), TypeError, "index must be integers"),
        (lambda t: agt.sample(t, t, rng=1, sample_shape=-1), ValueError, "sample_shape must not be negative"),
        (lambda t: Q(t[:, :3]), ValueError, "parameters must have an even extent"),
        (lambda t: Q(t[0]), ValueError, "parameters must have at least 2 dimensions"),
        (lambda t: Q(t.int()), TypeError, "parameters must have a floating dtype"),
        (lambda t: Q(t).kl(3), TypeError, "other must be None or a DiagonalGaussianDistribution"),
        (lambda t: agt.kl(t.to_sparse(), t.to_sparse()), TypeError, r"mean must be a dense tensor.*to_dense"),
        (lambda t: agt.kl(t, t.to("meta")), ValueError, "logvar must be on the device of the others, cpu; got meta"),
    ],
)
def test_bad_input_is_told_what_it_should_have_been(call, kind, says):
    with pytest.raises(kind, match=says):
        call(torch.ones(2, 4))


def test_other_devices_are_told_where_to_go():
    class Elsewhere:
        device = torch.device("xpu:0")

    with pytest.raises(ValueError, match="tensors must be on the CPU or a CUDA device; got xpu:0"):
        memory.on_device_of(Elsewhere())


def test_without_pytorch_the_extra_is_named():
    code = "import sys; sys.modules['torch'] = None; import agauss; import agauss.integrations.torch"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert 'agauss.integrations.torch needs torch: pip install "agauss[torch]"' in found.stderr


def test_agauss_does_not_import_pytorch():
    code = "import sys, agauss; assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


# On a GPU


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_cuda_tensors_have_the_bits_of_the_cpus(dtype):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device for PyTorch")
    with torch.cuda.stream(torch.cuda.Stream()):
        for call in DERIVED.values():
            function, here = function_and_tensors(call, dtype)
            there = [t.detach().cuda().requires_grad_() for t in here]
            found, want = as_tuple(function(*there)), as_tuple(function(*here))
            for got, exact in zip(found, want, strict=True):
                assert got.is_cuda
                assert torch.equal(got.cpu(), exact)
            by_there = torch.autograd.grad([v.sum() for v in found], there, allow_unused=True)
            by_here = torch.autograd.grad([v.sum() for v in want], here, allow_unused=True)
            for got, exact in zip(by_there, by_here, strict=True):
                assert (got is None) == (exact is None)
                assert got is None or torch.equal(got.cpu(), exact)


def test_bfloat16_is_ml_dtypes_own():
    assert memory.array_of(torch.zeros(2, dtype=torch.bfloat16)).dtype == ml_dtypes.bfloat16


def test_a_list_of_generators_stands_alone():
    q = Q(torch.zeros(2, 4))
    generators = [torch.Generator().manual_seed(k) for k in (1, 2)]
    assert q.sample(generators).shape == (2, 2)
    for options in ({"sample_shape": 5}, {"index": [0, 1]}):
        with pytest.raises(TypeError, match="beside a list of generators"):
            q.sample(generators, **options)
    with pytest.raises(TypeError, match="beside a list of generators"):
        q.sample(7, generator=generators)


# Tensors of every kind that PyTorch has


def test_views_that_hold_other_numbers_than_their_memory_are_read():
    conjugate = torch.complex(normal(2, 8), normal(2, 8, seed=1)).conj()
    p = conjugate.imag.requires_grad_()
    assert p.is_neg()
    assert torch.equal(Q(p).kl(), Q(p.resolve_neg()).kl())
    (got,) = torch.autograd.grad(Q(p).kl(), p, conjugate.imag[:, 0])
    leaf = p.detach().clone().requires_grad_()
    (want,) = torch.autograd.grad(Q(leaf).kl(), leaf, conjugate.imag[:, 0].clone())
    assert torch.equal(got, want)
    nothing = torch._efficientzerotensor((2, 8))
    assert torch.equal(Q(nothing).kl(), torch.zeros(2))


@pytest.mark.parametrize("rng", [7, 2**64 - 1, KEY, None, torch.Generator()])
def test_the_default_device_does_not_matter(rng):
    p = normal(2, 8)
    with torch.device("meta"):
        z = Q(p).sample(rng, index=[3, 2**63])
        kl, nll = Q(p).kl(), agt.nll(p, 0.0, 1.0)
    assert torch.isfinite(z).all()
    assert torch.equal(kl, Q(p).kl())
    assert torch.equal(nll, agt.nll(p, 0.0, 1.0))
    if isinstance(rng, (int, Key)):
        assert torch.equal(z, Q(p).sample(rng, index=[3, 2**63]))


BIG = (2**64 - 1, 2**63, 3)


@pytest.mark.parametrize(
    "index",
    [
        list(BIG),
        BIG,
        np.array(BIG, np.uint64),
        np.array(BIG[::-1], np.uint64)[::-1],
        torch.tensor(BIG, dtype=torch.uint64),
    ],
    ids=["list", "tuple", "array", "reversed array", "tensor"],
)
def test_ids_have_64_bits(index):
    a = normal(3, 4)
    want = torch.from_numpy(ag.sample(a.numpy(), a.numpy(), rng=7, index=list(BIG)))
    assert torch.equal(agt.sample(a, a, rng=7, index=index), want)
    by_vmap = torch.func.vmap(lambda i, a: agt.sample(a[None], a[None], rng=7, index=i[None])[0])
    ids = torch.tensor(BIG, dtype=torch.uint64)
    torch.testing.assert_close(by_vmap(ids, a), want, rtol=1e-14, atol=1e-14)  # exp is PyTorch's
    # Over the ids alone.
    found = torch.func.vmap(lambda i: agt.sample(a[:1], a[:1], rng=7, index=i[None])[0])(ids)
    torch.testing.assert_close(found, torch.cat([agt.sample(a[:1], a[:1], rng=7, index=[i]) for i in BIG]))


def test_negative_ids_are_refused_under_vmap_too():
    a = normal(3, 1, 4)
    for index in ([-1], np.array([-1]), (-1,), range(-1, 0)):
        for call in (agt.sample, torch.func.vmap(agt.sample), torch.compile(torch.func.vmap(agt.sample))):
            if isinstance(index, np.ndarray) and hasattr(call, "_torchdynamo_orig_callable"):
                continue  # a tensor to torch.compile, and so taken modulo 2^64
            torch._dynamo.reset()
            tensors = (a[0], a[0]) if call is agt.sample else (a, a)
            with pytest.raises(ValueError, match="index must not be negative; got"):
                call(*tensors, rng=7, index=index)


def test_a_list_of_no_generators_is_for_a_batch_of_none():
    p = torch.zeros(0, 8, 5, dtype=torch.float16, requires_grad=True)
    z = Q(p).sample([])
    assert (z.shape, z.dtype, z.requires_grad) == ((0, 4, 5), torch.float16, True)
    with pytest.raises(ValueError, match="one for each of 2 samples; got 0"):
        Q(torch.zeros(2, 8)).sample([])


def test_a_point_refuses_what_a_distribution_refuses():
    q = Q(normal(3, 8), deterministic=True)
    generators = [torch.Generator().manual_seed(k) for k in range(3)]
    before = [g.get_state() for g in generators]
    assert torch.equal(q.sample(generators), q.mean)
    assert torch.equal(q.sample(index=range(3)), q.mean)
    assert torch.equal(q.sample(np.random.default_rng(1)), q.mean)
    assert all(torch.equal(g.get_state(), b) for g, b in zip(generators, before, strict=True))
    for call in (q.sample, q.sample_and_kl):
        for rng in (-1, 2**64, "7", 1.5):
            with pytest.raises((TypeError, ValueError), match="rng must be"):
                call(rng)
        for index in ([0, 1], [0.5, 1, 2], [-1, 0, 1]):
            with pytest.raises((TypeError, ValueError), match="index must"):
                call(index=index)
        with pytest.raises(TypeError, match=r"generator must be a torch\.Generator"):
            call(generator=7)
        with pytest.raises(TypeError, match="rng and generator must not both be given"):
            call(7, generator=generators[0])
    with pytest.raises(ValueError, match="one for each of 3 samples; got 2"):
        q.sample(generators[:2])
    with pytest.raises(TypeError, match="rng must be"):
        q.sample([1, 2, "3"])


def test_autocast_may_mix_the_dtypes_of_mean_and_logvar():
    mean, logvar = normal(2, 4, dtype=torch.bfloat16), normal(2, 4, seed=1, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        q = Q.from_mean_logvar(mean, logvar)
        assert torch.equal(q.kl(), agt.kl(mean, logvar, axis=1))
        assert q.sample(7).dtype == torch.float32
    with pytest.raises(TypeError, match="logvar must have the dtype of mean, bfloat16; got float32"):
        Q.from_mean_logvar(mean, logvar)
