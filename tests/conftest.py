"""Fixtures that several files use, and how two processes share the tests."""

import pytest


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


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(items):
    """Of a test marked in_turn(n), every run has a case in n, such that each parameter comes up, and the slow ones have
    another. With always="numpy", every run has all of NumPy's cases too."""
    for item in items:
        mark = item.get_closest_marker("in_turn")
        if mark is not None and mark.kwargs.get("always") not in item.callspec.params.values():
            turn = sum(item.callspec.indices.values()) % mark.args[0]
            if turn:
                item.add_marker("slow" if turn == 1 else "nightly")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """A stretch of files for each: what a test has compiled or worked out is there for its file's next one."""
    from xdist.scheduler import WorkStealingScheduling

    return WorkStealingScheduling(config, log)
