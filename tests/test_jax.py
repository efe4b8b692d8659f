"""agauss.integrations.jax: under jit, grad, jvp, vmap and sharding."""

import inspect
import math
import os
import subprocess
import sys
import textwrap
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from cases import arrays, as_tuple
from jax.test_util import check_grads
from jax_calls import CALLS, D, assert_close, inputs
from quick import nightly_unless

import agauss as ag
from agauss import ops
from agauss.integrations import jax as agj


def test_every_function_is_here():
    assert set(ops.FUNCTIONS) < set(agj.__all__)
    for name, function in ops.FUNCTIONS.items():
        assert getattr(agj, name).__wrapped__ is function


@pytest.mark.in_turn(3)
@pytest.mark.parametrize("name", CALLS)
def test_values_are_those_of_numpy_under_jit(way, name):
    call, given = CALLS[name], {key: arrays()[key] for key in CALLS[name].used}
    found = as_tuple(jax.jit(lambda a: call(agj, a))(given))
    for got, want in zip(found, as_tuple(call(ag, given)), strict=True):
        assert isinstance(got, jax.Array)
        if way == "loops":
            np.testing.assert_array_equal(got, want)
        else:
            assert_close(got, want)  # sums of up to 24, and XLA's exp


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("name", nightly_unless(lambda name: name == "q.nll", CALLS))
@pytest.mark.usefixtures("way", "x64")
def test_gradients_and_theirs_are_the_slopes(name):
    call, made = CALLS[name], arrays("float64")
    function = jax.jit(lambda *a: call(agj, dict(zip(call.used, a, strict=True))))
    check_grads(
        function, [jnp.asarray(made[key]) for key in call.used], order=2, modes=("fwd", "rev"), rtol=1e-6, atol=1e-6
    )


def plain(parameters, eps):
    """Sample and KL as they are written without agauss."""
    mean, logvar = jnp.split(parameters, 2, axis=1)
    logvar = jnp.clip(logvar, -30.0, 20.0)
    return mean + jnp.exp(logvar / 2) * eps, 0.5 * jnp.sum(mean**2 + jnp.exp(logvar) - 1 - logvar, axis=(1, 2))


def derivatives(sample_and_kl, parameters):
    """Gradient, Hessian and a directional derivative of a function of z and KL."""

    def function(p):
        z, kl = sample_and_kl(p)
        return jnp.sum(z**3) + jnp.sum(kl**2)

    def product(f):
        return lambda p: jax.jvp(f, (p,), (p + 1,))

    return [jax.jit(of(function))(parameters) for of in (jax.grad, jax.hessian, product)]


@cache
def derivatives_of_the_plain_form():
    eps = ag.random.normal((3, 4, 2), rng=7, dtype="float64")
    return derivatives(lambda p: plain(p, eps), inputs(np.float64)[-1])


@pytest.mark.usefixtures("way", "x64")
def test_gradient_hessian_and_product_are_those_of_the_plain_form():
    found = derivatives(lambda p: agj.sample_and_kl(p, rng=7), inputs(np.float64)[-1])
    for got, want in zip(found, derivatives_of_the_plain_form(), strict=True):
        jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-11, atol=1e-11), got, want)


EDGES = np.array([-np.inf, -200.0, -30.0, -1.0, 0.0, 1.0, 20.0, 80.0], np.float32)


@pytest.mark.parametrize("bounds", [None, "hard", "soft", "straight-through", (-1, 1)])
def test_gradients_at_the_edges_are_those_of_the_vjps(bounds):
    """Where JAX's own chain rule would give 0 * inf, or a hard bound's gradient for a straight-through one."""
    mean = np.array([0.0, 2.0], np.float32)[:, None] + np.zeros_like(EDGES)
    logvar = np.zeros_like(mean) + EDGES
    for ours, vjp, primals in (
        (agj.kl, ag.kl_vjp, (mean, logvar)),
        (agj.nll, ag.nll_vjp, (mean, mean, logvar)),
        (agj.nll, ag.nll_vjp, (mean + 1, mean, logvar)),
        (agj.entropy, ag.entropy_vjp, (logvar,)),
    ):
        places = tuple(range(len(primals)))
        got = jax.jit(jax.grad(lambda *a, f=ours: f(*a, bounds=bounds), places))(*primals)
        for g, want in zip(got, vjp(*primals, cotangent=1.0, bounds=bounds), strict=True):
            assert np.isnan(np.asarray(g)).sum() == np.isnan(want).sum() == 0
            # XLA's exp, and soft bounds of two exponentials.
            np.testing.assert_allclose(g, want, rtol=3e-6, atol=1e-6)


def test_half_precision_is_differentiated_in_float32():
    for dtype in (jnp.float16, jnp.bfloat16):
        p = inputs()[-1].astype(dtype)
        z, kl = jax.eval_shape(lambda p: agj.sample_and_kl(p, rng=7), p)
        assert (z.dtype, kl.dtype) == (dtype, jnp.float32)
        grad = jax.jit(jax.grad(lambda p: agj.sample_and_kl(p, rng=7)[1].sum()))(p)
        want = ag.sample_and_kl_vjp(np.asarray(p), cotangent=(0.0, 1.0), rng=7)
        assert grad.dtype == dtype
        np.testing.assert_allclose(grad.astype(np.float32), want.astype(np.float32), rtol=2 * jnp.finfo(dtype).eps)


# The pytree


def test_a_distribution_goes_in_and_out_of_transformations():
    p = inputs()[-1]
    q = D(p, bounds=(-1, 1), event_axes=1)
    back = jax.jit(lambda q: q)(q)
    assert isinstance(back, D)
    assert (back.bounds, back.event_axes, back.deterministic) == (q.bounds, q.event_axes, q.deterministic)
    assert (back.shape, back.dtype) == (q.shape, q.dtype)
    np.testing.assert_array_equal(back.kl(), q.kl())
    assert len(jax.tree.leaves(q)) == 2
    gradient = jax.grad(lambda q: q.kl().sum())(D(p))
    want = ag.kl_vjp(*np.split(np.asarray(p), 2, axis=1), cotangent=1.0, bounds=(-30, 20))
    for got, exact in zip(jax.tree.leaves(gradient), want, strict=True):
        assert_close(got, exact)


def test_vmap_over_a_distribution_takes_its_batch_away():
    q = D(inputs()[-1])
    kl, z, zeros = jax.jit(jax.vmap(lambda one: (one.kl(), one.sample(3), jnp.zeros(one.shape))))(q)
    np.testing.assert_allclose(kl, jax.jit(lambda q: q.kl())(q), rtol=1e-6)
    assert z.shape == zeros.shape == q.shape


def test_a_distribution_may_be_carried_by_scan_and_chosen_by_cond():
    q = D(jnp.zeros((2, 4)))

    def step(q, key):
        return D(jnp.concat([q.sample(key), q.logvar], axis=1)), q.kl()

    last, kls = jax.lax.scan(step, q, jax.random.split(jax.random.key(0), 5))
    assert kls.shape == (5, 2)
    assert (last.kl() > 0).all()
    chosen = jax.lax.cond(True, lambda q: q, lambda q: D.from_mean_logvar(q.mean + 1, q.logvar, bounds=q.bounds), q)
    np.testing.assert_array_equal(chosen.mean, q.mean)


def test_a_point_stays_one():
    q = jax.jit(lambda p: D(p, deterministic=True))(inputs()[-1])
    assert q.deterministic
    np.testing.assert_array_equal(q.sample(), q.mean)
    np.testing.assert_array_equal(q.kl(), np.zeros(3, np.float32))


# Transformations


@pytest.mark.usefixtures("way")
def test_vmap_is_a_loop():
    x, mean, logvar, *_, p = inputs()
    for call, args, axes in (
        (lambda u, v: agj.kl(u, v, axis=0), (mean, logvar), (0, 0)),
        (lambda x, u: agj.nll(x, u, 0.5), (x, mean[0]), (0, None)),
        (agj.std, (logvar,), (1,)),
        (lambda p: agj.sample(p, p, rng=7), (p,), (0,)),
    ):
        call = jax.jit(call)
        got = jax.vmap(call, in_axes=axes)(*args)
        size = next(a.shape[k] for a, k in zip(args, axes, strict=True) if k is not None)
        for i in range(size):
            one = call(*(a if k is None else jnp.take(a, i, axis=k) for a, k in zip(args, axes, strict=True)))
            np.testing.assert_allclose(got[i], one, rtol=1e-6, atol=1e-6)


@pytest.mark.slow
def test_shards_have_the_noise_of_the_whole():
    """On four devices that XLA makes of this CPU: cut by batch, where no data moves, and by an event axis. They take
    the form, and a device's own part by shard_map or pmap the loops."""
    code = """
        import jax, numpy as np, agauss as ag
        from jax.sharding import NamedSharding, PartitionSpec as P
        from agauss.integrations import jax as agj
        auto = jax.sharding.AxisType.Auto
        mesh = jax.make_mesh((4,), ("devices",), axis_types=(auto,))
        p = np.random.default_rng(0).normal(size=(8, 8, 64)).astype(np.float32)
        step = jax.jit(lambda p, key: agj.sample_and_kl(p, rng=key))
        key = jax.random.key(7)
        z, kl = step(p, key)
        np.testing.assert_allclose(z, ag.sample_and_kl(p, rng=7)[0], rtol=1e-5, atol=1e-6)
        for spec in (P("devices"), P(None, None, "devices")):
            cut = jax.device_put(p, NamedSharding(mesh, spec))
            z_cut, kl_cut = step(cut, key)
            np.testing.assert_allclose(z_cut, z, rtol=1e-6, atol=1e-6)  # XLA's exp
            np.testing.assert_array_equal(step(0 * cut, key)[0], step(0 * p, key)[0])
            np.testing.assert_allclose(kl_cut, kl, rtol=1e-6)
            assert tuple(z_cut.sharding.spec)[: len(spec)] == tuple(spec)
            grad = jax.jit(jax.grad(lambda p: agj.sample_and_kl(p, rng=key)[1].sum()))(cut)
            np.testing.assert_allclose(grad[:, :4], p[:, :4], rtol=1e-6)
            text = step.lower(cut, key).compile().as_text()
            assert "all-gather" not in text and "all-to-all" not in text
        each = lambda p: agj.sample_and_kl(p, rng=7)
        mapped = jax.jit(jax.shard_map(each, mesh=mesh, in_specs=P("devices"), out_specs=P("devices")))
        gradient = jax.jit(jax.shard_map(
            jax.grad(lambda p: agj.sample_and_kl(p, rng=7)[1].sum()),
            mesh=mesh, in_specs=P("devices"), out_specs=P("devices"),
        ))
        for found in (mapped(p), [x.reshape(-1, *x.shape[2:]) for x in jax.pmap(each)(p.reshape(4, 2, 8, 64))]):
            for k in range(0, 8, 2):
                for got, want in zip(found, ag.sample_and_kl(p[k : k + 2], rng=7)):
                    np.testing.assert_array_equal(got[k : k + 2], want)
        kl_vjp = ag.sample_and_kl_vjp(p, cotangent=(0.0, 1.0), rng=7)
        np.testing.assert_array_equal(gradient(p), kl_vjp)
        print("done")
    """
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=4", "JAX_PLATFORMS": "cpu"}
    found = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, env=environment
    )
    assert found.stdout == "done\n", found.stderr


# Bad input


def test_bad_input_is_told_what_it_should_have_been():
    a = jnp.ones((2, 4))
    zeros = jnp.zeros(3)
    keys = jax.random.split(jax.random.key(0), 3)
    cases = (
        (
            lambda: agj.sample(zeros, zeros, rng=keys),
            ValueError,
            r"rng must be one key; got \(3,\) of them: use jax.vmap",
        ),
        (
            lambda: jax.jit(lambda n: agj.sample(zeros, zeros, rng=n))(3),
            TypeError,
            r"rng must be a key where it is traced; got int32\[\]: pass jax.random.key\(n\) or Key\(0\).fold_in",
        ),
        (
            lambda: jax.jit(lambda z: agj.sample(z, z, rng=None))(zeros),
            TypeError,
            "rng must be a key or an int inside jit, grad and vmap, or each call would have the same noise; got None",
        ),
        (lambda: agj.sample(zeros, zeros, rng=1.5), TypeError, "rng must be None, an int, a Key"),
        (lambda: agj.kl(a, a, axis=(), out=a), TypeError, "out must be None, for JAX's arrays cannot be written to"),
        (
            lambda: agj.kl(a, torch.ones(2, 4)),
            TypeError,
            "logvar must be an array of JAX or NumPy, or a real number; got Tensor",
        ),
        (lambda: ag.kl(a, torch.ones(2, 4)), TypeError, "logvar must be of the same library as mean, jax; got torch"),
        (lambda: agj.kl(a, a[:, :3]), ValueError, "logvar must broadcast against mean"),
        (lambda: D(a[:, :3]), ValueError, "parameters must have an even extent"),
        (lambda: D(torch.ones(2, 4)).sample(jax.random.key(0)), TypeError, "parameters must be an array of JAX"),
    )
    for call, kind, says in cases:
        with pytest.raises(kind, match=says):
            call()


def test_numpy_arrays_are_constants():
    a = np.ones((2, 4), np.float32)
    for got in (agj.kl(a, a), agj.kl(jnp.ones((2, 4)), a), D(a).kl()):
        assert isinstance(got, jax.Array)


def test_a_fresh_sample_outside_a_trace_is_fresh():
    zeros = jnp.zeros(3)
    assert (agj.sample(zeros, zeros, rng=None) != agj.sample(zeros, zeros, rng=None)).any()


def test_without_jax_the_extra_is_named():
    code = "import sys; sys.modules['jax'] = None; import agauss; import agauss.integrations.jax"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert 'agauss.integrations.jax needs jax: pip install "agauss[jax]"' in found.stderr


def test_the_plain_form_is_the_likelihood_of_itself():
    """The oracle's own check: KL by the plain form is the mean of log q - log p over many samples."""
    p = jnp.asarray(np.random.default_rng(1).normal(size=(1, 4, 1)).astype(np.float32))
    z = jax.jit(lambda p: agj.sample(jnp.broadcast_to(p[:, :2], (1, 2, 200_000)), p[:, 2:], rng=3))(p)
    log_q = agj.log_prob(z, p[:, :2], p[:, 2:], axis=(0, 1))
    log_p = -0.5 * (z**2 + math.log(2 * math.pi)).sum(axis=(0, 1))
    found = log_q - log_p
    error = float(found.std()) / math.sqrt(len(found))
    assert abs(float(found.mean()) - float(plain(p, 0.0)[1][0])) < 4 * error


@pytest.mark.parametrize("take", [jax.grad, lambda f: lambda x: jax.vjp(f, x)[1](jnp.float32(1))[0]])
def test_gradients_of_numbers_of_python(take):
    """JAX's tracer of such a number has no array within."""
    assert np.isclose(take(lambda logvar: agj.kl(1.0, logvar))(2.0), np.expm1(2.0) / 2)
    assert np.isclose(take(lambda x: agj.nll(x, 1.0, 0.0))(3.0), 2.0)
    found = take(lambda p: agj.kl(p["mean"], p["logvar"]))({"mean": 3.0, "logvar": 0.0})
    assert found == {"mean": 3.0, "logvar": 0.0}


@pytest.mark.parametrize(
    "draw",
    [
        lambda m, rng: ag.sample(m, m, rng=rng),
        lambda m, rng: ag.sample(m, m, rng=rng, sample_shape=2),
        lambda m, rng: ag.sample_and_kl(jnp.concatenate([m, m], 1), rng=rng)[0],
        lambda m, rng: ag.DiagonalGaussianDistribution(jnp.concatenate([m, m], 1)).sample(rng),
        lambda m, rng: ag.vjp(ag.sample, m, m, rng=rng)[0],
        lambda m, rng: m + ag.random.uniform((2, 3), rng=rng, xp=jnp),
        lambda m, rng: m + ag.random.normal((2, 3), rng=rng, xp=jnp),
    ],
)
def test_agausss_own_functions_freeze_no_noise_where_jax_traces(draw):
    """They take JAX's arrays too. None would be one key for all calls of the program."""
    m = jnp.zeros((2, 3))
    for rng in (None, np.random.default_rng(0)):
        with pytest.raises(TypeError, match="inside jit, grad and vmap, or each call would have the same noise"):
            jax.jit(lambda m, rng=rng: draw(m, rng))(m)
    assert jax.jit(lambda m: draw(m, ag.random.Key(0)))(m).shape[-2:] == (2, 3)
    assert draw(m, None).shape[-2:] == (2, 3)


def test_a_generator_is_refused_where_jax_traces():
    m = jnp.zeros((2, 3))
    for rng in (None, np.random.default_rng(0)):
        with pytest.raises(TypeError, match="inside jit, grad and vmap"):
            jax.jit(lambda m, rng=rng: agj.sample(m, m, rng=rng))(m)
    assert agj.sample(m, m, rng=np.random.default_rng(0)).shape == (2, 3)


def test_options_by_position_are_refused_with_the_functions_name():
    m = jnp.zeros((2, 3))
    with pytest.raises(TypeError, match=r"sample\(\) got too many arguments by position; it takes rng, .* by name"):
        agj.sample(m, m, jax.random.key(0))


def test_arguments_that_are_unknown_or_missing_are_named():
    p = jnp.zeros((2, 4))
    with pytest.raises(
        TypeError, match=r"sample_and_kl\(\) got an unexpected argument 'key'; it takes parameters, rng,"
    ):
        agj.sample_and_kl(p, key=jax.random.key(0))
    with pytest.raises(TypeError, match=r"nll\(\) is missing a required argument: 'logvar'"):
        agj.nll(p, p)
    with pytest.raises(TypeError, match=r"seed must be an integer; .*: inside jit, Key\(0\).fold_in\(n\) takes it"):
        jax.jit(lambda n: agj.sample(p, p, rng=ag.random.Key(n)))(3)
    with pytest.raises(TypeError, match=r"seed must be an integer; got \w+$"):  # jit has nothing to do with it
        ag.random.Key(jnp.float32(1.5))


@pytest.mark.parametrize("name", sorted(agj.FUNCTIONS))
def test_help_says_what_is_taken_before_the_sections(name):
    text, _, sections = getattr(agj, name).__doc__.partition("\n    ---")
    takes = inspect.signature(getattr(agj, name)).parameters
    assert "Takes JAX's arrays" in text
    assert ("``out`` must be None" in text) == ("out" in takes)
    assert ("key of jax.random" in text) == ("rng" in takes)
    assert sections  # as they are in agauss's own
    assert sections in getattr(ag, name).__doc__


def test_a_pytree_of_anything_has_a_repr():
    tree = jax.tree.map(
        jnp.shape, {"q": D(jnp.zeros((2, 4))), "full": agj.MultivariateNormal(jnp.zeros(3), jnp.eye(3))}
    )
    assert repr(tree["q"]) == "DiagonalGaussianDistribution(mean=(2, 2), logvar=(2, 2))"
    assert repr(tree["full"]) == "MultivariateNormal(mean=(3,), scale_tril=(3, 3))"


def test_a_full_covariance_is_a_pytree_that_takes_keys_of_jax():
    rng = np.random.default_rng(0)
    mean, tril = rng.normal(size=(2, 3)).astype(np.float32), np.tril(np.ones((3, 3), np.float32))
    q, own = agj.MultivariateNormal(jnp.asarray(mean), jnp.asarray(tril)), ag.MultivariateNormal(mean, tril)
    key = jax.random.key(7)
    z = jax.jit(lambda q, key: q.sample(key, index=jnp.arange(2)))(q, key)
    np.testing.assert_allclose(z, own.sample(7), rtol=1e-6)
    mapped = jax.vmap(lambda m: agj.MultivariateNormal(m, q.scale_tril).kl())(q.mean)
    np.testing.assert_allclose(mapped, own.kl(), rtol=1e-5)
    d = jax.jit(jax.grad(lambda q: q.kl().sum()))(q)
    assert isinstance(d, agj.MultivariateNormal)
    for found, expected in zip((d.mean, d.scale_tril), own.kl_vjp(cotangent=1.0), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    for found, expected in zip(q.sample_vjp(cotangent=1.0, rng=key), own.sample_vjp(cotangent=1.0, rng=7), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5)
    with pytest.raises(TypeError, match="inside jit, grad and vmap"):
        jax.jit(lambda q: q.sample())(q)
    _, tree = jax.tree.flatten(q)
    assert jax.tree.unflatten(tree, [object(), object()]) is not None
