"""Whole deployments of the families of libraries, shrunk: every graph is judged, and TensorRT for RTX takes it."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

import attn2trt
from attn2trt.validate.verdict import Verdict

DETR = (
    "d_model=32,encoder_hidden_dim=32,encoder_ffn_dim=64,decoder_ffn_dim=64,decoder_layers=2,num_queries=20,num_labels=7,"
    "encoder_attention_heads=4,decoder_attention_heads=4,decoder_in_channels=32/32/32,backbone_config.hidden_sizes="
)
RT_DETR = (
    f"transformers:rt_detr:{DETR}16/32/48/64,encoder_in_channels=32/48/64,backbone_config.embedding_size=16,"
    "backbone_config.depths=1/1/1/1,backbone_config.layer_type=basic"
)
D_FINE = (
    f"transformers:d_fine:{DETR}16/32/64/64,encoder_in_channels=32/64/64,backbone_config.stem_channels=3/8/16,"
    "backbone_config.stage_in_channels=16/16/32/64,backbone_config.stage_mid_channels=8/8/16/16,"
    "backbone_config.stage_out_channels=16/32/64/64,backbone_config.stage_num_blocks=1/1/1/1,"
    "backbone_config.stage_numb_of_layers=1/1/1/1"
)
PLAIN_DETR = (
    "transformers:detr:d_model=32,encoder_layers=1,decoder_layers=1,encoder_ffn_dim=64,decoder_ffn_dim=64,num_queries=10,"
    "encoder_attention_heads=4,decoder_attention_heads=4,backbone_config.backbone=resnet10t"
)
SEGFORMER = "transformers:segformer:hidden_sizes=16/32/32/32,depths=1/1/1/1,decoder_hidden_size=32,num_labels=5"
SIDES = "height=64:96:160:32,width=64:96:160:32"


@pytest.mark.slow
@pytest.mark.tensorrt
@pytest.mark.parametrize(
    ("spec", "side", "dynamic"),
    [
        ("torchvision:lraspp_mobilenet_v3_large:num_classes=4+cbam@backbone.16", 96, SIDES),
        ("torchvision:deeplabv3_mobilenet_v3_large:num_classes=4", 96, ""),
        ("torchvision:ssdlite320_mobilenet_v3_large:num_classes=4", 160, ""),
        (RT_DETR, 96, ""),
        (f"{RT_DETR}+cbam@model.encoder_input_proj.2", 96, ""),
        (D_FINE, 96, ""),
        (PLAIN_DETR, 96, ""),
        (SEGFORMER, 64, ""),
        ("transformers:swinv2:embed_dim=16,depths=1/1,num_heads=2/4,image_size=64,window_size=4,num_labels=5", 64, ""),
        ("transformers:MobileViTV2ForImageClassification:width_multiplier=0.5,num_labels=5", 64, ""),
    ],
)
def test_a_family(spec: str, side: int, dynamic: str, tmp_path: Path) -> None:
    if spec.startswith("transformers:") and find_spec("transformers") is None:
        pytest.skip("transformers is not installed")
    found = attn2trt.deploy(
        spec,
        shapes=[f"2x3x{side}x{side}"],
        dynamic=",".join(filter(None, ("batch=1:2:4", dynamic))),
        precision="fp32,fp16",
        out=tmp_path / "bundle",
    )
    results = {stage.label: stage for stage in Verdict.from_json(found.manifest["verdict"]).stages}
    stages = {label: stage.status for label, stage in results.items()}
    # D-FINE's float32 loses more than the budget in PyTorch as well
    assert all(results[label].has_passed for label in ("torch → onnx", "simplified", "onnxruntime cpu")), stages
    assert (stages["tensorrt-rtx fp32"], stages["tensorrt-rtx fp16"]) == ("built", "built")
    assert {axis: str(range_) for axis, range_ in found.axes.items() if axis != "batch"} == {
        axis: "64:96:160 (multiples of 32)" for axis in ("height", "width") if dynamic
    }
