"""The state that a module keeps between calls: buffers, parameters, and plain attributes with all that they hold."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import nn

# Attributes that hold attributes that hold …: deeper ones are not looked at.
DEPTH = 6
# torch's own bookkeeping of a module: its hooks and its children.
_TORCHS = ("_modules", "_parameters", "_buffers")
GENERATORS = (random.Random, np.random.RandomState, np.random.Generator)
Prints = Mapping[str, object]


def prints(module: nn.Module, *, with_parameters: bool = True) -> Prints:
    """Return a fingerprint of everything that ``module`` keeps, by its path: ``layer.2.memory``."""
    import torch

    left_out = () if with_parameters else {name for name, _ in module.named_parameters()}
    with torch._C.DisableTorchFunction():  # a float64 run tells the module of float32
        return {path: _print(value, DEPTH) for path, value in _kept(module) if path not in left_out}


def changed(before: Prints, after: Prints) -> list[str]:
    """Return the paths whose fingerprints differ, or that only one of the two has."""
    return sorted(path for path in {*before, *after} if before.get(path) != after.get(path))


def generators(module: nn.Module) -> list[str]:
    """Return the paths of attributes that are random generators of the module's own."""
    return [path for path, value in _kept(module) if isinstance(value, GENERATORS)]


def _state(generator: Any) -> object:
    if isinstance(generator, random.Random):
        return generator.getstate()
    return generator.bit_generator.state if isinstance(generator, np.random.Generator) else generator.get_state()


def _kept(module: nn.Module) -> Iterator[tuple[str, object]]:
    for prefix, part in module.named_modules():
        held = {**part._parameters, **part._buffers}
        held |= {name: value for name, value in vars(part).items() if name not in _TORCHS and "hook" not in name}
        for name, value in held.items():
            yield f"{prefix}.{name}".lstrip("."), value
    for kind in {type(part) for part in module.modules()}:
        for name, value in vars(kind).items():
            if not (name.startswith("__") or callable(value) or hasattr(value, "__get__")):
                yield f"{kind.__name__}.{name}", value


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
    if isinstance(value, Mapping):
        return [(_print(key, depth), _print(part, depth)) for key, part in value.items()]
    if isinstance(value, (list, tuple)) or type(value).__name__ == "deque":
        return [_print(part, depth) for part in value]
    if isinstance(value, (set, frozenset)):
        return sorted(map(repr, value))
    if isinstance(value, GENERATORS):
        return repr(_state(value))
    kept = getattr(value, "__dict__", None)
    return id(value) if kept is None or callable(value) else [(name, _print(kept[name], depth)) for name in kept]
