"""docs/performance.md with its plots, and the README's table: ours, every peer and the floor, in turns in one run.

python benchmarks/report.py [--quick] [--render] [--out FOLDER]
"""

import argparse
import json
import os
import platform
import re
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

THREADS = 2
# Before any library looks how many processors there are; JAX has no other way to be told.
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])
os.environ["NUMBA_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = str(THREADS)

import numba  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from benchmarks.common import LARGE, MAIN, Call, duration  # noqa: E402

from benchmarks import common, peers, process, small  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
LIBRARIES = ("agauss", "numpy", "numba", "torch", "jax", "scipy", "numpyro")
COLUMNS = ["floor", "torch.compile", "torch eager", "jax.jit", "numpy", "scipy Normal", "numpyro Normal"]
COMPILED_EVERYWHERE = ("kl", "forward and backward")  # elsewhere torch.compile runs at MAIN alone: it takes long
SWEEP = {
    "kl": ["torch.compile", "torch eager", "jax.jit", "numpy", "floor"],
    "forward and backward": ["torch eager", "jax.jit", "floor"],
}
# 10^2 to 10^8 parameters.
SIZES = ["5x20", "25x40", "250x40", "3x8x64x64", "31x8x64x64", "305x8x64x64", "3052x8x64x64"]
SCALED = ["kl", "sample", "forward and backward"]
README_PEERS = ["torch.compile", "torch eager", "jax.jit", "numpy", "floor"]

# How many times faster than each peer at least, in float32 at MAIN; half of that in float64.
FASTER = {
    "kl": {"torch.compile": 2.0, "torch eager": 15.0, "numpy": 15.0, "jax.jit": 15.0},
    "sample": {"torch eager": 8.0, "jax.jit": 10.0},
    "forward and backward": {"torch eager": 8.0, "jax.jit": 8.0},
}
FASTER_ON_TENSORS = 6.0  # a training step than torch eager
OVER_FLOOR = 1.6  # kl at LARGE; twice that in float64
SMALL_SECONDS, IMPORT_SECONDS, FIRST_CALL_SECONDS, PEAK_BYTES = 10e-6, 60e-3, 1.5, 8e6

Seconds = dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds, and the smaller shapes")
    parser.add_argument("--render", action="store_true", help="write the pages of the last run again")
    parser.add_argument("--out", type=Path, default=ROOT, help="the checkout to write in")
    options = parser.parse_args()
    stored = options.out / "docs" / "performance.json"
    if not options.render:
        stored.write_text(json.dumps(measured(options.quick), indent=1) + "\n")
    results = json.loads(stored.read_text())
    plots(results, options.out / "docs")
    (options.out / "docs" / "performance.md").write_text("\n".join(page(results)) + "\n")
    readme = options.out / "README.md"
    between = re.compile(r"(<!-- speed -->\n).*(<!-- /speed -->)", re.DOTALL)
    table = "\n".join(readme_rows(results))
    readme.write_text(between.sub(lambda marks: f"{marks[1]}{table}\n{marks[2]}", readme.read_text()))


# Measuring


def measured(quick: bool) -> dict[str, Any]:
    torch.set_num_threads(THREADS)
    rounds, processes = (2, 1) if quick else (15, 11)
    shapes = [MAIN] if quick else common.SHAPES
    sizes = SIZES[:4] if quick else SIZES
    results: dict[str, Any] = {"machine": machine()}
    results["shapes"] = {shape: works(shape, "float32", rounds) for shape in shapes}
    results["dtypes"] = {
        dtype: works(MAIN, dtype, rounds) for dtype in common.DTYPES if dtype != "float32" and not quick
    }
    results["large"] = {
        dtype: rivals("kl", LARGE, dtype, ["floor", "torch.compile"], rounds) for dtype in ("float32", "float64")
    }
    results["step"] = training_step(rounds)
    results["backends"] = backends(rounds)
    results["small"] = common.interleaved(
        {name: make(common.inputs(small.SHAPE, "float32")) for name, make in small.CALLS.items()}, 4 * rounds
    )
    results["sizes"] = {
        work: {size: rivals(work, size, "float32", names, rounds) for size in sizes} for work, names in SWEEP.items()
    }
    results["threads"] = {str(n): on_threads(n, rounds) for n in range(1, THREADS + 1)}
    results["import"] = process.import_seconds(processes)
    results["first call"] = {work: process.first_call_seconds(work, processes) for work in process.FIRST}
    results["peak"] = {
        dtype: {shape: process.peak_bytes(shape, dtype) for shape in shapes} for dtype in ("float32", "float64")
    }
    return results


def works(shape: str, dtype: str, rounds: int) -> dict[str, Seconds]:
    found = {}
    for work in common.WORKS:
        names = [name for name in COLUMNS if work in peers.PEERS[name][1]]
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


def training_step(rounds: int) -> Seconds:
    """Sample and KL with their gradients, with fresh outputs everywhere; each library's own noise."""
    a = common.inputs(MAIN, "float32")
    calls = {
        "agauss, NumPy, outputs kept": partial(common.OURS["forward and backward"], a),
        **{
            f"agauss, {name}": common.BACKENDS[name]("forward and backward", "float32", MAIN)
            for name in ("torch", "jax", "jax host")
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
    for work in SCALED:
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
    return f"{processor()}, {THREADS} threads, load before {load:.1f}; Python {platform.python_version()}, {versions}"


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


# Writing


def page(results: dict[str, Any]) -> Iterator[str]:
    yield "# Performance"
    yield ""
    yield f"Written by `python benchmarks/report.py`; every figure is of one run on {results['machine']}."
    yield ""
    yield from INTRODUCTION.splitlines()
    for shape, found in results["shapes"].items():
        yield from works_table(f"float32, parameters ({shape.replace('x', ', ')})", found)
    for dtype, found in results["dtypes"].items():
        yield from works_table(f"{dtype}, parameters ({MAIN.replace('x', ', ')})", found)
    yield from table("A training step", ["what", "time", "beside torch eager"], step_rows(results["step"]))
    yield from ("", "![time of a training step](performance-step.svg)")
    yield from table("agauss on each backend", ["work", *common.BACKENDS], backend_rows(results["backends"]))
    yield from table(
        f"Small arrays: parameters ({small.SHAPE.replace('x', ', ')})",
        ["call", "time"],
        ([name, duration(seconds)] for name, seconds in results["small"].items()),
    )
    yield from ("", "## Over sizes", "", "![time over size](performance-size.svg)")
    for work, found in results["sizes"].items():
        names = ["ours", *SWEEP[work]]
        rows = ([size, *(duration(seconds[name]) for name in names)] for size, seconds in found.items())
        yield from table(f"{work}, float32, over sizes", ["parameters", "agauss", *SWEEP[work]], rows, level=3)
    yield from table("Threads", ["work", "threads", "agauss", "torch eager", "floor"], thread_rows(results["threads"]))
    yield from ("", "![time over threads](performance-threads.svg)")
    yield from table("Targets", ["what", "against", "ours", "theirs", "measured", "target", "met"], targets(results))
    yield from ("", "## Behind a peer, or over twice the floor", "")
    yield from behind(results)


def works_table(title: str, found: dict[str, Seconds]) -> Iterator[str]:
    names = [name for name in COLUMNS if any(name in seconds for seconds in found.values())]

    def rows() -> Iterator[list[str]]:
        for work, seconds in found.items():
            ours = seconds["ours"]
            yield [
                work,
                duration(ours),
                *(
                    f"{duration(seconds[name])} ({seconds[name] / ours:.2g} x)" if name in seconds else ""
                    for name in names
                ),
            ]

    yield from table(title, ["work", "agauss", *names], rows())


def table(title: str, heads: list[str], rows: Any, level: int = 2) -> Iterator[str]:
    yield from ("", f"{'#' * level} {title}", "", f"| {' | '.join(heads)} |", "|" + "---|" * len(heads))
    for row in rows:
        yield f"| {' | '.join(row)} |"


def step_rows(step: Seconds) -> Iterator[list[str]]:
    for name, seconds in step.items():
        yield [name, duration(seconds), f"{step['torch eager'] / seconds:.1f} x faster"]


def backend_rows(found: dict[str, Seconds]) -> Iterator[list[str]]:
    for work, seconds in found.items():
        yield [work, *(duration(seconds[name]) if name in seconds else "" for name in common.BACKENDS)]


def thread_rows(threads: dict[str, dict[str, Seconds]]) -> Iterator[list[str]]:
    for work in SCALED:
        for n, found in threads.items():
            yield [work, n, *(duration(found[work][name]) for name in ("ours", "torch eager", "floor"))]


def targets(results: dict[str, Any]) -> Iterator[list[str]]:
    for dtype, factor in (("float32", 1.0), ("float64", 0.5)):
        found = results["shapes"][MAIN] if dtype == "float32" else results["dtypes"].get(dtype, {})
        for work, rivals in FASTER.items():
            for peer, times in rivals.items():
                if work in found:
                    ours, theirs = found[work]["ours"], found[work][peer]
                    yield faster(f"{work}, {dtype}, {MAIN}", peer, ours, theirs, times * factor)
    step = results["step"]
    yield faster(
        "a training step on tensors", "torch eager", step["agauss, torch"], step["torch eager"], FASTER_ON_TENSORS
    )
    for dtype, target in (("float32", OVER_FLOOR), ("float64", 2 * OVER_FLOOR)):
        ours, theirs = (results["large"][dtype][name] for name in ("ours", "floor"))
        told = f"{ours / theirs:.2f} x its time", f"at most {target:g} x", verdict(ours <= target * theirs)
        yield [f"kl, {dtype}, {LARGE}", "floor", duration(ours), duration(theirs), *told]
    found = results["small"]
    what = f"q.kl() with construction, float32, {small.SHAPE}"
    yield faster(what, "numpy", found["q.kl() with construction"], found["kl: numpy"], 1.0)
    yield limit(f"kl function, float32, {small.SHAPE}", found["kl function"], SMALL_SECONDS)
    yield limit("import agauss, NumPy imported", results["import"], IMPORT_SECONDS)
    for work, seconds in results["first call"].items():
        yield limit(f"first call in a new process, warm cache: {work}", seconds, FIRST_CALL_SECONDS)
    for dtype, shapes in results["peak"].items():
        peaks = {f"{work}, {shape}": peak for shape, found in shapes.items() for work, peak in found.items()}
        worst = max(peaks, key=peaks.__getitem__)
        what = f"peak memory over inputs and outputs, {dtype}; most in {worst}"
        met = verdict(peaks[worst] < PEAK_BYTES)
        yield [what, "", f"{peaks[worst] / 1e6:.2f} MB", "", "", f"under {PEAK_BYTES / 1e6:g} MB", met]


def faster(what: str, against: str, ours: float, theirs: float, target: float) -> list[str]:
    told = f"{theirs / ours:.1f} x faster", f"{target:g} x faster", verdict(theirs >= target * ours)
    return [what, against, duration(ours), duration(theirs), *told]


def limit(what: str, seconds: float, target: float) -> list[str]:
    return [what, "", duration(seconds), "", "", f"under {duration(target)}", verdict(seconds < target)]


def verdict(met: bool) -> str:
    return "yes" if met else "**no**"


def behind(results: dict[str, Any]) -> Iterator[str]:
    """Every row that is, and what bounds it."""
    cases = [("float32", shape, found) for shape, found in results["shapes"].items()]
    cases += [(dtype, MAIN, found) for dtype, found in results["dtypes"].items()]
    for dtype, shape, found in cases:
        for work, seconds in found.items():
            ours = seconds["ours"]
            for name, theirs in seconds.items():
                if ours > (2 if name == "floor" else 1) * theirs:
                    times = f"{ours / theirs:.1f} x {'the floor' if name == 'floor' else f'the time of {name}'}"
                    yield f"- {work}, {dtype}, {shape}: {times}. {reason(work, dtype, shape, name)}"


def reason(work: str, dtype: str, shape: str, name: str) -> str:
    return next((text for applies, text in REASONS if applies(work, dtype, shape, name)), "")


def readme_rows(results: dict[str, Any]) -> Iterator[str]:
    yield f"| float32, parameters ({MAIN.replace('x', ', ')}) | agauss | against | its time | agauss is |"
    yield "|---|---|---|---|---|"
    for work in ("kl", "sample", "forward and backward"):
        seconds = results["shapes"][MAIN][work]
        for name in README_PEERS:
            if name in seconds:
                yield readme_row(work, seconds["ours"], name, seconds[name])
    step = results["step"]
    yield readme_row("a training step on tensors", step["agauss, torch"], "torch eager", step["torch eager"])
    found = results["small"]
    row = "`q.kl()` at (16, 40), with construction"
    yield readme_row(row, found["q.kl() with construction"], "numpy", found["kl: numpy"])


def readme_row(work: str, ours: float, name: str, theirs: float) -> str:
    is_floor = name == "floor"
    told = f"{ours / theirs:.2f} x its time" if is_floor else f"{theirs / ours:.1f} x faster"
    if not is_floor and theirs < ours:
        told = f"{ours / theirs:.1f} x slower"
    return f"| {work} | {duration(ours)} | {'the floor' if is_floor else name} | {duration(theirs)} | {told} |"


def plots(results: dict[str, Any], folder: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "agauss"  # the same file for the same figures
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
    for place, (work, found) in zip(axes, results["sizes"].items(), strict=True):
        sizes = [int(np.prod([int(n) for n in size.split("x")])) for size in found]
        for name in ["ours", *SWEEP[work]]:
            style = {"ours": {"lw": 2.5, "color": "k"}, "floor": {"ls": ":", "color": "gray"}}.get(name, {"lw": 1})
            place.loglog(sizes, [seconds[name] for seconds in found.values()], label=name, **style)
        place.set(title=f"{work}, float32", xlabel="parameters", ylabel="seconds")
        place.legend()
    save(figure, folder / "performance-size.svg")

    figure, place = plt.subplots(figsize=(6, 4), layout="constrained")
    counts = [int(n) for n in results["threads"]]
    for work in SCALED:
        for name, style in (("ours", "-o"), ("torch eager", "--s"), ("floor", ":")):
            times = [found[work][name] for found in results["threads"].values()]
            place.plot(counts, [times[0] / t for t in times], style, label=f"{work}, {name}")
    place.set(xlabel="threads", ylabel="times as fast as on one", xticks=counts)
    place.legend(fontsize="small")
    save(figure, folder / "performance-threads.svg")

    figure, place = plt.subplots(figsize=(8, 3.5), layout="constrained")
    names = list(results["step"])
    bars = place.barh(names, [results["step"][name] * 1e3 for name in names])
    place.bar_label(bars, fmt="%.1f", padding=3)
    place.invert_yaxis()
    place.set(xlabel=f"ms a step: sample, KL and gradient, float32, {MAIN}")
    save(figure, folder / "performance-step.svg")


def save(figure: Any, path: Path) -> None:
    figure.savefig(path, metadata={"Date": None})


INTRODUCTION = """\
Medians, in rounds in which ours, each peer and the floor take turns. A peer's cell has its time and how many times
agauss's that is. Peers compute CogVideo's formulas on the same numbers with noise of their own; of a vjp, PyTorch's
time is its backward's alone, while agauss begins with the parameters. The **floor** is a plain copy and sum, on both
threads, of as many bytes as the work must read and write. `noise` is agauss's own generator beside theirs."""

REASONS: list[tuple[Callable[[str, str, str, str], bool], str]] = []

if __name__ == "__main__":
    main()
