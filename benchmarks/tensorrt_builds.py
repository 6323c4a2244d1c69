"""Build every block, the papers' backbones and the examples with TensorRT for RTX; write the docs' table.

Usage: python benchmarks/tensorrt_builds.py [--jobs N] [--resume] [TARGET ...]. Blocks and examples in every precision
that a bundle can hold, backbones in float32 and float16. Needs no GPU. Writes benchmarks/results/tensorrt_builds.json
and docs/tensorrt_builds.md after every target, and takes up an interrupted run of the same code and versions;
--resume also keeps what was built with other code. With TARGETs it prints their rows and writes nothing.
"""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
from catalogue import BLOCK_AXES, BLOCKS, IMAGE_AXES, IMAGE_SHAPE
from code_hash import code_hash
from exported_graphs import BACKBONES, EXAMPLES, PRECISIONS, TARGETS, export, precisions_of, target_of
from page_text import generated, table
from real_builder import TAKEN, ask, short
from stored_results import heading, of_earlier_runs, row_options, rows_before, side_by_side, store

from attn2trt.engines.tensorrt.targets import DEFAULT
from attn2trt.errors import Attn2trtError

ROOT = Path(__file__).parent.parent
RESULTS, PAGE = ROOT / "benchmarks/results/tensorrt_builds.json", ROOT / "docs/tensorrt_builds.md"
ROOMS = ("modules", "export", "engines")
BUILT, REFUSED, NO_GRAPH = "built", "refused", "no graph"
INTRODUCTION = f"""\
TensorRT for RTX parsed and built these graphs for {DEFAULT} (fp8 for those that compute in it), on a machine without a
GPU: no plan was run. Blocks: 64 channels, `--dynamic {BLOCK_AXES}`. Networks:
`--shape {IMAGE_SHAPE} --dynamic {IMAGE_AXES}`. Of a block whose weights belong to one height and width, only the batch
is dynamic. Seconds are the builder's own. *No graph*: a bundle cannot hold the precision, for the reason below.
"""


def measure(name: str, precisions: Sequence[str] = ()) -> list[dict[str, Any]]:
    """The rows of a target, one for each of the ``precisions`` or, without any, for all that it is written in."""
    precisions = precisions or precisions_of(name)
    with tempfile.TemporaryDirectory() as folder:
        try:
            target = target_of(name)
            graphs = dict(export(target, Path(folder), precisions))
        except Attn2trtError as error:
            return [_row(name, precision, NO_GRAPH, str(error)) for precision in precisions]
        rows = []
        for precision, graph in graphs.items():
            if isinstance(graph, str):
                rows.append(_row(name, precision, NO_GRAPH, graph.partition(";")[0]))
                continue
            words, seconds = ask(graph.path, precision, graph.inputs, graph.axes, graph.modules)
            nodes = len(onnx.load(str(graph.path), load_external_data=False).graph.node)
            result = BUILT if words == TAKEN else REFUSED
            rows.append(_row(name, precision, result, words) | {"nodes": nodes, "seconds": round(seconds, 2)})
        return rows


def _row(name: str, precision: str, result: str, why: str) -> dict[str, Any]:
    return {"target": name, "precision": precision, "result": result, "why": why}


def page(document: dict[str, Any]) -> str:
    """The docs page."""
    rows = document["rows"]
    count = Counter(row["result"] for row in rows)
    lines = [
        "# What TensorRT for RTX builds",
        "",
        generated("python benchmarks/tensorrt_builds.py", document),
        "",
        f"Built: {count[BUILT]} of {count[BUILT] + count[REFUSED]} graphs. {INTRODUCTION}",
        *of_earlier_runs(rows),
    ]
    groups = {"Blocks": BLOCKS, "Networks of the blocks' papers": BACKBONES, "Examples": EXAMPLES}
    for title, names in groups.items():
        asked = [name for name in PRECISIONS if any(name in precisions_of(target) for target in names)]
        results = {name: {row["precision"]: row for row in rows if row["target"] == name} for name in names}
        shown = (
            (f"`{name}`", *(_cell(found.get(precision)) for precision in asked))
            for name, found in results.items()
            if found
        )
        lines += [f"## {title}", "", *table(f"target | {' | '.join(asked)}", shown), ""]
    for result, title in ((REFUSED, "Refusals"), (NO_GRAPH, "No graph")):
        reasons = [row for row in rows if row["result"] == result]
        if reasons:
            shown = ((f"`{row['target']}`", row["precision"], short(row["why"])) for row in reasons)
            lines += [f"## {title}", "", *table("target | precision | reason", shown), ""]
    return "\n".join(lines).rstrip() + "\n"


def _cell(row: dict[str, Any] | None) -> str:
    if row is None:
        return "-"
    if row["result"] == BUILT:
        return f"built, {row['seconds']:.1f} s"
    return row["result"] if row["result"] == NO_GRAPH else f"**{row['result']}**"


def main(names: list[str], jobs: int, *, resume: bool) -> int:
    """Build everything; exit code 1 if a graph was refused."""
    document: dict[str, Any] = heading("tensorrt-rtx", "torch", "timm", "onnx", "onnxscript", "onnxsim") | {
        "sources": code_hash(ROOMS),
        "rows": [],
    }
    if not names:
        stored = rows_before(RESULTS, document, lambda _: resume)
        document["rows"] = [row for row in stored if row["result"] != REFUSED]
    order = names or TARGETS
    rows = {
        name: found
        for name in order
        if len(found := [row for row in document["rows"] if row["target"] == name]) == len(precisions_of(name))
    }
    for found in side_by_side(measure, [(name,) for name in order if name not in rows], jobs):
        rows[found[0]["target"]] = found
        print(f"{len(rows)}/{len(order)}", found[0]["target"], *map(_line, found), sep=" | ", flush=True)
        document["rows"] = [row for name in order if name in rows for row in rows[name]]
        if not names:
            store(document, RESULTS, PAGE, page(document))
    return 1 if any(row["result"] == REFUSED for found in rows.values() for row in found) else 0


def _line(row: dict[str, Any]) -> str:
    why = f" ({row['why']})" if row["result"] == REFUSED else ""
    return f"{row['precision']} {row['result']}{why}"


if __name__ == "__main__":
    options = row_options(__doc__, "TARGET", kept="what was built in other runs, too").parse_args()
    sys.exit(main(options.names, options.jobs, resume=options.resume))
