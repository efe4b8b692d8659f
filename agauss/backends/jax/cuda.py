"""A pass as a call by which XLA launches a CUDA kernel; knows no formula. cpu/xla_handler.py has what XLA calls."""

from collections.abc import Sequence
from functools import lru_cache

import jax
import numpy as np

from agauss.backends.cpu import xla
from agauss.backends.cpu import xla_frame as frame
from agauss.backends.cpu.xla import Array, Words
from agauss.backends.cuda import backend, driver, source
from agauss.backends.protocol import Pass


def echo() -> np.ndarray:
    """The attribute of a call that copies the first 64 bits of its argument to its result. An error says what lacks."""
    capability, _ = _device()
    source.architecture(capability)
    xla.on_devices(*map(driver.address_of, ("cuLaunchKernelEx", "cuMemsetD32Async", "cuMemcpyDtoDAsync_v2")))
    return xla.written({frame.BLOCKS: 1}, [], [], ())


def attribute(
    work: Pass,
    sources: Sequence[Array],
    sinks: Sequence[Array | None],
    total: Array | None,
    noise: Words | None,
    turns: int,
) -> tuple[np.ndarray, int] | None:
    """A call's attribute, and the words of one more result that it needs; None where there is nothing for a kernel."""
    place = None if noise is None else (noise.strides, noise.start % backend.MOST_NORMALS)
    forms = tuple(map(_form, sources)), tuple([None if a is None else _form(a) for a in sinks])
    indexed, pointed = noise is not None and noise.ids is not None, noise is not None
    launch = backend.prepare(work, *forms, place, indexed, pointed)
    if launch.tasks == 0 or len(launch.template) > frame.MOST_WORDS:
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
    head = {frame.KERNEL: xla.digest(*_kernel(launch.spec, capability)), frame.TURNS: turns}
    head |= {frame.BLOCKS: launch.blocks(processors), frame.THREADS: launch.threads}
    if total is None:
        return xla.written(head, read, made, template), 0
    made.append(total.words(backend.SUMS))
    if not launch.partials:
        return xla.written(head, read, made, template), 0
    room = Array.of((launch.partials + 1,), np.dtype(np.float64), total.number + 1)
    made += [room.words(backend.PARTIALS), room.part((launch.partials,), (1,), (1,)).words(backend.COUNTER)]
    head[frame.COUNTER] = backend.COUNTER
    return xla.written(head, read, made, template), 2 * (launch.partials + 1)


def _form(a: Array) -> backend.Form:
    """XLA's own buffers are aligned; the array is, where it begins and each turn's steps are whole vectors."""
    return a.shape, a.strides, a.dtype.name, (a.offset | a.step) % backend.ALIGNED


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
    """The digest and the handle of a kernel."""
    cubin = source.cubin_file(source.source(spec), source.architecture(capability))
    return cubin.stem, driver.loaded(cubin)
