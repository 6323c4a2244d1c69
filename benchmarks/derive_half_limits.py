"""Measure healthy half-precision graphs, and those with a weight off by two percent: from this the limits are set.

    python benchmarks/derive_half_limits.py              all targets; writes results/half_limits.json
    python benchmarks/derive_half_limits.py se cbam      these alone, nothing written

Every target is exported with each seed of its weights, with dynamic axes, lowered to float16 and bfloat16, and judged
on the cases of every case seed: as the graph's dtypes say, and (float16) in ONNX Runtime's production settings. The
largest ratio of all must stay at or below ``healthy`` of attn2trt.core.precision.LOWER. Then every weight matrix and
kernel of the lowered graphs (of networks a dozen) is made two percent larger, one at a time, and judged on the cases of
the first seed: how many the verdict's numbers catch, and how many the comparison with the float32 graph does
(precision_check.py). The tables of docs/precision.md are written from the result.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from derivation import WAYS, Targets, arguments, here, rows_of, usual, worst
from half_precision_page import HALVES, page
from onnx import numpy_helper

from attn2trt.core.graph import OnnxGraph
from attn2trt.engines.float32_kernels import float32_kernels
from attn2trt.engines.ort_runtime import OrtRuntime
from attn2trt.errors import CheckFailed
from attn2trt.export.precision import LowPrecisionGraph, float32_source, lower
from attn2trt.export.precision_check import check_precision
from attn2trt.modules.catalog import resolve
from attn2trt.validate.cases import Case, make_cases
from attn2trt.validate.half_precision import Half
from attn2trt.validate.metrics import Reference
from attn2trt.validate.reference import references
from attn2trt.validate.stages.judge import judge
from attn2trt.validate.stages.stage import Stage
from attn2trt.validate.verdict import FAILED, StageResult
from attn2trt.workflows import float32_graph

RESULTS = Path(__file__).parent / "results/half_limits.json"
PAGE = Path(__file__).parents[1] / "docs/precision.md"
BLOCK = ("2x64x16x16", "batch=1:2:4,height=8:16:24,width=8:16:24")
IMAGE = ("2x3x64x64", "batch=1:2:3")
TARGETS: Targets = {
    **dict.fromkeys(("se", "cbam", "eca", "coord_att", "gam", "psa", "sk", "bam"), (*BLOCK, 3, 2)),
    "resnet18+se": (*IMAGE, 1, 2),
    "mobilenetv2_050+coord_att": (*IMAGE, 1, 2),
}
OFF = 1.02
# Of a network, this many weights spread over it are made larger; of a block, all.
MOST_WEIGHTS = 12


def main() -> int:
    options = arguments(__doc__).parse_args()
    data = document(rows_of(TARGETS, options, measured, line))
    for precision, found in data["precisions"].items():
        print(precision, json.dumps(found))
    print(*data["alarms"], sep="\n")
    if not options.targets:
        RESULTS.write_text(json.dumps(data, indent=1) + "\n")
        PAGE.write_text(page(data))
    above = [name for name, found in data["precisions"].items() if found["largest"] > HALVES[name].healthy]
    return 1 if data["alarms"] or above else 0


def measured(name: str, seed: int) -> dict[str, Any]:
    """One set of weights: the ratios of its healthy graphs, and its weights off by two percent."""
    since = time.perf_counter()
    shape, axes, _, case_seeds = TARGETS[name]
    target = resolve(name, shapes=[shape], dynamic=axes, seed=seed)
    module = target.build()
    row: dict[str, Any] = {"seed": seed, "precisions": {}}
    with tempfile.TemporaryDirectory() as folder:
        graph = float32_graph.export_graph(target, module, Path(folder))
        lowered = [lower(graph, precision, Path(folder)) for precision in HALVES]
        halves = [Half(low.precision) for low in lowered]
        outputs = [spec.name for spec in graph.outputs]
        sets = []
        for case_seed in range(case_seeds):
            cases = make_cases(target.inputs, target.axes, seed=case_seed)
            sets.append(list(zip(cases, references(module, cases, outputs, lower=halves), strict=True)))
        for low in lowered:
            stages = [stage for pairs in sets for stage in healthy(low, pairs, f"{name}, weights {seed}")]
            row["precisions"][low.precision] = {
                "ratios": {way: worst(stages, way) for way in WAYS},
                "floor_l2": max(float(ref.lower[low.precision][out].l2) for _, ref in usual(sets) for out in outputs),
                "alarms": [f"{stage.label}: {stage.why}" for stage in stages if stage.status == FAILED],
                "verdicts": len(stages),
                "mutants": list(mutants(low, graph, sets[0])),
            }
    return {**row, "seconds": round(time.perf_counter() - since)}


def healthy(low: LowPrecisionGraph, pairs: list[tuple[Case, Reference]], where: str) -> list[StageResult]:
    """The stages of one lowered graph on these cases."""
    with OrtRuntime(float32_kernels(low.graph.path), optimise=False) as rounding:
        found = [judge(Stage(where, low.precision), rounding.run, pairs)]
    if low.precision == "fp16":  # ONNX Runtime's CPU provider has no bfloat16
        with OrtRuntime(low.graph.path) as production:
            found.append(judge(Stage(f"{where}, production", low.precision), production.run, pairs))
    return found


def mutants(low: LowPrecisionGraph, graph: OnnxGraph, pairs: list[tuple[Case, Reference]]) -> Iterator[dict[str, Any]]:
    """Every weight of the lowered graph, made two percent larger."""
    model = onnx.load(str(low.graph.path))
    types = (onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16)
    path = low.graph.path.with_name("mutant.onnx")
    tensors = model.graph.initializer
    weights = [index for index, one in enumerate(tensors) if one.data_type in types and len(one.dims) > 1]
    for index in weights[:: -(-len(weights) // MOST_WEIGHTS) or 1]:
        tensor = tensors[index]
        changed = onnx.ModelProto()
        changed.CopyFrom(model)
        array = numpy_helper.to_array(tensor)
        scaled = (array.astype(np.float32) * np.float32(OFF)).astype(array.dtype)
        changed.graph.initializer[index].CopyFrom(numpy_helper.from_array(scaled, tensor.name))
        onnx.save(changed, str(path))
        with OrtRuntime(float32_kernels(path), optimise=False) as rounding:
            stage = judge(Stage("mutant", low.precision), rounding.run, pairs)
        ratio = stage.worst_ratio
        yield {
            "weight": tensor.name,
            "ratio": ratio,
            "failed": stage.status == FAILED,
            "told": is_seen(low, path, graph),
        }


def is_seen(low: LowPrecisionGraph, path: Path, graph: OnnxGraph) -> bool:
    """Return True if the comparison with the float32 graph sees it."""
    source = float32_source(graph, low.graph.opset)
    names = frozenset(node.name for node in source.graph.node) - set(low.float32)
    try:
        check_precision(source, path, names, low.precision)
    except CheckFailed as error:
        return "constant" in str(error)
    return False


def document(rows: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Return the document that is stored."""
    flat = [row for found in rows.values() for row in found]
    precisions = {}
    for name, allowed in HALVES.items():
        of_it = [row["precisions"][name] for row in flat]
        changed = [mutant for row in of_it for mutant in row["mutants"]]
        precisions[name] = {
            "largest": max(ratio for row in of_it for ratio in row["ratios"].values()),
            "healthy": allowed.healthy,
            "limit": allowed.limit,
            "largest_floor_l2": max(row["floor_l2"] for row in of_it),
            "verdicts": sum(row["verdicts"] for row in of_it),
            "weights_off": len(changed),
            "weights_off_failed": sum(mutant["failed"] for mutant in changed),
            "weights_off_told": sum(mutant["told"] for mutant in changed),
        }
    return {
        "command": "python benchmarks/derive_half_limits.py",
        **here(),
        "precisions": precisions,
        "alarms": [alarm for row in flat for name in HALVES for alarm in row["precisions"][name]["alarms"]],
        "rows": rows,
    }


def line(name: str, row: dict[str, Any]) -> str:
    """One row in words."""
    parts = []
    for precision, found in row["precisions"].items():
        ratios = " ".join(f"{way} {ratio:.2f}" for way, ratio in found["ratios"].items())
        failed = sum(mutant["failed"] for mutant in found["mutants"])
        parts.append(f"{precision}: {ratios} floor {found['floor_l2']:.1e} off {failed}/{len(found['mutants'])}")
    return f"{name:26} seed {row['seed']}  {'  '.join(parts)}  {row['seconds']} s"


if __name__ == "__main__":
    sys.exit(main())
