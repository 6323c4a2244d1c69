"""An ONNX file is timed as its bundle's graph is, and its plans are built if there is a GPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from foreign_files import convolution, saved
from onnx import TensorProto

from attn2trt import InputError
from attn2trt.core.bundle import Bundle
from attn2trt.engines.timing.method import Method
from attn2trt.errors import CheckFailed
from attn2trt.workflows import file_variant
from attn2trt.workflows.benchmark import benchmark

QUICK = Method(seconds=0.01, iterations=1, rounds=2, warm_up_seconds=0.0, settle_seconds=0.0, pause_seconds=0.0)


def test_a_file_in_half_precision_is_timed_as_such(tmp_path: Path) -> None:
    path = saved(convolution(dtype=TensorProto.FLOAT16), tmp_path / "half.onnx")
    found = benchmark(f"onnx:{path}", batches=[1, 16], runtimes=["ort-cpu", "tensorrt-fp16"], method=QUICK)
    assert [(row.batch, row.runtime, row.status) for row in found.rows if row.runtime == "ort-cpu"] == [
        (1, "ort-cpu", "measured"),
        (16, "ort-cpu", "measured"),
    ]
    assert {row.measurement.precision for row in found.rows if row.measurement is not None} == {"float16"}
    assert found.target == f"onnx:{path}"
    assert found.bundle == ""
    assert {row.why for row in found.rows if row.runtime == "tensorrt-fp16"} == {"TensorRT is not installed here"}


def test_batches_that_the_file_does_not_take(tmp_path: Path) -> None:
    path = saved(convolution(dims=(2, 3, 8, 8), out=(2, 4, 8, 8)), tmp_path / "two.onnx")
    with pytest.raises(InputError, match="received batch 3; expected 2"):
        benchmark(str(path), batches=[3], method=QUICK)


class _Built:
    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle


@pytest.mark.parametrize("is_refused", [False, True])
def test_on_a_machine_with_a_gpu_every_graph_is_compiled(monkeypatch: pytest.MonkeyPatch, is_refused: bool) -> None:
    asked: list[str] = []

    def compile_bundle(bundle: Bundle, *, precision: str, progress: Any) -> _Built:
        asked.append(precision)
        if is_refused and precision == "fp16":
            raise CheckFailed("TensorRT refuses the graph")
        return _Built(bundle)

    manifest: Any = {"precisions": {"fp16": {"file": "model.fp16.onnx"}, "int8": {"file": "model.int8.onnx"}}}
    bundle = Bundle(Path("b"), manifest)
    monkeypatch.setattr(file_variant, "compile_bundle", compile_bundle)
    monkeypatch.setattr(file_variant, "why_no_flavour", lambda flavour: "" if flavour.name == "tensorrt" else "none")
    _, why_not = file_variant._with_plans(bundle, ["fp32", "fp16"], is_wanted=True, progress=print)
    assert asked == ["fp32", "fp16"]
    assert why_not == ("TensorRT refuses the graph" if is_refused else "")
    asked.clear()
    file_variant._with_plans(bundle, ["fp32"], is_wanted=False, progress=print)
    assert asked == []
