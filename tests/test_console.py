"""The commands in real processes: a reader that goes away, Ctrl-C, and streams that are closed from the start."""

import os
import signal
import subprocess
import sys

import pytest

COMMANDS = ("agauss", "agauss.conformance")
INTERRUPTS_ITSELF = "import os, signal; os.kill(os.getpid(), signal.SIGINT); import time; time.sleep(60)"


def start(module, *arguments, closed="", **options):
    """A command's process, without the streams that a shell closes, such as 2>&-."""
    command = ("sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, "-m", module, *arguments)
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    pipe = subprocess.PIPE
    env = buffered | options.pop("env", {})
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=env, **options)


@pytest.fixture(autouse=True)
def ctrl_c_is_heeded():
    """A process inherits that Ctrl-C is ignored, and a shell has its background jobs ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def end(process):
    """The exit code, and what came on stdout and stderr."""
    with process:
        try:
            out, err = process.communicate(timeout=120)
        finally:
            process.kill()
    return process.returncode, out, err


@pytest.fixture
def demo(tmp_path):
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")

    def start_demo(*flags, **options):
        return start("agauss", "demo", "--out", str(tmp_path / "a.png"), *flags, **options)

    return start_demo


@pytest.mark.parametrize("module", COMMANDS)
def test_help_that_nobody_reads_exits_with_141(module):
    process = start(module, "-h")
    process.stdout.close()
    assert end(process)[::2] == (141, "")


@pytest.mark.slow
def test_a_demo_whose_reader_goes_away_exits_with_141(demo, tmp_path):
    process = demo("--epochs", "10000")
    assert "handwritten digits" in process.stdout.readline()
    process.stdout.close()
    assert end(process)[::2] == (141, "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_an_interrupted_demo_exits_with_130(demo, tmp_path):
    process = demo("--epochs", "10000")
    while not process.stdout.readline().startswith("    0 "):
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert end(process)[::2] == (130, "")
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_conformance_run_exits_with_130(tmp_path):
    (tmp_path / "interrupts_itself.py").write_text(INTERRUPTS_ITSELF)
    path = os.pathsep.join([str(tmp_path), *sys.path])
    assert end(start("agauss.conformance", "interrupts_itself:Class", env={"PYTHONPATH": path})) == (130, "", "")


@pytest.mark.slow
def test_a_demo_without_stderr_says_all_that_it_has_to_say(demo, tmp_path):
    code, out, _ = end(demo("--epochs", "1", closed="2>&-"))
    assert code == 0
    assert out.endswith(f"figure: {tmp_path / 'a.png'}\n")


@pytest.mark.parametrize("module", COMMANDS)
def test_exit_codes_are_the_same_without_streams(module):
    assert end(start(module, "-h", closed="<&- >&- 2>&-"))[0] == 0
    assert end(start(module, "--no-such-flag", closed="<&- >&- 2>&-"))[0] == 2
