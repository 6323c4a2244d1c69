"""What is wrong with the input is said before anything that this machine lacks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest
import served_bundle
from cli_run import run
from foreign_files import plan as plan_bytes

from attn2trt.core.bundle import open_bundle
from attn2trt.core.extend import extend
from attn2trt.core.manifest import MODEL
from attn2trt.errors import Attn2trtError, CheckFailed, InputError, MissingRequirement
from attn2trt.report import cost_plot
from attn2trt.workflows import check_plan, plugin, triton, tune_plans
from attn2trt.workflows.triton import write_triton_repository
from attn2trt.workflows.tune_plans import TuneRequest


def lacking(*_: object) -> NoReturn:
    raise MissingRequirement("this machine lacks it")


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return served_bundle.write(tmp_path / "b").path


def change(bundle: Path) -> Path:
    (bundle / MODEL).write_bytes(b"other")
    return bundle


def fill(folder: Path) -> None:
    folder.mkdir()
    (folder / "note").write_text("mine")


@pytest.mark.parametrize(
    ("prepare", "options", "error", "message"),
    [
        (lambda bundle: (bundle / "bundle.json").unlink(), {}, InputError, "is not a bundle"),
        (change, {}, CheckFailed, "model.onnx: changed"),
        (None, {"precisions": ["int8"]}, InputError, "received --precision int8; expected one that the bundle holds"),
        (None, {"backend": "tensorrt"}, InputError, "is left to serve"),
        (None, {"name": "../b"}, InputError, r"received --name \.\./b"),
        (lambda bundle: fill(bundle.parent / "models"), {}, InputError, "holds 'note' beside what this command writes"),
        (None, {}, MissingRequirement, "lacks it"),
    ],
)
def test_of_a_repository(
    bundle: Path,
    monkeypatch: pytest.MonkeyPatch,
    prepare: Callable[[Path], object] | None,
    options: dict[str, Any],
    error: type[Attn2trtError],
    message: str,
) -> None:
    monkeypatch.setattr(triton, "import_model_config", lacking)
    if prepare is not None:
        prepare(bundle)
    before = sorted(bundle.parent.rglob("*"))
    with pytest.raises(error, match=message):
        write_triton_repository(bundle, bundle.parent / "models", **options)
    assert sorted(bundle.parent.rglob("*")) == before


def test_of_a_plugin(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugin, "find_headers", lacking)
    out = bundle.parent / "out"
    with pytest.raises(InputError, match="nowhere is not a bundle"):
        plugin.compile_plugin(out, bundle=bundle / "nowhere")
    with pytest.raises(InputError, match="received --precision int8; expected one of fp32, tf32, fp16"):
        plugin.compile_plugin(out, bundle=bundle, precision="int8")
    with pytest.raises(InputError, match="has no gate of the plugin's kind"):
        plugin.compile_plugin(out, bundle=bundle)
    with pytest.raises(CheckFailed, match=r"model\.onnx: changed"):
        plugin.compile_plugin(out, bundle=change(bundle))
    assert not out.exists()


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (TuneRequest(profile="batch=9:1:1"), "received --profile batch=9:1:1: range 9:1:1 is not min:opt:max"),
        (TuneRequest(at="width=4"), "received --at width=4; the bundle has batch, height"),
        (TuneRequest(precision="fp16"), "received --precision fp16; expected one that the bundle holds"),
    ],
)
def test_of_plans_to_tune(bundle: Path, monkeypatch: pytest.MonkeyPatch, asked: TuneRequest, message: str) -> None:
    monkeypatch.setattr(tune_plans, "why_no_flavour", lambda _: "there is no GPU")
    extend(open_bundle(bundle), {}, {"opset": 17})
    with pytest.raises(InputError, match=message):
        tune_plans.tune_plans(bundle, asked)


def test_of_a_plan(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_plan, "require_here", lacking)
    plan = bundle.parent / "model.plan"
    plan.write_bytes(plan_bytes())
    with pytest.raises(InputError, match=r"missing\.onnx, which is not there; expected an ONNX file"):
        check_plan.check_plan(plan, bundle.parent / "missing.onnx", trust=True)
    with pytest.raises(InputError, match="is not a bundle"):
        check_plan.check_plan(plan, bundle.parent, trust=True)
    with pytest.raises(InputError, match="received --shape, --dynamic or --against with the bundle"):
        check_plan.check_plan(plan, bundle, trust=True, shapes=["1x3x4x4"])
    with pytest.raises(MissingRequirement, match="lacks it"):
        check_plan.check_plan(plan, bundle, trust=True)


def test_of_a_plot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost_plot, "find_spec", lambda _: None)
    monkeypatch.chdir(tmp_path)
    for target, code, message in [("se", 2, "without a shape"), ("se --shape 1x16x8x8", 3, "expected matplotlib")]:
        result = run("cost", *target.split(), "--plot", "cost.png")
        assert (result.exit_code, message in result.stderr) == (code, True), result.stderr
