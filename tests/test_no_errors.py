"""What is no error: arrays that are empty or without dimensions, NaN and inf, and what a new user tries first."""

import numpy as np
import pytest
from cases import PUBLIC
from oracles import EVERY_LIBRARY, array, assert_ulp, dtype_of, host, library_of, mp, same_bits
from quick import nightly_unless, slow_in_jax, slow_unless
from refusals import Q, assert_refused, libraries, library_and_dtype, ones, taking

import agauss as ag

# Empty, without dimensions, one element

# (parameters' shape, axis)
EMPTY = [
    ((0, 4), 1),
    ((0, 4, 3, 3), 1),
    ((2, 0), 1),
    ((2, 0, 3, 3), 1),
    ((2, 4, 0, 3), 1),
    ((0, 0, 0, 0), 1),
    ((0, 4), 0),
]


# JAX compiles for every shape, so it gets fewer.
@pytest.mark.parametrize(
    ("library", "shape", "axis"),
    slow_unless(
        lambda library, *case: library != "jax" or case == EMPTY[3],
        [(name, *case) for name in EVERY_LIBRARY for case in (EMPTY[1:4] if name == "jax" else EMPTY)],
    ),
    ids=str,
)
def test_empty_distributions_give_results_of_the_right_shape(library, shape, axis):
    q = Q(array(library, np.ones(shape), "float32"), axis=axis)
    mean_shape = list(shape)
    mean_shape[axis] //= 2
    mean_shape = tuple(mean_shape)
    batch = mean_shape[:1]
    for value in (q.mean, q.logvar, q.std, q.var, q.mode(), q.sample(rng=0)):
        assert tuple(value.shape) == mean_shape
        assert dtype_of(value) == "float32"
    for value in (q.kl(), q.kl(q), q.nll(q.mean), q.log_prob(q.mean), q.entropy(), q.sample_and_kl(rng=0)[1]):
        assert tuple(value.shape) == batch
        assert dtype_of(value) == "float32"
        np.testing.assert_array_equal(host(value), np.zeros(batch))  # the sum of nothing
    assert tuple(q.sample(rng=0, sample_shape=(3, 2)).shape) == (3, 2, *mean_shape)
    assert tuple(q.sample(rng=0, sample_shape=0).shape) == (0, *mean_shape)
    np.testing.assert_array_equal(host(q.saturated()), np.zeros(batch))


@libraries
@pytest.mark.parametrize(("shape", "axis"), EMPTY, ids=str)
def test_empty_gradients_have_the_shape_of_their_arguments(library, shape, axis):
    a = array(library, np.ones(shape), "float32")
    for gradients in (
        ag.kl_vjp(a, a, cotangent=1.0),
        ag.kl_vjp(a, a, a, 0.0, cotangent=1.0)[:3],
        ag.nll_vjp(a, a, a, cotangent=1.0, axis=()),
        ag.sample_vjp(a, a, cotangent=1.0, rng=0),
        ag.std_vjp(a, cotangent=1.0),
        (ag.sample_and_kl_vjp(a, cotangent=(1.0, 1.0), rng=0, axis=axis),),
    ):
        for gradient in gradients:
            assert tuple(gradient.shape) == shape
            assert dtype_of(gradient) == "float32"
    # What was broadcast into nothing gets the sum of nothing.
    d_number = ag.nll_vjp(a, 0.0, 0.0, cotangent=1.0)[1]
    assert tuple(d_number.shape) == ()
    assert float(host(d_number)) == 0


@library_and_dtype
def test_arrays_without_dimensions_work(library, dtype):
    one, zero = array(library, np.ones(()), dtype), array(library, np.zeros(()), dtype)
    wide = "float32"
    for value, true in (
        (ag.kl(one, zero), 0.5),
        (ag.kl(one, zero, axis=()), 0.5),
        (ag.kl(one, zero, zero, zero), 0.5),
        (ag.normal_kl(one, zero, zero, zero), 0.5),
        (ag.nll(one, one, zero), 0.9189385),
        (ag.log_prob(one, one, zero), -0.9189385),
        (ag.entropy(zero), 1.4189385),
        (ag.std(zero), 1.0),
        (ag.var(zero), 1.0),
    ):
        assert tuple(value.shape) == ()
        assert library_of(value) == library
        assert dtype_of(value) == wide
        assert abs(float(host(value)) - true) < 1e-6
    for value in (ag.mode(one, zero), ag.sample(one, zero, rng=0), ag.clamp(one, bounds="hard")):
        assert tuple(value.shape) == ()
        assert dtype_of(value) == dtype
    for gradient in (*ag.kl_vjp(one, zero, cotangent=1.0), *ag.sample_vjp(one, zero, cotangent=1.0, rng=0)):
        assert tuple(gradient.shape) == ()
        assert dtype_of(gradient) == dtype


def test_numbers_alone_give_float64():
    assert float(ag.kl(1.0, 0.0)) == 0.5
    assert ag.kl(1, 0).dtype == np.float64
    assert ag.normal_kl(1, 0, 0, 0).dtype == np.float64
    assert ag.sample(0.0, 0.0, rng=0).dtype == np.float64
    assert ag.sample(0.0, 0.0, rng=0).shape == ()


def test_a_number_beside_float32_leaves_it_float32():
    assert ag.kl(ones(3), 0.1).dtype == np.float32
    assert ag.kl(ones(3), np.float64(0.1)).dtype == np.float32
    assert ag.kl(ones(3), 1).dtype == np.float32
    assert ag.kl(ones(3), np.int64(1)).dtype == np.float32


@pytest.mark.parametrize("library", slow_in_jax(EVERY_LIBRARY))
def test_one_element_works(library):
    q = Q(array(library, np.array([[2.0, 0.0]]), "float32"))
    assert float(host(q.kl())[0]) == 2.0
    assert tuple(q.sample(rng=0).shape) == (1, 1)
    z, kl = q.sample_and_kl(rng=0)
    assert float(host(kl)[0]) == 2.0
    assert tuple(z.shape) == (1, 1)


# NaN and inf: no error and no warning (which pytest makes an error)


@pytest.mark.parametrize("library", EVERY_LIBRARY)
@pytest.mark.parametrize("kind", ["hard", "soft", "straight-through"])
def test_nan_passes_through_every_bound(library, kind):
    logvar = array(library, np.array([np.nan, 0.0, np.inf, -np.inf]), "float32")
    value = host(ag.clamp(logvar, bounds=kind))
    np.testing.assert_array_equal(np.isnan(value), [True, False, False, False])
    np.testing.assert_allclose(value[2:], [20, -30], rtol=1e-6)


@library_and_dtype
def test_nan_reaches_the_results_of_its_own_sample_and_no_others(library, dtype):
    for place in (0, 3):  # a mean, a log-variance
        values = np.ones((3, 4, 2))
        values[1, place, 1] = np.nan
        q = Q(array(library, values, dtype))
        expected = [False, True, False]
        for name, value in (
            ("kl", q.kl()),
            ("nll", q.nll(array(library, np.ones((3, 2, 2)), dtype))),
            ("kl to another", q.kl(Q(array(library, np.ones((3, 4, 2)), dtype)))),
            ("kl from another", Q(array(library, np.ones((3, 4, 2)), dtype)).kl(q)),
            ("fused", q.sample_and_kl(rng=0)[1]),
        ):
            np.testing.assert_array_equal(np.isnan(host(value).astype(np.float32)), expected, err_msg=name)
        z = host(q.sample(rng=0)).astype(np.float32)
        assert np.isnan(z).sum() == 1
        assert np.isnan(z[1, place % 2, 1])


BOUNDED_BY = {
    name: (None, "hard", "soft", "straight-through") if name in taking("bounds") else (None,) for name in PUBLIC
}
BOUNDED_BY["clamp"] = BOUNDED_BY["clamp_vjp"] = ("hard", "soft", "straight-through")


@pytest.mark.in_turn(4)
@pytest.mark.parametrize(
    ("name", "kind"),
    nightly_unless(
        lambda name, kind: kind == BOUNDED_BY[name][0] or name in ("kl", "std_vjp"),
        [(name, kind) for name in PUBLIC for kind in BOUNDED_BY[name]],
    ),
)
@pytest.mark.parametrize("library", ["numpy", "torch", "dask", "array_api_strict"])  # JAX has no such warnings
def test_nan_and_inf_neither_raise_nor_warn(name, kind, library):
    # Every combination of four values in the arguments of the function; pytest turns warnings into errors.
    function, arrays, options, _ = PUBLIC[name]
    grids = np.meshgrid(*([np.array([np.nan, np.inf, -np.inf, 0.0])] * max(len(arrays), 2)), indexing="ij")
    if arrays == ("parameters",):
        args = [array(library, np.stack([g.ravel() for g in grids], axis=1), "float32")]
    else:
        args = [array(library, g.reshape(-1, 4), "float32") for g in grids[: len(arrays)]]
    if name in taking("bounds"):
        options = {**options, "bounds": kind}
    result = function(*args, **options)
    for value in result if isinstance(result, tuple) else (result,):
        host(value)


def elements_of_kl(library, dtype, *columns):
    return host(ag.kl(*(array(library, np.array(c), dtype) for c in columns), axis=()))


@pytest.mark.parametrize("library", slow_in_jax(EVERY_LIBRARY))
def test_an_overflow_is_infinite_and_not_nan(library):
    # exp(-logvar2) alone overflows in each; the means match in the last two, where it is multiplied by nothing.
    got = elements_of_kl(library, "float32", [1, 0, 3, 0], [0, 0, -200, -200], [0, 0, 3, 0], [-200, -200, -200, -200])
    np.testing.assert_array_equal(got, [np.inf, np.inf, 0, 0])
    np.testing.assert_array_equal(elements_of_kl(library, "float32", [1e30, 0], [0, 200]), [np.inf, np.inf])


@libraries
def test_an_infinite_element_makes_its_sum_infinite_and_no_other(library):
    mean = np.ones((3, 5000), np.float32)
    mean[1, 4321] = np.inf
    mean = array(library, mean)
    np.testing.assert_array_equal(host(ag.kl(mean, 0.0, axis=1)), [2500, np.inf, 2500])


@libraries
def test_sums_beyond_the_largest_number_are_infinite(library):
    mean = array(library, np.full((2, 3000), 1e18), "float32")  # 5e35 an element
    np.testing.assert_array_equal(host(ag.kl(mean, 0.0, axis=1)), [np.inf, np.inf])
    np.testing.assert_array_equal(host(ag.log_prob(mean, 0.0, 0.0, axis=1)), [-np.inf, -np.inf])


@libraries
def test_moments_without_spread_are_lifted_to_the_lower_bound(library):
    moments = array(library, np.array([[1.0, 0.0], [1.0, 2.0]]), "float32")
    for second, true in (("std", 2 * np.log(2.0)), ("var", np.log(2.0))):
        q = Q.from_moments(moments, second=second)
        np.testing.assert_allclose(host(q.logvar)[:, 0], [-30, true], rtol=3e-7)
        unbounded = Q.from_moments(moments, second=second, bounds=None)
        assert host(unbounded.logvar)[0, 0] == -np.inf
    negative = Q.from_moments(array(library, np.array([[1.0, -1.0]]), "float32"), second="std")
    assert np.isnan(host(negative.logvar)[0, 0])


@libraries
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("floor", [0.0, 1e-4])
def test_moments_of_logstd_and_softplus_are_their_log_variances(library, dtype, floor):
    """Within 4 ulp of 2 log(softplus(x) + floor): a log, a sum, a log1p and an exp."""
    x = np.array([-200.0, -45.0, -39.0, -3.0, -0.5, 0.0, 0.6, 4.0, 90.0], dtype)
    moments = array(library, np.stack([x, x]))
    q = Q.from_moments(moments, axis=0, second="softplus", floor=floor, bounds=None)
    true = [2 * mp.log(mp.log1p(mp.exp(mp.mpf(float(v)))) + mp.mpf(floor)) for v in x]
    sizes = [abs(t) + 2 for t in true]  # an error of the std is absolute in its logarithm
    assert_ulp(host(q.logvar)[0], true, 4, scale=sizes)
    ends = array(library, np.array([[-np.inf, np.inf, np.nan]] * 2, dtype))
    least = 2 * np.log(floor) if floor else -np.inf
    found = host(Q.from_moments(ends, axis=0, second="softplus", floor=floor, bounds=None).logvar)[0]
    np.testing.assert_allclose(found, [least, np.inf, np.nan], rtol=3e-7)
    q = Q.from_moments(moments, axis=0, second="logstd", bounds=None)
    assert same_bits(host(q.logvar)[0], 2 * x)


def test_arrays_on_different_devices_are_refused():
    torch = pytest.importorskip("torch")
    here, elsewhere = torch.zeros(2, 2), torch.zeros(2, 2, device="meta")
    for call in (
        lambda: ag.kl(here, elsewhere),
        lambda: ag.nll(here, here, elsewhere),
        lambda: ag.kl_vjp(here, here, cotangent=elsewhere, axis=()),
    ):
        with pytest.raises(ValueError, match=r"must be on the device of .*cpu; got meta"):
            call()


# What a new user tries first


def test_ids_from_2_to_the_63_on_are_taken_beside_small_ones_in_a_list():
    """NumPy makes floats, or objects, of such a list."""
    zeros = np.zeros((2, 3))
    ids = [2**63, 1]
    np.testing.assert_array_equal(
        ag.sample(zeros, zeros, rng=7, index=ids), ag.sample(zeros, zeros, rng=7, index=np.array(ids, np.uint64))
    )
    assert_refused(
        ag.sample, zeros, zeros, rng=7, index=[2**64, 1], kinds=ValueError, says=("index", r"2\*\*64", "got")
    )


def test_an_int_beyond_every_float_is_infinite():
    assert ag.kl(10**400, 0.0) == np.inf
    assert ag.std(-(10**400)) == 0
    assert ag.kl_vjp(ones(2), ones(2), cotangent=10**400)[0][0] == np.inf
    assert ag.clamp(np.array([50.0]), bounds=(-30, 10**400)) == 50


@pytest.mark.parametrize("draw", [Q(ones(2, 4), deterministic=True).sample, ag.DiracDistribution(ones(2)).sample])
def test_a_point_refuses_what_no_sample_takes_and_draws_nothing(draw):
    assert_refused(draw, rng="seed", kinds=TypeError, says=("rng", "Generator", "got str"))
    generator = np.random.default_rng(0)
    draw(rng=generator)
    assert generator.integers(2**32) == np.random.default_rng(0).integers(2**32)


@pytest.mark.parametrize(
    "call", [Q(ones(2, 4), deterministic=True).sample, Q(ones(2, 4), deterministic=True).sample_and_kl]
)
def test_a_point_refuses_an_index_that_does_not_fit(call):
    assert_refused(call, index=[1], kinds=ValueError, says=("index", r"\(2,\)", "got", r"\(1,\)"))


@pytest.mark.parametrize("second", [ones(2, 4), "no", None])
def test_a_mean_and_a_logvar_are_not_taken_for_parameters_and_a_flag(second):
    assert_refused(Q, ones(2, 4), second, kinds=TypeError, says=("deterministic", "got", "from_mean_logvar"))


def test_x_is_told_what_the_gaussian_is_and_not_the_other_way_round():
    q = Q(ones(2, 4))
    assert_refused(q.nll, np.ones((2, 2)), kinds=TypeError, says=("^sample", "dtype of mean, float32", "got float64"))
    assert_refused(q.nll, ones(2, 3), kinds=ValueError, says=("^sample", "against mean", "got"))


def test_tab_completion_offers_what_is_public():
    assert sorted(dir(ag)) == sorted([*ag.__all__, "__version__", "vae"])
    assert dir(ag.random) == ag.random.__all__


@pytest.mark.parametrize("deterministic", [False, True])
def test_a_call_that_is_refused_advances_no_generator(deterministic):
    rng, x = np.random.default_rng(3), np.zeros((4, 6), np.float32)
    before, q, wrong = rng.bit_generator.state, Q(x, deterministic), np.zeros(3, np.float32)
    for call in (
        lambda: ag.vjp(ag.sample, x, x[:3], rng=rng),
        lambda: ag.vjp(ag.sample, x, x, rng=rng, index=[1]),
        lambda: ag.vjp(ag.sample_and_kl, x[:, :5], rng=rng),
        lambda: ag.sample(x, x, rng=rng, out=wrong),
        lambda: ag.sample(x, x, rng=rng, bounds=(2, 1)),
        lambda: ag.sample(x, x, rng=rng, sample_shape=-1),
        lambda: ag.sample_and_kl(x, rng=rng, out=wrong),
        lambda: ag.sample_block(x, x, key=rng, offset=0, event_size=6, out=wrong),
        lambda: ag.sample_block(x, x, key=rng, offset=0, event_size=6, bounds="firm"),
        lambda: ag.random.normal(2, rng=rng, out=wrong),
        lambda: q.sample(rng, out=wrong),
        lambda: q.sample(rng, index=[1]),
        lambda: q.sample_and_kl(rng, out=wrong),
    ):
        with pytest.raises((TypeError, ValueError)):
            call()
        assert rng.bit_generator.state == before


@pytest.mark.parametrize("axis", [True, False, (0, True)], ids=repr)
def test_a_truth_value_is_no_axis(axis):
    x = np.zeros((2, 3))
    for refused in (
        lambda: ag.kl(x, x, axis=axis),
        lambda: Q(x[:, :2], event_axes=axis),
        lambda: Q(x[:, :2]).nll(x, axis),
    ):
        with pytest.raises(TypeError, match="must be None, an int or a tuple of ints"):
            refused()
    with pytest.raises(TypeError, match="sample_shape must be an int or a tuple of ints; got True"):
        ag.sample(x, x, rng=1, sample_shape=True)


def test_a_whole_of_more_elements_than_can_be_counted_is_refused():
    with pytest.raises(ValueError, match=r"event_size must be under 2\*\*63 elements"):
        ag.sample_block(np.zeros((1, 0)), 0.0, key=1, offset=(0, 0), event_size=(2**63,))


def test_a_namesake_of_the_class_is_refused_by_its_module():
    class DiagonalGaussianDistribution:
        pass

    with pytest.raises(TypeError, match=r"of agauss; got test_no_errors\..*DiagonalGaussianDistribution"):
        Q(np.zeros((2, 4))).kl(DiagonalGaussianDistribution())


def test_infinities_in_sums_of_several_chunks_are_results_and_not_accidents():
    big, half = np.full((2, 200_000), 3e38, np.float32), np.full(100_000, 6e4, np.float16)
    with np.errstate(all="raise"):
        assert np.isinf(ag.kl(big, big - big, axis=1)).all()
        assert np.isinf(ag.kl_vjp(half, half[:1] * 0, np.float16(0), np.float16(0), cotangent=1.0)[3])
        assert np.isnan(ag.entropy(np.repeat(np.float32([np.inf, -np.inf]), 100_000)))
        g = np.repeat(np.float32([3e38, -3e38]), 4)
        ag.sample_vjp(g[:1] * 0, g[:1] * 0 + 9, cotangent=g.reshape(8, 1), rng=7, sample_shape=8)


def test_scalars_of_numpy_keep_their_dtype():
    one, two = np.float32(1), np.float32(2)
    assert ag.kl(one, two).dtype == ag.kl(one, 2.0).dtype == np.float32
    assert ag.kl(np.float64(1), 2).dtype == ag.kl(1.0, 2.0).dtype == ag.kl(np.float64(1), two).dtype == np.float64
    assert ag.sample(np.float16(1), 0, rng=7).dtype == np.float16
    array = np.float32([0.0])
    assert ag.sample(np.float32(0), np.float32(0), rng=7) == ag.sample(array, array, rng=7)[0]


def test_the_old_classs_keywords_are_taken():
    z = np.zeros((2, 2))
    q = Q(parameters=np.zeros((2, 4)), deterministic=False)
    np.testing.assert_array_equal(q.nll(sample=z, dims=[1]), q.nll(z))
