"""The launcher and show_versions with a stand-in for CuPy that notes what it is asked for: no device is needed."""

import ctypes
import importlib
import sys
import threading
from contextlib import nullcontext
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

import agauss as ag
from agauss import versions
from agauss.cuda.source import Spec

FLOATS = (("float32", 1),)
STD = Spec("map", "std", "float32", FLOATS, FLOATS, 1, 2, 4, True)


class Pointer:
    def __init__(self, address):
        self.address = address


class FakeCupy(ModuleType):
    """Two devices, of which one is current."""

    def __init__(self):
        super().__init__("cupy")
        self.device, self.loaded, self.launched = 0, [], []
        self.zeros = lambda n, dtype: SimpleNamespace(data=SimpleNamespace(ptr=1 << 20), itemsize=4)
        self.cuda = SimpleNamespace(
            runtime=SimpleNamespace(
                getDevice=lambda: self.device,
                cudaDevAttrMultiProcessorCount=16,
                deviceGetAttribute=lambda attribute, device: {16: 100 + device}[attribute],
            ),
            Device=lambda: SimpleNamespace(compute_capability="90"),
            get_current_stream=lambda: SimpleNamespace(synchronize=lambda: None),
        )

    def RawModule(self, path):
        self.loaded.append((self.device, path))
        return SimpleNamespace(get_function=lambda name: self.kernel)

    def kernel(self, grid, block, args):
        words = (ctypes.c_int64 * 3).from_address(args[0].address)
        self.launched.append((self.device, grid, block, list(words)))


@pytest.fixture
def cupy(monkeypatch):
    fake, function = FakeCupy(), ModuleType("cupy.cuda.function")
    function.CPointer = Pointer
    for name, module in (("cupy", fake), ("cupy.cuda", ModuleType("cupy.cuda")), ("cupy.cuda.function", function)):
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.delitem(sys.modules, "agauss.cuda.device", raising=False)
    yield fake
    sys.modules.pop("agauss.cuda.device", None)


@pytest.fixture
def runtime(cupy, monkeypatch):
    device = importlib.import_module("agauss.cuda.device")  # anew, with the stand-in
    monkeypatch.setattr(device, "cubin_file", lambda text, arch: f"{arch}: {'agauss::std' in text}")
    monkeypatch.setattr(device, "architecture", lambda capability: f"sm_{capability}")
    return device.CupyRuntime()


def test_a_kernel_is_loaded_once_on_each_device_and_given_its_words(cupy, runtime):
    for device in (0, 1, 0, 1):
        cupy.device = device
        runtime.launch(STD, 7, 256, np.array([1, 2, device]))
    assert cupy.loaded == [(0, "sm_90: True"), (1, "sm_90: True")]
    assert cupy.launched == [(device, (7,), (256,), [1, 2, device]) for device in (0, 1, 0, 1)]


def test_threads_that_launch_at_once_load_a_kernel_once(cupy, runtime):
    start = threading.Barrier(8)

    def launch():
        start.wait()
        runtime.launch(STD, 1, 256, np.arange(3))

    threads = [threading.Thread(target=launch) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(cupy.loaded) == 1
    assert len(cupy.launched) == 8


def test_launches_take_turns_at_the_counters(runtime):
    count = sys.modules["agauss.cuda.device"].COUNTERS
    addresses = [runtime.counter() for _ in range(count + 1)]
    assert addresses[0] == addresses[-1] == 1 << 20
    assert len(set(addresses)) == count
    assert all(address % 4 == 0 for address in addresses)


def test_each_device_tells_its_own_processors(cupy, runtime):
    assert runtime.processors() == 100
    cupy.device = 1
    assert runtime.processors() == 101


def test_a_generator_of_cupys_is_accepted_and_advanced_once():
    class Generator:
        drawn = 0

        def integers(self, low, high, dtype, endpoint):
            assert (low, high, dtype, endpoint) == (0, 2**64 - 1, "uint64", True)
            self.drawn += 1
            return np.asarray(2**64 - 5, np.uint64)

    Generator.__module__ = "cupy.random._generator_api"
    rng = Generator()
    assert (ag.random.normal(3, rng=rng) == ag.random.normal(3, rng=2**64 - 5)).all()
    assert rng.drawn == 1


# show_versions


def test_versions_tell_that_cupy_is_missing(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "cupy", None)
    ag.show_versions()
    assert "CUDA             CuPy not installed; agauss[cuda13] or agauss[cuda12] brings it" in capsys.readouterr().out


def test_versions_tell_the_parts_of_cuda_and_the_devices(cupy):
    cupy.cuda.runtime = SimpleNamespace(
        runtimeGetVersion=lambda: 13000,
        driverGetVersion=lambda: 13020,
        getDeviceCount=lambda: 1,
        getDeviceProperties=lambda k: {"name": b"Big GPU", "major": 9, "minor": 0},
    )
    cupy.cuda.nvrtc = SimpleNamespace(getVersion=lambda: (13, 0))
    assert dict(versions.cuda_parts()) == {
        "CUDA runtime": "13.0",
        "CUDA driver": "13.2",
        "NVRTC": "13.0",
        "GPU 0": "Big GPU, compute capability 9.0",
    }


def test_versions_tell_why_a_part_is_not_found(cupy):
    def fails():
        raise RuntimeError("no driver\nand more")

    cupy.cuda.runtime = SimpleNamespace(runtimeGetVersion=fails, driverGetVersion=lambda: 0, getDeviceCount=fails)
    cupy.cuda.nvrtc = nullcontext()
    found = dict(versions.cuda_parts())
    assert found["CUDA runtime"] == found["GPU"] == "not found: no driver"
    assert found["CUDA driver"] == "none"
    assert found["NVRTC"].startswith("not found: ")
