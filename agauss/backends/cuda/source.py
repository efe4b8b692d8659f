"""The CUDA source of a kernel, and machine code from it: needs NVRTC, but no device."""

import hashlib
import os
import re
import tempfile
import threading
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from agauss.maths import formulas
from agauss.maths.sums import CHUNK, LANES, TILE

HERE = Path(__file__).parent
BEFORE = ("intrinsics.cuh", "coefficients.cuh", "philox.cuh", "mathlib.cuh", "calm.cuh")
TERMS = ("parts.cuh", "formulas.cuh")
AFTER = ("kernels.cu",)
# Not CuPy's own way to compile, which appends -ftz=true: subnormal numbers would not have a CPU's bits.
OPTIONS = ("--std=c++20", "--fmad=false")
ENTRY = "agauss_kernel"
OLDEST = 70  # before it no structure could be read where it was passed (__grid_constant__)
# Elements to a thread -> blocks on a processor at least, with so many registers that no kernel spills. Left to itself,
# the compiler does with fewer, and some spill.
RESIDENT = {4: 4, 8: 3, 2: 1}
STORAGE = {
    "float32": "float",
    "float64": "double",
    "float16": "agauss::Half",
    "bfloat16": "agauss::Bfloat16",
    "int64": "long long",
    "int32": "int",
    None: "agauss::Discarded",
}
ITEMSIZE = {"float32": 4, "float64": 8, "float16": 2, "bfloat16": 2, None: 0}

# One thread at a time: NVRTC 13.0 now and then fails to open its own library where two compile at once.
_compiling = threading.RLock()  # and for a signal's handler that compiles amid it


class Spec(NamedTuple):
    """All that tells one kernel from another."""

    loop: str  # "map", "row_reduce" or "short_rows"
    term: str
    real: str  # the dtype computed in
    inputs: tuple[tuple[str, int], ...]  # dtype, and the step of kernels.cu
    outputs: tuple[tuple[str | None, int], ...]  # None: not wanted
    outer: int
    rank: int
    vector: int
    whole: bool
    packed: bool = False
    aligned: int = -1
    noise_step: int = 0  # 0: no noise
    batch: int = -1  # the dimension whose places choose a sample id, or a key; -1: none does
    kinds: tuple[str, ...] = ()
    bounded: tuple[int, int] = (-1, -1)
    chained: tuple[int, int] = (-1, -1)
    summed: int = -1
    total: str = "float32"  # the dtype of the sums
    calm: bool = False  # whether the terms can do with calm.cuh
    pointed: bool = False  # whether the words of the key are addresses of words in device memory,
    keyed: bool = False  # and whether there are several keys


# The first fields of struct Work, the words that a kernel is passed. Bounds, extents and arrays follow.
HEAD = (
    "rows",
    "columns",
    "vectors",  # in a row
    "tile_rows",  # rows that a block takes at a time: several short ones,
    "pieces",  # or one of a row's pieces, which are chunks in row_reduce,
    "piece",  # of so many vectors, in row_reduce tiles,
    "parts",  # in row_reduce, one of so many parts of a chunk
    "tasks",  # of all the blocks
    "magic",  # ceil(2^32 / vectors), see quotient in kernels.cu
    "sums",  # addresses of the sums,
    "partials",  # of room for partial sums,
    "counter",  # and of a counter of the blocks that have ended
    "seed_low",  # words of the key, or their addresses
    "seed_high",
    "draw",
    "stream",
    "index",  # the address of the sample ids
)
SHORT_TILE = 2048  # elements of short rows, under 2 LANES, that a block sums at a time


@lru_cache
def library(calm: bool) -> str:
    """All that kernels have in common. One string, with the files' lines kept for the compiler's messages."""
    numbers = {"LANES": LANES, "TILE": TILE, "CHUNK": CHUNK, "SHORT_TILE": SHORT_TILE}
    shared = "\n".join(f"constexpr int {name} = {n};" for name, n in numbers.items())
    head = [f"#define HEAD {', '.join(HEAD)}", f"namespace agauss {{ {shared} }}"]
    before, terms, after = (list(map(_file, names)) for names in (BEFORE, TERMS, AFTER))
    if calm:
        names = re.findall(r"auto calm_(\w+)", _file("calm.cuh"))  # in the place of mathlib.cuh's
        terms = [*[f"#define {name} calm_{name}" for name in names], *terms, *[f"#undef {name}" for name in names]]
    return "\n".join([*head, *before, *terms, *after])


def _file(name: str) -> str:
    return f'#line 1 "{name}"\n{(HERE / name).read_text()}'


def _resident(spec: Spec) -> int:
    """How many blocks are to be on a processor at least. What differs from RESIDENT was measured on an H200."""
    if spec.vector == 8:  # eight elements of nine arrays would spill
        return RESIDENT[8] - (len(spec.inputs) + len(spec.outputs) > 8)
    if spec.vector == 4 and spec.noise_step and (spec.summed >= 0 or len(spec.inputs) > 3):
        return 3  # noise and more: with registers for both, loads are under way sooner
    if spec.vector == 4 and spec.loop == "row_reduce" and len(spec.inputs) < 4 and not spec.noise_step:
        return 6  # short terms wait for memory, and more of them at once
    return RESIDENT[spec.vector]


def source(spec: Spec) -> str:
    def arrays(given: tuple[tuple[str | None, int], ...]) -> str:
        return ", ".join(f"agauss::Array<{STORAGE[dtype]}, {step}>" for dtype, step in given)

    noise = ((None, 0),) if spec.noise_step else ()
    sizes = ", ".join(str(ITEMSIZE[dtype]) for dtype, _ in (*spec.inputs, *noise, *spec.outputs))
    steps = ", ".join(str(step) for _, step in (*spec.inputs, *noise, *spec.outputs))
    kept = ", ".join(str(k) for k, (dtype, _) in enumerate(spec.outputs) if dtype is not None)
    bounds = [formulas.BOUNDS[kind] for kind in (*spec.kinds, "hard", "hard")[:2]]
    functions = "\n".join(
        f"    template <class T> __device__ __forceinline__ static T bound{k}(T x, T low, T high) "
        f"{{ return agauss::{bound.__name__}(x, low, high); }}\n"
        f"    template <class T> __device__ __forceinline__ static T bound{k}_vjp(T g, T x, T low, T high) "
        f"{{ return agauss::{vjp.__name__}(g, x, low, high); }}"
        for k, (bound, vjp) in enumerate(bounds)
    )
    return f"""{library(spec.calm)}
#line 1 "spec"
struct Spec {{
    using Real = {STORAGE[spec.real]};
    using Inputs = agauss::Arrays<{arrays(spec.inputs)}>;
    using Outputs = agauss::Arrays<{arrays(spec.outputs)}>;
    using Kept = agauss::Places<{kept}>;
    using Total = {STORAGE[spec.total]};
    static constexpr int outer = {spec.outer}, rank = {spec.rank}, vector = {spec.vector}, aligned = {spec.aligned};
    static constexpr bool whole = {int(spec.whole)}, packed = {int(spec.packed)};
    static constexpr bool noisy = {int(spec.noise_step > 0)}, indexed = {int(spec.batch >= 0 and not spec.keyed)};
    static constexpr bool pointed = {int(spec.pointed)}, keyed = {int(spec.keyed)};
    static constexpr int noise_step = {spec.noise_step}, batch = {spec.batch};
    static constexpr int bounded0 = {spec.bounded[0]}, bounded1 = {spec.bounded[1]};
    static constexpr int chained0 = {spec.chained[0]}, chained1 = {spec.chained[1]}, summed = {spec.summed};
    template <int k> __device__ static constexpr int size() {{
        constexpr int sizes[] = {{{sizes}}};
        return sizes[k];
    }}
    template <int k> __device__ static constexpr int step() {{
        constexpr int steps[] = {{{steps}}};
        return steps[k];
    }}
{functions}
    template <class... T> __device__ __forceinline__ static auto term(T... x) {{ return agauss::{spec.term}(x...); }}
}};
using Work = agauss::Work<Spec>;
extern "C" __global__ void __launch_bounds__(256, {_resident(spec)}) {ENTRY}(const __grid_constant__ Work work) {{
    agauss::{spec.loop}(work);
}}
"""


def nvrtc() -> Any:
    """CuPy's NVRTC module, once it is known to work."""
    try:
        from cupy.cuda import nvrtc as found

        found.getVersion()
    except Exception as error:
        raise RuntimeError(
            "agauss compiles its CUDA kernels by NVRTC, which CuPy cannot load here; "
            f'pip install "agauss[cuda13]" or "agauss[cuda12]" brings it: {error}'
        ) from error
    return found


def architecture(capability: int) -> str:
    """What to compile for on a device of a compute capability, as 90: itself, or an older one of its generation."""
    if capability < OLDEST:
        raise RuntimeError(
            f"agauss needs a GPU of compute capability {OLDEST / 10} or higher; got one of {capability / 10}"
        )
    known = [a for a in nvrtc().getSupportedArchs() if a <= capability and a // 10 == capability // 10]
    if not known:
        raise RuntimeError(
            f"agauss needs an NVRTC that compiles for compute capability {capability / 10}; "
            f"got {'.'.join(map(str, nvrtc().getVersion()))}"
        )
    return f"sm_{max(known)}"


def compiled(text: str, arch: str, options: tuple[str, ...] = ()) -> tuple[bytes, str]:
    """The cubin of a source, for an architecture as "sm_90", and what the compiler had to say."""
    compiler = nvrtc()
    with _compiling:
        program = compiler.createProgram(text, "agauss.cu", (), ())
        try:
            compiler.compileProgram(program, (*OPTIONS, f"--gpu-architecture={arch}", *options))
            # CuPy cuts the last byte off, as if of a string.
            return bytes(compiler.getCUBIN(program)) + b"\0", compiler.getProgramLog(program)
        except compiler.NVRTCError as error:
            log = compiler.getProgramLog(program)
            raise RuntimeError(f"NVRTC cannot compile a kernel of agauss for {arch}: {error}\n{log}") from error
        finally:
            compiler.destroyProgram(program)


def cubin_file(text: str, arch: str) -> Path:
    """Where the cubin of a source is, compiled now if it never was: in CuPy's own folder of kernels, or in a temporary
    one if that cannot be written."""
    key = "\0".join((text, arch, str(nvrtc().getVersion()), *OPTIONS))
    name = f"agauss-{hashlib.sha256(key.encode()).hexdigest()}.cubin"
    folder = Path(os.environ.get("CUPY_CACHE_DIR", "~/.cupy/kernel_cache")).expanduser()
    if (folder / name).is_file():
        return folder / name
    cubin, _ = compiled(text, arch)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return _written(folder, name, cubin)
    except OSError:
        return _written(Path(tempfile.mkdtemp(prefix="agauss-")), name, cubin)


def _written(folder: Path, name: str, content: bytes) -> Path:
    """A file that is there in full or not at all, whoever else writes it."""
    with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
        file.write(content)
    return Path(file.name).replace(folder / name)
