"""What agauss does on an NVIDIA GPU, measured in one run of some minutes: speeds, peers, then tests, as Markdown.

python benchmarks/gpu_report.py [--quick] [--no-tests] [--only SECTION ...] [--out FILE]

Each section is a process of its own, for after one fault of a kernel a process can launch no other.
"""

import argparse
import datetime
import gc
import math
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "benchmarks"), str(ROOT)]  # a plain checkout will do

INSTALL = 'pip install "agauss[cuda13]" (or [cuda12])'
try:
    import numpy as np

    import agauss as ag
    import gpu_peers
    from benchmarks import common
except ImportError as error:
    sys.exit(f"The GPU report needs the package {error.name}, which is not installed: {INSTALL}.")

PLAIN = ["kl", "kl of two", "nll", "kl vjp", "kl of two vjp", "nll vjp"]
NOISY = ["noise", "sample", "sample and kl", "sample vjp", "sample and kl vjp"]
OTHER_DTYPES = ["float16", "bfloat16", "float64"]
IN_OTHER_DTYPES = ["kl", "sample", "sample and kl", "sample and kl vjp"]
# Of the copy bandwidth, in float32. Noise alone has none: a third of the bytes of a sample, and most of its arithmetic.
FRACTION: dict[str, float | None] = {**dict.fromkeys(PLAIN, 0.9), **dict.fromkeys(NOISY, 0.8), "noise": None}
FASTER = {"torch.compile": 1.0, "jax.jit": 1.0, "CuPy expression": 5.0, "torch eager": 5.0}
FASTER_SAMPLE = {"torch.compile": 1.5, "jax.jit": 1.5}
LAUNCHES = 3.0  # a small call, in empty launches

NOTES = """How this was measured: medians of rounds in which the calls compared take turns, after calls that do not
count. Times are the device's, between two events around several calls, which are queued up while the device is busy
with a call before them; JAX has no events and is timed by the host's clock over several calls, the last of which is
waited for. "Must move" counts each input read once and each output written once; the floor is that over the bandwidth
of a copy from device to device, bytes read and written both counted. "of two" takes two parameter arrays of half the
size. PyTorch reads the same memory as agauss, JAX arrays of its own. A backward is a backward alone: PyTorch's
forward has run and left what it saved, JAX's is compiled from its vjp, and ours makes its noise again."""


class Plan(NamedTuple):
    """How much is measured; rows of 8x64x64: 16384 are 2 GB of float32 parameters."""

    rows: int = 16384
    event: str = "8x64x64"
    video: str = "4x32x13x60x90"
    rounds: int = 9
    number: int = 10  # calls of large work between two events, at most
    small: int = 500  # calls of small work
    seconds: float = 150.0  # after which no further peer is begun
    peers: tuple[str, ...] = tuple(peer.name for peer in gpu_peers.PEERS)


QUICK = Plan(rows=2048, rounds=5)


class Ours(NamedTuple):
    work: str
    dtype: str
    moved: int
    floor: float
    seconds: float
    target: float | None

    def cells(self) -> list[str]:
        fraction = self.floor / self.seconds
        target = "" if self.target is None else f"{self.target:.0%}"
        met = "" if self.target is None else verdict(fraction >= self.target)
        sizes = f"{self.moved / 1e9:.2f} GB", common.duration(self.floor), common.duration(self.seconds)
        return [self.work, self.dtype, *sizes, f"{fraction:.1%}", target, met]


class Versus(NamedTuple):
    work: str
    peer: str
    theirs: float
    ours: float
    target: float | None

    def cells(self) -> list[str]:
        times = self.theirs / self.ours
        target = "" if self.target is None else f"{self.target:g} x"
        met = "" if self.target is None else verdict(times > self.target)
        theirs, ours = common.duration(self.theirs), common.duration(self.ours)
        return [self.work, self.peer, theirs, ours, f"{times:.1f} x", target, met]


class Small(NamedTuple):
    work: str
    wall: float
    events: float
    alone: float
    empty: float

    def cells(self) -> list[str]:
        times = self.events / self.empty
        target = f"under {LAUNCHES:g} x", verdict(times < LAUNCHES)
        return [self.work, *map(common.duration, self[1:4]), f"{times:.1f} x", *target]


class Report:
    """Lines that are printed, and written to a file where there is one, as soon as they are known."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("")

    def say(self, line: str = "") -> None:
        print(line, flush=True)
        if self.path is not None:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")

    def table(self, title: str, columns: str, rows: Iterator[list[str]]) -> None:
        names = columns.split(", ")
        for line in ("", f"## {title}", "", f"| {' | '.join(names)} |", "|" + "---|" * len(names)):
            self.say(line)
        for cells in rows:
            self.say("| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |")


def device_inputs(shape: str, dtype: str, xp: Any) -> common.Inputs:
    """The inputs, made where the arrays live: gigabytes take long on a host."""
    sizes = tuple(int(n) for n in shape.split("x"))
    generator = xp.random.default_rng(0)
    parameters, parameters2 = (
        generator.standard_normal(sizes, dtype=np.float32).astype(common.dtype_of(dtype), copy=False) for _ in range(2)
    )
    return common.Inputs(xp, parameters, parameters2)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="an eighth of the size, fewer rounds")
    parser.add_argument("--no-tests", action="store_true", help="measure only")
    parser.add_argument("--only", nargs="+", choices=[*MEASURES, *TESTS], help="these sections alone")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "gpu-results.md", help="where the report goes")
    parser.add_argument("--section", choices=MEASURES, help="measure a section in this process, and print it")
    options = parser.parse_args()
    plan = QUICK if options.quick else Plan()
    if options.section:
        return MEASURES[options.section].run(cupy_with_gpu(), Report(), plan)
    names = options.only or [*MEASURES, *([] if options.no_tests else TESTS)]
    start = time.perf_counter()
    head: list[str] = []
    command = [sys.executable, __file__, *(["--quick"] if options.quick else []), "--section"]
    if trouble := followed([*command, "machine"], MEASURES["machine"].seconds, head.append):
        sys.exit(trouble)
    report = Report(options.out)
    for line in ("# agauss on a GPU", "", *head):
        report.say(line)
    troubles = []
    for name in names:
        if name in TESTS:
            troubles += TESTS[name](report)
        elif name != "machine" and (trouble := followed([*command, name], MEASURES[name].seconds, report.say)):
            troubles.append(trouble)
            report.say()
            report.say(f"**{name}: {trouble}**")
    report.say()
    report.say(f"Done in {time.perf_counter() - start:.0f} s.")
    return bool(troubles)


def followed(command: list[str], limit: float, take: Callable[[str], Any], **environment: str) -> str:
    """Run a command, pass on each line that it prints, and say what went wrong: "" where nothing did.

    It is ended after so many seconds, and all that it has started with it.
    """
    with tempfile.TemporaryFile("w+") as errors:
        options: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": errors, "text": True, "start_new_session": True}
        late = threading.Event()

        def end() -> None:
            late.set()
            os.killpg(child.pid, signal.SIGKILL)

        with subprocess.Popen(command, cwd=ROOT, env=os.environ | environment, **options) as child:
            timer = threading.Timer(limit, end)
            timer.start()
            for line in child.stdout or ():
                take(line.rstrip("\n"))
            code = child.wait()
            timer.cancel()
        errors.seek(0)
        last = (errors.read().strip().splitlines() or [f"ended with {code}"])[-1]
    return f"not done within {limit:g} s" if late.is_set() else last if code else ""


def cupy_with_gpu() -> Any:
    try:
        import cupy
    except Exception as error:
        sys.exit(f"The GPU report needs CuPy, which cannot be imported here ({brief(error)}): {INSTALL}.")
    try:
        cupy.cuda.runtime.getDeviceCount()  # raises where there is no driver
        cupy.zeros(1)
    except Exception as error:
        sys.exit(f"The GPU report needs an NVIDIA GPU, and CuPy finds none ({brief(error)}); with one: {INSTALL}.")
    return cupy


def machine(cupy: Any, report: Report, plan: Plan) -> bool:
    for line in machine_lines(cupy):
        report.say(f"- {line}")
    return False


def machine_lines(cupy: Any) -> Iterator[str]:
    runtime = cupy.cuda.runtime
    device = runtime.getDeviceProperties(runtime.getDevice())
    yield (
        f"{device['name'].decode()}: {device['multiProcessorCount']} SMs, {device['totalGlobalMem'] / 1e9:.0f} GB, "
        f"compute capability {device['major']}.{device['minor']}"
    )
    cuda = [f"{v // 1000}.{v % 1000 // 10}" for v in (runtime.driverGetVersion(), runtime.runtimeGetVersion())]
    yield f"driver {driver()} (CUDA {cuda[0]}), CUDA runtime {cuda[1]}"
    others = [f"{name} {version(name)}" for name in ("numpy", "torch", "jax", "numba")]
    yield ", ".join([f"Python {platform.python_version()}, agauss {ag.__version__}, cupy {cupy.__version__}", *others])
    yield f"{datetime.date.today()}"


def driver() -> str:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=20).stdout.split()[0]
    except (OSError, subprocess.SubprocessError, IndexError):
        return "of unknown version"


def version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


PYTEST = [sys.executable, "-m", "pytest", "-m", "gpu", "-p", "no:cacheprovider", "-p", "no:benchmark", "-v", "-rfE"]
PYTEST += ["--continue-on-collection-errors"]  # PyTorch may be missing


def gpu_tests(report: Report, limit: float = 300.0) -> list[str]:
    names = ("test_cuda_kernels", "test_cuda_launch", "test_torch", "test_jax_cuda", "test_gpu")
    files = [f"tests/{name}.py" for name in names]
    return tests_told(report, "GPU tests", [*PYTEST, "-n", "8", *files], limit)


def sanitizer(report: Report, limit: float = 150.0) -> list[str]:
    """Every loop, term and dtype under each of compute-sanitizer's tools, without a pool, which would hide a fault."""
    wheels = Path(sysconfig.get_path("purelib")).glob("nvidia/*/compute-sanitizer/compute-sanitizer")
    found = shutil.which("compute-sanitizer", path=f"{os.environ['PATH']}:/usr/local/cuda/bin")
    if not (found := found or next(map(str, wheels), None)):
        report.say("- compute-sanitizer: not found")
        return []
    once = ["-k", "every_operation or long_rows or many_short_rows or many_chunks", "tests/test_cuda_kernels.py"]
    troubles = []
    for tool in ("memcheck", "racecheck", "synccheck", "initcheck"):
        command = [found, "--tool", tool, "--error-exitcode", "99", *PYTEST, "-n", "0", *once]
        troubles += tests_told(report, f"compute-sanitizer {tool}", command, limit, AGAUSS_WITHOUT_POOL="1")
    return troubles


# What pytest and compute-sanitizer say of a fault at the beginning of a line.
WRONG = r"FAILED |ERROR (?!SUMMARY: 0 errors)|Error: |Invalid |Uninit|Barrier error|Race rep"


def tests_told(report: Report, what: str, command: list[str], limit: float, **environment: str) -> list[str]:
    """Say how pytest ended, or how far it came, and what went wrong."""
    lines: list[str] = []
    trouble = followed(command, limit, lines.append, **environment)
    said = [line.strip("= ") for line in lines if line.strip("= ")] or ["no output"]
    closing = [line for line in said if re.search(r"\d (passed|failed|skipped|errors?)\b.* in \d", line)]
    wrong = [line for line in said if re.match(WRONG, line)]
    if trouble and not wrong:  # it was cut off, and what failed until then has no line of its own at the end
        wrong = [trouble, *(line for line in said if re.search(r" (FAILED|ERROR)\b", line))]
    report.say(f"- {what}: {(closing or said)[-1]}")
    for line in wrong:
        report.say(f"  - {line}")
    return wrong


def checks(xp: Any, report: Report, plan: Plan) -> bool:
    wrong: list[str] = []
    report.table("Checks", "dtype, result", check_rows(xp, plan, wrong))
    return bool(wrong)


def operations(xp: Any, report: Report, plan: Plan) -> bool:
    seconds, copied = tried(report, "copy, device to device", lambda: copy_time(xp, plan)) or (math.nan, 0)
    bandwidth = copied / seconds
    report.say()
    report.say(f"- copy, device to device, of {copied / 2e9:.2f} GB: {bandwidth / 1e12:.3g} TB/s read and written")
    report.say()
    report.say(NOTES)
    columns = "work, dtype, must move, floor, measured, of copy bandwidth, target, met"
    report.table(f"Operations, {plan.rows}x{plan.event}", columns, our_rows(xp, plan, bandwidth))
    return False


def small(xp: Any, report: Report, plan: Plan) -> bool:
    wall, empty = tried(report, "empty launch", lambda: empty_launch(xp, plan)) or (math.nan, math.nan)
    report.say()
    report.say(f"- empty launch: {common.duration(empty)} by events, {common.duration(wall)} by the host's clock")
    columns = "work, wall, events, device alone, events / empty launch, target, met"
    report.table(f"Video latents, {plan.video}, float16", columns, small_rows(xp, plan, empty))
    report.say()
    report.say("Wall and events are of calls back to back; alone, they are queued behind a long copy.")
    return False


def tried(report: Report, what: str, measure: Callable[[], Any]) -> Any:
    """What is measured, or None where that fails, which is told."""
    try:
        return measure()
    except Exception as error:
        report.say(f"- {what}: {brief(error)}")
        return None


def peers_beside(xp: Any, report: Report, plan: Plan) -> bool:
    columns = "work, peer, its time, ours, ours is faster by, target, met"
    deadline = time.perf_counter() + plan.seconds
    report.table(f"Peers, {plan.rows}x{plan.event}, float32", columns, peer_rows(xp, plan, deadline))
    return False


def copying(xp: Any, plan: Plan) -> tuple[Callable[[], Any], int]:
    """A copy as large as the parameters, and the bytes that it moves."""
    source = xp.ones(tuple(int(n) for n in f"{plan.rows}x{plan.event}".split("x")), dtype=np.float32)
    return partial(xp.copyto, xp.empty_like(source), source), 2 * source.nbytes


def copy_time(xp: Any, plan: Plan) -> tuple[float, int]:
    call, moved = copying(xp, plan)
    return medians({"copy": gpu_peers.Timed(call, gpu_peers.clock_of(xp))}, plan)["copy"], moved


def empty_launch(xp: Any, plan: Plan) -> tuple[float, float]:
    """Seconds of a launch, by the host's clock and by events."""
    call: Callable[[], Any] = nothing
    if xp is not np:
        call = partial(xp.RawKernel('extern "C" __global__ void empty() {}', "empty"), (1,), (1,), ())
    call()
    clocks = host_clock(xp), gpu_peers.clock_of(xp)
    wall, events = (median(clock.time(call, plan.small) for _ in range(plan.rounds)) for clock in clocks)
    return wall, events


def nothing() -> None:
    pass


def host_clock(xp: Any) -> gpu_peers.WallClock:
    if xp is np:
        return gpu_peers.WallClock()
    return gpu_peers.WallClock(lambda result: xp.cuda.get_current_stream().synchronize())


def medians(timed: dict[str, gpu_peers.Timed], plan: Plan) -> dict[str, float]:
    """Median seconds of each, in turns."""
    numbers = {}
    for name, (call, clock) in timed.items():
        call()  # compiles
        numbers[name] = max(1, min(plan.number, round(0.03 / max(clock.time(call), 1e-9))))
    seconds: dict[str, list[float]] = {name: [] for name in timed}
    for _ in range(plan.rounds):
        for name, (call, clock) in timed.items():
            seconds[name].append(clock.time(call, numbers[name]))
    return {name: median(times) for name, times in seconds.items()}


def check_rows(xp: Any, plan: Plan, wrong: list[str]) -> Iterator[list[str]]:
    for dtype in ["float32", *OTHER_DTYPES]:
        try:
            found = faults(device_inputs(f"{rows_in(plan, dtype)}x{plan.event}", dtype, xp))
            told = "; ".join(found) or "all hold"
            wrong += found
        except ModuleNotFoundError as error:  # ml_dtypes, for bfloat16
            told = f"skipped: {brief(error)}"
        except Exception as error:
            told = brief(error)
            wrong.append(told)
        yield [dtype, told]
        free(xp)


def faults(a: common.Inputs) -> list[str]:
    """What does not hold of results at full size; outputs are NaN beforehand, so whatever is not written shows."""
    xp, rows = a.xp, 1024
    poison(a.z)
    poison(a.gradient)
    kl = xp.concatenate([exact_kl(a, slice(first, first + rows)) for first in range(0, len(a.parameters), rows)])
    z, fused_kl = common.OURS["sample and kl"](a)
    gradient = common.OURS["sample and kl vjp"](a)
    p = host(xp, a.parameters[:2])
    d = host(xp, a.d_z[:2]), host(xp, a.d_kl[:2])
    held = {
        "kl is right to 1e-5": xp.all(xp.abs(a.q.kl() - kl) <= 1e-5 * kl),
        "kl beside a sample is right to 1e-5": xp.all(xp.abs(fused_kl - kl) <= 1e-5 * kl),
        "samples are all written": finite(xp, z) and z is a.z,
        "gradients are all written": finite(xp, gradient) and gradient is a.gradient,
        "samples are NumPy's to the bit": same_bits(xp, z[:2], ag.sample_and_kl(p, rng=7)[0]),
        "gradients are NumPy's to the bit": same_bits(xp, gradient[:2], ag.sample_and_kl_vjp(p, cotangent=d, rng=7)),
    }
    for work in ("kl of two", "nll", "kl vjp", "kl of two vjp", "nll vjp", "sample vjp"):
        result = common.OURS[work](a)
        held[f"{work} is finite"] = all(finite(xp, v) for v in (result if isinstance(result, tuple) else [result]))
    poison(a.z)
    noise = common.OURS["noise"](a)[:rows].astype("float64")
    held["noise is all written"] = finite(xp, a.z)
    held["noise has mean 0"] = abs(float(noise.mean())) < 6 / noise.size**0.5
    held["noise has spread 1"] = abs(float(noise.std()) - 1) < 6 / (2 * noise.size) ** 0.5
    return [f"NOT SO: {what}" for what, so in held.items() if not bool(so)]


def poison(array: Any) -> None:
    """NaN everywhere: in every format that is all bits set."""
    array.view(np.uint8).fill(255)


def exact_kl(a: common.Inputs, rows: slice) -> Any:
    mean, logvar = a.mean[rows].astype("float64"), a.logvar[rows].astype("float64").clip(*common.BOUNDS)
    return 0.5 * a.xp.sum(mean * mean + a.xp.expm1(logvar) - logvar, axis=a.axes)


def finite(xp: Any, array: Any) -> bool:
    return bool(xp.all(xp.isfinite(array.astype("float32"))))


def same_bits(xp: Any, array: Any, expected: np.ndarray) -> bool:
    return host(xp, array).tobytes() == expected.tobytes()


def host(xp: Any, array: Any) -> np.ndarray:
    return array if xp is np else xp.asnumpy(array)


def our_rows(xp: Any, plan: Plan, bandwidth: float) -> Iterator[list[str]]:
    of_two = [work for work in FRACTION if "of two" in work]
    for dtype, works, halves in [
        ("float32", [work for work in FRACTION if work not in of_two], 1),
        ("float32", of_two, 2),
        *((dtype, IN_OTHER_DTYPES, 1) for dtype in OTHER_DTYPES),
    ]:
        shape = f"{max(1, rows_in(plan, dtype) // halves)}x{plan.event}"
        for work in works:
            try:
                a = device_inputs(shape, dtype, xp)
                timed = gpu_peers.Timed(partial(common.OURS[work], a), gpu_peers.clock_of(xp))
                seconds = medians({work: timed}, plan)[work]
                moved = bytes_moved(work, a)
                target = FRACTION[work] if dtype == "float32" else None
                yield Ours(work, dtype, moved, moved / bandwidth, seconds, target).cells()
            except Exception as error:
                yield [work, dtype, "", "", brief(error), "", "", ""]
            a = timed = None
            free(xp)


def rows_in(plan: Plan, dtype: str) -> int:
    """A quarter of the rows where there is no target."""
    return plan.rows if dtype == "float32" else max(1, plan.rows // 4)


def bytes_moved(work: str, a: common.Inputs) -> int:
    return sum(getattr(a, name).nbytes for names in common.moved(work) for name in names)


def small_rows(xp: Any, plan: Plan, empty: float) -> Iterator[list[str]]:
    copy, _ = copying(xp, plan)
    clock = gpu_peers.clock_of(xp)
    for work in ("sample and kl", "sample and kl vjp"):
        try:
            call = partial(common.OURS[work], device_inputs(plan.video, "float16", xp))
            call()
            wall, events, alone = (
                median(timer() for _ in range(plan.rounds))
                for timer in (
                    partial(host_clock(xp).time, call, plan.small),
                    partial(clock.time, call, plan.small),
                    partial(clock.time, call, min(20, plan.small), lambda: [copy() for _ in range(8)]),
                )
            )
            yield Small(work, wall, events, alone, empty).cells()
        except Exception as error:
            yield [work, brief(error), "", "", "", "", ""]


def peer_rows(xp: Any, plan: Plan, deadline: float) -> Iterator[list[str]]:
    a = device_inputs(f"{plan.rows}x{plan.event}", "float32", xp)
    for peer in gpu_peers.PEERS:
        for work in peer.works if peer.name in plan.peers else []:
            target = (FASTER_SAMPLE if work == "sample" else {}).get(peer.name, FASTER.get(peer.name))
            if time.perf_counter() > deadline:
                yield [work, peer.name, "out of time", "", "", "", ""]
                continue
            try:
                ours = gpu_peers.Timed(partial(common.OURS[work], a), gpu_peers.clock_of(xp))
                seconds = medians({"ours": ours, "theirs": peer.make(work, a)}, plan)
                yield Versus(work, peer.name, seconds["theirs"], seconds["ours"], target).cells()
            except Exception as error:
                yield [work, peer.name, brief(error), "", "", "", ""]
            free(xp)


def free(xp: Any) -> None:
    """Give memory that nothing uses back to the device."""
    gc.collect()
    if xp is not np:
        xp.get_default_memory_pool().free_all_blocks()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()


def brief(error: Exception) -> str:
    """The first line of an error, for a cell of a table."""
    if isinstance(error, ModuleNotFoundError):
        return f"{error.name} is not installed"
    text = (str(error).strip() or "no message").splitlines()[0]
    return f"{type(error).__name__}: {text}"[:160]


def verdict(met: bool) -> str:
    return "yes" if met else "**no**"


class Section(NamedTuple):
    """What a process measures, and says; whether any result was wrong. NumPy can stand in for CuPy."""

    seconds: float  # after which it is ended
    run: Callable[[Any, Report, Plan], bool]


MEASURES = {
    "machine": Section(60, machine),
    "operations": Section(120, operations),
    "small": Section(60, small),
    "peers": Section(220, peers_beside),
    "checks": Section(90, checks),
}
TESTS = {"tests": gpu_tests, "sanitizer": sanitizer}


if __name__ == "__main__":
    sys.exit(main())
