"""JAX on the CPU: compiled code calls the Numba loops itself, and gets NumPy's bits, mapped, differentiated or cut."""

import gc
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax_calls import D, assert_same

import agauss as ag
from agauss.backends.cpu import descriptor, xla, xla_frame
from agauss.backends.jax import backend, primitive
from agauss.integrations import jax as agj

P = np.random.default_rng(0).normal(size=(5, 6, 7)).astype(np.float32)
M, V = P[:, :3], P[:, 3:]
CALL = re.compile(r"custom_call @agauss_pass|custom_call_target=\"agauss_pass\"")


def calls(function, *args):
    """How many calls of the loops are in the program that is compiled of a function, and the program."""
    text = jax.jit(function).lower(*args).compile().as_text()
    return len(CALL.findall(text)), text


# What is private


def test_offsets_are_those_of_the_installed_header(tmp_path):
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no C compiler")
    names = [name.split(".") for name in xla_frame.OFFSETS]
    prints = "".join(f'printf("%zu ", offsetof(struct XLA_FFI_{struct}, {field}));' for struct, field in names)
    header = "#include <stdio.h>\n#include <stddef.h>\n"
    numbers = 'printf("%d %d", XLA_FFI_API_MAJOR, XLA_FFI_Extension_Metadata);'
    program = f'{header}#include "xla/ffi/api/c_api.h"\nint main(void) {{ {prints} {numbers} return 0; }}'
    public = Path(jax.ffi.include_dir(), "xla", "ffi", "api", "c_api.h").read_text()
    if "struct XLA_FFI_Extension_Base" not in public:  # JAX 0.12 has another name for it
        program = program.replace("XLA_FFI_Extension_Base", "XLA_FFI_InternalExtension")
    (tmp_path / "offsets.c").write_text(program)
    subprocess.run([compiler, f"-I{jax.ffi.include_dir()}", "offsets.c", "-o", "offsets"], cwd=tmp_path, check=True)
    found = list(map(int, subprocess.run([tmp_path / "offsets"], capture_output=True, check=True).stdout.split()))
    assert found == [*xla_frame.OFFSETS.values(), xla_frame.VERSION[0], xla_frame.METADATA_EXTENSION]


@pytest.mark.slow
def test_a_call_names_its_kernel_by_what_it_is_made_from():
    """So a program that was kept on disk finds it in another process, where addresses are others."""
    code = """
        import jax, numpy as np
        from agauss.integrations import jax as agj
        print(jax.jit(lambda p: agj.sample_and_kl(p, rng=7)).lower(np.zeros((2, 4), np.float32)).as_text())
    """
    code = "\n".join(line.strip() for line in code.splitlines())
    text = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    here = jax.jit(lambda p: agj.sample_and_kl(p, rng=7)).lower(np.zeros((2, 4), np.float32)).as_text()
    numbers = [re.search(r"work = dense<\[(.*?)\]>", program)[1] for program in (text, here)]
    assert numbers[0] == numbers[1]


@pytest.mark.parametrize("place", ["walk", "loop", "noise"])
def test_a_kernel_that_the_process_does_not_have_is_an_error(place):
    m = jax.ShapeDtypeStruct((2,), np.float32)
    program = jax.jit(lambda m, v: agj.sample(m, v, rng=7)).lower(m, m).as_text()
    work = np.array(re.search(r"work = dense<\[(.*?)\]>", program)[1].split(","), np.int64)
    descriptor_at = xla_frame.HEAD + xla_frame.PER_ARRAY * (work[xla_frame.SOURCES] + work[xla_frame.SINKS])
    digest_at = {
        "walk": xla_frame.KERNEL,
        "loop": descriptor_at + descriptor.COMPUTE,
        "noise": descriptor_at + descriptor.NOISE,
    }
    call = jax.ffi.ffi_call(primitive.TARGET, m, vmap_method="sequential")
    arguments = [np.ones(2, np.float32)] * 2 + [np.uint32(7)] * 3
    call(*arguments, work=work).block_until_ready()  # as it is
    work[digest_at[place]] = 5
    with pytest.raises(Exception, match="agauss has no such kernel in this process"):
        call(*arguments, work=work).block_until_ready()


@pytest.mark.parametrize("fault", ["handler", "echo"])
def test_where_xla_does_not_take_the_handler_there_is_the_form(monkeypatch, fault):
    def refuse():
        raise NotImplementedError

    monkeypatch.setattr(xla, fault, refuse)
    primitive._tried.cache_clear()
    try:
        assert not primitive.registered("cpu")
        number, _ = calls(lambda m, v: agj.kl(m, v, axis=1), M, V)
        assert number == 0
        got = jax.jit(lambda m, v: agj.kl(m, v, axis=1))(M, V)
        np.testing.assert_allclose(got, ag.kl(M, V, axis=1), rtol=1e-6)  # XLA's exp
    finally:
        primitive._tried.cache_clear()
    monkeypatch.undo()
    assert primitive.registered("cpu")


def test_where_the_table_of_kernels_is_full_there_is_the_form(monkeypatch):
    monkeypatch.setattr(xla, "_MOST_KERNELS", int(xla._table[xla_frame.COUNT]))
    assert calls(lambda m, v: agj.kl(m, v), M, V)[0] == 0


def test_what_is_exported_has_no_call():
    """It may be run by another program."""
    exported = jax.export.export(jax.jit(lambda m, v: agj.kl(m, v)))(M, V)
    assert not CALL.search(exported.mlir_module())
    np.testing.assert_allclose(exported.call(M, V), ag.kl(M, V), rtol=1e-6)  # XLA's exp


# NumPy's bits


@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit])
def test_values_and_gradients_have_numpys_bits(wrap):
    want = ag.sample_and_kl(P, rng=7)
    assert_same(wrap(lambda p: agj.sample_and_kl(p, rng=7))(P), want)
    assert_same(wrap(lambda p, key: agj.sample_and_kl(p, rng=key))(P, jax.random.key(7)), want)
    cotangent = tuple(np.random.default_rng(1).normal(size=v.shape).astype(v.dtype) for v in want)
    _, pull = jax.vjp(wrap(lambda p: agj.sample_and_kl(p, rng=7)), P)
    assert_same(pull(cotangent)[0], ag.sample_and_kl_vjp(P, cotangent=cotangent, rng=7))
    # By an argument of the full shape, and by two that broadcast.
    gradient = wrap(jax.grad(lambda x, m, v: agj.nll(x, m, v), (0, 1, 2)))
    assert_same(gradient(M, M[:, :1], V[0]), ag.nll_vjp(M, M[:, :1], V[0], cotangent=1.0))


def test_wide_narrow_long_and_empty_arrays_have_numpys_bits():
    long = np.random.default_rng(0).normal(size=(3, 140_001)).astype(np.float32)  # sums of three parts, on threads
    half = long[:, :1000].astype(jnp.bfloat16)
    kl = jax.jit(lambda a: agj.kl(a, a, axis=1))
    for a in (long, half, long[:, :5], long[:0], long[:, :0], long[0]):
        a = a if a.ndim == 2 else a[None]
        assert_same(kl(a), ag.kl(np.asarray(a), np.asarray(a), axis=1))
    assert_same(jax.jit(lambda a: agj.sample(a, a, rng=7))(long), ag.sample(long, long, rng=7))
    assert (jax.jit(lambda a: ag.saturated(a, axis=1))(40 * long) == ag.saturated(40 * long, axis=1)).all()
    with jax.enable_x64(True):
        assert_same(kl(jnp.asarray(long, np.float64)), ag.kl(long.astype(np.float64), long.astype(np.float64), axis=1))


@pytest.mark.parametrize("dtype", [np.float16, jnp.bfloat16])
def test_sums_in_half_types_are_rounded_as_numpys(dtype):
    """From float64 to float16 at once: by float32 this sum, a little more than half a unit beyond 1, would be 1."""
    x, zero = np.array([1, 2**-11, 2**-24], dtype), np.zeros((), dtype)
    want = ag.nll_vjp(x, zero, 0.0, cotangent=1.0)[1]
    assert_same(jax.jit(jax.grad(lambda m: agj.nll(x, m, 0.0)))(zero), want)
    assert float(want) == (-1 - 2**-10 if dtype is np.float16 else -1)


def test_vmap_is_one_call_with_numpys_bits():
    keys = jax.random.split(jax.random.key(0), 5)
    own = [agj.key_of(key) for key in keys]
    words = np.stack([np.arange(3), np.arange(3)], axis=1).astype(np.uint32)
    ids = np.arange(3, dtype=np.uint64) * np.uint64(2**32 + 1)
    draw = lambda m, key: agj.sample(m, 0.0, rng=key)  # noqa: E731
    for function, args, want in (
        (jax.vmap(lambda m, v: agj.kl(m, v)), (M, V), ag.kl(M, V, axis=(1, 2))),
        (jax.vmap(lambda m, v: agj.sample(m, v, rng=7), (0, None)), (M, V[0]), [ag.sample(m, V[0], rng=7) for m in M]),
        (jax.vmap(draw), (M, keys), [ag.sample(m, 0.0, rng=key) for m, key in zip(M, own, strict=True)]),
        (jax.vmap(lambda key: agj.sample_and_kl(P, rng=key)[0]), (keys,), [ag.sample_and_kl(P, rng=k)[0] for k in own]),
        (
            jax.vmap(lambda m: agj.sample(m, 0.0, rng=7, index=words)),
            (M,),
            [ag.sample(m, 0.0, rng=7, index=ids) for m in M],
        ),
        (
            jax.vmap(jax.vmap(draw, (0, None)), (None, 0)),
            (M, keys),
            [np.stack([ag.sample(m, 0.0, rng=key) for m in M]) for key in own],
        ),
        (
            jax.vmap(jax.vmap(draw, (None, 0)), (0, None)),
            (M, keys),
            [np.stack([ag.sample(m, 0.0, rng=key) for key in own]) for m in M],
        ),
    ):
        assert calls(function, *args)[0] == 1
        assert_same(jax.jit(function)(*args), np.stack(want))


def test_vmap_over_nothing_keeps_its_axis(way):
    none, some, zeros = jax.random.split(jax.random.key(0), 3)[:0], jax.random.split(jax.random.key(0), 2), jnp.zeros(4)
    draw = lambda m, key: agj.sample(m, 0.0, rng=key)  # noqa: E731
    assert jax.vmap(draw, (None, 0))(zeros, none).shape == (0, 4)
    assert jax.vmap(jax.vmap(draw, (None, 0)), (0, None))(jnp.zeros((2, 4)), none).shape == (2, 0, 4)
    assert jax.vmap(jax.vmap(draw, (None, 0)), (0, None))(jnp.zeros((0, 4)), some).shape == (0, 2, 4)
    by_id = jax.vmap(lambda m: agj.sample_and_kl(m, rng=1, index=jnp.arange(2)))
    assert [x.shape for x in jax.jit(by_id)(jnp.zeros((0, 2, 4)))] == [(0, 2, 2), (0, 2)]
    gradient = jax.vmap(jax.grad(lambda p, key: agj.sample_and_kl(p, rng=key)[1].sum()))
    assert gradient(jnp.zeros((0, 2, 4)), none).shape == (0, 2, 4)


def test_gradients_of_what_is_mapped_have_numpys_bits():
    keys = jax.random.split(jax.random.key(0), 5)
    each = jax.jit(jax.vmap(jax.grad(lambda p, key: agj.sample_and_kl(p, axis=0, rng=key)[0].sum())))(P, keys)
    zeros = np.zeros((), np.float32)
    for p, key, got in zip(P, keys, each, strict=True):
        assert_same(got, np.concatenate(ag.sample_vjp(p[:3], p[3:], cotangent=1.0, rng=agj.key_of(key))) + zeros)
    shared = jax.jit(jax.grad(lambda v: jax.vmap(lambda key: agj.sample(0.0, v, rng=key).sum())(keys).sum()))(V)
    want = sum(ag.sample_vjp(0.0 * V, V, cotangent=1.0, rng=agj.key_of(key))[1] for key in keys)
    np.testing.assert_allclose(shared, want, rtol=1e-6, atol=1e-6)  # a sum of five


def test_forward_mode_is_the_transpose_of_reverse_mode():
    tangent = np.random.default_rng(2).normal(size=P.shape).astype(np.float32)
    values, pushed = jax.jvp(jax.jit(lambda p: agj.sample_and_kl(p, rng=7)), (P,), (tangent,))
    assert_same(values, ag.sample_and_kl(P, rng=7))
    cotangent = tuple(np.random.default_rng(3).normal(size=v.shape).astype(np.float32) for v in values)
    left = sum(np.vdot(c, t) for c, t in zip(cotangent, pushed, strict=True))
    right = np.vdot(ag.sample_and_kl_vjp(P, cotangent=cotangent, rng=7), tangent)
    np.testing.assert_allclose(left, right, rtol=1e-4)  # sums of some 200 terms of either sign


def test_scan_and_donation_have_numpys_bits():
    keys = jax.random.split(jax.random.key(0), 3)
    last, kls = jax.jit(lambda m: jax.lax.scan(lambda c, k: (agj.sample(c, V, rng=k), agj.kl(c, V)), m, keys))(M)
    m, want = M, []
    for key in keys:
        want.append(ag.kl(m, V))
        m = ag.sample(m, V, rng=agj.key_of(key))
    assert_same((last, kls), (m, np.stack(want)))
    step = jax.jit(lambda m, v: agj.sample(m, v, rng=7), donate_argnums=0)
    assert_same(step(jnp.asarray(M), V), ag.sample(M, V, rng=7))


def test_threads_that_call_at_once_have_numpys_bits():
    a = np.random.default_rng(0).normal(size=(64, 4096)).astype(np.float32)
    given = jnp.asarray(a)
    step = jax.jit(lambda m, key: (agj.sample(m, m, rng=key), agj.kl(m, m, axis=1)))
    want = [(ag.sample(a, a, rng=seed), ag.kl(a, a, axis=1)) for seed in range(4)]
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda k: step(given, jax.random.key(k % 4)), range(32)))
    for k, got in enumerate(found):
        assert_same(got, want[k % 4])


# What is not copied, nor compiled


def test_halves_and_slices_are_read_where_they_lie():
    number, text = calls(lambda p: D(p).kl(), P)
    assert number == 1
    assert " slice(" not in text
    number, text = calls(lambda p: agj.kl(p[:, 1:3], p[:, 2::2]), P)
    assert number == 1
    assert " slice(" not in text
    assert_same(jax.jit(lambda p: agj.kl(p[:, 1:3], p[:, 2::2]))(P), ag.kl(P[:, 1:3], P[:, 2::2]))


def test_a_gradient_by_parameters_is_one_result_of_one_call():
    number, text = calls(jax.grad(lambda p: sum(v.sum() for v in agj.sample_and_kl(p, rng=7))), P)
    assert number == 1
    assert not re.search(r" (concatenate|pad|slice)\(", text)


def test_one_program_serves_all_seeds():
    given = jnp.asarray(M)
    agj.sample(given, given, rng=0)
    before = primitive.compiled.cache_info().misses
    for seed in (1, 2**40, ag.random.Key(5, 3)):
        assert_same(agj.sample(given, given, rng=seed), ag.sample(M, M, rng=seed))
    assert primitive.compiled.cache_info().misses == before


def test_halves_along_different_axes_are_no_pair():
    p = np.array([[1, 2], [3, 4]], np.float32)
    by_row, by_column = jax.jit(lambda p: (D(p, axis=0, bounds=None).mean, D(p, axis=1, bounds=None).logvar))(p)
    both = jax.jit(lambda p: agj.kl(D(p, axis=0, bounds=None).mean, D(p, axis=1, bounds=None).logvar, axis=()))
    assert_same(both(p), ag.kl(np.asarray(by_row), np.asarray(by_column), axis=()))


def test_halves_of_nothing_keep_no_tracer():
    with jax.checking_leaks():
        jax.jit(lambda p: D(p).kl())(np.zeros((2, 0, 3), np.float32))
    gc.collect()
    assert not backend._halves
