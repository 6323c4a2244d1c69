"""Measure healthy models: the largest ratio that they reach, from which the verdict's limit is set.

    python benchmarks/derive_limit.py                            all targets; writes results/limit.json
    python benchmarks/derive_limit.py --seeds 2 --case-seeds 3 se resnet50+cbam      these alone, nothing written

Every target is exported with each seed of its weights, with dynamic axes, and judged in ONNX Runtime as written and
as optimised, on the cases of every case seed; the checks between the rows of a batch run too. A failed verdict is a
false alarm. The largest ratio of all must stay at or below attn2trt.validate.metrics.HEALTHY_RATIO.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from derivation import WAYS, here
from stored_results import side_by_side

from attn2trt.engines.ort_runtime import OrtRuntime
from attn2trt.export.trace.exporter import trace
from attn2trt.modules.catalog import resolve
from attn2trt.validate.batch_consistency import compare_rows
from attn2trt.validate.cases import make_cases
from attn2trt.validate.metrics import HEALTHY_RATIO, LIMIT
from attn2trt.validate.reference import references
from attn2trt.validate.stages.judge import judge
from attn2trt.validate.stages.stage import ROWS, Stage
from attn2trt.validate.verdict import FAILED, StageResult

RESULTS = Path(__file__).parent / "results/limit.json"
BLOCK = (None, "batch=1:2:4,height=14:28:56,width=14:28:56")
IMAGE = ("2x3x64x64", "batch=1:2:3,height=48:64:81,width=48:64:81")
FULL = (None, "batch=1:2:3")
# name: shape, axes, seeds of the weights, seeds of the cases
TARGETS: dict[str, tuple[str | None, str, int, int]] = {
    **dict.fromkeys(("se", "cbam", "eca", "coord_att", "gam", "psa"), (*BLOCK, 4, 3)),
    **dict.fromkeys(("resnet18+se", "resnet18+cbam", "resnet34+eca", "resnet50+psa"), (*IMAGE, 2, 2)),
    **dict.fromkeys(("mobilenetv2_050+coord_att", "efficientnet_b0+se"), (*IMAGE, 2, 2)),
    **dict.fromkeys(("resnet50", "efficientnet_b0"), (*FULL, 1, 1)),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", help="default: all below, and the result is stored")
    parser.add_argument("--seeds", type=int, help="weights: seeds 0 to this, exclusive")
    parser.add_argument("--case-seeds", type=int, help="inputs for each: as above")
    parser.add_argument("--missing", action="store_true", help="only the targets that have no stored row yet")
    parser.add_argument("--jobs", type=int, default=2, help="exports at a time (default: 2)")
    options = parser.parse_args()
    stores = not (options.targets or options.seeds or options.case_seeds)
    rows: dict[str, Any] = json.loads(RESULTS.read_text())["rows"] if stores and RESULTS.exists() else {}
    names = [name for name in options.targets or TARGETS if not (options.missing and name in rows)]
    found: dict[str, dict[int, dict[str, Any]]] = {name: {} for name in names}
    work = []
    for name in names:
        shape, axes, seeds, case_seeds = TARGETS.get(name, (*FULL, 1, 2))
        wanted = options.seeds or seeds
        work += [(name, shape, axes, seed, options.case_seeds or case_seeds, wanted) for seed in range(wanted)]
    for name, seed, seeds, row in side_by_side(numbered, work, options.jobs):
        found[name][seed] = row
        if len(found[name]) == seeds:
            rows[name] = joined([found[name][seed] for seed in sorted(found[name])])
            print(line(name, rows[name]), flush=True)
            if stores:
                RESULTS.parent.mkdir(exist_ok=True)
                RESULTS.write_text(json.dumps(document(rows), indent=1) + "\n")
    data = document(rows)
    print("largest of all: " + "  ".join(f"{way} {ratio:.3g}" for way, ratio in data["largest"].items()), end="; ")
    print(f"R {HEALTHY_RATIO:g}, limit {LIMIT:g}; false alarms {len(data['alarms'])} of {data['verdicts']} verdicts")
    print(*data["alarms"], sep="\n")
    return 1 if data["alarms"] or max(data["largest"].values()) > HEALTHY_RATIO else 0


def numbered(
    name: str, shape: str | None, axes: str, seed: int, case_seeds: int, seeds: int
) -> tuple[str, int, int, dict[str, Any]]:
    """``judged`` with what it is of: the target, the seed of its weights, and how many seeds it has."""
    return name, seed, seeds, judged(name, shape, axes, seed, case_seeds)


def judged(name: str, shape: str | None, axes: str, seed: int, case_seeds: int) -> dict[str, Any]:
    """The export of one set of weights, judged on the cases of every seed."""
    since = time.perf_counter()
    target = resolve(name, shapes=[shape] if shape else [], dynamic=axes, seed=seed)
    module = target.build()
    stages: list[StageResult] = []
    with tempfile.TemporaryDirectory() as folder:
        graph = trace(target, module, Path(folder) / "model.onnx", opset=17)
        with OrtRuntime(graph.path, optimise=False) as plain, OrtRuntime(graph.path) as optimised:
            for case_seed in range(case_seeds):
                cases = make_cases(target.inputs, target.axes, seed=case_seed)
                pairs = list(zip(cases, references(module, cases, [out.name for out in graph.outputs]), strict=True))
                where = f"{name}, weights {seed}, cases {case_seed}"
                runs = {f"{where}, as written": plain.run, f"{where}, optimised": optimised.run}
                stages += [judge(Stage(name), run, pairs) for name, run in runs.items()]
                stages += [compare_rows(run, pairs, Stage(name, kind=ROWS)) for name, run in runs.items()]
    return {
        "seeds": 1,
        "case_seeds": case_seeds,
        "verdicts": 2 * case_seeds,
        "comparisons": sum(len(stage.comparisons) for stage in stages),
        "largest": largest(stages),
        "alarms": [f"{stage.label}: {stage.why}" for stage in stages if stage.status == FAILED],
        "unchecked": [f"{stage.label}: {stage.why}" for stage in stages if stage.status == "not checked"],
        "seconds": round(time.perf_counter() - since),
    }


def largest(stages: list[StageResult]) -> dict[str, float]:
    """Return the worst ratio of each way, those between rows of a batch on their own."""
    ratios = dict.fromkeys((*WAYS, ROWS), 0.0)
    for stage in stages:
        for _, comparison in stage.comparisons:
            way = ROWS if stage.stage.kind == ROWS else comparison.which
            if way in ratios:
                ratios[way] = max(ratios[way], comparison.ratio)
    return ratios


def joined(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The rows of one target's seeds as one; also those of all targets."""
    summed = {key: sum(row[key] for row in rows) for key in ("seeds", "verdicts", "comparisons", "seconds")}
    return {
        **summed,
        "case_seeds": max(row["case_seeds"] for row in rows),
        "largest": {way: max(row["largest"][way] for row in rows) for way in (*WAYS, ROWS)},
        "alarms": [alarm for row in rows for alarm in row["alarms"]],
        "unchecked": [entry for row in rows for entry in row["unchecked"]],
    }


def document(rows: dict[str, Any]) -> dict[str, Any]:
    """Return the document that is stored: the rows in their usual order, and all of them together."""
    total = joined(list(rows.values()))
    order = [name for name in TARGETS if name in rows] + [name for name in rows if name not in TARGETS]
    return {
        "command": "python benchmarks/derive_limit.py",
        **here(),
        "exports": total["seeds"],
        **{key: total[key] for key in ("verdicts", "comparisons", "largest", "alarms")},
        "rows": {name: rows[name] for name in order},
    }


def line(name: str, row: dict[str, Any]) -> str:
    """One row in words."""
    ratios = "  ".join(f"{way} {ratio:5.2f}" for way, ratio in row["largest"].items())
    return f"{name:26} {row['seeds']} seeds  {ratios}  alarms {len(row['alarms'])}  {row['seconds']:4} s"


if __name__ == "__main__":
    sys.exit(main())
