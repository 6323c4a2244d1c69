"""Export every trap of tests/traps with torch.onnx alone and with attn2trt, compare both, and write the docs' table.

Usage: python benchmarks/traps.py [--resume] [NAME ...]. Without names it writes benchmarks/results/traps.json and
docs/traps.md; --resume keeps the rows that are there and right.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from outcomes import Outcome, ours, plain, shorten
from page_text import generated, table
from stored_results import heading, store

ROOT = Path(__file__).parent.parent
RESULTS, PAGE = ROOT / "benchmarks/results/traps.json", ROOT / "docs/traps.md"
sys.path.insert(0, str(ROOT / "tests"))

from traps import TRAPS, Trap  # noqa: E402  tests/ is not installed


def measure(trap: Trap) -> dict[str, Any]:
    """One row: what the plain exporter's graph and ours came to."""
    found: dict[str, Outcome] = {}
    for name, run in (("plain", plain), ("ours", ours)):
        with tempfile.TemporaryDirectory() as folder:
            found[name] = run(trap.build(), trap.example(), trap.dynamic, Path(folder))
    row = {"trap": trap.name, "theme": trap.theme, "what": trap.what, "dynamic": trap.dynamic}
    for name, outcome in found.items():
        row[name] = outcome.to_json() | {"why": shorten(outcome.why)}
    return row


def page(document: dict[str, Any]) -> str:
    """The docs page."""
    rows = document["rows"]
    count = {name: Counter(row[name]["result"] for row in rows) for name in ("plain", "ours")}

    def total(name: str) -> str:
        return ", ".join(f"{number} {result}" for result, number in count[name].most_common())

    lines = [
        "# Export traps",
        "",
        generated("python benchmarks/traps.py", document),
        "",
        f"{len(rows)} small modules in `tests/traps/`, each with one trap of the kind met in public attention code,",
        "with dynamic batch, height and width. *Plain*: `torch.onnx.export(dynamo=True, dynamic_shapes=…)`. *Ours*:",
        "`attn2trt.deploy`. Every graph was run in ONNX Runtime at the traced sizes, at every corner of the ranges and",
        "at ten random sizes inside, and compared with eager PyTorch in float64.",
        "",
        f"- plain: {total('plain')}",
        f"- ours: {total('ours')}",
        "",
        *table(
            "module | trap | plain | ours",
            ((f"`{row['trap']}`", row["what"], _cell(row["plain"]), _cell(row["ours"])) for row in rows),
        ),
    ]
    return "\n".join(lines) + "\n"


def _cell(outcome: dict[str, Any]) -> str:
    result = outcome["result"]
    if result == "right":
        return "right" + (f" ({outcome['constraints']})" if "constraints" in outcome else "")
    return f"**{result}**: {outcome.get('why', '')[:240]}"


def main(names: list[str], *, resume: bool) -> int:
    """Measure every trap; exit code 1 if one of ours is wrong without saying so, or raised."""
    rows = json.loads(RESULTS.read_text())["rows"] if resume and RESULTS.exists() else []
    known = {row["trap"]: row for row in rows if row["ours"]["result"] == "right"}
    document: dict[str, Any] = heading("torch", "onnx", "onnxscript", "onnxruntime-gpu", "onnxsim") | {"rows": []}
    for trap in [TRAPS[name] for name in names] or list(TRAPS.values()):
        row = known.get(trap.name) or measure(trap)
        document["rows"].append(row)
        print(
            trap.name, *(f"{row[name]['result']} {row[name]['why']}".strip() for name in ("plain", "ours")), sep=" | "
        )
        sys.stdout.flush()
        if not names:
            store(document, RESULTS, PAGE, page(document))
    bad = [row for row in document["rows"] if row["ours"]["result"] in ("silently wrong", "traceback")]
    return 1 if bad else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", choices=[*TRAPS, []], help="only these, printed, not written"
    )
    parser.add_argument("--resume", action="store_true", help="keep the right rows that are there")
    options = parser.parse_args()
    sys.exit(main(options.names, resume=options.resume))
