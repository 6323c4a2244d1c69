"""The real parser and builder of TensorRT for RTX on small graphs: what it takes, what it refuses, in which words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from small_graph import small_model

from attn2trt.core.tensor_spec import Axis, TensorSpec
from attn2trt.engines.environment import ask_driver
from attn2trt.engines.tensorrt.build import BuildOptions, BuildOrder
from attn2trt.engines.tensorrt.build_child import PATHS
from attn2trt.engines.tensorrt.flavours import RTX, TENSORRT
from attn2trt.engines.tensorrt.isolated import build_isolated
from attn2trt.engines.tensorrt.library import load
from attn2trt.engines.tensorrt.plan_build import PlanBuild, PlanRequest
from attn2trt.engines.tensorrt.profiles import Profile
from attn2trt.errors import CheckFailed, InputError, MissingRequirement

pytestmark = pytest.mark.tensorrt

X = TensorSpec("x", ("batch", 3, 8, 8))
PROFILE = Profile({"batch": Axis(1, 2, 8)})
WEIGHT = np.ones((3, 3, 3, 3), np.float32)
MODULES = {"first": "layer1.0.conv", "second": "gate (Gate at net.py:7)", "third": ""}


def graph(path: Path, nodes: Sequence[Any], *, rank: int = 4, opset: int = 17) -> Path:
    sizes = ["batch", 3, 8, 8]
    onnx.save(small_model(nodes, {"x": sizes}, {"y": sizes[:rank]}, {"weight": WEIGHT}, opset=opset), str(path))
    return path


def order(folder: Path, model: Path, **more: Any) -> BuildOrder:
    paths = {name: folder / name for name in PATHS} | {"graph": model}
    asked: dict[str, Any] = {"flavour": RTX.name, "targets": ("8.6", "12.0"), "modules": MODULES} | more
    return BuildOrder(**paths, inputs=(X,), profiles=(PROFILE,), **asked)


def conv(name: str, reads: str, gives: str, weight: str = "weight") -> Any:
    return helper.make_node("Conv", [reads, weight], [gives], name=name, pads=[1, 1, 1, 1])


def test_a_plan_for_several_gpus_is_built_without_one(tmp_path: Path) -> None:
    asked = order(tmp_path, graph(tmp_path / "model.onnx", [conv("first", "x", "y")]))
    found = build_isolated(asked)
    assert asked.plan.stat().st_size > 10_000
    assert found["capabilities"] == ["8.6", "12.0"]
    assert found["tensorrt"].startswith("1.")
    assert "Conv" in asked.log.read_text()
    if not ask_driver().devices:
        assert (found["gpu"], found["driver"], found["device_bytes"]) == ("", "", 0)
        assert not asked.layers.exists()


def test_the_plan_goes_into_its_folder_and_nothing_else_does(tmp_path: Path) -> None:
    graph(tmp_path / "model.onnx", [conv("first", "x", "y")])
    request = PlanRequest(tmp_path, "model.onnx", "fp32", (X,), (PROFILE,), flavour=RTX, targets=("8.9",))
    with PlanBuild(request) as building:
        plan, files = building.result()
    assert plan.capabilities == ("8.9",)
    assert (plan.flavour, plan.precision) == ("tensorrt-rtx", "fp32")
    assert plan.file == f"plans/sm89-rtx{plan.tensorrt}-fp32.plan"
    there = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert there == {"model.onnx", "plans/rtx-fp32.log", *files}


def test_a_build_that_is_left_leaves_nothing(tmp_path: Path) -> None:
    graph(tmp_path / "model.onnx", [conv("first", "x", "y")])
    request = PlanRequest(tmp_path, "model.onnx", "fp32", (X,), (PROFILE,), flavour=RTX, targets=("8.9",))
    with PlanBuild(request):
        pass
    assert list((tmp_path / "plans").iterdir()) == []


def half(node: Any, *, to: int = TensorProto.BFLOAT16) -> list[Any]:
    """A node between casts, its weight cast too."""
    return [
        helper.make_node("Cast", ["x"], ["low"], name="in", to=to),
        helper.make_node("Cast", ["weight"], ["low_weight"], name="of_weight", to=to),
        node,
        helper.make_node("Cast", ["z"], ["y"], name="out", to=TensorProto.FLOAT),
    ]


REFUSED = {
    "an operator that it lacks": (
        [helper.make_node("Det", ["x"], ["y"], name="third")],
        2,
        r"cannot read node third \(Det\) of the model itself: it has no operator Det; replace that operation",
    ),
    "what its parser refuses without naming the node": (
        [
            helper.make_node("Shape", ["x"], ["shape"]),
            helper.make_node("ConstantOfShape", ["shape"], ["places"], value=helper.make_tensor("", 7, [1], [0])),
            helper.make_node("ScatterElements", ["x", "places", "x"], ["y"], name="second", reduction="add"),
        ],
        4,
        r"cannot read node second \(ScatterElements\) of module gate \(Gate at net.py:7\): Unsupported reduction type; "
        r"add up by a product with torch.nn.functional.one_hot",
    ),
    "a type that an operator lacks": (
        half(helper.make_node("HardSwish", ["low"], ["z"], name="second")),
        4,
        r"cannot read node second \(HardSwish\) of module gate \(Gate at net.py:7\): .*Only FLOAT, HALF or INT8 input "
        r"is supported.*--keep-fp32",
    ),
    "a type that a kernel lacks": (
        half(helper.make_node("ConvTranspose", ["low", "low_weight"], ["z"], name="first", pads=[1, 1, 1, 1])),
        4,
        r"cannot build the plan: node first of module layer1\.0\.conv: .*Could not infer output types.*--keep-fp32",
    ),
    "a type that a target lacks": (
        half(conv("first", "low", "z", "low_weight")),
        4,
        r"Cannot compile for target\(s\) sm75.*leave that compute capability out in --for",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_it_refuses_names_the_module_and_what_to_do(tmp_path: Path, name: str) -> None:
    nodes, rank, words = REFUSED[name]
    targets = ("7.5",) if "target" in name else ("8.6",)
    asked = order(tmp_path, graph(tmp_path / "model.onnx", nodes, rank=rank), targets=targets)
    with pytest.raises(CheckFailed, match=words) as caught:
        build_isolated(asked)
    assert str(caught.value).startswith("TensorRT for RTX 1.")
    assert "\n" not in str(caught.value)
    assert ".cpp" not in str(caught.value)
    assert not asked.plan.exists()


def test_a_profile_outside_of_the_graph_is_refused(tmp_path: Path) -> None:
    model = graph(tmp_path / "model.onnx", [conv("first", "x", "y")])
    wider = BuildOrder(
        **{name: tmp_path / name for name in PATHS} | {"graph": model},
        inputs=(TensorSpec("x", ("batch", 3, 8, "width")),),
        profiles=(Profile({"batch": Axis(1, 2, 8), "width": Axis(4, 8, 16)}),),
        flavour=RTX.name,
        targets=("8.6",),
    )
    with pytest.raises(CheckFailed, match=r"cannot build the plan: .*Dimension mismatch for tensor x"):
        build_isolated(wider)


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(CheckFailed, match=r"TensorRT for RTX 1.* cannot read"):
        build_isolated(order(tmp_path, tmp_path / "model.onnx"))


@pytest.mark.parametrize(
    ("options", "flag"),
    [
        (BuildOptions(version_compatible=True), "--version-compatible"),
        (BuildOptions(hardware_compatible=True), "--hardware-compatible"),
        (BuildOptions(without_tactics=("cudnn",)), "--without-tactics"),
    ],
)
def test_options_of_tensorrt_alone_are_refused(options: BuildOptions, flag: str) -> None:
    options.require_for(TENSORRT)
    with pytest.raises(InputError, match=f"received {flag}, which TensorRT for RTX does not have"):
        options.require_for(RTX)


def test_tensorrt_itself_is_not_loaded_without_a_device() -> None:
    with pytest.raises(AssertionError):
        load(TENSORRT, None)


@pytest.mark.skipif(bool(ask_driver().devices), reason="its plugin asks the driver, which is here")
def test_a_node_that_is_read_beside_a_gpu_alone_is_no_refusal(tmp_path: Path) -> None:
    weights = {"boxes": np.ones((2, 4), np.float32), "images": np.zeros(2, np.int64)}
    node = helper.make_node("RoiAlign", ["x", "boxes", "images"], ["y"], name="second", output_height=2, output_width=2)
    model = tmp_path / "model.onnx"
    onnx.save(small_model([node], {"x": X.shape}, {"y": [2, 3, 2, 2]}, weights), str(model))
    words = r"reads node second \(RoiAlign\) of module gate .* only with a GPU's driver, which is not here"
    with pytest.raises(MissingRequirement, match=words):
        build_isolated(order(tmp_path, model))
