"""ONNX Runtime runs what it is given, and says what does not fit."""

from __future__ import annotations

import gc
import sys
import weakref
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper
from small_graph import small_model

from attn2trt.engines.ort_runtime import OrtRuntime, check_feeds
from attn2trt.errors import CheckFailed, InputError, MissingRequirement


def model() -> bytes:
    nodes = [helper.make_node("Add", ["x", "z"], ["y"]), helper.make_node("Gather", ["x", "ids"], ["row"], axis=1)]
    inputs = {"x": ["batch", 3], "z": ["batch", 3], "ids": [2]}
    outputs = {"y": ["batch", 3], "row": ["batch", 2]}
    return bytes(small_model(nodes, inputs, outputs, types={"ids": TensorProto.INT64}).SerializeToString())


def feeds(**changes: np.ndarray) -> dict[str, np.ndarray]:
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    return {"x": x, "z": x, "ids": np.array([0, 2])} | changes


def test_a_number_without_a_dimension_stays_one() -> None:
    held = small_model([helper.make_node("Identity", ["x"], ["y"])], {"x": []}, {"y": []}).SerializeToString()
    with OrtRuntime(held) as runtime:
        assert runtime.run({"x": np.array(1.5, np.float32)})["y"].shape == ()


def test_an_operator_without_a_kernel_is_no_damaged_file() -> None:
    types = dict.fromkeys(("c", "x", "y"), TensorProto.BOOL)
    nodes = [helper.make_node("Where", ["c", "x", "x"], ["y"])]
    picks = small_model(nodes, {"c": [2], "x": [2]}, {"y": [2]}, types=types).SerializeToString()
    with pytest.raises(
        CheckFailed, match=r"NOT_IMPLEMENTED.* Where.*; else deploy the PyTorch module, or export it with"
    ):
        OrtRuntime(picks)


@pytest.mark.parametrize("optimise", [True, False])
def test_bytes_and_files_run(tmp_path: Path, optimise: bool) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(model())
    for source in (model(), path, str(path)):
        with OrtRuntime(source, optimise=optimise, threads=1) as runtime:
            outputs = runtime.run(feeds())
        assert np.array_equal(outputs["y"], feeds()["x"] * 2)
        assert np.array_equal(outputs["row"], [[0, 2], [3, 5]])
    assert "CPU" in runtime.name


def test_weights_that_are_not_packed_give_the_same(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    weights = {"w": rng.standard_normal((64, 32)).astype(np.float32)}
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    made = small_model(nodes, {"x": ["n", 64]}, {"y": ["n", 32]}, weights).SerializeToString()
    feeds = {"x": rng.standard_normal((3, 64)).astype(np.float32)}
    packed, unpacked = (OrtRuntime(made, packs_weights=packs).run(feeds)["y"] for packs in (True, False))
    np.testing.assert_allclose(unpacked, packed, rtol=1e-5, atol=1e-5)


def test_other_memory_layouts_run() -> None:
    turned = np.asfortranarray(feeds()["x"])
    with OrtRuntime(model()) as runtime:
        assert np.array_equal(runtime.run(feeds(x=turned))["y"], feeds()["x"] * 2)


BAD = {
    "missing": ({"x": feeds()["x"]}, "received inputs x; expected x, z, ids"),
    "unknown": (feeds(more=np.ones(1)), "received inputs ids, more, x, z"),
    "dtype": (feeds(x=feeds()["x"].astype(np.float64)), "input x as float64; expected float32"),
    "rank": (feeds(x=np.ones(3, np.float32)), "input x of shape 3; expected batchx3"),
    "size": (feeds(x=np.ones((2, 4), np.float32)), "input x of shape 2x4; expected batchx3"),
    "batches differ": (feeds(z=np.ones((1, 3), np.float32)), "input z of shape 1x3"),
}


@pytest.mark.parametrize("fault", BAD)
def test_wrong_feeds_are_one_line_errors(fault: str) -> None:
    wrong, message = BAD[fault]
    with OrtRuntime(model()) as runtime, pytest.raises(InputError, match=message):
        runtime.run(wrong)


def test_a_closed_runtime_does_not_run() -> None:
    with OrtRuntime(model()) as runtime:
        pass
    with pytest.raises(RuntimeError, match="was closed"):
        runtime.run(feeds())


def test_a_broken_model_is_one_line(tmp_path: Path) -> None:
    for source in (b"not a model", tmp_path / "missing.onnx"):
        with pytest.raises(CheckFailed, match="cannot load") as caught:
            OrtRuntime(source)
        assert "\n" not in str(caught.value)


def test_a_runtime_that_is_not_installed_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingRequirement, match=r"ONNX Runtime cannot be imported .*; pip install onnxruntime"):
        OrtRuntime(tmp_path / "model.onnx")


def test_an_unknown_provider_is_missing() -> None:
    with pytest.raises(MissingRequirement, match="received provider NoSuchProvider"):
        OrtRuntime(model(), provider="NoSuchProvider")


def test_a_silent_fallback_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime lists CUDA even if it cannot load it, and then runs on the CPU without a word."""
    real = onnxruntime.InferenceSession

    def fallen_back(source: object, options: object, **_: object) -> object:
        return real(source, onnxruntime.SessionOptions(), providers=["CPUExecutionProvider"])

    monkeypatch.setattr(onnxruntime, "InferenceSession", fallen_back)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    with pytest.raises(MissingRequirement, match="asked ONNX Runtime for CUDAExecutionProvider and received CPU"):
        OrtRuntime(model(), provider="CUDAExecutionProvider")


def test_any_size_fits_an_unnamed_dimension() -> None:
    spec = SimpleNamespace(
        name="x", type="tensor(float)", shape=[None, 3, "?", "?"]
    )  # as PaddlePaddle's converter has it
    check_feeds({"x": np.ones((7, 3, 4, 5), np.float32)}, [spec])
    with pytest.raises(InputError, match=r"expected \?x3x\?x\?"):
        check_feeds({"x": np.ones((7, 2, 4, 5), np.float32)}, [spec])


def test_prepared_calls_run_on_what_they_were_prepared_with() -> None:
    with OrtRuntime(model(), threads=1) as runtime:
        first, second = runtime.prepare([feeds(), feeds(z=np.ones((2, 3), np.float32))])
        for call in (first, second, first):
            call()
        with pytest.raises(InputError, match="expected x, z, ids"):
            runtime.prepare([{"x": feeds()["x"]}])
    with pytest.raises(RuntimeError, match="was closed"):
        runtime.prepare([feeds()])


def test_a_prepared_call_keeps_its_inputs_in_memory() -> None:
    given = feeds(x=np.ones((2, 3), np.float32), z=np.ones((2, 3), np.float32))
    arrays = [weakref.ref(given[name]) for name in ("x", "z")]
    with OrtRuntime(model()) as runtime:
        calls = runtime.prepare([given])
        del given
        gc.collect()
        # ONNX Runtime 1.23 reads freed memory if nobody else holds it
        assert all(array() is not None for array in arrays)
        calls[0]()
