"""agauss.integrations.jax: keys of jax.random and of agauss, ids of 64 bits, points and unusual leaves."""

import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax_calls import D, inputs

import agauss as ag
from agauss.integrations import jax as agj
from agauss.random import Key
from agauss.words import ArrayMaths

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


def test_keys_of_jaxs_philox_are_their_two_words():
    key = jax.random.key(7, impl="philox4x32")
    high, low = map(int, jax.random.key_data(key))  # a hash of the number
    found = agj.key_of(key)
    assert found == Key(low | high << 32) != Key(7)
    split = [agj.key_of(k) for k in jax.random.split(key)]
    assert len({found, *split}) == 3


def test_split_keys_have_noise_of_their_own():
    keys = jax.random.split(jax.random.key(0), 3)
    draw = jax.jit(lambda key: agj.sample(jnp.zeros(8), 0.0, rng=key))
    draws = jax.vmap(draw)(keys)
    assert len({row.tobytes() for row in np.asarray(draws)}) == 3
    for key, row in zip(keys, draws, strict=True):
        np.testing.assert_array_equal(draw(key), row)


# Keys, ids, points and leaves that are not the ordinary ones


@pytest.mark.parametrize("rng", [2**31, 2**40 + 2**31, Key(2**64 - 1, 2**32 - 1)])
@pytest.mark.parametrize("index", [None, range(2**33, 2**33 + 3), [2**63 + 1, 0, 5], np.array([2**33, 1, 2])])
def test_keys_and_ids_of_64_bits_reach_the_loops_without_x64(rng, index):
    _, mean, logvar, *_ = inputs()
    want = ag.sample(np.asarray(mean), np.asarray(logvar), rng=rng, index=index)
    np.testing.assert_array_equal(agj.sample(mean, logvar, rng=rng, index=index), want)
    np.testing.assert_array_equal(jax.jit(lambda m, v: agj.sample(m, v, rng=rng, index=index))(mean, logvar), want)


def test_a_point_takes_a_key_of_jax_and_draws_nothing():
    q = agj.DiagonalGaussianDistribution(inputs()[-1], deterministic=True)
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
    got = jax.jit(jax.grad(lambda p: agj.sample_and_kl(p, rng=7, bounds=None)[0].sum()))(p)
    want = ag.sample_vjp(np.zeros((1, 1), np.float32), np.full((1, 1), 100, np.float32), cotangent=1.0, rng=7)
    np.testing.assert_allclose(got, np.concatenate(want, axis=1), rtol=1e-6)
    both = jax.jit(jax.grad(lambda p: sum(v.sum() for v in agj.sample_and_kl(p, rng=7, bounds=None))))(p)
    assert not np.isnan(both).any()


WIDE_KEY = Key(2**63 + 5, 2**32 - 1)
IDS = np.array([2**64 - 1, 2**40 + 2**31, 3], np.uint64)
WORDS = np.stack([IDS & np.uint64(2**32 - 1), IDS >> np.uint64(32)], axis=1).astype(np.uint32)


def samples_of(ids):
    return ag.sample(np.zeros((3, 5), np.float32), 0.0, rng=7, index=np.array(ids, np.uint64))


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.usefixtures("way")
def test_traced_ids_are_taken_modulo_two_to_the_64(wide):
    jax.config.update("jax_enable_x64", wide)
    try:
        draw = jax.jit(lambda ids: agj.sample(jnp.zeros((3, 5), jnp.float32), 0.0, rng=7, index=ids))
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


@pytest.mark.usefixtures("way")
def test_words_of_ids_are_mapped_and_differentiated():
    def one(v, words):
        z = agj.sample(jnp.zeros((1, 5), jnp.float32), v[None], rng=7, index=words[None])
        return z.sum(), z[0]

    slopes = jax.jit(jax.vmap(jax.grad(one, has_aux=True)))
    slope, z = slopes(jnp.zeros((3, 5), jnp.float32), WORDS)
    np.testing.assert_array_equal(z, samples_of(IDS))
    np.testing.assert_allclose(slope, samples_of(IDS) / 2, rtol=1e-6)


def test_ids_of_64_bits_where_jax_has_none_are_refused():
    """Made while x64 was on: 32 bits of them would be lost."""
    with jax.enable_x64(True):
        ids = jnp.asarray(IDS)
    with pytest.raises(TypeError, match="index must have a dtype of 32 bits while 64 are not enabled; got uint64"):
        agj.sample(jnp.zeros((3, 5)), 0.0, rng=7, index=ids)


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


@pytest.mark.usefixtures("way")
def test_a_key_is_an_argument_like_any_other():
    zeros = np.zeros((2, 3), np.float32)

    def draw(v, key):
        z = agj.sample(0.0, v, rng=key)
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
    with pytest.raises(ValueError, match=r"rng must be one key; got \(3,\) of them: use jax.vmap over them"):
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
