"""Products, ways and schedules at their edges, and what they refuse."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import EVERY_LIBRARY, array, mp, wide
from quick import slow_in_jax
from refusals import assert_refused

import agauss as ag
from agauss import vae

Q = ag.DiagonalGaussianDistribution.from_mean_logvar
INF = np.inf
libraries = pytest.mark.parametrize("library", slow_in_jax(EVERY_LIBRARY))


# Products


@libraries
def test_a_product_of_nearly_certain_experts_stays_finite(library):
    """exp(90) is inf in float32, and so is the usual form's precision."""
    means, logvars = np.float32([[1.0], [3.0], [7.0]]), np.float32([[-90.0], [-90.0], [5.0]])
    mean, logvar = vae.product_of_experts(array(library, means), array(library, logvars))
    np.testing.assert_allclose(wide(mean), [2.0], rtol=1e-6)
    np.testing.assert_allclose(wide(logvar), [-90.0 - np.log(2)], rtol=1e-6)
    with np.errstate(over="ignore", invalid="ignore"):
        precision = np.exp(-logvars)
        assert not np.isfinite((means * precision).sum(0) / (precision.sum(0) + 1)).any()


def test_the_product_is_exact_by_fifty_digits():
    rng = np.random.default_rng(0)
    means, logvars = rng.normal(size=(3, 50)), rng.uniform(-80, 80, (3, 50))
    mean, logvar = vae.product_of_experts(means, logvars)
    for k in range(50):
        precisions = [mp.exp(-mp.mpf(v)) for v in logvars[:, k]]
        total = 1 + sum(precisions)
        # Roundings of exp's argument of up to 160, and a handful more.
        center = sum(p * mp.mpf(m) for p, m in zip(precisions, means[:, k], strict=True)) / total
        assert abs(mean[k] - float(center)) <= 200 * 2.0**-52 * max(1.0, np.abs(means[:, k]).max())
        assert abs(logvar[k] + float(mp.log(total))) <= 200 * 2.0**-52


def test_an_expert_of_infinite_variance_is_left_out_and_one_of_none_decides():
    other = [np.array([2.0]), np.array([0.3])]
    alone = vae.product_of_experts([other[0]], [other[1]])
    missing = vae.product_of_experts([other[0], 5.0], [other[1], INF])
    np.testing.assert_array_equal(missing, alone)
    np.testing.assert_array_equal(vae.product_of_experts([other[0], 5.0], [other[1], -INF]), [[5.0], [-INF]])
    np.testing.assert_array_equal(vae.product_of_experts([5.0, 7.0], [INF, INF]), [0.0, 0.0])  # the prior


# Ways between distributions


@libraries
@pytest.mark.parametrize("path", ["linear", "wasserstein"])
def test_the_ends_of_a_way_are_exactly_what_it_is_between(path, library):
    rng = np.random.default_rng(0)
    mean0, logvar0, mean1, logvar1 = rng.normal(0, 3, (4, 2, 3)).astype(np.float32)
    logvar0[0, 0], logvar1[0, 0] = -30.0, 20.0
    q0, q1 = (Q(array(library, m), array(library, v)) for m, v in ((mean0, logvar0), (mean1, logvar1)))
    between = vae.interpolate(q0, q1, [0.0, 0.25, 1.0], path)
    assert between.shape == (3, 2, 3)
    assert tuple(between.kl().shape) == (3, 2)
    for t, m, v in ((0, mean0, logvar0), (2, mean1, logvar1)):
        np.testing.assert_array_equal(wide(between.mean)[t], m)
        np.testing.assert_array_equal(wide(between.logvar)[t], v)


def test_the_wasserstein_path_is_a_geodesic_and_the_linear_one_is_not():
    """Along it distances add up; its speed is constant."""
    q0, q1 = Q(np.array([[0.0, 1.0]]), np.array([[-2.0, 0.5]])), Q(np.array([[3.0, 1.0]]), np.array([[2.0, -4.0]]))

    def distance(a, b):
        return float(np.sqrt(ag.wasserstein2_squared(a.mean, a.logvar, b.mean, b.logvar)))

    for path, shortest in (("wasserstein", True), ("linear", False)):
        middle = vae.interpolate(q0, q1, 0.3, path)
        parts, whole = (distance(q0, middle), distance(middle, q1)), distance(q0, q1)
        assert (abs(parts[0] - 0.3 * whole) < 1e-12) == shortest
        assert (abs(sum(parts) - whole) < 1e-12) == shortest


@pytest.mark.parametrize("path", ["linear", "wasserstein"])
def test_the_ends_of_a_way_may_be_infinite(path):
    mean, logvar = np.array([[INF, 1.0, 2.0]]), np.array([[-INF, -INF, 0.0]])
    mean1, logvar1 = np.array([[0.0, 1.0, -INF]]), np.array([[0.5, -INF, INF]])
    found = vae.interpolate(Q(mean, logvar, bounds=None), Q(mean1, logvar1, bounds=None), [0.0, 1.0, 0.5], path)
    np.testing.assert_array_equal(found.mean[:2], [mean, mean1])
    np.testing.assert_array_equal(found.logvar[:2], [logvar, logvar1])
    middle = -INF if path == "linear" else 0.5 - 2 * np.log(2)  # half the standard deviation of the other
    np.testing.assert_allclose(found.logvar[2], [[middle, -INF, INF]])


def test_points_have_a_way_of_points():
    q0, q1 = (ag.DiagonalGaussianDistribution(np.full((1, 2), x), deterministic=True) for x in (0.0, 2.0))
    middle = vae.interpolate(q0, q1, 0.5)
    assert middle.deterministic
    np.testing.assert_array_equal(middle.sample(), [[1.0]])


# Arcs


@libraries
def test_an_arc_keeps_the_norm_and_ends_exactly(library):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 4, 2, 8))
    a, b = (3 * x / np.linalg.norm(x.reshape(4, -1), axis=1)[:, None, None] for x in (a, b))
    a, b = a.astype(np.float32), b.astype(np.float32)
    found = wide(vae.slerp(array(library, a), array(library, b), np.linspace(0, 1, 5)))
    assert found.shape == (5, 4, 2, 8)
    np.testing.assert_allclose(np.linalg.norm(found.reshape(5, 4, -1), axis=2), 3.0, rtol=2e-6)
    np.testing.assert_array_equal(found[0], a)
    np.testing.assert_array_equal(found[-1], b)


def test_nearly_parallel_vectors_have_a_nearly_straight_arc():
    """arccos of a cosine near 1 has lost half its digits there."""
    for angle in (0.0, 1e-30, 1e-9, 1e-6, 1e-3, 0.1, 3.0):
        a, b = np.array([2.0, 0.0]), 2 * np.array([np.cos(angle), np.sin(angle)])
        want = 2 * np.array([np.cos(0.3 * angle), np.sin(0.3 * angle)])
        np.testing.assert_allclose(vae.slerp(a, b, 0.3), want, rtol=1e-12, atol=1e-300)


@pytest.mark.parametrize("angle", [0.0, 1e-8, 1e-4, 0.002, 0.004, 0.06, 0.08, 1.0, 3.0])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_gradient_of_an_arc_is_right_at_every_angle(angle, dtype):
    """By differences of 50 digits, on both sides of where the series takes over."""
    a, b = np.array([2.0, 0.5], dtype), np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    b = (b @ np.array([3.0, 0.75])).astype(dtype)
    g = np.array([0.7, -1.1], dtype)

    def plain(*x):
        x = [mp.mpf(v) for v in x]
        dot, cross = x[0] * x[2] + x[1] * x[3], x[0] * x[3] - x[1] * x[2]
        w = mp.atan2(abs(cross), dot)
        p, q = (
            (mp.mpf(0.7), mp.mpf(0.3))
            if w == 0
            else (mp.sin(mp.mpf(0.7) * w) / mp.sin(w), mp.sin(mp.mpf(0.3) * w) / mp.sin(w))
        )
        return (p * x[0] + q * x[2]) * mp.mpf(float(g[0])) + (p * x[1] + q * x[3]) * mp.mpf(float(g[1]))

    x, h = [float(v) for v in (*a, *b)], mp.mpf(10) ** -18
    want = []
    for k in range(4):
        up, down = ([mp.mpf(v) + (h * s if j == k else 0) for j, v in enumerate(x)] for s in (1, -1))
        want.append(float((plain(*up) - plain(*down)) / (2 * h)))
    got = np.concatenate(vae.slerp_vjp(a, b, 0.3, cotangent=g))
    # The sine divides by an angle whose own rounding is an epsilon.
    limit = 60 * np.finfo(dtype).eps / max(np.sin(angle), 0.05)
    np.testing.assert_allclose(got, want, rtol=limit, atol=limit)


def test_an_arc_from_nowhere_is_a_straight_line():
    np.testing.assert_array_equal(vae.slerp(np.zeros(2), np.array([2.0, 4.0]), 0.25), [0.5, 1.0])
    for g in vae.slerp_vjp(np.zeros(2), np.array([2.0, 4.0]), 0.25, cotangent=1.0):
        assert np.isfinite(g).all()


def test_huge_and_tiny_vectors_have_angles_too():
    for size in (1e-30, 1e30):
        a, b = np.float32([size, 0.0]), np.float32([0.0, size])
        np.testing.assert_allclose(vae.slerp(a, b, 0.5) / np.float32(size), [0.70710678] * 2, rtol=1e-6)


# Schedules

SCHEDULES = {
    "linear": vae.linear(0.1, 0.7, 300),
    "cosine": vae.cosine(0.1, 0.7, 300),
    "sigmoid": vae.sigmoid(0.1, 0.7, 300),
    "cyclical": vae.cyclical(0.1, 0.7, 300),
    "falling": vae.linear(0.7, 0.1, 300),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_both_ends_are_exact_and_told(name):
    schedule = SCHEDULES[name]
    start, stop = (0.7, 0.1) if name == "falling" else (0.1, 0.7)
    assert schedule(0) == start
    assert schedule(300) == schedule(10**12) == stop
    assert not schedule.finished(299)
    assert schedule.finished(300)
    assert np.all([min(start, stop) <= schedule(k) <= max(start, stop) for k in range(300)])


@pytest.mark.parametrize("name", ["linear", "cosine", "sigmoid"])
def test_a_rise_never_falls_and_is_symmetric(name):
    values = [SCHEDULES[name](k) for k in range(301)]
    assert np.all(np.diff(values) > 0)
    np.testing.assert_allclose(np.array(values) + values[::-1], 0.8, rtol=1e-12)


def test_every_cycle_is_the_first_one_again():
    """To the bit, for they are remainders: sums of a step's share drift."""
    schedule = vae.cyclical(0.0, 1.0, 10**7, n_cycle=10**4, ratio=0.3)
    for step in (0, 1, 299, 300, 301, 999):
        assert {schedule(step + 1000 * cycle) for cycle in (0, 1, 777, 9999)} == {min(step / 1000 / 0.3, 1.0)}
    assert vae.cyclical(0.0, 1.0, 10, n_cycle=3)(9) == 1.0  # cycles that are no whole steps long


@pytest.mark.parametrize("name", SCHEDULES)
def test_traced_steps_have_the_same_values(name):
    schedule = SCHEDULES[name]
    steps = np.array([0, 1, 37, 75, 149, 150, 299, 300, 500])
    want = [schedule(int(step)) for step in steps]
    got = jax.jit(jax.vmap(schedule))(jnp.asarray(steps))
    np.testing.assert_allclose(got, np.float32(want), rtol=1e-6)
    assert (got[0], got[-1]) == (np.float32(want[0]), np.float32(want[-1]))
    for library in EVERY_LIBRARY:
        np.testing.assert_allclose(wide(schedule(array(library, steps.astype(np.int32)))), want, rtol=1e-6)


def test_a_constant_is_constant():
    assert vae.constant(4)(0) == vae.constant(4)(99) == 4.0
    np.testing.assert_array_equal(vae.constant(4)(jnp.arange(3)), [4.0] * 3)


# Refusals

V = np.ones(3)
P = Q(np.zeros((1, 2)), 0.0)
POINT = ag.DiagonalGaussianDistribution(np.zeros((1, 4)), deterministic=True)


@pytest.mark.parametrize(
    ("call", "arguments", "says"),
    [
        (vae.product_of_experts, ([], []), "means and logvars must be of as many experts, at least 1; got 0 and 0"),
        (vae.product_of_experts, ([V], [V, V]), "as many experts, at least 1; got 1 and 2"),
        (vae.product_of_experts, (1.0, 1.0), "means must be a list, a tuple or an array of experts; got float"),
        (vae.product_of_experts, ([V, np.ones(4)], [V, V]), r"means\[1\] must broadcast against means\[0\]"),
        (vae.interpolate, (P, V, 0.5), "q1 must be a DiagonalGaussianDistribution of agauss; got ndarray"),
        (vae.interpolate, (P, P, 1.5), "t must be within 0 and 1; got 1.5"),
        (vae.interpolate, (P, P, np.nan), "t must be within 0 and 1; got nan"),
        (vae.interpolate, (P, P, "half"), "t must be a number, a list or an array of numpy or NumPy; got str"),
        (vae.interpolate, (P, P, 0.5, "shortest"), "path must be 'linear' or 'wasserstein'; got 'shortest'"),
        (vae.interpolate, (P, POINT, 0.5), "q0 and q1 must both be deterministic, or neither"),
        (vae.slerp, (V, np.ones(4), 0.5), "z1 must broadcast against z0"),
        (vae.slerp, (1.0, V, 0.5), "z0 must be an array of at least 1 dimension; got float"),
        (vae.slerp, (V, V, [0.5, -0.1]), "t must be within 0 and 1"),
        (vae.linear, (0.0, 1.0, 0), "steps must be at least 1; got 0"),
        (vae.linear, (0.0, 1.0, 10.0), "steps must be an int; got float"),
        (vae.linear, (0.0, INF, 10), "stop must be finite; got inf"),
        (vae.cosine, ("0", 1.0, 10), "start must be a number; got str"),
        (vae.cyclical, (0.0, 1.0, 10, 11), "n_cycle must be at most the 10 steps; got 11"),
        (vae.cyclical, (0.0, 1.0, 10, 2, 0.0), "ratio must be over 0 and at most 1; got 0.0"),
        (vae.linear(0.0, 1.0, 10), (-1,), "step must be at least 0; got -1"),
        (vae.linear(0.0, 1.0, 10), (1.5,), "step must be an int; got float"),
        (vae.linear(0.0, 1.0, 10), (np.ones(2),), "step must be an integer; got float64"),
        (vae.linear(0.0, 1.0, 10).finished, (-1,), "step must be at least 0; got -1"),
    ],
)
def test_bad_input_is_refused_by_name(call, arguments, says):
    assert_refused(call, *arguments, says=(says,))


def test_every_choice_of_lists_and_arrays_is_the_same_product():
    means, logvars = np.random.default_rng(0).normal(size=(2, 3, 4))
    want = vae.product_of_experts(means, logvars)
    for m, v in itertools.product((means, list(means), tuple(means)), (logvars, list(logvars))):
        np.testing.assert_array_equal(vae.product_of_experts(m, v), want)
