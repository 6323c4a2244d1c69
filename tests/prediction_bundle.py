"""A bundle whose graph scores an image by the means of its channels, and images with one bright channel each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper
from PIL import Image
from safetensors.numpy import save_file
from small_graph import small_model

from attn2trt.core.bundle import Bundle
from attn2trt.core.bundle_writer import BundleWriter
from attn2trt.core.manifest import MODEL, REFERENCE

FP16 = "model.fp16.onnx"
HOW = {"resize": "stretch", "mean": [0.5], "std": [0.5]}
SWAPPED = ((0, 1, 0), (1, 0, 0), (0, 0, 1))  # classes 0 and 1


def graph(order: Any = ((1, 0, 0), (0, 1, 0), (0, 0, 1)), *, shift: float = 0.0) -> onnx.ModelProto:
    """``logits = mean of each channel @ order + shift``, (batch, 3, 8, 8) to (batch, 3)."""
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["means"], axes=[2, 3], keepdims=0),
        helper.make_node("MatMul", ["means", "order"], ["mixed"]),
        helper.make_node("Add", ["mixed", "shift"], ["logits"]),
    ]
    constants = {"order": np.asarray(order, np.float32), "shift": np.full(3, shift, np.float32)}
    return small_model(nodes, {"image": ["batch", 3, 8, 8]}, {"logits": ["batch", 3]}, constants)


def write(
    folder: Path, *, fp16: onnx.ModelProto | None = None, fp32: onnx.ModelProto | None = None, **entries: Any
) -> Bundle:
    """Return a bundle of the graph, and of a graph that it says is the same in float16."""
    content: dict[str, Any] = {
        "target": {"name": "mine", "weights": None},
        "axes": {"batch": [1, 2, 8]},
        "inputs": [{"name": "image", "shape": ["batch", 3, 8, 8], "dtype": "float32"}],
        "outputs": [{"name": "logits", "shape": ["batch", 3], "dtype": "float32"}],
        "cases": [],
        "verdict": {"stages": []},
        "preprocessing": HOW,
        **entries,
    }
    files = {MODEL: "graph", REFERENCE: "cases"}
    with BundleWriter(folder) as writer:
        onnx.save(fp32 or graph(), writer.path / MODEL)
        save_file({"none": np.zeros(1, np.float32)}, writer.path / REFERENCE)
        if fp16 is not None:
            onnx.save(fp16, writer.path / FP16)
            files[FP16] = "graph"
            lowered = {"lowered": 3, "float32": {}, "notes": []}
            content["precisions"] = {"fp16": {"file": FP16, "opset": 17, "oldest_tensorrt": "8.6", **lowered}}
        return writer.commit(content, files)


def write_images(folder: Path, count: int = 5) -> Path:
    """Write so many images for each class, in a folder of its own: its channel is bright, and another less so."""
    for kind in range(3):
        place = folder / f"class{kind}"
        place.mkdir(parents=True)
        for number in range(count):
            pixels = np.full((10, 12, 3), 20, np.uint8)
            pixels[..., kind], pixels[..., (kind + 1) % 3] = 200, 100 + number
            Image.fromarray(pixels).save(place / f"{number}.png")
    return folder
