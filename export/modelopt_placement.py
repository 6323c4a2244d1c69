"""The inputs that nvidia-modelopt would read in 8 bits: a second opinion on where pairs stand.

modelopt quantises a copy of the float32 graph on the CPU. Of its graph only the places of the pairs are taken: the
ranges, the types and the file are this package's, and are proved and judged as its own placement is.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from ..core import bounds
from ..core.graph import OnnxGraph
from ..core.worker import Worker
from ..errors import CheckFailed, MissingRequirement

if TYPE_CHECKING:
    import numpy as np
    import onnx

    from .passes.pairs import Reader

# Who places the pairs: the rules of passes/place_pairs.py, or nvidia-modelopt.
RULES, MODELOPT = "rules", "modelopt"
TIMEOUT_SECONDS = 1800
# module -> the name of its package for pip
PACKAGES = {
    "modelopt": "nvidia-modelopt",
    "onnx_graphsurgeon": "onnx-graphsurgeon",
    "onnxslim": "onnxslim",
    "polygraphy": "polygraphy",
    "onnxconverter_common": "onnxconverter-common",
    "pynvml": "nvidia-ml-py",
    "lief": "lief",
}
INSTALL = 'pip install -e ".[modelopt]" in the clone of attn2trt'


def modelopt_readers(graph: OnnxGraph, feeds: Mapping[str, np.ndarray]) -> frozenset[Reader]:
    """Return the inputs of nodes of a float32 graph that modelopt reads in 8 bits, weights among them.

    Args:
        graph: The float32 graph.
        feeds: Inputs that modelopt runs it on.

    Raises:
        MissingRequirement: modelopt or a package that it needs is not installed.
        CheckFailed: modelopt does not quantise the graph.
    """
    import numpy as np
    import onnx

    require_modelopt()
    with tempfile.TemporaryDirectory() as name:
        inputs, written = Path(name) / "inputs.npz", Path(name) / "model.onnx"
        np.savez(inputs, allow_pickle=False, **feeds)
        message = {"source": str(graph.path), "destination": str(written), "inputs": str(inputs)}
        with Worker("export.modelopt_child", who="nvidia-modelopt", seconds=TIMEOUT_SECONDS) as worker:
            worker.tell(message)
            worker.answer("quantising the graph")
        if not written.exists():
            raise CheckFailed("nvidia-modelopt wrote no graph; leave --placement out")
        return readers_of(onnx.load(str(written), load_external_data=False))


def require_modelopt() -> None:
    """Raise MissingRequirement for the first package that modelopt needs and that is not installed or is too old."""
    for package in PACKAGES:
        if find_spec(package) is None:
            raise MissingRequirement(
                f"received --placement modelopt; expected {package}, which is not installed; {INSTALL}"
            )
    bounds.require_within(*PACKAGES.values())


def readers_of(model: onnx.ModelProto) -> frozenset[Reader]:
    """Return the inputs of nodes that read what a DequantizeLinear gives, also through a cast."""
    made = {name: node for node in model.graph.node for name in node.output}

    def is_dequantized(name: str) -> bool:
        node = made.get(name)
        if node is not None and node.op_type == "Cast":
            return is_dequantized(node.input[0])
        return node is not None and node.op_type == "DequantizeLinear"

    return frozenset(
        (node.name, index)
        for node in model.graph.node
        if node.op_type not in ("QuantizeLinear", "Cast")
        for index, name in enumerate(node.input)
        if is_dequantized(name)
    )
