"""docs/noise.md suffices: the references in C and JavaScript that were made from it have the library's bits."""

import ctypes
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import agauss as ag
from agauss.keys import as_key
from agauss.maths import coefficients
from agauss.random import Key

DOCS = Path(__file__).parents[1] / "docs"
COMPILER = shutil.which("gcc") or shutil.which("cc")
NODE = shutil.which("node")
KEYS = [Key(0), Key(2**64 - 1, 2**32 - 1), Key(0x0123456789ABCDEF, 0xFEDCBA98), Key(7).fold_in(3)]
FIRST = [0, 2**40 + 3, 2**64 - 40]  # the last elements' blocks are the last of all
COUNT = 32
DRAWS = [0, 5]
WIDTHS = {"float32": 32, "float64": 64}


def expected(dtype):
    """Every key, first element and draw, by sample: ids are elements, for a sample has one."""
    rows = []
    for key in KEYS:
        for first in FIRST:
            zeros = np.zeros(COUNT, dtype)
            ids = np.arange(COUNT, dtype=np.uint64) + np.uint64(first)
            draws = ag.sample(zeros, zeros, rng=key, index=ids, sample_shape=max(DRAWS) + 1)
            rows += [draws[draw] for draw in DRAWS]
    return np.array(rows, dtype)


def calls():
    for key in KEYS:
        for first in FIRST:
            for draw in DRAWS:
                yield key, first, draw


def lines(name):
    return [line for line in (DOCS / name).read_text().splitlines() if line.strip()]


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """The C reference for each width."""
    if COMPILER is None:
        pytest.skip("there is no C compiler")
    folder = tmp_path_factory.mktemp("noise")
    libraries = {}
    for dtype, real in (("float32", ctypes.c_float), ("float64", ctypes.c_double)):
        target = folder / f"{dtype}.so"
        options = ["-std=c99", "-O2", "-ffp-contract=off", "-shared", "-fPIC", *["-DFLOAT64"] * (dtype == "float64")]
        subprocess.run([COMPILER, *options, str(DOCS / "noise.c"), "-o", str(target), "-lm"], check=True)
        libraries[dtype] = ctypes.CDLL(str(target))
        libraries[dtype].normal.restype = real
        libraries[dtype].normal.argtypes = [ctypes.c_uint64, ctypes.c_uint32, ctypes.c_uint32, ctypes.c_uint64]
    return libraries


def same_bits(a, b):
    return a.tobytes() == b.tobytes()


@pytest.mark.parametrize("dtype", WIDTHS)
def test_the_c_reference_has_every_bit(compiled, dtype):
    normal = compiled[dtype].normal
    found = [[normal(k.seed, k.stream, draw, first + e) for e in range(COUNT)] for k, first, draw in calls()]
    assert same_bits(np.array(found, dtype), expected(dtype))
    assert (
        np.array([normal(7, 0, 0, e) for e in range(4000)], dtype) == ag.random.normal(4000, rng=7, dtype=dtype)
    ).all()


def test_the_c_reference_folds_as_keys_do(compiled):
    for key in KEYS:
        for n in (0, 3, 2**64 - 1):
            seed, stream = ctypes.c_uint64(key.seed), ctypes.c_uint32(key.stream)
            compiled["float32"].fold_in(ctypes.byref(seed), ctypes.byref(stream), ctypes.c_uint64(n))
            assert Key(seed.value, stream.value) == key.fold_in(n)


@pytest.mark.parametrize("dtype", WIDTHS)
def test_the_javascript_reference_has_every_bit(dtype):
    if NODE is None:
        pytest.skip("there is no node")
    given = [[str(k.seed), str(k.stream), str(draw), str(first)] for k, first, draw in calls()]
    program = f"""
        const {{ normal }} = require({json.dumps(str(DOCS / "noise.js"))});
        const rows = {json.dumps(given)}.map((row) => {{
            const [seed, stream, draw, first] = row.map(BigInt);
            const of = (_, e) => normal(seed, stream, draw, first + BigInt(e), {WIDTHS[dtype]});
            return Array.from({{ length: {COUNT} }}, of);
        }});
        console.log(JSON.stringify(rows));
    """
    done = subprocess.run([NODE, "-e", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert same_bits(np.array(json.loads(done.stdout), dtype), expected(dtype))


@pytest.mark.parametrize("name", ["noise.c", "noise.js"])
def test_a_reference_is_short(name):
    assert len(lines(name)) < 40


@pytest.mark.parametrize("dtype", WIDTHS)
def test_the_page_has_the_coefficients(dtype):
    """Those of the C reference, which the page shows, and of the JavaScript one."""
    suffix = "_F32" if dtype == "float32" else "_F64"
    numbers = {name: getattr(coefficients, name + suffix) for name in ("LOG", "SIN", "COS")}
    for name, ours in (("LN2", "LN2"), ("TURN", "TURN8")):
        numbers[name] = tuple(getattr(coefficients, f"{ours}_{k}{suffix}") for k in (0, 1))
    numbers["ROOT_HALF"] = (getattr(coefficients, "ROOT_HALF" + suffix),)
    wide, narrow = (DOCS / "noise.h").read_text().split("#else")
    header = " ".join((narrow if dtype == "float32" else wide).split())
    shown = json.loads((DOCS / "noise.json").read_text())[str(WIDTHS[dtype])]
    for name, values in numbers.items():
        text = header.partition(f" {name}")[2].partition(";")[0].partition("=")[2].strip(" {}")
        assert tuple(float.fromhex(each.strip().removesuffix("f")) for each in text.split(",")) == values
        assert np.array_equal(np.array(shown[name], dtype).ravel(), np.array(values, dtype))


def test_numpys_seeds_and_generators_become_the_keys_of_the_page():
    low, high = map(int, np.random.SeedSequence(5).generate_state(2))
    assert as_key(np.random.SeedSequence(5)) == Key(low | high << 32)
    drawn = np.random.default_rng(5).integers(0, 2**64 - 1, dtype="uint64", endpoint=True)
    assert as_key(np.random.default_rng(5)) == Key(int(drawn))


def test_a_torch_generator_becomes_the_key_of_the_page():
    torch = pytest.importorskip("torch")
    from agauss.integrations import torch as agt

    words = torch.randint(-(2**63), 2**63 - 1, (2,), generator=torch.Generator().manual_seed(5), dtype=torch.int64)
    seed, stream = words.tolist()
    z = agt.sample(torch.zeros(8), torch.zeros(8), generator=torch.Generator().manual_seed(5))
    assert same_bits(z.numpy(), ag.random.normal(8, rng=Key(seed % 2**64, stream % 2**32)))


def test_jaxs_keys_become_the_keys_of_the_page():
    pytest.importorskip("jax")
    from agauss.integrations.jax import key_of

    assert key_of(np.array([1, 2], np.uint32)) == Key(2 | 1 << 32)
    assert key_of(np.array([1, 2, 12, 10], np.uint32)) == Key(2 | 1 << 32, 12 ^ 10)
