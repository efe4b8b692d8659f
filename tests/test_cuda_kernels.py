"""The CUDA kernels against the Numba loops, every result bit for bit, sums too, for their order is the same.

On the CPU by the shim, and on a GPU where there is one.
"""

import itertools

import numpy as np
import pytest
from cases import CASES as OPERATIONS
from cuda_devices import DTYPES, Q, agree, assert_same, flat, normal
from quick import FEW, nightly_unless, slow_unless

import agauss as ag
from agauss.operations import Result


def every_operation(p, x, d_kl, bounds, names):
    """All that can be asked of a distribution's parameters, a point x, and the cotangent of a sum."""
    q, axes = Q(p, bounds=bounds), tuple(range(1, p.ndim))
    other = Q(p[::-1], bounds=bounds)
    mean, logvar, mean2, logvar2 = q.mean, q.logvar, other.mean, other.logvar
    limits = {"bounds": bounds}
    yield from (q.kl(), q.kl(other), q.nll(x), q.log_prob(x), q.entropy(), q.mode(), q.std, q.var, q.sample(rng=3))
    yield from q.sample_and_kl(rng=ag.random.Key(2**64 - 1, 2**32 - 1))
    for axis in ((), None, 0):
        yield ag.kl(mean, logvar, axis=axis, **limits)
        yield ag.nll(x, mean, logvar, axis=axis, **limits)
    own, cotangents = {"x": x, "z": x, "parameters": p}, {Result.SUM: d_kl, Result.WIDE: 0.25, Result.OWN: x}
    for case in map(OPERATIONS.get, names):
        spare = iter((mean, logvar, mean2, logvar2))
        given = [own[name] if name in own else next(spare) for name in case.arguments]
        options = case.options(axis=axes, bounds=bounds)
        yield from flat(case.function(*given, **options))
        if case.vjp is not None:
            cotangent = tuple(cotangents[kind] for kind in case.op.results.values())
            yield from flat(case.vjp(*given, cotangent=cotangent if len(cotangent) > 1 else cotangent[0], **options))


CASES = [
    ("float32", None, (3, 4, 20)),
    ("float32", (-0.5, 0.75), (2, 6, 3)),
    ("float32", (-0.5, 0.75), (2, 2, 700)),
    ("float32", "soft", (3, 4, 20)),
    ("float32", "straight-through", (2, 2, 700)),
    ("float64", (-0.5, 0.75), (3, 4, 20)),
    ("float64", "soft", (2, 2, 700)),
    ("float16", (-0.5, 0.75), (2, 2, 700)),
    ("bfloat16", None, (2, 6, 3)),
]


@pytest.mark.parametrize(
    ("dtype", "bounds", "shape"),
    nightly_unless(lambda *case: case == CASES[2], CASES),
    ids=str,
)
@pytest.mark.parametrize(
    "names", [pytest.param(FEW, id="few"), pytest.param(tuple(OPERATIONS), id="all", marks=pytest.mark.nightly)]
)
def test_every_operation(device, dtype, bounds, shape, names):
    wide = "float32" if dtype in ("float16", "bfloat16") else dtype
    x, d_kl = normal((shape[0], shape[1] // 2, shape[2]), dtype, 1), normal(shape[:1], wide, 2)
    agree(device, lambda *a: list(every_operation(*a, bounds, names)), normal(shape, dtype), x, d_kl)


@pytest.mark.parametrize("bounds", ["soft", "straight-through"])
@pytest.mark.parametrize("shape", [(3, 20), (2, 700)], ids=str)
def test_every_kind_of_bound_and_its_gradient(device, bounds, shape):
    """Of one operation, where the test above has them all."""
    mean, logvar = normal(shape), normal(shape, seed=1, scale=20)
    agree(device, lambda *a: ag.kl(*a, axis=1, bounds=bounds), mean, logvar)
    agree(device, lambda *a: ag.kl_vjp(*a, cotangent=0.5, bounds=bounds), mean, logvar)


WHOLE = (5, 6, 70)
BLOCKS = [(slice(1, 4), slice(2, 3), slice(3, 69)), (slice(4, 5), slice(0, 6), slice(64, 70)), (slice(2, 5),)]


@pytest.mark.parametrize("dtype", nightly_unless(lambda dtype: dtype == "float16", ["float32", "float64", "float16"]))
def test_a_block_has_the_noise_of_its_place_in_the_whole(device, dtype):
    """By the kernels as by the loops, which tests/test_dask_blocks.py compares with the whole's sample."""
    mean, logvar = normal(WHOLE, dtype), normal(WHOLE, dtype, 1)
    for cut in BLOCKS:
        offset = tuple(place.start for place in cut) + (0,) * (len(WHOLE) - len(cut))
        where = {"key": ag.random.Key(7, 3), "offset": offset, "event_size": WHOLE[1:]}
        agree(device, lambda *a, where=where: ag.sample_block(*a, **where), mean[cut], logvar[cut])


EDGES = [0.0, -0.0, np.inf, -np.inf, np.nan, 1e-45, 1e-39, -1e-42, 1e38, -1e38, 30, -30.5, 20, 20.5, 87.3, -87.4, 104]


@pytest.mark.parametrize("dtype", nightly_unless(lambda dtype: dtype == "float32", ["float32", "float64", "float16"]))
def test_edges_subnormal_numbers_and_overflow(device, dtype):
    with np.errstate(over="ignore"):
        edges = np.array(EDGES).astype(dtype)
    mean, logvar = (a.reshape(-1).copy() for a in np.meshgrid(edges, edges))
    g = np.resize(edges, mean.size)

    def operations(mean, logvar, g):
        yield from (ag.std(logvar), ag.var(logvar), ag.sample(mean, logvar, rng=1), ag.kl(mean, logvar, axis=()))
        yield from (ag.nll(g, mean, logvar, axis=()), ag.normal_kl(mean, logvar, g, logvar))
        yield from ag.sample_vjp(mean, logvar, cotangent=g, rng=1)
        for bounds in ((-30, 20), (0, 1), "soft", "straight-through"):
            yield ag.clamp(logvar, bounds=bounds)

    agree(device, lambda *a: list(operations(*a)), mean, logvar, g)


SIZES = [0, 1, 2, 3, 4, 5, 7, 8, 9, 31, 63, 64, 65, 127, 128, 129, 130, 511, 512, 513, 1023, 1025, 2049, 4097, 16388]
LONG = [65535, 65536, 65537, 131077, 200001]


@pytest.mark.parametrize("dtype", nightly_unless(lambda dtype: dtype == "bfloat16", ["float32", "float64", "bfloat16"]))
@pytest.mark.parametrize("rows", slow_unless(lambda rows: rows == 3, [1, 3]))
def test_rows_of_every_length(device, rows, dtype):
    def operations(p):
        yield from Q(p).sample_and_kl(rng=2)
        yield from (Q(p).kl(), Q(p).sample(rng=2), ag.kl(p, p * p.dtype.type(0.5)))

    for columns in SIZES:
        agree(device, lambda p: list(operations(p)), normal((rows, 2 * columns), dtype, columns))


@pytest.mark.parametrize(
    ("dtype", "columns"),
    nightly_unless(
        lambda dtype, columns: dtype == "float32" and columns < 131077, itertools.product(("float32", "float64"), LONG)
    ),
)
def test_long_rows_in_chunks_and_parts(device, columns, dtype):
    p = normal((3, 2 * columns), dtype)
    agree(device, lambda p: [*Q(p).sample_and_kl(rng=2), Q(p).nll(p[:, :columns]), ag.kl(p, p)], p)


@pytest.mark.parametrize("shape", [(5000, 6), (5000, 8), (700, 2 * 65), (600, 2 * 100), (600, 2 * 127)], ids=str)
def test_many_short_rows(device, shape):
    agree(device, lambda p: [*Q(p).sample_and_kl(rng=2), Q(p).sample(rng=2)], normal(shape))


def test_many_chunks_without_parts(device):
    agree(device, lambda p: [Q(p).kl()], normal((520, 2 * 1100)))
    agree(device, lambda p: [Q(p, event_axes=(1,)).entropy()], np.broadcast_to(normal((1, 2 * 70000)), (300, 140000)))


@pytest.mark.parametrize("dtype", slow_unless(lambda dtype: dtype == "float16", DTYPES))
def test_video_latents(device, dtype):
    agree(device, lambda p: [*Q(p).sample_and_kl(rng=2)], normal((2, 4, 3, 6, 9), dtype))


@pytest.mark.parametrize("axis", [0, 1, 2, (0, 1), (1, 2), (0, 2), None, ()], ids=str)
def test_sums_over_any_axes(device, axis):
    mean, logvar = normal((5, 70, 9)), normal((5, 70, 9), seed=1)
    agree(device, lambda *a: ag.kl(*a, axis=axis), mean, logvar)
    g = np.asarray(ag.kl(mean, logvar, axis=axis))
    agree(device, lambda g, *a: ag.kl_vjp(*a, cotangent=g, axis=axis), g, mean, logvar)


SMALLER = [(), (1,), (9,), (70, 1), (1, 1, 1), (5, 1, 9), (5, 1, 1), (1, 70, 1)]


@pytest.mark.parametrize(
    "smaller",
    nightly_unless(
        lambda smaller: smaller == (5, 1, 1), [(shape,) for shape in SMALLER], slow=lambda smaller: smaller == (9,)
    ),
    ids=str,
)
def test_arguments_that_broadcast_and_their_gradients(device, smaller):
    mean, logvar, x = normal((5, 70, 9)), normal(smaller, seed=1), normal((70, 9), seed=2)

    def operations(mean, logvar, x):
        yield from (ag.nll(x, mean, logvar), ag.sample(mean, logvar, rng=1), ag.kl(mean, logvar, x, logvar, axis=1))
        yield from ag.nll_vjp(x, mean, logvar, cotangent=0.5, axis=(0, 2))
        yield from ag.sample_vjp(mean, logvar, cotangent=mean, rng=1)

    agree(device, lambda *a: list(operations(*a)), mean, logvar, x)


VIEWS = {
    "transposed": lambda a: a.T,
    "Fortran order": np.asfortranarray,
    "steps": lambda a: a[::2, 1::3],
    "backwards": lambda a: a[::-1, ::-1],
    "one off": lambda a: a[:, 1:],
    "three off": lambda a: a[1:, 3:-2],
    "a column": lambda a: a[:, 5],
    "one row for all": lambda a: np.broadcast_to(a[0], a.shape),
    "one column for all": lambda a: np.broadcast_to(a[:, :1], a.shape),
    "no dimensions": lambda a: a[2, 3],
}


@pytest.mark.parametrize(
    ("dtype", "view"),
    nightly_unless(
        lambda dtype, view: dtype == "float32" or (dtype, view) == ("float16", "one off"),
        itertools.product(("float16", "float32", "float64"), VIEWS),
    ),
)
def test_views_are_read_where_they_lie(device, view, dtype):
    mean, logvar = (np.asarray(VIEWS[view](normal((37, 150), dtype, seed))) for seed in (0, 1))

    def operations(mean, logvar):
        yield from (ag.sample(mean, logvar, rng=1), ag.kl(mean, logvar), ag.kl(mean, logvar, axis=()))
        yield ag.entropy(logvar, axis=-1 if logvar.ndim else None)

    agree(device, lambda *a: list(operations(*a)), mean, logvar)


@pytest.mark.parametrize(
    ("dtype", "offset"),
    nightly_unless(
        lambda dtype, offset: offset == (1 if dtype == "float32" else 2) and dtype != "float64",
        itertools.product(("float16", "float32", "float64"), range(1, 8)),
    ),
)
def test_memory_that_begins_off_16_bytes(device, offset, dtype):
    memory = normal(3001, dtype)
    agree(device, lambda a: [ag.sample(a, a, rng=1), ag.std(a), ag.kl(a, a)], memory[offset:])
    agree(device, lambda a, b: [ag.sample(a, b, rng=1), ag.kl(a, b)], memory[offset:-8], memory[8:-offset])


def test_bounds_beyond_the_dtype_are_none_and_quiet(device):
    agree(device, lambda a: [ag.clamp(a, bounds=(-1e300, 0.5)), ag.std(a, bounds=(-1e300, 1e300))], normal(40))


# Outputs


OUTS = {
    "adjacent": lambda a: np.empty_like(a[:, 40:80]),
    "strided": lambda a: np.zeros((a.shape[0], 80), a.dtype)[:, ::2],
    "one off": lambda a: np.zeros((a.shape[0], 41), a.dtype)[:, 1:],
    "backwards": lambda a: np.zeros((a.shape[0], 40), a.dtype)[::-1, ::-1],
}


@pytest.mark.parametrize(
    ("dtype", "out"),
    nightly_unless(
        lambda dtype, out: dtype == "float32" or (dtype, out) == ("float16", "one off"),
        itertools.product(("float16", "float32", "float64"), OUTS),
    ),
)
def test_out_is_filled_and_nothing_else(device, out, dtype):
    p = normal((6, 80), dtype)
    z = OUTS[out](p)
    whole = z if z.base is None else z.base
    expected = whole.copy()
    given = device.array(z)
    with device.kernels():
        q = Q(device.array(p))
        assert q.sample(rng=1, out=given) is given
    assert_same([np.ascontiguousarray(device.host(given))], [Q(p).sample(rng=1)])
    if device.name == "shim":
        Q(p).sample(rng=1, out=np.ndarray(z.shape, z.dtype, expected, z.ctypes.data - whole.ctypes.data, z.strides))
        assert_same([whole], [expected])


def test_out_that_is_an_input_or_overlaps_one(device):
    p = normal((8, 300))
    expected = Q(p).sample(rng=1), ag.sample(p[:, :100], p[:, 100:200], rng=1)

    with device.kernels():
        a = device.array(p.copy())
        assert_same(
            [device.host(ag.sample(a[:, :150], a[:, 150:], rng=1, bounds=(-30, 20), out=a[:, :150]))], expected[:1]
        )
        b = device.array(p.copy())
        assert_same([device.host(ag.sample(b[:, :100], b[:, 100:200], rng=1, out=b[:, 50:150]))], expected[1:])
    c = p.copy()
    ag.sample_and_kl_vjp(c, cotangent=(1.0, 1.0), rng=1, out=c)
    with device.kernels():
        d = device.array(p.copy())
        ag.sample_and_kl_vjp(d, cotangent=(1.0, 1.0), rng=1, out=d)
    assert_same([device.host(d)], [c])


def test_draws_along_new_axes(device):
    mean, logvar = normal((3, 5)), normal((3, 5), seed=1)
    agree(device, lambda *a: ag.sample(*a, rng=1, sample_shape=(2, 3)), mean, logvar)
    g = normal((2, 3, 3, 5), seed=2)
    agree(device, lambda g, *a: ag.sample_vjp(*a, cotangent=g, rng=1, sample_shape=(2, 3)), g, mean, logvar)


# Noise


@pytest.mark.parametrize(
    ("dtype", "events"),
    nightly_unless(
        lambda dtype, events: events == 5 or (dtype == "float32" and events in (1, 8, 1027)),
        itertools.product(DTYPES, (1, 2, 3, 5, 7, 8, 1027)),
        slow=lambda dtype, events: dtype == "float32",
    ),
)
def test_the_callers_sample_ids(device, events, dtype):
    mean, logvar = normal((6, events), dtype), normal((6, events), dtype, 1)
    words = np.random.default_rng(2).integers(0, 2**32, (6, 2), np.uint32)
    for ids in ([3, 0, 5, 5, 1, 2], [2**40, 7, 2**33 + 1, 0, 9, 2**62], words):
        agree(device, lambda ids, *a: ag.sample(*a, rng=1, index=ids), np.array(ids), mean, logvar)
        agree(device, lambda *a: ag.sample(*a, rng=1, index=ids), mean, logvar)  # noqa: B023


@pytest.mark.parametrize("dtype", slow_unless(lambda dtype: dtype == "float32", DTYPES))
def test_a_batch_is_its_samples_one_by_one(device, dtype):
    p = normal((10, 2, 37), dtype)
    whole = Q(p).sample(rng=4)
    with device.kernels():
        parts = [device.host(Q(device.array(p[b : b + 1])).sample(rng=4, index=[b])) for b in range(10)]
    assert_same([np.concatenate(parts)], [whole])


@pytest.mark.parametrize("dtype", slow_unless(lambda dtype: dtype == "float32", ["float16", "float32", "float64"]))
def test_random_normal(device, dtype):
    for shape in (0, 1, 5, (3, 7), (40, 1000)):
        expected = ag.random.normal(shape, rng=9, dtype=dtype)
        with device.kernels():
            found = ag.random.normal(shape, rng=9, dtype=dtype, xp=getattr(device, "xp", np))
        assert_same([device.host(found)], [expected])
