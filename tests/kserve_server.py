"""A small server of the KServe protocol, version 2, in this process: over HTTP and gRPC, with faults to order."""

from __future__ import annotations

import contextlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

TYPES = {"FP32": np.float32, "FP16": np.float16, "INT64": np.int64, "INT32": np.int32, "BOOL": np.bool_}
Arrays = dict[str, Any]


@dataclass
class Model:
    """A model of the server. ``run`` gets and gives arrays; an exception of it is an error of the server."""

    run: Callable[[Arrays], Arrays]
    inputs: dict[str, tuple[str, list[int]]]
    outputs: dict[str, tuple[str, list[int]]]
    config: dict[str, Any] = field(default_factory=dict)
    state: str = "READY"
    reason: str = ""
    versions: tuple[str, ...] = ("1",)
    answers_as: tuple[str, str] = ("", "")  # the model and the version that its answers name
    shape_of: Callable[[tuple[int, ...]], list[int]] = list  # what its answers say of an array's shape

    def metadata(self, name: str) -> dict[str, Any]:
        def listed(tensors: dict[str, tuple[str, list[int]]]) -> list[dict[str, Any]]:
            return [{"name": key, "datatype": kind, "shape": shape} for key, (kind, shape) in tensors.items()]

        inputs, outputs = listed(self.inputs), listed(self.outputs)
        return {"name": name, "versions": [*self.versions], "platform": "a", "inputs": inputs, "outputs": outputs}


@dataclass
class Server:
    """The models, how long every request takes, and after how many inferences the server is gone.

    ``byte_seconds`` is how long each byte of an answer over HTTP takes.
    """

    models: dict[str, Model]
    seconds: float = 0.0
    byte_seconds: float = 0.0
    dies_after: int = 10**9
    has_index: bool = True
    name: str = "pretended"
    asked: list[Arrays] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)

    def index(self) -> list[dict[str, str]]:
        return [
            {"name": name, "version": version, "state": model.state, "reason": model.reason}
            for name, model in self.models.items()
            for version in model.versions
        ]

    def find(self, name: str, version: str) -> Model | None:
        model = self.models.get(name)
        return model if model is not None and (not version or version in model.versions) else None

    def infer(self, model: Model, feeds: Arrays) -> Arrays:
        self.ended.wait(self.seconds)
        self.asked.append(feeds)
        return model.run(feeds)

    @property
    def is_gone(self) -> bool:
        return len(self.asked) >= self.dies_after


_MODEL = re.compile(r"/v2/models/(?P<name>[^/]+)(/versions/(?P<version>\d+))?(?P<what>/config|/infer)?")


class _Handler(BaseHTTPRequestHandler):
    served: Server
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # one packet for head and body: two would wait for each other
    disable_nagle_algorithm = True

    def log_message(self, *_: Any) -> None:
        return None

    def do_GET(self) -> None:
        if self.path == "/v2":
            return self._json({"name": self.served.name, "version": "1", "extensions": []})
        name, model, what = self._asked()
        if model is None:
            return self._json({"error": "Request for unknown model"}, 404)
        return self._json(model.config if what == "/config" else model.metadata(name))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        if self.path == "/v2/repository/index":
            return self._json(self.served.index()) if self.served.has_index else self._json({"error": "none"}, 404)
        _, model, _ = self._asked()
        if self.served.is_gone:
            self.close_connection = True
            return None
        if model is None:
            return self._json({"error": "Request for unknown model"}, 404)
        size = int(self.headers["Inference-Header-Content-Length"])
        try:
            outputs = self.served.infer(model, _read_arrays(json.loads(body[:size])["inputs"], body[size:]))
        except Exception as error:
            return self._json({"error": str(error)}, 500)
        return self._arrays(model, outputs)

    def _asked(self) -> tuple[str, Model | None, str]:
        """Return the name of the model in the path, the model if the server has it, and what is asked of it."""
        found = _MODEL.fullmatch(self.path)
        if found is None:
            return "", None, ""
        return found["name"], self.served.find(found["name"], found["version"] or ""), found["what"] or ""

    def _arrays(self, model: Model, outputs: Arrays) -> None:
        raw = [np.ascontiguousarray(value).tobytes() for value in outputs.values()]
        entries = [
            {
                "name": name,
                "datatype": model.outputs[name][0],
                "shape": model.shape_of(value.shape),
                "parameters": {"binary_data_size": len(data)},
            }
            for (name, value), data in zip(outputs.items(), raw, strict=True)
        ]
        name, version = model.answers_as
        head = json.dumps({"model_name": name, "model_version": version, "outputs": entries}).encode()
        self._send(200, head + b"".join(raw), {"Inference-Header-Content-Length": str(len(head))})

    def _json(self, document: Any, code: int = 200) -> None:
        self._send(code, json.dumps(document).encode(), {"Content-Type": "application/json"})

    def _send(self, code: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(code)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        with contextlib.suppress(OSError):  # the client may have gone
            if self.served.byte_seconds and "Inference-Header-Content-Length" in headers:
                self._drip(body)
            self.wfile.write(body)

    def _drip(self, body: bytes) -> None:
        self.close_connection = True
        for byte in body:
            self.wfile.write(bytes([byte]))
            self.wfile.flush()
            if self.served.ended.wait(self.served.byte_seconds):
                return


def _read_arrays(entries: list[dict[str, Any]], raw: bytes) -> Arrays:
    found, start = {}, 0
    for entry in entries:
        size = entry["parameters"]["binary_data_size"]
        data = np.frombuffer(raw[start : start + size], TYPES[entry["datatype"]])
        found[entry["name"]], start = data.reshape(entry["shape"]), start + size
    return found


@contextlib.contextmanager
def over_http(server: Server) -> Iterator[str]:
    """Serve on this machine until the block ends; yields the address."""
    handler = type("Handler", (_Handler,), {"served": server})
    listening = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    listening.daemon_threads = True
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.server_address[1]}"
    finally:
        server.ended.set()
        listening.shutdown()
        listening.server_close()


def _sent_arrays(request: Any) -> Arrays:
    return {
        entry.name: np.frombuffer(raw, TYPES[entry.datatype]).reshape(entry.shape)
        for entry, raw in zip(request.inputs, request.raw_input_contents, strict=True)
    }


def _add_servicer(server: Server, listening: Any) -> None:
    """Have a gRPC server answer for the models of ``server``."""
    import grpc
    from google.protobuf import json_format
    from tritonclient.grpc import service_pb2 as pb
    from tritonclient.grpc import service_pb2_grpc

    class Servicer(service_pb2_grpc.GRPCInferenceServiceServicer):
        def _find(self, name: str, version: str, context: Any) -> Model:
            return server.find(name, version) or context.abort(grpc.StatusCode.NOT_FOUND, "Request for unknown model")

        def ServerMetadata(self, request: Any, context: Any) -> Any:
            return pb.ServerMetadataResponse(name=server.name, version="1")

        def ModelMetadata(self, request: Any, context: Any) -> Any:
            found = self._find(request.name, request.version, context).metadata(request.name)
            return json_format.ParseDict(found, pb.ModelMetadataResponse())

        def ModelConfig(self, request: Any, context: Any) -> Any:
            config = self._find(request.name, request.version, context).config
            return json_format.ParseDict({"config": config}, pb.ModelConfigResponse())

        def RepositoryIndex(self, request: Any, context: Any) -> Any:
            if not server.has_index:
                context.abort(grpc.StatusCode.UNIMPLEMENTED, "none")
            return json_format.ParseDict({"models": server.index()}, pb.RepositoryIndexResponse())

        def ModelInfer(self, request: Any, context: Any) -> Any:
            if server.is_gone:
                context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")
            model = self._find(request.model_name, request.model_version, context)
            try:
                outputs = server.infer(model, _sent_arrays(request))
            except Exception as error:
                context.abort(grpc.StatusCode.INTERNAL, str(error))
            name, version = model.answers_as
            answer = pb.ModelInferResponse(model_name=name or request.model_name, model_version=version)
            for name, value in outputs.items():
                answer.outputs.add(name=name, datatype=model.outputs[name][0], shape=model.shape_of(value.shape))
                answer.raw_output_contents.append(np.ascontiguousarray(value).tobytes())
            return answer

    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(Servicer(), listening)


@contextlib.contextmanager
def over_grpc(server: Server) -> Iterator[str]:
    """Serve on this machine until the block ends; yields the address."""
    import grpc

    listening = grpc.server(ThreadPoolExecutor(4))
    _add_servicer(server, listening)
    port = listening.add_insecure_port("127.0.0.1:0")
    listening.start()
    try:
        yield f"grpc://127.0.0.1:{port}"
    finally:
        server.ended.set()
        listening.stop(0).wait()


SERVED = {"http": over_http, "grpc": over_grpc}
