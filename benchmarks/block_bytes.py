"""Count the bytes that a backbone's blocks must move: each reads map and weights once and writes its map once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn


def count(name: str, module: nn.Module) -> list[dict[str, Any]]:
    """Count each kind of place in ``module``, the target ``name``, and the numbers that each moves.

    ``map_numbers`` are for one image, ``weight_numbers`` for any batch; both are elements, whatever their type.
    """
    import torch

    from attn2trt.modules import catalog
    from attn2trt.modules.inserted import alone, inserted

    found = []
    for block in inserted(catalog.read(name)):
        _, part = alone(module, block)
        given = torch.zeros(block.shape)
        with torch.no_grad():
            result = part.eval()(given)
        weights = sum(value.numel() for value in part.state_dict().values() if value.is_floating_point())
        found.append(
            {
                "block": block.title,
                "places": len(block.paths),
                "map_numbers": (given.numel() + result.numel()) // block.shape[0],
                "weight_numbers": weights,
            }
        )
    return found


def total(blocks: Sequence[dict[str, Any]], batch: int, item_bytes: int) -> int:
    """Bytes that all of them move for so many images, each number taking ``item_bytes``."""
    numbers = (block["places"] * (block["map_numbers"] * batch + block["weight_numbers"]) for block in blocks)
    return item_bytes * sum(numbers)
