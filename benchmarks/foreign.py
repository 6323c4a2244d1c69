"""Check ONNX files that other tools wrote, and write the table.

Usage: python benchmarks/foreign.py [--resume] [--only TEXT]. It needs onnxslim, onnxconverter-common and, for files
that a package ships, rapidocr-onnxruntime, beside what the README installs; ultralytics and optimum for theirs, as
other_tools/libraries.py says. It writes benchmarks/results/foreign.json and docs/foreign.md; with --only it prints the
rows whose model or tool has the text. Exit code 1 if one crashes.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from page_text import generated, short, table
from stored_results import heading, store

if TYPE_CHECKING:
    from other_tools import Foreign

ROOT = Path(__file__).parent.parent
RESULTS, PAGE = ROOT / "benchmarks/results/foreign.json", ROOT / "docs/foreign.md"
PACKAGES = ("torch", "torchvision", "onnx", "onnxruntime-gpu", "tensorrt-rtx")
CRASHED = "crashed"
LONGEST = 220  # of a reason in the page


def measure(file: Foreign) -> dict[str, Any]:
    """Write one file, check it, and return its row."""
    import attn2trt
    from attn2trt.errors import Attn2trtError

    row: dict[str, Any] = {"model": file.model, "tool": file.tool}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        file.write(path)
        since = time.perf_counter()
        try:
            checked = attn2trt.check_model(path, capabilities="sm86", **file.options)
        except Attn2trtError as error:
            return row | {"result": "refused", "why": " ".join(str(error).split()).replace(str(path), "model.onnx")}
        except Exception as error:
            return row | {"result": CRASHED, "why": f"{type(error).__name__}: {error}"}
        seconds = time.perf_counter() - since
    stages = [
        {"stage": one.label, "status": one.status, "why": one.why, "ratio": round(one.worst_ratio, 2)}
        for one in checked.verdict.stages
        if one.label != "tensorrt"
    ]
    known = {"opset": checked.file.opset, "precision": checked.file.precision, "files": len(checked.file.files)}
    return row | known | {"result": _result(checked), "stages": stages, "seconds": round(seconds, 1)}


def _result(checked: Any) -> str:
    if checked.passed:
        return "passed"
    return "failed" if any(stage.status == "failed" for stage in checked.verdict.objections) else "not checked"


def page(document: dict[str, Any]) -> str:
    """Return the docs page."""
    rows = document["rows"]
    count = Counter(row["result"] for row in rows)
    lines = [
        "# Files of other tools",
        "",
        generated("python benchmarks/foreign.py", document),
        "",
        f"`attn2trt check` on {len(rows)} ONNX files that other tools wrote: "
        + ", ".join(f"{number} {result}" for result, number in sorted(count.items(), key=lambda one: -one[1]))
        + f"; {count[CRASHED]} crashed.",
        "The truth is each graph itself in float64; *ratio* is the largest error of ONNX Runtime, as written and as in",
        "production, in what the graph loses by itself. *TensorRT* is TensorRT for RTX, which parses and builds, and",
        "runs nothing. Networks have random weights: a graph is judged, and no accuracy.",
        "",
        *table("model | written by | opset | inside | result | ratio | TensorRT | s", map(_cells, rows)),
    ]
    return "\n".join(lines) + "\n"


def _cells(row: dict[str, Any]) -> list[str]:
    if row["result"] in ("refused", CRASHED):
        return [row["model"], row["tool"], "", "", f"**{row['result']}**: {short(row['why'], LONGEST)}", "", "", ""]
    judged = [stage for stage in row["stages"] if not stage["stage"].startswith("tensorrt")]
    built = next(stage for stage in row["stages"] if stage["stage"].startswith("tensorrt"))
    result = row["result"]
    if result != "passed":
        wrong = next((stage for stage in judged if stage["status"] in ("failed", "not checked")), None)
        in_ort = (
            "right in ONNX Runtime"
            if wrong is None
            else f"{wrong['status']} in ONNX Runtime: {short(wrong['why'], LONGEST)}"
        )
        result = f"**{result}**: {in_ort}"
    took = built["status"] if built["status"] == "built" else f"**{built['status']}**: {short(built['why'], LONGEST)}"
    ratios = [stage["ratio"] for stage in judged if stage["status"] != "not checked"]
    ratio = f"{max(ratios):g}" if ratios else ""
    return [row["model"], row["tool"], str(row["opset"]), row["precision"], result, ratio, took, str(row["seconds"])]


def main(only: str, *, resume: bool) -> int:
    """Measure every file, or those whose model or tool has a text; return 1 if one crashes."""
    from other_tools import files

    rows = json.loads(RESULTS.read_text())["rows"] if resume and RESULTS.exists() else []
    known = {(row["model"], row["tool"]): row for row in rows}
    found = []
    for file in files():
        if only and only not in f"{file.model} {file.tool}":
            continue
        row = known.get((file.model, file.tool)) or measure(file)
        found.append(row)
        print(f"{row['result']:12} {file.model}, {file.tool}: {row.get('why', '')[:200]}", flush=True)
        if only:
            print(json.dumps(row, indent=1))
            continue
        document = heading(*PACKAGES) | {"rows": found}
        store(document, RESULTS, PAGE, page(document))
    return 1 if any(row["result"] == CRASHED for row in found) else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", metavar="TEXT")
    parser.add_argument("--resume", action="store_true")
    arguments = parser.parse_args()
    sys.exit(main(arguments.only, resume=arguments.resume))
