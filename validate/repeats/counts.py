"""Counters that a module keeps of its own calls: what it does after many of them, a few runs do not show."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

# Past any warm-up, a multiple of what people count in (1 to 16, 20, 25, 30, 50, 100, 1000), exact in float32.
MANY = 18_018_000
Numbers = Mapping[str, int]


def whole_numbers(module: nn.Module) -> Numbers:
    """Return the whole numbers in attributes and buffers of one element, by their paths."""
    return {path: number for path, _, _, number in _held(module)}


def counters(module: nn.Module, call: Callable[[], object]) -> list[str]:
    """Return the paths of the whole numbers that each of two same calls changes by the same step.

    The first call is not counted: it may make what later ones find, as a table for the largest size so far.
    """
    call()
    seen = [whole_numbers(module)]
    for _ in range(2):
        call()
        seen.append(whole_numbers(module))
    first, second, third = seen
    return [path for path in third if _step(first, second, path) == _step(second, third, path) != 0]


def count_on(module: nn.Module, paths: list[str], reached: int) -> None:
    """Set counters to a number."""
    import torch

    for path, part, name, _ in list(_held(module)):
        if path in paths:
            value = getattr(part, name)
            setattr(part, name, torch.full_like(value, reached) if isinstance(value, torch.Tensor) else reached)


def _step(before: Numbers, after: Numbers, path: str) -> int:
    return after[path] - before.get(path, after[path])


def _held(module: nn.Module) -> Iterator[tuple[str, nn.Module, str, int]]:
    """Yield the path, the part, the name in it and the value of every whole number that is kept."""
    for prefix, part in module.named_modules():
        for name, value in (*part._buffers.items(), *vars(part).items()):
            number = _whole(value)
            if number is not None:
                yield f"{prefix}.{name}".lstrip("."), part, name, number


def _whole(value: Any) -> int | None:
    import torch

    if isinstance(value, torch.Tensor):
        is_number = value.numel() == 1 and value.device.type != "meta" and value.layout is torch.strided
        value = value.item() if is_number and not isinstance(value, torch.nn.Parameter) else None
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None
