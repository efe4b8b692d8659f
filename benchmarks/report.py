"""docs/performance.md with its plots, and the README's table: ours, every peer and the floor, in turns in one run.

python benchmarks/report.py [--quick] [--avx2] [--render] [--out FOLDER]
"""

import argparse
import json
import os
import platform
import re
import sys
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from llvmlite.binding import get_host_cpu_features

THREADS = 2
# Before any library looks how many processors there are; JAX has no other way to be told.
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])
os.environ["NUMBA_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = str(THREADS)
# As a processor without AVX-512 runs all of them.
AVX2 = "--avx2" in sys.argv
if AVX2:
    os.environ["ATEN_CPU_CAPABILITY"] = "avx2"
    os.environ["XLA_FLAGS"] = "--xla_cpu_max_isa=AVX2"
    os.environ["NPY_DISABLE_CPU_FEATURES"] = "X86_V4 AVX512_ICL AVX512_SPR"
    is_amd = "AuthenticAMD" in Path("/proc/cpuinfo").read_text()
    features = get_host_cpu_features()  # which Numba has on any processor that it is told of, if it is told no others
    features |= {name: False for name in features if name.startswith(("avx512", "avx10"))}
    os.environ["NUMBA_CPU_NAME"] = "znver3" if is_amd else "haswell"
    os.environ["NUMBA_CPU_FEATURES"] = ",".join(f"{'+' if has else '-'}{name}" for name, has in features.items())

import numba  # noqa: E402
import numpy as np  # noqa: E402
import operations  # noqa: E402
import torch  # noqa: E402

import pages  # noqa: E402
from agauss.backends.cpu.vectors import BYTES  # noqa: E402
from benchmarks import common, multivariate, peers, process, small, terms  # noqa: E402
from benchmarks.common import LARGE, MAIN, Call, duration  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
LIBRARIES = ("agauss", "numpy", "numba", "torch", "jax", "scipy", "numpyro")
COMPILED_EVERYWHERE = ("kl", "forward and backward")  # elsewhere torch.compile runs at MAIN alone: it takes long
# 10^2 to 10^8 parameters.
SIZES = ["5x20", "25x40", "250x40", "3x8x64x64", "31x8x64x64", "305x8x64x64", "3052x8x64x64"]
Seconds = dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds, and the smaller shapes")
    parser.add_argument("--avx2", action="store_true", help="add the work at the main shape, without AVX-512")
    parser.add_argument("--render", action="store_true", help="write the pages of the last run again")
    parser.add_argument("--out", type=Path, default=ROOT, help="the checkout to write in")
    options = parser.parse_args()
    if options.quick and options.out == ROOT:
        parser.error("--quick is not for the record: give --out another folder with README.md and docs/")
    stored = options.out / "docs" / "performance.json"
    results = json.loads(stored.read_text()) if stored.exists() else {}
    if options.avx2:
        results["avx2"] = narrow(options.quick)
    elif not options.render:
        results = measured(options.quick) | {name: results[name] for name in ("avx2",) if name in results}
    stored.write_text(json.dumps(results, indent=1) + "\n")
    pages.plots(results, options.out / "docs")
    (options.out / "docs" / "performance.md").write_text("\n".join(pages.page(results)) + "\n")
    readme = options.out / "README.md"
    between = re.compile(r"(<!-- speed -->\n).*(<!-- /speed -->)", re.DOTALL)
    table = "\n".join(pages.readme_rows(results))
    readme.write_text(between.sub(lambda marks: f"{marks[1]}{table}\n{marks[2]}", readme.read_text()))


# Measuring


def measured(quick: bool) -> dict[str, Any]:
    torch.set_num_threads(THREADS)
    rounds, processes = (2, 1) if quick else (15, 11)
    shapes = [MAIN] if quick else common.SHAPES
    sizes = SIZES[:4] if quick else SIZES
    results: dict[str, Any] = {"machine": machine(), "operations": bounds_by_operations()}
    results["shapes"] = {shape: works(shape, "float32", rounds) for shape in shapes}
    results["dtypes"] = {
        dtype: works(MAIN, dtype, rounds) for dtype in common.DTYPES if dtype != "float32" and not quick
    }
    results["large"] = {
        dtype: rivals("kl", LARGE, dtype, ["floor", "torch.compile"], rounds) for dtype in ("float32", "float64")
    }
    results["terms"] = other_terms(rounds)
    results["full covariance"] = full_covariance(rounds)
    results["step"] = training_step(rounds)
    results["backends"] = backends(rounds)
    results["small"] = common.interleaved(
        {name: make(common.inputs(small.SHAPE, "float32")) for name, make in small.CALLS.items()}, 4 * rounds
    )
    results["sizes"] = {
        work: {size: rivals(work, size, "float32", names, rounds) for size in sizes}
        for work, names in pages.SWEEP.items()
    }
    results["threads"] = {str(n): on_threads(n, rounds) for n in range(1, THREADS + 1)}
    results["import"] = process.import_seconds(processes)
    results["first call"] = {work: process.first_call_seconds(work, processes) for work in process.FIRST}
    results["cold calls"] = process.cold_call_seconds()
    results["peak"] = {
        dtype: {shape: process.peak_bytes(shape, dtype) for shape in shapes} for dtype in ("float32", "float64")
    }
    return results


def narrow(quick: bool) -> dict[str, Any]:
    """The work at MAIN where none has AVX-512."""
    from torch._inductor import config

    config.cpp.simdlen = 256
    torch.set_num_threads(THREADS)
    found: dict[str, Any] = {"machine": machine(), "operations": bounds_by_operations()}
    return found | {"shapes": {MAIN: works(MAIN, "float32", 2 if quick else 15)}}


def bounds_by_operations() -> dict[str, Any]:
    """What each piece of work takes for an element, and what the cores issue in a second."""
    return {
        "issued": operations.issued(),
        "work": {work: operations.of(work) for work in common.WORKS},
        "terms": {term: operations.of(term) for term in terms.FORMS},
    }


def works(shape: str, dtype: str, rounds: int) -> dict[str, Seconds]:
    found = {}
    for work in common.WORKS:
        names = [name for name in pages.COLUMNS if work in peers.PEERS[name][1]]
        if shape != MAIN and work not in COMPILED_EVERYWHERE:
            names = [name for name in names if name != "torch.compile"]
        found[work] = rivals(work, shape, dtype, names, rounds)
        print(dtype, shape, work, {name: duration(seconds) for name, seconds in found[work].items()}, flush=True)
    return found


def rivals(work: str, shape: str, dtype: str, names: list[str], rounds: int) -> Seconds:
    """Median seconds of ours and of each rival, in turns, after a look at whether they compute the same."""
    a = common.inputs(shape, dtype)
    calls: dict[str, Call] = {"ours": partial(common.OURS[work], a)}
    results = {"ours": calls["ours"]()}
    for name in names:
        try:
            calls[name] = peers.peer_call(f"{work}: {name}", a)
        except NotImplementedError:  # a dtype that it has not
            continue
        results[name] = calls[name]() if work in ("kl", "nll") and name != "floor" else None
    if dtype in ("float32", "float64"):
        for name, result in results.items():
            if result is not None and work in ("kl", "nll"):
                np.testing.assert_allclose(np.asarray(result), results["ours"], rtol=1e-3, err_msg=name)
    del results
    return common.interleaved(calls, rounds)


def other_terms(rounds: int) -> dict[str, Seconds]:
    """Each term by agauss and by its peers, and nll beside it, in turns."""
    a = common.inputs(terms.SHAPE, "float32")
    found = {}
    for term in terms.FORMS:
        calls = {"ours": partial(common.OURS[term], a), "nll": partial(common.OURS["nll"], a)}
        calls |= {peer: terms.peer_call(term, peer, a) for peer in terms.PEERS}
        results = {name: np.asarray(call()) for name, call in calls.items() if name != "nll"}
        for name, result in results.items():
            np.testing.assert_allclose(result, results["ours"], rtol=1e-3, err_msg=f"{term}: {name}")
        found[term] = common.interleaved(calls, max(2, rounds // 3))
        print(term, {name: duration(seconds) for name, seconds in found[term].items()}, flush=True)
    return found


def full_covariance(rounds: int) -> dict[str, dict[str, Seconds]]:
    """MultivariateNormal beside PyTorch's, of both what asv measures."""
    found: dict[str, dict[str, Seconds]] = {}
    for shape in multivariate.SHAPES:
        a = multivariate.Inputs(shape)
        for work, make in multivariate.WORKS.items():
            calls = make(a)
            for call in calls.values():
                call()
            found.setdefault(work, {})[shape] = common.interleaved(calls, max(2, rounds // 5))
    return found


def training_step(rounds: int) -> Seconds:
    """Sample and KL with their gradients, with fresh outputs but for the first; each library's own noise."""
    a = common.inputs(MAIN, "float32")
    calls = {
        "agauss, NumPy, outputs kept": partial(common.OURS["forward and backward"], a),
        **{
            f"agauss, {name}": common.BACKENDS[name]("forward and backward", "float32", MAIN)
            for name in ("torch", "jax")
        },
        "agauss, torch, sample() and kl()": separate(),
        **{
            name: peers.peer_call(f"forward and backward: {name}", common.inputs(MAIN, "float32"))
            for name in ("torch eager", "torch.compile", "jax.jit", "floor")
        },
    }
    for call in calls.values():
        call()
    return common.interleaved(calls, rounds)


def separate() -> Call:
    """As a user of diffusers' class writes it, with another import."""
    from agauss.integrations.torch import DiagonalGaussianDistribution

    a = common.inputs(MAIN, "float32", torch)
    parameters = a.parameters.requires_grad_()

    def call() -> Any:
        q = DiagonalGaussianDistribution(parameters)
        values = q.sample(), q.kl()
        return *values, *torch.autograd.grad(values, parameters, (a.d_z, a.d_kl))

    return call


def backends(rounds: int) -> dict[str, Seconds]:
    """Each piece of work at MAIN in float32, on every backend there is."""
    found = {}
    for work in common.WORKS:
        calls = {}
        for name in common.BACKENDS:
            try:
                calls[name] = common.BACKENDS[name](work, "float32", MAIN)
                calls[name]()
            except NotImplementedError:
                calls.pop(name, None)
        found[work] = common.interleaved(calls, max(2, rounds // 3))
    return found


def on_threads(n: int, rounds: int) -> Seconds:
    """Each on n threads, with the floor as well."""
    numba.set_num_threads(n)
    torch.set_num_threads(n)
    found = {}
    for work in pages.SCALED:
        a = common.inputs(MAIN, "float32")
        calls = {"ours": partial(common.OURS[work], a)}
        calls |= {name: peers.peer_call(f"{work}: {name}", a) for name in ("torch eager", "floor")}
        found[work] = common.interleaved(calls, rounds)
    numba.set_num_threads(THREADS)
    torch.set_num_threads(THREADS)
    return found


def machine() -> str:
    load = os.getloadavg()[0]
    versions = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    vectors = "AVX-512" if BYTES == 128 else "AVX2"
    told = f"{processor()} ({vectors}), {THREADS} threads, load before {load:.1f}"
    return f"{told}; Python {platform.python_version()}, {versions}"


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
