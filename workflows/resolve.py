"""The target that a caller means by a name, by a module of their own, or by a target that is one already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..modules.target import Target
from .options import Weights

if TYPE_CHECKING:
    from torch import nn

    from ..modules.dynamic import Ranges


def resolve(
    target: str | Target | nn.Module,
    example_inputs: Any,
    *,
    shapes: Sequence[str],
    dynamic: str | Ranges | None,
    layout: str | Mapping[str, str] | None,
    weights: Weights,
) -> Target:
    """Return the target with the default batch; the arguments are those of ``deploy``.

    Raises:
        InputError: Arguments contradict each other, or what ``catalog.resolve`` and ``own_module.from_module`` raise.
    """
    from ..modules import catalog, own_module
    from ..modules.checks import check_module
    from ..modules.shapes import layouts_of, parse_shapes, with_layouts

    if isinstance(target, Target):
        return target
    if isinstance(target, str):
        if example_inputs is not None:
            raise InputError(f"example_inputs go with a module, not with the name {target!r}; use shapes")
        return catalog.resolve(
            target,
            shapes=[shape.text for shape in with_layouts(parse_shapes(shapes), layouts_of(layout))],
            dynamic=dynamic,
            seed=weights.seed,
            pretrained=weights.pretrained,
            checkpoint=weights.checkpoint,
            random=weights.random,
            any_batch=True,
            trust=weights.trust,
        )
    weights.require_of_module()
    if (example_inputs is None) == (not shapes):
        check_module(target)
        wrong = "lacks example_inputs" if example_inputs is None else "has example_inputs and shapes"
        raise InputError(
            f"deploy({type(target).__name__}, …) {wrong}; pass a tensor, a tuple or a dict of tensors, or the shapes "
            'of all inputs, as shapes=["image=2x3x64x64", "size=2:float32[1,9]"]'
        )
    return own_module.from_module(
        target,
        example_inputs,
        shapes=shapes,
        dynamic=dynamic,
        layout=layout,
        any_batch=True,
        seed=weights.seed if weights.random else None,
    )
