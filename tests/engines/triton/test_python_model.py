"""The program of Triton's Python backend, with a stand-in for what Triton puts beside it. ONNX Runtime is real."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import served_bundle

from attn2trt.engines.triton.folder import MODEL_PROGRAM


@dataclass
class Tensor:
    name: str
    array: Any

    @classmethod
    def from_dlpack(cls, name: str, array: Any) -> Tensor:
        return cls(name, np.from_dlpack(array).copy())

    def __dlpack__(self, **options: Any) -> Any:
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self.array.__dlpack_device__()


@dataclass
class Response:
    output_tensors: list[Tensor]
    error: Any = None


class ModelError(Exception):
    pass


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    utils = ModuleType("triton_python_backend_utils")
    parts = {
        "Tensor": Tensor,
        "InferenceResponse": Response,
        "TritonError": str,
        "TritonModelException": ModelError,
        "get_input_tensor_by_name": lambda request, name: Tensor(name, request[name]),
    }
    vars(utils).update(parts)
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", utils)
    spec = importlib.util.spec_from_file_location("model", MODEL_PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def started(
    program: ModuleType,
    folder: Path,
    *,
    batch: int = 8,
    kind: str = "CPU",
    sha256: str = "",
    shape: Any = None,
    optimised: bool = True,
    about: Any = "",
) -> Any:
    (folder / "1").mkdir()
    graph = folder / "1" / "model.onnx"
    onnx.save(served_bundle.graph(served_bundle.SHAPE if shape is None else shape), graph)
    files = {"model.onnx": sha256 or hashlib.sha256(graph.read_bytes()).hexdigest()}
    whole = {"versions": {"1": {"main": "model.onnx", "files": files, "optimised": optimised}}}
    said = json.dumps(whole if about == "" else about)
    config = {
        "input": [{"name": "x"}],
        "output": [{"name": "y"}],
        "max_batch_size": batch,
        "parameters": {"attn2trt": {"string_value": said}},
    }
    model = program.TritonPythonModel()
    model.initialize(
        {
            "model_config": json.dumps(config),
            "model_version": "1",
            "model_repository": str(folder),
            "model_instance_kind": kind,
            "model_instance_device_id": "0",
        }
    )
    return model


def request(rows: int, height: int = 4, channels: int = 3) -> dict[str, Any]:
    return {"x": np.random.default_rng(rows).standard_normal((rows, channels, height, 4)).astype(np.float32)}


@pytest.mark.parametrize("optimised", [True, False])
def test_a_graph_that_the_optimiser_gets_wrong_is_run_as_it_is_written(
    program: ModuleType, tmp_path: Path, optimised: bool
) -> None:
    levels = onnxruntime.GraphOptimizationLevel
    options = started(program, tmp_path, optimised=optimised)._session.get_session_options()
    assert options.graph_optimization_level == (levels.ORT_ENABLE_ALL if optimised else levels.ORT_DISABLE_ALL)


def test_requests_that_triton_put_together_get_their_own_rows(program: ModuleType, tmp_path: Path) -> None:
    model = started(program, tmp_path)
    runs = []
    session, model._session = model._session, None

    class Counting:
        def run(self, names: Any, feeds: Any) -> Any:
            runs.append(len(feeds["x"]))
            return session.run(names, feeds)

    model._session = Counting()
    requests = [request(2), request(1), request(3)]
    responses = model.execute(requests)
    assert runs == [6]
    for one, response in zip(requests, responses, strict=True):
        (tensor,) = response.output_tensors
        assert np.array_equal(tensor.array, one["x"] * 2)


def test_without_a_batch_each_request_is_a_run(program: ModuleType, tmp_path: Path) -> None:
    model = started(program, tmp_path, batch=0)
    requests = [request(2), request(1, height=2)]
    for one, response in zip(requests, model.execute(requests), strict=True):
        assert np.array_equal(response.output_tensors[0].array, one["x"] * 2)


def test_a_scalar_comes_and_goes_as_one_element(program: ModuleType, tmp_path: Path) -> None:
    model = started(program, tmp_path, batch=0, shape=())
    (response,) = model.execute([{"x": np.array([3.0], np.float32)}])
    assert response.output_tensors[0].array.tolist() == [6.0]


def test_a_request_that_is_wrong_does_not_spoil_its_neighbours(program: ModuleType, tmp_path: Path) -> None:
    model = started(program, tmp_path)
    good, bad = request(2), request(1, channels=5)
    first, second = model.execute([good, bad])
    assert np.array_equal(first.output_tensors[0].array, good["x"] * 2)
    assert second.output_tensors == []
    assert "invalid dimensions" in second.error
    first, second = model.execute([good, {"x": "no tensor"}])
    assert np.array_equal(first.output_tensors[0].array, good["x"] * 2)
    assert second.output_tensors == []


def test_a_graph_that_was_changed_is_not_loaded(program: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=f"model.onnx has sha256 .*; expected {'0' * 64}"):
        started(program, tmp_path, sha256="0" * 64)


@pytest.mark.parametrize(
    "about",
    [
        None,
        {},
        {"versions": {"2": {}}},
        {"versions": {"1": {"main": "model.onnx", "files": {}, "optimised": True}}},
        {"versions": {"1": {"main": "model.onnx", "files": {"other.onnx": "0"}, "optimised": True}}},
        {"versions": {"1": {"main": 1, "files": ["model.onnx"], "optimised": True}}},
    ],
)
def test_a_configuration_that_was_changed_is_one_line(program: ModuleType, tmp_path: Path, about: Any) -> None:
    with pytest.raises(ModelError, match=r"^\S+ is not as attn2trt triton wrote it: \w+: .*; write it again$"):
        started(program, tmp_path, about=about)


def test_a_gpu_that_is_not_there_is_an_error_and_not_the_cpu(program: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(Exception, match=r"CUDA|fallback to CPU EP has been|no CUDAExecutionProvider"):
        started(program, tmp_path, kind="GPU")
