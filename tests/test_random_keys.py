"""Keys, and every kind of `rng=` that becomes one."""

import pickle

import numpy as np
import pytest
from noise_by_hand import BIG, MASK32, MIXED, philox_by_hand
from oracles import same_bits

import agauss as ag
from agauss.random import Key

# Keys


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((-1,), ValueError),
        ((2**64,), ValueError),
        ((0, -1), ValueError),
        ((0, 2**32), ValueError),
        ((1.0,), TypeError),
        (("7",), TypeError),
        ((None,), TypeError),
        ((0, 0.5), TypeError),
    ],
)
def test_key_refuses_what_is_no_integer_or_out_of_range(arguments, error):
    with pytest.raises(error, match=r"seed must be|stream must be"):
        Key(*arguments)


def test_key_takes_the_ends_of_its_range_and_numpy_integers():
    assert (BIG.seed, BIG.stream) == (2**64 - 1, 2**32 - 1)
    assert Key(np.uint64(2**64 - 1), np.int8(3)) == Key(2**64 - 1, 3)
    assert type(Key(np.uint64(5)).seed) is int


@pytest.mark.parametrize(("n", "error"), [(-1, ValueError), (2**64, ValueError), (1.5, TypeError)])
def test_fold_in_refuses_what_is_no_integer_or_out_of_range(n, error):
    with pytest.raises(error, match="n must be"):
        Key(0).fold_in(n)


def test_fold_in_is_pinned():
    assert Key(7).fold_in(3) == Key(13963754357551311664, 1443231119)
    assert Key(7).fold_in(3).fold_in(2**63 + 5) == Key(9036278750635343502, 2301555315)
    assert BIG.fold_in(0) == Key(8172207955014050567, 1879657453)


@pytest.mark.parametrize("key", [Key(0), Key(7), MIXED, BIG])
@pytest.mark.parametrize("n", [0, 1, 2**32, 2**64 - 1])
def test_fold_in_is_the_block_that_the_contract_names(key, n):
    words = philox_by_hand((n & MASK32, n >> 32, MASK32, key.stream), (key.seed & MASK32, key.seed >> 32))
    assert key.fold_in(n) == Key(words[0] + (words[1] << 32), words[2])


def test_folded_keys_differ_from_each_other_and_from_their_parents():
    parents = [Key(s, t) for s in (0, 1, 2**63) for t in (0, 1)]
    children = [key.fold_in(n) for key in parents for n in (*range(200), 2**32, 2**40, 2**64 - 1)]
    assert len({*parents, *children}) == len(parents) + len(children)


def test_keys_are_equal_and_hash_by_seed_and_stream():
    assert Key(3, 4) == Key(3, 4)
    assert hash(Key(3, 4)) == hash(Key(3, 4))
    assert Key(3, 4) != Key(4, 3)
    assert Key(3) != Key(3, 1)
    assert Key(3) != 3
    assert len({Key(3), Key(3, 0), Key(3, 1), Key(4)}) == 3


def test_key_survives_pickling_and_its_own_repr():
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(MIXED, protocol)) == MIXED
    assert eval(repr(MIXED)) == MIXED


def test_key_cannot_be_changed():
    key = Key(3)
    for name in ("seed", "stream", "other"):
        with pytest.raises(AttributeError, match="cannot be changed"):
            setattr(key, name, 4)
    assert (key.seed, key.stream) == (3, 0)


def test_streams_and_seeds_change_the_noise():
    keys = [Key(0), Key(1), Key(2**32), Key(2**63), Key(0, 1), Key(0, 2**31), Key(0).fold_in(0)]
    assert len({ag.random.normal(4, rng=key).tobytes() for key in keys}) == len(keys)


# Kinds of rng


def one(rng):
    return ag.random.normal(4, rng=rng)


def test_no_rng_gives_different_noise_each_time():
    assert len({one(None).tobytes() for _ in range(20)}) == 20


def test_an_int_is_the_key_of_that_seed():
    for seed in (0, 7, 2**64 - 1):
        assert same_bits(one(seed), one(Key(seed)))
    assert same_bits(one(np.int64(7)), one(7))


@pytest.mark.parametrize("rng", [-1, 2**64])
def test_an_int_out_of_range_is_refused(rng):
    with pytest.raises(ValueError, match="rng must be"):
        one(rng)


@pytest.mark.parametrize("rng", [1.0, "7", True, np.zeros(2), [7], np.random.PCG64(7), np.random.RandomState(7)])
def test_any_other_rng_is_refused(rng):
    with pytest.raises(TypeError, match="rng must be"):
        one(rng)


def test_a_seed_sequence_is_pinned_and_not_changed():
    sequence = np.random.SeedSequence(7)
    before = (sequence.entropy, sequence.spawn_key, sequence.n_children_spawned)
    low, high = np.random.SeedSequence(7).generate_state(2)  # NumPy pins these by its own compatibility policy
    want = one(Key(int(low) + (int(high) << 32)))
    assert same_bits(one(sequence), want)
    assert same_bits(one(sequence), want)
    assert (sequence.entropy, sequence.spawn_key, sequence.n_children_spawned) == before


def test_spawned_seed_sequences_give_different_noise():
    children = np.random.SeedSequence(7).spawn(10)
    assert len({one(child).tobytes() for child in children}) == 10


@pytest.mark.parametrize("bit_generator", [np.random.PCG64, np.random.MT19937, np.random.Philox, np.random.SFC64])
def test_a_generator_is_advanced_by_one_64_bit_draw(bit_generator):
    ours, theirs = (np.random.Generator(bit_generator(7)) for _ in range(2))
    for shape in (4, (100, 100)):  # one draw, whatever the size
        got = ag.random.normal(shape, rng=ours)
        key = Key(int(theirs.integers(0, 2**64 - 1, dtype=np.uint64, endpoint=True)))
        assert same_bits(got, ag.random.normal(shape, rng=key))
    # The legacy state holds arrays: compare what comes next.
    assert ours.integers(0, 2**63, 10).tolist() == theirs.integers(0, 2**63, 10).tolist()


def test_several_draws_advance_a_generator_once():
    ours, theirs = np.random.default_rng(7), np.random.default_rng(7)
    ag.sample(np.zeros(3), np.zeros(3), rng=ours, sample_shape=(4, 5))
    theirs.integers(0, 2**64 - 1, dtype=np.uint64, endpoint=True)
    assert ours.bit_generator.state == theirs.bit_generator.state


def test_a_call_that_is_refused_leaves_its_generator_alone():
    ours = np.random.default_rng(7)
    before = ours.bit_generator.state
    with pytest.raises(ValueError, match="index must"):
        ag.sample(np.zeros((3, 2)), np.zeros((3, 2)), rng=ours, index=[0, 1])
    with pytest.raises(ValueError, match="out must"):
        ag.sample(np.zeros(3), np.zeros(3), rng=ours, out=np.zeros(4))
    assert ours.bit_generator.state == before


def test_vjp_makes_a_generator_into_one_key_for_both_ways():
    ours, theirs = np.random.default_rng(7), np.random.default_rng(7)
    value, pullback = ag.vjp(ag.sample, np.zeros(5), np.zeros(5), rng=ours)
    key = Key(int(theirs.integers(0, 2**64 - 1, dtype=np.uint64, endpoint=True)))
    assert same_bits(value, ag.random.normal(5, rng=key, dtype="float64"))
    assert same_bits(pullback(np.ones(5))[1] * 2, value)  # d z / d logvar = std * eps / 2
    assert ours.bit_generator.state == theirs.bit_generator.state
