"""What type checkers tell a user of the public functions: tests/typed_program.py holds, and its errors are errors."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PROGRAM = TESTS / "typed_program.py"
# agauss as an installed package is read; what only its backends import says nothing to a user, and takes long to read.
MYPY = """
[mypy]
strict = true
follow_imports = silent
[mypy-numba.*,llvmlite.*,dask.*,jax.*,cupy.*,array_api_compat.*,ml_dtypes.*]
follow_imports = skip
ignore_missing_imports = true
"""
# PyTorch takes mypy half a minute: as much of it as the program needs.
TORCH = """
from typing import Any
class Tensor:
    shape: tuple[int, ...]
    dtype: Any
    def chunk(self, chunks: int, dim: int = 0) -> tuple[Tensor, ...]: ...
"""


def checked_by_mypy(folder):
    (folder / "mypy.ini").write_text(MYPY)
    command = [sys.executable, "-m", "mypy", "--config-file", folder / "mypy.ini", "--cache-dir", folder / "cache"]
    paths = {"MYPYPATH": f"{folder}:{TESTS.parent}"}
    return subprocess.run([*command, PROGRAM], env=paths, cwd=folder, capture_output=True, text=True, check=False)


def test_mypy_strict_accepts_a_users_program(tmp_path):
    pytest.importorskip("mypy")
    (tmp_path / "torch.pyi").write_text(TORCH)
    done = checked_by_mypy(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_mypy_strict_accepts_a_users_program_with_pytorchs_own_types(tmp_path):
    pytest.importorskip("mypy")
    done = checked_by_mypy(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_pyright_strict_accepts_a_users_program(tmp_path):
    """By basedpyright, whose wheel has Node.js in it."""
    pytest.importorskip("basedpyright")
    settings = {
        "include": [str(PROGRAM)],
        "extraPaths": [str(TESTS.parent)],
        "typeCheckingMode": "strict",
        "enableTypeIgnoreComments": False,  # its own comments count
        "reportUnnecessaryTypeIgnoreComment": True,
    }
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    command = [sys.executable, "-m", "basedpyright", "--pythonpath", sys.executable, "--project", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
