"""The launcher and show_versions with a stand-in for CuPy that notes what it is asked for: no device is needed."""

import ctypes
import importlib
import sys
import threading
from contextlib import nullcontext
from functools import partial
from types import ModuleType, SimpleNamespace
from typing import NamedTuple

import cuda_shim
import numpy as np
import pytest
from cuda_devices import HostRuntime, host, over
from oracles import same_bits

import agauss as ag
from agauss import arrays, versions
from agauss.backends.cuda.backend import Backend
from agauss.backends.cuda.source import Spec

FLOATS = (("float32", 1),)
STD = Spec("map", "std", "float32", FLOATS, FLOATS, 1, 2, 4, True)


class Memory(NamedTuple):
    """A pointer into memory of some name."""

    name: str
    ptr: int
    told: list

    def __add__(self, offset):
        return self._replace(ptr=self.ptr + offset)

    def memset_async(self, value, size):
        self.told.append((self.ptr, value, size))


class FakeCupy(ModuleType):
    """Two devices, of which one is current."""

    def __init__(self):
        super().__init__("cupy")
        self.__version__ = "14.2.0"
        self.device, self.loaded, self.launched, self.capturing, self.cleared = 0, [], [], False, []
        self.ndarray = lambda shape, dtype, data: SimpleNamespace(data=data, itemsize=np.dtype(dtype).itemsize)
        self.empty = lambda shape, dtype: self.ndarray(shape, dtype, Memory("pool", 4096, self.cleared))
        self.zeros = lambda n, dtype: self.ndarray(n, dtype, Memory("pool", 1 << 20, self.cleared))
        self.cuda = SimpleNamespace(
            runtime=SimpleNamespace(
                getDevice=lambda: self.device,
                cudaDevAttrMultiProcessorCount=16,
                deviceGetAttribute=lambda attribute, device: {16: 100 + device}[attribute],
            ),
            Device=lambda: SimpleNamespace(compute_capability="90"),
            get_current_stream=lambda: SimpleNamespace(synchronize=lambda: None, is_capturing=lambda: self.capturing),
            malloc_async=lambda size: Memory(f"{size} bytes of a graph", 8192, self.cleared),
        )

    def RawModule(self, path):
        self.loaded.append((self.device, path))
        return SimpleNamespace(get_function=lambda name: self.kernel)

    def kernel(self, grid, block, args):
        """CuPy passes NumPy arrays by value, if they have one item."""
        (words,) = args
        assert words.size == 1
        words = (ctypes.c_int64 * 3).from_address(words.__array_interface__["data"][0])
        self.launched.append((self.device, grid, block, list(words)))


@pytest.fixture
def cupy(monkeypatch):
    fake = FakeCupy()
    monkeypatch.setitem(sys.modules, "cupy", fake)
    monkeypatch.delitem(sys.modules, "agauss.backends.cuda.device", raising=False)
    yield fake
    sys.modules.pop("agauss.backends.cuda.device", None)


@pytest.fixture
def runtime(cupy, monkeypatch):
    device = importlib.import_module("agauss.backends.cuda.device")  # anew, with the stand-in
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
    count = sys.modules["agauss.backends.cuda.device"].COUNTERS
    addresses = [runtime.partials(1)[2] for _ in range(count + 1)]
    assert addresses[0] == addresses[-1] == 1 << 20
    assert len(set(addresses)) == count
    assert all(address % 4 == 0 for address in addresses)


def test_a_captured_launch_has_partial_sums_and_a_counter_of_its_own(cupy, runtime):
    """They are the graph's, whose every launch clears the counter; the counters of other launches stay theirs."""
    room, partials, counter = runtime.partials(5)
    assert (room.data.name, partials, counter) == ("pool", 4096, 1 << 20)
    cupy.capturing = True
    assert runtime.scratch((3, 4), np.float32).data.name == "48 bytes of a graph"
    for _ in range(2):
        room, partials, counter = runtime.partials(5)
        assert (room.data.name, partials, counter) == ("48 bytes of a graph", 8192, 8192 + 40)
    assert cupy.cleared == [(8192 + 40, 0, 8)] * 2
    cupy.capturing = False
    assert runtime.partials(5)[2] == (1 << 20) + 4


def test_a_graph_captures_no_kernel_that_is_not_loaded(cupy, runtime):
    cupy.capturing = True
    with pytest.raises(RuntimeError, match="kernel of std must be loaded before"):
        runtime.launch(STD, 1, 256, np.arange(3))
    cupy.capturing = False
    runtime.launch(STD, 1, 256, np.arange(3))
    cupy.capturing = True
    runtime.launch(STD, 1, 256, np.arange(3))
    assert (len(cupy.loaded), len(cupy.launched)) == (1, 2)


@pytest.mark.parametrize("version", ["13.6.0", "13.0.0rc1", "9.0"])
def test_a_cupy_that_is_too_old_is_refused(cupy, version):
    cupy.__version__ = version
    with pytest.raises(ImportError, match=rf"needs CuPy 14 or later .* got CuPy {version}: pip install -U"):
        importlib.import_module("agauss.backends.cuda.device")


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


# CuPy's own arrays, over the host's memory


@pytest.fixture
def library(monkeypatch):
    """The library of CuPy's arrays, whose kernels run on the CPU."""
    if cuda_shim.COMPILER is None:
        pytest.skip("no g++ to run the kernels on the CPU with")
    found = arrays.library_of(over(np.zeros(1)))
    monkeypatch.setattr(found, "backend", Backend(HostRuntime()), raising=False)
    return found


def test_the_kernels_take_cupys_own_arrays(library):
    p = np.random.default_rng(0).standard_normal((3, 8, 20)).astype(np.float32)
    z, kl = ag.sample_and_kl(over(p), rng=7)
    for found, expected in zip((z, kl), ag.sample_and_kl(p, rng=7), strict=True):
        assert same_bits(host(found), expected)


@pytest.mark.parametrize("form", ["off", "steps"])
def test_cupys_arrays_of_misaligned_items_are_refused(library, form):
    """CuPy's own kernels would read them as if they were aligned, so a copy is not to be had either."""
    bytes_ = np.zeros(4 * 24 + 8, np.uint8)
    whole = np.zeros((4, 4), np.float32)
    a = np.ndarray((4, 4), np.float32, bytes_, 2 if form == "off" else 0, (24, 4) if form == "off" else (18, 4))
    assert ag.std(whole, out=a.copy()) is not None
    column = over(whole[..., None])
    calls = [
        ("CuPy arrays", lambda a: ag.std(a)),
        ("out", lambda a: ag.std(over(whole), out=a)),
        ("out", lambda a: ag.kl(column, column, axis=-1, out=a)),  # which CuPy would write
    ]
    for name, call in calls:
        with pytest.raises(ValueError, match=rf"^{name} .* multiples of the item's 4 bytes; got an address [02] bytes"):
            call(over(a))


class OnDevice:
    """An array that can be written where its device is current."""

    current = False

    def __init__(self):
        self.device, self.written = self, []

    def __enter__(self):
        self.current = True

    def __exit__(self, *_):
        self.current = False

    def __setitem__(self, place, value):
        self.written.append((self.current, value))


def test_out_is_written_on_its_own_device():
    out, result = OnDevice(), object()
    library = arrays.Library("cupy", None, None, fills=True)
    assert library.deliver(result, out) is out
    assert out.written == [(True, result)]


class Flushing(np.ndarray):
    """An array whose arithmetic takes subnormal numbers for 0, as CuPy's own does."""

    device = nullcontext()

    def __mul__(self, other):
        return np.where(np.abs(self) < np.finfo(self.dtype).tiny, 0, np.asarray(self)) * other


def test_a_copy_keeps_subnormal_numbers_and_shares_no_memory():
    xp = SimpleNamespace(broadcast_to=partial(np.broadcast_to, subok=True), astype=lambda x, dtype: x.astype(dtype))
    library = arrays.Library("cupy", xp, None, fills=True)
    x = np.array([1e-45, -1e-40, -0.0, np.nan], np.float32).view(Flushing)
    assert (x * 1.0)[0] == 0
    copy = library.copy(x, (2, 4))
    assert same_bits(np.asarray(copy), np.tile(np.asarray(x), (2, 1)))
    copy[...] = 1
    assert x[0] > 0


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
