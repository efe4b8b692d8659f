"""`python -m agauss.conformance` tells right from wrong."""

import os
import re
import subprocess
import sys
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
import torch
from conformance_classes import (
    BY_AUTOGRAD,
    CHECKS,
    CPU_AND_GPU,
    EXTRA,
    PlainDistribution,
    ReferenceDistribution,
    Right,
    came,
    failing,
    reference_normal_kl,
    results,
)

import agauss as ag
from agauss.conformance import Row, run
from agauss.conformance.__main__ import main, shortened, table
from agauss.conformance.faults import FAULTS
from agauss.conformance.formulas import FORMULAS
from agauss.conformance.libraries import NumPy, library_of_class
from agauss.conformance.subject import Check, Subject
from agauss.conformance.suite import row_of
from agauss.integrations import torch as agt

pytestmark = pytest.mark.usefixtures("one_thread_of_torch")

# python -m agauss.conformance


@cache
def rows_of_the_reference():
    return {row.name: row for row in run(ReferenceDistribution, "torch", reference_normal_kl)}


def test_the_reference_fails_on_just_the_rows_of_the_fault_table():
    rows = list(rows_of_the_reference().values())
    # Of the table, a gradient of 0 outside the bounds is common to all, and one machine has no GPU.
    same = "logvar outside [-30, 20]: gradient"
    assert results(rows, "fail") == [check.name for check in FAULTS if check.name not in (same, CPU_AND_GPU)]
    assert results(rows, "pass") == [same, *(check.name for check in FORMULAS)]
    assert set(results(rows, "n/a")) - {CPU_AND_GPU} == set(EXTRA)


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ("5-D: kl and nll", "kl of shape (2, 5)"),
        ("2-D: kl and nll", "IndexError: Dimension out of range"),
        ("deterministic: kl and nll", "kl of shape (1,), float32"),
        ("kl to a deterministic distribution", "to its mean [nan, nan]"),
        ("deterministic: sample", "the global generator advanced"),
        ("odd channel count", "no error"),
        ("editing mean", "the parameters changed"),
        ("editing mode()", "the distribution changed"),
        ("memory held by a distribution", "2.5 x the parameters"),
        ("float16, 4 x 64 x 64, logvar -20", "kl inf instead of 155648"),
        ("kl at mean 0, logvar 1e-05", "instead of 2.5000082e-11"),
        ("extra: gradient outside the bounds", 'the class takes no bounds="soft"'),
        ("extra: count outside the bounds", "the class has no method saturated"),
        ("normal_kl: integer first array", "no error; [0.5, 2.0] instead of [0.5744, 2.0744]"),
    ],
)
def test_a_row_says_what_came(row, what):
    assert what in rows_of_the_reference()[row].came


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_the_distribution_passes_in_full(library):
    rows = run(ag.DiagonalGaussianDistribution, library, ag.normal_kl)
    expected = [CPU_AND_GPU] if library == "torch" else [CPU_AND_GPU, *BY_AUTOGRAD]
    assert {row.name: row.came for row in rows if row.result == "fail"} == {}
    assert [row.name for row in rows] == CHECKS
    assert set(results(rows, "n/a")) - {CPU_AND_GPU} == set(expected) - {CPU_AND_GPU}


def test_the_integration_of_torch_passes_in_full():
    rows = run(agt.DiagonalGaussianDistribution, "torch", agt.normal_kl)
    assert {row.name: row.came for row in rows if row.result != "pass" and row.name != CPU_AND_GPU} == {}


# What a class may look like


class Seeded(PlainDistribution):
    """Draws with a generator, if one is given, and one number more than it needs where deterministic."""

    def __init__(self, parameters, deterministic=False):
        super().__init__(parameters, deterministic)

    def sample(self, generator=None):
        return super().sample(torch.randn(self.mean.shape, generator=generator, dtype=self.mean.dtype))


class Numbered:
    """The class's noise in NumPy, from a Generator."""

    def __init__(self, parameters, deterministic=False):
        self.mean, self.logvar = np.split(parameters, 2, axis=1)

    def sample(self, rng):
        return self.mean + np.exp(self.logvar / 2) * rng.standard_normal(self.mean.shape, self.mean.dtype)


def test_noise_is_seeded_by_the_first_argument_of_sample_that_can_be():
    def named(*names):
        arguments = ", ".join(("self", *(f"{name}=None" for name in names)))
        return type("Named", (), {"sample": eval(f"lambda {arguments}: None")})

    for names, expected in (
        (("generator", "rng"), "rng"),
        (("key", "generator"), "generator"),
        (("index", "key"), "key"),
        (("index",), None),
        ((), None),
    ):
        assert Subject(named(*names), NumPy()).source_name == expected
    assert Subject(type("Mute", (), {}), NumPy()).source_name is None


def test_a_torch_generator_that_advances_is_seen():
    assert came(Seeded, "deterministic: sample", "torch") == "generator advanced"
    seeds = ("sample: seeds", "sample", "noise", "gradient of sample")
    assert set(seeds) <= set(results(run(Seeded, "torch"), "pass"))


def test_without_an_index_ten_batches_of_one_are_drawn_in_a_row():
    assert "one seed, a batch of 10 and ten of 1" in results(run(Numbered), "pass")


def test_the_shape_of_what_a_class_raises_is_no_matter():
    class Broken:
        def __init__(self, *args, **kwargs):
            raise RuntimeError("no\nway")

    rows = run(Broken)
    assert results(rows, "pass") == []
    assert {row.came for row in rows if row.result == "fail"} == {"RuntimeError: no"}
    assert {"normal_kl", "normal_kl: integer first array"} <= set(results(rows, "n/a"))


def test_a_check_that_compares_nothing_fails():
    row = row_of(Check("row", "something", lambda s: iter(())), Subject(Right, NumPy()))
    assert row == Row("row", "fail", "something", "nothing to compare")


def test_warnings_of_a_class_do_not_reach_the_table():
    class Warns(Right):
        def kl(self, other=None):
            np.float32(1e38) * np.float32(10)
            return super().kl(other)

    assert failing(Warns, normal_kl=ag.normal_kl) == []


# The command line


def columns(out):
    """The first line, the rows by their aligned columns, and the last line."""
    title, _, header, *lines, _, counts = out.splitlines()
    starts = [0, *(re.search(rf"\b{name}\b", header).start() for name in ("row", "expected", "came")), None]
    cells = [tuple(line[a:b].rstrip() for a, b in pairwise(starts)) for line in lines]
    return title, cells, counts


def test_the_command_prints_what_the_rows_say(capsys):
    assert main([f"{__name__}:ReferenceDistribution"]) == 1
    title, cells, counts = columns(capsys.readouterr().out)
    assert title == f"{__name__}:ReferenceDistribution on arrays of torch, noise by the global seed"
    rows = run(ReferenceDistribution, "torch")
    assert cells == [(row.result, row.name, row.expected, shortened(row.came)) for row in rows]
    found = [sum(row.result == result for row in rows) for result in ("pass", "fail", "n/a")]
    assert counts == "{} pass, {} fail, {} n/a".format(*found)
    assert all(found)


def command(*arguments, **options):
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return *columns(done.stdout), done.stderr


def test_the_command_passes_in_full_without_importing_another_library():
    module = ("-X", "importtime", "-m", "agauss.conformance")
    title, cells, counts, err = command(*module, "agauss:DiagonalGaussianDistribution")
    assert title == "agauss:DiagonalGaussianDistribution on arrays of numpy, noise by sample(rng=)"
    assert [name for _, name, *_ in cells] == CHECKS
    assert ", 0 fail, " in counts
    imported = set(re.findall(r"\| +([\w.]+)$", err, re.MULTILINE))
    assert "agauss.conformance.suite" in imported
    assert not imported & {"torch", "jax", "cupy"}


@pytest.mark.slow
def test_the_integration_of_jax_passes_in_full():
    # JAX compiles some 600 programs for the checks, which takes longer than all the others.
    quickly = {**os.environ, "XLA_FLAGS": "--xla_backend_optimization_level=0 --xla_cpu_parallel_codegen_split_count=1"}
    title, cells, counts, _ = command(
        "-m", "agauss.conformance", "agauss.integrations.jax:DiagonalGaussianDistribution", env=quickly
    )
    assert "on arrays of jax" in title
    assert [name for _, name, *_ in cells] == CHECKS
    assert {name: rest for result, name, *rest in cells if result != "pass" and name != CPU_AND_GPU} == {}
    assert ", 0 fail, " in counts


def test_the_arrays_are_by_default_those_that_the_class_is_written_for(capsys):
    assert library_of_class(Right) == "numpy"
    assert library_of_class(agt.DiagonalGaussianDistribution) == "torch"
    assert main(["agauss:DiagonalGaussianDistribution", "--arrays", "torch"]) == 0
    assert "on arrays of torch" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["agauss"], "module:Class must name a module and a class; got 'agauss'"),
        ([":Class"], "module:Class must name a module and a class; got ':Class'"),
        (["no_such_module:Class"], "cannot import no_such_module: ModuleNotFoundError: No module named"),
        (["raises_when_imported:Class"], "cannot import raises_when_imported: ValueError: first line"),
        (["exits_when_imported:Class"], "cannot import exits_when_imported: SystemExit: 0"),
        (["agauss:NoSuchClass"], "agauss has no class NoSuchClass"),
        (["agauss:kl"], "agauss has no class kl"),
        (["agauss:DiagonalGaussianDistribution", "--arrays", "cupy"], "cannot use cupy: ModuleNotFoundError: "),
    ],
    ids=lambda value: value[0].replace("/", "") if isinstance(value, list) else "",
)
def test_what_cannot_be_run_exits_with_2_and_one_line(arguments, error, tmp_path, monkeypatch, capsys):
    (tmp_path / "raises_when_imported.py").write_text("raise ValueError('first line\\nsecond line')")
    (tmp_path / "exits_when_imported.py").write_text("raise SystemExit(0)")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, "cupy", None)  # as if it were not installed
    with pytest.raises(SystemExit) as exit:
        main(arguments)
    out, err = capsys.readouterr()
    assert exit.value.code == 2
    assert out == ""
    assert err.startswith(f"python -m agauss.conformance: error: {error}")
    assert err.count("\n") == 1


@pytest.mark.parametrize(("arguments", "code"), [(["-h"], 0), ([], 2), (["a:B", "--arrays", "lists"], 2)])
def test_help_and_wrong_arguments(arguments, code, capsys):
    with pytest.raises(SystemExit) as exit:
        main(arguments)
    assert exit.value.code == code
    assert "usage: python -m agauss.conformance" in "".join(capsys.readouterr())


def test_a_long_finding_is_cut_and_the_columns_stay_aligned():
    lines = list(table([Row("a", "pass", "b", "c" * 200), Row("longer", "n/a", "", "")]))
    assert lines == ["      row     expected  came", "pass  a       b         " + "c" * 77 + "...", "n/a   longer"]
