"""benchmarks/compare.py: two checkouts in turns."""

import re
import shutil
import subprocess
import sys

import pytest
from texts import ROOT

PROGRAM = ROOT / "benchmarks" / "compare.py"


def run(*arguments):
    return subprocess.run([sys.executable, PROGRAM, *map(str, arguments)], capture_output=True, text=True)


@pytest.mark.slow
def test_each_checkout_is_timed_in_a_process_of_its_own(tmp_path):
    other = tmp_path / "agauss"
    shutil.copytree(ROOT / "agauss", other, ignore=shutil.ignore_patterns("__pycache__"))
    slow = "import time\ntime.sleep(0.02)\n"  # at each call of the class's kl
    text = (other / "distributions.py").read_text()
    head = re.search(r"    def kl\(.*?\"\"\".*?\"\"\"\n", text, re.DOTALL).group()
    (other / "distributions.py").write_text(
        text.replace(head, head + "".join(f"        {x}\n" for x in slow.split("\n")))
    )
    done = run(tmp_path, "--rounds", 1, "--only", "16x40 q.kl()")
    assert done.returncode == 0, done.stderr
    old, new, ratio = map(float, re.search(r"q.kl\(\) +(\S+) us +(\S+) us +(\S+)", done.stdout).groups())
    assert old >= 20_000  # the other's, which sleeps
    assert abs(ratio - new / old) < 0.01


def test_a_folder_that_is_no_checkout_is_refused(tmp_path):
    done = run(tmp_path)
    assert done.returncode == 2
    assert "give the folder of another checkout" in done.stderr
