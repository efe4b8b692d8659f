"""The noise contract: Philox's published answers, pinned normals and an independent computation of them."""

from pathlib import Path

import numba
import numpy as np
import pytest
from noise_by_hand import BIG, MASK32, MIXED, NORMAL_BOUND, normal_by_hand, philox_by_hand, ulp_from
from oracles import same_bits

import agauss as ag
from agauss.backends.cpu import mathlib
from agauss.maths import noise
from agauss.random import Key
from agauss.words import IntegerMaths

FLOATS = (np.float32, np.float64)


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


# (dtype, key, draw, first element): the bits of 8 normals. They never change within a major version. The oracle of
# noise_by_hand.py agrees with each (test_pinned_normals_are_what_the_contract_says), so they are right, not just what
# once came out.
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
