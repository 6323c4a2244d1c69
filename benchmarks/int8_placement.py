"""Count what crosses memory in 8, 16 and 32 bits: int8, int8-fp16, fp16 and modelopt's own graph, without a GPU.

Usage: python benchmarks/int8_placement.py [--keep] [TARGET ...]. TensorRT for RTX builds each graph for one compute
capability; at the level VERBOSE its builder writes the layers of the engine with the types of their tensors into the
log, without loading it. Ranges are made up, but of a target with levels of its own: where pairs stand does not depend
on them. nvidia-modelopt is asked if it can be imported. Writes benchmarks/results/int8_placement.json after every
target, and docs/int8.md; with TARGETs it prints their rows alone, or with --keep replaces them.
"""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import onnx
from exported_graphs import lowered
from fused_bytes import Kernels
from stored_results import by_target, target_options

from attn2trt.core.graph import OnnxGraph
from attn2trt.core.precision import FP16, INT8, INT8_FP16, PRECISIONS
from attn2trt.core.scratch import scratch
from attn2trt.engines.tensorrt.build import BuildOrder
from attn2trt.engines.tensorrt.flavours import RTX
from attn2trt.engines.tensorrt.isolated import build_isolated
from attn2trt.engines.tensorrt.profiles import Profile
from attn2trt.errors import Attn2trtError
from attn2trt.export.precision import lower
from attn2trt.export.precision_options import PrecisionOptions
from attn2trt.modules import catalog
from attn2trt.workflows.float32_graph import export_graph

RESULTS = Path(__file__).parent / "results/int8_placement.json"
TARGETS = (
    *("resnet50", "resnet50+se", "resnet50+cbam", "mobilenetv2_100"),
    # what splits, turns, enlarges and concatenates between its products; the second needs the package ultralytics
    *("torchvision:shufflenet_v2_x1_0", "ultralytics:yolo11n.yaml"),
    # with levels of its own
    "py:quantised_resnet:resnet50",
)
SHAPE, AXES, CAPABILITY = "2x3x224x224", "batch=1:2:8", "8.9"
MODELOPT = "modelopt"
GRAPHS = (FP16, INT8, INT8_FP16, MODELOPT)
BYTES = {"Int8": 1, "UInt8": 1, "Bool": 1, "Half": 2, "BFloat16": 2, "Float": 4, "Int32": 4, "Int64": 8}
CONVERTING = ("QuantizeLinear", "DequantizeLinear", "Cast")
# Beginnings of names of operations, as the engine abbreviates them, that move or convert and compute nothing.
MOVING = {"Mul", "Min", "Max", "Minr", "Maxr", "Roun", "Cast", "Repl", "Conc", "Move", "Tran", "Resh", "Slic", "Shuf"}
# Run by a Python of its own: it prints, and changes the logging of its process.
ASK_MODELOPT = """
import sys, numpy, onnx
from modelopt.onnx.quantization import quantize
source, written, shape = sys.argv[1], sys.argv[2], [int(size) for size in sys.argv[3].split("x")]
name = onnx.load(source, load_external_data=False).graph.input[0].name
feeds = {name: numpy.random.default_rng(0).standard_normal(shape, numpy.float32)}
quantize(source, quantize_mode="int8", calibration_data=feeds, calibration_method="max", calibration_eps=["cpu"],
         output_path=written, high_precision_dtype="fp16")
"""


@dataclass(frozen=True)
class Layer:
    """A layer of an engine: its type, its name, and (name, bytes for one image, type) of what it reads and writes."""

    kind: str
    name: str
    inputs: tuple[tuple[str, int, str], ...]
    outputs: tuple[tuple[str, int, str], ...]

    @property
    def is_int8_convolution(self) -> bool:
        """True if it multiplies 8-bit integers."""
        return self.kind == "correlation" and any(dtype == "Int8" for _, _, dtype in self.inputs)

    @property
    def writes_32_bits(self) -> bool:
        """True if its result is in 32 bits."""
        return any(BYTES[dtype] == 4 for _, _, dtype in self.outputs)

    @property
    def only_converts(self) -> bool:
        """True if its name holds conversions and moves alone."""
        found = re.fullmatch(r"__myl_([A-Za-z]+?)_myl\d+_\d+", self.name)
        parts = set(re.findall(r"[A-Z][a-z]*", found[1])) if found else set()
        return bool(parts & {"Roun", "Cast"}) and parts <= MOVING


def layers_of(log: str) -> Iterator[Layer]:
    """Yield the layers that the builder's log describes."""
    described = re.compile(
        r"^Name: (.+?), LayerType: (\w+), Inputs: \[(.*?)\], Constants: \[.*?\], Outputs: \[(.*?)\], TacticName:"
    )
    for line in log.splitlines():
        if found := described.search(line):
            name, kind, read, written = found.groups()
            yield Layer(kind, name, tuple(_tensors(read)), tuple(_tensors(written)))


def _tensors(text: str) -> Iterator[tuple[str, int, str]]:
    """Yield each tensor once: one that a layer reads twice comes from memory once."""
    found = re.findall(r"Name: ([^{}]+?), Dimensions: \[([-\d,]*)\].*?Datatype: (\w+)", text)
    for name, sizes, dtype in dict.fromkeys(found):
        count = math.prod(1 if size == "-1" else int(size) for size in sizes.split(",") if size)
        yield name, count * BYTES[dtype], dtype


def crossing(layers: Sequence[Layer]) -> Counter[str]:
    """Return the bytes for one image that layers read and write, by the bits of their type."""
    moved: Counter[str] = Counter()
    for layer in layers:
        for _, size, dtype in (*layer.inputs, *layer.outputs):
            moved[str(8 * BYTES[dtype])] += size
    return moved


def graphs_of(name: str, folder: Path) -> Iterator[tuple[str, OnnxGraph | str]]:
    """Yield each graph of a target by its name, or the reason why there is none."""
    target = catalog.resolve(name, shapes=[SHAPE], dynamic=AXES)
    graph, half = export_graph(target, target.build(), folder), PRECISIONS[FP16].dtype
    if graph.precision == INT8:
        yield INT8, graph
        yield INT8_FP16, lower(graph, INT8_FP16, folder, PrecisionOptions(io=half)).graph
        return
    for precision in (FP16, INT8, INT8_FP16):
        yield precision, lowered(graph, precision, folder, io=half)
    yield MODELOPT, _by_modelopt(graph, folder / "model.modelopt.onnx")


def _by_modelopt(graph: OnnxGraph, path: Path) -> OnnxGraph | str:
    if find_spec("modelopt") is None:
        return "nvidia-modelopt is not installed"
    ran = subprocess.run(
        [sys.executable, "-c", ASK_MODELOPT, str(graph.path), str(path), SHAPE],
        check=False,
        capture_output=True,
        text=True,
    )
    if ran.returncode or not path.exists():
        return " ".join((ran.stderr.strip().splitlines() or ["no graph was written"])[-1].split())[:200]
    return OnnxGraph(path, 19, graph.inputs, graph.outputs, axes=graph.axes)


def row_of(name: str, kind: str, graph: OnnxGraph | str) -> dict[str, Any]:
    """Return what was counted of one graph and of the engine that is built of it."""
    row: dict[str, Any] = {"target": name, "graph": kind}
    if isinstance(graph, str):
        return row | {"why_not": graph}
    nodes = Counter(node.op_type for node in onnx.load(str(graph.path), load_external_data=False).graph.node)
    row |= {"nodes": {operator: nodes[operator] for operator in CONVERTING}}
    row |= {"if_fused": by_bits(Kernels(graph.path).crossing())}
    try:
        layers = engine_layers(graph, INT8_FP16 if kind == MODELOPT else kind)
    except Attn2trtError as error:
        return row | {"why_not": " ".join(str(error).split())[:200]}
    return row | {
        "layers": len(layers),
        "converting": sum(layer.only_converts for layer in layers),
        "int8_convolutions": sum(layer.is_int8_convolution for layer in layers),
        "wide": sum(layer.is_int8_convolution and layer.writes_32_bits for layer in layers),
        "bytes": by_bits(crossing(layers)),
    }


def engine_layers(graph: OnnxGraph, precision: str) -> list[Layer]:
    """Return the layers of the engine that TensorRT for RTX builds of a graph; CheckFailed if it refuses it."""
    with scratch("placement") as folder:
        paths = {part: folder / part for part in ("plan", "log", "cache", "layers")}
        order = BuildOrder(
            graph=graph.path,
            **paths,
            inputs=graph.inputs,
            profiles=(Profile(dict(graph.axes)),),
            modules=graph.modules,
            precision=precision,
            flavour=RTX.name,
            targets=(CAPABILITY,),
        )
        build_isolated(order)
        return list(layers_of(paths["log"].read_text(encoding="utf-8", errors="replace")))


def by_bits(moved: Counter[str]) -> dict[str, int]:
    """Return bytes in the order of the bits."""
    return dict(sorted(moved.items(), key=lambda pair: int(pair[0])))


def main(names: Sequence[str], *, keeps: bool = False) -> int:
    """Count the targets, all of them without ``names``; with ``keeps`` replace their rows in the results and page."""
    stored: dict[str, Any] = json.loads(RESULTS.read_text()) if keeps else {"rows": [], "versions": {}}
    rows = by_target(stored["rows"])
    for name in names or TARGETS:
        rows[name] = []
        with tempfile.TemporaryDirectory() as folder:
            for kind, graph in graphs_of(name, Path(folder)):
                rows[name].append(row_of(name, kind, graph))
                print(json.dumps(rows[name][-1]), flush=True)
        if keeps or not names:
            write([row for target in TARGETS for row in rows.get(target, ())], stored["versions"])
    return 0


def write(rows: Sequence[Mapping[str, Any]], before: Mapping[str, str]) -> None:
    """Write the results and the page's table; versions ``before`` are of packages that only other rows need."""
    from int8_page import write as write_page

    versions = {name: found or before.get(name, "not installed") for name, found in _versions().items()}
    document = {"versions": versions, "capability": CAPABILITY, "shape": SHAPE, "rows": rows}
    RESULTS.write_text(json.dumps(document, indent=1) + "\n")
    write_page()


def _versions() -> dict[str, str]:
    """Return the version of each package that rows depend on; "" for one that is not installed."""
    found = {}
    for package in ("tensorrt-rtx", "nvidia-modelopt", "torch", "onnx"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = ""
    return found


if __name__ == "__main__":
    asked = target_options(__doc__, TARGETS)
    sys.exit(main(asked.names, keeps=asked.keep))
