"""Layouts in memory, views of views, every axis, every length: the same numbers as from a fresh contiguous array."""

import itertools

import numpy as np
import pytest
import torch
from cases import CASES, as_tuple
from layouts import (
    LIMITS,
    SUM_TOLERANCE,
    Q,
    at_an_odd_address,
    cut_out,
    dtypes,
    field_of_a_record,
    fortran,
    last_axis_strided,
    libraries,
    memory_mapped,
    negative,
    one_axis_negative,
    permuted,
    read_only,
    strided,
    values,
)
from oracles import (
    array,
    assert_relative,
    dtype_of,
    host,
    plain_entropy,
    plain_kl,
    plain_nll,
    same_bits,
    wide,
)
from quick import FEW

import agauss as ag
from agauss.operations import Result

pytestmark = pytest.mark.usefixtures("one_thread_of_torch")

LAYOUTS = [
    strided,
    negative,
    fortran,
    permuted,
    last_axis_strided,
    one_axis_negative,
    cut_out,
    field_of_a_record,
    at_an_odd_address,
    read_only,
    memory_mapped,
]
layouts = pytest.mark.parametrize("layout", LAYOUTS, ids=lambda f: f.__name__)


def everything(*arrays, names=FEW):
    """The results of operations, and their gradients, by name; any of the arrays will do for any argument."""
    results = {}
    for name in names:
        case = CASES[name]
        given = [arrays[(k + 1) % 3] for k in range(len(case.arguments))]  # as three times a mean, a log-variance and x
        if case.arguments == ("parameters",):
            given = [given[0][:, :4]]
        axes = ((), None, 0, 1, (0, -1)) if case.sums else (None,)
        for axis in axes:
            results[f"{name} {axis}"] = case.function(*given, **case.options(axis=axis, bounds=LIMITS.get(name)))
        if case.vjp is not None:
            cotangents = tuple(given[0] if kind is Result.OWN else np.float32(1.5) for kind in case.op.results.values())
            if len(given) > 1 and not case.noisy:
                given[0] = given[0][:1]  # whose gradient is a sum
            cotangent = cotangents[0] if len(cotangents) == 1 else (0.5, 2.0)
            results[f"{name} vjp"] = case.vjp(*given, cotangent=cotangent, **case.options(bounds=LIMITS.get(name)))
    return {f"{name} {k}": value for name, result in results.items() for k, value in enumerate(as_tuple(result))}


def assert_same(got, want):
    assert got.keys() == want.keys()
    for name in want:
        assert type(got[name]) is type(want[name]), name
        assert same_bits(got[name], want[name]), name


@layouts
@dtypes
def test_a_layout_gives_the_bits_of_its_contiguous_copy(layout, dtype, tmp_path):
    contiguous = [values((5, 6, 7), seed, dtype) for seed in range(3)]
    laid_out = [layout(a, tmp_path) for a in contiguous]
    for a, b in zip(laid_out, contiguous, strict=True):
        np.testing.assert_array_equal(a, b)
    assert_same(everything(*laid_out), everything(*contiguous))
    # Layouts may be mixed, and the mean alone of another one.
    assert_same(everything(contiguous[0], laid_out[1], contiguous[2]), everything(*contiguous))


@pytest.mark.nightly
def test_of_every_operation_a_layout_gives_the_bits_of_its_contiguous_copy(tmp_path):
    contiguous = [values((5, 6, 7), seed) for seed in range(3)]
    laid_out = [permuted(a, tmp_path) for a in contiguous]
    assert_same(everything(*laid_out, names=CASES), everything(*contiguous, names=CASES))


@pytest.mark.parametrize("layout", [strided, negative, fortran, permuted, field_of_a_record], ids=lambda f: f.__name__)
def test_a_layout_gives_the_same_bits_where_work_is_shared_by_threads(layout, tmp_path):
    contiguous = [values((70, 64, 65), seed) for seed in range(3)]  # 291,200 elements
    laid_out = [layout(a, tmp_path) for a in contiguous]
    assert_same(everything(*laid_out), everything(*contiguous))


@dtypes
def test_a_broadcast_argument_gives_the_bits_of_its_materialised_copy(dtype):
    shape = (5, 6, 7)
    x = values(shape, 0, dtype)
    for small in ((), (1,), (7,), (6, 1), (5, 1, 1), (1, 6, 7), (1, 1, 1)):
        logvar = values(small, 1, dtype)
        spread = np.broadcast_to(logvar, shape)
        full = np.ascontiguousarray(spread)
        mean = values(shape, 2, dtype)
        assert_same(everything(x, mean, spread), everything(x, mean, full))
        # As an argument of fewer dimensions, for the forwards.
        for axis in ((), None, 0, (1, 2)):
            assert same_bits(ag.kl(mean, logvar, axis=axis), ag.kl(mean, full, axis=axis))
            assert same_bits(ag.kl(logvar, mean, axis=axis), ag.kl(full, mean, axis=axis))
            assert same_bits(ag.nll(x, mean, logvar, axis=axis), ag.nll(x, mean, full, axis=axis))
        assert same_bits(ag.sample(mean, logvar, rng=3), ag.sample(mean, full, rng=3))
        assert same_bits(ag.sample(logvar, mean, rng=3), ag.sample(full, mean, rng=3))


@layouts
def test_inputs_are_left_as_they_are(layout, tmp_path):
    contiguous = [values((5, 6, 7), seed) for seed in range(3)]
    laid_out = [layout(a, tmp_path) for a in contiguous]
    everything(*laid_out)
    for a, b in zip(laid_out, contiguous, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("layout", [strided, negative, fortran, cut_out, field_of_a_record, read_only, memory_mapped])
def test_a_distribution_reads_its_parameters_where_they_lie(layout, tmp_path):
    contiguous = values((3, 8, 4, 5), 0)
    laid_out = layout(contiguous, tmp_path)
    q, p = Q(laid_out), Q(contiguous)
    assert np.shares_memory(q.mean, laid_out)
    x = values((3, 4, 4, 5), 1)
    for a, b in (
        (q.kl(), p.kl()),
        (q.nll(x), p.nll(x)),
        (q.sample(rng=1), p.sample(rng=1)),
        (q.sample_and_kl(rng=1)[0], p.sample_and_kl(rng=1)[0]),
        (q.sample_and_kl(rng=1)[1], p.sample_and_kl(rng=1)[1]),
        (q.std, p.std),
        (q.mode(), p.mode()),
        (q.entropy(), p.entropy()),
        (q.kl(p), p.kl(p)),
    ):
        assert same_bits(a, b)


@dtypes
@pytest.mark.parametrize("shape", [(3, 8), (3, 8, 5), (3, 8, 4, 5), (3, 8, 2, 4, 5)], ids=str)
def test_separate_mean_and_logvar_give_the_bits_of_the_concatenated_ones(dtype, shape):
    parameters = values(shape, 0, dtype)
    mean, logvar = parameters[:, :4].copy(), parameters[:, 4:].copy()
    whole, apart = Q(parameters), Q.from_mean_logvar(mean, logvar)
    x = values(mean.shape, 1, dtype)
    assert same_bits(whole.kl(), apart.kl())
    assert same_bits(whole.nll(x), apart.nll(x))
    assert same_bits(whole.sample(rng=1), apart.sample(rng=1))
    for a, b in zip(whole.sample_and_kl(rng=1), apart.sample_and_kl(rng=1), strict=True):
        assert same_bits(a, b)
    moments = Q.from_moments(parameters)
    assert same_bits(whole.kl(), moments.kl())


@libraries
def test_separate_mean_and_logvar_broadcast_against_each_other(library):
    mean, logvar = values((3, 4, 5, 6), 0), values((4, 1, 1), 1)
    q = Q.from_mean_logvar(array(library, mean), array(library, logvar))
    full = np.broadcast_to(logvar, mean.shape)
    assert q.shape == mean.shape
    for value in (q.mean, q.logvar, q.std, q.var, q.mode(), q.sample(rng=0)):
        assert tuple(value.shape) == mean.shape
    assert_relative(host(q.kl()), plain_kl(mean, full).sum(axis=(1, 2, 3)), 1e-6)
    assert_relative(host(q.entropy()), plain_entropy(full).sum(axis=(1, 2, 3)), 1e-6)
    z, kl = q.sample_and_kl(rng=0)
    assert same_bits(host(z), host(q.sample(rng=0)))
    assert same_bits(host(kl), host(q.kl()))
    np.testing.assert_array_equal(host(q.saturated()), [0, 0, 0])
    out = array(library, np.zeros(mean.shape), "float32")
    assert q.sample(rng=0, out=out) is out
    assert same_bits(host(out), host(z))
    swapped = Q.from_mean_logvar(array(library, logvar), array(library, mean))
    assert_relative(host(swapped.kl()), plain_kl(full, mean).sum(axis=(1, 2, 3)), 1e-6)


# Torch's layouts

TORCH_LAYOUTS = {
    "transposed": lambda a: a.transpose(0, 2).contiguous().transpose(0, 2),
    "strided": lambda a: torch.stack([a, a], dim=-1)[..., 0],
    "sliced": lambda a: torch.nn.functional.pad(a, (2, 2, 1, 1))[:, 1:-1, 2:-2],
    "channels last": lambda a: a[..., None].contiguous(memory_format=torch.channels_last)[..., 0],
    "needing a gradient": lambda a: a.clone().requires_grad_(),
}


@pytest.mark.parametrize("layout", TORCH_LAYOUTS)
def test_torch_tensors_of_any_layout_give_the_same_numbers(layout):
    contiguous = [torch.from_numpy(values((5, 6, 7), seed)) for seed in range(3)]
    laid_out = [TORCH_LAYOUTS[layout](a) for a in contiguous]
    got, want = everything(*laid_out), everything(*contiguous)
    for name in want:
        # torch adds up by its own blocks, and exp of a vector is not exp of a number to the last bit.
        np.testing.assert_allclose(wide(got[name]), wide(want[name]), rtol=2e-6, atol=2e-6, err_msg=name)


def test_expanded_torch_tensors_give_the_same_numbers():
    mean, logvar = torch.from_numpy(values((5, 6, 7), 0)), torch.from_numpy(values((6, 1), 1))
    expanded = logvar.expand(5, 6, 7)
    np.testing.assert_allclose(ag.kl(mean, expanded, axis=1), ag.kl(mean, expanded.contiguous(), axis=1), rtol=1e-6)


# Axes

AXES = [axes for n in range(5) for axes in itertools.combinations(range(4), n)]


@libraries
@dtypes
@pytest.mark.parametrize("layout", [fortran, strided, None], ids=["fortran", "strided", "contiguous"])
def test_sums_over_every_set_of_axes_are_those_of_the_plain_form(library, dtype, layout):
    shape = (3, 5, 2, 7)
    arrays = [values(shape, seed, dtype) for seed in range(3)]
    given = [layout(a, None) if layout else a for a in arrays]
    x, mean, logvar = [array(library, a, dtype) if library == "torch" else a for a in given]
    terms = [a.astype(np.float64) for a in arrays]
    tolerance = SUM_TOLERANCE[dtype]
    kl_terms, nll_terms = plain_kl(terms[1], terms[2]), plain_nll(*terms)
    for axes in AXES:
        got = ag.kl(mean, logvar, axis=axes)
        assert dtype_of(got) == ("float64" if dtype == "float64" else "float32")
        assert_relative(host(got), kl_terms.sum(axis=axes), tolerance)
        from_the_end = tuple(a - 4 for a in axes)
        assert same_bits(host(ag.kl(mean, logvar, axis=from_the_end)), host(got))
        assert same_bits(host(ag.kl(mean, logvar, axis=from_the_end[::-1])), host(got))
        if len(axes) == 1:
            assert same_bits(host(ag.kl(mean, logvar, axis=axes[0])), host(got))
        # Terms of both signs: relative to the sum of their absolute values.
        nll, want = wide(ag.nll(x, mean, logvar, axis=axes)), nll_terms.sum(axis=axes)
        assert nll.shape == want.shape
        assert np.all(np.abs(nll - want) <= tolerance * np.abs(nll_terms).sum(axis=axes))
    assert same_bits(host(ag.kl(mean, logvar)), host(ag.kl(mean, logvar, axis=(0, 1, 2, 3))))


@libraries
def test_eight_and_twenty_dimensions_work(library):
    for shape in ((2, 1, 3, 2, 1, 2, 3, 2), (1, 2) * 10):
        rank = len(shape)
        mean, logvar = values(shape, 0), values(shape, 1)
        terms = plain_kl(mean, logvar)
        flipped = np.transpose(np.transpose(mean).copy())
        for axis in (None, (), 0, -1, tuple(range(1, rank)), tuple(range(0, rank, 2)), tuple(range(1, rank, 2))):
            got = ag.kl(array(library, mean), array(library, logvar), axis=axis)
            assert_relative(host(got), terms.sum(axis=axis), 1e-6)
            got = ag.kl(flipped, logvar, axis=axis)
            assert_relative(got, terms.sum(axis=axis), 1e-6)
        parameters = np.concatenate([mean, logvar], axis=1)
        q = Q(array(library, parameters))
        assert_relative(host(q.kl()), terms.reshape(shape[0], -1).sum(axis=1), 1e-6)
        assert tuple(q.sample(rng=0).shape) == shape


@libraries
@pytest.mark.parametrize("axis", range(-4, 4))
def test_the_channels_may_be_any_axis(library, axis):
    parameters = values((2, 4, 6, 8), 0)
    mean, logvar = np.split(parameters, 2, axis=axis)
    q = Q(array(library, parameters), axis=axis)
    np.testing.assert_array_equal(host(q.mean), mean)
    assert_relative(host(q.kl()), plain_kl(mean, logvar).sum(axis=(1, 2, 3)), 1e-6)
    z, kl = ag.sample_and_kl(array(library, parameters), rng=1, axis=axis)
    assert same_bits(host(z), host(q.sample(rng=1)))
    assert same_bits(host(kl), host(q.kl()))
    gradient = host(ag.sample_and_kl_vjp(array(library, parameters), cotangent=(0.0, 1.0), rng=1, axis=axis))
    np.testing.assert_allclose(np.split(gradient, 2, axis=axis)[0], mean, rtol=1e-6)


@libraries
@pytest.mark.parametrize("event_axes", [(), 1, (1,), (2, 3), (1, 3), (0, 1, 2, 3), -1, (-1, -3), [1, 2]], ids=str)
def test_any_axes_may_be_the_event(library, event_axes):
    parameters = values((2, 8, 3, 5), 0)
    mean, logvar = parameters[:, :4], parameters[:, 4:]
    x = values(mean.shape, 1)
    axes = tuple(event_axes) if isinstance(event_axes, (list, tuple)) else event_axes
    q = Q(array(library, parameters), event_axes=event_axes)
    p = Q(array(library, values((2, 8, 3, 5), 2)), event_axes=event_axes)
    assert_relative(host(q.kl()), plain_kl(mean, logvar).sum(axis=axes), 1e-6)
    other = values((2, 8, 3, 5), 2)
    assert_relative(host(q.kl(p)), plain_kl(mean, logvar, other[:, :4], other[:, 4:]).sum(axis=axes), 1e-6)
    likelihood = plain_nll(x, mean, logvar)
    size = np.abs(likelihood).sum(axis=axes)
    assert np.all(np.abs(wide(q.nll(array(library, x))) - likelihood.sum(axis=axes)) <= 1e-6 * size)
    assert same_bits(host(q.log_prob(array(library, x))), -host(q.nll(array(library, x))))
    assert tuple(q.entropy().shape) == likelihood.sum(axis=axes).shape
    assert same_bits(host(q.sample_and_kl(rng=0)[1]), host(q.kl()))
    assert tuple(q.saturated().shape) == likelihood.sum(axis=axes).shape


@libraries
def test_leading_sample_axes_are_kept_by_likelihoods(library):
    parameters = values((2, 8, 3), 0)
    mean, logvar = parameters[:, :4], parameters[:, 4:]
    q = Q(array(library, parameters))
    x = q.sample(rng=1, sample_shape=(6, 5))
    assert tuple(x.shape) == (6, 5, 2, 4, 3)
    terms = plain_nll(wide(x), mean, logvar)
    got = wide(q.nll(x))
    assert got.shape == (6, 5, 2)
    assert np.all(np.abs(got - terms.sum(axis=(-1, -2))) <= 1e-6 * np.abs(terms).sum(axis=(-1, -2)))


# Lengths: every one that may end a vector, a lane, a block or a thread's share

LENGTHS = [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 255, 256, 257, 511, 512, 513]
LENGTHS += [1000, 1023, 1024, 1025, 2047, 2048, 2049, 4095, 4096, 4097, 5000, 8191, 8193, 65535, 65536, 65537]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_rows_and_columns_of_every_length_are_added_up_right(dtype):
    for n in LENGTHS:
        mean, logvar = values((3, n), n, dtype), values((3, n), n + 1, dtype)
        terms = plain_kl(mean.astype(np.float64), logvar.astype(np.float64))
        want, tolerance = terms.sum(axis=1), SUM_TOLERANCE[dtype]
        assert_relative(ag.kl(mean, logvar, axis=1), want, tolerance)
        assert_relative(ag.kl(mean.T, logvar.T, axis=0), want, tolerance)
        columns = np.ascontiguousarray(mean.T), np.ascontiguousarray(logvar.T)
        assert_relative(ag.kl(*columns, axis=0), want, tolerance)
        assert_relative(ag.kl(mean[0], logvar[0]), want[0], tolerance)
        assert_relative(ag.kl(mean, logvar, axis=0), terms.sum(axis=0), tolerance)
        # Two axes together, the inner one short.
        if n % 2 == 0:
            folded = [a.reshape(3, n // 2, 2) for a in (mean, logvar)]
            assert same_bits(ag.kl(*folded, axis=(1, 2)), ag.kl(mean, logvar, axis=1))


def test_every_length_up_to_300_is_added_up_right():
    mean, logvar = values((2, 300), 0), values((2, 300), 1)
    terms = plain_kl(mean, logvar)
    for n in range(1, 301):
        assert_relative(ag.kl(mean[:, :n], logvar[:, :n], axis=1), terms[:, :n].sum(axis=1), 1e-6)


def test_many_short_rows_and_few_long_ones_are_added_up_right():
    for shape in ((100_000, 1), (100_000, 3), (5000, 17), (1, 200_000), (2, 3, 50_000), (50_000, 2, 2)):
        mean, logvar = values(shape, 0), values(shape, 1)
        terms = plain_kl(mean, logvar)
        for axis in range(len(shape)):
            assert_relative(ag.kl(mean, logvar, axis=axis), terms.sum(axis=axis), 1e-6)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_an_element_has_the_same_bits_wherever_it_lies(dtype):
    # In a vector's lanes, in a loop's tail, alone, or in another thread's share.
    long = [values(70_001, seed, dtype) for seed in range(3)]
    whole = [ag.std(long[0]), ag.kl(*long[:2], axis=()), ag.nll(*long, axis=()), *ag.nll_vjp(*long, cotangent=1.0)]
    for start, stop in ((0, 1), (1, 2), (3, 10), (5, 38), (70_000, 70_001), (69_990, 70_001), (33_333, 66_667)):
        a = [v[start:stop] for v in long]
        part = [ag.std(a[0]), ag.kl(*a[:2], axis=()), ag.nll(*a, axis=()), *ag.nll_vjp(*a, cotangent=1.0)]
        for got, want in zip(part, whole, strict=True):
            assert same_bits(got, want[start:stop])


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_a_sample_has_the_same_bits_wherever_it_lies(dtype):
    for event in (1, 2, 3, 4, 5, 7, 8, 63, 64, 65, 1000):
        mean, logvar = values((9, event), 0, dtype), values((9, event), 1, dtype)
        whole = ag.sample(mean, logvar, rng=4)
        for start, stop in ((0, 1), (3, 4), (8, 9), (2, 7)):
            part = ag.sample(mean[start:stop], logvar[start:stop], rng=4, index=np.arange(start, stop))
            assert same_bits(part, whole[start:stop])
        flat = ag.random.normal(9 * event, rng=4, dtype="float32" if dtype == "float16" else dtype)
        zeros = np.zeros((9, event), dtype)
        assert same_bits(ag.sample(zeros, zeros, rng=4), flat.reshape(9, event).astype(dtype))
