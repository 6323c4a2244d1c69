"""``attn2trt triton`` and ``attn2trt validate --server`` as a user runs them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import kserve_server
import pytest
import served_bundle
from cli_run import refused, run
from kserve_server import Model, Server

pytest.importorskip("tritonclient.grpc")
TENSOR = ("FP32", [-1, 3, -1, 4])


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    # it has a case for each size alone; what its ranges ask for is another test's
    monkeypatch.setattr("attn2trt.workflows.validate.missing_cases", lambda bundle: [])
    plans = [served_bundle.plan("8.6", flavour="tensorrt-rtx", tensorrt="1.7.1")]
    return served_bundle.write(tmp_path / "b", precisions=("fp32", "fp16"), plans=plans).path


def server(factor: float = 2.0) -> Server:
    return Server({"twice": Model(lambda feeds: {"y": feeds["x"] * factor}, {"x": TENSOR}, {"y": TENSOR})})


def test_the_command_says_what_was_written_and_what_was_not(bundle: Path, tmp_path: Path) -> None:
    place = tmp_path / "models"
    result = run("triton", bundle, "-o", place)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0] == f"repository {place}"
    assert lines[1] == "model      twice   onnxruntime_onnx, fp32, batches of up to 8"
    assert lines[2] == "model      twice_fp16   onnxruntime_onnx, fp16, batches of up to 8"
    assert lines[3].startswith("left out   plans/sm86-rtx1.7.1-fp32.plan: plans of TensorRT for RTX are loaded by")
    assert lines[4] == f"serve      tritonserver --model-repository={place}"
    assert f"attn2trt validate {bundle} --server grpc://localhost:8001" in lines[5]
    assert "no verdict passed" in result.stderr


def test_json_and_options(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "labels").write_text("a\nb\nc\nd\n")
    options = ["--as", "versions", "--name", "net", "--backend", "python", "--instances", "2", "--queue-delay", "50"]
    result = run("triton", bundle, "-o", tmp_path / "m", "--json", "--labels", f"y={tmp_path / 'labels'}", *options)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["models"] == [
        {"name": "net", "platform": "python", "versions": {"1": "fp32", "2": "fp16"}, "max_batch_size": 8}
    ]
    text = (tmp_path / "m/net/config.pbtxt").read_text()
    assert "count: 2" in text
    assert "max_queue_delay_microseconds: 50" in text
    assert (tmp_path / "m/net/labels.txt").read_text() == "a\nb\nc\nd\n"


def test_a_shape_that_is_kept_whole_says_why(bundle: Path, tmp_path: Path) -> None:
    result = run("triton", bundle, "-o", tmp_path / "m", "--no-batching", "--no-warmup", "--precision", "fp32")
    assert "requests are not put together\n           left out by --no-batching" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--precision", "int8"], 2, "received --precision int8; expected one that the bundle holds: fp32, fp16"),
        (
            ["--labels", "nowhere"],
            2,
            "received --labels nowhere, which is not there; expected a text file, one class a line; correct the path",
        ),
        (["--backend", "tensorrt"], 2, "is left to serve"),
        (["--instances", "0"], 2, "--instances"),
    ],
)
def test_wrong_options_end_in_one_line(
    bundle: Path, tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    result = run("triton", bundle, "-o", tmp_path / "m", *arguments)
    assert result.exit_code == code
    assert message in result.stderr
    assert result.stderr.strip().count("\n") <= 2
    assert not (tmp_path / "m").exists()


def test_a_folder_that_is_no_bundle(tmp_path: Path) -> None:
    assert "is not a bundle" in refused(run("triton", tmp_path, "-o", tmp_path / "m"))


def test_a_server_that_is_right_passes_and_the_bundle_is_not_changed(bundle: Path) -> None:
    before = (bundle / "bundle.json").read_bytes()
    with kserve_server.over_grpc(server()) as address:
        result = run("validate", bundle, "--server", address, "--model", "twice")
    assert result.exit_code == 0, result.output
    assert "triton grpc, rows" in result.stdout
    assert "PASSED: 2 stages" in result.stdout
    assert f"server   pretended 1 at {address}: twice version 1, fp32" in result.stdout
    assert "twice does not say which file it serves: it is judged as fp32 by its numbers alone" in result.stderr
    assert (bundle / "bundle.json").read_bytes() == before


def test_a_server_that_is_wrong_fails(bundle: Path) -> None:
    with kserve_server.over_grpc(server(2.001)) as address:
        result = run("validate", bundle, "--server", f"{address}/twice", "--json")
    assert result.exit_code == 1
    document: dict[str, Any] = json.loads(result.stdout)
    assert document["passed"] is False
    assert document["models"] == [{"model": "twice", "version": "1", "precision": "fp32"}]
    assert document["server"]["name"] == "pretended 1"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--server", "grpc://127.0.0.1:1", "--server-timeout", "5"], 3, "no server answers at grpc://127.0.0.1:1"),
        (["--server", "localhost"], 2, "received --server localhost; expected grpc://host:port"),
        (["--model", "twice"], 2, "received --model without --server; expected both"),
        (["--precision", "fp16"], 2, "received --precision without --server"),
        (["--server", "grpc://127.0.0.1:1", "--network"], 2, "received --network with --server"),
    ],
)
def test_a_server_that_cannot_be_asked_ends_in_one_line(
    bundle: Path, arguments: list[str], code: int, message: str
) -> None:
    assert message in refused(run("validate", bundle, *arguments), code)
