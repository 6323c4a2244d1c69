"""Modules that PyTorch does not know of: those kept in a plain list, tuple or dict instead of a ModuleList."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import nn


def unregistered(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """(path of the attribute that holds it, module) for each of them; those inside of another are not listed again."""
    known = set(map(id, module.modules()))
    for path, part in module.named_modules():
        for name, value in vars(part).items():
            for found in _modules(value) if not name.startswith("_") else ():
                if id(found) not in known:
                    known |= set(map(id, found.modules()))
                    yield f"{path}.{name}".lstrip("."), found


def _modules(value: object) -> Iterator[nn.Module]:
    if isinstance(value, nn.Module):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _modules(part)
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from _modules(part)
