"""docs/performance.md, its plots and the README's table, from what report.py has measured."""

from collections.abc import Callable, Iterator
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks import common, multivariate, small, terms
from benchmarks.common import LARGE, MAIN, duration

COLUMNS = ["floor", "torch.compile", "torch eager", "jax.jit", "numpy", "scipy Normal", "numpyro Normal"]
SWEEP = {
    "kl": ["torch.compile", "torch eager", "jax.jit", "numpy", "floor"],
    "forward and backward": ["torch eager", "jax.jit", "floor"],
}
SCALED = ["kl", "sample", "forward and backward"]
README_PEERS = ["torch.compile", "torch eager", "jax.jit", "numpy", "floor"]

# How many times faster than each peer at least, in float32 at MAIN; half of that in float64.
FASTER = {
    "kl": {"torch.compile": 2.0, "torch eager": 15.0, "numpy": 15.0, "jax.jit": 15.0},
    "sample": {"torch eager": 8.0, "jax.jit": 10.0},
    "forward and backward": {"torch eager": 8.0, "jax.jit": 8.0},
}
FASTER_ON_TENSORS = 6.0  # a training step than torch eager
OVER_NLL = 1.6  # another term's time, for as many bytes
OVER_FLOOR = 1.6  # kl at LARGE; twice that in float64
IMPORT_SECONDS, FIRST_CALL_SECONDS, COLD_CALL_SECONDS, PEAK_BYTES = 60e-3, 1.5, 5.0, 8e6

Seconds = dict[str, float]


def page(results: dict[str, Any]) -> Iterator[str]:
    yield "# Performance"
    yield ""
    yield f"Written by `python benchmarks/report.py`; every figure is of one run on {results['machine']}."
    yield ""
    yield from INTRODUCTION.splitlines()
    for shape, found in results["shapes"].items():
        yield from works_table(f"float32, parameters ({shape.replace('x', ', ')})", found)
    yield from nearer_bound(results)
    if "avx2" in results:
        narrow = results["avx2"]
        yield from works_table(
            f"Without AVX-512: float32, parameters ({MAIN.replace('x', ', ')})", narrow["shapes"][MAIN]
        )
        yield from ("", f"On {narrow['machine']}: the same processor, and PyTorch, JAX and NumPy do without too.")
        yield from nearer_bound(narrow, ", without AVX-512")
    for dtype, found in results["dtypes"].items():
        yield from works_table(f"{dtype}, parameters ({MAIN.replace('x', ', ')})", found)
    if "terms" in results:
        heads = ["term", "operations", "arithmetic alone", "agauss", "beside nll", *terms.PEERS, "met"]
        title = f"Other terms, float32, parameters ({terms.SHAPE.replace('x', ', ')})"
        yield from table(title, heads, term_rows(results["terms"], results["operations"]))
        yield from ("", *TERMS.splitlines())
    if "full covariance" in results:
        yield from table("Full covariance", ["work", *multivariate.SHAPES], normal_rows(results["full covariance"]))
        yield from ("", *NORMAL.splitlines())
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
    yield from ("", "## Behind a peer, or over twice the floor")
    yield from behind(results)


def nearer_bound(results: dict[str, Any], title: str = "") -> Iterator[str]:
    """The times that memory and arithmetic would take alone."""
    issued, elements = results["operations"]["issued"], prod(int(n) for n in MAIN.split("x")) // 2

    def rows() -> Iterator[list[str]]:
        for work, operations in results["operations"]["work"].items():
            seconds = results["shapes"][MAIN][work]
            arithmetic, floor = operations * elements / issued, seconds["floor"]
            nearer, least = ("arithmetic", arithmetic) if arithmetic > floor else ("memory", floor)
            told = duration(arithmetic), duration(floor), duration(seconds["ours"])
            yield [work, f"{operations:.3g}", *told, nearer, f"{seconds['ours'] / least:.2f} x"]

    heads = ["work", "operations", "arithmetic alone", "floor", "agauss", "nearer", "agauss over it"]
    yield from table(f"Which bound is nearer{title}", heads, rows())
    yield from ("", *OPERATIONS.format(rate=issued / 1e9).splitlines())


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


def term_rows(found: dict[str, Seconds], counted: dict[str, Any]) -> Iterator[list[str]]:
    """The factors of nll, ahead of PyTorch and JAX, are those that each other term is to have."""
    elements = prod(int(n) for n in terms.SHAPE.split("x")) // 2
    ahead = {peer: found["nll"][peer] / found["nll"]["ours"] for peer in ("torch eager", "jax.jit")}
    for term, seconds in found.items():
        ours = seconds["ours"]
        over = ours / seconds["nll"] / terms.bytes_over_nll(term)
        missed = [peer for peer, factor in ahead.items() if seconds[peer] < factor * ours]
        missed += ["nll"] if over > OVER_NLL else []
        told = "" if term == "nll" else f"**no**: {', '.join(missed)}" if missed else "yes"
        theirs = (f"{duration(seconds[peer])} ({seconds[peer] / ours:.2g} x)" for peer in terms.PEERS)
        operations = counted["terms"][term]
        bound = f"{operations:.3g}", duration(operations * elements / counted["issued"])
        yield [term, *bound, duration(ours), f"{over:.2f} x", *theirs, told]


def normal_rows(found: dict[str, dict[str, Seconds]]) -> Iterator[list[str]]:
    for work, shapes in found.items():
        yield [work, *(f"{duration(s['ours'])} ({s['theirs'] / s['ours']:.2g} x)" for s in shapes.values())]


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
    yield faster(what, "numpy", found["q.kl() with construction"], found["kl: numpy"], 2.0)
    yield faster(f"kl function, float32, {small.SHAPE}", "numpy", found["kl function"], found["kl: numpy"], 4.0)
    for ours, theirs, times in (
        ("q.kl() with construction, tensors", "kl: torch eager", 1.3),
        ("forward and backward, tensors", "forward and backward: torch eager", 1.2),
        ("noise of 2,048", "noise of 2,048: torch", 1.0),
    ):
        yield faster(f"{ours}, float32, {small.SHAPE}", "torch eager", found[ours], found[theirs], times)
    yield limit("import agauss, NumPy imported", results["import"], IMPORT_SECONDS)
    for work, seconds in results["first call"].items():
        yield limit(f"first call in a new process, warm cache: {work}", seconds, FIRST_CALL_SECONDS)
    for work, seconds in results["cold calls"].items():
        yield limit(f"first calls in this order, new process, empty cache: {work}", seconds, COLD_CALL_SECONDS)
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
    """Every row that is, under what bounds it."""
    cases = [("float32", shape, found) for shape, found in results["shapes"].items()]
    cases += [(dtype, MAIN, found) for dtype, found in results["dtypes"].items()]
    rows = [
        Row(work, dtype, shape, name, seconds["ours"] / theirs)
        for dtype, shape, found in cases
        for work, seconds in found.items()
        for name, theirs in seconds.items()
        if seconds["ours"] > (2 if name == "floor" else 1) * theirs
    ]
    for work, shape, found, ours, theirs in (
        ("training step on JAX", MAIN, results["step"], "agauss, jax", "jax.jit"),
        ("kl of tensors", small.SHAPE, results["small"], "q.kl() with construction, tensors", "kl: torch eager"),
        (
            "training step on tensors",
            small.SHAPE,
            results["small"],
            "forward and backward, tensors",
            "forward and backward: torch eager",
        ),
    ):
        if found[ours] > found[theirs]:
            rows.append(Row(work, "float32", shape, theirs.rpartition(": ")[2], found[ours] / found[theirs]))
    for title, applies, text in REASONS:
        mine = [row for row in rows if applies(row)]
        rows = [row for row in rows if row not in mine]
        if mine:
            yield from ("", f"**{title}** {text}")
            cells = ([row.work, f"{row.dtype}, {row.shape}", row.name, f"{row.times:.1f} x"] for row in mine)
            yield from ("", "| work | parameters | against | takes its time |", "|---|---|---|---|")
            yield from (f"| {' | '.join(row)} |" for row in cells)


def readme_rows(results: dict[str, Any]) -> Iterator[str]:
    """A row for each work: agauss's time, each peer's and how many times agauss's that is."""
    yield f"On {results['machine']}."
    yield ""
    yield f"| float32, parameters ({MAIN.replace('x', ', ')}) | agauss | {' | '.join(README_PEERS)} |"
    yield f"|{'---|' * (2 + len(README_PEERS))}"
    works = ("kl", "sample", "forward and backward")
    yield from (readme_row(work, results["shapes"][MAIN][work]) for work in works)
    yield readme_row("a training step on tensors", results["step"] | {"ours": results["step"]["agauss, torch"]})
    small = results["small"]
    own = {
        "ours": small["q.kl() with construction"],
        "numpy": small["kl: numpy"],
    }
    yield readme_row("`q.kl()` at (16, 40), with construction", own)


def readme_row(work: str, seconds: Seconds) -> str:
    ours = seconds["ours"]
    theirs = [seconds.get(name) for name in README_PEERS]
    cells = ["" if t is None else f"{duration(t)} ({t / ours:.2g} x)" for t in theirs]
    return f"| {work} | {duration(ours)} | {' | '.join(cells)} |"


def plots(results: dict[str, Any], folder: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rc_file(Path(__file__).parents[1] / "docs" / "gallery" / "matplotlibrc")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
    for place, (work, found) in zip(axes, results["sizes"].items(), strict=True):
        sizes = [int(np.prod([int(n) for n in size.split("x")])) for size in found]
        for name in ["ours", *SWEEP[work]]:
            style = {"ours": {"lw": 2.5}, "floor": {"ls": ":", "color": "gray"}}.get(name, {"lw": 1})
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
    place.margins(x=0.1)  # for the label of the longest
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


OPERATIONS = """\
`operations` is how many vector operations the formulas take for an element of the mean: additions, products, fused
multiply-adds, comparisons, choices and shifts. Constants and what is computed twice do not count; nor do loads and
stores. Both threads together issue {rate:.3g} billion of them in a second for float32, where half are multiply-adds,
half additions, and none waits for another. So `arithmetic alone` is about the least time that a loop of these
formulas can take."""


TERMS = f"""\
Sums over each sample, of a mean of 2^20 elements. `beside nll` is agauss's time over that of its nll for each array
that is read, measured in turns. `operations`, and what they take alone, are as above. Peers have the textbook's
forms, safe at the same edges. The targets are {OVER_NLL:g} x beside nll or less, and nll's own factors ahead of torch
eager and jax.jit. A term misses the first by its arithmetic, of which it has more for each array than nll."""


NORMAL = """\
`MultivariateNormal` in float32, by batch and dimensions, and how many times that PyTorch's takes. Both construct the
distribution in each call. PyTorch's checks of its arguments are off."""


class Row(NamedTuple):
    work: str
    dtype: str
    shape: str
    name: str
    times: float


SMALL_SHAPES = ("128x16", small.SHAPE)
NOISY = ("noise", "sample", "sample and kl", "forward and backward", "sample vjp", "sample and kl vjp")
REASONS: list[tuple[str, Callable[[Row], bool], str]] = [
    (
        "A small call is Python.",
        lambda row: row.shape in SMALL_SHAPES,
        """Arguments are checked, the plan for their forms is looked up and the kernel called; the more where several
results or gradients come back, and for tensors, whose memory and options pass through Python as well. The floor is one
call into C++, and so are the operations of a peer.""",
    ),
    (
        "Rows of four elements.",
        lambda row: row.shape == "1000000x8",
        """Mean and log-variance alternate every 16 bytes. A row of each is copied to a tile before the loop over it;
what lies together is not. A row's sum is of four numbers.""",
    ),
    (
        "Noise is arithmetic.",
        lambda row: row.work in NOISY,
        """Ten rounds of Philox for four normals and a logarithm, a root, a sine and a cosine for each two, with the
same bits on every machine. The floor moves bytes alone.""",
    ),
    (
        "Half types are computed in float32.",
        lambda row: row.dtype in ("float16", "bfloat16"),
        """The arithmetic is float32's, and so are the vectors: a half
type is converted when it is read or written. The floor has half the bytes to move.""",
    ),
    (
        "Arrays that fit in the cache.",
        lambda row: row.name == "floor",
        """These stay in the last-level cache between calls, which is faster than memory. An exponential to
1 ulp and the KL's polynomial near the prior are then what counts. `Targets` has kl at a size that does not fit.""",
    ),
    ("Not explained yet.", lambda row: True, ""),
]
