"""A bundle is whole or absent, and every change to it is found."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from cli_run import run
from manifest_edits import list_as_it_is
from small_bundle import write
from small_graph import healthy

from attn2trt.core.bundle import Bundle, open_bundle
from attn2trt.core.bundle_writer import BundleWriter
from attn2trt.core.file_hashes import require_unchanged, verify
from attn2trt.core.manifest import MANIFEST, MODEL, REFERENCE, manifest_text
from attn2trt.errors import CheckFailed, InputError


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return write(tmp_path / "mine")


def put(bundle: Bundle, content: bytes) -> None:
    """Put the graph into the bundle, and have all hashes be right."""
    (bundle.path / MODEL).write_bytes(content)
    list_as_it_is(bundle.path, MODEL)


def make_external(tensor: onnx.TensorProto, location: str) -> None:
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)


def problems(path: Path) -> list[str]:
    return [f"{finding.file}: {finding.detail}" for finding in verify(path) if not finding.ok]


def test_a_whole_bundle_opens_and_verifies(bundle: Bundle) -> None:
    assert sorted(file.name for file in bundle.path.iterdir()) == sorted([MANIFEST, MODEL, REFERENCE])
    opened = open_bundle(bundle.path)
    assert opened.axes["batch"].max == 8
    assert opened.inputs[0].shape == ("batch", 3)
    assert problems(bundle.path) == []


def test_a_changed_a_missing_and_two_swapped_files_are_found(bundle: Bundle) -> None:
    model, reference = bundle.path / MODEL, bundle.path / REFERENCE
    content = model.read_bytes()
    model.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert [line.split(":")[0] for line in problems(bundle.path)] == [MODEL]
    model.unlink()
    assert problems(bundle.path) == [f"{MODEL}: missing"]
    model.write_bytes(reference.read_bytes())
    reference.write_bytes(content)
    assert len(problems(bundle.path)) == 2


def test_a_link_out_of_the_bundle_is_found(bundle: Bundle, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (bundle.path / REFERENCE).rename(outside)
    (bundle.path / REFERENCE).symlink_to(outside)
    assert problems(bundle.path) == [f"{REFERENCE}: a link that leaves the bundle"]


@pytest.mark.parametrize("name", ["../model.onnx", "/etc/passwd", "a/../../b", "C:\\x", ""])
def test_a_manifest_that_leaves_the_folder_is_refused(bundle: Bundle, name: str) -> None:
    manifest = json.loads((bundle.path / MANIFEST).read_text())
    manifest["files"][name] = manifest["files"][MODEL]
    (bundle.path / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(InputError, match="leaves the bundle"):
        open_bundle(bundle.path)


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"format": 99}', '{"format": 1}', "\ud800".encode("utf-8", "surrogatepass")]
)
def test_a_damaged_manifest_is_one_clear_line(bundle: Bundle, text: str | bytes) -> None:
    content = text if isinstance(text, bytes) else text.encode()
    (bundle.path / MANIFEST).write_bytes(content)
    with pytest.raises(InputError, match=r"deploy the target again|upgrade attn2trt") as caught:
        open_bundle(bundle.path)
    assert "\n" not in str(caught.value)


def test_weights_outside_of_the_manifest_are_found(bundle: Bundle) -> None:
    model = healthy()
    make_external(model.graph.initializer[0], "../../secret")
    put(bundle, model.SerializeToString())
    assert problems(bundle.path) == [f"{MODEL}: refers to '../../secret', which the manifest does not list"]


def test_a_folder_of_somebody_else_is_not_touched(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "cat.jpg").write_bytes(b"cat")
    with pytest.raises(InputError, match="holds other files and is not a bundle"), BundleWriter(folder):
        raise AssertionError
    assert [file.name for file in folder.iterdir()] == ["cat.jpg"]


def test_an_error_on_the_way_leaves_nothing_and_keeps_the_old_bundle(bundle: Bundle) -> None:
    def interrupted() -> None:
        with BundleWriter(bundle.path) as writer:
            (writer.path / MODEL).write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [entry.name for entry in bundle.path.parent.iterdir()] == [bundle.path.name]
    assert problems(bundle.path) == []


def in_a_constant(model: onnx.ModelProto, tensor: onnx.TensorProto) -> None:
    model.graph.node.append(onnx.helper.make_node("Constant", [], ["more"], value=tensor))


def in_a_branch(model: onnx.ModelProto, tensor: onnx.TensorProto) -> None:
    output = onnx.helper.make_tensor_value_info("more", onnx.TensorProto.FLOAT, [1])
    branch = onnx.helper.make_graph([], "branch", [], [output], [tensor])
    deeper = onnx.helper.make_node("If", ["condition"], ["more"], then_branch=branch, else_branch=branch)
    model.graph.node.append(
        onnx.helper.make_node("If", ["condition"], ["more"], then_branch=onnx.helper.make_graph([deeper], "b", [], []))
    )


def in_a_list_of_tensors(model: onnx.ModelProto, tensor: onnx.TensorProto) -> None:
    node = onnx.helper.make_node("Custom", [], ["more"], domain="mine")
    attribute = node.attribute.add(name="tables", type=onnx.AttributeProto.TENSORS)
    attribute.tensors.append(tensor)
    model.graph.node.append(node)


def in_a_function(model: onnx.ModelProto, tensor: onnx.TensorProto) -> None:
    constant = onnx.helper.make_node("Constant", [], ["more"], value=tensor)
    opsets = [onnx.helper.make_opsetid("", 17)]
    model.functions.append(onnx.helper.make_function("mine", "Custom", [], ["more"], [constant], opsets))


def in_sparse_values(model: onnx.ModelProto, tensor: onnx.TensorProto) -> None:
    model.graph.sparse_initializer.add().values.CopyFrom(tensor)


def in_training(model: onnx.ModelProto, tensor: onnx.TensorProto) -> None:
    model.training_info.add().algorithm.initializer.append(tensor)


@pytest.mark.parametrize(
    "place", [in_a_constant, in_a_branch, in_a_list_of_tensors, in_a_function, in_sparse_values, in_training]
)
def test_weights_beside_the_graph_are_found_wherever_it_names_them(
    bundle: Bundle, place: Callable[[onnx.ModelProto, onnx.TensorProto], None]
) -> None:
    tensor = onnx.helper.make_tensor("weights", onnx.TensorProto.FLOAT, [1], b"1234", raw=True)
    make_external(tensor, "unlisted.data")
    (bundle.path / "unlisted.data").write_bytes(b"1234")
    model = healthy()
    place(model, tensor)
    put(bundle, model.SerializeToString())
    assert problems(bundle.path) == [f"{MODEL}: refers to 'unlisted.data', which the manifest does not list"]


@pytest.mark.parametrize("content", [b"", b"no graph", b"\x3a\xff\xff\xff\xff\x0f", bytes(range(256))])
def test_a_listed_graph_that_is_none_is_a_finding(bundle: Bundle, content: bytes) -> None:
    put(bundle, content)
    (problem,) = problems(bundle.path)
    assert problem.startswith((f"{MODEL}: no ONNX graph: ", f"{MODEL}: no graph that ONNX's checker takes: "))


def with_a_cycle(model: onnx.ModelProto) -> None:
    model.graph.node[0].input[0] = model.graph.node[0].output[0]


def without_an_opset(model: onnx.ModelProto) -> None:
    del model.opset_import[:]


def with_too_few_weights(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims.append(2)


def with_a_weight_for_an_output(model: onnx.ModelProto) -> None:
    model.graph.output[0].name = model.graph.initializer[0].name


def with_no_such_type(model: onnx.ModelProto) -> None:
    model.graph.output[0].type.tensor_type.elem_type = 99


@pytest.mark.parametrize(
    "change", [with_a_cycle, without_an_opset, with_too_few_weights, with_a_weight_for_an_output, with_no_such_type]
)
def test_a_listed_graph_that_onnx_does_not_take_is_a_finding(
    bundle: Bundle, change: Callable[[onnx.ModelProto], None]
) -> None:
    """What rewrites it expects a graph."""
    model = healthy()
    change(model)
    put(bundle, model.SerializeToString())
    (problem,) = problems(bundle.path)
    assert problem.startswith(f"{MODEL}: no graph that ONNX's checker takes: ")


def test_what_the_manifest_says_is_covered_by_its_own_hash(bundle: Bundle) -> None:
    file = bundle.path / MANIFEST
    manifest = json.loads(file.read_text())
    assert verify(bundle.path)[0].detail.startswith("content sha256")
    file.write_text(json.dumps(dict(reversed(manifest.items()))))  # the same in another order
    assert problems(bundle.path) == []
    file.write_text(json.dumps({**manifest, "verdict": {"passed": True}}))
    (problem,) = problems(bundle.path)
    assert problem.startswith(f"{MANIFEST}: changed: its content has sha256 ")
    with pytest.raises(CheckFailed, match=r"bundle\.json: changed: its content"):
        require_unchanged(bundle)
    del manifest["sha256"]
    file.write_text(json.dumps(manifest))
    assert problems(bundle.path) == []
    assert verify(bundle.path)[0].detail.startswith("manifest not covered")
    for wrong in (5, None, "", "0" * 63, "G" * 64):
        file.write_text(json.dumps({**manifest, "sha256": wrong}))
        with pytest.raises(InputError, match="no usable 'sha256'"):
            open_bundle(bundle.path)


def test_every_change_of_one_bit_of_what_the_manifest_says_is_found(bundle: Bundle) -> None:
    file = bundle.path / MANIFEST
    text = file.read_bytes()
    before = json.loads(text)
    found = 0
    for place in range(len(text)):
        changed = bytes([*text[:place], text[place] ^ 1 << place % 8, *text[place + 1 :]])
        file.write_bytes(changed)
        try:
            said = verify(bundle.path)[0]
            # a hash under another name is none, which is reported
            assert not said.ok or json.loads(changed) == before or said.detail.startswith("manifest not covered")
        except InputError:
            found += 1
    assert found > len(text) // 10


def test_a_plan_that_no_hash_covers_is_found(tmp_path: Path) -> None:
    """Also if the manifest's own hash is right, which anyone can compute."""
    write(tmp_path / "mine")
    manifest = json.loads((tmp_path / "mine" / MANIFEST).read_text())
    (tmp_path / "mine" / "plans").mkdir()
    (tmp_path / "mine" / "plans" / "x.plan").write_bytes(b"plan")
    for name in ("plans/x.plan", "../x.plan", "", MANIFEST):
        (tmp_path / "mine" / MANIFEST).write_text(manifest_text({**manifest, "plans": [{"file": name}]}))
        wrong = [finding for finding in verify(tmp_path / "mine") if not finding.ok]
        assert [(finding.file, finding.detail) for finding in wrong] == [
            (MANIFEST, f"names the plan {name!r}, which it does not list")
        ]
        with pytest.raises(CheckFailed, match=r"bundle\.json: names the plan"):
            require_unchanged(open_bundle(tmp_path / "mine"))


def test_a_text_that_is_too_long_for_a_path_is_no_bundle() -> None:
    for text in ("se:" + "k=1," * 90, "n" * 300 + ".onnx"):
        with pytest.raises(InputError, match=r"is not a bundle: it is (not there|an ONNX file)"):
            open_bundle(text)
    done = run("benchmark", "se:" + "k=1," * 90)
    assert (done.exit_code, "expected option=value" in done.stderr) == (2, True)
