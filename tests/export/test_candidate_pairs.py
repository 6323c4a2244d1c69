"""Pairs of choices that meet: on the same nodes, on the same tensor, and one that applies only beside the other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from small_graph import graph_file

from attn2trt.export.candidate_pairs import pairs_of
from attn2trt.export.candidate_source import Source
from attn2trt.export.candidates import choices_of, write_of

from .test_candidates import computed, squeeze_and_excite

HALF, POOL = "means in half precision", "mean as GlobalAveragePool"
CONVOLUTIONS, BORDER = "gate as 1x1 convolutions", "products at the border in float32"
BESIDE = "activation beside what reads it"
# two gates in a row that share no tensor but the map between them, and a third that meets none of the first
CHAIN = """<ir_version: 8, opset_import: ["" : 17]> g (float[n, 8, h, w] x) => (float[n, 8, h, w] y) {
    a = Relu (x) m = ReduceMean <axes: ints = [2, 3], keepdims: int = 1> (a) g = Sigmoid (m) b = Mul (a, g)
    c = Conv <kernel_shape: ints = [1, 1]> (b, k) d = Conv <kernel_shape: ints = [1, 1]> (c, k)
    o = HardSwish (d) y = Relu (o) }"""


def source_of(text: str, folder: Path) -> Source:
    proto = onnx.parser.parse_model(text)
    weight = np.random.default_rng(0).standard_normal((8, 8, 1, 1)).astype(np.float32)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(weight, "k"))
    for number, node in enumerate(proto.graph.node):
        node.name = f"{node.op_type}_{number}"
    modules = {node.name: "" for node in proto.graph.node}
    return Source(graph_file(proto, folder / "model.onnx", modules=modules))


def names(source: Source, precision: str = "fp16") -> list[frozenset[str]]:
    return [frozenset(choice.name for choice in pair) for pair in pairs_of(source, precision)]


def test_choices_on_one_node_come_first_and_those_of_one_kind_never(tmp_path: Path) -> None:
    source = squeeze_and_excite(tmp_path)
    found = names(source)
    assert len({*found}) == len(found)
    assert {HALF, POOL} in found
    assert all(pair[0].kind != pair[1].kind for pair in pairs_of(source, "fp16"))
    # the mean and the product read the same map, but no node is changed by both
    assert found.index(frozenset({HALF, POOL})) < found.index(frozenset({HALF, BORDER}))


def test_choices_far_from_each_other_do_not_meet(tmp_path: Path) -> None:
    source = source_of(CHAIN, tmp_path)
    alone = {choice.name for choice in choices_of(source, "fp16")}
    swish = "HardSwish by HardSigmoid"
    assert {swish, HALF, POOL} <= alone, alone
    found = names(source)
    assert {HALF, POOL} in found
    assert not [pair for pair in found if swish in pair and pair & {HALF, POOL}]


def test_every_pair_can_be_written_and_computes_the_same(tmp_path: Path) -> None:
    source = squeeze_and_excite(tmp_path)
    expected = computed(source.graph.path)
    for number, pair in enumerate(pairs_of(source, "fp32")):
        graph = write_of(source, "fp32", pair, tmp_path / f"{number}.onnx")
        np.testing.assert_allclose(computed(graph.path), expected, rtol=1e-5, atol=1e-6)


def test_the_graph_stays_as_it_is(tmp_path: Path) -> None:
    source = squeeze_and_excite(tmp_path)
    before = source.graph.path.read_bytes()
    assert pairs_of(source, "fp16") == pairs_of(source, "fp16")
    assert source.graph.path.read_bytes() == before
