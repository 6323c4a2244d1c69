"""A model of Triton's Python backend that runs an ONNX graph in ONNX Runtime.

``attn2trt triton --backend python`` copies this file to ``model.py``. It needs numpy and onnxruntime in the Python
that Triton starts, and nothing else. The graph is loaded only if each of its files has the hash of the configuration.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np


class TritonPythonModel:
    """One instance: a session of the version's graph, on the CPU or on the GPU that Triton gives it."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the graph. Raises TritonModelException if a file changed or the device is not to be had."""
        import onnxruntime
        import triton_python_backend_utils as triton  # Triton's own, which is nowhere else

        self._triton = triton
        version = args["model_version"]
        folder = Path(args["model_repository"]) / version
        try:
            config = json.loads(args["model_config"])
            about = json.loads(config["parameters"]["attn2trt"]["string_value"])["versions"][version]
            hashes = {name: (expected, _sha256(folder / name)) for name, expected in about["files"].items()}
            graph, is_optimised = str(folder / about["main"]), about["optimised"]
            if about["main"] not in hashes:
                raise ValueError(f"there is no hash of {about['main']}")
        except (OSError, LookupError, TypeError, ValueError, AttributeError) as error:
            raise triton.TritonModelException(
                f"{folder} is not as attn2trt triton wrote it: {type(error).__name__}: {error}; write it again"
            ) from None
        for name, (expected, found) in hashes.items():
            if found != expected:
                raise triton.TritonModelException(f"{name} has sha256 {found}; expected {expected}; write it again")
        options = onnxruntime.SessionOptions()
        if not is_optimised:  # ONNX Runtime's optimiser gets graphs of this precision wrong
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        providers: list[Any] = ["CPUExecutionProvider"]
        if args["model_instance_kind"] == "GPU":
            providers = [("CUDAExecutionProvider", {"device_id": args["model_instance_device_id"], "use_tf32": "0"})]
            options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        self._session = onnxruntime.InferenceSession(graph, options, providers=providers)
        wanted = providers[0] if isinstance(providers[0], str) else providers[0][0]
        if self._session.get_providers()[0] != wanted:  # ONNX Runtime takes another one in silence
            raise triton.TritonModelException(f"ONNX Runtime has no {wanted} here; serve it with --device cpu")
        # the rank of each input: Triton has no scalars, and sends one element
        self._inputs = {entry.name: len(entry.shape) for entry in self._session.get_inputs()}
        self._outputs = [entry["name"] for entry in config["output"]]
        self._batches = config["max_batch_size"] > 0

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer the requests that Triton put together, as one batch if the model has one."""
        if self._batches and len(requests) > 1:
            try:
                return self._together([self._feeds(request) for request in requests])
            except Exception:  # one of them is wrong, or all are too much for one run: each gets an answer of its own
                return [self._answer(request) for request in requests]
        return [self._answer(request) for request in requests]

    def _feeds(self, request: Any) -> dict[str, Any]:
        # Not as_numpy: a backend that was built before NumPy 2 reads wrong numbers from its arrays. DLPack is in both.
        arrays = {name: np.from_dlpack(self._triton.get_input_tensor_by_name(request, name)) for name in self._inputs}
        return {name: array if self._inputs[name] else array.reshape(()) for name, array in arrays.items()}

    def _together(self, feeds: list[dict[str, Any]]) -> list[Any]:
        whole = {name: np.concatenate([one[name] for one in feeds]) for name in self._inputs}
        first = next(iter(self._inputs))
        ends = np.cumsum([len(one[first]) for one in feeds])[:-1]
        parts = [np.split(value, ends) for value in self._session.run(self._outputs, whole)]
        return [self._response(values) for values in zip(*parts, strict=True)]

    def _answer(self, request: Any) -> Any:
        try:
            return self._response(self._session.run(self._outputs, self._feeds(request)))
        except Exception as error:  # ONNX Runtime's exceptions share no base but Exception
            return self._triton.InferenceResponse(output_tensors=[], error=self._triton.TritonError(str(error)))

    def _response(self, values: Any) -> Any:
        arrays = [np.array(value, order="C", ndmin=1) for value in values]
        pairs = zip(self._outputs, arrays, strict=True)
        return self._triton.InferenceResponse(output_tensors=[self._triton.Tensor.from_dlpack(*pair) for pair in pairs])


def _sha256(path: Path) -> str:
    """Return the hash of a file, read in parts: weights beside a graph may be larger than the memory."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
