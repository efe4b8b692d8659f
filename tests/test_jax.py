"""agauss.integrations.jax: under jit, grad, jvp, vmap and sharding, with keys of jax.random, and by the loops on the
host."""

import math
import os
import pickle
import subprocess
import sys
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from cases import CALLS as EVERY
from cases import METHODS, RICH, arrays, as_tuple
from jax.test_util import check_grads
from quick import slow_unless

import agauss as ag
from agauss import ops
from agauss.integrations import jax as agj
from agauss.random import Key
from agauss.words import ArrayMaths

D = agj.DiagonalGaussianDistribution


def inputs(dtype=np.float32):
    """x, mean, logvar, column and row that broadcast, and parameters."""
    rng = np.random.default_rng(0)
    shapes = ((3, 4, 2), (3, 4, 2), (3, 4, 2), (4, 1), (3, 1, 2), (3, 8, 2))
    return [jnp.asarray(rng.normal(size=shape).astype(dtype)) for shape in shapes]


SOME = ("q.sample_and_kl", "q.kl", "q.nll", "q.std and var")  # XLA compiles long
CALLS = {**RICH, "kl_prior of everything": EVERY["kl_prior of everything"], **{name: METHODS[name] for name in SOME}}
PLACES = {"here": agj, "host": agj.host}
places = pytest.mark.parametrize("place", PLACES)


def test_every_function_is_here_and_on_the_host():
    assert set(ops.FUNCTIONS) < set(agj.__all__)
    for name, function in ops.FUNCTIONS.items():
        assert getattr(agj, name).__wrapped__ is getattr(agj.host, name).__wrapped__ is function


def assert_close(got, want, ulps=4):
    """Within some units of float32's precision, of the larger of the value and 1."""
    got, want = np.asarray(got), np.asarray(want)
    assert got.dtype == want.dtype
    np.testing.assert_allclose(got, want, rtol=ulps * 2.0**-23, atol=ulps * 2.0**-23)


@places
@pytest.mark.parametrize("name", CALLS)
def test_values_are_those_of_numpy_under_jit(place, name):
    call, given = CALLS[name], {key: arrays()[key] for key in CALLS[name].used}
    found = as_tuple(jax.jit(lambda a: call(PLACES[place], a))(given))
    for got, want in zip(found, as_tuple(call(ag, given)), strict=True):
        assert isinstance(got, jax.Array)
        if place == "host":
            np.testing.assert_array_equal(got, want)
        else:
            assert_close(got, want)  # sums of up to 24, and XLA's exp


@pytest.fixture
def x64():
    """For all threads: a callback's own has not the context of its caller."""
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", False)


@places
@pytest.mark.parametrize("name", slow_unless(lambda name: name in ("kl", "q.nll", "sample"), CALLS))
def test_gradients_and_theirs_are_the_slopes(place, name, x64):
    modes = ("fwd", "rev") if place == "here" else ("rev",)
    call, made = CALLS[name], arrays("float64")
    function = jax.jit(lambda *a: call(PLACES[place], dict(zip(call.used, a, strict=True))))
    check_grads(function, [jnp.asarray(made[key]) for key in call.used], order=2, modes=modes, rtol=1e-6, atol=1e-6)


def plain(parameters, eps):
    """Sample and KL as they are written without agauss."""
    mean, logvar = jnp.split(parameters, 2, axis=1)
    logvar = jnp.clip(logvar, -30.0, 20.0)
    return mean + jnp.exp(logvar / 2) * eps, 0.5 * jnp.sum(mean**2 + jnp.exp(logvar) - 1 - logvar, axis=(1, 2))


@places
def test_gradient_hessian_and_product_are_those_of_the_plain_form(place, x64):
    parameters = inputs(np.float64)[-1]
    eps = ag.random.normal((3, 4, 2), rng=7, dtype="float64")

    def ours(p):
        z, kl = PLACES[place].sample_and_kl(p, rng=7)
        return jnp.sum(z**3) + jnp.sum(kl**2)

    def theirs(p):
        z, kl = plain(p, eps)
        return jnp.sum(z**3) + jnp.sum(kl**2)

    def product(f):  # a custom_vjp has no jvp
        return lambda p: jax.jvp(f, (p,), (p + 1,)) if place == "here" else f(p)

    for of in (jax.grad, jax.hessian, product):
        got, want = jax.jit(of(ours))(parameters), jax.jit(of(theirs))(parameters)
        np.testing.assert_allclose(got, want, rtol=1e-11, atol=1e-11)


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


# Keys


def ulps_apart(a, b):
    return np.abs(np.asarray(a).view(np.int32).astype(np.int64) - np.asarray(b).view(np.int32))


def test_noise_is_that_of_numpy():
    zeros = np.zeros(100_000, np.float32)
    want = ag.random.normal(100_000, rng=2**40 + 7)
    key = jax.random.wrap_key_data(np.array([2**8, 7], np.uint32))
    for rng in (2**40 + 7, Key(2**40 + 7), key, jax.random.key_data(key), np.asarray(jax.random.key_data(key))):
        got = jax.jit(lambda v, rng=rng: agj.sample(0.0, v, rng=rng))(zeros)
        # The contract's 2; found: 0.
        assert ulps_apart(got, want).max() <= 2
    got = jax.jit(lambda v, rng: agj.sample(0.0, v, rng=rng))(zeros, key)
    assert ulps_apart(got, want).max() <= 2


@pytest.mark.parametrize("wide", [False, True])
def test_a_number_is_the_key_of_that_number(wide):
    with jax.enable_x64(wide):
        zeros = jnp.zeros((3, 5), jnp.float32)
        draw = jax.jit(lambda z, key: agj.sample(z, 0.0, rng=key, index=[4, 2, 2**33]))
        for seed in (0, 7, 2**31 - 1):
            want = ag.sample(np.zeros((3, 5), np.float32), 0.0, rng=seed, index=[4, 2, 2**33])
            np.testing.assert_array_equal(draw(zeros, jax.random.PRNGKey(seed)), want)
            typed, raw = agj.key_of(jax.random.key(seed)), agj.key_of(jax.random.PRNGKey(seed))
            assert typed.words() == raw.words()


def test_keys_of_four_words_are_a_seed_and_a_stream():
    key = jax.random.key(7, impl="rbg")
    a, b, c, d = (int(word) for word in jax.random.key_data(key))
    want = ag.random.normal(5, rng=Key(a << 32 | b, c ^ d))
    np.testing.assert_array_equal(jax.jit(lambda key: agj.sample(jnp.zeros(5), 0.0, rng=key))(key), want)


def test_split_keys_have_noise_of_their_own():
    keys = jax.random.split(jax.random.key(0), 3)
    draw = jax.jit(lambda key: agj.sample(jnp.zeros(8), 0.0, rng=key))
    draws = jax.vmap(draw)(keys)
    assert len({row.tobytes() for row in np.asarray(draws)}) == 3
    for key, row in zip(keys, draws, strict=True):
        np.testing.assert_array_equal(draw(key), row)


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
    np.testing.assert_allclose(jax.vmap(lambda one: one.kl())(q), q.kl(), rtol=1e-6)
    assert jax.vmap(lambda one: one.sample(3))(q).shape == q.shape
    assert jax.vmap(lambda one: jnp.zeros(one.shape))(q).shape == q.shape


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


@places
def test_vmap_is_a_loop(place):
    m = PLACES[place]
    x, mean, logvar, *_, p = inputs()
    for call, args, axes in (
        (lambda u, v: m.kl(u, v, axis=0), (mean, logvar), (0, 0)),
        (lambda x, u: m.nll(x, u, 0.5), (x, mean[0]), (0, None)),
        (m.std, (logvar,), (1,)),
        (lambda p: m.sample(p, p, rng=7), (p,), (0,)),
    ):
        call = jax.jit(call)
        got = jax.vmap(call, in_axes=axes)(*args)
        size = next(a.shape[k] for a, k in zip(args, axes, strict=True) if k is not None)
        for i in range(size):
            one = call(*(a if k is None else jnp.take(a, i, axis=k) for a, k in zip(args, axes, strict=True)))
            np.testing.assert_allclose(got[i], one, rtol=1e-6, atol=1e-6)


def test_shards_have_the_bits_of_the_whole():
    """On four devices that XLA makes of this CPU: cut by batch, where no data moves, and by an event axis."""
    code = """
        import jax, numpy as np, agauss as ag
        from jax.sharding import NamedSharding, PartitionSpec as P
        from agauss.integrations import jax as agj
        mesh = jax.make_mesh((4,), ("devices",))
        p = np.random.default_rng(0).normal(size=(8, 8, 64)).astype(np.float32)
        step = jax.jit(lambda p, key: agj.sample_and_kl(p, rng=key))
        key = jax.random.key(7)
        z, kl = step(p, key)
        np.testing.assert_allclose(z, ag.sample_and_kl(p, rng=7)[0], rtol=1e-5, atol=1e-6)
        for spec in (P("devices"), P(None, None, "devices")):
            cut = jax.device_put(p, NamedSharding(mesh, spec))
            z_cut, kl_cut = step(cut, key)
            np.testing.assert_array_equal(z_cut, z)
            np.testing.assert_allclose(kl_cut, kl, rtol=1e-6)
            assert tuple(z_cut.sharding.spec)[: len(spec)] == tuple(spec)
            grad = jax.jit(jax.grad(lambda p: agj.sample_and_kl(p, rng=key)[1].sum()))(cut)
            np.testing.assert_allclose(grad[:, :4], p[:, :4], rtol=1e-6)
            text = step.lower(cut, key).compile().as_text()
            assert "all-gather" not in text and "all-to-all" not in text
        print("done")
    """
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=4", "JAX_PLATFORMS": "cpu"}
    found = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, env=environment
    )
    assert found.stdout == "done\n", found.stderr


def test_the_host_is_called_from_compiled_code():
    p = inputs()[-1]
    text = str(jax.make_jaxpr(lambda p: agj.host.sample_and_kl(p, rng=7))(p))
    assert "pure_callback" in text
    step = jax.jit(lambda p, key: agj.host.DiagonalGaussianDistribution(p).sample_and_kl(key))
    for seed in (1, 2):
        for got, want in zip(step(p, jax.random.key(seed)), ag.sample_and_kl(np.asarray(p), rng=seed), strict=True):
            np.testing.assert_array_equal(got, want)


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
            r"rng must be a key of jax.random where it is traced; got int32\[\]: pass jax.random.key",
        ),
        (
            lambda: jax.jit(lambda z: agj.sample(z, z, rng=None))(zeros),
            TypeError,
            "rng must be a key where JAX traces, or each call would have the same noise; got None",
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
        (lambda: agj.host.kl(a, torch.ones(2, 4)), TypeError, "logvar must be an array of JAX or NumPy"),
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


def test_the_host_is_refused_where_jax_computes_elsewhere(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    with pytest.raises(ValueError, match="host must be used on the CPU alone; got gpu"):
        agj.host.kl(jnp.zeros(2), jnp.zeros(2))


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


# Keys, ids, points and leaves that are not the ordinary ones


@pytest.mark.parametrize("rng", [2**31, 2**40 + 2**31, Key(2**64 - 1, 2**32 - 1)])
@pytest.mark.parametrize("index", [None, range(2**33, 2**33 + 3), [2**63 + 1, 0, 5], np.array([2**33, 1, 2])])
def test_keys_and_ids_of_64_bits_reach_the_host_without_x64(rng, index):
    _, mean, logvar, *_ = inputs()
    want = ag.sample(np.asarray(mean), np.asarray(logvar), rng=rng, index=index)
    np.testing.assert_array_equal(agj.host.sample(mean, logvar, rng=rng, index=index), want)
    np.testing.assert_array_equal(jax.jit(lambda m, v: agj.host.sample(m, v, rng=rng, index=index))(mean, logvar), want)


@places
def test_a_point_takes_a_key_of_jax_and_draws_nothing(place):
    q = PLACES[place].DiagonalGaussianDistribution(inputs()[-1], deterministic=True)
    np.testing.assert_array_equal(q.sample(jax.random.key(0)), q.mean)
    np.testing.assert_array_equal(q.sample_and_kl(jax.random.key(0))[0], q.mean)
    with pytest.raises(TypeError, match="rng must be None, an int"):
        q.sample("key")


def test_a_key_of_jax_is_an_ordinary_one_traced_or_not():
    assert agj.key_of(jax.random.key(7)) == Key(7)
    folded = jax.jit(lambda key: agj.key_of(key).fold_in(3))(jax.random.key(7))
    assert folded == agj.key_of(jax.random.key(7)).fold_in(3) == Key(7).fold_in(3)


def test_a_distribution_whose_leaves_broadcast_may_be_mapped():
    q = jax.vmap(lambda m: D.from_mean_logvar(m, jnp.zeros(3)))(jnp.ones((5, 4, 3)))
    assert q.shape == (5, 4, 3)
    np.testing.assert_array_equal(jax.vmap(lambda one: one.kl())(q), np.full((5, 4), 1.5, np.float32))


def test_numpy_moments_become_arrays_of_jax():
    for q in (D.from_mean_logvar(np.zeros((2, 3)), np.float64(0)), D.from_moments(np.ones((2, 4), np.float32))):
        assert isinstance(q.mean, jax.Array)


def test_an_infinite_kl_does_not_reach_the_gradient_of_the_sample():
    p = jnp.array([[0.0, 100.0]])
    got = jax.grad(lambda p: agj.sample_and_kl(p, rng=7, bounds=None)[0].sum())(p)
    want = ag.sample_vjp(np.zeros((1, 1), np.float32), np.full((1, 1), 100, np.float32), cotangent=1.0, rng=7)
    np.testing.assert_allclose(got, np.concatenate(want, axis=1), rtol=1e-6)
    both = jax.grad(lambda p: sum(v.sum() for v in agj.sample_and_kl(p, rng=7, bounds=None)))(p)
    assert not np.isnan(both).any()


WIDE_KEY = Key(2**63 + 5, 2**32 - 1)
IDS = np.array([2**64 - 1, 2**40 + 2**31, 3], np.uint64)
WORDS = np.stack([IDS & np.uint64(2**32 - 1), IDS >> np.uint64(32)], axis=1).astype(np.uint32)


def samples_of(ids):
    return ag.sample(np.zeros((3, 5), np.float32), 0.0, rng=7, index=np.array(ids, np.uint64))


@places
@pytest.mark.parametrize("wide", [False, True])
def test_traced_ids_are_taken_modulo_two_to_the_64(place, wide):
    jax.config.update("jax_enable_x64", wide)
    try:
        draw = jax.jit(lambda ids: PLACES[place].sample(jnp.zeros((3, 5), jnp.float32), 0.0, rng=7, index=ids))
        below = np.array([-1, 2, -128], np.int32)
        np.testing.assert_array_equal(draw(below), samples_of([2**64 - 1, 2, 2**64 - 128]))
        np.testing.assert_array_equal(draw(WORDS), samples_of(IDS))
        if wide:
            np.testing.assert_array_equal(draw(IDS), samples_of(IDS))
    finally:
        jax.config.update("jax_enable_x64", False)


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.uint8, np.uint32])
def test_words_of_narrow_integers_are_those_of_their_64_bits(dtype):
    limits = np.array([np.iinfo(dtype).min, np.iinfo(dtype).max, 1, 0], dtype)
    low, high = ArrayMaths(jnp, jnp.uint32).halves("index", jnp.asarray(limits))
    whole = limits.astype(np.uint64)
    np.testing.assert_array_equal(low, whole & np.uint64(2**32 - 1))
    np.testing.assert_array_equal(high, whole >> np.uint64(32))


@places
def test_words_of_ids_are_mapped_and_differentiated(place):
    def one(v, words):
        z = PLACES[place].sample(jnp.zeros((1, 5), jnp.float32), v[None], rng=7, index=words[None])
        return z.sum(), z[0]

    slopes = jax.jit(jax.vmap(jax.grad(one, has_aux=True)))
    slope, z = slopes(jnp.zeros((3, 5), jnp.float32), WORDS)
    np.testing.assert_array_equal(z, samples_of(IDS))
    np.testing.assert_allclose(slope, samples_of(IDS) / 2, rtol=1e-6)


@places
def test_ids_of_64_bits_where_jax_has_none_are_refused(place):
    """Made while x64 was on: 32 bits of them would be lost."""
    with jax.enable_x64(True):
        ids = jnp.asarray(IDS)
    with pytest.raises(TypeError, match="index must have a dtype of 32 bits while 64 are not enabled; got uint64"):
        PLACES[place].sample(jnp.zeros((3, 5)), 0.0, rng=7, index=ids)


@pytest.mark.parametrize(
    "options",
    [
        {"offset": 2**63 + 2**31, "event_size": 3},
        {"offset": (2**62 + 5, 1), "event_size": (2**33,)},
        {"offset": (1, 2**31 + 1), "event_size": (2**62 + 5,)},
    ],
)
def test_blocks_far_off_have_the_noise_of_numpy(options):
    z = np.zeros((2, 3), np.float32)
    got = jax.jit(lambda z: ag.sample_block(z, 0.0, key=WIDE_KEY, **options))(z)
    np.testing.assert_array_equal(got, ag.sample_block(z, 0.0, key=WIDE_KEY, **options))


# Keys of agauss under transformations


@places
def test_a_key_is_an_argument_like_any_other(place):
    zeros = np.zeros((2, 3), np.float32)

    def draw(v, key):
        z = PLACES[place].sample(0.0, v, rng=key)
        return z.sum(), z

    slope, z = jax.jit(jax.grad(draw, has_aux=True))(zeros, WIDE_KEY)
    want = ag.sample(zeros, zeros, rng=WIDE_KEY)
    np.testing.assert_array_equal(z, want)
    np.testing.assert_allclose(slope, want / 2, rtol=1e-6)


def test_a_key_comes_back_as_it_went_in():
    back = jax.jit(lambda key: key)(WIDE_KEY)
    assert back == WIDE_KEY != Key(5) != back
    assert hash(back) == hash(WIDE_KEY)
    assert repr(back) == repr(WIDE_KEY)
    assert pickle.loads(pickle.dumps(back)) == WIDE_KEY
    np.testing.assert_array_equal(one_of(back), one_of(WIDE_KEY))


def one_of(key):
    return ag.random.normal(4, rng=key)


@pytest.mark.parametrize("wide", [False, True])
def test_a_traced_step_folds_in_as_a_known_one(wide):
    with jax.enable_x64(wide):
        folded, of_wide_key = jax.jit(lambda key, n: key.fold_in(n)), jax.jit(WIDE_KEY.fold_in)
        for n in (0, 5, 2**31 - 1, np.uint64(2**64 - 1) if wide else np.uint32(2**32 - 1)):
            assert folded(WIDE_KEY, n) == of_wide_key(n) == WIDE_KEY.fold_in(int(n))
        assert of_wide_key(-2) == WIDE_KEY.fold_in(2**64 - 2)
        assert jax.jit(lambda key: key.fold_in(2**64 - 2))(WIDE_KEY) == WIDE_KEY.fold_in(2**64 - 2)


def test_a_key_is_carried_by_scan_and_mapped_over():
    def step(key, n):
        key = key.fold_in(n)
        return key, agj.sample(jnp.zeros(4), 0.0, rng=key)

    last, carried = jax.lax.scan(step, WIDE_KEY, jnp.arange(3))
    key, want = WIDE_KEY, []
    for n in range(3):
        key = key.fold_in(n)
        want.append(one_of(key))
    assert last == key
    np.testing.assert_array_equal(carried, want)

    keys = jax.jit(jax.vmap(WIDE_KEY.fold_in))(jnp.arange(3))
    mapped = jax.jit(jax.vmap(lambda key: agj.sample(jnp.zeros(4), 0.0, rng=key)))(keys)
    np.testing.assert_array_equal(mapped, [one_of(WIDE_KEY.fold_in(n)) for n in range(3)])
    with pytest.raises(ValueError, match=r"rng must be one key; got \(3,\) of them: map over them"):
        agj.sample(jnp.zeros(4), 0.0, rng=keys)


def test_a_key_is_chosen_by_cond():
    assert jax.jit(lambda b: jax.lax.cond(b, lambda: Key(3), lambda: WIDE_KEY))(True) == Key(3)


def test_what_cannot_be_folded_in_is_told_what_it_should_have_been():
    traced = jax.jit(lambda n: WIDE_KEY.fold_in(n))
    both = jax.jit(lambda key: key.fold_in(True))
    for call, kind, says in (
        (lambda: traced(1.5), TypeError, "n must have an integer dtype; got float32"),
        (lambda: traced(True), TypeError, "n must have an integer dtype; got bool"),
        (lambda: traced(jnp.arange(2)), ValueError, r"n must be one integer; got shape \(2,\)"),
        (lambda: both(WIDE_KEY), TypeError, "n must be an integer; got bool"),
        (lambda: Key(7).fold_in(np.array(2.5)), TypeError, "n must have an integer dtype; got float64"),
    ):
        with pytest.raises(kind, match=says):
            call()
