"""Option objects: frozen, by keyword alone, and refused as soon as they contradict themselves."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import pytest
import torch

from attn2trt import benchmark, cost, deploy
from attn2trt.core.preprocessing import Preprocessing
from attn2trt.core.tensor_spec import Axis, TensorSpec
from attn2trt.errors import InputError
from attn2trt.modules.target import Target
from attn2trt.workflows.deploy_request import DeployRequest
from attn2trt.workflows.options import TRIED, Judging, PrecisionRequest, Weights


@pytest.mark.parametrize("option", [Weights, Judging, PrecisionRequest])
def test_an_option_object_is_frozen_and_takes_keywords(option: Any) -> None:
    with pytest.raises(TypeError, match="positional"):
        option(1)
    with pytest.raises(FrozenInstanceError):
        option().seed = 1
    assert option() == option()


@pytest.mark.parametrize(
    ("precisions", "lower"),
    [
        ("fp32", ()),
        ("fp32, fp16", ("fp16",)),
        (["int8", "fp16"], ("fp16", "int8")),
        ("auto", TRIED),
        (("auto", "fp32"), TRIED),
    ],
)
def test_precisions_are_read_from_text_or_a_sequence(precisions: Any, lower: tuple[str, ...]) -> None:
    request = PrecisionRequest(precisions=precisions)
    assert request.lower == lower
    assert request.chooses == ("auto" in precisions)
    assert PrecisionRequest.of(precisions) == request
    assert PrecisionRequest.of(request) is request


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"precisions": "fp4"}, r"received precision 'fp4'; expected fp32, tf32, fp16"),
        ({"precisions": "auto,fp16"}, r"received precision auto,fp16; expected auto alone"),
        ({"keep_fp32": ["gate"]}, r"received --keep-fp32 'gate' with float32 alone"),
        ({"precisions": "tf32", "keep_fp32": ["gate"]}, r"received --keep-fp32 'gate' with tf32 alone"),
        ({"precisions": "fp16", "calibrate": "photographs"}, r"--calibrate photographs without int8"),
        ({"precisions": "fp8", "calibration": "entropy"}, r"--calibration entropy without int8"),
        ({"precisions": "int8", "calibration": ""}, r"received --calibration ''; expected minmax"),
        (
            {"io": "fp16"},
            r"received --io fp16 with precision fp32; expected a graph in fp16 or int8-fp16: .*; add --precision",
        ),
        ({"precisions": "bf16,int8", "io": "fp16"}, r"received --io fp16 with precision fp32, bf16, int8; expected"),
        ({"precisions": "bf16", "io": "bf16"}, r"received --io bf16; expected fp32 or fp16; NumPy and ONNX Runtime's"),
        (
            {"precisions": "auto", "io": "fp16"},
            r"--io fp16 with precision auto, which may choose another graph",
        ),
        (
            {"precisions": "int8", "placement": "modelopt"},
            r"--placement modelopt with precision fp32, int8; expected int8-fp16",
        ),
        ({"precisions": "int8-fp16", "placement": "best"}, r"received --placement best; expected rules or modelopt$"),
        ({"precisions": "fp16", "io": "half"}, r"received --io half; expected fp32 or fp16$"),
    ],
)
def test_a_request_that_contradicts_itself_is_one_line(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        PrecisionRequest(**options)
    assert "\n" not in str(caught.value)


def test_auto_needs_the_verdict_that_chooses() -> None:
    PrecisionRequest(precisions="auto").require_verdict(True)
    PrecisionRequest(precisions="fp16").require_verdict(False)
    with pytest.raises(InputError, match="auto without a verdict"):
        PrecisionRequest(precisions="auto").require_verdict(False)


def test_the_key_has_what_another_bundle_would_be_made_of() -> None:
    requests = [
        PrecisionRequest(),
        PrecisionRequest(precisions="fp16"),
        PrecisionRequest(precisions="fp16", keep_fp32=["gate"]),
        PrecisionRequest(precisions="int8"),
        PrecisionRequest(precisions="int8", calibration="entropy"),
        PrecisionRequest(precisions=TRIED),
        PrecisionRequest(precisions="auto"),
        PrecisionRequest(precisions="fp16", io="fp16"),
    ]
    keys = [request.key for request in requests]
    assert keys[0] == []
    assert all(keys.count(key) == 1 for key in keys)
    assert PrecisionRequest(precisions="int8", calibration="minmax").key == keys[3]


def test_a_preprocessing_that_is_given_replaces_the_targets_own() -> None:
    how = Preprocessing(resize="stretch", mean=(0.5,), std=(0.5,))
    plain, given = (DeployRequest.of(17, "fp32", Weights(), Judging(), "none", one) for one in (None, how))
    target = Target("mine", build=lambda: None, inputs=(), fallbacks=(Target("fixed", lambda: None, ()),))  # type: ignore[arg-type,return-value]
    assert plain.described(target) is target
    described = given.described(target)
    assert {described.preprocessing, *(fallback.preprocessing for fallback in described.fallbacks)} == {how}
    assert plain.options(is_default_batch=True) != given.options(is_default_batch=True)


def test_photographs_go_in_at_the_traced_size_and_no_other() -> None:
    image = TensorSpec("x", ("batch", 3, "h", 64))
    target = Target("mine", lambda: None, (image,), {"batch": Axis(1, 2, 8), "h": Axis(32, 64, 128)})  # type: ignore[arg-type,return-value]
    traced, other = (
        DeployRequest.of(17, "fp32", Weights(), Judging(), "none", Preprocessing(size=(3, side, 64)))
        for side in (64, 128)
    )
    assert traced.described(target).preprocessing == traced.preprocessing
    with pytest.raises(InputError, match=r"size \[3, 128, 64\]; expected \[3, 64, 64\], as the input x has it"):
        other.described(target)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"weights": {"seed": 1}}, r"received weights=\{'seed': 1\}; expected attn2trt\.Weights\(\.\.\.\)"),
        ({"weights": Weights(checkpoint="a.pt")}, r"Weights\(checkpoint='a\.pt'\) with a module; .* load_state_dict$"),
        ({"weights": Weights(pretrained=True)}, r"received Weights\(pretrained=True\) with a module"),
        ({"judging": True}, "received judging=True; expected attn2trt.Judging"),
        ({"precision": 3}, 'received precision=3; expected "fp32,fp16"'),
        ({"dynamic": ["batch"]}, r"received dynamic=\['batch'\]; expected \"batch=1:2:8"),
        ({"capabilities": ["sm86"]}, r"received capabilities=\['sm86'\]; expected \"sm86"),
        ({"shapes": 5, "example_inputs": None}, "received shapes=5; expected"),
        ({"target": None}, "received None of type NoneType; expected a torch.nn.Module"),
        ({"opset": "17"}, "received opset='17'; expected a whole number"),
    ],
)
def test_an_argument_of_another_kind_is_one_line(given: dict[str, Any], message: str, tmp_path: Path) -> None:
    call: dict[str, Any] = {"target": torch.nn.ReLU(), "example_inputs": torch.zeros(1, 2), "out": tmp_path / "bundle"}
    if "target" in given:
        call["example_inputs"] = None
    with pytest.raises(InputError, match=message) as caught:
        deploy(**{**call, **given})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("verb", [benchmark, cost])
def test_what_is_timed_has_a_name(verb: Any) -> None:
    with pytest.raises(
        InputError, match=r"received target=Sequential\( \(0\): ReLU\(\) \); expected a TARGET by its name"
    ):
        verb(torch.nn.Sequential(torch.nn.ReLU()))
