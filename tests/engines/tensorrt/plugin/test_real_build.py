"""The plugin compiled by the real nvcc for real headers, and parsed and built into a plan by TensorRT for RTX.

TENSORRT_INCLUDE_DIR names the folder of TensorRT's headers, of 10 or newer for the plan.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from attn2trt.errors import MissingRequirement
from attn2trt.workflows.plugin import Plugin, compile_plugin

pytestmark = pytest.mark.slow
# in a process of its own: a library of plugins stays loaded
PROGRAM = """
import json, sys
import tensorrt_rtx as trt

library, model, plan = sys.argv[1:]
logger = trt.Logger(trt.Logger.WARNING)
from attn2trt.engines.tensorrt.plugin.library import load_plugin, read_plugin
from pathlib import Path
found = read_plugin(Path(library))
load_plugin(trt, found.path, found.sha256)
builder = trt.Builder(logger)
network = builder.create_network(0)
parser = trt.OnnxParser(network, logger)
parsed = parser.parse_from_file(model)
errors = [parser.get_error(i).desc() for i in range(parser.num_errors)]
layers = [str(network.get_layer(i).type).rpartition(".")[2] for i in range(network.num_layers)] if parsed else []
shape = list(network.get_output(0).shape) if parsed else []
dtype = str(network.get_output(0).dtype) if parsed else ""
size = 0
if parsed:
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.SM86, 0)
    profile = builder.create_optimization_profile()
    for name in ("x", "residual"):
        profile.set_shape(name, (1, 32, 14, 14), (2, 32, 14, 14), (8, 32, 28, 28))
    config.add_optimization_profile(profile)
    made = builder.build_serialized_network(network, config)
    size = 0 if made is None else made.nbytes
print(json.dumps({"errors": errors, "layers": layers, "shape": shape, "dtype": dtype, "plan": size}))
"""


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Plugin:
    named = os.environ.get("TENSORRT_INCLUDE_DIR")
    try:
        return compile_plugin(tmp_path_factory.mktemp("plugin") / "out", trt_include=named, targets="sm86")
    except MissingRequirement as error:
        pytest.skip(f"{error}; TENSORRT_INCLUDE_DIR names the headers' folder")


def test_the_library_needs_no_library_of_tensorrt(plugin: Plugin) -> None:
    done = subprocess.run(["ldd", str(plugin.build.library)], capture_output=True, text=True, check=True)
    assert "nvinfer" not in done.stdout
    assert "not found" not in done.stdout
    assert (plugin.path / "channel_gate.fatbin").read_bytes()[:4] == b"\x50\xed\x55\xba"


def model(path: Path, element: int, *, hidden: int = 8, **attributes: int) -> Path:
    weights = {"w1": (hidden, 32), "b1": (hidden,), "w2": (32, hidden), "b2": (32,)}
    rng = np.random.default_rng(0)
    values = [helper.make_tensor_value_info(name, element, ["n", 32, "h", "w"]) for name in ("x", "residual", "y")]
    node = helper.make_node(
        "ChannelGate",
        ["x", *weights, "residual"],
        ["y"],
        name="gate",
        domain="attn2trt",
        plugin_version="1",
        **attributes,
    )
    kept = [numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), name) for name, shape in weights.items()]
    graph = helper.make_graph([node], "g", values[:2], values[2:], kept)
    domains = [helper.make_opsetid("", 17), helper.make_opsetid("attn2trt", 1)]
    onnx.save(helper.make_model(graph, opset_imports=domains, ir_version=8), str(path))
    return path


@pytest.mark.tensorrt
@pytest.mark.parametrize("element", [TensorProto.FLOAT, TensorProto.FLOAT16])
def test_tensorrt_for_rtx_parses_and_builds_the_node(plugin: Plugin, tmp_path: Path, element: int) -> None:
    if plugin.build.about["interface"] != "IPluginV3":
        pytest.skip("these headers are of TensorRT 8.6")
    found = ask(plugin, model(tmp_path / "model.onnx", element, last=1, relu=1))
    assert found["errors"] == []
    assert found["layers"].count("PLUGIN_V3") == 1
    assert (found["shape"], found["dtype"]) == (
        [-1, 32, -1, -1],
        "DataType.HALF" if element == TensorProto.FLOAT16 else "DataType.FLOAT",
    )
    assert found["plan"] > 0


@pytest.mark.tensorrt
def test_a_number_that_means_nothing_is_refused(plugin: Plugin, tmp_path: Path) -> None:
    if plugin.build.about["interface"] != "IPluginV3":
        pytest.skip("these headers are of TensorRT 8.6")
    found = ask(plugin, model(tmp_path / "model.onnx", TensorProto.FLOAT, last=2, relu=1))
    assert found["errors"]


def ask(plugin: Plugin, path: Path) -> dict[str, object]:
    words = [sys.executable, "-c", PROGRAM, str(plugin.path), str(path), str(path.with_suffix(".plan"))]
    environment = {**os.environ, "LD_LIBRARY_PATH": str(named_as_the_parser_asks(path.parent / "lib"))}
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    return dict(json.loads(done.stdout.splitlines()[-1]))


def named_as_the_parser_asks(folder: Path) -> Path:
    """Link the wheel's library under the name that its parser opens for a plugin, which the wheel lacks."""
    spec = importlib.util.find_spec("tensorrt_rtx_libs")
    assert spec is not None
    assert spec.origin is not None
    (library,) = Path(spec.origin).parent.glob("libtensorrt_rtx.so.*")
    folder.mkdir()
    (folder / "libtensorrt_rtx.so").symlink_to(library)
    return folder
