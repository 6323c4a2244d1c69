"""A backbone's feature maps as outputs, for a detection or segmentation head: timm's ``features_only``.

Written ``resnet50:features_only=true,out_indices=2/3/4``; an index counts timm's ``feature_info`` from 0, the largest
map first. Blocks and weights are put into the whole classifier before the rest of it is taken away, so that both find
what they expect.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import InputError
from .backbones.index import create


class Features(nn.Module):
    """``(n, 3, h, w)`` to one ``(n, c, h, w)`` for each index, from a timm model, which is pruned to what they need.

    Raises InputError if the model has no such index or no feature maps.
    """

    def __init__(self, model: nn.Module, indices: Sequence[int]) -> None:
        super().__init__()
        timms: Any = model
        if not hasattr(timms, "forward_intermediates") or not hasattr(timms, "prune_intermediate_layers"):
            raise InputError(
                f"received features_only for a {type(model).__name__}, which gives no feature maps; expected a "
                "backbone that timm takes them from, such as resnet50; leave the option out"
            )
        try:
            self.indices = timms.prune_intermediate_layers(list(indices), prune_norm=True, prune_head=True)
        except (AssertionError, IndexError, ValueError) as error:
            raise InputError(
                f"received out_indices {'/'.join(map(str, indices))} for a {type(model).__name__}; expected indices "
                f"of its feature maps, from 0 ({' '.join(str(error).split())[:100] or type(error).__name__}); "
                "correct out_indices"
            ) from error
        self.model = timms

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """The feature maps in the order of the indices."""
        model: Any = self.model
        maps: list[Tensor] = model.forward_intermediates(x, indices=self.indices, intermediates_only=True)
        return tuple(maps)


def kept_keys(model: nn.Module, indices: Sequence[int]) -> Collection[str]:
    """The keys of the model's tensors that its feature maps need."""
    pruned = Features(copy.deepcopy(model), indices)
    return {key.removeprefix("model.") for key in pruned.state_dict()}


def parse_indices(name: str, options: Mapping[str, str], arguments: Mapping[str, Any] | None) -> tuple[int, ...] | None:
    """The indices that the options of backbone ``name`` ask for, all without ``out_indices``; None for the classifier.

    ``arguments`` are those that it is made with. Raises InputError for a value of another kind.
    """
    only, chosen = options.get("features_only", "false").lower(), options.get("out_indices")
    if only not in ("true", "false"):
        raise InputError(
            f"received features_only={only} for backbone {name}; expected true or false; "
            f"write {name}:features_only=true"
        )
    if only == "false":
        if chosen is not None:
            raise InputError(
                f"received out_indices for backbone {name} without features_only; expected both; "
                f"write {name}:features_only=true,out_indices={chosen}"
            )
        return None
    if chosen is None:
        with torch.device("meta"):
            model = create(name, arguments=arguments)
        return tuple(range(len(getattr(model, "feature_info", ()))))
    parts = chosen.split("/")
    indices = tuple(int(part) for part in parts if part.isdecimal())
    if len(indices) != len(parts) or list(indices) != sorted(set(indices)):
        raise InputError(
            f"received out_indices={chosen} for backbone {name}; expected ascending numbers from 0, with / between; "
            f"write {name}:features_only=true,out_indices=2/3/4"
        )
    return indices
