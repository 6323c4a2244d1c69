"""Triton's own server on repositories that ``attn2trt triton`` wrote, judged over HTTP and gRPC."""

from __future__ import annotations

import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import served_bundle
import triton_server
from served_bundle import plan
from triton_server import Running
from waiting import wait_for

import attn2trt
from attn2trt.core.bundle import Bundle, open_bundle
from attn2trt.engines.triton.address import parse_address
from attn2trt.engines.triton.client import TritonClient
from attn2trt.engines.triton.config import Serving
from attn2trt.errors import InputError, MissingRequirement
from attn2trt.workflows.triton import write_triton_repository
from attn2trt.workflows.validate import validate_server

pytestmark = pytest.mark.slow
PAGE = Path(__file__).parents[2] / "docs/howto/triton.md"
PROTOCOLS = pytest.mark.parametrize("protocol", ["http", "grpc"])


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    triton_server.require_server()
    out = tmp_path_factory.mktemp("deployed") / "cbam"
    none = {"capabilities": "none"}
    return attn2trt.deploy("cbam", out=out, shapes=["2x16x8x8"], precision="fp32,fp16", **none)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def repository(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle's models, one with versions, another target's, and those of the other two backends."""
    place = tmp_path_factory.mktemp("repository") / "models"
    serving = Serving(queue_delay=200_000)
    write_triton_repository(bundle, place, backend="python", serving=serving)
    options = {"backend": "python", "batching": False, "layout": "versions", "add": True}
    write_triton_repository(bundle, place, name="both", **options)  # type: ignore[arg-type]
    others = tmp_path_factory.mktemp("others")
    scalar = served_bundle.write(others / "scalar", name="scalar", shape=(), axes={}, sizes=({},))
    write_triton_repository(scalar, place, backend="python", add=True)
    labels = Serving(labels={"y": "ant\nbee\ncow\n"})
    classes = served_bundle.write(
        others / "classes", name="classes", shape=("batch", 3), axes={"batch": [1, 2, 4]}, sizes=({"batch": 2},)
    )
    write_triton_repository(classes, place, backend="python", serving=labels, add=True)
    write_triton_repository(bundle, place, name="graph", precisions=["fp32"], backend="onnxruntime", add=True)
    planned = served_bundle.write(others / "plan", name="plan", plans=[plan(), plan("8.9")])
    write_triton_repository(planned, place, add=True)
    return place


@pytest.fixture(scope="module")
def server(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with triton_server.started(repository, tmp_path_factory.mktemp("server")) as running:
        yield running


def address(server: Running, protocol: str) -> str:
    return server.http if protocol == "http" else server.grpc


@PROTOCOLS
@pytest.mark.parametrize("path", ["/cbam", "/cbam_fp16", "/both", "/both/2"])
def test_the_recorded_cases_pass_through_the_server(bundle: Bundle, server: Running, protocol: str, path: str) -> None:
    found = validate_server(bundle, address(server, protocol) + path)
    assert found, [stage.why for stage in found.verdict.stages]
    assert {stage.status for stage in found.verdict.stages} == {"passed"}
    assert len(found.verdict.stages) == {"/both": 4, "/both/2": 2}.get(
        path, 3
    )  # Triton puts no requests together there
    assert all(one.says_files for one in found.served)
    assert f"`tritonserver` {found.server.removeprefix('triton ')}" in PAGE.read_text()


@PROTOCOLS
def test_a_scalar_comes_back_as_one(
    repository: Path, server: Running, protocol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("attn2trt.workflows.validate.missing_cases", lambda bundle: [])  # it has one case alone
    scalar = served_bundle.write(
        repository.parent / f"scalar-{protocol}", name="scalar", shape=(), axes={}, sizes=({},)
    )
    found = validate_server(scalar, f"{address(server, protocol)}/scalar")
    assert found, [stage.why for stage in found.verdict.stages]


def counts(client: TritonClient) -> tuple[int, int]:
    """The executions of ``cbam`` so far, and the rows that they computed."""
    found = client._client.get_inference_statistics("cbam", as_json=True)["model_stats"][0]
    return int(found["execution_count"]), int(found["inference_count"])


def test_requests_that_triton_puts_together_get_their_own_answers(bundle: Bundle, server: Running) -> None:
    rows = np.random.default_rng(0).standard_normal((8, 16, 8, 8)).astype(np.float32)
    answers: dict[int, np.ndarray] = {}
    with TritonClient(parse_address(server.grpc)) as client:
        before = counts(client)
        (together,) = client.infer("cbam", "", {"x": rows}, ["output"]).values()

        def counted() -> tuple[int, int] | None:
            """The executions and rows since; None before all are counted, which Triton does after it has answered."""
            executions, inferences = np.subtract(counts(client), before)
            return None if inferences < 2 * len(rows) else (executions, inferences)

        def ask(number: int) -> None:
            answers[number] = client.infer("cbam", "", {"x": rows[number : number + 1]}, ["output"])["output"]

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        executions, inferences = wait_for(counted, of=server.process)
    for number, answer in answers.items():
        np.testing.assert_allclose(answer[0], together[number], rtol=1e-5, atol=1e-6)
    assert executions < 1 + len(rows)
    assert inferences == 2 * len(rows)


def test_triton_answers_with_the_classes(server: Running) -> None:
    from tritonclient import http

    with http.InferenceServerClient(server.http.removeprefix("http://")) as client:
        value = http.InferInput("x", [1, 3], "FP32")
        value.set_data_from_numpy(np.array([[0, 5, 1]], np.float32))
        asked = [http.InferRequestedOutput("y", class_count=1)]
        found = client.infer("classes", [value], outputs=asked).as_numpy("y")
    assert found.tolist() == [[b"10.000000:1:bee"]]


@PROTOCOLS
def test_the_other_two_backends_are_known_by_name_and_are_not_in_the_wheel(
    bundle: Bundle, server: Running, protocol: str
) -> None:
    with TritonClient(parse_address(address(server, protocol))) as client:
        reasons = {entry["name"]: entry.get("reason", "") for entry in client.index()}
    lacks = "Invalid argument: unable to find backend library for backend '{}', try specifying runtime on the model"
    assert lacks.format("onnxruntime") in reasons["graph"]
    assert lacks.format("tensorrt") in reasons["plan"]
    with pytest.raises(InputError, match=r"received graph, which is not served: .* unable to find backend library"):
        validate_server(bundle, f"{address(server, protocol)}/graph")


@pytest.mark.parametrize(
    ("name", "before", "after", "says"),
    [
        ("graph", "max_batch_size: 8", "max_batch_size: -8", "'max_batch_size' must be non-negative"),
        ("plan", "TYPE_FP32", "TYPE_FP31", "FP31"),
        ("graph", "", "", ""),  # as it was written
    ],
)
def test_the_server_reads_the_configuration_of_the_other_two(
    repository: Path, tmp_path: Path, name: str, before: str, after: str, says: str
) -> None:
    shutil.copytree(repository / name, tmp_path / "models" / name)
    config = tmp_path / "models" / name / "config.pbtxt"
    config.write_text(config.read_text().replace(before, after))
    with triton_server.started(tmp_path / "models", tmp_path) as running:
        log = running.log.read_text()
    assert says in log
    assert ("unable to find backend library" in log) is (not says)


@PROTOCOLS
def test_another_model_fails(bundle: Bundle, server: Running, protocol: str) -> None:
    found = validate_server(bundle, f"{address(server, protocol)}/classes")
    assert not found
    assert "classes serves another model.onnx" in found.verdict.stages[0].why
    with pytest.raises(InputError, match=r"received model nowhere; .* has .*cbam"):
        validate_server(bundle, f"{address(server, protocol)}/nowhere")


@PROTOCOLS
def test_a_server_that_hangs_and_one_that_is_stopped(
    bundle: Bundle, repository: Path, tmp_path: Path, protocol: str
) -> None:
    with triton_server.started(repository, tmp_path) as running:
        place = f"{address(running, protocol)}/cbam"
        assert validate_server(bundle, place)
        running.pause()
        with pytest.raises((attn2trt.Interrupted, MissingRequirement)) as raised:
            validate_server(bundle, place, seconds=1)
        assert "did not answer within 1 s" in str(raised.value)
        running.process.send_signal(signal.SIGCONT)
        running.process.kill()
        running.process.wait()
        with pytest.raises(MissingRequirement, match="no server answers at"):
            validate_server(bundle, place)


def test_a_graph_that_changed_after_it_was_written_is_not_loaded(bundle: Bundle, tmp_path: Path) -> None:
    place = tmp_path / "models"
    write_triton_repository(bundle, place, backend="python", precisions=["fp32"])
    graph = place / "cbam/1/model.onnx"
    graph.write_bytes(graph.read_bytes() + b"\n")
    with triton_server.started(place, tmp_path) as running:
        with TritonClient(parse_address(running.grpc)) as client:
            (entry,) = client.index()
        assert entry["state"] == "UNAVAILABLE"
        assert "model.onnx has sha256" in entry["reason"]
        found = validate_server(open_bundle(bundle.path), running.grpc)
        assert not found
        assert "cbam is UNAVAILABLE" in found.verdict.stages[0].why
