"""``attn2trt check``: what it prints, its exit codes, and one line for each bad input."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import numpy as np
import pytest
from cli_run import refused
from cli_run import run as run_command
from foreign_files import convolution, model, plan, saved
from onnx import helper
from quantised_gate import Gate, quantised

from attn2trt.cli.main import main
from attn2trt.engines.tensorrt.flavours import TENSORRT
from attn2trt.engines.tensorrt.plan_header import PlanHeader
from attn2trt.engines.tensorrt.versions import Version
from attn2trt.validate.stages.stage import Stage
from attn2trt.validate.verdict import StageResult, Verdict
from attn2trt.workflows.check_plan import CheckedPlan

HEALTHY = convolution()
NONE = ("--for", "none")


run = functools.partial(run_command, "check")


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return saved(HEALTHY, tmp_path / "model.onnx")


def test_it_says_what_the_file_is_and_what_was_not_checked(path: Path) -> None:
    result = run(path, *NONE)
    assert result.exit_code == 0
    for text in (
        "PASSED: 3 stages within the graph's own rounding",
        "not compared with PyTorch",
        f"file     {path}: opset 17, IR version 8, 3 nodes",
        "input    x: float32[batch, 3, 8, 8]",
        "dynamic  batch 1:2:8",
    ):
        assert text in result.stdout.replace("\n", " "), result.stdout


def test_it_ends_with_what_to_do_next(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = " ".join(run(path, *NONE, "--dynamic", "n=1:2:4", "--seed", "3").stdout.split())
    assert f" next attn2trt deploy {path} --dynamic n=1:2:4 --seed 3 --precision fp32,fp16 " in shown
    assert f" attn2trt check {path} --dynamic n=1:2:4 --seed 3 --against mynet.py:Net " in shown
    code = "from onnx_modules import Net\ndef other():\n    net = Net()\n    net.conv.bias.data += 1\n    return net\n"
    (tmp_path / "net.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    result = run(path, *NONE, "--against", "net.py:other")
    shown = " ".join(result.stdout.split())
    assert result.exit_code == 1
    assert f" next attn2trt check {path} --against net.py:other --checkpoint weights.safetensors " in shown
    assert " attn2trt deploy net.py:other --shape 2x3x8x8 " in shown


def test_8_bits_that_lose_too_much_are_no_other_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = saved(quantised(Gate()), tmp_path / "model.onnx")
    (tmp_path / "gate.py").write_text("from quantised_gate import Gate\n")
    monkeypatch.chdir(tmp_path)
    shown = " ".join(run(file, *NONE, "--against", "gate.py:Gate", "--max-error", "1e-4").stdout.split())
    assert "next attn2trt deploy gate.py:Gate --shape 2x3x8x8 --precision int8 names the modules" in shown
    assert "--checkpoint" not in shown


def test_other_weights_are_offered_where_they_may_mend_it(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = (
        "import torch\nfrom onnx_modules import Net\n"
        "class Up(torch.nn.Module):\n"
        "    def forward(self, x):\n"
        "        return torch.nn.functional.interpolate(x, size=(256, 8), mode='bilinear')\n"
        "class Short(Net):\n    def forward(self, x):\n        return super().forward(x)[..., 1:]\n"
    )
    (tmp_path / "net.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    resize = helper.make_node("Resize", ["x", "", "", "s"], ["y"], mode="linear", name="up")
    sizes = {"s": np.array([2, 3, 256, 8], np.int64)}
    up = saved(model([resize], sizes, dims=(2, 3, 224, 8), out=(2, 3, 256, 8)), tmp_path / "up.onnx")
    for file, module, why in ((up, "Up", "up (Resize); the node alone"), (path, "Short", "received shape")):
        shown = " ".join(run(file, *NONE, "--against", f"net.py:{module}").stdout.replace("│", "").split())
        assert why in shown
        assert "--checkpoint" not in shown
        assert f"next attn2trt deploy net.py:{module} --shape " in shown
        is_resize = module == "Up"
        assert ("attn2trt deploy of the PyTorch module writes it exactly" in shown) == is_resize


def test_json_is_one_document(path: Path) -> None:
    result = run(path, *NONE, "--json", "--dynamic", "n=2:2:2")
    document = json.loads(result.stdout)
    assert result.exit_code == 0
    assert document["passed"] is True
    assert document["axes"] == {}
    assert document["inputs"][0]["shape"] == [2, 3, 8, 8]
    assert document["verdict"]["source"] == "the graph"


def test_a_verdict_as_ci_reads_it(path: Path, tmp_path: Path) -> None:
    assert run(path, *NONE, "--format", f"junit={tmp_path / 'out.xml'}").exit_code == 0
    assert "onnxruntime cpu" in (tmp_path / "out.xml").read_text()


def test_bad_input_is_one_line_and_exit_code_2(path: Path, tmp_path: Path) -> None:
    custom = convolution()
    custom.graph.node[1].domain = "com.microsoft"
    custom.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    saved(custom, tmp_path / "custom.onnx")
    saved(convolution(dims=("n", 3, "h", "w"), out=("n", 4, "h", "w")), tmp_path / "open.onnx")
    (tmp_path / "text.onnx").write_text("not ONNX")
    for arguments, why in (
        (("none.onnx",), "none.onnx, which is not there; expected an ONNX file; correct the path"),
        (("text.onnx",), "no ONNX file"),
        (("custom.onnx",), "com.microsoft::Sigmoid"),
        (("open.onnx",), "add --dynamic h=min:opt:max,w=min:opt:max"),
        (("model.onnx", "--precision", "fp17"), "expected fp32"),
        (("model.onnx", "--against", "no_such_block"), "no_such_block"),
        (("model.onnx", "--for", "sm10"), "sm10"),
    ):
        none = () if "--for" in arguments else NONE
        assert why in refused(run(tmp_path / arguments[0], *none, *arguments[1:]))


def test_the_console_script_guards_it() -> None:
    from attn2trt.cli.main import GUARDED

    assert "check" in GUARDED
    assert callable(main)


def test_a_plan_without_trust_or_without_a_gpu_is_one_line(path: Path, tmp_path: Path) -> None:
    whole, cut = tmp_path / "a.plan", tmp_path / "cut.plan"
    whole.write_bytes(plan())
    cut.write_bytes(plan()[:20])
    trusted = ("--trust",)
    for file, arguments, expected, why in (
        (whole, (), 2, "without --trust"),
        (cut, trusted, 2, "the beginning of a plan, 20 bytes long"),
        (path, trusted, 2, "which is no plan"),
        (whole, (*trusted, "--for", "sm86"), 2, "received --for with --plan"),
        (whole, (*trusted, "--precision", "fp16,int8"), 2, "expected the one that the plan was built in"),
        (whole, (*trusted, "--precision", "fp16"), 3, "a plan of TensorRT 8.6.1, which cannot run here"),
    ):
        assert why in refused(run(path, "--plan", file, *arguments), expected)


def test_what_was_found_of_a_plan_is_printed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = StageResult(Stage("tensorrt", "fp16"), "not checked", "no case lies inside of the plan's profiles")
    header = PlanHeader(TENSORRT, Version(8, 6, 1))
    found = CheckedPlan(
        Path("a.plan"), header, "0" * 64, path, "fp16", {"fp16": 3, "": 1}, Verdict((stage,)), ("something",)
    )
    monkeypatch.setattr("attn2trt.workflows.check_plan.check_plan", lambda *_, **__: found)
    result = run(path, "--plan", "a.plan", "--trust")
    assert result.exit_code == 3
    for text in ("built by TensorRT 8.6.1", "held to  fp16", "layers   3 in float16, 1 unknown", "note     something"):
        assert text in result.stdout
    assert json.loads(run(path, "--plan", "a.plan", "--trust", "--json").stdout)["layers"] == {"fp16": 3, "unknown": 1}
