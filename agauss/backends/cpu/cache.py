"""Machine code on disk: a file for each kernel, named by a digest of all that it is made from; knows no kernel.

A file is written beside its place and renamed, so it is there whole or not at all, whoever else is writing. It holds a
digest of the rest; the function's name in the machine code, which contains the file's own; the names of what the
machine code calls; and an object file.
"""

import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from types import CodeType
from typing import Any, NamedTuple
from uuid import uuid4

import llvmlite
import llvmlite.binding as llvm
import numba
import numpy as np
from numba.core.registry import cpu_target
from numba.core.runtime.nrt import rtsys

# What machine code is made from: all of ours that kernels.py imports.
MODULES = tuple(f"agauss.maths.{name}" for name in ("coefficients", "formulas", "noise", "parts", "sums")) + tuple(
    f"agauss.backends.cpu.{name}"
    for name in (
        "cache",
        "calm",
        "descriptor",
        "halves",
        "kernels",
        "loops",
        "mathlib",
        "memory",
        "normals",
        "vectors",
        "walk",
    )
)
# Numba's settings that change machine code.
SETTINGS = (
    "BOUNDSCHECK",
    "CPU_FEATURES",
    "CPU_NAME",
    "DEBUGINFO_DEFAULT",
    "ENABLE_AVX",
    "LLVM_REFPRUNE_FLAGS",
    "LLVM_REFPRUNE_PASS",
    "LOOP_VECTORIZE",
    "OPT",
    "SLP_VECTORIZE",
    "USING_SVML",
)
CHECKSUM = sha256().digest_size


class Function(NamedTuple):
    """A function of machine code."""

    address: int
    owner: Any  # must be kept as long as the address


def key(*what: object) -> str:
    """The name of the machine code that is made of `what` here: the same in every process, and of nothing else."""
    return f"agauss_{sha256(repr((what, _surroundings(), source_digest())).encode()).hexdigest()[:32]}"


def load(key: str) -> Function | None:
    """The function of that key, where a file has it. A file with any fault is removed."""
    for folder in _folders():
        file = folder / key
        try:
            data = file.read_bytes()
        except OSError:
            continue
        try:
            return _function(key, data)
        except Exception:  # cut off, altered, or of a form that LLVM does not take: it is compiled anew
            with suppress(OSError):
                file.unlink()
    return None


def save(key: str, compiled: Any) -> None:
    """Keep a compiled cfunc, whose name contains the key, in the first folder that can be written, if there is one."""
    try:
        content = _content(compiled)
    except Exception:  # Numba has changed where it is not public
        return
    for folder in _folders():
        with suppress(OSError):
            _write(folder / key, sha256(content).digest() + content)
            return


def _content(compiled: Any) -> bytes:
    library = compiled._library
    if library.has_dynamic_globals:
        raise ValueError("addresses of this process are in the machine code")
    module = library._final_module
    called = [x.name for x in (*module.functions, *module.global_variables) if x.is_declaration]
    called = [name for name in called if not name.startswith("llvm.")]
    return "\n".join((compiled.native_name, *called, "\n")).encode() + bytes(library._get_compiled_object())


def _function(key: str, data: bytes) -> Function:
    checksum, content = data[:CHECKSUM], data[CHECKSUM:]
    if sha256(content).digest() != checksum:
        raise ValueError("the file is not what was written")
    head, _, code = content.partition(b"\n\n")
    name, *called = head.decode().split("\n")
    rtsys.initialize(cpu_target.target_context)  # makes Numba's own functions known to LLVM,
    if not all(map(llvm.address_of_symbol, called)):  # which ends the process where one is not
        raise ValueError("the machine code calls what is not there")
    machine = llvm.Target.from_triple(llvm.get_process_triple()).create_target_machine(jit=True)
    # An engine for each: the functions inside have names that mean something else in another process.
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    address = engine.get_function_address(name)
    if key not in name or not address:
        raise ValueError("the machine code is another function's")
    engine.finalize_object()
    return Function(address, engine)


def _write(file: Path, data: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f"{file.name}.{uuid4().hex}")
    try:
        temporary.write_bytes(data)
        temporary.replace(file)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def _folders() -> Iterator[Path]:
    """Where machine code may be, and is kept if it can be: where Numba is told to, or with Python's, or the user's."""
    told = numba.config.CACHE_DIR  # type: ignore[attr-defined]
    if told:
        yield Path(told, "agauss")
        return
    yield Path(__file__).parent / "__pycache__"
    usual = {"win32": os.environ.get("LOCALAPPDATA", ""), "darwin": "~/Library/Caches"}.get(sys.platform, "~/.cache")
    user = os.path.expanduser(os.environ.get("XDG_CACHE_HOME") or usual)
    if os.path.isabs(user):  # or there is no home
        yield Path(user, "agauss")


@lru_cache
def _surroundings() -> tuple[object, ...]:
    """All but the sources that machine code depends on."""
    try:
        features = llvm.get_host_cpu_features().flatten()
    except RuntimeError:  # LLVM does not know them here
        features = ""
    versions = (sys.implementation.cache_tag, numba.__version__, llvmlite.__version__, np.__version__)
    settings = [str(getattr(numba.config, name, None)) for name in SETTINGS]
    return (*versions, llvm.get_process_triple(), llvm.get_host_cpu_name(), features, *settings)


@lru_cache
def source_digest() -> str:
    """Of every module that machine code is made from."""
    return sha256(b"".join(source(name) for name in MODULES)).hexdigest()


def source(name: str) -> bytes:
    """A module's file, which may be in a zip or be compiled; its code where a frozen application has no files."""
    spec: Any = importlib.util.find_spec(name)
    try:
        return bytes(spec.loader.get_data(spec.origin))
    except (AttributeError, OSError):
        return repr(_parts(spec.loader.get_code(name))).encode()


def _parts(code: CodeType) -> tuple[object, ...]:
    """What a code object does, in a form that has the same repr in every process."""
    constants = [_parts(c) if isinstance(c, CodeType) else c for c in code.co_consts]
    return code.co_code, code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars, constants
