"""Batches that are timed: the ones that a graph holds for, and the shapes to trace so that it holds for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..core.tensor_spec import Axis, TensorSpec, optima
from ..errors import InputError
from ..modules.dynamic import parse_dynamic
from .variants import Variant, shape_text


def check_batches(batches: Sequence[int], inputs: Sequence[TensorSpec], axes: Mapping[str, Axis]) -> None:
    """Raise InputError for the first batch that a graph with these inputs and ranges does not hold."""
    axis = axes.get("batch")
    sizes = {spec.shape[0] for spec in inputs if spec.shape and isinstance(spec.shape[0], int)}
    for batch in batches:
        if axis is not None and batch not in axis.sizes:
            low, high = min(batch, axis.min), max(batch, axis.max)
            raise InputError(
                f"received batch {batch}; expected one of the range {axis}, which the graph holds for; "
                f"deploy it with --dynamic batch={low}:{axis.opt}:{high}"
            )
        if axis is None and batch not in sizes:
            fixed = ", ".join(map(str, sorted(sizes))) or "none"
            raise InputError(
                f"received batch {batch}; expected {fixed}, the only one that the graph takes; "
                f"deploy it with --dynamic batch"
            )


def usual_batch(variant: Variant) -> int:
    """Return the optimum of the batch axis, or the first size of the first input if there is no such axis."""
    if "batch" in variant.axes:
        return variant.axes["batch"].opt
    first = next((spec.shape[0] for spec in variant.inputs if spec.shape), 1)
    return first if isinstance(first, int) else 1


def with_batches(
    spec: str, shapes: Sequence[str], dynamic: str | None, batches: Sequence[int], *, trust: bool
) -> tuple[Sequence[str], Any]:
    """Return the shapes and ranges in which the batches fit: one batch as a size, several as an axis."""
    from ..modules import catalog

    ranges = dict(parse_dynamic(dynamic))
    if not batches or "batch" in ranges:
        return shapes, dynamic
    plan = catalog.read(spec, shapes=shapes, dynamic=ranges, trust=trust)
    sizes = optima(plan.axes)
    images = [item for item in plan.inputs if len(item.shape) == 4] or list(plan.inputs)
    traced = images[0].shape[0]
    # The exporter takes a batch of 1 for a constant.
    optimum = batches[0] if len(batches) == 1 else next(size for size in batches if size > 1)
    written = []
    for item in plan.inputs:
        shape = item.resolve(sizes)
        shape = (optimum, *shape[1:]) if item.shape[:1] == (traced,) else shape
        written.append(shape_text(item, shape))
    if len(batches) > 1:
        ranges["batch"] = Axis(batches[0], optimum, batches[-1])
    return written, ranges
