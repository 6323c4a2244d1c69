"""The batch of a target for which none was asked: any from 1 to 8 if it takes them, else a fixed one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ..core.tensor_spec import Axis, TensorSpec
from .dynamic import NONE, Ranges, parse_dynamic, plan
from .shapes import Shape

BATCH = "batch"
LARGEST = 8
Planned = tuple[tuple[TensorSpec, ...], dict[str, Axis]]


def plans(
    shapes: Sequence[Shape], dynamic: str | Ranges | None, *, fixed: bool, any_batch: bool = True
) -> list[Planned]:
    """Return the inputs and axes to try in turn; those after the first are for a target that refuses the default batch.

    The default batch is 1 : traced : 8, or the traced one if that is larger. It applies if ``any_batch``, unless
    ``dynamic`` is "none", names ``batch``, or makes the first dimension of an input vary under another name.

    Args:
        shapes: The inputs at their traced sizes.
        dynamic: The axes that were asked for, as ``parse_dynamic`` takes them.
        fixed: The sizes were given on purpose. Then the fixed batch is theirs, otherwise 1, or the traced one if the
            target takes no single row.
        any_batch: Vary the batch although none was asked for.
    """
    static = plan(shapes, dynamic, fixed=fixed)
    if not any_batch or not shapes or _names_batch(dynamic):
        return [static]
    if any(isinstance(spec.shape[0], str) for spec in static[0]):
        return [static]
    inputs, axes = plan(shapes, {BATCH: None, **parse_dynamic(dynamic)}, fixed=fixed)
    batch = axes[BATCH]
    largest = max(batch.opt, LARGEST // batch.multiple * batch.multiple)
    varying = inputs, axes | {BATCH: replace(batch, max=largest)}
    if fixed:
        return [varying, static]
    single = [replace(shape, sizes=(1, *shape.sizes[1:])) for shape in shapes]
    return [varying, plan(single, dynamic, fixed=False), static]


def _names_batch(dynamic: str | Ranges | None) -> bool:
    if isinstance(dynamic, Mapping):
        return BATCH in dynamic
    names = [item.partition("=")[0].strip() for item in (dynamic or "").split(",")]
    return BATCH in names or names == [NONE]
