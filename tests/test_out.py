"""An `out` of any layout is filled, and nothing around it; it may lie over an input."""

from functools import partial

import numpy as np
import pytest
import torch
from cases import CASES, PUBLIC, as_tuple
from layouts import (
    LIMITS,
    Q,
    at_an_odd_address,
    cut_out,
    dtypes,
    field_of_a_record,
    fortran,
    last_axis_strided,
    libraries,
    negative,
    one_axis_negative,
    permuted,
    strided,
    values,
)
from oracles import (
    array,
    dtype_of,
    host,
    numpy_dtype,
    same_bits,
)
from quick import FEW

import agauss as ag

# out=


def out_like(layout, shape, dtype, tmp_path):
    return layout(np.full(shape, np.nan, numpy_dtype(dtype)), tmp_path)


WRITEABLE = [strided, negative, fortran, permuted, last_axis_strided, one_axis_negative, cut_out]
WRITEABLE += [field_of_a_record, at_an_odd_address]


def calls_with_out(*arrays, names=FEW):
    """Calls that take out, and their result without it."""
    _, mean, logvar = arrays
    own = {"parameters": np.concatenate([mean, logvar], axis=1)}
    calls = {"a point": lambda **out: Q(own["parameters"], deterministic=True).sample(**out)}
    for name in names:
        case = CASES[name]
        given = [own.get(argument, arrays[(k + 1) % 3]) for k, argument in enumerate(case.arguments)]
        if PUBLIC[case.op.function].takes("out"):
            for axis in ((), 0, 1) if case.sums else (None,):
                options = case.options(axis=axis, bounds=LIMITS.get(name))
                calls[f"{name} {axis}"] = partial(case.function, *given, **options)
        if case.vjp is not None and case.arguments == ("parameters",):
            calls[f"{name} vjp"] = partial(
                case.vjp, *given, cotangent=(0.5, 2.0), **case.options(bounds=LIMITS["sample"])
            )
    calls["draws"] = partial(ag.sample, mean, logvar, rng=3, sample_shape=2)
    return {name: (call, as_tuple(call())[0]) for name, call in calls.items()}


@pytest.mark.in_turn(2)
@pytest.mark.parametrize("layout", WRITEABLE, ids=lambda f: f.__name__)
@dtypes
def test_an_out_of_any_layout_is_filled_with_the_same_bits_and_nothing_around_it(layout, dtype, tmp_path):
    for name, (call, want) in calls_with_out(*(values((5, 6, 7), seed, dtype) for seed in range(3))).items():
        out = out_like(layout, want.shape, dtype_of(want), tmp_path)
        base = out if out.base is None else out.base
        room = base.ravel(order="K").view(np.uint8) if isinstance(base, np.ndarray) else np.frombuffer(base, np.uint8)
        assert np.shares_memory(room, out)
        room_before = room.copy()
        out[...] = 0
        zeroed = room.copy()
        assert as_tuple(call(out=out))[0] is out, name
        assert same_bits(out, want), name
        # Putting back what was there leaves the room as it was: no byte beside the view was written.
        out[...] = 0
        assert same_bits(room, zeroed), name
        out[...] = np.nan
        assert same_bits(room, room_before), name


def test_normal_fills_an_out_of_any_layout(tmp_path):
    want = ag.random.normal((5, 6, 7), rng=3)
    for layout in WRITEABLE:
        out = out_like(layout, (5, 6, 7), "float32", tmp_path)
        assert ag.random.normal((5, 6, 7), rng=3, out=out) is out
        assert same_bits(out, want), layout.__name__


# out that lies over an input


@libraries
@dtypes
def test_a_result_may_be_written_over_an_input(library, dtype):
    x, mean, logvar = (values((5, 6, 7), seed, dtype) for seed in range(3))

    def fresh():
        return [array(library, a, dtype) for a in (x, mean, logvar)]

    calls = {
        "clamp": lambda x, m, v, out: ag.clamp(v, bounds=(-1, 1), out=out),
        "mode": lambda x, m, v, out: ag.mode(m, v, out=out),
        "sample": lambda x, m, v, out: ag.sample(m, v, rng=3, out=out),
    }
    if dtype in ("float32", "float64"):  # whose results are of the arguments' dtype
        calls |= {
            "kl": lambda x, m, v, out: ag.kl(m, v, axis=(), out=out),
            "kl between two": lambda x, m, v, out: ag.kl(m, v, x, m, axis=(), out=out),
            "nll": lambda x, m, v, out: ag.nll(x, m, v, axis=(), out=out),
            "std": lambda x, m, v, out: ag.std(v, out=out),
        }
    for name, call in calls.items():
        want = host(call(*fresh(), None))
        for place in range(3):
            arguments = fresh()
            assert call(*arguments, arguments[place]) is arguments[place]
            assert same_bits(host(arguments[place]), want), (name, place)


@libraries
@dtypes
def test_gradients_may_be_written_over_the_arguments(library, dtype):
    """One that was broadcast too, whose gradient is a sum over what the others overwrite."""
    x, mean, logvar = values((5, 6, 7), 0, dtype), values((6, 1), 1, dtype), values((5, 6, 7), 2, dtype)
    calls = {
        "nll": lambda x, m, v, **options: ag.nll_vjp(x, m, v, cotangent=0.7, **options),
        "kl": lambda x, m, v, **options: ag.kl_vjp(x, v, m, x, cotangent=0.7, axis=1, **options),
        "sample": lambda x, m, v, **options: ag.sample_vjp(m, v, cotangent=0.7, rng=3, **options),
    }
    for name, call in calls.items():
        want = [host(g) for g in call(*(array(library, a, dtype) for a in (x, mean, logvar)))]
        arguments = [array(library, a, dtype) for a in (x, mean, logvar)]
        spare = array(library, x, dtype)
        x_, m_, v_ = arguments
        outs = {"nll": [x_, m_, v_], "kl": [x_, v_, m_, spare], "sample": [m_, v_]}[name]
        got = call(*arguments, out=outs)
        assert all(g is out for g, out in zip(got, outs, strict=True))
        assert all(same_bits(host(g), w) for g, w in zip(got, want, strict=True)), name


@libraries
@dtypes
@pytest.mark.parametrize("half", [0, 1])
def test_a_sample_may_be_written_over_either_half_of_the_parameters(library, dtype, half):
    parameters = array(library, values((3, 8, 5), 0, dtype), dtype)
    z, kl = ag.sample_and_kl(parameters, rng=3)
    z, kl = host(z).copy(), host(kl).copy()
    out = parameters[:, 4 * half : 4 * half + 4]
    got_z, got_kl = ag.sample_and_kl(parameters, rng=3, out=out)
    assert got_z is out
    assert same_bits(host(out), z)
    assert same_bits(host(got_kl), kl)


SHIFTS = [1, -1, 3, -3, 16, -16, 1000, -1000]


@pytest.mark.parametrize("n", [50, 5000, 300_000])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_an_out_that_overlaps_an_input_in_part_gets_what_it_would_without(n, dtype):
    for shift in SHIFTS:
        room = values(n + abs(shift), 0, dtype)
        start, target = (0, shift) if shift > 0 else (-shift, 0)
        other = values(n, 1, dtype)
        for name, call in {
            "std": lambda v, out, other: ag.std(v, out=out),
            "kl": lambda v, out, other: ag.kl(v, other, axis=(), out=out),
            "kl by logvar": lambda v, out, other: ag.kl(other, v, axis=(), out=out),
            "sample": lambda v, out, other: ag.sample(v, other, rng=3, out=out),
        }.items():
            want = call(room[start : start + n].copy(), None, other)
            shared = room.copy()
            out = shared[target : target + n]
            call(shared[start : start + n], out, other)
            assert same_bits(out, want), (name, shift)


@pytest.mark.parametrize("n", [10, 300, 600])
def test_an_out_that_is_its_input_turned_round_gets_what_it_would_without(n):
    square = values((n, n), 0)
    for turn in (np.transpose, lambda a: a[::-1], lambda a: a[:, ::-1], lambda a: a[::-1, ::-1].T):
        want = ag.std(square)
        shared = square.copy()
        out = turn(shared)
        ag.std(shared, out=out)
        assert same_bits(out, want)


@pytest.mark.parametrize("rows", [4, 3000])
def test_sums_may_be_written_over_their_inputs(rows):
    mean, logvar = values((rows, 200), 0), values((rows, 200), 1)
    for axis, place in ((1, (slice(None), 0)), (1, (slice(None), 199)), (0, 0), (0, rows - 1), (None, (1, 1))):
        want = ag.kl(mean, logvar, axis=axis)
        shared = mean.copy()
        out = shared[(*place, ...)] if isinstance(place, tuple) else shared[place]
        ag.kl(shared, logvar, axis=axis, out=out)
        assert same_bits(out, np.asarray(want)), (axis, place)


@pytest.mark.parametrize("n", [60, 200_000])
def test_the_fused_functions_may_be_written_over_what_they_read_in_part(n):
    parameters = values((2, 2 * n), 0)
    d_z, d_kl = values((2, n), 1), values((2,), 2)
    want_z, want_kl = ag.sample_and_kl(parameters, rng=3)
    want = ag.sample_and_kl_vjp(parameters, cotangent=(d_z, d_kl), rng=3)
    # z over parts of both halves
    shared = parameters.copy()
    out = shared[:, n // 2 : n // 2 + n]
    z, kl = ag.sample_and_kl(shared, rng=3, out=out)
    assert same_bits(z, want_z)
    assert same_bits(kl, want_kl)
    # the gradient one row further down than the parameters
    room = np.concatenate([parameters, parameters[:1]])
    ag.sample_and_kl_vjp(room[:2], cotangent=(d_z, d_kl), rng=3, out=room[1:])
    assert same_bits(room[1:], want)
    # and over the cotangents themselves
    room = np.concatenate([d_z, values((2, n), 5)], axis=1)
    got = ag.sample_and_kl_vjp(parameters, cotangent=(room[:, :n], d_kl), rng=3, out=room)
    assert same_bits(got, want)
    room = np.zeros((2, 2 * n), np.float32)
    room[:, 0] = d_kl
    got = ag.sample_and_kl_vjp(parameters, cotangent=(d_z, room[:, 0]), rng=3, out=room)
    assert same_bits(got, want)


def test_torch_results_may_be_written_over_what_they_read_in_part():
    room = torch.from_numpy(values(5003, 0))
    want = ag.std(room[:5000].clone())
    shared = room.clone()
    ag.std(shared[:5000], out=shared[3:])
    assert torch.equal(shared[3:], want)
    parameters = torch.from_numpy(values((2, 120), 0))
    want = ag.sample_and_kl_vjp(parameters, cotangent=(0.5, 2.0), rng=3)
    room = torch.cat([parameters, parameters[:1]])
    ag.sample_and_kl_vjp(room[:2], cotangent=(0.5, 2.0), rng=3, out=room[1:])
    assert torch.equal(room[1:], want)


def test_many_draws_may_be_written_over_the_mean_they_are_drawn_from():
    # The first draw's place is the mean itself: the second must not see it changed.
    room = values((3, 4, 5), 0)
    logvar = values((4, 5), 1)
    want = ag.sample(room[0].copy(), logvar, rng=3, sample_shape=3)
    got = ag.sample(room[0], logvar, rng=3, sample_shape=3, out=room)
    assert same_bits(got, want)
