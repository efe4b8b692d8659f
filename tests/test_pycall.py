"""A small call, made again: Python calls the loop in C, with the bits and the errors of the first call."""

import threading
from itertools import product

import numpy as np
import pytest
from cases import CALLS, arrays, as_tuple
from oracles import same_bits
from quick import FEW, slow_unless

import agauss as ag
from agauss import execution
from agauss.backends.cpu import backend, pycall
from agauss.random import Key

needs_c = pytest.mark.skipif(not pycall.IS_AS_EXPECTED, reason="this Python's or NumPy's objects lie differently")


@pytest.fixture(autouse=True)
def no_plans(monkeypatch):
    monkeypatch.setattr(execution, "_plans", {})


def call(name, given):
    return as_tuple(CALLS[name](ag, given))


@pytest.fixture
def in_c(monkeypatch):
    """What the functions in C return, one after the other."""
    found = []

    def counted(*args):
        function = pycall.function_of(*args)
        return function and (lambda *given: found.append(function(*given)) or found[-1])

    monkeypatch.setattr(backend, "function_of", counted)
    return found


def same(found, expected):
    return all(same_bits(np.asarray(a), np.asarray(b)) for a, b in zip(found, expected, strict=True))


# How a call is handed to C is the same for all operations, whose kernels are compiled for this alone.
@needs_c
@pytest.mark.parametrize(
    ("name", "dtype"),
    slow_unless(
        lambda name, _: name.partition(" ")[0].removesuffix("_vjp") in FEW,
        product(CALLS, ("float16", "float32", "float64")),
    ),
)
def test_a_second_call_has_the_bits_of_the_first(name, dtype, in_c):
    given = arrays(dtype)
    first, again = call(name, given), call(name, given)
    assert same(again, first)
    moved = {name: np.array(a) for name, a in given.items()}
    assert same(call(name, moved), first)
    assert all(in_c)


@needs_c
def test_it_is_c_that_is_called(in_c):
    a, p = np.zeros((4, 6), np.float32), np.zeros((4, 6, 5), np.float32)
    calls = {
        "kl": lambda: ag.kl(a, a, axis=1),
        "kl_vjp": lambda: ag.kl_vjp(a, a, cotangent=1.0, axis=1, bounds=(-30, 20)),
        "sample": lambda: ag.sample(a, a, rng=1),
        "sample with out": lambda: ag.sample(a, a, rng=1, out=a.copy()),
        "sample_and_kl": lambda: ag.sample_and_kl(p, rng=1),
        "sample_and_kl_vjp": lambda: ag.sample_and_kl_vjp(p, cotangent=(1.0, 0.5), rng=1),
        "normal": lambda: ag.random.normal((4, 6), rng=1),
        "q.kl": lambda: ag.DiagonalGaussianDistribution(p).kl(),
    }
    for name, work in calls.items():
        for _ in range(3):
            work()
        assert in_c == [True, True], name
        in_c.clear()


@pytest.mark.parametrize("name", ["kl_prior", "sample", "sample_and_kl_vjp", "bernoulli_nll"])
def test_where_objects_lie_differently_the_bits_are_the_same(name, monkeypatch):
    given = arrays()
    expected = [call(name, given) for _ in range(2)]
    monkeypatch.setattr(pycall, "IS_AS_EXPECTED", False)
    monkeypatch.setattr(pycall, "_forms", lambda: pycall._forms_of)
    execution._plans.clear()
    assert all(same(call(name, given), first) for first in expected)
    assert execution._plans


def test_arrays_of_different_forms_are_told_apart():
    a = np.zeros((4, 6), np.float32)
    others = [
        a.astype(np.float64),
        a.astype(np.float16),
        a.astype(">f4"),
        a.T,
        a[::2],
        a[:, ::2],
        a[::-1],
        a.reshape(6, 4),
        a.reshape(24),
        a.reshape(1, 4, 6),
        a[0, 0, ...],
        np.broadcast_to(a[0], a.shape),
    ]
    forms = [pycall.forms((b,)) for b in (a, *others)]
    assert len(set(forms)) == len(forms)
    assert pycall.forms((a, a)) not in forms
    assert pycall.forms((a.copy(),)) == forms[0]
    # Each extent and each stride counts, of every array.
    assert pycall.forms((a, a[:2])) != pycall.forms((a[:2], a))


def test_arrays_that_are_not_numpys_own_have_no_form(tmp_path):
    a = np.zeros(3, np.float32)
    for other in (a.view(np.ma.MaskedArray), a.view(type("Own", (np.ndarray,), {})), [0.0], 1.0, None):
        assert pycall.forms((a, other)) is None
        assert pycall.forms((other, a)) is None


def test_arrays_of_many_dimensions():
    a = np.full((1,) * 32, 3.0, np.float32)
    for _ in range(3):
        assert ag.kl(a, 0 * a) == 4.5
        assert same(ag.kl_vjp(a, 0 * a, cotangent=1.0), (a, 0 * a))
    assert pycall.forms((a,) * 8) == pycall.forms((a.copy(),) * 8)


def test_an_array_off_its_alignment_is_still_right(in_c):
    room, a = np.zeros(1000, np.uint8), np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
    off = np.ndarray(a.shape, a.dtype, room, offset=int(-room.ctypes.data % 4) + 1)
    off[...] = a
    expected = ag.kl(a, a, axis=1)
    assert same_bits(ag.kl(off, a, axis=1), expected)
    assert same_bits(ag.kl(a, off, axis=1), expected)
    assert in_c == [False, False]


@pytest.mark.parametrize("shift", [-25, -24, -1, 0, 1, 23, 24])
def test_an_out_that_overlaps_an_argument_is_filled_as_if_apart(shift):
    """Elements from where the out begins to where the argument does."""
    room = np.random.default_rng(1).normal(size=100).astype(np.float32)
    mean, logvar = np.array(room[40:64]), np.zeros(24, np.float32)
    expected = ag.sample(mean, logvar, rng=1)
    for _ in range(3):
        given = room.copy()
        out = given[40 + shift : 64 + shift]
        assert ag.sample(given[40:64], logvar, rng=1, out=out) is out
        assert same_bits(out, expected)


def test_an_out_backwards_over_an_argument_is_filled_as_if_apart():
    room = np.random.default_rng(1).normal(size=24).astype(np.float32)
    expected = ag.sample(room, room, rng=1)
    apart = np.empty(24, np.float32)
    for _ in range(2):
        given = room.copy()
        assert same_bits(ag.sample(given, room, rng=1, out=apart[::-1]), expected)
        assert same_bits(ag.sample(given, room, rng=1, out=given[::-1]), expected)


def test_a_second_call_refuses_what_the_first_does():
    mean, logvar, out = np.zeros((3, 4)), np.zeros((3, 4)), np.zeros(3)
    ag.kl(mean, logvar, axis=1)
    ag.kl(mean, logvar, axis=1, out=out)
    ag.kl_vjp(mean, logvar, cotangent=1.0, out=(mean.copy(), logvar.copy()))
    out.flags.writeable = False
    for bad in (True, 1.0, np.True_):
        with pytest.raises(TypeError, match="axis must be"):
            ag.kl(mean, logvar, axis=bad)
    with pytest.raises(ValueError, match="out must be writeable"):
        ag.kl(mean, logvar, axis=1, out=out)
    with pytest.raises(ValueError, match="out must be writeable"):
        ag.kl_vjp(mean, logvar, cotangent=1.0, out=(np.broadcast_to(0.0, (3, 4)), logvar))
    with pytest.raises(TypeError, match="bounds must have real numbers"):
        ag.kl(mean, logvar, axis=1, bounds=(True, 2))


def test_numbers_that_are_equal_but_differ():
    mean, logvar = np.ones(3), np.zeros(3)
    for _ in range(2):
        for number in (0.0, -0.0):
            (gradient, _) = ag.kl_vjp(mean, logvar, cotangent=number)
            assert np.array_equal(np.signbit(gradient), np.full(3, np.signbit(number)))
        for number, expected in ((1e300, np.inf), (np.inf, np.inf), (np.nan, np.nan)):
            (gradient, _) = ag.kl_vjp(mean.astype(np.float32), logvar.astype(np.float32), cotangent=number)
            assert np.array_equal(gradient, np.full(3, expected, np.float32), equal_nan=True)


def test_words_that_are_no_integers_of_python(in_c):
    """A key's words may be arrays without dimensions, as in other libraries."""
    mean, key = np.zeros((3, 4), np.float32), Key(7 + (9 << 32), stream=3)
    expected = ag.sample(mean, mean, rng=key)
    words = key.words()
    for other in (map(np.uint32, words), (np.array(w, np.uint32) for w in words)):
        other = Key.of_words(*other)
        for _ in range(2):
            assert same_bits(ag.sample(mean, mean, rng=other), expected)
    assert in_c[:2] == [True, True]
    assert same_bits(ag.sample(mean, mean, rng=key), expected)


@pytest.mark.parametrize("n", [pycall.LONG_FROM - 1, pycall.LONG_FROM, 20000])
def test_threads_call_at_once(n):
    """Long calls give up the GIL, and short ones hold it."""
    rng = np.random.default_rng(2)
    mean, logvar = rng.normal(size=(2, n)).astype(np.float32)
    expected, wrong = [ag.sample(mean, logvar, rng=k) for k in range(4)], []

    def work(k):
        wrong.extend(k for _ in range(50) if not same_bits(ag.sample(mean, logvar, rng=k), expected[k]))

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
