"""Fixtures that several files use, and how two processes share the tests."""

import gc
from collections import Counter

import pytest
from quick import FEW

from agauss.operations import OPERATIONS

gc.set_threshold(50_000, 20, 100)  # the compilers of Numba, JAX and PyTorch make many objects that stay


@pytest.fixture(scope="module")
def one_thread_of_torch():
    """Where arrays are small, and threads that wait for busy processors take the longest."""
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def double_precision_of_jax():
    jax = pytest.importorskip("jax")
    enable = jax.enable_x64 if hasattr(jax, "enable_x64") else jax.experimental.enable_x64  # JAX 0.4
    with enable(True):
        yield


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


def _has(item, names):
    """Whether all of the names, where there are any, are among the values of a case's parameters."""
    return names is not None and {*names} <= {v for v in item.callspec.params.values() if isinstance(v, str)}


def _parameters(item):
    return [(name, value if isinstance(value, str) else id(value)) for name, value in item.callspec.params.items()]


def _cover(cases):
    """As few of the cases as have each value of each parameter, spread evenly over the values."""
    chosen, used, left = [], Counter(), {case: _parameters(case) for case in cases}

    def worth(case):
        times = [used[value] for value in left[case]]
        return times.count(0), -sum(times)

    while left:
        best = max(left, key=worth)
        if worth(best)[0] == 0:
            break
        chosen.append(best)
        used.update(left.pop(best))
    return chosen


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(items):
    """Of a test marked in_turn(n), every run has so many cases of the FEW operations that each value of each parameter
    comes up, or one in n where there is one parameter. The rest is for the night. With always=("numpy", "float32"),
    every run has all cases of these parameters too, and with slow=("numpy",) those of this one are slow."""
    tests = {}
    for item in items:
        if item.get_closest_marker("in_turn"):
            tests.setdefault((item.parent, item.originalname), []).append(item)
    for cases in tests.values():
        mark = cases[0].get_closest_marker("in_turn")
        few = [case for case in cases if _operation(case) in (None, *FEW)]
        open_to_all = [c for c in few if not (c.get_closest_marker("nightly") or c.get_closest_marker("slow"))]
        chosen = _cover(open_to_all) if len(cases[0].callspec.params) > 1 else open_to_all[:: mark.args[0]]
        for case in cases:
            if case not in chosen and not _has(case, mark.kwargs.get("always")):
                case.add_marker("slow" if _has(case, mark.kwargs.get("slow")) else "nightly")


def pytest_collection_finish():
    """What is imported stays: the garbage collector need not go through it again and again."""
    gc.freeze()


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

        monkeypatch.setattr(primitive, "registered", lambda platform: False)
        primitive.compiled.cache_clear()
        yield "form"
        primitive.compiled.cache_clear()
    else:
        yield "loops"
