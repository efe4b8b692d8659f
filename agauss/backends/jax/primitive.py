"""A pass as a primitive of JAX, which it compiles and maps; knows no formula and no derivative.

On the CPU it is one call of the Numba loops, which XLA makes without Python (cpu/xla.py). On a CUDA device it is the
launch of a kernel (cuda.py). Elsewhere, and where a call cannot be made, it is the array-API form.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from threading import Lock
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Primitive
from jax.interpreters import batching, mlir

from agauss.backends.jax.call import Call
from agauss.backends.jax.form import form
from agauss.backends.strides import row_major

TARGET = "agauss_pass"


def primitive(name: str, function: Callable[..., Any]) -> Any:
    """A primitive that is a function with the results of a call, and that eager code runs compiled."""

    def abstract(*operands: Any, call: Call, **params: Any) -> list[Any]:
        if any(
            not x.sharding.mesh.empty for x in operands if hasattr(x, "sharding")
        ):  # types say where arrays are, too
            return list(jax.make_jaxpr(partial(function, call=call, **params))(*operands).out_avals)
        return [jax.core.ShapedArray(shape, dtype) for shape, dtype in call.results()]

    made = Primitive(name)
    made.multiple_results = True
    made.def_abstract_eval(abstract)
    made.def_impl(lambda *operands, **params: compiled(made, **params)(*operands))
    mlir.register_lowering(made, mlir.lower_fun(function, multiple_results=True))
    return made


@lru_cache(maxsize=4096)
def compiled(made: Any, **params: Any) -> Any:
    return jax.jit(partial(made.bind, **params))


_by_form = mlir.lower_fun(form, multiple_results=True)


def _lowered(ctx: Any, *operands: Any, call: Call, platform: str) -> Any:
    """By the loops or a kernel where that can be, and else by the form."""
    found = _attribute(ctx, operands, call, platform) if _one_device(ctx) and registered(platform) else None
    if found is None:
        return _by_form(ctx, *operands, call=call)
    taken, shapes, attribute, scratch = found
    avals = [jax.core.ShapedArray(shape, x.dtype) for shape, x in zip(shapes, ctx.avals_in, strict=True)]
    results = list(ctx.avals_out)
    if scratch:
        results.append(jax.core.ShapedArray((scratch,), np.dtype(np.uint32)))
    ctx = ctx.replace(avals_in=avals, avals_out=results)
    return jax.ffi.ffi_lowering(TARGET)(ctx, *taken, work=attribute)[: len(call.results())]


def _calls(platform: str) -> Any:
    """What makes calls for a platform of JAX's."""
    if platform == "cpu":
        from agauss.backends.cpu import xla

        return xla
    from agauss.backends.jax import cuda

    return cuda


def _attribute(ctx: Any, operands: Sequence[Any], call: Call, platform: str) -> Any:
    """The operands that XLA is to hand over, their shapes, and what `attribute` of cpu/xla.py or of cuda.py says of the
    call."""
    from agauss.backends.cpu.xla import Array, Words

    taken, shapes = list(operands), [x.shape for x in ctx.avals_in]
    turning = call.turning or (False,) * len(taken)
    inputs = []
    for k, (x, turned) in enumerate(zip(ctx.avals_in, turning, strict=True)):
        found = Array.of(x.shape[turned:], np.dtype(x.dtype), k, turned)
        part = _part(operands[k]) if k < len(call.split) and not turned else None
        if part is not None:  # is read where it lies, without a copy
            taken[k], shapes[k], starts, steps = part
            found = Array.of(shapes[k], found.dtype, k).part(starts, x.shape, steps)
        inputs.append(found)
    sources: list[Any] = []
    for x, axis in zip(call.arrays(inputs), call.split, strict=True):
        sources += [x] if axis is None else x.halves(axis)
    noise = None
    if call.noise is not None:
        strides, start, draw = call.noise
        words = inputs[len(call.split) : len(call.split) + 3]
        ids = inputs[-1] if call.indexed else None
        noise = Words(strides or row_major(call.work.shape), start, draw, words, ids)
    lead = 1 if call.turns else 0
    outs = iter([Array.of(shape[lead:], dtype, k, bool(lead)) for k, (shape, dtype) in enumerate(call.results())])
    joined, sinks = dict(call.joined), []  # type: ignore[var-annotated]
    for k, dtype in enumerate(call.work.dtypes):
        if k - 1 not in joined:
            sinks += [None] if dtype is None else next(outs).halves(joined[k]) if k in joined else [next(outs)]
    total = next(outs, None)
    made = _calls(platform).attribute(call.work, sources, sinks, total, noise, call.turns or 1)
    return None if made is None else (taken, shapes, *made)


def _part(value: Any) -> tuple[Any, ...] | None:
    """Of an operand that is a slice: of what it is one, the shape of that, the starts and the steps."""
    try:
        slicing = value.owner
        if slicing.name != "stablehlo.slice":
            return None
        whole = slicing.operands[0]
        starts, steps = (tuple(slicing.attributes[name]) for name in ("start_indices", "strides"))
        return whole, tuple(whole.type.shape), starts, steps
    except (AttributeError, TypeError, ValueError):  # JAX's values have changed, or this is an argument
        return None


def _one_device(ctx: Any) -> bool:
    """Whether what is compiled runs here, on whole arrays or on a device's own parts."""
    module = ctx.module_context
    context = module.axis_context
    if module.lowering_parameters.for_export or len(module.platforms) > 1:
        return False
    mesh = getattr(context, "mesh", None)
    if mesh is not None:
        return bool(context.manual_axes == frozenset(mesh.axis_names))
    return getattr(context, "num_devices", 1) == 1


_registering = Lock()


def registered(platform: str) -> bool:
    """Whether XLA calls the loops, or launches kernels, here."""
    with _registering:
        return _tried(platform)


@lru_cache
def _tried(platform: str) -> bool:
    """Try it once: where either side is of another version, or lacks what it needs, the form is there."""
    from agauss.backends.cpu import xla

    def echoes() -> bool:
        """On a thread of its own, for this one may be tracing."""
        given = np.arange(1, 5, dtype=np.float32)
        call = jax.ffi.ffi_call(TARGET, jax.ShapeDtypeStruct((2,), np.float32))
        with jax.default_device(jax.local_devices(backend=platform)[0]):
            return list(np.asarray(jax.jit(partial(call, work=_calls(platform).echo()))(given))) == [1, 2]

    try:
        name = {"cpu": "cpu", "cuda": "CUDA"}[platform]
        jax.ffi.register_ffi_target(TARGET, jax.ffi.pycapsule(xla.handler()), platform=name, api_version=1)
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(echoes).result()
    except Exception:
        return False


def _mapped(operands: Sequence[Any], dims: Sequence[Any], *, call: Call) -> tuple[Any, Any]:
    """Under vmap: arrays have one more axis. For ids and keys that are mapped over there is a turn each."""
    extent = next(x.shape[d] for x, d in zip(operands, dims, strict=True) if d is not None)
    operands = [x if d is None else jnp.moveaxis(x, d, 0) for x, d in zip(operands, dims, strict=True)]
    mapped = tuple([d is not None for d in dims])
    n = len(call.arrays(operands))
    if extent == 0 and (call.turns or call.indexed or any(mapped[n:])):  # no turn
        found = [jnp.zeros((0, *shape), dtype) for shape, dtype in call.results()]
    elif call.turns:  # turns of turns
        both = [a or b for a, b in zip(mapped, call.turning, strict=True)]
        for k, x in enumerate(operands):
            if both[k]:
                x = x if mapped[k] else x[None]
                x = x if call.turning[k] else x[:, None]
                x = jnp.broadcast_to(x, (extent, call.turns, *x.shape[2:]))
                operands[k] = jnp.reshape(x, (extent * call.turns, *x.shape[2:]))
        found = pass_p.bind(*operands, call=call._replace(turning=tuple(both), turns=extent * call.turns))
        found = [jnp.reshape(x, (extent, call.turns, *x.shape[1:])) for x in found]
    elif call.indexed or any(mapped[n:]):
        if any(mapped[n : n + 3]):  # all words of a key then are, for a CUDA kernel has an index for all three
            operands[n : n + 3] = [jnp.broadcast_to(x, (extent,)) for x in operands[n : n + 3]]
            mapped = (*mapped[:n], True, True, True, *mapped[n + 3 :])
        found = pass_p.bind(*operands, call=call._replace(turning=mapped, turns=extent))
    else:
        work, rank = call.work, len(call.work.shape)
        for k in range(n):
            x = operands[k]
            if mapped[k]:  # extents of 1 in between, for axes are counted from the end
                operands[k] = jnp.reshape(x, (extent, *(1,) * (rank + 1 - x.ndim), *x.shape[1:]))
        axes = None if work.axes is None else tuple([axis + 1 for axis in work.axes])
        noise = call.noise and ((0, *(call.noise[0] or row_major(work.shape))), *call.noise[1:])
        work = work._replace(shape=(extent, *work.shape), axes=axes)
        found = pass_p.bind(*operands, call=call._replace(work=work, noise=noise))
    return found, [0] * len(found)


pass_p = primitive("agauss_pass", form)
for each in ("cpu", "cuda"):
    rule = partial(_lowered, platform=each)
    try:  # not out of a function that JAX keeps, where slices are not to be seen
        mlir.register_lowering(pass_p, rule, platform=each, cacheable=False)
    except TypeError:  # an older JAX, which keeps none
        mlir.register_lowering(pass_p, rule, platform=each)
batching.primitive_batchers[pass_p] = _mapped
