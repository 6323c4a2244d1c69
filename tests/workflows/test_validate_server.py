"""A server is judged through the wire; one that is broken is an error in one line, and never a pass."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kserve_server
import numpy as np
import pytest
import served_bundle
from kserve_server import Arrays, Model, Server

from attn2trt.core.bundle import Bundle, open_bundle
from attn2trt.engines.triton.config import about
from attn2trt.engines.triton.source import choose_sources
from attn2trt.errors import InputError, MissingRequirement
from attn2trt.validate.stages.stage import VALUES
from attn2trt.workflows.validate import ServerVerdict, validate_server

pytest.importorskip("tritonclient.grpc")
pytest.importorskip("tritonclient.http")
SHAPE = [-1, 3, -1, 4]
pytestmark = pytest.mark.parametrize("protocol", ["http", "grpc"])


def twice(feeds: Arrays) -> Arrays:
    return {"y": feeds["x"] * np.float32(2)}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return served_bundle.write(tmp_path_factory.mktemp("made") / "b", precisions=("fp32", "fp16")).path


@pytest.fixture
def bundle(made: Path) -> Bundle:
    return open_bundle(made)


def model(bundle: Bundle | None, run: Any = twice, *, precision: str = "fp32", **changes: Any) -> Model:
    """A model of the bundle; without one, its configuration says nothing of files."""
    config: dict[str, Any] = {"name": "twice", "max_batch_size": 8}
    if bundle is not None:
        sources, _ = choose_sources(bundle, precisions=[precision])
        config["parameters"] = {"attn2trt": {"string_value": json.dumps(about(bundle, sources))}}
    kind = ("FP32", SHAPE)
    given: dict[str, Any] = {"inputs": {"x": kind}, "outputs": {"y": kind}, "config": config, **changes}
    return Model(run, **given)


def judged(bundle: Bundle, protocol: str, server: Server, path: str = "", **options: Any) -> ServerVerdict:
    with kserve_server.SERVED[protocol](server) as address:
        return validate_server(bundle, address + path, **options)


@pytest.fixture(autouse=True)
def few_cases(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bundle has a case for each size alone; what its ranges ask for is another test's."""
    monkeypatch.setattr("attn2trt.workflows.validate.missing_cases", lambda bundle: [])


def whys(found: ServerVerdict) -> str:
    assert not found
    return "; ".join(stage.why for stage in found.verdict.stages)


def test_every_model_of_the_bundle_is_judged_by_its_own_floors(bundle: Bundle, protocol: str) -> None:
    def rounded(feeds: Arrays) -> Arrays:
        return {"y": (feeds["x"].astype(np.float16) * np.float16(2)).astype(np.float32)}

    models = {"twice": model(bundle), "half": model(bundle, rounded, precision="fp16"), "other": model(None)}
    server = Server(models)
    found = judged(bundle, protocol, server)
    assert found
    assert [(stage.label, stage.status) for stage in found.verdict.stages] == [
        (f"triton {protocol}", "passed"),
        (f"triton {protocol}, rows", "passed"),
        (f"triton {protocol}, together", "passed"),
        (f"fp16 triton {protocol}", "passed"),
        (f"fp16 triton {protocol}, rows", "passed"),
        (f"fp16 triton {protocol}, together", "passed"),
    ]
    assert found.server == "pretended 1"
    assert [(one.model, one.version, one.says_files) for one in found.served] == [
        ("twice", "1", True),
        ("half", "1", True),
    ]
    assert {feeds["x"].shape[0] for feeds in server.asked} == {1, 2, 8}


def test_a_graph_with_float16_inputs_is_fed_them(protocol: str, tmp_path: Path) -> None:
    half = served_bundle.write(tmp_path / "b", precisions=("fp32", "fp16"), io="float16", halves=True)
    kind = ("FP16", SHAPE)

    def doubled(feeds: Arrays) -> Arrays:
        return {"y": feeds["x"] * np.float16(2)}

    served = model(half, doubled, precision="fp16", inputs={"x": kind}, outputs={"y": kind})
    server = Server({"twice_fp16": served})
    found = judged(half, protocol, server)
    assert found, [stage.why for stage in found.verdict.stages]
    assert {feeds["x"].dtype for feeds in server.asked} == {np.dtype(np.float16)}


@pytest.mark.parametrize("path", ["/twice", "/twice/1", "/v2/models/twice"])
def test_a_model_that_does_not_say_what_it_serves_is_judged_by_its_numbers(
    bundle: Bundle, protocol: str, path: str
) -> None:
    found = judged(bundle, protocol, Server({"twice": model(None)}), path)
    assert found
    assert [(one.precision, one.says_files) for one in found.served] == [("fp32", False)]


def test_a_server_without_an_index_is_asked_for_the_model_by_name(bundle: Bundle, protocol: str) -> None:
    server = Server({"twice": model(None)}, has_index=False)
    assert judged(bundle, protocol, server, model="twice")
    with pytest.raises(InputError, match=r"serves no file of .*; it has no model that it lists; name a model"):
        judged(bundle, protocol, server)


def test_every_version_is_judged(bundle: Bundle, protocol: str) -> None:
    both = model(bundle, versions=("1", "2"))
    sources, _ = choose_sources(bundle)
    both.config["parameters"]["attn2trt"]["string_value"] = json.dumps(about(bundle, sources))
    found = judged(bundle, protocol, Server({"twice": both}))
    assert [(one.version, one.precision) for one in found.served] == [("1", "fp32"), ("2", "fp16")]
    found = judged(bundle, protocol, Server({"twice": both}), version="2")
    assert [(one.version, one.precision) for one in found.served] == [("2", "fp16")]


def wrong(feeds: Arrays) -> Arrays:
    return {"y": feeds["x"] * np.float32(2.001)}


def one_wrong_in_large_batches(feeds: Arrays) -> Arrays:
    y = feeds["x"] * np.float32(2)
    if len(y) == 8:
        y[5, 1, 2, 3] += 1e-3
    return {"y": y}


def mixed(feeds: Arrays) -> Arrays:
    return {"y": feeds["x"][::-1] * np.float32(2)}


def too_small(feeds: Arrays) -> Arrays:
    return {"y": feeds["x"][:, :2] * np.float32(2)}


def broken(feeds: Arrays) -> Arrays:
    raise ValueError("out of memory in a kernel")


def nothing(feeds: Arrays) -> Arrays:
    return {}


@pytest.mark.parametrize(
    ("run", "why"),
    [
        (wrong, "times PyTorch's own rounding"),
        (one_wrong_in_large_batches, "times PyTorch's own rounding"),
        (mixed, "times PyTorch's own rounding"),
        (too_small, "shape"),
        (broken, "answered: out of memory in a kernel"),
        (nothing, "gave no output y"),
    ],
)
def test_wrong_answers_fail(bundle: Bundle, protocol: str, run: Any, why: str) -> None:
    found = judged(bundle, protocol, Server({"twice": model(bundle, run)}))
    assert why in whys(found)
    assert not found.verdict.was_interrupted


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        (
            {"inputs": {"x": ("FP16", SHAPE)}},
            "twice has x: FP16[-1, 3, -1, 4]; expected x: float32[batch, 3, height, 4]",
        ),
        ({"inputs": {"x": ("FP32", [-1, 3, -1])}}, "twice has x: FP32[-1, 3, -1]; expected"),
        ({"outputs": {"y": ("FP32", [-1, 5, -1, 4])}}, "twice has y: FP32[-1, 5, -1, 4]; expected"),
        ({"outputs": {"z": ("FP32", SHAPE)}}, "twice has the outputs z; expected y"),
        ({"inputs": {"x": ("FP32", SHAPE), "more": ("FP32", SHAPE)}}, "twice has the inputs x, more; expected x"),
    ],
)
def test_other_tensors_fail_before_anything_is_sent(
    bundle: Bundle, protocol: str, changes: dict[str, Any], why: str
) -> None:
    server = Server({"twice": model(bundle, **changes)})
    assert why in whys(judged(bundle, protocol, server))
    assert server.asked == []


def test_other_files_of_the_same_target_fail(bundle: Bundle, protocol: str, tmp_path: Path) -> None:
    other = served_bundle.write(tmp_path / "c", factor=3.0)
    found = judged(bundle, protocol, Server({"twice": model(other)}))
    assert "twice serves another model.onnx, with sha256" in whys(found)


def test_a_model_that_did_not_load_fails_beside_one_that_did(bundle: Bundle, protocol: str) -> None:
    models = {
        "twice": model(bundle),
        "twice_fp16": model(bundle, state="UNAVAILABLE", reason="no memory"),
        "other": model(None, state="UNAVAILABLE", reason="no matter"),
    }
    found = judged(bundle, protocol, Server(models))
    assert whys(found).endswith("twice_fp16 is UNAVAILABLE: no memory")
    models["twice_fp16"].reason = "unloaded"
    assert judged(bundle, protocol, Server(models))


@pytest.mark.parametrize(
    ("models", "path", "message"),
    [
        ({"a": model(None), "b": model(None)}, "/twice", "received model twice; .* has a, b; correct the name"),
        ({"a": model(None)}, "/a/7", "received version 7 of a, which is not served: .* it has a; correct the name"),
        ({"a": model(None), "b": model(None, state="UNAVAILABLE", reason="no file")}, "", r"it has a, b \(no file\)"),
        ({}, "", "serves no file of .*; name a model with --model, or write one with attn2trt triton"),
    ],
)
def test_a_model_that_is_not_there(
    bundle: Bundle, protocol: str, models: dict[str, Model], path: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        judged(bundle, protocol, Server(models), path)


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "{}", '{"versions": 3}', '{"versions": {"1": 3}}', '{"versions": {"1": {"files": 3}}}'),
        '{"bundle": "twice", "versions": {"1": {"files": {"a": 3}, "profiles": 7}}}',
        '{"versions": {"1": {"profiles": [{"width": [1, 2, 3]}]}}}',
    ],
)
def test_what_a_configuration_says_of_files_may_be_anything(bundle: Bundle, protocol: str, text: str) -> None:
    odd = model(bundle)
    odd.config["parameters"]["attn2trt"]["string_value"] = text
    found = judged(bundle, protocol, Server({"twice": odd}), "/twice")
    assert found.served[0].says_files is ("profiles" in text)
    assert bool(found) is ("bundle" not in text)


def test_a_description_that_cannot_be_read(bundle: Bundle, protocol: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Model, "metadata", lambda *_: {"name": "twice", "inputs": [{"datatype": "FP32"}]})
    with pytest.raises(InputError, match=r"whose description of its models cannot be read \(|has the inputs"):
        judged(bundle, protocol, Server({"twice": model(None)}), "/twice")


def test_a_precision_that_the_server_contradicts(bundle: Bundle, protocol: str) -> None:
    with pytest.raises(InputError, match="received --precision fp16; twice says that it serves fp32"):
        judged(bundle, protocol, Server({"twice": model(bundle)}), precision="fp16")


def test_cases_outside_of_what_is_served_are_not_sent(bundle: Bundle, protocol: str) -> None:
    small = model(bundle)
    small.config["max_batch_size"] = 2
    server = Server({"twice": small})
    found = judged(bundle, protocol, server)
    assert found
    assert [stage.why for stage in found.verdict.stages if stage.stage.kind == VALUES] == [
        "outside of what twice says that it takes, so not judged: case 2"
    ]
    assert {len(feeds["x"]) for feeds in server.asked} == {1, 2}
    said = json.loads(small.config["parameters"]["attn2trt"]["string_value"])
    said["versions"]["1"]["profiles"] = [{"batch": [16, 16, 16], "height": [2, 4, 6]}]
    small.config["parameters"]["attn2trt"]["string_value"] = json.dumps(said)
    found = judged(bundle, protocol, Server({"twice": small}))
    assert "no recorded case lies inside of what twice takes" in whys(found)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"version": "x"}, "received version 'x'; expected a number"),
        ({"precision": "fp99"}, "received precision 'fp99'; expected fp32, "),
        ({"seconds": 0.0}, "received a time limit of 0.0 s"),
        ({"seconds": float("nan")}, "received a time limit of nan s"),
    ],
)
def test_what_no_server_can_be_asked_for(bundle: Bundle, protocol: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        validate_server(bundle, f"{protocol}://localhost:1", **options)


def test_a_server_has_one_line_for_its_name(bundle: Bundle, protocol: str) -> None:
    found = judged(bundle, protocol, Server({"twice": model(bundle)}, name="a\nPASSED: all"))
    assert found.server == "a PASSED: all 1"


def test_nobody_listens(bundle: Bundle, protocol: str) -> None:
    with kserve_server.SERVED[protocol](Server({})) as address:
        pass
    with pytest.raises(
        MissingRequirement, match=f"no server answers at {protocol}://127.0.0.1:.*; start it, or correct"
    ):
        validate_server(bundle, address, seconds=5)


def test_a_slow_server_is_not_judged_and_not_waited_for_again(bundle: Bundle, protocol: str) -> None:
    found = judged(bundle, protocol, Server({"twice": model(bundle)}, seconds=60.0), seconds=1.0)
    assert "did not answer within 1 s while running twice; ask for more time with --server-timeout" in whys(found)
    assert found.verdict.was_interrupted


def test_a_server_that_gives_one_byte_at_a_time_is_late(bundle: Bundle, protocol: str) -> None:
    if protocol == "grpc":
        pytest.skip("a message of gRPC arrives whole")
    started = time.monotonic()
    found = judged(bundle, protocol, Server({"twice": model(bundle)}, byte_seconds=0.1), seconds=1.0)
    assert "did not answer within 1 s while running twice" in whys(found)
    assert time.monotonic() - started < 8.0


@pytest.mark.parametrize(
    ("answers_as", "why"),
    [
        (("twice", "2"), "answered by version 2; expected 1, which was asked for"),
        (("other", "1"), "answered by model other; expected twice, which was asked for"),
    ],
)
def test_answers_of_another_version_fail(bundle: Bundle, protocol: str, answers_as: tuple[str, str], why: str) -> None:
    assert judged(bundle, protocol, Server({"twice": model(bundle, answers_as=("twice", "1"))}))
    assert why in whys(judged(bundle, protocol, Server({"twice": model(bundle, answers_as=answers_as)})))


@pytest.mark.parametrize("size", [-1, -7])
def test_an_answer_that_leaves_a_size_open_fails(bundle: Bundle, protocol: str, size: int) -> None:
    found = judged(bundle, protocol, Server({"twice": model(bundle, shape_of=lambda shape: [size, *shape[1:]])}))
    assert f"answered y of the shape [{size}, 3, 4, 4], which is no array's; expected the size of every" in whys(found)
    assert not found.verdict.was_interrupted


def test_an_answer_without_a_shape_is_none_of_the_protocol(
    bundle: Bundle, protocol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if protocol == "grpc":
        pytest.skip("a message of gRPC has every entry")
    monkeypatch.setattr(kserve_server._Handler, "_arrays", lambda self, *_: self._json({"outputs": [{"name": "y"}]}))
    found = whys(judged(bundle, protocol, Server({"twice": model(bundle)})))
    assert "answered what is not of the protocol: KeyError: " in found


def test_a_server_that_dies_in_the_middle_is_no_pass(bundle: Bundle, protocol: str) -> None:
    found = judged(bundle, protocol, Server({"twice": model(bundle)}, dies_after=2))
    assert "closed the connection while running twice" in whys(found)
    assert found.verdict.was_interrupted


def test_a_server_of_another_protocol(bundle: Bundle, protocol: str) -> None:
    other = "grpc" if protocol == "http" else "http"
    with kserve_server.SERVED[other](Server({})) as address, pytest.raises((InputError, MissingRequirement)) as raised:
        validate_server(bundle, address.replace(other, protocol), seconds=5)
    assert "Triton" in str(raised.value)


@pytest.fixture
def page() -> Iterator[str]:
    """A web server that knows nothing of models."""
    from http.server import HTTPServer, SimpleHTTPRequestHandler

    class Silent(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            return None

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "5")
            self.end_headers()
            self.wfile.write(b"<html")

    server = HTTPServer(("127.0.0.1", 0), Silent)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_a_web_server(bundle: Bundle, protocol: str, page: str) -> None:
    if protocol == "http":
        with pytest.raises(InputError, match="which answers, but not as a server of the KServe protocol"):
            validate_server(bundle, page)


def test_a_client_library_that_is_missing(bundle: Bundle, protocol: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, f"tritonclient.{protocol}", None)
    with pytest.raises(MissingRequirement, match=r"pip install 'tritonclient\[grpc,http\]'"):
        validate_server(bundle, f"{protocol}://127.0.0.1:1")
