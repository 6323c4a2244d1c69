"""The graphs of the blocks, the papers' backbones and the examples, in every precision, without their verdicts."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from catalogue import BLOCK_AXES, BLOCKS, IMAGE_AXES, IMAGE_SHAPE

from attn2trt.core.graph import OnnxGraph
from attn2trt.core.graph_io import FLOAT32
from attn2trt.core.precision import FP32, QUANTISED
from attn2trt.errors import ModuleRefused
from attn2trt.export.placed import place
from attn2trt.export.precision import lower
from attn2trt.export.precision_options import PrecisionOptions
from attn2trt.export.quantized import quantize
from attn2trt.modules import catalog
from attn2trt.modules.block_index import block_info
from attn2trt.modules.target import Target
from attn2trt.workflows.float32_graph import export_graph

EXAMPLES_FOLDER = Path(__file__).parents[1] / "examples"
PRECISIONS = (FP32, "fp16", "bf16", "int8", "fp8")
RANGE = 1.0
# The networks of the blocks' papers, each with one block.
BACKBONES = (
    "mobilenetv2_100+coord_att",
    "efficientnet_b0+se",
    "mobilenext_100+coord_att",
    "bn_inception+se",
    "epsanet50",
    "resnet18+gam",
    "resnet50+bot",
    "mobilenetv1_100+eca",
    "resnet50+non_local",
    "resnet34+triplet",
)
# those that take photographs of any size
EXAMPLES = tuple(
    f"py:{file.stem}:make"
    for file in sorted(EXAMPLES_FOLDER.glob("*.py"))
    if "\ndef make(" in file.read_text(encoding="utf-8")
)
TARGETS = (*BLOCKS, *BACKBONES, *EXAMPLES)


def precisions_of(name: str) -> tuple[str, ...]:
    """The precisions to write: all of them for a block and an example, float32 and float16 for a backbone."""
    return (FP32, "fp16") if name in BACKBONES else PRECISIONS


def target_of(name: str) -> Target:
    """The target with a dynamic batch and, if its weights allow it, dynamic height and width."""
    asked = BLOCK_AXES if name in BLOCKS else IMAGE_AXES
    block = name.rpartition("+")[2]
    allowed = block_info(block).axes if block in BLOCKS else ("batch", "height", "width")
    options: dict[str, Any] = {"dynamic": ",".join(axis for axis in asked.split(",") if axis.split("=")[0] in allowed)}
    if name not in BLOCKS:
        options["shapes"] = [IMAGE_SHAPE]
    if name in EXAMPLES and str(EXAMPLES_FOLDER) not in sys.path:
        sys.path.append(str(EXAMPLES_FOLDER))
    return catalog.resolve(name, **options)


def export(target: Target, folder: Path, precisions: Sequence[str]) -> Iterator[tuple[str, OnnxGraph | str]]:
    """Write the target's graphs into ``folder``: each precision with its graph, or with the reason why it has none.

    float32 is written whatever ``precisions`` are: the others are made of it. Nothing is calibrated: ranges are numbers
    in the graph, and change neither its operators nor their types.
    """
    graph = export_graph(target, target.build(), folder)
    for precision in precisions:
        try:
            yield precision, graph if precision == FP32 else lowered(graph, precision, folder)
        except ModuleRefused as error:
            yield precision, str(error)


def lowered(graph: OnnxGraph, precision: str, folder: Path, *, io: str = FLOAT32) -> OnnxGraph:
    """Write the graph of a lower precision; ``io`` is the type of float inputs and outputs, if it can choose one."""

    def ranges(tensors: Sequence[str]) -> dict[str, float]:
        return dict.fromkeys(tensors, RANGE)

    options = PrecisionOptions(io=io)
    if precision not in QUANTISED:
        return lower(graph, precision, folder, options).graph
    form = QUANTISED[precision]
    if form.is_placed:
        return place(graph, ranges, folder, calibration="none", form=form, options=options).graph
    return quantize(graph, ranges, folder, parameters={}, calibration="none", form=form).graph
