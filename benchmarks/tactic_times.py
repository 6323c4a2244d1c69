"""Read off a TensorRT builder's log how long its kernels took: the best time of each layer for each format.

Usage: python benchmarks/tactic_times.py NAME=LOG[.gz] ... The builder of TensorRT 8.6 times the kernels of every layer
at the profile's optimum, for every format of its tensors, and writes the times into its log. So a log of a machine
with a GPU says what a layer costs in a format that the plan did not take. Adds the graphs to results/tactic_times.json
under their names, and writes docs/gpu_candidates.md again.
"""

from __future__ import annotations

import gzip
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results/tactic_times.json"
FORMATS = re.compile(r"Autotuning format combination: (.*?) \*\*\*")
REFORMAT = re.compile(r"Autotuning Reformat: (.*?) \*\*\*")
RUNNER = re.compile(r"Timing Runner: (.*) \((\w+)\[")
TIME = re.compile(r"Tactic: 0x[0-9a-f]+ Time: ([\d.]+)")


def timed(log: str) -> list[dict[str, Any]]:
    """Return the best time of each layer, kind of kernel and format, in the order of the log; in microseconds."""
    best: dict[tuple[str, str, str], float] = {}
    formats, layer = "", ("", "")
    for line in log.splitlines():
        if found := FORMATS.search(line) or REFORMAT.search(line):
            formats = found[1]
        elif found := RUNNER.search(line):
            layer = (found[1], found[2])
        elif (found := TIME.search(line)) and "Fastest" not in line:
            key = (*layer, formats)
            best[key] = min(best.get(key, float("inf")), float(found[1]) * 1e3)
    return [
        {"layer": layer, "kernel": kernel, "formats": formats, "us": round(us, 2)}
        for (layer, kernel, formats), us in best.items()
    ]


def _text(path: Path) -> str:
    content = path.read_bytes()
    return (gzip.decompress(content) if path.suffix == ".gz" else content).decode("utf-8", "replace")


def main(asked: Sequence[str]) -> int:
    """Add the logs; exit code 2 for an argument without a name or without a time in its log."""
    document: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for argument in asked:
        name, _, file = argument.partition("=")
        rows = timed(_text(Path(file))) if file else []
        if not rows:
            print(f"received {argument!r}; expected NAME=LOG with the log of a builder that timed kernels")
            return 2
        document[name] = rows
    RESULTS.write_text(json.dumps(document, indent=1) + "\n")
    from gpu_candidates_page import write

    write()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
