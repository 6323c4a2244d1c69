"""Whole deploys of resnet18 as other tools write it: PyTorch's older exporter, float16, Q/DQ and opset 9."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from attn2trt import Method, deploy, tune_bundle, validate_bundle
from attn2trt.validate.verdict import Verdict

pytestmark = pytest.mark.slow
QUICK = Method(seconds=0.02, iterations=1, rounds=2, warm_up_seconds=0.0, settle_seconds=0.0, pause_seconds=0.0)


def exported(path: Path, opset: int = 17) -> Path:
    """Have PyTorch's older exporter write the network with a symbolic batch."""
    import timm
    import torch

    torch.manual_seed(0)
    network = timm.create_model("resnet18", num_classes=10).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (torch.randn(2, 3, 64, 64),),
            str(path),
            dynamo=False,
            opset_version=opset,
            input_names=["image"],
            output_names=["logits"],
            dynamic_axes={"image": {0: "n"}, "logits": {0: "n"}},
        )
    return path


def in_half(source: Path, path: Path) -> Path:
    from onnxruntime.transformers.float16 import convert_float_to_float16

    onnx.save(convert_float_to_float16(onnx.load(str(source))), str(path))
    return path


def quantised(source: Path, path: Path) -> Path:
    from onnxruntime import quantization

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            rng = np.random.default_rng(0)
            self._left: Iterator[Any] = iter([{"image": rng.normal(size=(2, 3, 64, 64)).astype(np.float32)}] * 2)

        def get_next(self) -> Any:
            return next(self._left, None)

    # as TensorRT takes it: no zero points, no 32-bit biases
    options = {"ActivationSymmetric": True, "QuantizeBias": False}
    quantization.quantize_static(
        str(source),
        str(path),
        Reader(),
        quant_format=quantization.QuantFormat.QDQ,
        activation_type=quantization.QuantType.QInt8,
        per_channel=True,
        extra_options=options,
    )
    return path


@pytest.mark.parametrize("kind", ["as exported", "opset 9", "float16 inside", "Q/DQ inside"])
def test_each_is_deployed_judged_again_and_tuned(kind: str, tmp_path: Path) -> None:
    path = exported(tmp_path / "model.onnx", 9 if kind == "opset 9" else 17)
    precision = "fp32,fp16,int8" if kind == "as exported" else "fp32"
    if kind == "float16 inside":
        path = in_half(path, tmp_path / "half.onnx")
    elif kind == "Q/DQ inside":
        path = quantised(path, tmp_path / "quantised.onnx")
    bundle = deploy(f"onnx:{path}", out=tmp_path / "bundle", precision=precision, capabilities="sm86")
    verdict = Verdict.from_json(bundle.manifest["verdict"])
    assert bundle.passed, verdict
    assert {"float16 inside": "fp16", "Q/DQ inside": "int8"}.get(kind, "fp32") == bundle.precision
    assert any(stage.status == "built" for stage in verdict.stages), verdict
    assert validate_bundle(bundle)
    found, _, tuned = tune_bundle(bundle, method=QUICK)
    assert tuned is None or tuned
    assert validate_bundle(found)
