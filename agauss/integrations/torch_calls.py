"""What the functions of agauss.integrations.torch are given, checked and handed to an operator."""

from __future__ import annotations  # Tensor is a type to checkers alone

import inspect
from collections.abc import Callable, Container, Sequence
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np

from agauss import options as checks
from agauss.arrays import NUMPY, is_number, x_last
from agauss.integrations import need
from agauss.integrations.torch_operators import KINDS, OPERATORS, Options, is_eager, is_watched
from agauss.keys import Key, as_key
from agauss.options import BOUND_KINDS, bin_of, check_index, order_of, sizes_of
from agauss.typing import Bounds, Index, Number

torch = need("torch", "torch")
if TYPE_CHECKING:
    from torch import Tensor


def _seen_through(check: Callable[..., Any]) -> Callable[..., Any]:
    """A check that remembers what passed it, but where torch.compile looks on, which does not see into its memory."""
    plain = inspect.unwrap(check)
    return lambda *args: plain(*args) if torch.compiler.is_compiling() else check(*args)


axes_of = _seen_through(checks.axes_of)
bounds_of = _seen_through(checks.bounds_of)
slices_of = _seen_through(checks.slices_of)


def call(name: str, tensors: Sequence[Tensor | Number | None], split: int | None = None, **given: Any) -> Any:
    """An operator's value, of what an agauss function is given."""
    operator, option = OPERATORS[name], given.get
    if not operator.noisy and _are_plain(operator.tensors, tensors, operator.optional):
        return operator.at_once(tensors, split, given)  # type: ignore[arg-type]
    tensors = as_tensors(operator.tensors, tensors, operator.optional)
    rank = max([t.dim() for t in tensors if t is not None])
    options = Options(
        split,
        list(axes_of(option("axis", ()), rank)),
        _flat_bounds(option("bounds"), "bounds"),
        _flat_bounds(option("bounds2"), "bounds2"),
        key_tensor(option("rng"), option("generator")) if operator.noisy else None,
        _ids(option("index"), tensors),
        list(sizes_of(option("sample_shape", ()), "sample_shape")),
        _checked_parameters([option(name) for name in operator.parameters], operator.parameters),
    )
    return operator(tensors, options)


def _checked_parameters(values: list[Any], names: tuple[str, ...]) -> list[float]:
    """An operation's parameters as numbers, which is what an operator takes."""
    if names == ("alpha",):
        return [order_of(*values)]
    return list(bin_of(*values)) if names == ("width", "low", "high") else [float(value) for value in values]


def _flat_bounds(bounds: Bounds, name: str) -> list[float]:
    found = bounds_of(bounds, name)
    return [] if found is None else [found[0], found[1], float(BOUND_KINDS.index(found[2]))]


def as_tensors(
    names: Sequence[str], values: Sequence[Tensor | Number | None], optional: Container[str] = ()
) -> list[Any]:
    """Tensors of one dtype and device: numbers take those of the others, and autocast may have mixed the dtypes."""
    for name, value in zip(names, values, strict=True):
        if not (isinstance(value, torch.Tensor) or (name in optional if value is None else is_number(value))):
            raise TypeError(
                f"{name} must be a torch.Tensor or a real number; got {type(value).__name__} "
                "(torch.from_numpy and torch.from_dlpack make tensors of other arrays)"
            )
    tensors = [value for _, value in x_last(names, values) if isinstance(value, torch.Tensor)]
    first = tensors[0] if tensors else torch.empty((), dtype=torch.float64)
    for name, value in zip(names, values, strict=True):
        if isinstance(value, torch.Tensor) and value.device != first.device:
            raise ValueError(f"{name} must be on the device of the others, {first.device}; got {value.device}")
        if isinstance(value, torch.Tensor) and value.layout is not torch.strided:
            raise TypeError(f"{name} must be a dense tensor; got {value.layout}: use .to_dense()")
    dtype = first.dtype
    if any([t.dtype != dtype for t in tensors]) and _autocast(first.device.type):  # noqa: C419, for speed
        dtype = reduce(torch.promote_types, [t.dtype for t in tensors])
        values = [v.to(dtype) if isinstance(v, torch.Tensor) else v for v in values]
    return [torch.full((), v, dtype=dtype, device=first.device) if is_number(v) else v for v in values]


def _are_plain(names: Sequence[str], values: Sequence[Any], optional: Container[str]) -> bool:
    """Whether these are dense tensors on the CPU, of one dtype and without gradients, and nobody looks on. Most calls
    are of such tensors, and for small ones each further look would take as long as the work."""
    if not is_eager() or is_watched():
        return False
    dtype, graded = None, torch.is_grad_enabled()
    for name, value in zip(names, values, strict=True):
        if value is None and name in optional:
            continue
        if value.__class__ not in KINDS or not value.is_cpu or value.layout is not torch.strided:
            return False
        if (graded and value.requires_grad) or value.dtype is not (dtype or value.dtype):
            return False
        dtype = value.dtype
    return dtype is not None


def _autocast(device_type: str) -> bool:
    return bool(torch.amp.is_autocast_available(device_type) and torch.is_autocast_enabled(device_type))


def _ids(index: Tensor | Index | None, tensors: Sequence[Tensor | None]) -> Tensor | None:
    """Sample ids as a tensor, checked where that stops no device: what comes as a tensor is left to the operator."""
    if index is None or isinstance(index, torch.Tensor):
        return index
    if torch.compiler.is_compiling():  # it sees through no check of an array
        if isinstance(index, (list, tuple, range)) and any(n < 0 for n in index):
            raise ValueError(f"index must not be negative; got {index!r}")
        return torch.as_tensor(list(index) if isinstance(index, range) else index, device="cpu")
    shape = tuple(torch.broadcast_shapes(*[t.shape for t in tensors if t is not None]))
    return torch.from_numpy(check_index(index, NUMPY, shape).astype(np.uint64, order="C"))


def key_tensor(rng: Any, generator: Any, draw: bool = True) -> Tensor | None:
    """Seed and stream as a tensor: of `rng`, or drawn from a torch.Generator, by default PyTorch's own. Without `draw`
    both are only checked, and no generator is advanced."""
    if isinstance(rng, torch.Generator):
        rng, generator = generator, rng
    if rng is not None and generator is not None:
        raise TypeError("rng and generator must not both be given")
    if rng is None:
        if not (generator is None or isinstance(generator, torch.Generator)):
            raise TypeError(f"generator must be a torch.Generator; got {type(generator).__name__}")
        if not draw:
            return None
        device = "cpu" if generator is None else generator.device
        return torch.randint(-(2**63), 2**63 - 1, (2,), generator=generator, device=device, dtype=torch.int64).cpu()
    if type(rng) is int and 0 <= rng < 2**63:  # without a look inside, so that a step that is compiled serves them all
        return torch.tensor([rng, 0], dtype=torch.int64, device="cpu")
    key = (
        _of_tensor(rng)
        if isinstance(rng, torch.Tensor) and rng.ndim
        else as_key(rng, draw=draw, also="a torch.Generator, ")
    )
    if torch.compiler.is_compiling():  # its code has no number beyond int64, so tensors put the words together
        low, high, stream = torch.tensor([*key.words()], dtype=torch.int64, device="cpu").unbind()
        return torch.stack([low | high << 32, stream])
    seed = key.seed - 2**64 if key.seed >= 2**63 else key.seed
    return torch.tensor([seed, key.stream], dtype=torch.int64, device="cpu")


def _of_tensor(rng: Any) -> Key:
    """The key that one of torch.func._random stands for, a seed and an offset: the seed, with the offset folded in."""
    if rng.dtype != torch.uint64 or rng.shape != (2,):
        raise TypeError(
            "rng must be, where it is a tensor, one key of torch.func._random, of torch.uint64 and shape (2,); got "
            f"{rng.dtype} and {tuple(rng.shape)}"
        )
    seed, offset = rng.tolist()
    return Key(seed).fold_in(offset) if offset else Key(seed)
