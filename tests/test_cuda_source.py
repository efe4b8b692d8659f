"""The CUDA sources without a device: they mirror the Python they are made from, NVRTC compiles them without spills for
every architecture, and on the host compiler their functions have the bits of Numba's."""

import importlib.util
import itertools
import re
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import cuda_shim
import ml_dtypes
import numpy as np
import pytest
from cases import CASES, ELEMENTWISE
from cuda_devices import Shim, ShimRuntime
from numba import njit
from oracles import same_bits
from quick import nightly_unless, slow_unless
from vectors import VECTOR, over

import agauss as ag
from agauss.arrays import NUMPY
from agauss.backends.cpu import mathlib
from agauss.backends.cuda import source
from agauss.backends.cuda.backend import Backend
from agauss.backends.cuda.source import Spec
from agauss.maths import formulas, parts
from agauss.operations import Result

ROOT = Path(__file__).parents[1]
DTYPES = {name: np.dtype(getattr(ml_dtypes, name, name)) for name in ("float16", "bfloat16", "float32", "float64")}
ARCHITECTURES = ("sm_80", "sm_90", "sm_100")
TARGETS = list(itertools.product(DTYPES, ARCHITECTURES))
FLOATS = (("float32", 1),)
COUNTS = nightly_unless(lambda count: count < 2**20, (2**16, 2**21))  # of arguments at random

needs_compiler = pytest.mark.skipif(cuda_shim.COMPILER is None, reason="no g++ to run the kernels on the CPU with")


# The mirror


def loaded(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MIRROR = loaded(ROOT / "tools" / "mirror.py")


@pytest.mark.parametrize("name", MIRROR.FILES)
def test_the_mirrored_files_are_those_that_the_python_gives_now(name):
    assert (ROOT / "agauss" / "backends" / "cuda" / name).read_text() == MIRROR.FILES[name](), "run tools/mirror.py"


def test_every_formula_is_mirrored_with_its_arguments():
    cuda = ROOT / "agauss" / "backends" / "cuda"
    text = (cuda / "parts.cuh").read_text() + (cuda / "formulas.cuh").read_text()
    found = {name: re.findall(r"auto (\w+)", given) for name, given in re.findall(r"auto (\w+)\((.*?)\) \{", text)}
    terms = [f for f in (vars(parts) | vars(formulas)).values() if callable(f)]
    assert len(terms) > 30
    assert found == {f.__name__: list(f.__code__.co_varnames[1 : f.__code__.co_argcount]) for f in terms}


@pytest.mark.parametrize(
    ("python", "cpp"),
    [
        ("def f(m, a, b):\n    return a - (b - a) * b", ["return a - ((b - a) * b);"]),
        ("def f(m, x):\n    x = m.exp(x)\n    return x, -x", ["x = exp(x);", "return values(x, -x);"]),
        ("def f(m, x):\n    y, x = m.split(x)\n    return y", ["auto [y, x_] = split(x);", "x = x_;", "return y;"]),
        ("def f(m, a, b):\n    a, b = b, a\n    return a", ["auto a_ = b;", "auto b_ = a;", "a = a_;", "b = b_;"]),
        ("def f(m, x):\n    return m.like(float('inf'), x) + m.like(0.5, x)", ["return inf(x) + like(0.5, x);"]),
    ],
)
def test_the_mirror_keeps_the_order_of_operations(python, cpp):
    import ast

    lines = [line.strip() for line in MIRROR.function(ast.parse(python).body[0]).splitlines()]
    assert lines[1 : 1 + len(cpp)] == cpp


def test_the_mirror_refuses_what_it_does_not_know():
    import ast

    with pytest.raises(NotImplementedError):
        MIRROR.function(ast.parse("def f(m, x):\n    return x ** 2").body[0])


# The kernels that the operations need, by NVRTC


class Recorder(ShimRuntime):
    """Notes which kernels would be launched, and launches none."""

    def launch(self, spec, blocks, threads, words):
        self.launches.append(spec)


def work(dtype, shape):
    """Every operation on arrays of a dtype."""
    wide = DTYPES["float32"] if dtype.itemsize == 2 else dtype
    p = np.zeros(shape, dtype)
    x = np.zeros_like(p[:, ::2])
    q, other = ag.DiagonalGaussianDistribution(p), ag.DiagonalGaussianDistribution(p + dtype.type(1))
    d_kl = np.zeros(shape[:1], wide)
    axes = tuple(range(1, len(shape)))
    mean, logvar = q.mean, q.logvar
    for bounds in ("soft", "straight-through", None, (-30, 20)):
        soft = ag.DiagonalGaussianDistribution(p, bounds=bounds)
        soft.kl()
        soft.sample_and_kl(rng=0)
        ag.sample_and_kl_vjp(p, cotangent=(x, d_kl), rng=0, bounds=bounds)
        ag.kl_vjp(mean, logvar, cotangent=d_kl, axis=axes, bounds=bounds)
    q.kl(other)
    q.nll(x)
    q.entropy()
    _ = q.std, q.var, q.mode(), q.sample(rng=0)
    for value in (ag.log_prob, ag.nll):
        value(x, mean, logvar, axis=())
    ag.kl(mean, logvar, other.mean, other.logvar, axis=())
    ag.random.normal(shape, rng=0, dtype=dtype)
    ag.clamp(logvar, bounds="soft")
    ag.kl_vjp(mean, logvar, other.mean, other.logvar, cotangent=d_kl, axis=axes, bounds="soft", bounds2="soft")
    ag.kl_vjp(mean, logvar, other.mean[:1], 0.0, cotangent=1.0)
    own, cotangents = {"x": x, "z": x, "parameters": p}, {Result.SUM: d_kl, Result.WIDE: 1.0, Result.OWN: x}
    for case in CASES.values():
        spare = iter((mean, logvar, other.mean, other.logvar))
        given, options = [own[n] if n in own else next(spare) for n in case.arguments], case.options(axis=axes)
        case.function(*given, **options)
        if case.vjp is not None:
            g = tuple(cotangents[kind] for kind in case.op.results.values())
            case.vjp(*given, cotangent=g if len(g) > 1 else g[0], **options)
    ag.sample_vjp(mean, logvar, cotangent=x, rng=0, index=range(shape[0]))


def kernels(dtype, shapes):
    recorder = Recorder()
    loops, NUMPY.backend = NUMPY.backend, Backend(recorder)
    try:
        for shape in shapes:
            work(dtype, shape)
    finally:
        NUMPY.backend = loops
    return list(dict.fromkeys(recorder.launches))


@pytest.mark.parametrize(
    "part", [pytest.param(12, id="a twelfth"), pytest.param(1, id="all", marks=pytest.mark.nightly)]
)
@pytest.mark.parametrize(
    ("name", "arch"),
    slow_unless(lambda name, arch: (list(DTYPES).index(name) - ARCHITECTURES.index(arch)) % 3 == 0, TARGETS),
)
def test_nvrtc_compiles_every_kernel_without_spills(name, arch, part):
    """All of them are too long for each run: each dtype and architecture has another twelfth there."""
    pytest.importorskip("cupy", reason="CuPy is not installed")
    specs = kernels(DTYPES[name], [(4, 64, 64)] if arch != "sm_90" else [(4, 64, 64), (4, 6, 33), (5, 6)])
    assert len(specs) > 25
    for spec in specs[TARGETS.index((name, arch)) % part :: part]:
        cubin, log = source.compiled(source.source(spec), arch, ("--ptxas-options=-v",))
        assert cubin.startswith(b"\x7fELF")
        usage = re.findall(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", log)
        assert usage == [("0", "0", "0")], (spec, log)


def test_the_resource_report_tells_spills():
    """The check above can fail: a kernel that indexes an array of its own needs local memory."""
    pytest.importorskip("cupy", reason="CuPy is not installed")
    text = """extern "C" __global__ void k(float* x, int n) {
        float own[64];
        for (int i = 0; i < 64; ++i) own[i] = x[i * n];
        for (int i = 0; i < n; ++i) x[i] = own[int(x[i]) & 63];
    }"""
    _, log = source.compiled(text, "sm_90", ("--ptxas-options=-v",))
    assert re.search(r"[1-9]\d* bytes stack frame", log)


def ptx_of(text):
    pytest.importorskip("cupy", reason="CuPy is not installed")
    from cupy.cuda import nvrtc

    program = nvrtc.createProgram(text, "k.cu", (), ())
    nvrtc.compileProgram(program, (*source.OPTIONS, "--gpu-architecture=sm_90"))
    ptx = nvrtc.getPTX(program)
    nvrtc.destroyProgram(program)
    return ptx.decode() if isinstance(ptx, bytes) else ptx


def test_no_contraction_and_no_flush_to_zero():
    ptx = ptx_of('extern "C" __global__ void k(float* x) { x[0] = x[1] * x[2] + x[3]; }')
    assert "mul" in ptx
    assert "fma" not in ptx
    assert "ftz" not in ptx


def test_tiles_are_loaded_sixteen_at_once_with_no_sum_between():
    """Each load is a trip to the second-level cache. One after the other, they would take longer than a small KL."""
    spec = Spec("row_reduce", "kl_prior", "float32", FLOATS * 2, (), 1, 2, 4, True, summed=0)
    found = re.findall(r"ld\.global\.cg\.f64|add\.f64", ptx_of(source.source(spec)))
    first = found.index("ld.global.cg.f64")
    assert found[first : first + 16] == ["ld.global.cg.f64"] * 16


# The launcher's way to machine code


def test_a_cubin_is_compiled_once_and_kept(tmp_path, monkeypatch):
    pytest.importorskip("cupy", reason="CuPy is not installed")
    monkeypatch.setenv("CUPY_CACHE_DIR", str(tmp_path / "new" / "folder"))
    text = 'extern "C" __global__ void k() {}'
    file = source.cubin_file(text, "sm_90")
    assert file.read_bytes() == source.compiled(text, "sm_90")[0]
    assert [file] == list(file.parent.iterdir())
    monkeypatch.setattr(source, "compiled", lambda *_: pytest.fail("compiled again"))
    assert source.cubin_file(text, "sm_90") == file


def test_a_folder_that_cannot_be_written_does_no_harm(tmp_path, monkeypatch):
    pytest.importorskip("cupy", reason="CuPy is not installed")
    (tmp_path / "file").touch()
    monkeypatch.setenv("CUPY_CACHE_DIR", str(tmp_path / "file" / "folder"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert source.cubin_file('extern "C" __global__ void k() {}', "sm_90").read_bytes().startswith(b"\x7fELF")


def test_a_signals_handler_may_compile_amid_compiling():
    pytest.importorskip("cupy", reason="CuPy is not installed")
    done = []
    thread = threading.Thread(target=lambda: done.append(_compiled_twice()), daemon=True)  # which may hang for ever
    thread.start()
    thread.join(60)
    assert done == [True]


def _compiled_twice():
    with source._compiling:  # as where the handler interrupts
        return source.compiled('extern "C" __global__ void k() {}', "sm_90")[0].startswith(b"\x7fELF")


def test_a_cubin_is_whole():
    """CuPy's own function gives a byte too few; the section headers say how many there must be."""
    pytest.importorskip("cupy", reason="CuPy is not installed")
    cubin, _ = source.compiled('extern "C" __global__ void k() {}', "sm_90")
    ends = []
    for offset, size, count in ((32, 54, 56), (40, 58, 60)):  # the ELF header's fields on program and section headers
        start = int.from_bytes(cubin[offset : offset + 8], "little")
        each, number = (int.from_bytes(cubin[k : k + 2], "little") for k in (size, count))
        ends.append(start + each * number)
    assert len(cubin) >= max(ends)


@pytest.mark.parametrize(("capability", "arch"), [(80, "sm_80"), (89, "sm_89"), (90, "sm_90"), (105, "sm_103")])
def test_a_device_gets_code_of_its_own_generation(capability, arch):
    pytest.importorskip("cupy", reason="CuPy is not installed")
    assert source.architecture(capability) == arch


def test_a_device_that_nvrtc_does_not_know_is_told_so():
    pytest.importorskip("cupy", reason="CuPy is not installed")
    with pytest.raises(RuntimeError, match=r"NVRTC that compiles for compute capability 7\.1"):
        source.architecture(71)


def test_a_device_that_is_too_old_is_told_so():
    with pytest.raises(RuntimeError, match=r"a GPU of compute capability 7\.0 or higher; got one of 6\.1"):
        source.architecture(61)


def test_what_is_missing_is_named_with_the_extra_that_brings_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    monkeypatch.delitem(sys.modules, "cupy.cuda", raising=False)
    with pytest.raises(RuntimeError, match=r'pip install "agauss\[cuda13\]"'):
        source.nvrtc()


def test_importing_agauss_imports_no_cupy():
    code = "import sys, agauss, agauss.backends.cuda.backend; assert 'cupy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


# The functions, on the host compiler


@pytest.fixture(scope="module")
def shim():
    return Shim()


def on_the_shim(shim, function, dtype, *arguments):
    """function(arguments) element by element, in C++ on the shim."""
    real = dtype.name
    spec = Spec("map", function, real, ((real, 1),) * len(arguments), ((real, 1),), 1, 2, 2, False, aligned=0)
    n = arguments[0].size
    out = np.empty(n, dtype)
    vectors = (n + 2) // 2
    head = [1, n, vectors, 1, 1, vectors, 1, 1, 0, *[0] * 12, 1, n]
    for a in (*arguments, out):
        head += [a.ctypes.data, 0, 1]
    shim.runtime.launch(spec, 1, 256, np.array(head, dtype=np.int64))
    return out


def every(dtype, count):
    """Random bits, that is numbers of all sizes, and numbers about 1; then edges and their neighbours."""
    bits = np.random.default_rng(0).integers(0, 256, (count, dtype.itemsize), np.uint8).view(dtype).ravel()
    near = np.random.default_rng(1).uniform(-1, 1, count // 2).astype(dtype)
    wide = np.random.default_rng(2).uniform(-110, 110, count // 2).astype(dtype)
    edges = [0, 1, 0.5, 2, 20, 30, 87, 88, 89, 90, 103, 104, 708, 709, 710, 711, 745, 746, np.log(2), np.inf, np.nan]
    edges = np.array([*edges, np.finfo(dtype).max, np.finfo(dtype).tiny, np.finfo(dtype).smallest_subnormal], dtype)
    with np.errstate(all="ignore"):
        edges = np.concatenate([edges, *(np.nextafter(edges, dtype.type(end)) for end in (0, np.inf))])
    return np.concatenate([bits, near, wide, edges, -edges])


def assert_same(ours, numba):
    """The same bits, but for the payloads of NaN."""
    nan = np.isnan(numba)
    np.testing.assert_array_equal(np.isnan(ours), nan)
    assert same_bits(np.where(nan, 0, ours), np.where(nan, 0, numba))


softplus = over(njit(lambda x: formulas.softplus(mathlib, x)))
sigmoid = over(njit(lambda x: formulas.sigmoid(mathlib, x)))
DOMAIN = {
    "log": lambda x: np.where(np.abs(x) >= np.finfo(x.dtype).tiny, np.abs(x), 1),  # normal and positive
    "log1p": lambda x: np.where(np.isfinite(x), np.abs(x), 0.25),
    "log1p_unit": lambda x: np.where(np.abs(x) <= 1, np.abs(x), 0.25),
    "ln": np.abs,
    "mills": np.abs,
}


WIDE = [np.dtype(np.float32), np.dtype(np.float64)]


@needs_compiler
@pytest.mark.parametrize("dtype", slow_unless(lambda dtype: dtype == np.float32, WIDE), ids=str)
@pytest.mark.parametrize(
    "function", ["exp", "expm1", "half_expm1x", "log", "log1p", "log1p_unit", "ln", "mills", "softplus", "sigmoid"]
)
@pytest.mark.parametrize("count", COUNTS)
def test_a_function_has_the_bits_of_numbas_over_many_arguments(shim, function, dtype, count):
    with np.errstate(all="ignore"):
        x = DOMAIN.get(function, lambda x: x)(every(dtype, count)).astype(dtype)
        x = x[np.isfinite(x)] if function == "log" else x
    numba = {**VECTOR, "softplus": softplus, "sigmoid": sigmoid}[function]
    assert x.size > count
    assert_same(on_the_shim(shim, function, dtype, x), numba(x))


def by_elements(case):
    """An operation's function, or its vjp where a cotangent comes first."""
    options = case.options(axis=())
    return partial(case.function, **options), lambda g, *a: case.vjp(*a, cotangent=g, **options)


ELEMENTS = [name for name in ELEMENTWISE if Result.OWN not in CASES[name].op.results.values()]
TERMS = {}  # term -> the public function, and how many arguments
for _case in (CASES[name] for name in ELEMENTS):
    value, gradients = by_elements(_case)
    TERMS[_case.op.term.__name__] = value, len(_case.arguments)
    if _case.op.vjp is not None:  # or test_table.py says that it is missing
        TERMS[_case.op.vjp.__name__] = gradients, len(_case.arguments) + 1


@pytest.mark.in_turn(1)
@needs_compiler
@pytest.mark.parametrize(
    ("term", "dtype"),
    nightly_unless(
        lambda term, dtype: dtype == np.float32 or term in ("kl", "nll_vjp"),
        itertools.product(TERMS, map(np.dtype, (np.float32, np.float64))),
    ),
    ids=str,
)
def test_a_term_has_the_bits_of_numbas_over_arguments_of_every_size(shim, term, dtype):
    function, count = TERMS[term]
    rng = np.random.default_rng(3)
    arguments = [rng.permutation(every(dtype, 2**17)) for _ in range(count)]
    edges = every(dtype, 0)
    grid = list(itertools.islice(itertools.product(edges, repeat=count), 0, 300_000, 7 if count > 2 else 1))
    arguments = [
        np.concatenate([a, np.array(g, dtype)]) for a, g in zip(arguments, zip(*grid, strict=True), strict=True)
    ]
    loops = function(*arguments)
    with shim.kernels():
        ours = function(*arguments)
    for mine, theirs in zip(*[v if isinstance(v, tuple) else (v,) for v in (ours, loops)], strict=True):
        assert_same(mine, theirs)


@needs_compiler
@pytest.mark.parametrize("dtype", [np.dtype(np.float32), np.dtype(np.float64)], ids=str)
@pytest.mark.parametrize("count", COUNTS)
def test_many_normals_have_the_bits_of_numbas(shim, dtype, count):
    key = ag.random.Key(2**63 + 12345, stream=77)
    loops = ag.random.normal(count + 3, rng=key, dtype=dtype)
    with shim.kernels():
        assert same_bits(ag.random.normal(count + 3, rng=key, dtype=dtype), loops)
