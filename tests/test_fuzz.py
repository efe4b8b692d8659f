"""Properties of every operation, over arrays that nobody would think of; a few cases always, a million by -m nightly.

`AGAUSS_FUZZ=100000 pytest -m nightly tests/test_fuzz.py` looks at so many cases in all, each time at other ones.
"""

import os
import random
from typing import NamedTuple

import numba
import numpy as np
import pytest
from cases import CASES, ELEMENTWISE, PLAIN, PUBLIC, long_gradients, long_terms
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from oracles import (
    array,
    assert_near,
    host,
    long,
    numpy_dtype,
    plain_normals,
    same_bits,
    ulp,
)
from quick import FEW
from strategies import (
    BOUNDS,
    Argument,
    arguments,
    axes,
    block,
    draws,
    filled,
    ids,
    lay_out,
    layout,
    numbers,
    part,
    seeds,
    seeds32,
    streams,
    window,
    windows,
)

import agauss as ag
from agauss.random import Key

MANY = int(os.environ.get("AGAUSS_FUZZ", "1_000_000"))
SHARES = 1200  # in which MANY is counted out to the properties below
FLOATS, EVERY_DTYPE = ("float32", "float64"), ("float16", "bfloat16", "float32", "float64")
# A clamp is a property of its own, below. The few cases are of operations whose kernels other tests compile too.
OPERATIONS = [
    name for name in ELEMENTWISE if PLAIN[name] is not PLAIN["clamp"] and ("AGAUSS_FUZZ" in os.environ or name in FEW)
]
SUMMED = [name for name in OPERATIONS if CASES[name].sums]
BOUNDED = [name for name in OPERATIONS if CASES[name].bounded]
WITH_OUT = [name for name in OPERATIONS if PUBLIC[CASES[name].op.function].takes("out")]
SAMPLE = CASES["sample"]
ULP = 4  # docs/numerics.md; of the sum of the terms' sizes where they cancel
GRADIENT_ULP = 5  # and one for the cotangent
FORM_ULP = 9  # where exp and expm1 are a library's own, within 2 ulp each, and a term multiplies two of them
ADDING = {"float16": 1e-6, "bfloat16": 1e-6, "float32": 1e-6, "float64": 1e-13}  # relative to the sum of the sizes
NORMAL_ULP = 2.7  # as tests/noise_by_hand.py has it


def fuzz(few, share, few_with=None, **strategies):
    """Make a property a test: of a few cases, which stay the same, and of a share of many, which do not.

    `few_with`: strategies for the few, so that they take kernels which other tests compile too.
    """

    def both(holds):
        def test(many):
            cases = max(1, MANY * share // SHARES) if many else few
            options = {} if many else {"derandomize": True, "database": None}
            drawn = strategies if many else {**strategies, **(few_with or {})}
            fuzzed = settings(max_examples=cases, deadline=None, suppress_health_check=list(HealthCheck), **options)
            fuzzed(given(**drawn)(holds))()

        test.__name__ = holds.__name__
        amounts = [pytest.param(False, id="few"), pytest.param(True, id="many", marks=pytest.mark.nightly)]
        return pytest.mark.parametrize("many", amounts)(test)

    return both


class Case(NamedTuple):
    """A call of an operation, to be made."""

    op: str
    dtype: str
    shape: tuple[int, ...]
    given: list[Argument]
    axis: object
    cotangent: Argument
    edges: bool = False

    @property
    def compute(self):
        return np.dtype(np.float64 if self.dtype == "float64" else np.float32)

    @property
    def axes(self):
        """What is summed over, from 0 on."""
        if self.op not in SUMMED:
            return ()
        if self.axis is None:
            return tuple(range(len(self.shape)))
        found = self.axis if isinstance(self.axis, tuple) else (self.axis,)
        return tuple(sorted(axis % len(self.shape) for axis in found))

    @property
    def options(self):
        return CASES[self.op].parameters | ({"axis": self.axis} if self.op in SUMMED else {})

    def arrays(self):
        return CASES[self.op].within([argument.values(self.dtype, self.edges) for argument in self.given])

    def views(self):
        return [argument.laid_out(a, self.shape) for argument, a in zip(self.given, self.arrays(), strict=True)]

    def g(self):
        return self.cotangent.values(self.dtype if self.op == "mode" else self.compute)

    def everywhere(self, g):
        """A cotangent of the sum, at every element."""
        kept = tuple([n for axis, n in enumerate(self.shape) if axis not in self.axes])
        return np.broadcast_to(np.expand_dims(np.broadcast_to(long(g), kept), self.axes), self.shape)

    def call(self, arrays, **options):
        return CASES[self.op].function(*arrays, **self.options, **options)

    def pull(self, arrays, g, **options):
        return CASES[self.op].vjp(*arrays, cotangent=g, **self.options, **options)


@st.composite
def cases(draw, ops=OPERATIONS, dtypes=FLOATS, broadcast=True, edges=False):
    op, dtype = ops[draw(numbers) % len(ops)], dtypes[draw(numbers) % len(dtypes)]
    given = draw(arguments(len(CASES[op].arguments), broadcast))
    shape = np.broadcast_shapes(*(a.shape for a in given))
    case = Case(op, dtype, shape, given, axes(len(shape), draw(numbers)), None, edges and draw(numbers) % 2 == 1)
    kept = tuple([n for axis, n in enumerate(shape) if axis not in case.axes])
    return case._replace(cotangent=Argument(part(kept, draw(numbers)), draw(seeds32)))


DOUBLE = cases(dtypes=("float64",))
FULL = cases(dtypes=EVERY_DTYPE, broadcast=False, edges=True)


def assert_gradient(got, terms, case, own, ulps):
    """A gradient of an argument of the shape `own`, summed over where that was broadcast."""
    padded = (1,) * (len(case.shape) - len(own)) + own
    lost = len(case.shape) - len(own)
    over = tuple([k for k, n in enumerate(padded) if k < lost or n != case.shape[k]])
    kept = [n for k, n in enumerate(case.shape) if k not in over]
    assert tuple(got.shape) == own
    adding = ADDING[case.dtype] if over else 0.0
    assert_near(host(got).reshape(kept), terms, ulps, case.compute, over, adding, case.shape)


def plain_gradients(case, arrays, g):
    every_g = case.everywhere(g)
    gradients = long_gradients(CASES[case.op], *map(long, arrays))
    return [[term * every_g for term in terms] for terms in gradients]


# Values and gradients on NumPy arrays


@fuzz(15, 130, case=cases())
def test_values_are_those_of_the_plain_formula(case):
    terms = long_terms(CASES[case.op], *map(long, case.arrays()))
    got = case.call(case.views())
    assert got.dtype == numpy_dtype(case.dtype)
    adding = ADDING[case.dtype] if case.axes else 0.0
    assert_near(got, terms, ULP, case.compute, case.axes, adding, case.shape)


@fuzz(15, 130, {"case": DOUBLE}, case=cases())
def test_gradients_are_those_of_the_plain_formula(case):
    g = case.g()
    arrays, views = case.arrays(), case.views()
    shapes = [case.shape if a.spread else a.shape for a in case.given]
    got = case.pull(views, lay_out(g, case.cotangent.layout)[0])
    for found, terms, own in zip(got, plain_gradients(case, arrays, g), shapes, strict=True):
        assert_gradient(found, terms, case, own, GRADIENT_ULP)


@fuzz(10, 120, {"case": FULL}, case=cases(dtypes=EVERY_DTYPE, edges=True))
def test_no_layout_changes_a_bit(case):
    views = case.views()
    copies = [np.ascontiguousarray(view).reshape(view.shape) for view in views]
    assert same_bits(case.call(views), case.call(copies))
    g = case.g()
    for a, b in zip(case.pull(views, lay_out(g, case.cotangent.layout)[0]), case.pull(copies, g), strict=True):
        assert same_bits(a, b)
    for view, copy in zip(views, copies, strict=True):
        assert same_bits(view, copy)


@fuzz(10, 90, {"case": cases(WITH_OUT, EVERY_DTYPE, broadcast=False)}, case=cases(WITH_OUT, EVERY_DTYPE), seed=seeds32)
def test_an_out_of_any_layout_is_filled_and_nothing_beside_it(case, seed):
    views = case.views()
    want = np.asarray(case.call(views))
    view, memory = lay_out(np.zeros_like(want), layout(seed, want.ndim))
    after = filled(view, memory, want)
    assert case.call(views, out=view) is view
    assert memory.tobytes() == after.tobytes()

    g = case.g()
    want = [np.asarray(a) for a in case.pull(views, g)]
    outs = [lay_out(np.zeros_like(a), layout(seed + k, a.ndim)) for k, a in enumerate(want)]
    after = [filled(*pair, a) for pair, a in zip(outs, want, strict=True)]
    case.pull(views, g, out=[view for view, _ in outs])
    assert [memory.tobytes() for _, memory in outs] == [memory.tobytes() for memory in after]


@fuzz(10, 70, op=st.sampled_from((*WITH_OUT, "sample")), dtype=st.sampled_from(FLOATS), seed=seeds32)
def test_an_out_may_overlap_the_arguments(op, dtype, seed):
    rng = random.Random(seed)
    shape = rng.randint(1, 4), rng.randint(1, 40)
    count = len(CASES[op].arguments)
    places = windows(count + 1, shape, 600, rng)
    memory = np.random.default_rng(seed).normal(size=600).astype(dtype)
    *inputs, out = (window(memory, shape, place) for place in places)
    options = CASES[op].parameters | ({"axis": ()} if op in SUMMED else {"rng": 5} if op == "sample" else {})
    want = CASES[op].function(*(a.copy() for a in inputs), **options)
    after = memory.copy()
    window(after, shape, places[-1])[...] = want
    CASES[op].function(*inputs, **options, out=out)
    assert same_bits(memory, after)


@fuzz(
    10,
    80,
    {"case": cases(ops=BOUNDED, dtypes=("float64",), broadcast=False), "second": st.none()},
    case=cases(ops=BOUNDED),
    first=st.sampled_from(BOUNDS),
    second=st.sampled_from(BOUNDS),
)
def test_bounds_are_a_clamp_before_and_its_gradient_after(case, first, second):
    second = first if second is None else second
    arrays, names = case.arrays(), CASES[case.op].arguments
    bounds = {"logvar": first, "logvar2": second}
    options = {"bounds": first, "bounds2": second} if "logvar2" in names else {"bounds": first}
    clamped = [ag.clamp(a, bounds=bounds[name]) if name in bounds else a for name, a in zip(names, arrays, strict=True)]
    assert same_bits(case.call(arrays, **options), case.call(clamped))
    g = case.g()
    got, want = case.pull(arrays, g, **options), case.pull(clamped, g)
    for name, a, by_a, by_clamped in zip(names, arrays, got, want, strict=True):
        if name not in bounds:
            assert same_bits(by_a, by_clamped)
        elif a.shape == case.shape:  # else the bound's slope is put to each term of a sum
            assert same_bits(by_a, ag.clamp_vjp(a, cotangent=by_clamped, bounds=bounds[name])[0])


@fuzz(
    20,
    50,
    {"dtype": st.just("float64")},
    seed=seeds32,
    dtype=st.sampled_from(FLOATS),
    bounds=st.sampled_from(BOUNDS),
)
def test_a_bound_is_the_plain_one(seed, dtype, bounds):
    x = Argument((3, 5), seed).values(dtype) * np.dtype(dtype).type(4)
    low, high, kind = (-30.0, 20.0, bounds) if isinstance(bounds, str) else (*bounds, "hard")[:3]
    wide, one = long(x), np.longdouble(1)
    outside = (wide < low) | (wide > high)
    value, slope = wide.clip(low, high), np.where(outside, 0, one) if kind == "hard" else one + 0 * wide
    near = 0.0
    if kind == "soft":
        y = high - np.logaddexp(0, high - wide)
        value = low + np.logaddexp(0, y - low)
        slope = one / (1 + np.exp(wide - high)) / (1 + np.exp(low - y))
        # A few roundings of numbers of these sizes; the slopes are exponentials of them.
        near = 8 * np.finfo(dtype).eps * (abs(low) + abs(high) + np.abs(wide))
    got, (by_x,) = ag.clamp(x, bounds=bounds), ag.clamp_vjp(x, cotangent=1.0, bounds=bounds)
    assert np.all(np.abs(long(got) - value) <= near)
    assert np.all(np.abs(long(by_x) - slope) <= near * slope)
    assert np.array_equal(ag.saturated(x, bounds=bounds, axis=0), outside.sum(0))


@fuzz(10, 60, case=cases(dtypes=("float16", "bfloat16"), broadcast=False))
def test_half_types_are_float32_rounded_once(case):
    halves, wide = case.views(), [np.asarray(a.astype(np.float32)) for a in case.views()]
    got, want = case.call(halves), case.call(wide)
    assert same_bits(got, want.astype(halves[0].dtype) if case.op == "mode" else want)
    g = case.g()
    with np.errstate(over="ignore"):
        for a, b in zip(case.pull(halves, g), case.pull(wide, g.astype(np.float32)), strict=True):
            assert same_bits(a, b.astype(halves[0].dtype))


@fuzz(10, 60, {"case": DOUBLE}, case=cases(), seed=seeds32)
def test_gradients_are_linear_in_the_cotangent(case, seed):
    arrays, g = case.arrays(), case.g()
    other = np.random.default_rng(seed).normal(size=g.shape).astype(g.dtype)
    one, two = case.pull(arrays, g), case.pull(arrays, other)
    together = case.pull(arrays, g + other)
    for a, b in zip(case.pull(arrays, 4 * g), one, strict=True):
        assert same_bits(a, 4 * b)
    terms = plain_gradients(case, arrays, np.abs(g) + np.abs(other))
    for a, b, c, own in zip(one, two, together, terms, strict=True):
        sizes = np.broadcast_to(sum(map(np.abs, own)), case.shape)
        lost = len(case.shape) - a.ndim
        over = tuple([k for k, n in enumerate((1,) * lost + a.shape) if k < lost or n != case.shape[k]])
        # Each of the three is within its ulp, and both sums round once.
        limit = (3 * GRADIENT_ULP + 2) * ulp(case.compute, sizes).sum(over) + 3 * ADDING[case.dtype] * sizes.sum(over)
        assert np.all(np.abs(long(a) + long(b) - long(c)).reshape(limit.shape) <= limit)


@fuzz(10, 50, case=cases(ops=("kl_prior", "kl", "normal_kl"), dtypes=EVERY_DTYPE, edges=True), near=st.booleans())
def test_kl_is_never_negative(case, near):
    arrays = case.arrays()
    if near and len(arrays) == 4:  # of neighbours
        arrays[2:] = [np.asarray(np.nextafter(a, np.asarray(3, a.dtype))) for a in arrays[:2]]
    assert not np.any(case.call(arrays) < 0)


# Noise


class Draw(NamedTuple):
    """A call of sample, to be made."""

    dtype: str
    shape: tuple[int, ...]
    given: list[Argument]
    key: tuple[int, int]
    index: object
    sample_shape: object

    def call(self, mean, logvar, **options):
        key, draws = Key(*self.key), self.sample_shape
        return ag.sample(mean, logvar, rng=key, index=self.index, sample_shape=draws, **options)

    def plain(self):
        """The normals that docs/noise.md tells."""
        shape = self.shape
        elements = np.arange(np.prod(shape, dtype=int), dtype=np.uint64).reshape(shape)
        if self.index is not None:
            event = np.prod(shape[1:], dtype=np.uint64)
            first = self.index.astype(np.uint64) * event
            elements = first.reshape(-1, *(1,) * (len(shape) - 1)) + elements[:1]
        sizes = self.sample_shape if isinstance(self.sample_shape, tuple) else (self.sample_shape,)
        every = [plain_normals(*self.key, n, elements, self.dtype) for n in range(np.prod(sizes, dtype=int))]
        return np.reshape(every, (*sizes, *shape))


@st.composite
def samples(draw, dtypes=FLOATS, indexed=True):
    given, dtype = draw(arguments(2)), dtypes[draw(numbers) % len(dtypes)]
    shape = np.broadcast_shapes(*(a.shape for a in given))
    index = ids(shape[0], draw(numbers)) if shape and indexed else None
    return Draw(dtype, shape, given, (draw(seeds), draw(streams)), index, draw(draws))


@fuzz(10, 80, sample=samples())
def test_noise_is_what_the_contract_tells(sample):
    zeros = np.zeros(sample.shape, sample.dtype)
    got, want = sample.call(zeros, zeros), sample.plain()
    assert got.shape == want.shape
    assert np.all(np.abs(long(got) - want) <= NORMAL_ULP * ulp(sample.dtype, want))
    if sample.index is None and sample.sample_shape == ():
        assert same_bits(ag.random.normal(sample.shape, rng=Key(*sample.key), dtype=sample.dtype), got)


@fuzz(10, 60, sample=samples(dtypes=EVERY_DTYPE))
def test_samples_are_the_mean_and_so_much_noise_whatever_the_layout(sample):
    mean, logvar = (a.values(sample.dtype) for a in sample.given)
    wide = np.float64 if sample.dtype == "float64" else np.float32
    zeros = np.zeros(sample.shape, wide)
    eps = sample.call(zeros, zeros)
    got = sample.call(*(a.laid_out(a.values(sample.dtype), sample.shape) for a in sample.given))
    assert same_bits(got, sample.call(mean, logvar))
    assert_near(got, long_terms(SAMPLE, long(mean), long(logvar), long(eps)), ULP, wide, shape=eps.shape)


@fuzz(10, 50, sample=samples())
def test_gradients_of_samples_are_those_of_the_plain_formula(sample):
    mean, logvar = (np.broadcast_to(a.values(sample.dtype), sample.shape) for a in sample.given)
    zeros = np.zeros(sample.shape, sample.dtype)
    eps = sample.call(zeros, zeros)
    g = np.random.default_rng(0).normal(size=eps.shape).astype(sample.dtype)
    options = {"rng": Key(*sample.key), "index": sample.index, "sample_shape": sample.sample_shape}
    got = ag.sample_vjp(mean, logvar, cotangent=g, **options)
    draws = tuple(range(eps.ndim - len(sample.shape)))
    for found, terms in zip(got, long_gradients(SAMPLE, *map(long, (mean, logvar, eps)), count=2), strict=True):
        terms = [np.broadcast_to(term, eps.shape) * long(g) for term in terms]
        # The draws are added up one by one: an ulp each, of the sizes so far.
        adding = 4 * np.finfo(sample.dtype).eps if draws else 0.0
        assert_near(found, terms, GRADIENT_ULP, np.dtype(sample.dtype), draws, adding, eps.shape)


@fuzz(
    20,
    50,
    {"bounds": st.just((-1, 1))},
    sample=samples(dtypes=EVERY_DTYPE),
    bounds=st.sampled_from(BOUNDS),
    seed=seeds32,
)
def test_the_fused_pass_has_the_bits_of_its_parts(sample, bounds, seed):
    assume(len(sample.shape) >= 2)
    axis = 1 + seed % (len(sample.shape) - 1)
    halves = [np.broadcast_to(a.values(sample.dtype), sample.shape) for a in sample.given]
    parameters, _ = lay_out(np.concatenate(halves, axis=axis), layout(seed, len(sample.shape)))
    options = {"rng": Key(*sample.key), "index": sample.index, "bounds": bounds}
    z, kl = ag.sample_and_kl(parameters, axis=axis, **options)
    assert same_bits(z, ag.sample(*halves, **options))
    assert same_bits(kl, ag.kl(*halves, axis=tuple(range(1, len(sample.shape))), bounds=bounds))


@fuzz(10, 60, sample=samples(dtypes=EVERY_DTYPE, indexed=False), seed=seeds32)
def test_a_block_is_the_slice_of_the_whole(sample, seed):
    assume(sample.shape)
    sample = sample._replace(sample_shape=())
    halves = [np.broadcast_to(a.values(sample.dtype), sample.shape) for a in sample.given]
    whole, place = sample.call(*halves), block(sample.shape, seed)
    offset = tuple([own.start for own in place])
    got = ag.sample_block(*(a[place] for a in halves), key=Key(*sample.key), offset=offset, event_size=sample.shape[1:])
    assert same_bits(got, np.ascontiguousarray(whole[place]))


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="one processor; test_threads.py starts two anyway")
@fuzz(
    8,
    9,
    {"case": cases(dtypes=("float32",))},
    case=cases(dtypes=EVERY_DTYPE),
    more=st.integers(8192, 9000),
    at=st.integers(0, 5),
)
def test_threads_change_no_bit(case, more, at):
    assume(4 <= np.prod(case.shape, dtype=int) <= 200)
    # An axis along which the arrays are the same makes any case large enough to be shared.
    whole = [np.broadcast_to(view, case.shape) for view in case.views()]
    place = at % (len(case.shape) + 1)
    large = [np.broadcast_to(np.expand_dims(a, place), (*a.shape[:place], more, *a.shape[place:])) for a in whole]
    options = CASES[case.op].parameters | ({"axis": place} if case.op in SUMMED else {})
    before, found = numba.get_num_threads(), []
    try:
        for threads in (1, 2):
            numba.set_num_threads(threads)
            results = [
                CASES[case.op].function(*large, **options),
                *CASES[case.op].vjp(*large, cotangent=0.5, **options),
            ]
            found.append([*results, ag.sample(*large[:1] * 2, rng=3)])
    finally:
        numba.set_num_threads(before)
    assert all(same_bits(a, b) for a, b in zip(*found, strict=True))


# Every library


def check_library(library, case, key=None):
    """Values, gradients and noise, near the plain formula or the same as NumPy's."""
    arrays, g = case.arrays(), case.g()
    given = [array(library, a) for a in arrays]
    terms = long_terms(CASES[case.op], *map(long, arrays))
    adding = 4 * ADDING[case.dtype] if case.axes else 0.0
    assert_near(case.call(given), terms, FORM_ULP, case.compute, case.axes, adding, case.shape)
    got = case.pull(given, array(library, g))
    for found, own, a in zip(got, plain_gradients(case, arrays, g), arrays, strict=True):
        assert_gradient(found, own, case, a.shape, FORM_ULP)
    if key is not None:  # JAX compiles a hundred operations for each shape of noise: test_backends.py does it once
        zeros = np.zeros(case.shape, "float64" if case.dtype == "float64" else "float32")
        noise, want = host(ag.sample(*[array(library, zeros)] * 2, rng=key)), ag.sample(zeros, zeros, rng=key)
        # A fused multiply-add that is put together from others may be off, and one in ten million normals with it.
        assert np.count_nonzero(noise != want) <= 1
        assert np.all(np.abs(noise - want) <= 2 * np.spacing(np.abs(want)))


@fuzz(8, 30, case=cases(dtypes=EVERY_DTYPE), key=seeds)
def test_torch_tensors_give_the_same(case, key):
    check_library("torch", case, key)


@fuzz(8, 10, case=cases(), key=seeds)
def test_arrays_of_the_strict_standard_give_the_same(case, key):
    check_library("array_api_strict", case, key)


@fuzz(3, 1, case=cases(dtypes=("float32", "float16", "bfloat16")))
def test_jax_arrays_give_the_same(case):
    check_library("jax", case)


@fuzz(8, 10, {"case": DOUBLE}, case=cases(), key=seeds)
def test_dask_arrays_give_the_same(case, key):
    check_library("dask", case, key)
