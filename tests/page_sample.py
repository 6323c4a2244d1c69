"""A bundle whose manifest holds everything that a page shows, with numbers that nobody measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import cost_sample
import onnx
from small_graph import healthy

from attn2trt.core.bundle import Bundle
from attn2trt.core.bundle_writer import BundleWriter
from attn2trt.core.manifest import MODEL, REFERENCE
from attn2trt.core.plain_data import plain
from attn2trt.engines.timing.latency import Latency
from attn2trt.validate.comparison import Comparison
from attn2trt.validate.error_map import ErrorMap
from attn2trt.validate.place import Boundary, Place
from attn2trt.validate.stages.stage import ORT_CPU, WRITTEN, Stage
from attn2trt.validate.verdict import Verdict, built, not_checked, stage_result

EVIL = "<script>alert('x')</script>&\"'"
CELLS = tuple(tuple(1e-8 * row * column for column in range(1, 29)) for row in range(1, 29))
MAP = ErrorMap((0, 3), (56, 56), CELLS, 1e-7)
LAYERS = """{"Layers": [
  {"Name": "conv_a", "LayerType": "CaskConvolution", "TacticName": "sm80_xmma_fprop_f16f16_f16f16_f16",
   "Inputs": [{"Name": "x", "Format/Datatype": "Row major Linear FP16"}], "Outputs": []},
  {"Name": "conv_b", "LayerType": "CaskConvolution", "TacticName": "",
   "Inputs": [{"Name": "x", "Format/Datatype": "Row major Linear FP32"}], "Outputs": []}]}"""
PLAN = "plans/sm90-trt8.6.0-fp16.plan"


def comparison(ratio: float, *, passed: bool = True, shown: ErrorMap | None = MAP) -> Comparison:
    """An output so many roundings from the truth."""
    detail = f"{ratio:.3g} times PyTorch's own rounding (over the whole output, at (0, 3, 55, 55))"
    return Comparison("y", ratio * 1e-7, 1e-7, ratio, "l2", (0, 3, 55, 55), passed, detail, error_map=shown)


def verdict(*, passed: bool = True) -> Verdict:
    """A verdict on two graphs, with what was built and what was not checked."""
    found = [("traced", comparison(1.5)), ("zeros", comparison(2.5 if passed else 4e5, passed=passed))]
    stage = stage_result(Stage(ORT_CPU), found)
    if not passed:
        boundaries = (
            Boundary("", "enter", 0.0, "right"),
            Boundary("stem", "leave", 0.9, "right"),
            Boundary(f"layer1.{EVIL}", "leave", 4e5, "wrong"),
            Boundary("head", "leave", float("inf"), "unknown"),
        )
        place = Place(f"layer1.{EVIL}", "Gate", "net.py:12", "n0", "Mul", boundaries)
        stage = replace(stage, place=place)
    lower = stage_result(Stage(WRITTEN, "fp16"), [("traced", comparison(0.7, shown=None))])
    stages = (stage, lower, built(Stage("tensorrt-rtx"), "not run"), not_checked(Stage("tensorrt", ""), EVIL))
    return Verdict(stages)


def benchmark() -> dict[str, Any]:
    """A document of ``attn2trt benchmark``, with a runtime that is not here."""
    latency = plain(Latency.of([1_000_000 + 1000 * place for place in range(120)]))
    measurement = {
        "latency": latency,
        "round_medians_ms": [1.0, 1.01, 1.02, 1.0, 1.03, 1.01],
        "throughput_per_s": 1000.0,
    }
    known = {"model": "mine", "batch": 2}
    return {
        "command": "attn2trt benchmark",
        "target": "mine",
        "threads": 2,
        "machine": {"cpu": "A Processor"},
        "warnings": ["another process took 1.2 cores"],
        "rows": [
            {**known, "runtime": "ort-cpu", "status": "measured", "measurement": measurement},
            {**known, "runtime": "tensorrt-fp16", "status": "not measured", "why": f"not here {EVIL}"},
        ],
    }


def cost() -> dict[str, Any]:
    """A document of ``attn2trt cost``."""
    return {**cost_sample.added().to_json(), "command": "attn2trt cost", "target": "mine"}


PLAN_ENTRY = {
    "file": PLAN,
    "precision": "fp16",
    "graph": "0" * 64,
    "profiles": [],
    "tensorrt": "8.6.0",
    "gpu": "NVIDIA H200",
    "capabilities": ["9.0"],
    "driver": "13.0",
    "flags": {},
    "seconds": 1.0,
    "device_bytes": 1,
    "flavour": "tensorrt",
}
PRECISIONS = {
    "fp16": {
        "file": "model.fp16.onnx",
        "opset": 17,
        "oldest_tensorrt": "8.6",
        "lowered": 2,
        "float32": {"sum": f"a sum of many numbers {EVIL}"},
        "notes": [],
        "modules": {"conv_a": "stem", "conv_b": "layer1.gate", "sum": "head"},
    }
}


def content(found: Verdict, **more: Any) -> dict[str, Any]:
    """The manifest but for the files."""
    return {
        "tool": "attn2trt 0.1.0",
        "command": f"attn2trt deploy mine.py {EVIL}",
        "target": {"name": "mine", "weights": "random, seed 0"},
        "build": {"seed": 7, "pretrained": False, "checkpoint": False},
        "opset": 17,
        "axes": {"batch": [1, 2, 8]},
        "inputs": [{"name": "x", "shape": ["batch", 3], "dtype": "float32"}],
        "outputs": [],
        "cases": [],
        "verdict": found.to_json(),
        "versions": {"torch": "2.14.1"},
        "precisions": PRECISIONS,
        "plans": [PLAN_ENTRY],
        **more,
    }


def write(destination: Path, found: Verdict | None = None, *, shown: Mapping[str, Any] | None = None) -> Bundle:
    """A bundle at ``destination`` with the verdict, by default one that passed, and more entries."""
    with BundleWriter(destination) as writer:
        onnx.save(healthy(), writer.path / MODEL)
        onnx.save(healthy(), writer.path / "model.fp16.onnx")
        (writer.path / REFERENCE).write_bytes(b"reference")
        (writer.path / "plans").mkdir()
        (writer.path / PLAN).write_bytes(b"plan")
        layers = PLAN.replace(".plan", ".layers.json")
        (writer.path / layers).write_text(LAYERS)
        roles = {MODEL: "graph", "model.fp16.onnx": "graph, fp16", REFERENCE: "cases", PLAN: "plan", layers: "layers"}
        return writer.commit(content(verdict() if found is None else found, **(shown or {})), roles)
