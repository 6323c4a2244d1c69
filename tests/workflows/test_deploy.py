"""The whole way: a target in, a judged bundle out, the same again for free, and a wrong graph never called a pass."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from in_this_process import RuntimeHere
from manifest_edits import edit
from pretended_worker import real_workers
from torch import nn
from wrong_weights import scale

import attn2trt
from attn2trt.core.tensor_spec import Axis
from attn2trt.errors import CheckFailed, InputError
from attn2trt.export import simplify as simplify_room
from attn2trt.validate.stages import ort_process
from attn2trt.validate.verdict import Verdict
from attn2trt.workflows.validate import validate_bundle
from attn2trt.workflows.verify import verify_bundle

SMALL: dict[str, Any] = {"shapes": ["2x16x8x8"], "dynamic": "batch=1:2:3,height=4:8:12,width=4:8:12"}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> attn2trt.Bundle:
    """A bundle whose graphs are judged in processes of their own, as everybody's are."""
    with pytest.MonkeyPatch.context() as patch:
        real_workers(patch)
        return attn2trt.deploy("coord_att", out=tmp_path_factory.mktemp("deployed") / "coord_att", **SMALL)


def deploy(target: Any, *inputs: Any, **options: Any) -> attn2trt.Bundle:
    """Deploy without the plans, which the tests of ``bundle`` look at."""
    return attn2trt.deploy(target, *inputs, capabilities="none", **options)


class Rebuilt(Exception):
    """A bundle is about to be written again."""


def is_rebuilt(target: Any, *inputs: Any, **options: Any) -> bool:
    """Tell if a deploy makes its bundle again; it ends before that."""

    def stop(_: Path) -> None:
        raise Rebuilt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("attn2trt.workflows.deploy.BundleWriter", stop)
        try:
            return not attn2trt.deploy(target, *inputs, **options).reused
        except Rebuilt:
            return True


def statuses(bundle: attn2trt.Bundle) -> dict[str, str]:
    return {stage.label: stage.status for stage in Verdict.from_json(bundle.manifest["verdict"]).stages}


@pytest.mark.tensorrt
def test_every_stage_is_judged_or_says_why_not(bundle: attn2trt.Bundle) -> None:
    found = statuses(bundle)
    assert found.pop("tensorrt") == "not checked"
    assert found.pop("tensorrt-rtx fp32") == "built"
    assert set(found.values()) == {"passed"}
    assert len({str(case["sizes"]) for case in bundle.manifest["cases"]}) >= 4
    assert bundle.manifest["opset"] == 17
    assert "--minShapes=x:1x16x4x4" in bundle.manifest["trtexec"]


def test_the_same_again_is_reused_and_a_change_or_force_rebuilds(bundle: attn2trt.Bundle) -> None:
    again = attn2trt.deploy("coord_att", out=bundle.path, **SMALL)
    assert again.reused
    assert again.manifest == attn2trt.open_bundle(bundle.path).manifest
    assert is_rebuilt("coord_att", out=bundle.path, force=True, **SMALL)
    model = bundle.path / "model.onnx"
    before = model.read_bytes()
    model.write_bytes(before + b"\0")
    assert is_rebuilt("coord_att", out=bundle.path, **SMALL)
    model.write_bytes(before)
    assert not is_rebuilt("coord_att", out=bundle.path, **SMALL)


def test_the_example_script_runs(bundle: attn2trt.Bundle) -> None:
    script = subprocess.run([sys.executable, bundle.path / "infer.py"], capture_output=True, text=True, check=True)
    assert "largest difference from PyTorch" in script.stdout


@pytest.mark.parametrize("name", ["model.onnx", "reference.safetensors"])
def test_the_example_script_runs_no_file_that_was_changed(bundle: attn2trt.Bundle, tmp_path: Path, name: str) -> None:
    shutil.copytree(bundle.path, tmp_path / "b")
    with (tmp_path / "b" / name).open("ab") as file:
        file.write(b"\0")
    script = subprocess.run([sys.executable, tmp_path / "b/infer.py"], capture_output=True, text=True, check=False)
    assert (script.returncode, script.stdout) == (1, "")
    assert script.stderr.endswith(f"{name} is not the file of the manifest: it is not loaded\n")


def test_weights_too_large_for_one_file_lie_beside_the_graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from attn2trt.export.trace import exporter

    for room in (exporter, simplify_room):
        monkeypatch.setattr(room, "EXTERNAL_DATA_BYTES", 1000)
    large = deploy("se", shapes=["2x64x8x8"], out=tmp_path / "large")
    assert {"model.onnx", "model.onnx.data"} <= set(large.manifest["files"])
    assert statuses(large)["onnxruntime cpu"] == "passed"
    assert "beside the graph" in large.manifest["simplified"]["why_not"]
    assert all(finding.ok for finding in verify_bundle(large.path))
    (large.path / "model.onnx.data").unlink()
    assert not all(finding.ok for finding in verify_bundle(large.path))


def test_validate_refuses_a_graph_that_is_not_the_manifests(bundle: attn2trt.Bundle, tmp_path: Path) -> None:
    import shutil

    copy = shutil.copytree(bundle.path, tmp_path / "copy")
    model = onnx.load(copy / "model.onnx")
    weight = next(t for t in model.graph.initializer if t.dims and t.data_type == onnx.TensorProto.FLOAT)
    scale(weight, 1.01)
    onnx.save(model, copy / "model.onnx")
    with pytest.raises(CheckFailed, match=r"model\.onnx: changed"):
        validate_bundle(copy)


def off_by_one_percent(path: Path) -> bytes:
    """The graph with its first convolution's weights one percent too large."""
    model = onnx.load(path)
    weight = next(tensor for tensor in model.graph.initializer if len(tensor.dims) == 4)
    scale(weight, 1.01)
    found: bytes = model.SerializeToString()
    return found


def module_of_the_weight(bundle: attn2trt.Bundle) -> str:
    """The module whose weight ``off_by_one_percent`` changes."""
    graph = onnx.load(bundle.model_path).graph
    weight = next(tensor.name for tensor in graph.initializer if len(tensor.dims) == 4)
    return str(bundle.manifest["modules"][next(node.name for node in graph.node if weight in node.input)])


def test_a_wrong_simplified_graph_fails_its_stage_and_names_the_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A weight that is off by one percent in the simplified graph keeps the contract, and the verdict finds it."""
    original = simplify_room.Simplifier._run

    def spoil(simplifier: simplify_room.Simplifier, source: Path, destination: Path) -> str:
        reason = original(simplifier, source, destination)
        destination.write_bytes(off_by_one_percent(destination))
        return reason

    monkeypatch.setattr(simplify_room.Simplifier, "_run", spoil)
    found = deploy("coord_att", out=tmp_path / "wrong", **SMALL)
    assert statuses(found)["torch → onnx"] == "passed"
    assert statuses(found)["simplified"] == "failed"
    verdict = Verdict.from_json(found.manifest["verdict"])
    assert not verdict
    assert verdict.first_failure is not None
    assert f"first wrong in {module_of_the_weight(found)} (Conv2d" in verdict.first_failure.why
    assert "(Conv)" in verdict.first_failure.why


def test_validate_names_where_an_optimised_graph_leaves_the_written_one(
    bundle: attn2trt.Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class WrongIfOptimised(RuntimeHere):
        def __init__(self, model: Path, *, optimise: bool, **more: Any) -> None:
            wrong = tmp_path / f"wrong-{model.name}"
            wrong.write_bytes(off_by_one_percent(model))
            super().__init__(wrong if optimise else model, optimise=optimise, **more)

    monkeypatch.setattr(ort_process, "IsolatedRuntime", WrongIfOptimised)
    failure = validate_bundle(bundle.path).first_failure
    assert failure is not None
    assert failure.label == "onnxruntime cpu"
    assert f"first wrong in {module_of_the_weight(bundle)}, ONNX node" in failure.why


def test_a_failed_simplification_hands_over_the_exported_graph_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simplify_room.Simplifier, "_run", lambda *_: "onnxsim was killed by signal 11")
    found = deploy("se", out=tmp_path / "se", shapes=["2x16x8x8"])
    assert found.manifest["simplified"] == {"done": False, "why_not": "onnxsim was killed by signal 11"}
    assert statuses(found)["simplified"] == "not checked"
    assert statuses(found)["onnxruntime cpu"] == "passed"
    assert found.model_path.exists()


class Gate(nn.Module):
    """A module of the user's own with two inputs and two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d((None, 1))
        self.mix = nn.Conv2d(4, 4, 1)

    def forward(self, x: torch.Tensor, scale: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        gate = torch.sigmoid(self.mix(self.pool(x)))
        return x * gate, gate * scale


def test_a_module_of_the_users_own_from_python(tmp_path: Path) -> None:
    module = Gate()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    example = (torch.randn(2, 4, 10, 12), torch.randn(1, 4, 1, 1))
    options: dict[str, Any] = {"dynamic": {"x.height": (5, 10, 20), "x.width": (5, 12, 20)}, "out": tmp_path / "gate"}
    found = deploy(module, example, **options)
    assert statuses(found)["onnxruntime cpu"] == "passed"
    assert [spec.name for spec in found.inputs] == ["x", "scale"]
    assert [spec.name for spec in found.outputs] == ["output_0", "output_1"]
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    assert not is_rebuilt(module, example, capabilities="none", **options)
    module.mix.bias.data += 1
    assert is_rebuilt(module, example, capabilities="none", **options)


class EvenOrOdd(nn.Module):
    """Another computation for odd heights: a trace holds for one of the two."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.shape[2] % 2:
            return x * 3
        return x.sigmoid()


def test_a_range_that_holds_for_some_sizes_only_is_stated_and_kept(tmp_path: Path) -> None:
    dynamic = {"batch": "none", "height": (4, 8, 13)}
    found = deploy(EvenOrOdd(), torch.randn(2, 4, 8, 8), dynamic=dynamic, out=tmp_path / "even")
    assert statuses(found)["onnxruntime cpu"] == "passed"
    assert found.axes == {"height": Axis(4, 8, 12, multiple=2)}
    assert found.manifest["narrowed"] == {"height": "asked for 4:8:13, holds for 4:8:12 (multiples of 2)"}
    assert "height 4:8:12 (multiples of 2)" in (found.path / "infer.py").read_text()
    assert all(case["sizes"]["height"] % 2 == 0 for case in found.manifest["cases"])
    assert validate_bundle(found.path)
    edit(found.path, lambda manifest: manifest["cases"][0]["sizes"].update(height=7))
    with pytest.raises(InputError, match=r"case traced with height=7; expected height 4:8:12 \(multiples of 2\)"):
        validate_bundle(found.path)


def test_export_alone_checks_the_contract_and_calls_nothing_a_pass(tmp_path: Path) -> None:
    found = attn2trt.export_bundle("eca", out=tmp_path / "eca", shapes=["2x16x8x8"])
    assert set(statuses(found).values()) == {"not checked"}
    assert validate_bundle(found.path)


def test_a_module_without_example_inputs_is_one_clear_line() -> None:
    with pytest.raises(InputError, match=r"deploy\(Gate, …\) lacks example_inputs"):
        attn2trt.deploy(Gate())


def test_nothing_is_written_where_the_target_is_refused(tmp_path: Path) -> None:
    class Branch(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x if x.sum() > 0 else -x

    with pytest.raises(InputError, match="cannot be traced"):
        attn2trt.deploy(Branch(), torch.randn(2, 3), out=tmp_path / "branch")
    assert list(tmp_path.iterdir()) == []


class BoxesAndScores(nn.Module):
    """Boxes in hundreds and quiet scores in one output, and one feature that is loud for the boxes alone."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.box, self.score = nn.Conv2d(3, 16, 3, 2, 1), nn.Conv2d(16, 4, 1), nn.Conv2d(16, 5, 1)
        with torch.no_grad():
            self.stem.weight[0] *= 800
            self.stem.bias[0] = 300
            self.score.weight[:, 0] = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = nn.functional.silu(self.stem(x))
        return torch.cat([self.box(y), self.score(y).sigmoid()], 1)


@pytest.mark.slow
def test_scores_that_int8_makes_constants_fail_beside_large_boxes(tmp_path: Path) -> None:
    found = attn2trt.deploy(BoxesAndScores(), torch.zeros(2, 3, 16, 20), precision="fp32,int8", out=tmp_path / "bundle")
    stages = statuses(found)
    assert stages["onnxruntime cpu"] == "passed"
    assert stages["int8"] == "failed"
    why = {stage.label: stage.why for stage in Verdict.from_json(found.manifest["verdict"]).stages}["int8"]
    assert "indices 4-8 of 9 along axis 1 without what varies" in why
    assert "most is lost in stem" in why


def test_a_channel_that_is_nan_for_every_input_was_not_checked(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.SiLU())
    with torch.no_grad():
        module[0].bias[5] = float("nan")
    found = deploy(module, torch.zeros(2, 3, 8, 8), dynamic="batch=1:2:4", out=tmp_path / "bundle")
    assert {stage for stage, status in statuses(found).items() if status == "passed"} <= {"batch consistency"}
    verdict = Verdict.from_json(found.manifest["verdict"])
    assert not verdict
    assert "index 5 of 8 along axis 1 of output is finite in no case" in verdict.stages[0].why
    assert found.manifest["hidden"][0].startswith("0.bias has 1 of 8 numbers that are not finite")
    assert not validate_bundle(found.path)


class Tapped(nn.Module):
    """Returns the feature that a hook stores, as models do that take theirs from a backbone."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Dropout(0.5))
        self.acts: dict[str, torch.Tensor] = {}
        self.body[1].register_forward_hook(lambda module, args, output: self.acts.update(feature=output))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.body(x)
        return self.acts["feature"].relu()


def test_a_module_in_training_is_deployed_and_left_as_it_was(tmp_path: Path) -> None:
    module = Tapped().train()
    module.body[2].eval()
    module.body[0].bias.requires_grad_(False)
    module(torch.randn(2, 3, 8, 8)).mean().backward()
    acts, hooks = dict(module.acts), [dict(part._forward_hooks) for part in module.modules()]
    before = {name: (value, value.clone(), value._version) for name, value in module.state_dict(keep_vars=True).items()}
    gradient = module.body[0].weight.grad
    found = deploy(module, torch.zeros(2, 3, 8, 8), dynamic="batch=1:2:4", out=tmp_path / "bundle")
    assert statuses(found)["onnxruntime cpu"] == "passed"
    assert [part.training for part in module.modules()] == [True, True, True, True, False]
    assert module.acts.keys() == acts.keys()
    assert module.acts["feature"] is acts["feature"]
    assert [dict(part._forward_hooks) for part in module.modules()] == hooks
    assert not any(part._forward_pre_hooks for part in module.modules())
    assert module.body[0].weight.grad is gradient
    assert [value.requires_grad for value in module.parameters()] == [True, False, True, True]
    for name, value in module.state_dict(keep_vars=True).items():
        same, copied, changes = before[name]
        assert value is same
        assert value._version == changes
        assert torch.equal(value, copied)
