"""A pass as a call by which XLA launches a CUDA kernel; knows no formula. cpu/xla_handler.py has what XLA calls."""

from collections.abc import Sequence
from functools import lru_cache

import jax
import numpy as np

from agauss.backends.cpu import xla
from agauss.backends.cpu import xla_frame as frame
from agauss.backends.cpu.xla import Array, Words
from agauss.backends.cuda import backend, driver, source
from agauss.backends.protocol import Pass, Shape

ECHO = f"""
struct Work {{ const long long* from; long long* to; }};
extern "C" __global__ void {source.ENTRY}(const __grid_constant__ Work work) {{ *work.to = *work.from; }}
"""


def echo() -> np.ndarray:
    """The attribute of a call that copies the first 64 bits of its argument to its result. An error says what lacks."""
    xla.on_devices(*map(driver.address_of, ("cuLaunchKernelEx", "cuMemsetD32Async")))
    head = {frame.KERNEL: xla.digest(*_loaded(ECHO, _device()[0])), frame.TURNS: 1, frame.BLOCKS: 1, frame.THREADS: 1}
    read, made = (Array.of((), np.dtype(np.float64), 0).words(slot) for slot in (0, 1))
    return xla.written(head, [read], [made], (0, 0))


def attribute(
    work: Pass,
    sources: Sequence[Array],
    sinks: Sequence[Array | None],
    total: Array | None,
    noise: Words | None,
    turns: int,
) -> tuple[np.ndarray, int] | None:
    """A call's attribute, and the words of one more result that it needs; None where there is nothing for a kernel."""
    place, chosen = None, ""
    if noise is not None:
        strides, chosen = noise.strides, "ids" if noise.ids else ""
        if turns > 1:  # turns are one more axis, whose places choose a key
            if noise.ids:
                return None
            axes = None if work.axes is None else tuple([axis + 1 for axis in work.axes])
            work, strides, chosen = work._replace(shape=(turns, *work.shape), axes=axes), (0, *strides), "keys"
        place = strides, noise.start % backend.MOST_NORMALS
    inputs = tuple([_form(a, work.shape, turns) for a in sources])
    outputs = tuple([None if a is None else _form(a, work.shape, turns) for a in sinks])
    launch = backend.prepare(work, inputs, outputs, place, chosen, noise is not None)
    if launch.tasks == 0 or len(launch.template) > frame.MOST_WORDS or not xla.has_room():
        return None
    template, slots = launch.template.copy(), iter(launch.addresses)
    read = [a.words(slot) for a, slot in zip(sources, slots, strict=False)]
    if noise is not None:
        template[launch.noise], template[backend.DRAW] = noise.start, noise.draw
        for slot, a in zip((backend.SEED_LOW, backend.SEED_HIGH, backend.STREAM), noise.words, strict=True):
            read.append(a.words(slot))
        if noise.ids is not None:
            read.append(noise.ids.words(backend.INDEX))
    made = [a.words(slot) for a, slot in zip([a for a in sinks if a is not None], slots, strict=True)]
    capability, processors = _device()
    head = {frame.KERNEL: xla.digest(*_kernel(launch.spec, capability)), frame.TURNS: 1}
    head |= {frame.BLOCKS: launch.blocks(processors), frame.THREADS: launch.threads}
    room = 0  # float64 numbers, the last of which is the counter
    if total is not None:
        made.append(total.words(backend.SUMS))
        if launch.partials:
            room = launch.partials + 1
            partials = Array.of((room,), np.dtype(np.float64), total.number + 1)
            made.append(partials.words(backend.PARTIALS))
            made.append(partials.part((launch.partials,), (1,), (1,)).words(backend.COUNTER))
            head[frame.COUNTER] = backend.COUNTER
    return xla.written(head, read, made, template), 2 * room


def _form(a: Array, whole: Shape, turns: int) -> backend.Form:
    """The form of an array with its turns, in a pass of a shape. XLA's own buffers are aligned."""
    shape, strides = a.shape, a.strides
    if turns > 1 and a.step:
        between = len(whole) - 1 - len(shape)
        shape, strides = (turns, *(1,) * between, *shape), (a.step, *(0,) * between, *strides)
    return shape, strides, a.dtype.name, a.offset % backend.ALIGNED


@lru_cache
def _device() -> tuple[int, int]:
    """The compute capability of all devices, as 90, and the multiprocessors of one."""
    devices = jax.local_devices(backend="cuda")
    capabilities = {int(str(d.compute_capability).replace(".", "")) for d in devices}
    if len(capabilities) > 1:
        raise NotImplementedError("devices of several kinds need several kernels")
    return capabilities.pop(), int(devices[0].core_count)


@lru_cache(maxsize=4096)
def _kernel(spec: source.Spec, capability: int) -> tuple[str, int]:
    return _loaded(source.source(spec), capability)


def _loaded(text: str, capability: int) -> tuple[str, int]:
    """The name and the handle of the kernel of a source."""
    cubin = source.cubin_file(text, source.architecture(capability))
    return cubin.stem, driver.loaded(cubin)
