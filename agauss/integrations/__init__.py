"""agauss where other frameworks are: torch, jax, autograd and dask, each imported by its own name; contain no maths."""

from importlib import import_module
from typing import Any


def need(package: str, extra: str) -> Any:
    """The package, or an error that says how to install it."""
    try:
        return import_module(package)
    except ImportError as error:
        raise ImportError(f'agauss.integrations.{extra} needs {package}: pip install "agauss[{extra}]"') from error


def __dir__() -> list[str]:
    return ["autograd", "dask", "jax", "torch"]
