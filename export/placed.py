"""8 bits from product to product, float16 elsewhere: ``model.int8-fp16.onnx`` from the float32 graph.

A graph whose products alone are quantised is no faster than float16: all that stands between them moves float32.
passes/place_pairs.py decides what is passed on in 8 bits, passes/float_policy.py what of the rest computes in
float16. placed_check.py proves that the file is the float32 graph but for that.

It is a precision of its own, not an option of int8, so that a bundle can hold, judge and time both.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.graph import OnnxGraph
from ..core.precision import CAST, INT8, Precision
from .keep_fp32 import kept_in, why_kept
from .modelopt_placement import MODELOPT, RULES
from .pair_plan import PairPlan
from .placed_check import check_placed
from .precision import float32_source, saved
from .precision_options import DEFAULTS, PrecisionOptions
from .quantized import Calibrate, QuantizedGraph, nothing_to_quantize

if TYPE_CHECKING:
    import onnx_ir as ir

    from .passes.pairs import Pairs, Reader
    from .passes.quantize_policy import QuantizePlan


@dataclass(frozen=True, kw_only=True)
class PlacedGraph(QuantizedGraph):
    """A graph with 8 bits between its products.

    Attributes:
        source: The float32 graph.
        plan: The places of 8 bits and of half precision in it.
        placement: What says where the pairs stand.
    """

    source: Path
    plan: PairPlan
    placement: str = RULES

    def to_json(self) -> dict[str, Any]:
        """The manifest's entry."""
        counts = {"products": len(self.plan.products), "pairs": len(self.plan.readers)}
        return {**super().to_json(), **counts, "placement": self.placement}


def place(
    graph: OnnxGraph,
    calibrate: Calibrate,
    folder: Path,
    *,
    calibration: str,
    form: Precision,
    readers: frozenset[Reader] | None = None,
    options: PrecisionOptions = DEFAULTS,
) -> PlacedGraph:
    """Write a float32 graph with 8 bits between its products to ``folder``.

    Args:
        graph: The float32 graph.
        calibrate: Gives the range of each tensor that it is asked for.
        folder: The bundle's.
        calibration: The way in which the ranges are found, in words.
        form: The 8-bit format and the precision of the rest.
        readers: The inputs that read 8 bits, weights among them, if nvidia-modelopt chose them.
        options: What else is asked for.

    Raises:
        InputError: A glob matches nothing.
        ModuleRefused: There is nothing to quantise, or the graph cannot be raised to the opset of the format.
        CheckFailed: The result is not the float32 graph but for its types and pairs.
    """
    import onnx_ir as ir

    from .passes.float_policy import plan
    from .passes.place_pairs import pairs_at, place_pairs
    from .passes.quantize_policy import plan_quantized

    within = kept_in(graph, options.keep)
    kept_by, opset = why_kept(graph, within), max(graph.opset, form.opset)
    model = ir.from_proto(float32_source(graph, opset))
    reads_none = options.overrides.why_not_in_8_bits(kept_by)
    planned = plan_quantized(model, reads_none, precision=INT8)
    if readers is None:
        pairs = place_pairs(model, planned, reads_none)
    else:
        planned = _chosen(planned, readers)
        pairs = pairs_at(model, planned, readers, reads_none)
    planned, pairs, ranges = _calibrated(planned, pairs, calibrate, form)
    overrides = options.overrides
    halves = plan(model, CAST[form.rest], overrides.why_kept(kept_by), allowed=overrides.allowed)
    pair_plan = PairPlan(planned.quantized, pairs.readers, ranges, halves.low, form)
    written, files = _written(graph, model, pair_plan, options.path(folder, form.name), options.io, opset)
    products = {product.node for product in planned.quantized}
    kept = {**halves.kept, **planned.kept}
    return PlacedGraph(
        form.name,
        written,
        tuple(sorted(halves.low | products)),
        {name: why for name, why in halves.float32.items() if name not in products},
        kept,
        patterns=tuple(options.keep),
        kept_within=within,
        kept_exactly=graph.paths_of(kept),
        raised_from=graph.opset if opset != graph.opset else None,
        files=files,
        ranges=ranges,
        calibration=calibration,
        source=graph.path,
        plan=pair_plan,
        placement=RULES if readers is None else MODELOPT,
    )


def _chosen(planned: QuantizePlan, readers: frozenset[Reader]) -> QuantizePlan:
    """Return the plan without the products that are not among the readers with both operands."""
    left = {one.node for one in planned.quantized if not {(one.node, 0), (one.node, 1)} <= readers}
    reasons = dict.fromkeys(left, "left out by the placement that was asked for")
    products = tuple(product for product in planned.quantized if product.node not in left)
    return replace(planned, quantized=products, float32={**planned.float32, **reasons})


def _calibrated(
    planned: QuantizePlan, pairs: Pairs, calibrate: Calibrate, form: Precision
) -> tuple[QuantizePlan, Pairs, dict[str, float]]:
    """Return the plan and the pairs without tensors that no scale is for, and the ranges of the others.

    Raises ModuleRefused if no product is left.
    """
    own = pairs.completed(calibrate([*pairs.readers]))
    smallest = float(np.finfo(CAST[form.rest].dtype).tiny) * form.largest
    useless = {name for name, largest in own.items() if not (math.isfinite(largest) and largest >= smallest)}
    left = pairs.without(useless)
    dropped = {
        product.node: f"what it reads was {own[product.tensor]:.3g} at most, too little for a scale in {form.rest}"
        for product in planned.quantized
        if product.tensor not in left.readers
    }
    products = tuple(product for product in planned.quantized if product.node not in dropped)
    if not products:
        raise nothing_to_quantize(form, planned)
    planned = replace(planned, quantized=products, kept={**planned.kept, **dropped})
    return planned, left, left.ranges(own)


def _written(
    graph: OnnxGraph, model: ir.Model, plan: PairPlan, path: Path, io: str, opset: int
) -> tuple[OnnxGraph, tuple[str, ...]]:
    """Write pairs and types into the ``model`` in place; return the graph that was saved and proved right, and its
    files."""
    from .passes.float_policy import FloatPlan
    from .passes.lower_precision import LowerPrecision
    from .passes.pair_tensors import PairTensors

    low = CAST[plan.form.rest]
    pair = PairTensors(plan, graph.modules, io_is_half=io == low.dtype)
    pair(model)
    lowering = LowerPrecision(FloatPlan(plan.half | pair.low, {}, {}), low, pair.modules, io=io)
    lowering(model)
    after = f"quantisation to {plan.form.words}"
    written, files = saved(graph, model, path, opset=opset, modules=lowering.modules, io=io, after=after)
    check_placed(float32_source(graph, opset), path, plan)
    return written, files
