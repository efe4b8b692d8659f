"""agauss.integrations.torch: the loops' bits on tensors, on a GPU too, and gradients of both orders."""

import copy
import math
import pickle

import ml_dtypes
import numpy as np
import pytest
import torch
from cases import CALLS, WITH_ARRAYS, Method, as_tuple
from oracles import host
from quick import nightly_unless
from torch_calls import DERIVED, Q, function_and_tensors, inputs, normal, plain_sample_and_kl, tensors_of

import agauss as ag
from agauss.integrations import torch as agt
from agauss.integrations import torch_memory as memory

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


@pytest.mark.in_turn(5)
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


def test_bfloat16_is_ml_dtypes_own():
    assert memory.array_of(torch.zeros(2, dtype=torch.bfloat16)).dtype == ml_dtypes.bfloat16


# Gradients


@pytest.mark.parametrize("name", nightly_unless(lambda name: name == "q.nll", DERIVED))
def test_gradients_and_theirs_are_the_slopes(name):
    call, tensors = function_and_tensors(DERIVED[name])
    assert torch.autograd.gradcheck(call, tensors)
    assert torch.autograd.gradgradcheck(call, tensors)


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


@pytest.mark.filterwarnings("ignore:You are using `torch.load`:FutureWarning")  # of PyTorch 2.4, about its own call
@pytest.mark.parametrize("again", [lambda q: pickle.loads(pickle.dumps(q)), copy.copy, copy.deepcopy])
@pytest.mark.parametrize("made", [Q, lambda p: Q.from_mean_logvar(p, 0.5, bounds="soft"), lambda p: Q(p, True)])
def test_a_distribution_is_pickled_and_copied(made, again):
    q = made(torch.randn(3, 4, 2))
    found = again(q)
    for name in ("mean", "logvar", "std"):
        assert torch.equal(getattr(found, name), getattr(q, name))
    assert torch.equal(found.kl(), q.kl())
    assert torch.equal(found.sample(rng=1), q.sample(rng=1))
    assert (found.bounds, found.event_axes, found.deterministic) == (q.bounds, q.event_axes, q.deterministic)


def test_a_full_covariance_takes_pytorchs_generators():
    mean, tril = torch.zeros(2, 3), torch.eye(3)
    q, plain = agt.MultivariateNormal(mean, tril), ag.MultivariateNormal(mean, tril)
    torch.manual_seed(5)
    z = q.sample()
    torch.manual_seed(5)
    assert torch.equal(q.sample(), z)
    first, second = (q.sample(torch.Generator().manual_seed(seed)) for seed in (1, 2))
    assert torch.equal(q.sample(torch.Generator().manual_seed(1)), first)
    assert not torch.equal(first, second)
    for rng in (7, 2**64 - 1, ag.random.Key(7, 3)):
        assert torch.equal(q.sample(rng), plain.sample(rng))
        for found, expected in zip(
            q.sample_vjp(cotangent=1.0, rng=rng), plain.sample_vjp(cotangent=1.0, rng=rng), strict=True
        ):
            assert torch.equal(found, expected)
