"""A file of somebody else is read with suspicion: each bad one is one line, and none is computed with."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from foreign_files import convolution, model, saved
from onnx import TensorProto, helper, numpy_helper

from attn2trt import deploy
from attn2trt.core.memory import children_take
from attn2trt.core.nodes import nodes as all_nodes
from attn2trt.core.tensor_spec import Axis, TensorSpec
from attn2trt.errors import InputError, Interrupted
from attn2trt.export import onnx_file_child, onnx_file_weights
from attn2trt.export.contract import check_contract
from attn2trt.export.onnx_file import OnnxFile, OnnxFileReader
from attn2trt.export.onnx_file_checks import load
from attn2trt.export.onnx_file_child import read, write


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        read(path, path.name)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def with_weights_beside(folder: Path, location: str = "weights.bin") -> Path:
    path = folder / "model.onnx"
    beside = {"save_as_external_data": True, "location": location, "size_threshold": 0}
    onnx.save_model(convolution(), str(path), **beside)
    return path


def relocated(path: Path, location: str) -> Path:
    found = onnx.load(str(path), load_external_data=False)
    for tensor in found.graph.initializer:
        for entry in tensor.external_data:
            entry.value = location if entry.key == "location" else entry.value
    path.write_bytes(found.SerializeToString())
    return path


def test_what_is_no_onnx_file(tmp_path: Path) -> None:
    whole = convolution().SerializeToString()
    for content, why in ((b"", "is empty"), (b"PK\x03\x04 a zip", "no ONNX file"), (whole[:200], "no ONNX file")):
        path = tmp_path / "bad.onnx"
        path.write_bytes(content)
        assert why in refusal(path)
    with pytest.raises(InputError, match=r"which is not there; expected an ONNX file; correct the path"):
        OnnxFileReader(tmp_path / "none.onnx")
    with pytest.raises(InputError, match="a folder; expected an ONNX file; name the file in it"):
        OnnxFileReader(tmp_path)
    (tmp_path / "bundle.json").touch()
    with pytest.raises(InputError, match=r"a bundle; expected an ONNX file; .* attn2trt validate "):
        OnnxFileReader(tmp_path)


@pytest.mark.parametrize(
    ("name", "fix"),
    [
        ("net.py", "deploy the module, by attn2trt deploy {}"),
        ("net.pt2", "deploy the program, by attn2trt deploy {} --trust"),
        ("best.pt", "deploy the module that the weights are for, by attn2trt deploy net.py --checkpoint {}"),
        (
            "net.plan",
            "judge a plan beside the file that it was built from, by attn2trt check model.onnx --plan {} --trust",
        ),
        ("cut.onnx", "export or copy it again"),
    ],
)
def test_what_else_a_file_is_says_what_to_do_with_it(name: str, fix: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(b"import torch")
    with pytest.raises(InputError, match=re.escape(f"; {fix.format(path)}") + "$"):
        load(path, str(path))


def test_versions_that_nobody_knows(tmp_path: Path) -> None:
    newer = convolution()
    newer.opset_import[0].version = 999
    assert "opset 999; expected 1 to" in refusal(saved(newer, tmp_path / "a.onnx"))
    both = convolution()
    both.opset_import.append(helper.make_opsetid("ai.onnx", 11))
    assert "names the opsets 17 and 11 of ONNX's own operators" in refusal(saved(both, tmp_path / "a.onnx"))
    del both.opset_import[:]
    both.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    assert "without an opset of ONNX's own operators; expected 1 to" in refusal(saved(both, tmp_path / "a.onnx"))
    newer = convolution()
    newer.ir_version = 999
    assert "IR version 999; expected 3 to" in refusal(saved(newer, tmp_path / "b.onnx"))


def test_operators_that_are_not_onnx_s(tmp_path: Path) -> None:
    own = model([helper.make_node("FusedGelu", ["x"], ["y"], domain="com.microsoft")])
    own.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    assert "com.microsoft::FusedGelu" in refusal(saved(own, tmp_path / "a.onnx"))
    assert "Gelu, which opset 17 does not have" in refusal(
        saved(model([helper.make_node("Gelu", ["x"], ["y"])]), tmp_path / "b.onnx")
    )


def test_a_graph_that_breaks_the_rules(tmp_path: Path) -> None:
    broken = convolution()
    broken.graph.node[2].input[1] = "nobody"
    found = refusal(saved(broken, tmp_path / "a.onnx"))
    assert "ONNX's checker refuses" in found
    assert "name: product OpType: Mul is not output of any previous nodes" in found


@pytest.mark.parametrize(
    ("opset", "why"),
    [
        (17, "ONNX's checker refuses: .*; export it again, by torch.onnx.export with opset_version=22"),
        (22, "whose 'x' is bfloat16, which neither .*; expected float32 or float16 at the border"),
    ],
)
def test_bfloat16_where_nobody_reads_it(tmp_path: Path, opset: int, why: str) -> None:
    written = convolution(dtype=TensorProto.BFLOAT16, opset=opset)
    for number, weight in enumerate(written.graph.initializer):
        values = onnx.numpy_helper.to_array(weight)
        written.graph.initializer[number].CopyFrom(
            helper.make_tensor(weight.name, TensorProto.BFLOAT16, values.shape, values.ravel())
        )
    assert re.search(why, refusal(saved(written, tmp_path / "a.onnx")))


def test_weights_beside_the_file(tmp_path: Path) -> None:
    found, about = read(with_weights_beside(tmp_path), "model.onnx")
    assert about["files"] == ["weights.bin"]
    assert found.graph.initializer[0].raw_data


@pytest.mark.parametrize("location", ["../weights.bin", "/etc/passwd", "sub/../../weights.bin"])
def test_weights_outside_of_the_folder(tmp_path: Path, location: str) -> None:
    (tmp_path / "inside").mkdir()
    path = relocated(with_weights_beside(tmp_path / "inside"), location)
    assert "outside of its folder" in refusal(path)


def test_a_link_out_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "inside").mkdir()
    path = with_weights_beside(tmp_path / "inside")
    (tmp_path / "inside/weights.bin").replace(tmp_path / "weights.bin")
    assert "without weights.bin" in refusal(path)
    (tmp_path / "inside/weights.bin").symlink_to(tmp_path / "weights.bin")
    assert "outside of its folder" in refusal(path)


def test_weights_that_were_cut_off(tmp_path: Path) -> None:
    path = with_weights_beside(tmp_path)
    whole = (tmp_path / "weights.bin").read_bytes()
    (tmp_path / "weights.bin").write_bytes(whole[:-8])
    assert "expected the whole file" in refusal(path)


def test_weights_that_are_a_link_or_of_another_length(tmp_path: Path) -> None:
    path = with_weights_beside(tmp_path)
    (tmp_path / "weights.bin").rename(tmp_path / "other.bin").with_name("weights.bin").symlink_to("other.bin")
    assert "cannot be read from the file beside it: Data of TensorProto" in refusal(path)
    (tmp_path / "weights.bin").unlink()
    (tmp_path / "other.bin").rename(tmp_path / "weights.bin")
    found = onnx.load(str(path), load_external_data=False)
    del found.graph.initializer[0].external_data[1:]  # the whole file, then
    path.write_bytes(found.SerializeToString())
    assert "cannot be read from the file beside it: cannot reshape array" in refusal(path)


@pytest.mark.parametrize(
    ("dtype", "dims", "why"),
    [
        (TensorProto.STRING, (1,), "no tensor of numbers"),
        (TensorProto.UINT16, (1,), "whose input 'x' is uint16; expected one of float32"),
        (TensorProto.FLOAT, None, "Field 'shape'"),
    ],
)
def test_inputs_that_cannot_be_drawn(tmp_path: Path, dtype: int, dims: tuple[int, ...] | None, why: str) -> None:
    node = helper.make_node("Identity", ["x"], ["y"])
    assert why in refusal(saved(model([node], dims=dims, out=dims, dtype=dtype), tmp_path / "a.onnx"))  # type: ignore[arg-type]


@pytest.mark.parametrize("without", ["inputs", "outputs"])
def test_a_graph_that_computes_nothing(without: str, tmp_path: Path) -> None:
    found = model([helper.make_node("ConstantOfShape", ["n"], ["y"])], out=(1, 3, 8, 8))
    found.graph.initializer.append(numpy_helper.from_array(np.array([1, 3, 8, 8], np.int64), "n"))
    del getattr(found.graph, without.removesuffix("s"))[:]
    assert f"which has no {without}; expected a graph that" in refusal(saved(found, tmp_path / "a.onnx"))


def test_the_copy_has_names_and_no_weights_among_its_inputs(tmp_path: Path) -> None:
    listed = convolution()
    listed.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, (4, 3, 3, 3)))
    found, about = read(saved(listed, tmp_path / "a.onnx"), "a.onnx")
    assert [entry["name"] for entry in about["inputs"]] == ["x"]
    assert [node.name for node in found.graph.node] == ["Conv_0", "gate", "product"]
    assert about["notes"] == ["1 nodes have no name of their own: they are called by their operator and place"]
    outputs = write(found, tmp_path / "b.onnx", {"x": ["batch", 3, 8, 8]})
    assert outputs == [{"name": "y", "dtype": "float32", "dims": ["batch", 4, 8, 8]}]
    listed.graph.node[1].name = "product"
    found, about = read(saved(listed, tmp_path / "c.onnx"), "c.onnx")
    assert [node.name for node in found.graph.node] == ["Conv_0", "product", "Mul_2"]
    assert about["notes"][1].startswith("1 nodes have the name of another one, and ONNX Runtime loads no such file")
    assert onnx.load(str(tmp_path / "b.onnx")).graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"


def test_nodes_of_bodies_have_names_of_their_own_too(tmp_path: Path) -> None:
    bodies = {
        branch: helper.make_graph(
            [helper.make_node("Neg", ["x"], [branch], name="same")],
            branch,
            [],
            [helper.make_tensor_value_info(branch, TensorProto.FLOAT, None)],
        )
        for branch in ("then_branch", "else_branch")
    }
    nodes = [helper.make_node("If", ["c"], ["y"], name="same", **bodies)]
    found, about = read(saved(model(nodes, {"c": np.array(True)}, out=("n", 3, 8, 8)), tmp_path / "a.onnx"), "a.onnx")
    assert [node.name for node in all_nodes(found.graph)] == ["same", "Neg_0", "Neg_0_"]
    assert about["notes"][0].startswith("2 nodes have the name of another one")


def test_a_weight_that_is_stored_as_sparse(tmp_path: Path) -> None:
    sparse = model([helper.make_node("MatMul", ["x", "w"], ["y"])], out=("n", 3, 8, 8))
    values, places = numpy_helper.from_array(np.ones(1, np.float32), "w"), numpy_helper.from_array(np.arange(1), "p")
    sparse.graph.sparse_initializer.append(helper.make_sparse_tensor(values, places, [8, 8]))
    assert "whose weight 'w' is stored as sparse; expected all" in refusal(saved(sparse, tmp_path / "a.onnx"))


def test_a_data_type_that_onnx_does_not_know(tmp_path: Path) -> None:
    strange = convolution()
    strange.graph.initializer.add(name="q", data_type=99, dims=[1], raw_data=b"1")
    assert "received data type 99, which onnx" in refusal(saved(strange, tmp_path / "a.onnx"))


def test_an_output_without_a_shape_gets_the_inferred_one(tmp_path: Path) -> None:
    _, about = read(saved(convolution(out=None), tmp_path / "a.onnx"), "a.onnx")
    assert about["outputs"] == [{"name": "y", "dtype": "float32", "dims": ["n", 4, 8, 8]}]


def test_nodes_that_are_out_of_order_are_sorted(tmp_path: Path) -> None:
    wrong = convolution()
    backwards = list(reversed(wrong.graph.node))
    del wrong.graph.node[:]
    wrong.graph.node.extend(backwards)
    found, about = read(saved(wrong, tmp_path / "a.onnx"), "a.onnx")
    assert [node.op_type for node in found.graph.node] == ["Conv", "Sigmoid", "Mul"]
    assert "they are sorted in the copy" in about["notes"][0]


def test_integers_without_levels_are_named_with_what_to_do(tmp_path: Path) -> None:
    found = model(
        [
            helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "scale", "zero"]),
            helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"]),
        ],
        out=("n", 3, 8, 8),
    )
    notes = read(saved(found, tmp_path / "a.onnx"), "a.onnx")[1]["notes"]
    (note,) = [note for note in notes if "levels" in note]
    assert note.startswith("DynamicQuantizeLinear: the file has no levels that its numbers could be judged on; ")
    assert note.endswith("or deploy its module with --precision int8")


def test_weights_with_nan_are_named_and_masks_are_not(tmp_path: Path) -> None:
    found = convolution()
    for tensor, value in zip(found.graph.initializer, (np.nan, -np.inf), strict=False):
        values = numpy_helper.to_array(tensor).copy()
        values.flat[1] = value
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    first = found.graph.initializer[0].name
    notes = read(saved(found, tmp_path / "a.onnx"), "a.onnx")[1]["notes"]
    assert next(note for note in notes if "NaN" in note).startswith(f"{first} has NaN among its ")
    assert sum("NaN" in note for note in notes) == 1


def test_a_size_below_one_stands_for_any(tmp_path: Path) -> None:
    found, about = read(saved(convolution(dims=(-1, 3, 8, 8), out=(-1, 4, 8, 8)), tmp_path / "a.onnx"), "a.onnx")
    assert about["inputs"][0]["dims"] == ["", 3, 8, 8]
    outputs = write(found, tmp_path / "b.onnx", {"x": ["batch", 3, 8, 8]})
    assert outputs[0]["dims"] in (["batch", 4, 8, 8], ["?", 4, 8, 8])


@pytest.mark.parametrize(
    ("node", "dtype", "precision"),
    [("Relu", TensorProto.FLOAT, "fp32"), ("Relu", TensorProto.FLOAT16, "fp16"), ("Relu", TensorProto.DOUBLE, "fp32")],
)
def test_the_precision_is_that_of_the_values_inside(tmp_path: Path, node: str, dtype: int, precision: str) -> None:
    found = model([helper.make_node(node, ["x"], ["y"])], out=("n", 3, 8, 8), dtype=dtype)
    assert read(saved(found, tmp_path / "a.onnx"), "a.onnx")[1]["precision"] == precision


@pytest.mark.parametrize(
    ("nodes", "precision", "note"),
    [
        ([], "fp32", None),  # a weight of float16 that nothing reads
        ([helper.make_node("Cast", ["x"], ["half"], to=TensorProto.FLOAT16)], "fp32", None),
        ([helper.make_node("QuantizeLinear", ["x", "scale"], ["level"])], "fp32", None),
        (
            [
                helper.make_node("Cast", ["y0"], ["half"], to=TensorProto.FLOAT16),
                helper.make_node("Cast", ["half"], ["y"], to=TensorProto.FLOAT),
            ],
            "fp16",
            "0 of 2 operators compute in float16: the whole file is held to float16's limits",
        ),
    ],
)
def test_what_no_output_depends_on_gives_a_file_no_wider_limits(
    nodes: list[onnx.NodeProto], precision: str, note: str | None, tmp_path: Path
) -> None:
    """In float32 a weight off by 0.05 % fails; within float16's limits it does not."""
    last = "y0" if note else "y"
    graph = [helper.make_node("Relu", ["x"], ["r"]), helper.make_node("Neg", ["r"], [last]), *nodes]
    found = model(graph, out=("n", 3, 8, 8))
    for name, value in (("unused", np.float16(0)), ("scale", np.float32(1))):
        found.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    about = read(saved(found, tmp_path / "a.onnx"), "a.onnx")[1]
    assert about["precision"] == precision
    assert (note in about["notes"]) if note else not any("limits" in one for one in about["notes"])


def test_the_process_answers_and_writes_a_graph_that_keeps_the_contract(tmp_path: Path) -> None:
    path = saved(convolution(), tmp_path / "a.onnx")
    inputs = (TensorSpec("x", ("batch", 3, 8, 8)),)
    with OnnxFileReader(path) as reader:
        file = reader.read()
        graph = reader.write(tmp_path / "b.onnx", file, inputs, {"batch": Axis(1, 2, 8)})
    assert isinstance(file, OnnxFile)
    assert dict(file.operators) == {"Conv": 1, "Sigmoid": 1, "Mul": 1}
    check_contract(graph, opset=17, inputs=inputs, outputs=graph.outputs, after="reading")


def test_a_file_that_takes_more_memory_than_is_allowed(tmp_path: Path) -> None:
    large = model([helper.make_node("Add", ["x", "w"], ["y"])], {"w": np.zeros((40, 1 << 20), np.float32)}, dims=("n",))
    large.graph.output[0].type.tensor_type.ClearField("shape")
    path = saved(large, tmp_path / "a.onnx")
    with children_take(100 << 20), OnnxFileReader(path) as reader, pytest.raises((InputError, Interrupted)):
        reader.read()


def test_weights_that_are_too_large_for_a_message_stay_in_their_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for room in (onnx_file_child, onnx_file_weights):
        monkeypatch.setattr(room, "EXTERNAL_DATA_BYTES", 8)
    monkeypatch.setattr(onnx_file_weights, "_SMALL_BYTES", 100)
    path = with_weights_beside(tmp_path)
    found, about = read(path, "model.onnx")
    assert onnx_file_weights.is_light(found)
    assert not found.graph.initializer[0].raw_data
    assert found.graph.initializer[1].raw_data, "a small one is read"
    assert about["outputs"][0]["dims"] == ["n", 4, 8, 8]
    (tmp_path / "copy").mkdir()
    write(found, tmp_path / "copy/b.onnx", {"x": ["batch", 3, 8, 8]}, source=tmp_path)
    written = onnx.load(str(tmp_path / "copy/b.onnx"))
    for mine, own in zip(written.graph.initializer, convolution().graph.initializer, strict=True):
        assert np.array_equal(onnx.numpy_helper.to_array(mine), onnx.numpy_helper.to_array(own))


def test_a_light_model_that_breaks_the_rules_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for room in (onnx_file_child, onnx_file_weights):
        monkeypatch.setattr(room, "EXTERNAL_DATA_BYTES", 8)
    path = with_weights_beside(tmp_path)
    broken = onnx.load(str(path), load_external_data=False)
    broken.graph.node[2].input[1] = "nobody"
    path.write_bytes(broken.SerializeToString())
    assert "ONNX's checker refuses" in refusal(path)


@pytest.mark.slow
def test_a_file_of_more_than_two_gigabytes(tmp_path: Path) -> None:
    size, count = 10_500, 5
    tensors = []
    with (tmp_path / "large.data").open("wb") as stream:
        stream.truncate(4 * size * size * count)  # a file with holes: zeros that take no room
    for number in range(count):
        tensor = TensorProto(name=f"w{number}", data_type=TensorProto.FLOAT, dims=[size, size])
        tensor.data_location = TensorProto.EXTERNAL
        place = {"location": "large.data", "offset": 4 * size * size * number, "length": 4 * size * size}
        for key, value in place.items():
            tensor.external_data.add(key=key, value=str(value))
        tensors.append(tensor)
    nodes = [helper.make_node("MatMul", [f"h{at}" if at else "x", f"w{at}"], [f"h{at + 1}"]) for at in range(count)]
    nodes.append(helper.make_node("Identity", [f"h{count}"], ["y"]))
    found = model(nodes, dims=("n", size), out=("n", size))
    found.graph.initializer.extend(tensors)
    bundle = deploy(str(saved(found, tmp_path / "large.onnx")), out=tmp_path / "bundle", capabilities="none")
    assert bundle.passed
    assert (bundle.path / "model.onnx.data").stat().st_size > 2**31
