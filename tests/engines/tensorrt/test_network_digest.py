"""The hash of a network that TensorRT for RTX parses: alike for graphs that become one network, and for no others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from attn2trt.core.tensor_spec import Axis, TensorSpec
from attn2trt.engines.tensorrt.build import BuildOrder
from attn2trt.engines.tensorrt.build_child import PATHS
from attn2trt.engines.tensorrt.flavours import RTX
from attn2trt.engines.tensorrt.isolated import PARSE_SECONDS, networks_of
from attn2trt.engines.tensorrt.network_digest import network_digest
from attn2trt.engines.tensorrt.profiles import Profile

HEAD = '<ir_version: 8, opset_import: ["" : 17]> g (float[batch, 4, 8, 8] x) => (float[batch, 4, h, w] y) {'
PROFILE = Profile({"batch": Axis(1, 2, 8)})
KEPT = "m = ReduceMean <axes: ints = [2, 3], keepdims: int = 1> (x) y = Mul (x, m)"
POOL = "other = GlobalAveragePool (x) y = Mul (x, other)"
CONV = "c = Conv <kernel_shape: ints = [1, 1]> (x, w) y = Relu (c)"


def order(folder: Path, number: int, body: str, weight: float = 1.0) -> BuildOrder:
    model = onnx.parser.parse_model(HEAD + body + "}")
    weights = np.full((4, 4, 1, 1), weight, np.float32)
    weights[0, 1] += 1
    model.graph.initializer.append(numpy_helper.from_array(weights, "w"))
    for place, node in enumerate(model.graph.node):
        node.name = f"{node.op_type}_{number}_{place}"
    path = folder / f"{number}.onnx"
    onnx.save(model, path)
    paths = {name: folder / name for name in PATHS} | {"graph": path}
    inputs = (TensorSpec("x", ("batch", 4, 8, 8)),)
    return BuildOrder(**paths, inputs=inputs, profiles=(PROFILE,), flavour=RTX.name, targets=("8.6",))


def digests(folder: Path, *bodies: str) -> Sequence[str]:
    orders = [order(folder, number, body) for number, body in enumerate(bodies)]
    return networks_of(orders, seconds=PARSE_SECONDS)


@pytest.mark.tensorrt
def test_graphs_of_one_network_have_one_hash_and_others_another(tmp_path: Path) -> None:
    wider = CONV.replace("<kernel_shape", "<pads: ints = [1, 1, 1, 1], kernel_shape")
    other_mean = KEPT.replace("[2, 3]", "[3]")
    cast = "h = Cast <to: int = 10> (x) r = Relu (h) y = Cast <to: int = 1> (r)"
    in_float32 = "h = Relu (x) r = Identity (h) y = Identity (r)"
    found = digests(tmp_path, KEPT, POOL, CONV, CONV, wider, other_mean, cast, in_float32)
    assert "" not in found
    assert found[0] == found[1]
    assert found[2] == found[3]
    assert len({*found}) == len(found) - 2
    again = order(tmp_path, 9, CONV, weight=2.0)
    refused = replace(again, graph=tmp_path / "none.onnx")
    of_again, of_refused = networks_of([again, refused], seconds=PARSE_SECONDS)
    assert of_again not in found
    assert of_refused == ""


def tensor(name: str) -> Any:
    return SimpleNamespace(name=name, dtype="FLOAT", shape=(1, 2))


class ILayer:
    name = "every layer has one"


class IReduceLayer(ILayer):
    """A stand-in for a layer of 8.6, which has a precision of its own."""

    axes = 3

    def __init__(self, reads: str, gives: str, *, precision: str = "FLOAT", axes: object = 3) -> None:
        self.type, self._reads, self._gives = SimpleNamespace(name="REDUCE"), reads, gives
        self.num_inputs = self.num_outputs = 1
        self.precision, self.precision_is_set = precision, True
        self.axes = axes  # type: ignore[assignment]

    def get_input(self, _: int) -> Any:
        return tensor(self._reads)

    def get_output(self, _: int) -> Any:
        return tensor(self._gives)


TRT: Any = SimpleNamespace(
    **{name: type(name, (), {}) for name in ("ITensor", "Weights", "Dims", "Permutation")},
    ILayer=ILayer,
    IReduceLayer=IReduceLayer,
)


def digest(*layers: Any, output: str = "y") -> str:
    network = SimpleNamespace(num_inputs=1, num_outputs=1, num_layers=len(layers))
    network.get_input, network.get_output = lambda _: tensor("x"), lambda _: tensor(output)
    network.get_layer = layers.__getitem__
    return network_digest(TRT, network)


def test_names_between_do_not_count_and_precisions_do() -> None:
    first = digest(IReduceLayer("x", "a"), IReduceLayer("a", "y"))
    assert first == digest(IReduceLayer("x", "b"), IReduceLayer("b", "y")) != ""
    others = [
        digest(IReduceLayer("x", "y")),
        digest(IReduceLayer("x", "a"), IReduceLayer("x", "y")),
        digest(IReduceLayer("x", "a", precision="HALF"), IReduceLayer("a", "y")),
        digest(IReduceLayer("x", "a", axes=[1, 2]), IReduceLayer("a", "y")),
    ]
    assert len({first, *others}) == 5


def test_a_network_that_cannot_be_read_has_no_hash() -> None:
    unknown = IReduceLayer("x", "y")
    unknown.type = SimpleNamespace(name="PLUGIN_V3")
    assert digest(unknown) == digest() == ""
    assert digest(IReduceLayer("x", "y", axes=object())) == ""
    assert digest(IReduceLayer("nowhere", "y")) == ""
