"""agauss where other frameworks are: torch, jax, autograd and dask, each imported by its own name; contain no maths."""

from importlib import import_module
from typing import Any


def need(package: str, module: str, *extras: str) -> Any:
    """The package, or an error that says how to install it: by the module's own extra, if by no other."""
    try:
        return import_module(package)
    except ImportError as error:
        ways = " or ".join([f'"agauss[{extra}]"' for extra in extras or (module,)])
        raise ImportError(f"agauss.integrations.{module} needs {package}: pip install {ways}") from error


def __dir__() -> list[str]:
    return ["autograd", "dask", "jax", "torch"]
