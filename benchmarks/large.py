"""The memory that deploying one large linear layer takes, over its weights; write the docs' table.

Usage: python benchmarks/large.py [--only INDEX ...]. Each layer is deployed by the command line, without plans, in a
temporary folder. The memory is the proportional set size of the command and all processes below it, added up and
sampled; files that are mapped by several count once. Writes benchmarks/results/large.json and docs/large.md after every
layer. The largest takes about 12 GB of memory and some minutes. Linux alone.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from page_text import generated, table
from stored_results import heading, store

ROOT = Path(__file__).parent.parent
RESULTS, PAGE = ROOT / "benchmarks/results/large.json", ROOT / "docs/large.md"
# (inputs, outputs); the last has more weights than a protobuf file holds
LAYERS = ((8192, 9216), (16384, 33000))
TIMES = 5
SECONDS = 0.2  # between samples
MODULE = "from torch import nn\ndef make():\n    return nn.Linear({}, {})\n"


def family(pid: int) -> list[int]:
    """A process and all below it."""
    below: dict[int, list[int]] = defaultdict(list)
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:  # it has ended
                continue
            below[parent].append(int(entry.name))
    found = [pid]
    for one in found:
        found += below[one]
    return found


def resident_mib(pid: int) -> float:
    """The proportional set size of a process: its own memory, and its share of what it shares."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:")), 0.0)


def measure(inputs: int, outputs: int) -> dict[str, Any]:
    """Deploy a layer, and sample its memory meanwhile."""
    with tempfile.TemporaryDirectory(prefix="large-") as folder:
        (Path(folder) / "large.py").write_text(MODULE.format(inputs, outputs))
        words = ["deploy", "large.py", "--shape", f"2x{inputs}", "--for", "none", "-o", "bundle"]
        since, peak = time.perf_counter(), 0.0
        child = subprocess.Popen(
            [sys.executable, "-m", "attn2trt", *words],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT / ".typing")},
            stdout=subprocess.DEVNULL,
        )
        while child.poll() is None:
            peak = max(peak, sum(map(resident_mib, family(child.pid))))
            time.sleep(SECONDS)
        if child.returncode:
            raise SystemExit(f"attn2trt {' '.join(words)} ended with {child.returncode}")
    weights = (inputs + 1) * outputs * 4 / 2**20
    return {
        "layer": f"{inputs} x {outputs}",
        "weights_mib": weights,
        "peak_mib": peak,
        "times": peak / weights,
        "seconds": time.perf_counter() - since,
    }


def page(document: dict[str, Any]) -> str:
    """The docs page."""
    lines = [
        "# Large layers",
        "",
        generated("python benchmarks/large.py", document),
        "",
        "One `nn.Linear`, deployed by the command line with `--for none`, the whole verdict included. *Peak* is the",
        "largest memory of the command and all its processes together; importing PyTorch and ONNX Runtime takes about",
        f"700 MiB of it. Weights above 1.9 GB lie beside the graph. They may take {TIMES} times their size: module,",
        "copy in float64, which counts twice, and the file, which both judging processes map.",
        "",
        *table("layer | weights | peak | times the weights", map(_cells, document["rows"])),
    ]
    return "\n".join(lines) + "\n"


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    return row["layer"], f"{row['weights_mib']:.0f} MiB", f"{row['peak_mib']:.0f} MiB", f"{row['times']:.2f}"


def main(indices: list[int]) -> int:
    """Measure; exit code 1 if the largest layer takes more than it may."""
    stored = json.loads(RESULTS.read_text())["rows"] if RESULTS.exists() else []
    rows = {row["layer"]: row for row in stored}
    for index in indices:
        row = measure(*LAYERS[index])
        rows[row["layer"]] = row
        print(row, flush=True)
        document = heading("torch", "onnx", "onnxruntime-gpu") | {
            "rows": sorted(rows.values(), key=lambda row: float(row["weights_mib"]))
        }
        store(document, RESULTS, PAGE, page(document))
    return 1 if any(row["weights_mib"] > 1900 and row["times"] > TIMES for row in rows.values()) else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", type=int, choices=range(len(LAYERS)), default=[*range(len(LAYERS))])
    sys.exit(main(parser.parse_args().only))
