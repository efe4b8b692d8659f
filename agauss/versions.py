"""What agauss found on this machine, for bug reports."""

import os
import platform
import sys

PACKAGES = ("agauss", "numpy", "numba", "llvmlite", "array-api-compat", "torch", "jax", "dask", "cupy", "ml_dtypes")


def show_versions() -> None:
    """Print the versions of agauss, of Python and of the array libraries, the processor and the threads.

    Examples
    --------
    >>> import agauss as ag
    >>> ag.show_versions()  # doctest: +SKIP
    """
    import importlib.metadata  # slow to import, and wanted here alone

    print(f"python           {sys.version.split()[0]} ({sys.platform}, {platform.machine()})")
    for name in PACKAGES:
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            version = "not installed"
        print(f"{name:16} {version}")
    from agauss.cpu import launch

    print(f"threads          {launch.threads()} of {os.cpu_count()} processors, layer {launch.layer()}")
    print("GPU              not used: CuPy arrays run on the array-API form")
