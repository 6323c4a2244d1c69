"""Each command as a user runs it, on a target small enough to export in seconds."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import onnx
import pytest
from cli_run import refused, run
from click.testing import Result
from manifest_edits import list_as_it_is

from attn2trt.errors import InputError
from attn2trt.modules import catalog

SMALL = ("se", "--shape", "2x16x8x8", "--dynamic", "batch=1:2:4")


def document(result: Result) -> Any:
    """The JSON document that is the whole of stdout."""
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """One deployed bundle and the JSON document that announced it."""
    folder = tmp_path_factory.mktemp("deployed") / "small"
    result = run("deploy", *SMALL, "-o", str(folder), "--json")
    assert result.exit_code == 0, result.output
    return folder, document(result)


@pytest.fixture
def bundle(deployed: tuple[Path, dict[str, Any]], tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(deployed[0], tmp_path / "small"))


def test_deploy_announces_the_bundle_as_json(deployed: tuple[Path, dict[str, Any]]) -> None:
    folder, announced = deployed
    assert (announced["path"], announced["passed"], announced["reused"]) == (str(folder), True, False)
    assert announced["axes"] == {"batch": [1, 2, 4]}
    assert {stage["status"] for stage in announced["verdict"]["stages"]} <= {"passed", "built", "not checked"}


def test_deploy_again_reuses_the_bundle_and_says_so(bundle: Path) -> None:
    before = (bundle / "bundle.json").stat().st_mtime_ns
    result = run("deploy", *SMALL, "-o", str(bundle))
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    assert (bundle / "bundle.json").stat().st_mtime_ns == before
    for words in ("reused", "not checked", "x: float32[batch, 16, 8, 8]", "batch 1:2:4", "attn2trt validate"):
        assert words in result.stdout


def test_deploy_on_failed_numerics_exits_1_and_shows_the_table(tmp_path: Path) -> None:
    result = run("deploy", *SMALL, "-o", str(tmp_path / "small"), "--max-error", "1e-30")
    assert result.exit_code == 1
    assert "failed" in result.stdout
    assert "next" not in result.stdout


def test_export_checks_no_numbers_and_says_so(tmp_path: Path) -> None:
    result = run("export", *SMALL, "-o", str(tmp_path / "small"))
    assert result.exit_code == 0, result.output
    assert "not checked: export only" in result.stdout
    refused = run("export", *SMALL, "--for", "sm86")  # it builds no plan
    assert (refused.exit_code, "No such option" in refused.stderr) == (2, True), refused.output
    assert run("verify", str(tmp_path / "small")).exit_code == 0


def test_a_module_that_prints_does_not_spoil_the_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "from torch import nn\n\ndef printing():\n    print('hello')\n    return nn.Conv2d(3, 4, 1)\n"
    (tmp_path / "printing_nets.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    result = run("export", "py:printing_nets:printing", "--shape", "2x3x8x8", "--json")
    assert result.exit_code == 0, result.output
    assert "hello" in result.stderr
    assert Path(document(result)["path"]).is_dir()


def test_validate_repeats_the_verdict(bundle: Path) -> None:
    result = run("validate", str(bundle))
    assert result.exit_code == 0, result.output
    assert "passed" in result.stdout
    assert document(run("validate", str(bundle), "--json"))["passed"] is True


def test_validate_needs_no_pytorch(bundle: Path) -> None:
    code = (
        "import sys\n"
        "for name in ('torch', 'timm', 'onnxsim', 'onnxscript'):\n    sys.modules[name] = None\n"
        "from attn2trt.cli.main import main\nmain()"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, "validate", str(bundle)], capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, "")


def test_validate_with_a_budget_that_nothing_meets_exits_1(bundle: Path) -> None:
    result = run("validate", str(bundle), "--max-error", "1e-30", "--json")
    assert result.exit_code == 1
    assert document(result)["passed"] is False


@pytest.mark.parametrize("name", ["model.onnx", "reference.safetensors"])
def test_verify_finds_a_changed_file(bundle: Path, name: str) -> None:
    assert run("verify", str(bundle)).exit_code == 0
    content = bytearray((bundle / name).read_bytes())
    content[-1] ^= 1
    (bundle / name).write_bytes(content)
    result = run("verify", str(bundle))
    assert result.exit_code == 1
    assert "FAILED" in result.stdout
    found = document(run("verify", str(bundle), "--json"))
    assert found["passed"] is False
    assert [finding["file"] for finding in found["findings"] if not finding["ok"]] == [name]


def test_verify_says_whether_the_graph_loads_here(bundle: Path) -> None:
    assert "loads in ONNX Runtime" in run("verify", str(bundle)).stdout
    graph = onnx.load(str(bundle / "model.onnx"))
    graph.graph.node[0].domain = "mine"  # of an operator that ONNX Runtime does not have
    graph.opset_import.append(onnx.helper.make_opsetid("mine", 1))
    onnx.save(graph, str(bundle / "model.onnx"))
    list_as_it_is(bundle, "model.onnx")
    result = run("verify", str(bundle))
    assert result.exit_code == 1, result.output
    assert "cannot load" in result.stdout


def test_verify_finds_a_missing_file(bundle: Path) -> None:
    (bundle / "model.onnx").unlink()
    assert run("verify", str(bundle)).exit_code == 1


@pytest.mark.parametrize("name", ["validate", "verify"])
def test_a_folder_that_cannot_be_read_is_an_error_of_reading(
    name: str, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not of usage: exit code 4, as for a file of it; root, who reads everything, included."""

    def denied(*_: object) -> None:
        raise PermissionError(13, "Permission denied", str(bundle))

    monkeypatch.setattr("os.access", lambda *_: False)
    monkeypatch.setattr("attn2trt.core.bundle.read_manifest", denied)
    assert "Permission denied" in refused(run(name, bundle), 4)


@pytest.mark.parametrize("name", ["validate", "verify"])
def test_a_folder_that_is_no_bundle_is_one_line_and_exit_2(name: str, tmp_path: Path) -> None:
    assert "is not a bundle" in refused(run(name, tmp_path))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("cbma",), "cbam"),
        (("resnet51+cbam",), "resnet50"),
        (("eca:kernel=5",), "kernel"),
        (("onnx:model.onnx",), "received model.onnx, which is not there; expected an ONNX file; correct the path"),
        (("se", "--shape", "2x16"), "2x16"),
        (("se", "--shape", "2x16x8x8", "--dynamic", "batch=4:2:1"), "4:2:1"),
        (("se", "--shape", "2x16x8x8", "--opset", "5"), "opset"),
        (("resnet50+bot", "--dynamic", "batch,height"), "received dynamic height for bot; expected batch alone"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_bad_input_is_one_line_exit_2_and_writes_nothing(
    arguments: tuple[str, ...], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert words in refused(run("deploy", *arguments))
    assert list(tmp_path.iterdir()) == []


def test_list_shows_the_blocks_with_their_papers() -> None:
    listed = document(run("list", "--json"))
    assert {"se", "cbam", "eca", "coord_att", "gam", "psa"} <= {entry["name"] for entry in listed}
    shown = run("list")
    assert shown.exit_code == 0
    assert all(entry["name"] in shown.stdout for entry in listed)


def test_doctor_shows_the_fix_of_whatever_is_not_usable() -> None:
    components = document(run("doctor", "--json"))["components"]
    assert all(part["fix"] for part in components if part["status"] != "usable")
    shown = run("doctor")
    assert shown.exit_code == 0
    assert all(part["name"] in shown.stdout for part in components)


@pytest.mark.parametrize("arguments", [("deploy", *SMALL), ("validate", "{bundle}"), ("doctor",)])
def test_a_requirement_that_is_missing_exits_3(
    arguments: tuple[str, ...], bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from attn2trt.engines import environment

    lacking = environment.Component("tensorrt", "missing", "", "not installed", "pip install tensorrt")
    monkeypatch.setattr(environment, "probe", lambda: environment.Environment((lacking,)))
    monkeypatch.chdir(bundle.parent)
    before = sorted(bundle.parent.iterdir())
    result = run(*(argument.format(bundle=bundle) for argument in arguments), "--require", "tensorrt")
    assert result.exit_code == 3, result.output
    assert "pip install tensorrt" in result.stderr
    assert result.stderr.count("\n") == 1
    assert sorted(bundle.parent.iterdir()) == before


def test_list_filters() -> None:
    blocks = document(run("list", "blocks", "--supports", "dynamic", "--json"))
    assert {entry["kind"] for entry in blocks} == {"block"}
    assert all({"height", "width"} <= set(entry["axes"]) for entry in blocks)
    se = next(entry for entry in blocks if entry["name"] == "se")
    assert (se["year"], se["parameters"], se["macs"]) == (2018, 512, 512)
    assert "bot" not in {entry["name"] for entry in blocks}
    of_all = {entry["name"]: entry for entry in document(run("list", "blocks", "--json"))}
    assert of_all["bot"]["axes"] == ["batch"]
    assert of_all["simam"]["places"]["ResNet"] == "after the last 3x3 convolution, before its normalisation"
    assert of_all["se"]["places"] == {}
    backbones = document(run("list", "backbones", "--json"))
    assert {entry["kind"] for entry in backbones} == {"backbone"}
    assert run("list", "heads").exit_code == 2


def test_show_tells_costs_places_and_operators() -> None:
    shown = run("show", "resnet18+se@stage4", "--shape", "1x3x64x64")
    assert shown.exit_code == 0, shown.output
    for words in ("without blocks", "layer4.1.se", "1x512x2x2", "reduction: int = 16"):
        assert words in shown.stdout
    assert "sigmoid" in run("show", "se").stdout
    assert document(run("show", "se", "--json"))["cost"] == {"parameters": 512, "macs": 512}
    bot = run("show", "resnet50+bot", "--shape", "1x3x64x64").stdout
    for words in ("belong to the one height and width", "in place of the 3x3 convolution of a bottleneck, stage 4"):
        assert words in bot
    wrong = run("show", "sae")
    assert (wrong.exit_code, wrong.stderr.count("\n")) == (2, 1)


def test_a_checkpoint_is_a_file_that_exists_or_a_name_on_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = run("export", *SMALL, "-o", str(tmp_path / "small"), "--checkpoint", "missing.pt")
    assert (missing.exit_code, missing.stderr.count("\n")) == (2, 1)
    asked = []

    def locate(name: object) -> Path:
        asked.append(name)
        raise InputError("received a name on a hub that is not there")

    monkeypatch.setattr(catalog, "locate", locate)
    hub = run("export", *SMALL, "-o", str(tmp_path / "small"), "--checkpoint", "hf-hub:someone/weights")
    assert (hub.exit_code, asked) == (2, ["hf-hub:someone/weights"])
