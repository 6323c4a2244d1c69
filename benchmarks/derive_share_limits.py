"""Measure how much variation a channel of a healthy graph loses: from this the limits of every precision are set.

    python benchmarks/derive_share_limits.py              all targets; writes results/share_limits.json
    python benchmarks/derive_share_limits.py gam cbam     these alone, nothing written
    python benchmarks/derive_share_limits.py --precision int8-fp16     one precision; the others stay as they are stored

Every target is exported with each seed of its weights, lowered to every precision, and run on the ordinary cases of
every case seed. The share is the deviation of a channel's error over its own. A channel may lose ``share`` of
attn2trt.core.precision.Precision, in float32 no more than 8 of its own roundings either. ``of_allowed``, the largest
part of what its channel may lose over all graphs that keep their budget, must stay at or below three quarters.
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from catalogue import photographs
from derivation import Targets, arguments, here, rows_of

from attn2trt.core.precision import FP32, PRECISIONS
from attn2trt.engines.isolated_child import KERNELS
from attn2trt.engines.ort_runtime import OrtRuntime
from attn2trt.errors import ModuleRefused
from attn2trt.modules.catalog import resolve
from attn2trt.validate.case_values import STRESS_KINDS
from attn2trt.validate.cases import Case, make_cases
from attn2trt.validate.metrics import Reference, measure
from attn2trt.validate.reference import references
from attn2trt.validate.slices import Slices
from attn2trt.workflows import float32_graph
from attn2trt.workflows.options import PrecisionRequest
from attn2trt.workflows.precision import PrecisionWriter

RESULTS = Path(__file__).parent / "results/share_limits.json"
BLOCK = ("2x64x28x28", "batch=1:2:4,height=14:28:42,width=14:28:42")
CLASSES = ("4x3x64x64", "batch=1:4:8")
BLOCKS = ("cbam", "coord_att", "gam", "psa", "sk", "triplet", "danet")
TARGETS: Targets = {
    **dict.fromkeys(BLOCKS, (*BLOCK, 1, 1)),
    **dict.fromkeys(("resnet18+se", "mobilenetv2_050+coord_att", "efficientnet_b0+eca"), (*CLASSES, 1, 2)),
}
TARGETS["swin"] = ("2x64x14x14", "batch=1:2:4", 1, 1)  # its weights belong to one size


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--precision", choices=PRECISIONS, help="one alone")
    options = parser.parse_args()
    wanted = [options.precision] if options.precision else [*PRECISIONS]
    rows = rows_of(TARGETS, options, measured, line, wanted)
    document = summary([row for found in rows.values() for row in found], wanted)
    if options.precision and RESULTS.exists():
        stored = json.loads(RESULTS.read_text())
        found = stored["precisions"] | document["precisions"]
        precisions = {name: found[name] for name in PRECISIONS if name in found}
        document = {**stored, "precisions": precisions, "rows": [*stored["rows"], *document["rows"]]}
    print(json.dumps(document["precisions"]))
    if not options.targets:
        RESULTS.write_text(json.dumps(document, indent=1) + "\n")
    wrong = [name for name, one in document["precisions"].items() if one["of_allowed"] > 0.75]
    return 1 if wrong else 0


def measured(name: str, seed: int, wanted: list[str]) -> dict[str, Any]:
    """One set of weights: the largest share of its healthy graphs in every wanted precision."""
    since = time.perf_counter()
    shape, axes, _, case_seeds = TARGETS[name]
    target = resolve(name, shapes=[shape], dynamic=axes, seed=seed)
    module = target.build()
    row: dict[str, Any] = {"target": name, "seed": seed, "precisions": {}}
    with tempfile.TemporaryDirectory() as name_of_folder:
        folder = Path(name_of_folder)
        graph = float32_graph.export_graph(target, module, folder)
        names = [spec.name for spec in graph.outputs]
        pairs = []
        for case_seed in range(case_seeds):
            cases = [
                case for case in make_cases(target.inputs, target.axes, seed=case_seed) if case.kind not in STRESS_KINDS
            ]
            pairs += zip(cases, references(module, cases, names), strict=True)
        (folder / "images").mkdir()
        photographs(folder / "images")
        how = {"images": folder / "images", "preprocessing": target.preprocessing}
        cases = make_cases(target.inputs, target.axes, seed=seed, **how)
        request = PrecisionRequest(precisions=[*PRECISIONS])
        writer = PrecisionWriter(request, graph, target, cases, folder, module, seed, lambda *_: None)
        for precision in wanted:
            try:
                with opened(precision, writer) as runtime:
                    row["precisions"][precision] = shares(runtime, pairs, precision)
            except ModuleRefused:  # nothing to quantise
                continue
    return {**row, "seconds": round(time.perf_counter() - since)}


def opened(precision: str, writer: PrecisionWriter) -> OrtRuntime:
    """Return the graph of one precision in ONNX Runtime, with kernels that round as the precision does."""
    path = writer.graph.path if precision == FP32 else writer.write(precision).graph.path
    return OrtRuntime(KERNELS[PRECISIONS[precision].kernels](path), optimise=False)


def shares(runtime: OrtRuntime, pairs: list[tuple[Case, Reference]], precision: str) -> dict[str, Any]:
    """The largest share, and how many slices were judged or left out."""
    slices, error = Slices(), 0.0
    for case, reference in pairs:
        outputs = runtime.run(case.feeds)
        slices.add(reference, outputs, is_ordinary=True)
        error = max(error, *(measure(outputs[name], truth).l2 for name, truth in reference.outputs64.items()))
    lost, allowed = slices.shares(PRECISIONS[precision]), slices.allowed(PRECISIONS[precision])
    found = np.concatenate([*lost.values(), np.zeros(0)])
    of_allowed = np.concatenate([*(share / allowed[key] for key, share in lost.items()), np.zeros(0)])
    judged = np.isfinite(found)
    largest = [float(values[judged].max()) if judged.any() else math.nan for values in (found, of_allowed)]
    counts = {"judged": int(judged.sum()), "left_out": int((~judged).sum())}
    return {"largest": largest[0], "of_allowed": largest[1], "error": error, **counts}


def summary(rows: list[dict[str, Any]], wanted: list[str]) -> dict[str, Any]:
    """Return the document that is stored."""
    precisions = {}
    for name in wanted:
        allowed = PRECISIONS[name]
        found = [row["precisions"][name] for row in rows if name in row["precisions"]]
        found = [one for one in found if one["error"] <= allowed.budget]
        precisions[name] = {
            **{key: max(one[key] for one in found if one["judged"]) for key in ("largest", "of_allowed")},
            "limit": allowed.share,
            "graphs": len(found),
            **{key: sum(one[key] for one in found) for key in ("judged", "left_out")},
        }
    return {"command": "python benchmarks/derive_share_limits.py", **here(), "precisions": precisions, "rows": rows}


def line(name: str, row: dict[str, Any]) -> str:
    """One row in words."""
    parts = [
        f"{precision} {found['largest']:.2g} of {found['error']:.1e} ({found['judged']}, {found['left_out']} left out)"
        for precision, found in row["precisions"].items()
    ]
    return f"{name:26} seed {row['seed']}  {'  '.join(parts)}  {row['seconds']} s"


if __name__ == "__main__":
    sys.exit(main())
