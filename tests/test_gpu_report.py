"""The GPU's report, as far as it goes without a GPU: its arithmetic, a dry run on NumPy, and what it says of no GPU."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from agauss.arrays import NUMPY
from agauss.backends.array_api.backend import Reference

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "benchmarks" / "gpu_report.py"


@pytest.fixture(scope="module")
def gpu_report():
    path = sys.path.copy()
    spec = importlib.util.spec_from_file_location("gpu_report", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path[:] = path
    return module


@pytest.fixture(scope="module")
def inputs(gpu_report):
    return gpu_report.device_inputs("6x8x4x4", "float32", np)


def test_the_inputs_are_those_of_the_other_benchmarks(gpu_report, inputs):
    theirs = vars(gpu_report.common.inputs("6x8x4x4", "float32"))
    ours = vars(inputs)
    assert list(ours) == list(theirs)
    for name, value in theirs.items():
        if isinstance(value, np.ndarray):
            assert (ours[name].shape, ours[name].strides, ours[name].dtype) == (value.shape, value.strides, value.dtype)


@pytest.mark.parametrize(
    ("work", "values"),
    [
        # 100 rows of 32 parameters, so 3200 parameters, 1600 of each half.
        ("kl", 3200 + 100),
        ("kl of two", 6400 + 100),
        ("nll", 1600 + 3200 + 100),
        ("noise", 1600),
        ("sample", 3200 + 1600),
        ("sample and kl", 3200 + 1600 + 100),
        ("kl vjp", 3200 + 100 + 3200),
        ("kl of two vjp", 6400 + 100 + 6400),
        ("nll vjp", 1600 + 3200 + 100 + 1600 + 3200),
        ("sample vjp", 1600 + 1600 + 3200),
        ("sample and kl vjp", 3200 + 1600 + 100 + 3200),
    ],
)
def test_bytes_are_those_worked_out_by_hand(gpu_report, work, values):
    assert gpu_report.bytes_moved(work, gpu_report.device_inputs("100x8x2x2", "float32", np)) == 4 * values


def test_sums_are_wider_than_half_types(gpu_report):
    a = gpu_report.device_inputs("100x8x2x2", "float16", np)
    assert gpu_report.bytes_moved("kl", a) == 2 * 3200 + 4 * 100


def test_all_work_is_measured(gpu_report):
    assert set(gpu_report.FRACTION) == set(gpu_report.common.WORKS) - {"forward and backward"}


def test_rows_say_what_was_reached_and_whether_that_is_enough(gpu_report):
    row = gpu_report.Ours("kl", "float32", 2_000_000_000, 0.95e-3, 1e-3, 0.9)
    assert row.cells() == ["kl", "float32", "2.00 GB", "950 us", "1 ms", "95.0%", "90%", "yes"]
    assert row._replace(seconds=1.1e-3).cells()[-3:] == ["86.4%", "90%", "**no**"]
    assert row._replace(target=None).cells()[-2:] == ["", ""]
    versus = gpu_report.Versus("kl", "torch eager", 4e-3, 1e-3, 5.0)
    assert versus.cells() == ["kl", "torch eager", "4 ms", "1 ms", "4.0 x", "5 x", "**no**"]
    small = gpu_report.Small("kl", 12e-6, 10e-6, 5e-6, 4e-6)
    assert small.cells() == ["kl", "12 us", "10 us", "5 us", "2.5 x", "under 3 x", "yes"]


def test_events_enclose_the_counted_calls_alone(gpu_report):
    told = []

    class Event:
        def record(self):
            told.append("record")

        def synchronize(self):
            told.append("synchronize")

    clock = gpu_report.gpu_peers.EventClock(Event, lambda start, stop: 6.0)
    assert clock.time(lambda: told.append("call"), 3, lambda: told.append("ahead")) == pytest.approx(2e-3)
    assert told == ["ahead", "record", "call", "call", "call", "record", "synchronize"]


@pytest.mark.slow
def test_a_dry_run_on_numpy_makes_the_whole_report(gpu_report, tmp_path, monkeypatch):
    pytest.importorskip("ml_dtypes")
    monkeypatch.setattr(gpu_report, "driver", lambda: "0")
    plan = gpu_report.Plan(8, "8x4x4", "2x4x3x4x2", rounds=1, number=2, small=2, peers=("CuPy expression",))
    path = tmp_path / "new" / "report.md"
    report = gpu_report.Report(path)
    for name in ("operations", "small", "peers", "checks"):
        assert gpu_report.MEASURES[name].run(np, report, plan) is False
    text = path.read_text()
    assert len(re.findall(r"\| all hold \|", text)) == 4
    for work, fraction in gpu_report.FRACTION.items():
        target = "" if fraction is None else f"{fraction:.0%}"
        row = rf"^\| {work} \| float32 \| \d+\.\d\d GB \|.* [um]?s \| \d+\.\d% \| {target} \| "
        assert re.search(row, text, re.MULTILINE)
    assert len(re.findall(r"^\| sample and kl( vjp)? \| .* us \| \d.* x \| under 3 x \|", text, re.MULTILINE)) == 2
    assert len(re.findall(r"\| CuPy expression \| .*s \| .*s \| \d+\.\d x \| 5 x \| ", text)) == 4
    assert "Error" not in text
    tables = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert len(tables) == 4
    assert all(len({line.count("|") for line in table.splitlines()}) == 1 for table in tables)


@pytest.mark.slow
def test_what_fails_is_named_and_stops_nothing(gpu_report, tmp_path, monkeypatch, capsys):
    def broken(*_):
        raise MemoryError("out of | memory\nat length")

    monkeypatch.setitem(gpu_report.common.OURS, "kl", broken)
    monkeypatch.setattr(gpu_report, "OTHER_DTYPES", [])
    monkeypatch.setattr(gpu_report.gpu_peers, "PEERS", [gpu_report.gpu_peers.Peer("it", broken, ["kl", "nll"])])
    plan = gpu_report.Plan(8, "8x4x4", "2x4x3x4x2", rounds=1, number=1, small=1, peers=("it",))
    report = gpu_report.Report(tmp_path / "report.md")
    report.table("t", "a, b, c, d, e, f, g, h", gpu_report.our_rows(np, plan, 1e9))
    report.table("t", "a, b, c, d, e, f, g", gpu_report.peer_rows(np, plan, float("inf")))
    assert "| kl | float32 |  |  | MemoryError: out of / memory |  |  |  |" in capsys.readouterr().out
    text = report.path.read_text()
    assert "| nll | it | MemoryError: out of / memory |  |  |  |  |" in text
    assert "| sample | float32 | " in text
    late = list(gpu_report.peer_rows(np, plan, deadline=0.0))
    assert [row[2] for row in late] == ["out of time"] * 2


def test_a_clock_that_fails_costs_no_section(gpu_report, tmp_path, monkeypatch):
    def broken(*_):
        raise RuntimeError("no events")

    monkeypatch.setattr(gpu_report, "copy_time", broken)
    monkeypatch.setattr(gpu_report, "empty_launch", broken)
    monkeypatch.setattr(gpu_report, "OTHER_DTYPES", [])
    monkeypatch.setattr(gpu_report, "FRACTION", {"kl": 0.9})
    plan = gpu_report.Plan(8, "8x4x4", "2x4x3x4x2", rounds=1, number=1, small=1)
    report = gpu_report.Report(tmp_path / "report.md")
    for section in (gpu_report.operations, gpu_report.small):
        section(np, report, plan)
    text = report.path.read_text()
    assert "- copy, device to device: RuntimeError: no events" in text
    assert "- empty launch: RuntimeError: no events" in text
    assert re.search(r"^\| kl \| float32 \| .* \| nan% \| 90% \| \*\*no\*\* \|$", text, re.MULTILINE)
    assert re.search(r"^\| sample and kl \| .* us \| nan x \| under 3 x \| \*\*no\*\* \|$", text, re.MULTILINE)


# Sections in processes of their own


def test_a_process_is_followed_line_by_line_and_its_end_told(gpu_report):
    lines = []
    code = "import sys; print('one'); print('two', flush=True); {}"
    assert gpu_report.followed([sys.executable, "-c", code.format("")], 60, lines.append) == ""
    for ending, told in [
        ("sys.exit('no GPU')", "no GPU"),
        ("sys.exit(3)", "ended with 3"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "ended with -11"),
    ]:
        assert gpu_report.followed([sys.executable, "-c", code.format(ending)], 60, lines.append) == told
    assert lines == ["one", "two"] * 4


@pytest.mark.slow
def test_what_takes_too_long_is_ended_with_all_that_it_started_and_what_it_said_is_kept(gpu_report):
    """The child's child holds the pipe open."""
    lines = []
    code = "import subprocess, sys; print('begun', flush=True); subprocess.run(['sleep', '600'])"
    assert gpu_report.followed([sys.executable, "-c", code], 2, lines.append) == "not done within 2 s"
    assert lines == ["begun"]


PASSED, FAILED = "[gw0] [ 40%] PASSED tests/a.py::b", "[gw1] [ 50%] FAILED tests/a.py::c"


@pytest.mark.parametrize(
    ("lines", "trouble", "told", "wrong"),
    [
        ([PASSED, "=== 1 passed in 0.5s ==="], "", "1 passed in 0.5s", []),
        (["1 passed in 0.5s", "========= ERROR SUMMARY: 0 errors"], "", "1 passed in 0.5s", []),
        ([PASSED, FAILED], "not done within 3 s", FAILED, ["not done within 3 s", FAILED]),
        (
            [FAILED, "FAILED tests/a.py::c - assert 0", "== 1 failed, 3 passed in 2.00s =="],
            "ended with 1",
            "1 failed, 3 passed in 2.00s",
            ["FAILED tests/a.py::c - assert 0"],
        ),
        (
            [
                "1 passed in 0.5s",
                "========= Invalid __global__ read of size 4 bytes",
                "========= ERROR SUMMARY: 1 error",
            ],
            "ended with 99",
            "1 passed in 0.5s",
            ["Invalid __global__ read of size 4 bytes", "ERROR SUMMARY: 1 error"],
        ),
        ([], "No module named pytest", "no output", ["No module named pytest"]),
    ],
)
def test_tests_that_fail_or_are_cut_off_are_told(gpu_report, tmp_path, monkeypatch, lines, trouble, told, wrong):
    def followed(command, limit, take, **environment):
        for line in lines:
            take(line)
        return trouble

    monkeypatch.setattr(gpu_report, "followed", followed)
    report = gpu_report.Report(tmp_path / "report.md")
    assert gpu_report.tests_told(report, "GPU tests", [], 3) == wrong
    assert report.path.read_text().splitlines() == [f"- GPU tests: {told}", *(f"  - {line}" for line in wrong)]


def test_one_section_that_dies_leaves_the_others(gpu_report, tmp_path, monkeypatch, capsys):
    ran = []

    def followed(command, limit, take, **environment):
        ran.append(command[-1])
        take(f"of {command[-1]}")
        return "cudaErrorIllegalAddress" if command[-1] == "operations" else ""

    monkeypatch.setattr(gpu_report, "followed", followed)
    monkeypatch.setattr(sys, "argv", ["gpu_report.py", "--no-tests", "--out", str(tmp_path / "report.md")])
    assert gpu_report.main() == 1
    assert ran == ["machine", "operations", "small", "peers", "checks"]
    text = (tmp_path / "report.md").read_text()
    assert "of operations\n\n**operations: cudaErrorIllegalAddress**\nof small\n" in text


def test_wrong_results_are_seen(gpu_report, inputs, monkeypatch):
    assert gpu_report.faults(inputs) == []
    right = gpu_report.common.OURS["sample and kl"]

    def one_short(a):
        z, kl = right(a)
        gpu_report.poison(z[-1:])
        return z, kl * 1.001

    monkeypatch.setitem(gpu_report.common.OURS, "sample and kl", one_short)
    wrong = ["kl beside a sample is right to 1e-5", "samples are all written"]
    assert gpu_report.faults(inputs) == [f"NOT SO: {what}" for what in wrong]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["CuPy expression", "torch eager", "jax.jit", "agauss in jax.jit", "array-API form"])
def test_peers_do_the_same_work(gpu_report, inputs, name):
    """JAX has arrays of its own, so there the shapes alone are compared."""
    pytest.importorskip("torch" if "torch" in name else "jax" if "jax" in name else "numpy")
    ours = name == "array-API form"
    peer = next(peer for peer in gpu_report.gpu_peers.PEERS if peer.name == name)
    for work in peer.works:
        expected = gpu_report.common.OURS[work](inputs)
        if work in ("kl vjp", "nll vjp"):
            expected = (*expected[:-2], np.concatenate(expected[-2:], axis=1))  # a peer's parameters are one array
            expected = expected[::-1] if work == "nll vjp" and not ours else expected
        call, clock = peer.make(work, inputs)
        found = call()
        if ours and work in ("kl vjp", "nll vjp"):
            found = (*found[:-2], np.concatenate(found[-2:], axis=1))
        found, expected = ([v] if hasattr(v, "shape") else list(v) for v in (found, expected))
        assert [tuple(v.shape) for v in found] == [v.shape for v in expected], work
        if "jax" not in name and ("sample" not in work or ours):
            for mine, theirs in zip(expected, found, strict=True):
                np.testing.assert_allclose(np.asarray(theirs), mine, rtol=1e-4, atol=1e-5, err_msg=work)
        assert clock.time(call, 2) > 0


def test_the_array_api_form_is_put_back(gpu_report):
    before = NUMPY.backend, NUMPY.fills
    with gpu_report.common.on_reference(NUMPY):
        assert isinstance(NUMPY.backend, Reference)
        assert not NUMPY.fills
    assert (NUMPY.backend, NUMPY.fills) == before


@pytest.mark.slow
def test_without_a_gpu_it_says_so_and_writes_nothing(tmp_path):
    try:
        import cupy

        if cupy.cuda.runtime.getDeviceCount():
            pytest.skip("there is a GPU")
    except ImportError:
        pass
    except cupy.cuda.runtime.CUDARuntimeError:
        pass
    out = tmp_path / "results.md"
    done = subprocess.run([sys.executable, SCRIPT, "--out", out], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""
    assert re.search(r'^The GPU report needs .*: pip install "agauss\[cuda13\]".*\.\n\Z', done.stderr, re.MULTILINE)
    assert not out.exists()
