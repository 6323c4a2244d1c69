"""Measure healthy graphs in tf32: from this the limit is set. The tables of docs/tf32.md are written from the result.

    python benchmarks/derive_tf32_limit.py              all targets; writes results/tf32_limit.json and docs/tf32.md
    python benchmarks/derive_tf32_limit.py se cbam      these alone, nothing written

Every target of derive_half_limits.py is exported with each seed of its weights and judged with tf32 operands on the
cases of every case seed. The largest ratio must stay at or below ``healthy`` of attn2trt.core.precision.LOWER.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from derivation import WAYS, arguments, here, rows_of, usual, worst
from derive_half_limits import TARGETS
from page_text import table, versions_text, with_parts

from attn2trt.core.precision import LOWER
from attn2trt.engines.ort_runtime import OrtRuntime
from attn2trt.engines.tf32_kernels import tf32_kernels
from attn2trt.modules.catalog import resolve
from attn2trt.validate.cases import make_cases
from attn2trt.validate.reference import references
from attn2trt.validate.stages.judge import judge
from attn2trt.validate.stages.stage import WRITTEN, Stage
from attn2trt.validate.tf32 import Tf32
from attn2trt.validate.verdict import FAILED
from attn2trt.workflows import float32_graph

ROOT = Path(__file__).parents[1]
RESULTS, PAGE = ROOT / "benchmarks/results/tf32_limit.json", ROOT / "docs/tf32.md"
TF32 = LOWER["tf32"]


def main() -> int:
    options = arguments(__doc__).parse_args()
    rows = rows_of(TARGETS, options, measured, line)
    data = document([row for found in rows.values() for row in found])
    print(f"largest ratio {data['largest']:.2f}, alarms {data['alarms']}")
    if not options.targets:
        RESULTS.write_text(json.dumps(data, indent=1) + "\n")
        PAGE.write_text(page(data))
    return 1 if data["alarms"] or data["largest"] > TF32.healthy else 0


def measured(name: str, seed: int) -> dict[str, Any]:
    """One set of weights: the ratios of its healthy graph, by what decided."""
    shape, axes, _, case_seeds = TARGETS[name]
    target = resolve(name, shapes=[shape], dynamic=axes, seed=seed)
    module = target.build()
    with tempfile.TemporaryDirectory() as folder:
        graph = float32_graph.export_graph(target, module, Path(folder))
        outputs = [spec.name for spec in graph.outputs]
        sets = []
        for case_seed in range(case_seeds):
            cases = make_cases(target.inputs, target.axes, seed=case_seed)
            sets.append(list(zip(cases, references(module, cases, outputs, lower=[Tf32()]), strict=True)))
        with OrtRuntime(tf32_kernels(graph.path), optimise=False) as runtime:
            stages = [judge(Stage(WRITTEN, "tf32"), runtime.run, pairs) for pairs in sets]
    return {
        "target": name,
        "seed": seed,
        "ratios": {way: round(worst(stages, way), 3) for way in WAYS},
        "floor_l2": max(float(reference.lower["tf32"][out].l2) for _, reference in usual(sets) for out in outputs),
        "verdicts": len(stages),
        "alarms": [f"{name}, weights {seed}: {stage.why}" for stage in stages if stage.status == FAILED],
    }


def line(name: str, row: dict[str, Any]) -> str:
    """One row in words."""
    return f"{name:26} seed {row['seed']}  {row['ratios']}  floor {row['floor_l2']:.1e}"


def document(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the document that is stored."""
    return {
        "command": "python benchmarks/derive_tf32_limit.py",
        **here(),
        "largest": max(ratio for row in rows for ratio in row["ratios"].values()),
        "healthy": TF32.healthy,
        "limit": TF32.limit,
        "budget": TF32.budget,
        "verdicts": sum(row["verdicts"] for row in rows),
        "alarms": [alarm for row in rows for alarm in row["alarms"]],
        "rows": rows,
    }


def page(data: dict[str, Any]) -> str:
    """Return the page with its parts, the limits and what was measured."""
    limits = (f"{data['healthy']:g}", f"{data['limit']:g}", f"{data['budget']:g}")
    parts = {"limits": table("R | limit, in floors | budget, relative L2", [limits]), "measured": _measured(data)}
    return with_parts(PAGE.read_text(), parts)


def _measured(data: dict[str, Any]) -> Iterator[str]:
    found: dict[str, list[dict[str, Any]]] = {}
    for row in data["rows"]:
        found.setdefault(row["target"], []).append(row)
    floors = {name: max(row["floor_l2"] for row in rows) for name, rows in found.items()}
    ratios = {name: max(ratio for row in rows for ratio in row["ratios"].values()) for name, rows in found.items()}
    yield from table(
        "target | seeds | floor | ratio",
        ((f"`{name}`", len(rows), f"{floors[name]:.1e}", f"{ratios[name]:.2f}") for name, rows in found.items()),
    )
    yield ""
    yield f"{data['machine']}; {versions_text(data)}. {data['verdicts']} verdicts,"
    yield f"false alarms: {len(data['alarms'])}, largest ratio {data['largest']:.2f}."


if __name__ == "__main__":
    sys.exit(main())
