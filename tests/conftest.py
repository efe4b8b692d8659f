"""Fixtures that several files use, and how two processes share the tests."""

import pytest
from quick import FEW

from agauss.operations import OPERATIONS


@pytest.fixture(scope="module")
def one_thread_of_torch():
    """Where arrays are small, and threads that wait for busy processors take the longest."""
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def dask_on_this_thread():
    dask = pytest.importorskip("dask")
    with dask.config.set(scheduler="synchronous"):
        yield


@pytest.fixture(scope="module", params=["shim", pytest.param("gpu", marks=pytest.mark.gpu)])
def device(request):
    """Where the CUDA kernels run."""
    import cuda_devices

    return {"shim": cuda_devices.shim, "gpu": cuda_devices.gpu}[request.param]()


@pytest.fixture(scope="module")
def shim():
    import cuda_devices

    return cuda_devices.shim()


def _operation(item):
    """The operation that a test's case is of, if it is one's."""
    for value in item.callspec.params.values():
        name = getattr(getattr(value, "op", None), "name", value)
        if isinstance(name, str):
            first = name.partition(" ")[0].removesuffix("_vjp")
            if first in OPERATIONS:
                return first
    return None


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(items):
    """Of a test marked in_turn(n), every run has a case in n of the FEW operations, such that each parameter comes up.
    With always="numpy", it has all of NumPy's cases too. The rest is for the night."""
    for item in items:
        mark = item.get_closest_marker("in_turn")
        if mark is None or item.callspec.params.get("library") == mark.kwargs.get("always", item):
            continue
        if sum(item.callspec.indices.values()) % mark.args[0] or _operation(item) not in (None, *FEW):
            item.add_marker("nightly")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """A stretch of files for each: what a test has compiled or worked out is there for its file's next one."""
    from xdist.scheduler import WorkStealingScheduling

    return WorkStealingScheduling(config, log)


@pytest.fixture(params=["loops", "form"])
def way(request, monkeypatch):
    """How passes on JAX arrays are compiled: by the loops, as on the CPU, or as where XLA cannot call them."""
    if request.param == "form":
        from agauss.backends.jax import primitive

        monkeypatch.setattr(primitive, "registered", lambda: False)
        primitive.compiled.cache_clear()
        yield "form"
        primitive.compiled.cache_clear()
    else:
        yield "loops"
