"""One target through the bare path and through ours, each in a process of its own.

The bare path is what people run without this tool: torch.onnx.export, onnxsim and one ONNX Runtime run, without any
check. Shared by pipeline.py and growth.py.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

BARE = """
import time
since = time.perf_counter()
import json, sys, onnx, onnxruntime, onnxsim, torch, attn2trt
target, folder, *shapes = sys.argv[1:]
from attn2trt.modules.catalog import resolve
found = resolve(target, shapes=shapes)
module, shape = found.build(), found.inputs[0].resolve({})
build = time.perf_counter() - since
x = torch.randn(shape)
since = time.perf_counter()
torch.onnx.export(module, (x,), folder + "/bare.onnx", dynamo=True, verbose=False)
export = time.perf_counter() - since
model, _ = onnxsim.simplify(onnx.load(folder + "/bare.onnx"))
onnx.save(model, folder + "/bare.simplified.onnx")
onnxruntime.InferenceSession(folder + "/bare.simplified.onnx").run(None, {model.graph.input[0].name: x.numpy()})
parameters = sum(parameter.numel() for parameter in module.parameters())
print(json.dumps({"build": build, "export": export, "parameters": parameters, "nodes": len(model.graph.node)}))
"""
OURS = """
import json, sys, attn2trt
bundle = attn2trt.deploy(sys.argv[1], out=sys.argv[2] + "/bundle", shapes=sys.argv[3:], dynamic="none")
print(json.dumps(dict(bundle.manifest["seconds"])))
"""
RATIOS = {
    "deploy_ratio": ("deploy_seconds", "bare_seconds"),
    "memory_ratio": ("deploy_peak_mib", "bare_peak_mib"),
}
BOTH = "bare path | attn2trt | ratio | bare path | attn2trt | ratio"  # columns of a page
METHOD = "fresh process each, in turn; seconds are wall time from start to end, peak is the largest resident memory"


@dataclass(frozen=True)
class Run:
    """Wall seconds and peak resident MiB of a process, its largest child's if that is more, and what it printed."""

    seconds: float
    peak_mib: float
    printed: dict[str, Any]


def run(code: str, target: str, shape: str | None = None) -> Run:
    """Run BARE or OURS on a target, at its own shape if none is given; a failure ends this process."""
    words = [target, *([] if shape is None else [shape])]
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile("w+") as output:
        command = [sys.executable, "-c", code, words[0], folder, *words[1:]]
        since = time.perf_counter()
        child = subprocess.Popen(command, stdout=output, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - since
        if status:
            raise SystemExit(f"{target}: the measured process failed with status {status}")
        output.seek(0)
        return Run(seconds, usage.ru_maxrss / 1024, json.loads(output.read().strip().splitlines()[-1]))


def both(target: str, shape: str | None = None) -> dict[str, Any]:
    """A target's row: seconds and MiB of the bare path and of the whole deploy, and their ratios."""
    bare, ours = run(BARE, target, shape), run(OURS, target, shape)
    row: dict[str, Any] = {
        "target": target,
        "shape": shape,
        "parameters": bare.printed["parameters"],
        "nodes": bare.printed["nodes"],
        "bare_seconds": bare.seconds,
        "deploy_seconds": ours.seconds,
        "bare_peak_mib": bare.peak_mib,
        "deploy_peak_mib": ours.peak_mib,
    }
    return row | {name: row[over] / row[under] for name, (over, under) in RATIOS.items()}


def cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the times, the memory and their ratios for the columns of BOTH."""
    times = (f"{row['bare_seconds']:.1f} s", f"{row['deploy_seconds']:.1f} s", f"{row['deploy_ratio']:.2f}")
    memory = (f"{row['bare_peak_mib']:.0f} MiB", f"{row['deploy_peak_mib']:.0f} MiB", f"{row['memory_ratio']:.2f}")
    return *times, *memory


def described() -> dict[str, Any]:
    """The machine, the versions that the times depend on, and how they were taken."""
    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, CPU only",
        "versions": {name: version(name) for name in ("torch", "onnx", "onnxsim", "onnxruntime-gpu", "timm")},
        "method": METHOD,
    }
