"""Profiles, plan entries and messages: what is decided around TensorRT without it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from attn2trt.core.tensor_spec import Axis, TensorSpec
from attn2trt.engines.tensorrt.build import BuildOptions, BuildOrder
from attn2trt.engines.tensorrt.build_child import order_from_json, order_to_json
from attn2trt.engines.tensorrt.flavours import RTX, TENSORRT
from attn2trt.engines.tensorrt.messages import NodeError, clean, parser_message
from attn2trt.engines.tensorrt.plans import Plan, file_name
from attn2trt.engines.tensorrt.profiles import Profile, parse_profiles
from attn2trt.engines.tensorrt.runtime import check_feeds, profile_for
from attn2trt.engines.tensorrt.versions import Version
from attn2trt.errors import InputError

AXES = {"batch": Axis(1, 2, 8), "height": Axis(14, 28, 56, 2)}
X = TensorSpec("x", ("batch", 3, "height", 8))
PLAN = Plan(
    file="plans/sm90-trt8.6.0-fp32.plan",
    precision="fp32",
    graph="0" * 64,
    profiles=(Profile(AXES),),
    tensorrt="8.6.0",
    gpu="NVIDIA H200",
    capabilities=("9.0",),
    driver="13.0",
    seconds=1.5,
    device_bytes=4096,
)


def test_without_a_profile_the_bundles_ranges_are_the_one() -> None:
    (profile,) = parse_profiles([], AXES)
    assert profile.shapes(X) == ((1, 3, 14, 8), (2, 3, 28, 8), (8, 3, 56, 8))


def test_several_profiles_each_keep_the_ranges_that_they_leave_out() -> None:
    one, many = parse_profiles(["batch=1", "batch=2:4:8,height=28:28:56"], AXES)
    assert one.shapes(X) == ((1, 3, 14, 8), (1, 3, 28, 8), (1, 3, 56, 8))
    assert many.shapes(X) == ((2, 3, 28, 8), (4, 3, 28, 8), (8, 3, 56, 8))
    assert str(many) == "batch=2:4:8,height=28:28:56"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("batch=1:2:16", "was checked for batch 1:2:8"),
        ("width=1:2:3", "the bundle has batch, height"),
        ("batch=1:2", "batch=min:opt:max"),
        ("batch=a:b:c", "batch=min:opt:max"),
        ("batch", "batch=min:opt:max"),
        ("batch=4:2:8", "not min:opt:max"),
        ("height=15:28:56", "multiples of 2"),
        ("", "write --profile NAME=size, or NAME=min:opt:max"),
    ],
)
def test_a_bad_profile_is_one_clear_line(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        parse_profiles([text], AXES)
    assert "\n" not in str(caught.value)


def test_the_first_profile_that_holds_the_shapes_is_chosen() -> None:
    profiles = parse_profiles(["batch=1", "batch=2:4:8"], AXES)
    chosen = [profile_for({"x": np.zeros((n, 3, 20, 8), np.float32)}, [X], profiles) for n in (1, 2, 8)]
    assert chosen == [0, 1, 1]
    with pytest.raises(InputError, match=r"received x \[9, 3, 20, 8\]; expected a shape inside batch=1:1:1"):
        profile_for({"x": np.zeros((9, 3, 20, 8), np.float32)}, [X], profiles)


@pytest.mark.parametrize(
    "feeds",
    [
        {},
        {"y": np.zeros((1, 3, 14, 8), np.float32)},
        {"x": np.zeros((1, 3, 14, 8))},
        {"x": np.zeros((3, 14, 8), np.float32)},
    ],
    ids=["none", "name", "dtype", "rank"],
)
def test_wrong_feeds_are_an_error_before_anything_runs(feeds: dict[str, np.ndarray]) -> None:
    with pytest.raises(InputError, match="expected x"):
        check_feeds(feeds, [X])


def test_a_plans_entry_comes_back_from_the_manifest() -> None:
    assert Plan.from_json(json.loads(json.dumps(PLAN.to_json()))) == replace(
        PLAN, profiles=(Profile({name: Axis(axis.min, axis.opt, axis.max) for name, axis in AXES.items()}),)
    )


def test_an_entry_from_before_flavours_is_one_of_tensorrt() -> None:
    entry = PLAN.to_json()
    del entry["flavour"], entry["capabilities"]
    plan = Plan.from_json({**entry, "capability": "9.0"})
    assert (plan.flavour, plan.capabilities, plan.precision) == ("tensorrt", ("9.0",), "fp32")


@pytest.mark.parametrize(
    ("version", "capability", "loads"),
    [
        (Version(1, 7, 1), "8.6", True),
        (Version(1, 7, 1), "12.0", True),
        (Version(1, 7, 1), "8.9", False),
        (Version(1, 8, 0), "8.6", False),
    ],
)
def test_a_plan_for_several_gpus_is_loaded_on_each_of_them(version: Version, capability: str, loads: bool) -> None:
    plan = replace(PLAN, flavour="tensorrt-rtx", tensorrt="1.7.1", capabilities=("8.6", "12.0"), gpu="")
    why = plan.why_not_here(version, capability)
    assert (why == "") == loads
    assert loads or "was built with TensorRT for RTX 1.7.1 for sm86, sm120, here is TensorRT for RTX 1." in why


@pytest.mark.parametrize(
    "change", [{"file": "../x.plan"}, {"file": "/x.plan"}, {"seconds": "?"}, {"profiles": 3}, {"flavour": "trt"}]
)
def test_a_bad_entry_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(InputError, match="plan"):
        Plan.from_json({**PLAN.to_json(), **change})


@pytest.mark.parametrize(
    ("version", "capability", "flags", "loads"),
    [
        (Version(8, 6, 0), "9.0", {}, True),
        (Version(8, 6, 1), "9.0", {}, False),
        (Version(8, 6, 0), "8.9", {}, False),
        (Version(10, 3, 0), "9.0", {"version_compatible": True}, True),
        (Version(8, 6, 0), "8.9", {"hardware_compatible": True}, True),
        (Version(8, 6, 0), "7.5", {"hardware_compatible": True}, False),
    ],
)
def test_a_plan_is_loaded_where_it_was_made_for(
    version: Version, capability: str, flags: dict[str, bool], loads: bool
) -> None:
    why = replace(PLAN, flags=flags).why_not_here(version, capability)
    assert (why == "") == loads
    if not loads:
        assert "built with TensorRT 8.6.0 for sm90, here is TensorRT" in why
        assert why.endswith("run `attn2trt compile`")


def test_the_file_names_what_it_runs_on() -> None:
    assert file_name(TENSORRT, ["9.0"], Version(8, 6, 0), "fp32") == PLAN.file
    several = file_name(RTX, ["8.6", "12.0"], Version(1, 7, 1), "fp16")
    assert several == "plans/sm86+sm120-rtx1.7.1-fp16.plan"


def test_an_order_survives_its_way_to_the_child() -> None:
    order = BuildOrder(
        graph=Path("/a/model.onnx"),
        plan=Path("/a/plan"),
        log=Path("/a/log"),
        cache=Path("/a/cache"),
        layers=Path("/a/layers"),
        inputs=(X,),
        profiles=(Profile(AXES),),
        modules={"node": "layer1.0"},
        options=BuildOptions(workspace_mib=64, level=3, without_tactics=("cudnn",)),
        precision="fp16",
        weakly_typed=True,
        io="float16",
        flavour="tensorrt-rtx",
        targets=("8.6", "12.0"),
        known_cache=Path("/a/plans/timing.cache"),
        known_sha256="0" * 64,
    )
    assert order_from_json(json.loads(json.dumps(order_to_json(order)))) == order


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (NodeError(3, "conv_1", "Col2Im", "No importer registered for op: Col2Im"), "node conv_1 (Col2Im) of module "),
        (NodeError(3, "", "", "ModelImporter.cpp:726: ERROR: builtin_op_importers.cpp:1: bad"), "node 3: ERROR: bad"),
        (
            NodeError(0, "b", "DequantizeLinear", "Error (b: input has type Int32 but must have type FP8 or Int8.)"),
            "; quantise again and leave biases in float32",
        ),
        (
            NodeError(0, "q", "QuantizeLinear", "Non-zero zero point is not supported. Please set kENABLE_X on DLA"),
            "; quantise again with zeros of 0",
        ),
        (
            NodeError(
                3, "p", "AveragePool", "(condition: volume(windowSize) < maxKernelDimsProduct((windowSize).nbDims)"
            ),
            "; pool by a smaller window, or by mean((2, 3))",
        ),
        (
            NodeError(3, "z", "NonZero", "NonZero plugin creator version 1 was not found in plugin registry."),
            "; replace that operation in the module, or use a newer TensorRT",
        ),
        (NodeError(3, "d", "DeformConv", "Plugin not found, are the plugin name"), "; export the PyTorch module with "),
    ],
    ids=[
        "named",
        "by index",
        "a bias of integers",
        "a zero",
        "a window",
        "a plugin that is not there",
        "written out at a lower opset",
    ],
)
def test_a_parsers_error_names_the_node_and_what_to_do(error: NodeError, said: str) -> None:
    message = parser_message([error, error], {"conv_1": "layer1.0.fold"}, "TensorRT 10.3.0")
    assert message.startswith("TensorRT 10.3.0 cannot read ")
    assert said in message
    assert "(1 more in the log)" in message
    assert ".cpp" not in message


def test_that_no_driver_is_here_is_left_out_of_a_parsers_error() -> None:
    text = (
        "bad (at nodeBase.cpp:4) [checkMacros.cpp::catchCudaError::2] Error Code 1: Cuda Runtime (In catchCudaError at "
    )
    text += "/_src/checkMacros.cpp:250 (cudaError 35: CUDA driver version is insufficient for CUDA runtime version))"
    assert clean(text).startswith("bad")
    assert "Cuda" not in clean(text)
