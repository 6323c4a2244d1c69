"""The tensors that an operator of PyTorch writes into: what it changes in place, or is given as ``out``."""

from __future__ import annotations

from typing import Any


def written(func: Any, args: Any, kwargs: Any) -> list[Any]:
    """Return the tensors among the arguments that the operator ``func`` writes into."""
    import torch
    from torch.utils._pytree import tree_leaves

    arguments = func._schema.arguments
    values = dict(zip((argument.name for argument in arguments), args, strict=False)) | kwargs
    names = [
        argument.name for argument in arguments if argument.alias_info is not None and argument.alias_info.is_write
    ]
    return [leaf for name in names for leaf in tree_leaves(values.get(name)) if isinstance(leaf, torch.Tensor)]
