"""The folder of a compiled plugin, by a compiler that only pretends."""

from __future__ import annotations

import json
import time
from pathlib import Path

import onnx
import pytest
import served_bundle
from pretended_nvcc import CODE, write_headers, write_nvcc

from attn2trt.core.file_hashes import sha256
from attn2trt.engines.tensorrt.plugin import build
from attn2trt.engines.tensorrt.plugin.build import NOT_RUN, SOURCES
from attn2trt.errors import CheckFailed, InputError
from attn2trt.validate.stages.stage import Stage
from attn2trt.validate.verdict import not_checked
from attn2trt.workflows.plugin import compile_plugin

# y = x · 1 + x, the gate being open: what the bundle recorded of y = 2 x
GATE = """
<ir_version: 8, opset_import: ["" : 17]> g (float[batch, 3, height, 4] x) => (float[batch, 3, height, 4] y)
<float[2, 3, 1, 1] w = {1, 2, 3, 4, 5, 6}, float[3, 2, 1, 1] v = {1, 1, 1, 1, 1, 1}, float[3] c = {OPEN, OPEN, OPEN}>
{
    m = GlobalAveragePool (x)
    a = Conv (m, w)
    r = Relu (a)
    o = Conv (r, v, c)
    g = Sigmoid (o)
    p = Mul (x, g)
    y = Add (p, x)
}
"""


@pytest.fixture
def cuda(tmp_path: Path) -> Path:
    return write_nvcc(tmp_path / "cuda")


@pytest.mark.parametrize(("version", "source"), [("8.6.1", "plugin_v2.cpp"), ("11.1.0", "plugin_v3.cpp")])
def test_what_is_built(tmp_path: Path, cuda: Path, version: str, source: str) -> None:
    headers, progress = write_headers(tmp_path / "include", version), list[str]()
    built = compile_plugin(
        tmp_path / "deep/er", trt_include=headers, cuda=cuda, targets="sm90,sm80", progress=progress.append
    )
    assert built.path == tmp_path / "deep/er"
    assert {path.name for path in built.path.iterdir()} == {
        *("libattn2trt_channel_gate.so", "channel_gate.fatbin", "plugin.json", "build.log"),
    }
    about = json.loads((built.path / "plugin.json").read_text())
    assert about == built.build.about
    assert (about["tensorrt"], about["capabilities"], about["status"]) == (version, ["8.0", "9.0"], NOT_RUN)
    library = built.build.library
    assert about["files"][library.name] == {"sha256": sha256(library)}
    assert about["sources"].keys() == {path.name for path in SOURCES.iterdir()}
    log = (built.path / "build.log").read_text()
    assert f"-isystem {headers}" in log
    assert log.count("arch=compute_80,code=sm_80") == log.count("arch=compute_90,code=compute_90") == 2
    assert f"{SOURCES / 'launch.cu'} {SOURCES / source}\n" in log
    assert len(progress) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cuda", "deep", "include"]


def test_what_is_in_the_way_is_kept(tmp_path: Path, cuda: Path) -> None:
    headers = write_headers(tmp_path / "include")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/note").write_text("mine")
    with pytest.raises(InputError, match="full is not empty; expected a folder of its own"):
        compile_plugin(tmp_path / "full", trt_include=headers, cuda=cuda)
    with pytest.raises(InputError, match="lies below a file"):
        compile_plugin(tmp_path / "full/note/out", trt_include=headers, cuda=cuda)
    with pytest.raises(InputError, match=r"expected compute capabilities such as sm86,sm89,sm120; correct 'none'"):
        compile_plugin(tmp_path / "out", trt_include=headers, cuda=cuda, targets="none")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cuda", "full", "include"]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"fails": "echo 'a.cu(3): error: no such thing' ; exit 1"}, r"nvcc does not compile .*error: no such thing"),
        ({"fails": "exit 9"}, "nvcc does not compile the plugin: exit code 9"),
        ({"code": CODE.replace("getCreators", "noCreators")}, r"compiled and does not load: .*getCreators"),
    ],
)
def test_what_does_not_compile_or_load_leaves_nothing(tmp_path: Path, changed: dict[str, str], message: str) -> None:
    cuda, headers = write_nvcc(tmp_path / "cuda", **changed), write_headers(tmp_path / "include")
    with pytest.raises(CheckFailed, match=message):
        compile_plugin(tmp_path / "deep/er", trt_include=headers, cuda=cuda)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cuda", "include"]


def test_a_compiler_that_takes_too_long_ends_with_all_that_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuda = write_nvcc(tmp_path / "cuda", fails=f"(sleep 0.6; touch {tmp_path / 'late'}) & wait")
    monkeypatch.setattr(build, "SECONDS", 0.2)
    with pytest.raises(CheckFailed, match=r"nvcc did not end within 0\.2 s"):
        compile_plugin(tmp_path / "out", trt_include=write_headers(tmp_path / "include"), cuda=cuda)
    time.sleep(0.6)
    assert not (tmp_path / "late").exists()


def gated(monkeypatch: pytest.MonkeyPatch, folder: Path, opening: str = "100", *, is_whole: bool = True) -> Path:
    """A bundle whose graph has a gate; its three cases are taken for all that its ranges ask for if it ``is_whole``."""
    if is_whole:
        monkeypatch.setattr("attn2trt.workflows.plugin.require_cases", lambda bundle: None)
    made = onnx.parser.parse_model(GATE.replace("OPEN", opening))
    monkeypatch.setattr(served_bundle, "graph", lambda *_, **__: made)
    return served_bundle.write(folder).path


def test_a_bundles_graph_with_the_plugins_node_is_judged_without_it(
    tmp_path: Path, cuda: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = gated(monkeypatch, tmp_path / "bundle")
    before = {path.name: path.read_bytes() for path in bundle.iterdir()}
    made = compile_plugin(tmp_path / "out", trt_include=write_headers(tmp_path / "include"), cuda=cuda, bundle=bundle)
    assert made.graph is not None
    assert [stage.label for stage in made.graph.verdict.stages] == ["the plugin's gates written out"]
    assert made.graph.verdict
    graph = onnx.load(str(tmp_path / "out/model.onnx"))
    assert [node.op_type for node in graph.graph.node] == ["ChannelGate"]
    listed = json.loads((tmp_path / "out/plugin.json").read_text())["files"]["model.onnx"]
    assert listed == {"sha256": sha256(tmp_path / "out/model.onnx"), "precision": "fp32", "gates": [*made.graph.gates]}
    assert {path.name: path.read_bytes() for path in bundle.iterdir()} == before


def test_a_bundle_that_lacks_cases_leaves_nothing(tmp_path: Path, cuda: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = gated(monkeypatch, tmp_path / "bundle", is_whole=False)
    with pytest.raises(CheckFailed, match=r"has not recorded the cases traced, .*deploy the target again"):
        compile_plugin(tmp_path / "out", trt_include=write_headers(tmp_path / "include"), cuda=cuda, bundle=bundle)
    assert not (tmp_path / "out").exists()


def test_a_graph_that_could_not_be_judged_leaves_nothing(
    tmp_path: Path, cuda: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = gated(monkeypatch, tmp_path / "bundle")
    unjudged = not_checked(Stage("onnxruntime"), "it has no such kernel")
    monkeypatch.setattr("attn2trt.workflows.plugin.judge_graph_for_plan", lambda *_: [unjudged])
    with pytest.raises(CheckFailed, match="the graph with the plugin's nodes was not judged: it has no such kernel; "):
        compile_plugin(tmp_path / "out", trt_include=write_headers(tmp_path / "include"), cuda=cuda, bundle=bundle)
    assert not (tmp_path / "out").exists()


def test_a_graph_that_computes_something_else_or_has_no_gate_leaves_nothing(
    tmp_path: Path, cuda: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    headers = write_headers(tmp_path / "include")
    plain = served_bundle.write(tmp_path / "plain").path
    with pytest.raises(InputError, match=r"whose fp32 graph has no gate of the plugin's kind; .*leave --bundle out"):
        compile_plugin(tmp_path / "out", trt_include=headers, cuda=cuda, bundle=plain)
    with pytest.raises(InputError, match="received --precision int8; expected one of fp32, tf32, fp16"):
        compile_plugin(tmp_path / "out", trt_include=headers, cuda=cuda, bundle=plain, precision="int8")
    wrong = gated(monkeypatch, tmp_path / "wrong", "1")
    with pytest.raises(CheckFailed, match="the graph with the plugin's nodes computes something else: "):
        compile_plugin(tmp_path / "out", trt_include=headers, cuda=cuda, bundle=wrong)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cuda", "include", "plain", "wrong"]
