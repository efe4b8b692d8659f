"""agauss.integrations.torch: all that PyTorch does with an operator: opcheck, compile, export, autocast, torch.func."""

import inspect
import warnings

import pytest
import torch
from cases import as_tuple
from quick import nightly_unless
from torch_calls import Q, inputs, normal, plain_sample_and_kl

import agauss as ag
from agauss import ops
from agauss.integrations import torch as agt
from agauss.integrations.torch_operators import OPERATORS, Operator
from agauss.operations import STD, Result
from agauss.random import Key

# PyTorch's own, of which it warns itself.
pytestmark = [
    pytest.mark.usefixtures("one_thread_of_torch"),
    pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning"),
]


# As operators


def operator_arguments():
    """What each operator takes: its tensors, then split, axis, bounds, bounds2, key, index and sample_shape, and the
    operation's parameters."""
    x, mean, logvar, column, row, p = inputs(grad=True)
    key = torch.tensor([7, 0])
    parameters = {"renyi": [0.25], "discretized_nll": [0.5, -1.0, 1.0]}
    plain = (None, [1, 2], [], [], None, None, [])
    each = (None, [], [-1.0, 1.0, 1.0], [], None, None, [], [])
    tensors = {"mean": mean, "logvar": logvar, "mean2": column, "logvar2": row, "x": x, "z": x, "logits": mean}
    pixels = {"x": x.detach().sigmoid().requires_grad_()}
    derived = {
        name: (
            *((tensors | pixels if "bernoulli" in name else tensors).get(own) for own in operator.tensors),
            *plain,
            parameters.get(name, []),
        )
        for name, operator in OPERATORS.items()
        if Result.SUM in operator.kinds
    }
    return derived | {
        "kl": (column, row, None, None, *plain, []),
        "normal_kl": (mean, row, column, logvar, None, [], [], [], None, None, [], []),
        "nll": (x, p, None, 1, [0, 2], [-1.0, 1.0, 1.0], [], None, None, [], []),
        "std": (logvar, *each),
        "var": (logvar, *each),
        "clamp": (logvar, *each),
        "mode": (column, row, None, [], [], [], None, None, [], []),
        "saturated": (logvar, None, [0], [-1.0, 1.0, 0.0], [], None, None, [], []),
        "sample": (mean, row, None, [], [], [], key, None, [2], []),
        "sample_and_kl": (p, None, 1, [1, 2], [], [], key, torch.tensor([5, 4, 2, 0, 2**33, 1]), [], []),
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


@pytest.mark.parametrize("name", nightly_unless(lambda name: name in ("kl", "saturated"), OPERATORS))
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


@pytest.mark.parametrize("backend", nightly_unless(lambda backend: backend == "aot_eager", ["aot_eager", "inductor"]))
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


def test_a_compiled_step_serves_every_key_without_a_number_beyond_int64():
    torch._dynamo.reset()
    graphs = []

    def backend(graph, _):
        graphs.append(graph.graph)
        return graph.forward

    compiled = torch.compile(lambda p, key: agt.sample_and_kl(p, rng=key), fullgraph=True, backend=backend)
    p = normal(3, 8, dtype=torch.float32)
    for key in (*(Key(0).fold_in(step) for step in range(5)), Key(2**64 - 1, 2**32 - 1), Key(2**63), Key(2**63 - 1, 1)):
        for got, want in zip(compiled(p, key), agt.sample_and_kl(p, rng=key), strict=True):
            assert torch.equal(got, want)
    # Of inductor's C++ a larger constant is an error.
    numbers = [a for graph in graphs for node in graph.nodes for a in torch.utils._pytree.tree_leaves(node.args)]
    assert all(-(2**63) <= a < 2**63 for a in numbers if isinstance(a, int))
    assert len(graphs) == 2  # of the first key, and of any


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
    with pytest.raises(TypeError, match="sample must have the dtype of mean, bfloat16; got float32"):
        Q(p.detach()).nll(x)


def test_autocast_may_mix_the_dtypes_of_mean_and_logvar():
    mean, logvar = normal(2, 4, dtype=torch.bfloat16), normal(2, 4, seed=1, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        q = Q.from_mean_logvar(mean, logvar)
        assert torch.equal(q.kl(), agt.kl(mean, logvar, axis=1))
        assert q.sample(7).dtype == torch.float32
    with pytest.raises(TypeError, match="logvar must have the dtype of mean, bfloat16; got float32"):
        Q.from_mean_logvar(mean, logvar)


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
