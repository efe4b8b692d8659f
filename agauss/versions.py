"""What agauss found on this machine, for bug reports."""

import os
import platform
import sys
from collections.abc import Callable, Iterator

PACKAGES = (
    "agauss",
    "numpy",
    "numba",
    "llvmlite",
    "array-api-compat",
    "torch",
    "jax",
    "dask",
    "cupy-cuda13x",
    "cupy-cuda12x",
    "ml_dtypes",
)


def show_versions() -> None:
    """Print the versions of agauss, of Python and of the array libraries, the threads, and the parts of CUDA found.

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
    from agauss.backends.cpu import threads

    print(f"threads          {threads.threads()} of {os.cpu_count()} processors, layer {threads.layer()}")
    for name, found in cuda_parts():
        print(f"{name:16} {found}")


def cuda_parts() -> Iterator[tuple[str, str]]:
    """What CuPy arrays need, and what of it was found."""
    try:
        import cupy
    except Exception as error:
        reason = "not installed" if isinstance(error, ModuleNotFoundError) else first_line(error)
        yield "CUDA", f"CuPy {reason}; agauss[cuda13] or agauss[cuda12] brings it"
        return
    yield "CUDA runtime", tried(lambda: number(cupy.cuda.runtime.runtimeGetVersion()))
    yield "CUDA driver", tried(lambda: number(cupy.cuda.runtime.driverGetVersion()))
    yield "NVRTC", tried(lambda: ".".join(map(str, cupy.cuda.nvrtc.getVersion())))
    count = tried(lambda: str(cupy.cuda.runtime.getDeviceCount()))
    if not count.isdigit() or count == "0":
        yield "GPU", "none" if count == "0" else count
        return
    for k in range(int(count)):
        properties = cupy.cuda.runtime.getDeviceProperties(k)
        capability = f"{properties['major']}.{properties['minor']}"
        yield f"GPU {k}", f"{properties['name'].decode()}, compute capability {capability}"


def number(version: int) -> str:
    """13000 is 13.0, and no driver at all is 0."""
    return f"{version // 1000}.{version % 1000 // 10}" if version else "none"


def tried(find: Callable[[], str]) -> str:
    try:
        return find()
    except Exception as error:
        return first_line(error)


def first_line(error: Exception) -> str:
    return f"not found: {str(error).strip().partition(chr(10))[0] or type(error).__name__}"
