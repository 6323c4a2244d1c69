"""Measure healthy 8-bit graphs, and those with a weight off by two percent: from this their limits are set.

    python benchmarks/derive_quantized_limits.py              int8, int8-fp16, then fp8: all targets
    python benchmarks/derive_quantized_limits.py --precision fp8           fp8 alone
    python benchmarks/derive_quantized_limits.py cbam psa     these alone, nothing written

Writes results/int8_limit.json, int8-fp16_limit.json, fp8_limit.json and docs/int8.md. Every target is exported with
each seed of its weights, calibrated by every method that the precision has on photographs and random inputs, and
judged on the cases of every case seed: with ONNX Runtime's optimisations off, and in its production settings. The
largest ratio of all must stay at or below ``healthy`` of attn2trt.core.precision.LOWER. Then weights of the graph (of
networks a dozen) are made two percent larger, one at a time, their scales as they were: how many the verdict's
numbers catch, and how many the comparison with the float32 graph does (export/quantized_check.py,
export/placed_check.py).
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from catalogue import photographs
from derivation import WAYS, Targets, arguments, here, rows_of, usual, worst
from derive_half_limits import MOST_WEIGHTS, OFF
from int8_page import write
from onnx import numpy_helper

from attn2trt.core.graph import OnnxGraph
from attn2trt.core.precision import FP32, INTEGERS, LOWER, QUANTISED
from attn2trt.engines.calibration import METHODS, MINMAX
from attn2trt.engines.float32_kernels import float32_kernels
from attn2trt.engines.ort_runtime import OrtRuntime
from attn2trt.errors import CheckFailed
from attn2trt.export.passes.quantize_policy import plan_quantized
from attn2trt.export.placed import PlacedGraph
from attn2trt.export.placed_check import check_placed
from attn2trt.export.precision import float32_source
from attn2trt.export.quantized import QuantizedGraph
from attn2trt.export.quantized_check import check_quantized
from attn2trt.modules.catalog import resolve
from attn2trt.validate.cases import Case, make_cases
from attn2trt.validate.metrics import Reference
from attn2trt.validate.reference import references
from attn2trt.validate.stages.judge import judge
from attn2trt.validate.stages.ort_process import is_optimised
from attn2trt.validate.stages.stage import WRITTEN, Stage, lower_stages
from attn2trt.validate.verdict import FAILED, StageResult
from attn2trt.workflows import float32_graph
from attn2trt.workflows.options import PrecisionRequest
from attn2trt.workflows.precision import PrecisionWriter, floor_of

# the exponents of fp8 hold outliers, and its ranges are the largest magnitudes
HOW = {"int8": METHODS, "int8-fp16": (MINMAX,), "fp8": (MINMAX,)}
BLOCK = ("2x64x28x28", "batch=1:2:4,height=14:28:42,width=14:28:42")
IMAGE = ("2x3x96x96", "batch=1:2:3")
# all of se and eca stays in float32
TARGETS: Targets = {
    **dict.fromkeys(("cbam", "coord_att", "gam", "psa", "sk", "bam", "triplet"), (*BLOCK, 2, 1)),
    "resnet18+se": (*IMAGE, 1, 1),
}


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--precision", choices=[*HOW], help="one alone")
    options = parser.parse_args()
    codes = [derived(precision, options) for precision in HOW if options.precision in (None, precision)]
    if not options.targets:
        write()
    return max(codes)


def derived(precision: str, options: argparse.Namespace) -> int:
    """Measure one precision; return 1 if its limit does not hold."""
    data = document(rows_of(TARGETS, options, measured, line, precision), precision)
    print(json.dumps({key: value for key, value in data.items() if key not in ("rows", "command", "machine")}))
    if not options.targets:
        results(precision).write_text(json.dumps(data, indent=1) + "\n")
    return 1 if data["alarms"] or data["largest"] > LOWER[precision].healthy else 0


def measured(name: str, seed: int, precision: str) -> dict[str, Any]:
    """One set of weights: the ratios of its healthy graphs by method, and its weights off by two percent."""
    since = time.perf_counter()
    shape, axes, _, case_seeds = TARGETS[name]
    target = resolve(name, shapes=[shape], dynamic=axes, seed=seed)
    module = target.build()
    row: dict[str, Any] = {"seed": seed, "methods": {}, "alarms": []}
    with tempfile.TemporaryDirectory() as name_of_folder:
        folder = Path(name_of_folder)
        images = folder / "images"
        images.mkdir()
        photographs(images)
        graph = float32_graph.export_graph(target, module, folder)
        outputs = [spec.name for spec in graph.outputs]
        sets = [
            make_cases(target.inputs, target.axes, seed=case_seed, images=images, preprocessing=target.preprocessing)
            for case_seed in range(case_seeds)
        ]
        for method in HOW[precision]:
            how = {"calibration": method} if precision in INTEGERS else {}
            request = PrecisionRequest(precisions=[FP32, precision], **how)
            writer = PrecisionWriter(request, graph, target, sets[0], folder, module, seed, lambda *_: None)
            low = writer.write(precision)
            floors = [floor_of(low)]
            judged = [list(zip(cases, references(module, cases, outputs, lower=floors), strict=True)) for cases in sets]
            stages = [stage for pairs in judged for stage in healthy(low, pairs)]
            quantized = low.plan.products if isinstance(low, PlacedGraph) else low.lowered
            row["quantized"], row["products"] = len(quantized), products_of(graph)
            row["methods"][method] = {
                "ratios": {way: worst(stages, way) for way in WAYS},
                "floor_l2": max(float(ref.lower[precision][out].l2) for _, ref in usual(judged) for out in outputs),
                "verdicts": len(stages),
            }
            row["alarms"] += [f"{name}, {seed}, {method}: {stage.why}" for stage in stages if stage.status == FAILED]
            if method == MINMAX:
                row["mutants"] = list(mutants(low, graph, judged[0]))
    return {**row, "seconds": round(time.perf_counter() - since)}


def products_of(graph: OnnxGraph) -> int:
    """Return how many convolutions and matrix products there are, quantised or not."""
    return len(plan_quantized(ir.load(str(graph.path))).products)


def healthy(low: QuantizedGraph, pairs: list[tuple[Case, Reference]]) -> list[StageResult]:
    """The stages of an 8-bit graph on these cases, with ONNX Runtime's optimisations off and on, as lower_stages has
    them."""
    found = []
    for stage in lower_stages(low.precision):
        with OrtRuntime(model_of(low, stage, low.graph.path), optimise=is_optimised(stage)) as runtime:
            found.append(judge(stage, runtime.run, pairs))
    return found


def model_of(low: QuantizedGraph, stage: Stage, path: Path) -> Path | bytes:
    """Return what ONNX Runtime gets of a graph: each operator rounding as it says, if the stage runs it as written."""
    is_half = LOWER[low.precision].kernels == "half" and not is_optimised(stage)
    return float32_kernels(path) if is_half else path


def mutants(low: QuantizedGraph, graph: OnnxGraph, pairs: list[tuple[Case, Reference]]) -> Iterator[dict[str, Any]]:
    """Quantised weights made two percent larger, with their scales as they were."""
    model = onnx.load(str(low.graph.path))
    path = low.graph.path.with_name("mutant.onnx")
    names = [node.input[0] for node in model.graph.node if node.name.startswith("quantize_")]
    tensors = {tensor.name: place for place, tensor in enumerate(model.graph.initializer)}
    weights = [name for name in names if name in tensors]
    for name in weights[:: -(-len(weights) // MOST_WEIGHTS) or 1]:
        changed = onnx.ModelProto()
        changed.CopyFrom(model)
        array = numpy_helper.to_array(model.graph.initializer[tensors[name]])
        scaled = (array * np.float32(OFF)).astype(array.dtype)
        changed.graph.initializer[tensors[name]].CopyFrom(numpy_helper.from_array(scaled, name))
        onnx.save(changed, str(path))
        with OrtRuntime(model_of(low, Stage(WRITTEN, low.precision), path), optimise=False) as runtime:
            stage = judge(Stage("mutant", low.precision), runtime.run, pairs)
        yield {
            "weight": name,
            "ratio": stage.worst_ratio,
            "failed": stage.status == FAILED,
            "told": is_seen(low, path, graph),
        }


def is_seen(low: QuantizedGraph, path: Path, graph: OnnxGraph) -> bool:
    """Return True if the comparison with the float32 graph sees it."""
    products = plan_quantized(ir.load(str(graph.path))).quantized
    try:
        source = float32_source(graph, low.graph.opset)
        if isinstance(low, PlacedGraph):
            check_placed(source, path, low.plan)
            return False
        check_quantized(source, path, products, low.ranges, QUANTISED[low.precision])
    except CheckFailed as error:
        return "constant" in str(error)
    return False


def results(precision: str) -> Path:
    """Return the path of a precision's results."""
    return Path(__file__).parent / f"results/{precision}_limit.json"


def document(rows: dict[str, list[dict[str, Any]]], precision: str) -> dict[str, Any]:
    """Return the document that is stored."""
    allowed = LOWER[precision]
    flat = [row for found in rows.values() for row in found]
    methods = [found for row in flat for found in row["methods"].values()]
    changed = [mutant for row in flat for mutant in row["mutants"]]
    return {
        "command": "python benchmarks/derive_quantized_limits.py",
        **here(),
        "largest": max(ratio for found in methods for ratio in found["ratios"].values()),
        "healthy": allowed.healthy,
        "limit": allowed.limit,
        "budget": allowed.budget,
        "largest_floor_l2": max(found["floor_l2"] for found in methods),
        "verdicts": sum(found["verdicts"] for found in methods),
        "weights_off": len(changed),
        "weights_off_failed": sum(mutant["failed"] for mutant in changed),
        "weights_off_told": sum(mutant["told"] for mutant in changed),
        "alarms": [alarm for row in flat for alarm in row["alarms"]],
        "rows": rows,
    }


def line(name: str, row: dict[str, Any]) -> str:
    """One row in words."""
    parts = [
        f"{method}: {max(found['ratios'].values()):.2f} floor {found['floor_l2']:.1e}"
        for method, found in row["methods"].items()
    ]
    failed, seen = (sum(mutant[key] for mutant in row["mutants"]) for key in ("failed", "told"))
    off = f"off by 2 %: {failed} and {seen} of {len(row['mutants'])}"
    return f"{name:26} seed {row['seed']}  {'  '.join(parts)}  {off}  {row['seconds']} s"


if __name__ == "__main__":
    sys.exit(main())
