"""A manifest that is not what commands write is bad input, whatever is wrong with it and whoever reads it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, get_origin

import numpy as np
import onnx
import pytest
from cli_run import run
from manifest_edits import HOSTILE, MISSING, VALUES, places, replaced
from safetensors.numpy import save_file
from small_graph import healthy
from test_imports import sources

from attn2trt.cli.summary import bundle_lines
from attn2trt.core.bundle import open_bundle
from attn2trt.core.bundle_writer import BundleWriter
from attn2trt.core.manifest import MANIFEST, MODEL, REFERENCE, is_inside, manifest_hash, manifest_text, read_manifest
from attn2trt.core.manifest_entries import CaseEntry, FileEntry, Manifest, PrecisionEntry, RecordedOutput, TensorEntry
from attn2trt.core.typed_json import NotRequired
from attn2trt.engines.tensorrt.plans import plans_of
from attn2trt.errors import InputError
from attn2trt.validate.cases import check_sizes
from attn2trt.validate.recorded import recorded_cases
from attn2trt.validate.verdict import Verdict


def case(number: int) -> dict[str, Any]:
    return {
        "key": f"case_{number}",
        "name": f"case {number}",
        "why": "",
        "kind": "normal",
        "sizes": {"batch": 2},
        "inputs": ["x"],
        "row_inputs": ["x"],
        "rows_alone": True,
        "outputs": [
            {"name": "y", "ties": False, "l2": "1e-7", "max": "inf", "lower": {"fp16": {"l2": "1", "max": "1"}}}
        ],
        "row_outputs": ["y"],
        "largest": "1.0",
    }


COMPARED = {"case": "traced", "output": "y", "error": 0.0, "floor": 0.0, "ratio": 0.0, "which": "l2"} | {
    "worst_index": [0],
    "passed": True,
    "detail": "",
    "sizes": {"batch": 2},
}
PLAN = {"file": "plans/x.plan", "precision": "fp32", "graph": "0" * 64, "profiles": [{"batch": [1, 2, 8]}]} | {
    "tensorrt": "8.6.0",
    "gpu": "",
    "capabilities": ["9.0"],
    "driver": "",
    "flags": {},
    "seconds": 1.0,
    "device_bytes": 1,
    "flavour": "tensorrt",
}
CONTENT: dict[str, Any] = {
    "key": "0" * 64,
    "target": {"name": "mine", "weights": "random"},
    "build": {"seed": 0, "pretrained": False, "checkpoint": False},
    "opset": 17,
    "inputs": [{"name": "x", "shape": ["batch", 3], "dtype": "float32"}],
    "outputs": [{"name": "y", "shape": ["batch", 3], "dtype": "float32"}],
    "axes": {"batch": [1, 2, 8]},
    "narrowed": {},
    "modules": {"node": "module"},
    "cases": [case(0)],
    "cases_left_out": ["large"],
    "hidden": ["finding"],
    "verdict": {"stages": [{"stage": "torch → onnx", "status": "passed", "why": "", "comparisons": [COMPARED]}]},
    "precisions": {
        "fp16": {"file": "model.fp16.onnx", "opset": 17, "oldest_tensorrt": "8.6", "lowered": 1, "float32": {}}
        | {"notes": ["note"], "modules": {}}
    },
    "precision_search": {"tried": [{"precision": "fp16", "kept": ["a"], "said": "passed"}], "chosen": "fp16"},
    "versions": {"onnx": "1"},
    "plans": [PLAN],
    "tuned": {"file": "model.ort-cpu.onnx", "graph": "0" * 64},
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("whole") / "mine"
    shapes = {"float64": (2, 3), "float32": (2, 3), "floor": 3, "floor.fp16": 3}
    arrays = {f"case_0/{kind}/y": np.zeros(shape, np.float32) for kind, shape in shapes.items()}
    with BundleWriter(place) as writer:
        for name in (MODEL, "model.fp16.onnx", "model.ort-cpu.onnx"):
            onnx.save(healthy(), writer.path / name)
        save_file({**arrays, "case_0/input/x": np.zeros((2, 3), np.float32)}, writer.path / REFERENCE)
        files = (MODEL, "model.fp16.onnx", "model.ort-cpu.onnx", REFERENCE)
        writer.commit(CONTENT, dict.fromkeys(files, "file"))
    return place


def read_all(folder: Path) -> None:
    """Take from a bundle what the commands take from it."""
    bundle = open_bundle(folder)
    check_sizes(bundle.manifest["cases"], bundle.axes)
    Verdict.from_json(bundle.manifest["verdict"])
    list(recorded_cases(bundle))
    plans_of(bundle)
    bundle_lines(bundle)
    _ = bundle.name, bundle.inputs, bundle.outputs, bundle.graph_files, [*map(bundle.node_modules, bundle.graphs)]


def test_what_commands_write_is_read_back(whole: Path) -> None:
    read_all(whole)
    manifest = read_manifest(whole / MANIFEST)
    assert {**CONTENT, "format": 1}.items() <= manifest.items()
    assert manifest["sha256"] == manifest_hash(manifest)


def tied(dim: int | str) -> dict[str, Any]:
    """The input of the bundle with this first dimension."""
    return {"name": "x", "shape": [dim, 3], "dtype": "float32"}


def refusals(folder: Path) -> int:
    """Replace each entry by each value; return how often that was bad input."""
    text = (folder / MANIFEST).read_text()
    document = json.loads(text)
    refused: list[str] = []
    try:
        for path in places(document):
            for value in (*VALUES, MISSING):
                (folder / MANIFEST).unlink()  # a disk waits for what overwrites a file, not for a new one
                (folder / MANIFEST).write_text(json.dumps(replaced(document, path, value)))
                try:
                    read_all(folder)
                except InputError as error:
                    refused.append(str(error))
                except Exception as error:
                    pytest.fail(f"{path} = {value!r}: {error!r}")
    finally:
        (folder / MANIFEST).write_text(text)
    assert not any("\n" in line for line in refused)
    return len(refused)


def test_a_dimension_that_is_tied_to_an_axis_is_read(whole: Path, tmp_path: Path) -> None:
    manifest = {**json.loads((whole / MANIFEST).read_text()), "inputs": [tied("batch*2+1")]}
    (tmp_path / MANIFEST).write_text(json.dumps({**manifest, "sha256": manifest_hash(manifest)}))
    assert open_bundle(tmp_path).inputs[0].resolve({"batch": 4}) == (9, 3)


def test_every_entry_replaced_by_every_value_is_read_or_is_bad_input(whole: Path) -> None:
    """Never another error, which would be ours."""
    assert refusals(whole) > 1000


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: text[:12])
def test_what_is_no_manifest_is_bad_input(whole: Path, text: str, tmp_path: Path) -> None:
    for content in (text, (whole / MANIFEST).read_text().replace('"opset": 17', f'"opset": {text}')):
        (tmp_path / MANIFEST).write_text(content)
        with pytest.raises(InputError):
            open_bundle(tmp_path)


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"axes": {"batch": 1}}, "no usable 'axes', 'batch', 1; expected [min, opt, max] of sizes"),
        ({"axes": {}}, "no usable 'axes'; expected the range of 'batch'"),
        ({"inputs": [tied("batch/3")]}, "no usable 'axes'; expected the range of 'batch/3'"),
        ({"inputs": [tied("batch-9")]}, "no usable 'axes'; expected the range of 'batch-9'"),
        ({"inputs": [tied("a.height*2")]}, "no usable 'axes'; expected the range of 'a.height*2'"),
        ({"inputs": [tied("import os")]}, "no usable 'axes'; expected the range of 'import os'"),
        ({"inputs": [{**tied(3), "layout": "chwn"}]}, "'layout', \"chwn\"; expected nchw or nhwc"),
        ({"outputs": [None]}, "no usable 'outputs', [0], null; expected a dict"),
        ({"cases": [1]}, "no usable 'cases', [0], 1; expected a dict"),
        ({"cases": [{**case(0), "sizes": []}]}, "'sizes', []; expected a dict"),
        ({"cases": [{**case(0), "sizes": {}}]}, "'sizes'; expected one for 'batch'"),
        ({"cases": [{**case(0), "outputs": []}]}, "expected the inputs and outputs of the graph"),
        ({"cases": [{**case(0), "largest": "-1.0"}]}, "'largest', \"-1.0\"; expected a number of 0 or more"),
        ({"plans": 5}, "no usable 'plans', 5; expected a list"),
        ({"precisions": {"fp16": {"file": "infer.py"}}}, "expected the name of a graph"),
        ({"tuned": {"file": "infer.py"}}, "expected the name of a graph"),
    ],
)
def test_the_line_says_where_and_what_was_expected(
    whole: Path, entry: dict[str, Any], words: str, tmp_path: Path
) -> None:
    manifest = {**json.loads((whole / MANIFEST).read_text()), **entry}
    (tmp_path / MANIFEST).write_text(json.dumps(manifest))
    for command in ("verify", "validate", "tune", "compile"):
        result = run(command, tmp_path)
        assert (result.exit_code, result.stdout) == (2, ""), command
        assert words in result.stderr


@pytest.mark.parametrize(
    ("name", "inside"),
    [("model.onnx", True), ("plans/a+b.plan", True), ("a b", True), ("./x", False), ("a//b", False), ("a/", False)]
    + [(name, False) for name in ("", ".", "..", "/x", "a/../b", "a\\b", "C:x", "a\0b")],
)
def test_names_stay_in_the_folder(name: str, inside: bool) -> None:
    assert is_inside(name) is inside


def test_the_hash_is_of_what_comes_back() -> None:
    """Whatever Python types were written, keys that are numbers among them."""
    manifest: dict[str, Any] = {"b": (1, 2.0, -0.0, 1e-320), "a": {10: "x", 9: "y"}, "ä": "ä", "nan": float("inf")}
    text = manifest_text(manifest)
    assert json.loads(text)["sha256"] == manifest_hash(json.loads(text))


def test_every_entry_that_is_written_has_its_type(whole: Path) -> None:
    old = Path(__file__).with_name("format1_coord_att")
    for manifest in (read_manifest(whole / MANIFEST), read_manifest(old / MANIFEST)):
        assert names(Manifest) >= set(manifest)
        assert names(FileEntry) >= {key for entry in manifest["files"].values() for key in entry}
        assert names(CaseEntry) >= {key for entry in manifest["cases"] for key in entry}
        assert names(RecordedOutput) >= {key for case in manifest["cases"] for out in case["outputs"] for key in out}
        assert names(PrecisionEntry) >= {key for entry in manifest.get("precisions", {}).values() for key in entry}
        assert names(TensorEntry) >= {key for entry in (*manifest["inputs"], *manifest["outputs"]) for key in entry}


def test_no_entry_that_may_be_missing_is_taken_for_granted() -> None:
    """An earlier version may not have written it: it is read by ``get``, or by a property of Bundle that says so."""
    may_be_missing = {name for name, kind in Manifest.__annotations__.items() if get_origin(kind) is NotRequired}
    read = re.compile(r"\bmanifest\[\"(\w+)\"\]")
    found = {f"{path}: {name}" for path in sources() for name in read.findall(path.read_text())}
    found = {line for line in found if line.rpartition(" ")[2] in may_be_missing}
    assert found == set()


def test_a_bundle_without_its_opset_says_so(whole: Path) -> None:
    bundle = open_bundle(whole)
    del bundle.manifest["opset"]
    with pytest.raises(InputError, match=r"bundle.json has no usable 'opset'; expected an entry; deploy the target"):
        _ = bundle.opset


def names(entry: Any) -> set[str]:
    return set(entry.__annotations__)
