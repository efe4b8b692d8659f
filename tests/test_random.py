"""The noise contract: Philox's published answers, pinned normals and an independent computation of them, keys, `rng=`,
and noise that no batch split, index order, thread count or memory layout changes."""

import pickle
from pathlib import Path

import ml_dtypes
import numba
import numpy as np
import pytest
from mpmath import mp, mpf
from oracles import same_bits

import agauss as ag
from agauss.backends.cpu import loops, mathlib  # noqa: F401 - loops hands the functions of noise.py to Numba
from agauss.maths import noise
from agauss.random import Key
from agauss.words import IntegerMaths

MASK32 = 2**32 - 1
FLOATS = (np.float32, np.float64)
# ulp, from the true normal of the rounded words: log and the root are right to 1 together, sine and cosine to 1.3, and
# the product rounds once. Found: 2.68 in 40 million of float32, 2.50 in 15 million of float64.
NORMAL_BOUND = 2.7
EVERY_DTYPE = ("float16", "bfloat16", "float32", "float64")

# An implementation of docs/numerics.md that shares nothing with the library's


def philox_by_hand(counter, key):
    """Philox4x32-10 in Python's integers, from the paper's figure 3."""
    c, k = list(counter), list(key)
    for _ in range(10):
        left, right = c[0] * 0xD2511F53, c[2] * 0xCD9E8D57
        c = [(right >> 32) ^ c[1] ^ k[0], right & MASK32, (left >> 32) ^ c[3] ^ k[1], left & MASK32]
        k = [(k[0] + 0x9E3779B9) & MASK32, (k[1] + 0xBB67AE85) & MASK32]
    return c


def block_by_hand(seed, stream, draw, block):
    return philox_by_hand((block & MASK32, block >> 32, draw, stream), (seed & MASK32, seed >> 32))


def rounded(x, digits):
    """x with so many binary digits."""
    with mp.workprec(digits):
        return +mpf(x)


def normal_by_hand(seed, stream, draw, element, dtype):
    """The normal of an element in 40 digits, from words that are rounded to the dtype first, as the contract has it."""
    bits, digits, per_block = (32, 24, 4) if dtype == np.float32 else (64, 53, 2)
    words = block_by_hand(seed, stream, draw, element // per_block)
    if bits == 64:
        words = [words[0] + (words[1] << 32), words[2] + (words[3] << 32)]
    place = element % per_block
    length, turn = words[place // 2 * 2], words[place // 2 * 2 + 1]
    with mp.workdps(40):
        u = rounded(rounded(length, digits) / mpf(2) ** bits + mpf(2) ** (-bits - 1), digits)
        quarters = (turn + 2 ** (bits - 3)) >> (bits - 2)
        rest = rounded(turn - (quarters << (bits - 2)), digits)
        angle = quarters * mp.pi / 2 + rest * mp.pi / mpf(2) ** (bits - 1)
        return mp.sqrt(-2 * mp.log(u)) * (mp.sin(angle) if place % 2 else mp.cos(angle))


def ulp_from(got, want):
    unit = float(np.spacing(np.abs(type(got)(float(want)))))
    return float(abs(mpf(float(got)) - want)) / unit


# Philox


def known_answers():
    rows = []
    for line in (Path(__file__).parent / "philox_kat.txt").read_text().splitlines():
        if not line.startswith("#"):
            words = [int(word, 16) for word in line.split()]
            rows.append((words[:4], words[4:6], words[6:]))
    assert len(rows) == 3
    return rows


@numba.njit
def philox_of_numba(c, k, out):
    for i in range(out.shape[0]):
        words = noise.philox(mathlib, c[i, 0], c[i, 1], c[i, 2], c[i, 3], k[i, 0], k[i, 1])
        for j in range(4):
            out[i, j] = words[j]


def by_the_array_function(counters, keys):
    return ag.random.philox4x32(counters.astype(np.uint32), keys.astype(np.uint32))


def by_numba(counters, keys):
    out = np.empty((len(counters), 4), np.uint64)
    philox_of_numba(counters.astype(np.uint64), keys.astype(np.uint64), out)
    return out


def by_pythons_integers(counters, keys):
    maths = IntegerMaths()
    pairs = zip(counters.tolist(), keys.tolist(), strict=True)
    return np.array([noise.philox(maths, *c, *k) for c, k in pairs], np.uint64)


PHILOX = (by_the_array_function, by_numba, by_pythons_integers)


def test_the_oracle_gives_the_published_answers():
    for counter, key, answer in known_answers():
        assert philox_by_hand(counter, key) == answer


@pytest.mark.parametrize("philox", PHILOX)
def test_philox_gives_the_published_answers(philox):
    counters, keys, answers = (np.array(column, np.uint64) for column in zip(*known_answers(), strict=True))
    np.testing.assert_array_equal(philox(counters, keys), answers)


@pytest.mark.parametrize("philox", PHILOX)
def test_philox_at_random_counters_and_keys(philox):
    rng = np.random.default_rng(0)
    counters, keys = (rng.integers(0, 2**32, (500, n), dtype=np.uint64) for n in (4, 2))
    want = [philox_by_hand(c, k) for c, k in zip(counters.tolist(), keys.tolist(), strict=True)]
    np.testing.assert_array_equal(philox(counters, keys), want)


def test_philox4x32_broadcasts_counters_against_keys():
    counters = np.arange(12, dtype=np.uint32).reshape(3, 1, 4)
    keys = np.arange(10, dtype=np.uint32).reshape(5, 2)
    words = ag.random.philox4x32(counters, keys)
    assert words.shape == (3, 5, 4)
    assert words.dtype == np.uint32
    for i in range(3):
        for j in range(5):
            assert words[i, j].tolist() == philox_by_hand(counters[i, 0].tolist(), keys[j].tolist())


@pytest.mark.parametrize(
    ("counter", "key", "error"),
    [
        (np.zeros(4, np.int64), np.zeros(2, np.uint32), TypeError),
        (np.zeros(4, np.uint32), np.zeros(2), TypeError),
        ([0, 0, 0, 0], np.zeros(2, np.uint32), TypeError),
        (np.zeros(3, np.uint32), np.zeros(2, np.uint32), ValueError),
        (np.zeros(4, np.uint32), np.zeros((), np.uint32), ValueError),
    ],
)
def test_philox4x32_refuses_other_dtypes_and_extents(counter, key, error):
    with pytest.raises(error, match=r"counter must|key must"):
        ag.random.philox4x32(counter, key)


# Normals, pinned

BIG = Key(2**64 - 1, 2**32 - 1)
MIXED = Key(0x0123456789ABCDEF, 0xFEDCBA98)
# (dtype, key, draw, first element): the bits of 8 normals. They never change within a major version. The oracle above
# agrees with each (test_pinned_normals_are_what_the_contract_says), so they are right, not just what once came out.
PINNED = {
    (np.float32, Key(7), 0, 0): "3998dd85 be9c14e8 3fe4f5ff 3f88b00c 3ec0b7f5 bfa4bccd 3fe7df5c befb83ee",
    (np.float32, MIXED, 0, 0): "be7cfada 3ef67fe2 bf9781c0 beb7ac3a be67d7bf 3fb56d90 3e00ed74 bff78c0f",
    (np.float32, Key(7), 3, 0): "3f3a9823 3f37c312 bfc58917 bf8f1a94 bf7fbaee 3e83c1f3 c011a8d5 bea393b6",
    (np.float32, BIG, 0, 2**43): "3ea413df 3fa56299 bf69711d bdb3d99e bf22442c 3e11c8e9 bfb04a78 bf8015a3",
    (np.float64, Key(7), 0, 0): (
        "3fe4d586bf318c30 3fd8e02314da031b 3fe4e7654a935a2d bfc6acbbd7f7a708 "
        "3ffcb99a6f92ceee c0041deebc96511a 3ff11ab5691df3e9 3ff46b6d4644d174"
    ),
    (np.float64, MIXED, 0, 0): (
        "bff6f169dd13f699 bfdbd06102ad8729 3fbab738c821f99c bff9a5d152b5914b "
        "bfbf67ae918a64f3 3ff304a83305d74d bfe92e75af8d580a 3fe5cc14ec676845"
    ),
    (np.float64, Key(7), 3, 0): (
        "bffa7c717545165f bff33010bf8951db bff3bfd8ae0e001e bfc62dc377dad30d "
        "bfcd6dc6ccc4d514 3fd6048bcbef4b13 3febd103817b661b 3fe198750e50bfa5"
    ),
    (np.float64, BIG, 0, 2**43): (
        "3fac8e5809e76e47 3ff1632c24ebb065 bfeef775ba341d73 bfad5e6d386dcdbc "
        "3fe6775a533ee219 bfc1c5567ff76a5d 3fd7d8af847e66b1 bff9d5848b460949"
    ),
}


def pinned(case):
    dtype, words = case[0], PINNED[case].split()
    return np.array([int(word, 16) for word in words], np.uint32 if dtype == np.float32 else np.uint64).view(dtype)


def eight_normals(dtype, key, draw, element):
    """Eight of the library's normals, from an element that is a multiple of eight on."""
    zeros = np.zeros((1, 8), dtype)
    return ag.sample(zeros, zeros, rng=key, index=[element // 8], sample_shape=draw + 1)[draw, 0]


@pytest.mark.parametrize("case", PINNED, ids=str)
def test_normals_have_the_pinned_bits(case):
    assert same_bits(eight_normals(*case), pinned(case))


@pytest.mark.parametrize("case", PINNED, ids=str)
def test_pinned_normals_are_what_the_contract_says(case):
    dtype, key, draw, element = case
    for k, value in enumerate(pinned(case)):
        assert ulp_from(value, normal_by_hand(key.seed, key.stream, draw, element + k, dtype)) < NORMAL_BOUND


@pytest.mark.parametrize("dtype", FLOATS)
def test_random_normal_gives_the_pinned_bits(dtype):
    for key in (Key(7), MIXED):
        assert same_bits(ag.random.normal(8, rng=key, dtype=np.dtype(dtype).name), pinned((dtype, key, 0, 0)))


@pytest.mark.parametrize("dtype", FLOATS)
def test_thousands_of_normals_are_what_the_contract_says(dtype):
    x = ag.random.normal(2000, rng=MIXED, dtype=np.dtype(dtype).name)
    errors = [ulp_from(v, normal_by_hand(MIXED.seed, MIXED.stream, 0, e, dtype)) for e, v in enumerate(x)]
    assert max(errors) < NORMAL_BOUND


@pytest.mark.slow
def test_millions_of_float32_normals_are_what_the_contract_says():
    """The mapping once more, by whole arrays in float64, which is right to 1e-7 ulp of float32."""
    low, high = np.uint64(MASK32), np.uint64(32)
    for seed in (6, 2**40 + 7):
        blocks = np.arange(500_000, dtype=np.uint64)
        c = [blocks, np.zeros_like(blocks), np.full_like(blocks, 2), np.full_like(blocks, 9)]
        k = [np.uint64(seed & MASK32), np.uint64(seed >> 32)]
        for _ in range(10):
            left, right = c[0] * np.uint64(0xD2511F53), c[2] * np.uint64(0xCD9E8D57)
            c = [(right >> high) ^ c[1] ^ k[0], right & low, (left >> high) ^ c[3] ^ k[1], left & low]
            k = [(k[0] + np.uint64(0x9E3779B9)) & low, (k[1] + np.uint64(0xBB67AE85)) & low]
        want = []
        for length, turn in (c[:2], c[2:]):
            u = (length.astype(np.float32).astype(np.float64) * 2.0**-32 + 2.0**-33).astype(np.float32)
            radius = np.sqrt(-2 * np.log(u.astype(np.float64)))
            quarters = ((turn + 2**29) >> 30).astype(np.int64)
            rest = (turn.astype(np.int64) - (quarters << 30)).astype(np.float32).astype(np.float64) * (np.pi / 2**31)
            sine, cosine = np.sin(rest), np.cos(rest)
            want.append(radius * np.choose(quarters % 4, [cosine, -sine, -cosine, sine]))
            want.append(radius * np.choose(quarters % 4, [sine, cosine, -sine, -cosine]))
        want = np.stack(want, axis=-1).ravel()
        row = np.broadcast_to(np.float32(0), want.shape)
        x = ag.sample(row, row, rng=Key(seed, 9), sample_shape=3)[2]
        assert (np.abs(x - want) / np.spacing(np.abs(want.astype(np.float32)))).max() < NORMAL_BOUND


@pytest.mark.parametrize("dtype", FLOATS)
def test_sample_ids_up_to_the_largest_pick_their_elements(dtype):
    """Element numbers are taken modulo 2^64; three to a sample, so that samples begin inside blocks."""
    ids = [0, 1, 2**31, 2**32 - 1, 2**32, 2**40 + 1, 2**62, 2**63 - 1]
    zeros = np.zeros((len(ids), 3), dtype)
    z = ag.sample(zeros, zeros, rng=MIXED, index=ids)
    for row, sample_id in zip(z, ids, strict=True):
        for k, value in enumerate(row):
            element = (3 * sample_id + k) % 2**64
            assert ulp_from(value, normal_by_hand(MIXED.seed, MIXED.stream, 0, element, dtype)) < NORMAL_BOUND


def test_normals_lie_within_the_documented_extremes():
    # The least uniform is half a word's worth: sqrt(-2 ln 2^-33) and sqrt(-2 ln 2^-65).
    assert np.abs(ag.random.normal(4_000_000, rng=1)).max() <= 6.7638
    assert np.abs(ag.random.normal(4_000_000, rng=1, dtype="float64")).max() <= 9.493


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


# Batches, chunks, threads, layouts


def pair(shape, dtype, seed=0):
    rng = np.random.default_rng(seed)
    kind = ml_dtypes.bfloat16 if dtype == "bfloat16" else np.dtype(dtype)
    return rng.normal(size=shape).astype(kind), rng.normal(size=shape).astype(kind)


# Events of 1, 3, 5 and 35 elements begin inside blocks of noise, those of 1,023 and 1,030 inside tiles too.
EVENTS = ((), (1,), (3,), (5, 7), (4, 2), (1023,), (2, 5, 103))


@pytest.mark.parametrize("dtype", EVERY_DTYPE)
@pytest.mark.parametrize("event", EVENTS)
def test_a_batch_of_ten_is_ten_batches_of_one(event, dtype):
    mean, logvar = pair((10, *event), dtype)
    whole = ag.sample(mean, logvar, rng=MIXED)
    for b in range(10):
        assert same_bits(whole[b : b + 1], ag.sample(mean[b : b + 1], logvar[b : b + 1], rng=MIXED, index=[b]))


@pytest.mark.parametrize("event", EVENTS)
def test_any_split_of_a_batch_gives_its_parts(event):
    mean, logvar = pair((10, *event), "float32")
    whole = ag.sample(mean, logvar, rng=MIXED)
    for cut in range(11):
        for part in (slice(0, cut), slice(cut, 10)):
            ids = np.arange(10)[part]
            assert same_bits(whole[part], ag.sample(mean[part], logvar[part], rng=MIXED, index=ids))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("event", EVENTS)
def test_a_permuted_or_repeated_index_permutes_and_repeats_the_samples(event, dtype):
    mean, logvar = pair((40, *event), dtype)
    whole = ag.sample(mean, logvar, rng=MIXED)
    rng = np.random.default_rng(1)
    for ids in (rng.permutation(40), rng.integers(0, 40, 40), np.arange(40)[::-1]):
        assert same_bits(whole[ids], ag.sample(mean[ids], logvar[ids], rng=MIXED, index=ids))


@pytest.mark.parametrize("kind", ["int8", "uint8", "int32", "uint32", "int64", "uint64"])
def test_an_indexs_dtype_does_not_matter(kind):
    mean, logvar = pair((20, 3), "float32")
    assert same_bits(ag.sample(mean, logvar, rng=1), ag.sample(mean, logvar, rng=1, index=np.arange(20, dtype=kind)))


def test_ids_beyond_int64_are_taken_from_uint64():
    zeros = np.zeros((2, 4), np.float32)
    z = ag.sample(zeros, zeros, rng=MIXED, index=np.array([2**63, 2**64 - 1], np.uint64))
    for row, sample_id in zip(z, (2**63, 2**64 - 1), strict=True):
        for k, value in enumerate(row):
            element = (4 * sample_id + k) % 2**64
            assert ulp_from(value, normal_by_hand(MIXED.seed, MIXED.stream, 0, element, np.float32)) < NORMAL_BOUND


def test_a_strided_index_is_read_in_its_order():
    mean, logvar = pair((20, 3), "float32")
    ids = np.arange(60, dtype=np.int64)[::-3]
    assert same_bits(ag.sample(mean, logvar, rng=1, index=ids), ag.sample(mean, logvar, rng=1, index=ids.copy()))


@pytest.mark.parametrize("event", [(), (3,), (1023,)])
def test_fused_ops_and_gradients_see_the_same_noise(event):
    mean, logvar = pair((10, 1, *event), "float32")
    parameters = np.concatenate([mean, logvar], axis=1)
    ids = np.random.default_rng(2).permutation(10)
    z = ag.sample(mean, logvar, rng=MIXED, index=ids)
    assert same_bits(ag.sample_and_kl(parameters, rng=MIXED, index=ids, bounds=None)[0], z)
    eps = ag.sample(np.zeros_like(mean), np.zeros_like(mean), rng=MIXED, index=ids)
    gradient = ag.sample_vjp(np.zeros_like(mean), np.zeros_like(mean), cotangent=1.0, rng=MIXED, index=ids)[1]
    assert same_bits(2 * gradient, eps)
    both = ag.sample_and_kl_vjp(np.zeros_like(parameters), cotangent=(1.0, 0.0), rng=MIXED, index=ids)
    assert same_bits(2 * both[:, 1:], eps)


@pytest.mark.skipif(
    numba.config.NUMBA_NUM_THREADS < 2, reason="one processor; test_threads.py starts two threads anyway"
)
@pytest.mark.parametrize("shape", [(2, 8, 64, 64), (7, 33, 331), (100_003,), (32768, 1), (3, 33_333)])
@pytest.mark.parametrize("dtype", EVERY_DTYPE)
def test_one_thread_and_two_give_the_same_bits(shape, dtype):
    mean, logvar = pair(shape, dtype)
    ids = np.random.default_rng(3).permutation(shape[0])

    def results():
        indexed = ag.sample(mean, logvar, rng=MIXED, index=ids)
        draws = ag.sample(mean, logvar, rng=MIXED, sample_shape=2)
        return indexed, draws, *ag.sample_vjp(mean, logvar, cotangent=1.0, rng=MIXED)

    before = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        alone = results()
        numba.set_num_threads(2)
        together = results()
    finally:
        numba.set_num_threads(before)
    for a, b in zip(alone, together, strict=True):
        assert same_bits(a, b)


def test_sample_shape_counts_draws_in_c_order():
    mean, logvar = pair((3, 5), "float32")
    flat = ag.sample(mean, logvar, rng=MIXED, sample_shape=6)
    assert flat.shape == (6, 3, 5)
    assert same_bits(ag.sample(mean, logvar, rng=MIXED, sample_shape=(2, 3)), flat.reshape(2, 3, 3, 5))
    assert same_bits(ag.sample(mean, logvar, rng=MIXED), flat[0])
    assert same_bits(ag.sample(mean, logvar, rng=MIXED, sample_shape=(1, 1))[0, 0], flat[0])


@pytest.mark.parametrize("dtype", EVERY_DTYPE)
def test_a_draw_does_not_depend_on_how_many_follow(dtype):
    mean, logvar = pair((3, 5), dtype)
    many = ag.sample(mean, logvar, rng=MIXED, sample_shape=10)
    for n in range(11):
        assert same_bits(ag.sample(mean, logvar, rng=MIXED, sample_shape=n), many[:n])


def test_draws_differ_in_every_element():
    zeros = np.zeros((3, 1024), np.float32)
    draws = ag.sample(zeros, zeros, rng=MIXED, sample_shape=20)
    assert len({draw.tobytes() for draw in draws}) == 20
    # Two float32 normals are equal with a probability near 2^-24: none of these 3 * 1024 * 19 pairs should be.
    assert (np.diff(draws, axis=0) != 0).all()


def test_more_draws_than_the_counter_holds_are_refused():
    with pytest.raises(ValueError, match="sample_shape must hold at most 4294967295"):
        ag.sample(np.zeros(1), np.zeros(1), rng=1, sample_shape=2**32, out=None)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_types_hold_the_float32_noise_rounded_once(dtype):
    kind = np.dtype(ml_dtypes.bfloat16) if dtype == "bfloat16" else np.dtype(dtype)
    for n in (1, 7, 1023, 1_000_000):
        want = ag.random.normal(n, rng=MIXED).astype(kind)
        assert same_bits(ag.random.normal(n, rng=MIXED, dtype=dtype), want)
        assert same_bits(ag.random.normal(n, rng=MIXED, dtype=kind), want)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_samples_are_float32_samples_rounded_once(dtype):
    mean, logvar = pair((9, 1023), dtype)
    wide = ag.sample(mean.astype(np.float32), logvar.astype(np.float32), rng=MIXED)
    assert same_bits(ag.sample(mean, logvar, rng=MIXED), wide.astype(mean.dtype))


def test_float64_noise_is_not_the_float32_noise():
    single, double = ag.random.normal(1000, rng=1), ag.random.normal(1000, rng=1, dtype="float64")
    assert (np.abs(single - double) > 1e-6).mean() > 0.99


@pytest.mark.parametrize("dtype", FLOATS)
def test_a_longer_normal_begins_with_the_shorter_ones_numbers(dtype):
    name = np.dtype(dtype).name
    longest = ag.random.normal(140_001, rng=MIXED, dtype=name)
    sizes = (*range(70), 1023, 1024, 1025, 4095, 4097, 32767, 32768, 32769, 65535, 65537, 70_001, 131_073)
    for n in sizes:
        assert same_bits(ag.random.normal(n, rng=MIXED, dtype=name), longest[:n])


def test_normals_shape_does_not_matter():
    flat = ag.random.normal(2 * 3 * 5 * 7, rng=MIXED)
    for shape in ((2, 3, 5, 7), (6, 35), (210, 1), (1, 1, 210)):
        assert same_bits(ag.random.normal(shape, rng=MIXED), flat.reshape(shape))
    assert same_bits(ag.random.normal((), rng=MIXED), flat[0].reshape(()))
    assert ag.random.normal((3, 0), rng=MIXED).shape == (3, 0)


@pytest.mark.parametrize("shapes", [((10, 1, 7), (1, 5, 1)), ((7,), (10, 5, 1)), ((), (10, 5, 7)), ((10, 5, 7), (1,))])
@pytest.mark.parametrize("dtype", FLOATS)
def test_broadcast_arguments_see_the_noise_of_the_full_shape(shapes, dtype):
    rng = np.random.default_rng(4)
    mean, logvar = (np.asarray(rng.normal(size=shape), dtype) for shape in shapes)
    full = np.broadcast_shapes(*shapes)
    ids = rng.permutation(full[0])
    wide = [np.broadcast_to(a, full).copy() for a in (mean, logvar)]
    for index in (None, ids):
        assert same_bits(ag.sample(mean, logvar, rng=MIXED, index=index), ag.sample(*wide, rng=MIXED, index=index))


def layouts(a):
    """The array's values at other strides."""
    spread = np.zeros([2 * n for n in a.shape], a.dtype)[tuple(slice(None, None, 2) for _ in a.shape)]
    spread[...] = a
    turned = np.ascontiguousarray(a[::-1, :, ::-1])[::-1, :, ::-1]
    return spread, turned, np.asfortranarray(a), np.ascontiguousarray(a.transpose(1, 2, 0)).transpose(2, 0, 1)


@pytest.mark.parametrize("dtype", EVERY_DTYPE)
def test_strided_arguments_and_out_see_the_same_noise(dtype):
    mean, logvar = pair((6, 35, 11), dtype)
    ids = np.random.default_rng(5).permutation(6)
    for index in (None, ids):
        want = ag.sample(mean, logvar, rng=MIXED, index=index)
        for strided_mean, strided_logvar in zip(layouts(mean), layouts(logvar), strict=True):
            assert same_bits(ag.sample(strided_mean, strided_logvar, rng=MIXED, index=index), want)
        for out in layouts(np.zeros_like(mean)):
            assert ag.sample(mean, logvar, rng=MIXED, index=index, out=out) is out
            assert same_bits(out.copy("C"), want)


def test_normal_fills_an_out_of_any_layout():
    want = ag.random.normal((6, 35, 11), rng=MIXED)
    for out in layouts(np.zeros((6, 35, 11), np.float32)):
        assert ag.random.normal((6, 35, 11), rng=MIXED, out=out) is out
        assert same_bits(out.copy("C"), want)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"shape": -1}, ValueError),
        ({"shape": (2, -3)}, ValueError),
        ({"shape": 2.0}, TypeError),
        ({"shape": 2, "dtype": "int32"}, TypeError),
        ({"shape": 2, "dtype": np.complex64}, TypeError),
        ({"shape": 2, "dtype": "float31"}, TypeError),
        ({"shape": 2, "out": np.zeros(3, np.float32)}, ValueError),
        ({"shape": 2, "out": np.zeros(2)}, TypeError),
    ],
)
def test_normal_refuses_bad_shapes_dtypes_and_outs(arguments, error):
    with pytest.raises(error, match="must"):
        ag.random.normal(rng=1, **arguments)
