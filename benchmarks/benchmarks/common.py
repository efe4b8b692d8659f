"""The work, the inputs and the backends that every benchmark shares, and the interleaved clock; knows no peer."""

import inspect
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from importlib import import_module
from statistics import median
from typing import Any

import array_api_compat
import numpy as np

import agauss as ag
from agauss.arrays import library_of
from agauss.backends.array_api.backend import Reference
from agauss.operations import OPERATIONS, Operation, Result

MAIN, LARGE = "256x8x64x64", "1024x8x64x64"  # latents of 512 x 512 images, as Stable Diffusion has them
SHAPES = [
    "128x16",  # the digits example's VAE
    MAIN,
    "1x32x13x60x90",  # CogVideoX: one video's latents
    "8x128x2048",  # audio
    "1000000x8",  # tiny rows
    "1x8000000",  # one huge row
]
DTYPES = ["float16", "bfloat16", "float32", "float64"]
BOUNDS = (-30.0, 20.0)
ROUNDS = 15  # of the interleaved clock
RATIO_DTYPES = ["float32", "float64"]
if os.environ.get("AGAUSS_BENCHMARKS") == "quick":  # to see that each runs, not how fast
    MAIN = LARGE = "16x8x8x8"
    SHAPES, DTYPES, RATIO_DTYPES = [MAIN], ["float16"], ["float32"]
    ROUNDS = 1


class Inputs:
    """Everything that any of the work reads or writes, beside parameters; outputs are touched already.

    `module` is that whose functions do the work; where it gives fresh arrays alone, `fills` is to be false.
    """

    def __init__(self, library: Any, parameters: Any, parameters2: Any, module: Any = ag, fills: bool = True) -> None:
        xp = array_api_compat.array_namespace(parameters)
        sizes = tuple(parameters.shape)
        channels = sizes[1] // 2
        self.xp, self.agauss = library, module
        self.parameters, self.parameters2 = parameters, parameters2
        self.mean, self.logvar = self.parameters[:, :channels], self.parameters[:, channels:]
        self.mean2, self.logvar2 = self.parameters2[:, :channels], self.parameters2[:, channels:]
        self.axes = tuple(range(1, len(sizes)))
        self.x, self.d_z = (xp.asarray(half, copy=True) for half in (self.mean2, self.logvar2))
        self.dtype = parameters.dtype
        wide = self.dtype if self.dtype == xp.float64 else xp.float32
        self.d_kl = xp.full(sizes[:1], 0.1, dtype=wide, **_on(parameters))
        self.z = xp.asarray(self.x, copy=True)
        self.logits, self.pixels = self.mean, xp.abs(self.x) % 1
        self.gradient = xp.asarray(self.parameters, copy=True) if fills else None
        self.into_z = {"out": self.z} if fills else {}
        self.q = module.DiagonalGaussianDistribution(self.parameters)
        self.q2 = module.DiagonalGaussianDistribution(self.parameters2)


def _on(array: Any) -> dict[str, Any]:
    device = array_api_compat.device(array)  # None: a tracer's
    return {} if device is None else {"device": device}


def inputs(shape: str, dtype: str, xp: Any = np, **options: Any) -> Inputs:
    """The same numbers for every library."""
    sizes = tuple(int(n) for n in shape.split("x"))
    made = xp.asarray(np.random.default_rng(0).standard_normal(sizes, np.float32))
    parameters, parameters2 = (
        array_api_compat.array_namespace(made).astype(array, dtype_of(dtype, xp)) for array in (made, made * 0.5)
    )
    return Inputs(xp, parameters, parameters2, **options)


def dtype_of(name: str, xp: Any = np) -> Any:
    if xp is np and name == "bfloat16":
        return np.dtype(imported("ml_dtypes").bfloat16)
    return getattr(xp, name)


def forward_and_backward(a: Inputs) -> Any:
    forward = a.agauss.sample_and_kl(a.parameters, rng=7, out=a.z)
    return *forward, a.agauss.sample_and_kl_vjp(a.parameters, cotangent=(a.d_z, a.d_kl), rng=7, out=a.gradient)


OURS: dict[str, Callable[[Inputs], Any]] = {
    "kl": lambda a: a.q.kl(),
    "kl of two": lambda a: a.q.kl(a.q2),
    "nll": lambda a: a.q.nll(a.x),
    "noise": lambda a: ag.random.normal(tuple(a.x.shape), rng=7, dtype=a.dtype, xp=a.xp, out=a.z),
    "sample": lambda a: a.q.sample(rng=7, **a.into_z),
    "sample and kl": lambda a: a.q.sample_and_kl(rng=7, **a.into_z),
    "forward and backward": forward_and_backward,
    "kl vjp": lambda a: ag.kl_vjp(a.mean, a.logvar, cotangent=a.d_kl, axis=a.axes, bounds=BOUNDS),
    "kl of two vjp": lambda a: ag.kl_vjp(
        a.mean, a.logvar, a.mean2, a.logvar2, cotangent=a.d_kl, axis=a.axes, bounds=BOUNDS, bounds2=BOUNDS
    ),
    "nll vjp": lambda a: ag.nll_vjp(a.x, a.mean, a.logvar, cotangent=a.d_kl, axis=a.axes, bounds=BOUNDS),
    "sample vjp": lambda a: ag.sample_vjp(a.mean, a.logvar, cotangent=a.d_z, rng=7, bounds=BOUNDS),
    "sample and kl vjp": lambda a: ag.sample_and_kl_vjp(a.parameters, cotangent=(a.d_z, a.d_kl), rng=7, out=a.gradient),
}
WORKS = list(OURS)  # what the pages tell, and peers are beside


def _all_of(op: Operation, vjp: bool, a: Inputs) -> Any:
    """An operation of the table, or its vjp, as its public function has it."""
    function = getattr(a.agauss, f"{op.function}_vjp" if vjp else op.function)
    takes = inspect.signature(function).parameters
    options = {"axis": a.axes, "bounds": BOUNDS, "rng": 7}
    if "logvar2" in op.arguments:
        options["bounds2"] = BOUNDS
    chosen = {name: option for name, option in options.items() if name in takes} | PARAMETERS.get(op.name, {})
    if vjp:
        (kind,) = op.results.values()
        chosen["cotangent"] = a.d_kl if kind is Result.SUM else 0.5
    taken = [own for own, name in zip(inputs_of(op), op.arguments, strict=True) if name in takes]
    return function(*(getattr(a, name) for name in taken), **chosen)


def inputs_of(op: Operation) -> list[str]:
    """The names of the inputs that an operation takes."""
    own = PIXELS.get(op.name, {})
    return [own.get(name, name.removesuffix("1")) for name in op.arguments]


PARAMETERS = {
    "renyi": {"alpha": 0.5},
    "renyi_above_one": {"alpha": 2.0},
    "discretized_nll": {"width": 2 / 255, "low": -1.0, "high": 1.0},
}
PIXELS = {"bernoulli_nll": {"x": "pixels"}, "bernoulli_entropy": {"x": "pixels"}}  # arguments that are another input
TITLES = {"kl_prior": "kl", "kl": "kl of two"}
ROWS: dict[str, tuple[Operation, bool]] = {}  # of the table, and whether it is its vjp
for _op in OPERATIONS.values():
    _title = TITLES.get(_op.name, _op.name.replace("_", " "))
    for _vjp, _work in ((False, _title), *([(True, f"{_title} vjp")] if _op.vjp is not None else [])):
        ROWS[_work] = _op, _vjp
        OURS.setdefault(_work, partial(_all_of, _op, _vjp))
OTHER_WORK = [work for work in OURS if work not in WORKS]
NOT_READ = {"noise": ["x"], "sample vjp": ["mean"], "entropy vjp": ["logvar"]}  # arguments whose numbers do not matter


def moved(work: str) -> tuple[list[str], list[str]]:
    """The names of the arrays that a piece of work must read and of those that it must write, or of others of their
    sizes."""
    if work == "forward and backward":
        (read, written), (read_back, written_back) = moved("sample and kl"), moved("sample and kl vjp")
        return read + read_back, written + written_back
    op, vjp = ROWS[work]
    arguments = [name.removesuffix("1") for name in op.arguments]
    read = [name for name in arguments if name not in NOT_READ.get(work, [])]
    values = ["d_kl" if kind in (Result.SUM, Result.COUNT) else "d_z" for kind in op.results.values()]
    return (read + values, arguments) if vjp else (read, values)


Call = Callable[[], Any]


@lru_cache(maxsize=1)
def prepared(work: str, backend: str, dtype: str, shape: str) -> Call:
    """The call to time, made once: asv sets up again before every timed call. Ready when the device is."""
    call = BACKENDS[backend](work, dtype, shape)
    call()
    return call


def _numba(work: str, dtype: str, shape: str) -> Call:
    return partial(OURS[work], inputs(shape, dtype))


def _array_api(name: str, work: str, dtype: str, shape: str) -> Call:
    """The form for any library; of NumPy's arrays in place of the Numba loops."""
    a = inputs(shape, dtype, imported(name))

    def call() -> Any:
        with on_reference(library_of(a.parameters)):
            return OURS[work](a)

    return call


def _torch(work: str, dtype: str, shape: str) -> Call:
    """Tensors: the loops, and PyTorch's autograd where there is a gradient."""
    torch = imported("torch")
    a = inputs(shape, dtype, torch, module=imported("agauss.integrations.torch"), fills=False)
    if work != "forward and backward":
        return partial(_without_vjps, work, a)
    parameters = a.parameters.requires_grad_()

    def step() -> Any:
        values = a.agauss.sample_and_kl(parameters, rng=7)
        return *values, *torch.autograd.grad(values, parameters, (a.d_z, a.d_kl))

    return step


def _jax(work: str, dtype: str, shape: str) -> Call:
    """Under jit."""
    jax = imported("jax")
    jax.config.update("jax_enable_x64", True)  # every dtype here is explicit
    module = imported("agauss.integrations.jax")
    a = inputs(shape, dtype, jax.numpy, module=module, fills=False)
    if work == "forward and backward":

        def traced(p: Any, d_z: Any, d_kl: Any) -> Any:
            values, pullback = jax.vjp(lambda p: module.sample_and_kl(p, rng=7), p)
            return *values, *pullback((d_z, d_kl))

        given = a.parameters, a.d_z, a.d_kl
    else:

        def traced(p: Any, p2: Any) -> Any:
            return _without_vjps(work, Inputs(jax.numpy, p, p2, module, fills=False))

        given = a.parameters, a.parameters2
    compiled = jax.jit(traced)
    return lambda: jax.block_until_ready(compiled(*given))


def _without_vjps(work: str, a: Inputs) -> Any:
    if work.endswith("vjp") or work == "noise":
        raise NotImplementedError(f"{work}: the library's own autograd calls it")
    return OURS[work](a)


def _cupy(work: str, dtype: str, shape: str) -> Call:
    try:
        cupy = import_module("cupy")
        cupy.zeros(1)
    except Exception as error:
        raise NotImplementedError(f"no CuPy with a GPU: {error}") from error
    call = partial(OURS[work], inputs(shape, dtype, cupy))
    return lambda: (call(), cupy.cuda.get_current_stream().synchronize())


def imported(name: str) -> Any:
    """A module that need not be installed: asv skips what raises NotImplementedError."""
    try:
        return import_module(name)
    except ImportError as error:
        raise NotImplementedError(str(error)) from error


BACKENDS: dict[str, Callable[[str, str, str], Call]] = {
    "numba": _numba,
    "array-api numpy": partial(_array_api, "numpy"),
    "array-api torch": partial(_array_api, "torch"),
    "torch": _torch,
    "jax": _jax,
    "cupy": _cupy,
}


@contextmanager
def on_reference(library: Any) -> Iterator[None]:
    """agauss's own form for any library, in place of what the library's arrays have."""
    backend, fills = library.backend, library.fills
    library.backend, library.fills = Reference(library.xp), False
    try:
        yield
    finally:
        library.backend, library.fills = backend, fills


def interleaved(calls: dict[str, Call], rounds: int, turn: float = 0.01) -> dict[str, float]:
    """Median seconds of each call, measured in turns A B A B ... so that a slow minute strikes all alike.

    A turn is a pause, in which other libraries' threads stop spinning, one call that does not count, and calls for
    `turn` seconds, at least one.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            time.sleep(0.005)
            call()
            end, stop = 0.0, time.perf_counter() + turn
            while end < stop:
                start = time.perf_counter()
                call()
                end = time.perf_counter()
                seconds[name].append(end - start)
    return {name: median(times) for name, times in seconds.items()}


def duration(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-6:.3g} us"
