"""agauss.integrations.torch: generators, code for the classes that it replaces, tensors of every kind, bad input."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from cases import KEY
from torch_calls import Q, normal

import agauss as ag
from agauss.integrations import torch as agt
from agauss.integrations import torch_memory as memory
from agauss.random import Key

# PyTorch's own, of which it warns itself.
pytestmark = [
    pytest.mark.usefixtures("one_thread_of_torch"),
    pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning"),
]


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
    with pytest.raises(ValueError, match="rng must be one generator, or one for each of 3 samples; got 2"):
        Q(p).sample(generators[:2])


def test_a_list_of_generators_stands_alone():
    q = Q(torch.zeros(2, 4))
    generators = [torch.Generator().manual_seed(k) for k in (1, 2)]
    assert q.sample(generators).shape == (2, 2)
    for options in ({"sample_shape": 5}, {"index": [0, 1]}):
        with pytest.raises(TypeError, match="beside a list of generators"):
            q.sample(generators, **options)
    with pytest.raises(TypeError, match="beside a list of generators"):
        q.sample(7, generator=generators)


def test_a_list_of_no_generators_is_for_a_batch_of_none():
    p = torch.zeros(0, 8, 5, dtype=torch.float16, requires_grad=True)
    z = Q(p).sample([])
    assert (z.shape, z.dtype, z.requires_grad) == ((0, 4, 5), torch.float16, True)
    with pytest.raises(ValueError, match="one for each of 2 samples; got 0"):
        Q(torch.zeros(2, 8)).sample([])


def test_a_point_draws_nothing():
    generator = torch.Generator().manual_seed(5)
    before = generator.get_state()
    q = Q(normal(3, 8, 5), deterministic=True)
    assert torch.equal(q.sample(generator), q.mean)
    q.sample_and_kl(generator)
    assert torch.equal(generator.get_state(), before)


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


def test_a_key_of_pytorchs_stateless_generator_is_its_seed_with_its_offset_folded_in():
    key = torch.tensor([2**64 - 5, 0], dtype=torch.uint64)  # what torch.func._random.key makes of a seed
    zeros = torch.zeros(2, 3)
    assert torch.equal(agt.sample(zeros, zeros, rng=key), agt.sample(zeros, zeros, rng=2**64 - 5))
    key[1] = 2**40
    later = agt.sample(zeros, zeros, rng=Key(2**64 - 5).fold_in(2**40))
    assert torch.equal(agt.sample(zeros, zeros, rng=key), later)
    stateless = getattr(torch.func, "_random", None)  # of PyTorch 2.13 and newer
    if stateless is not None:
        assert torch.equal(agt.sample(zeros, zeros, rng=stateless.key(7)), agt.sample(zeros, zeros, rng=7))
    for wrong in (key.view(torch.int64), torch.stack([key, key])):
        with pytest.raises(TypeError, match=r"rng must be, where it is a tensor, one key .* got torch\.u?int64 and"):
            agt.sample(zeros, zeros, rng=wrong)


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
