"""Our whole export against the bare path, each in a process of its own, in turn, in one run.

Usage: python benchmarks/pipeline.py [TARGET] [--rounds N]. The bare path is torch.onnx.export + onnxsim + one ONNX
Runtime run. Prints wall time and peak memory of both, their ratios (medians), and the verdict's time apart; writes
benchmarks/results/pipeline.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import date
from importlib.metadata import version
from pathlib import Path

RATIOS = (
    "time_ratio",
    "time_ratio_without_build",
    "verdict_ratio",
    "verdict_to_export_ratio",
    "deploy_ratio",
    "memory_ratio",
)
RESULTS = Path(__file__).parent / "results/pipeline.json"

BARE = """
import time
since = time.perf_counter()
import json, sys, onnx, onnxruntime, onnxsim, torch, attn2trt
target, folder = sys.argv[1:]
from attn2trt.modules.catalog import resolve
found = resolve(target)
module, shape = found.build(), found.inputs[0].resolve({})
build = time.perf_counter() - since
x = torch.randn(shape)
since = time.perf_counter()
torch.onnx.export(module, (x,), folder + "/bare.onnx", dynamo=True, verbose=False)
export = time.perf_counter() - since
model, _ = onnxsim.simplify(onnx.load(folder + "/bare.onnx"))
onnx.save(model, folder + "/bare.simplified.onnx")
onnxruntime.InferenceSession(folder + "/bare.simplified.onnx").run(None, {model.graph.input[0].name: x.numpy()})
print(json.dumps({"build": build, "export": export}))
"""
OURS = """
import json, sys, attn2trt
bundle = attn2trt.deploy(sys.argv[1], out=sys.argv[2] + "/bundle")
print(json.dumps(dict(bundle.manifest["seconds"])))
"""


def run(code: str, target: str) -> tuple[float, float, str]:
    """Wall seconds, peak resident MiB of the largest process, and the last line printed."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile("w+") as output:
        since = time.perf_counter()
        child = subprocess.Popen([sys.executable, "-c", code, target, folder], stdout=output, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - since
        if status:
            raise SystemExit(f"the measured process failed with status {status}")
        output.seek(0)
        return seconds, usage.ru_maxrss / 1024, output.read().strip().splitlines()[-1]


def main() -> None:
    """Measure, print, and keep the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", nargs="?", default="resnet50+cbam")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    rows = []
    for _ in range(arguments.rounds):
        bare_seconds, bare_mib, bare_line = run(BARE, arguments.target)
        our_seconds, our_mib, line = run(OURS, arguments.target)
        parts = json.loads(line)
        bare = json.loads(bare_line)
        judging = parts["reference"] + parts["verdict"]
        rows.append(
            {
                "bare_seconds": bare_seconds,
                "export_seconds": our_seconds - judging,
                "reference_and_verdict_seconds": judging,
                "bare_seconds_without_build": bare_seconds - bare["build"],
                "bare_torch_onnx_export_seconds": bare["export"],
                "export_seconds_without_build": our_seconds - judging - parts["resolve"] - parts["build"],
                "bare_peak_mib": bare_mib,
                "deploy_peak_mib": our_mib,
                "stages": parts,
            }
        )
    medians = {key: statistics.median(row[key] for row in rows) for key in rows[0] if key != "stages"}
    document = {
        "target": arguments.target,
        "date": date.today().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, CPU only",
        "versions": {name: version(name) for name in ("torch", "onnx", "onnxsim", "onnxruntime-gpu", "timm")},
        "method": "fresh process each, in turn; export = deploy without reference and verdict; peak is deploy's; both "
        "build the same module (imports included), and the ratio is given with and without that",
        "rounds": rows,
        "medians": medians,
        "time_ratio": medians["export_seconds"] / medians["bare_seconds"],
        "time_ratio_without_build": medians["export_seconds_without_build"] / medians["bare_seconds_without_build"],
        # what judging costs, over the bare path and over torch.onnx.export alone
        "verdict_ratio": medians["reference_and_verdict_seconds"] / medians["bare_seconds_without_build"],
        "verdict_to_export_ratio": medians["reference_and_verdict_seconds"] / medians["bare_torch_onnx_export_seconds"],
        "deploy_ratio": (medians["export_seconds"] + medians["reference_and_verdict_seconds"])
        / medians["bare_seconds"],
        "memory_ratio": medians["deploy_peak_mib"] / medians["bare_peak_mib"],
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(document, indent=1) + "\n")
    print(json.dumps({key: document[key] for key in ("target", "medians", *RATIOS)}, indent=1))


if __name__ == "__main__":
    main()
