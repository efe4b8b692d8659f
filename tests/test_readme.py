"""What the README says and can be run: its examples, its commands, and its figures against the last run's."""

import importlib
import json
import re
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_the_examples_run_and_say_the_truth():
    swap, numpy = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names = {}
    exec(numpy, names)
    z, parameters = names["z"], names["parameters"]
    assert z.shape == (16, 4, 32, 32)
    assert names["kl"].shape == (16,)
    assert names["d_parameters"].shape == parameters.shape
    if find_spec("torch"):
        exec(swap, names)
        posterior = names["posterior"]
        assert tuple(names["z"].shape) == (16, 4, 32, 32)
        assert posterior.parameters.grad.shape == posterior.parameters.shape


def test_each_command_is_one_line_that_makes_its_own_environment():
    commands = re.findall(r"^    (python3 .*)$", README, re.MULTILINE)
    assert len(commands) == 2
    assert all(command.startswith("python3 -m venv .venv && ") for command in commands)


def test_the_speeds_are_those_of_the_last_run(monkeypatch):
    """benchmarks/report.py writes both, but one of them may be edited."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    results = json.loads((ROOT / "docs" / "performance.json").read_text())
    pages = importlib.import_module("pages")
    table = "\n".join(pages.readme_rows(results))
    assert f"<!-- speed -->\n{table}\n<!-- /speed -->" in README
    assert (ROOT / "docs" / "performance.md").read_text() == "\n".join(pages.page(results)) + "\n"
