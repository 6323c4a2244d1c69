"""The state that a module keeps between calls: buffers, parameters, and plain attributes with all that they hold."""

from __future__ import annotations

import hashlib
import itertools
import random
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from .held import bound, owners, path_of, users_module

if TYPE_CHECKING:
    from torch import nn

# Attributes that hold attributes that hold …: deeper ones are not looked at.
DEPTH, DEPTH_OUTSIDE = 6, 3
# torch's own bookkeeping of a module: its hooks and its children.
_TORCHS = ("_modules", "_parameters", "_buffers")
GENERATORS = (random.Random, np.random.RandomState, np.random.Generator)
Prints = Mapping[str, object]


def prints(module: nn.Module, *, with_parameters: bool = True, of: Sequence[str] = ()) -> Prints:
    """Return a fingerprint of everything that ``module`` keeps, or of these paths, by its path: ``layer.2.memory``."""
    import torch

    left_out = () if with_parameters else {name for name, _ in module.named_parameters()}
    with torch._C.DisableTorchFunction():  # a float64 run tells the module of float32
        found: dict[str, object] = {}
        for path, value, depth in _kept(module):
            if path not in left_out and (path in of or not of):  # an attribute and a global may have one name
                found[path] = (found[path], _print(value, depth)) if path in found else _print(value, depth)
        return found


def changed(before: Prints, after: Prints) -> list[str]:
    """Return the paths whose fingerprints differ, or that only one of the two has."""
    return sorted(path for path in {*before, *after} if before.get(path) != after.get(path))


def iterators(module: nn.Module) -> list[str]:
    """Return the paths of what is kept and does not show how far it has come, as a cycle."""
    return [path for path, value, _ in _kept(module) if isinstance(value, Iterator) and _place(value) is None]


def kept_bytes(module: nn.Module) -> int:
    """Return the bytes of all tensors and arrays that ``module`` keeps, also in containers."""
    return sum(_bytes(value, depth) for _, value, depth in _kept(module))


def _bytes(value: Any, depth: int) -> int:
    import torch

    if isinstance(value, (torch.Tensor, np.ndarray)):
        return value.nbytes
    parts = value.values() if isinstance(value, Mapping) else value
    is_container = isinstance(value, (Mapping, list, tuple, set, frozenset, deque))
    return sum(_bytes(part, depth - 1) for part in parts) if is_container and depth else 0


def _state(generator: Any) -> object:
    if isinstance(generator, random.Random):
        return generator.getstate()
    return generator.bit_generator.state if isinstance(generator, np.random.Generator) else generator.get_state()


def _kept(module: nn.Module) -> Iterator[tuple[str, object, int]]:
    from torch import nn

    for prefix, part in module.named_modules():
        held = {**part._parameters, **part._buffers}
        held |= {name: value for name, value in vars(part).items() if name not in _TORCHS and "hook" not in name}
        for name, value in held.items():
            yield f"{prefix}.{name}".lstrip("."), value, DEPTH
    for kind in {type(part) for part in module.modules()}:
        for name, value in vars(kind).items():
            if not (name.startswith("__") or callable(value) or hasattr(value, "__get__")):
                yield f"{kind.__name__}.{name}", value, DEPTH
    for prefix, owner, outside in owners(module):
        if not isinstance(owner, (type, nn.Module)):
            yield from ((path_of(prefix, name), value, DEPTH_OUTSIDE) for name, value in outside.items())


def _print(value: Any, depth: int) -> object:
    import torch

    if isinstance(value, torch.Tensor):
        if value.device.type == "meta" or value.layout is not torch.strided:
            return id(value)
        data = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        return str(value.dtype), tuple(value.shape), hashlib.sha256(data.data).hexdigest()
    if isinstance(value, np.ndarray):
        return str(value.dtype), value.shape, hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
    if value is None or isinstance(value, (bool, int, float, complex, str, bytes)):
        return repr(value)
    if isinstance(value, torch.nn.Module) or not depth:
        return id(value)
    return _print_of_container(value, depth - 1)


def _print_of_container(value: Any, depth: int) -> object:
    if isinstance(value, ModuleType):
        value, depth = users_module(value), min(depth, 1)
    value = bound(value) or value
    if isinstance(value, Mapping):
        return [(_print(key, depth), _print(part, depth)) for key, part in value.items()]
    if isinstance(value, (list, tuple, deque)):
        return [_print(part, depth) for part in value]
    if isinstance(value, (set, frozenset)):
        return sorted(map(repr, value))
    if isinstance(value, (Iterator, *GENERATORS)):
        return _place(value) if isinstance(value, Iterator) else repr(_state(value))
    kept = getattr(value, "__dict__", None)
    return id(value) if kept is None or callable(value) else [(name, _print(kept[name], depth)) for name in kept]


def _place(iterator: Any) -> object:
    """Return how far an iterator has come; None if it does not show that."""
    if isinstance(iterator, itertools.count):
        return repr(iterator)
    frame = getattr(iterator, "gi_frame", None)
    return None if frame is None else (frame.f_lasti, repr(sorted(frame.f_locals.items())))
