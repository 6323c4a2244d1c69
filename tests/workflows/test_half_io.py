"""A bundle whose float16 graph takes float16: its manifest, its script and everything that reads it later agree."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.numpy import load_file
from torch import nn

from attn2trt import Bundle, InputError, PrecisionRequest, deploy, open_bundle, validate_bundle
from attn2trt.core.manifest import MANIFEST
from attn2trt.core.precision import FP16, FP32
from attn2trt.engines.tensorrt.isolated import described
from attn2trt.engines.tensorrt.plans import plans_of


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 1)

    def forward(self, image: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
        return self.first(image).relu() + shift


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("half_io")
    inputs = (torch.randn(2, 3, 4, 4), torch.ones(2, 4, 1, 1, dtype=torch.int64))
    request = PrecisionRequest(precisions="fp16", io="fp16")
    return deploy(Scaled().eval(), inputs, precision=request, capabilities="sm86", out=folder / "bundle")


def test_the_verdict_passed_and_every_graph_has_its_own_types(bundle: Bundle) -> None:
    assert bundle.passed
    assert (bundle.io(FP32), bundle.io(FP16)) == ("float32", "float16")
    assert [spec.dtype for spec in bundle.inputs_of(FP16)] == ["float16", "int64"]
    assert [spec.dtype for spec in (*bundle.inputs, *bundle.outputs_of(FP16))] == ["float32", "int64", "float16"]
    for precision, types in ((FP32, ["tensor(float)", "tensor(int64)"]), (FP16, ["tensor(float16)", "tensor(int64)"])):
        session = onnxruntime.InferenceSession(bundle.path / bundle.graphs[precision])
        assert [value.type for value in session.get_inputs()] == types
    recorded = load_file(bundle.reference_path)
    image = recorded["case_0/input/image"]
    assert np.array_equal(image, image.astype(np.float16).astype(np.float32))


def test_validate_and_the_script_feed_float16(bundle: Bundle) -> None:
    verdict = validate_bundle(bundle)
    assert verdict, [(stage.label, stage.why) for stage in verdict.stages]
    assert {stage.status for stage in verdict.stages if stage.stage.runtime.startswith("onnxruntime")} == {"passed"}
    for graph in ((), ("model.fp16.onnx",)):
        ran = subprocess.run(
            [sys.executable, "infer.py", *graph], cwd=bundle.path, capture_output=True, text=True, check=True
        )
        found = re.search(r": (\S+) \(limit (\S+)\)\n$", ran.stdout)
        assert found is not None, ran.stdout
        assert float(found[1]) < float(found[2]) < (2e-2 if graph else 1e-5)


def test_a_plan_is_fed_what_its_graph_takes(bundle: Bundle) -> None:
    plans = {plan.precision: plan for plan in plans_of(bundle)}
    if not plans:
        pytest.skip("TensorRT for RTX is not installed")
    for precision, dtype in ((FP32, "float32"), (FP16, "float16")):
        about = json.loads(described(bundle, plans[precision], sha256=""))
        assert [spec["dtype"] for spec in about["inputs"]] == [dtype, "int64"]
        assert [spec["dtype"] for spec in about["outputs"]] == [dtype]


def test_bundles_of_earlier_versions_are_float32_and_another_type_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    manifest = json.loads((bundle.path / MANIFEST).read_text())
    del manifest["precisions"]["fp16"]["inputs_and_outputs"]
    (tmp_path / MANIFEST).write_text(json.dumps(manifest))
    assert open_bundle(tmp_path).io(FP16) == "float32"
    manifest["precisions"]["fp16"]["inputs_and_outputs"] = "int8"
    (tmp_path / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(InputError, match=r"'inputs_and_outputs'; .*float32 or float16|float32 or float16"):
        open_bundle(tmp_path)
