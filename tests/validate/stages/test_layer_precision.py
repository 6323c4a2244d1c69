"""The verdicts on the layers of real plans: TensorRT 8.6.0 on an H200, six blocks in three precisions.

The float16 plans were built with layers bound to the types that 8.6's parser reports, which are all float32: they
compute in float32, and each of them must fail. `tests/engines/tensorrt/inspector` holds the inspector's documents
without the fields that are not read, and the nodes that each graph has in float16, with their modules.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import onnx
import pytest

from attn2trt.core.bundle import Bundle
from attn2trt.engines.tensorrt.layers import achieved, read_layers
from attn2trt.engines.tensorrt.plans import Plan, layers_name
from attn2trt.validate.stages.layer_precision import check_layers
from attn2trt.validate.verdict import StageResult

FOLDER = Path(__file__).parents[2] / "engines/tensorrt/inspector"
MODULES: dict[str, dict[str, str]] = json.loads((FOLDER / "modules.json").read_text())
RECORDED = sorted(path.stem for path in FOLDER.glob("*.json") if path.stem != "modules" and "plain" not in path.stem)
FP16 = [name for name in RECORDED if name.endswith("-fp16")]
# how many layers of each block's float16 plan compute in float32, at either size
WRONG = {"se": 2, "cbam": 5, "eca": 1, "coord_att": 4, "gam": 4, "psa": 12}
SHAPES = "N/A due to dynamic shapes"


def stage(
    folder: Path, name: str, text: str | bytes, *, now: str = "", of_nodes: dict[str, str] | None = None
) -> StageResult:
    """The stage of a bundle with a plan of which the inspector wrote ``text``, and a graph with the recorded nodes."""
    precision = name.rpartition("-")[2]
    modules = MODULES.get(name.removesuffix("-fp16"), {}) if of_nodes is None else of_nodes
    plan = Plan(f"plans/{name}.plan", precision, "", (), "8.6.0", "NVIDIA H200", "9.0", "580")
    file = layers_name(plan.file)
    (folder / "plans").mkdir(parents=True)
    content = text if isinstance(text, bytes) else text.encode()
    (folder / file).write_bytes(content)
    nodes = "\n".join(f"[{node}] t{place + 1} = Relu (t{place})" for place, node in enumerate(modules))
    graph = f"""<ir_version: 8, opset_import: ["" : 17]> g (float[n] x) => (float16[n] t{len(modules)}) {{
        t0 = Cast <to = 10> (x)
        {nodes}
    }}"""
    for file_name in ("model.fp16.onnx", "model.onnx"):
        onnx.save(onnx.parser.parse_model(graph), folder / file_name)
    digest = hashlib.sha256(content).hexdigest()
    precisions: dict[str, Any] = {
        "fp16": {"file": "model.fp16.onnx", "modules": modules},
        "tf32": {"file": "model.onnx"},
    }
    return check_layers(Bundle(folder, {"files": {file: {"sha256": digest}}, "precisions": precisions}), plan, now)


def recorded(name: str) -> str:
    return (FOLDER / f"{name}.json").read_text()


def weighted(text: str) -> set[str]:
    """The layers with weights, which the inspector gives as Float in every recorded document of ours."""
    found = [layer for layer in json.loads(text, strict=False)["Layers"] if "Weights" in layer]
    assert {layer["Weights"]["Type"] for layer in found} == {"Float"}
    return {layer["Name"] for layer in found}


@pytest.mark.parametrize("name", RECORDED)
def test_a_recorded_plan_gets_its_verdict(name: str, tmp_path: Path) -> None:
    text = recorded(name)
    assert "\x1e" in text or name.startswith("eca")
    assert SHAPES in text
    found = stage(tmp_path, name, text)
    if name not in FP16:
        assert found.status == "passed", found.why
        assert f"compute in no less than {'tf32' if name.endswith('tf32') else 'float32'}; of " in found.why
        return
    assert found.status == "failed"
    count = WRONG[name.partition("-")[0]]
    assert f"{count} layers compute in float32, float16 was asked for: " in found.why
    modules = MODULES[name.removesuffix("-fp16")]
    wrong = achieved(read_layers(text), "fp16", frozenset(modules)).wrong
    assert {layer.name for layer in wrong} == weighted(text)
    for layer in wrong[:5]:
        paths = sorted({modules[node] for node in layer.names & modules.keys()} - {""})
        assert f"{layer.name} ({paths[0]}" in found.why if paths else layer.name in found.why


def test_there_are_documents_of_every_kind() -> None:
    assert len(FP16) == 10
    assert len(RECORDED) == 22


def test_the_verdict_names_layers_and_modules(tmp_path: Path) -> None:
    found = stage(tmp_path, "se-64x28x28-fp16", recorded("se-64x28x28-fp16"))
    assert found.why == (
        "2 layers compute in float32, float16 was asked for: node_linear + node_relu (fc.0, fc.1), node_linear_1 (fc.2)"
    )


def test_a_listed_document_that_is_no_text_leaves_the_layers_unchecked(tmp_path: Path) -> None:
    found = stage(tmp_path, "se-64x28x28-fp16", b"{\xff")
    assert found.status == "not checked"
    assert "the inspector's document cannot be read" in found.why


@pytest.mark.parametrize(("wanted", "status"), [("fp32", "failed"), ("tf32", "passed")])
def test_a_tf32_plan_is_no_float32_plan(wanted: str, status: str, tmp_path: Path) -> None:
    found = stage(tmp_path, f"se-{wanted}", recorded("se-64x28x28-tf32"))
    assert found.status == status
    assert found.status == "passed" or "compute in tf32, float32 was asked for: node_linear" in found.why


def test_a_plan_whose_kernels_are_float16_passes(tmp_path: Path) -> None:
    text = recorded("se-64x28x28-fp16").replace("f32f32_f32f32_f32", "f16f16_f16f16_f16")
    found = stage(tmp_path, "se-64x28x28-fp16", text.replace('"Type": "Float"', '"Type": "Half"'))
    assert (found.status, found.why) == ("passed", "3 of 5 nodes compute in float16; of 2 the inspector does not tell")


def test_a_real_plan_that_mixes_precisions_is_reported_layer_by_layer() -> None:
    """TensorRT's own choice for a plain export, float16 allowed: one convolution stays in tf32."""
    layers = read_layers(recorded("psa-256x56x56-plain-fp16"))
    convolutions = [layer for layer in layers if "Conv" in layer.kind]
    assert len(convolutions) == 12
    nodes = frozenset(name for layer in convolutions for name in layer.names if name.endswith("/Conv"))
    found = achieved(layers, "fp16", nodes)
    assert [layer.name for layer in found.wrong] == ["/conv_4/Conv"]
    assert (found.kept, found.unknown, found.instead) == (11, 0, {"tf32"})


def test_a_plan_that_has_run_tells_what_was_open(tmp_path: Path) -> None:
    """One plan of SE in float16 on an H200: the document of its build, and the types that it told after it ran."""
    built, run = ((FOLDER / f"run/{name}.json").read_text() for name in ("built", "run"))
    modules = json.loads((FOLDER / "run/modules.json").read_text())
    found = [
        stage(tmp_path / str(place), "se-fp16", text, now=now, of_nodes=modules)
        for place, (text, now) in enumerate([(built, ""), (built, run), (run, built), (built, "no document")])
    ]
    before = "3 of 6 nodes compute in float16; of 3 the inspector does not tell"
    after = "5 of 6 nodes compute in float16; of 1 the inspector does not tell"
    assert [(one.status, one.why) for one in found] == [("passed", why) for why in (before, after, after, before)]


def test_a_plan_that_has_run_tells_what_its_build_could_not(tmp_path: Path) -> None:
    run = (FOLDER / "run/run.json").read_text().replace("f16f16_f16f16_f16", "f32f32_f32f32_f32")
    modules = json.loads((FOLDER / "run/modules.json").read_text())
    found = stage(tmp_path, "se-fp16", "{}", now=run, of_nodes=modules)
    assert (found.status, "2 layers compute in float32" in found.why) == ("failed", True)


@pytest.mark.parametrize("name", ["se-fp32", "se-64x28x28-fp16"])
def test_a_document_that_tells_no_types_is_not_checked(name: str, tmp_path: Path) -> None:
    layers = [{"Name": node, "LayerType": "PointWiseV2", "Inputs": []} for node in MODULES["se-64x28x28"]]
    found = stage(tmp_path, name, json.dumps({"Layers": layers, "Bindings": []}))
    assert found.status == "not checked"
    assert "does not tell the types" in found.why
