"""The precision of every layer of a weakly typed network, taken from the ONNX graph that was parsed into it.

TensorRT 8.6 does not know the graph's types: after a Cast to float16 its parser reports every tensor as FLOAT. Tensors
keep their ONNX names, so the graph's own types are found by name. A tensor without such a name belongs to a layer that
the parser added, and has the type of what that layer reads.

Three kinds of layer are not bound. A Cast has its type already, and the builder refuses one that is set beside it. A
constant has that of its weights. A layer that computes shapes is no arithmetic; `trtexec` leaves those unbound, too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...core.element_types import element_types


def bind_layers(trt: Any, network: Any, graph: Path) -> None:
    """Set the precision and the output types of every layer that computes floats to those of the ONNX ``graph``."""
    import onnx

    kinds: dict[int, Any] = {onnx.TensorProto.FLOAT: trt.DataType.FLOAT, onnx.TensorProto.FLOAT16: trt.DataType.HALF}
    elements = element_types(onnx.load(str(graph), load_external_data=False))
    types = _Types(trt, {name: kinds[kind] for name, kind in elements.items() if kind in kinds})
    unbound = (trt.LayerType.CAST, trt.LayerType.CONSTANT, trt.LayerType.SHAPE)
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        outputs = types.follow(layer)
        if layer.type in unbound or _computes_shapes(layer):
            continue
        # A comparison gives no float, and compares in the precision of what it reads.
        precision = next(iter(outputs.values()), None) or types.read_by(layer)
        if precision is not None:
            layer.precision = precision
        for place, kind in outputs.items():
            layer.set_output_type(place, kind)


class _Types:
    """The float type of each tensor of a network, by name, as far as the layers have been followed."""

    def __init__(self, trt: Any, of_graph: dict[str, Any]) -> None:
        self._trt = trt
        self._floats = (trt.DataType.FLOAT, trt.DataType.HALF)
        self._known = dict(of_graph)
        self._constants: set[str] = set()

    def follow(self, layer: Any) -> dict[int, Any]:
        """Return the types of the layer's float outputs by their place, and remember them."""
        found: dict[int, Any] = {}
        for place, tensor in enumerate(_outputs(layer)):
            if tensor.dtype in self._floats:
                found[place] = self._known.setdefault(tensor.name, self._added(layer, tensor))
                if layer.type == self._trt.LayerType.CONSTANT:
                    self._constants.add(tensor.name)
        return found

    def read_by(self, layer: Any) -> Any | None:
        """Return the type of the first float that the layer reads, constants last; None if it reads no float."""
        names = sorted((tensor.name for tensor in _inputs(layer)), key=self._constants.__contains__)
        return next((self._known[name] for name in names if name in self._known), None)

    def _added(self, layer: Any, tensor: Any) -> Any:
        """Return the type of an output that the graph does not name; FLOAT, which loses nothing, if nothing tells."""
        if layer.type == self._trt.LayerType.CONSTANT:
            return tensor.dtype
        return self.read_by(layer) or self._trt.DataType.FLOAT


def _computes_shapes(layer: Any) -> bool:
    return any(tensor.is_shape_tensor for tensor in (*_inputs(layer)[:1], *_outputs(layer)))


def _outputs(layer: Any) -> list[Any]:
    return [layer.get_output(place) for place in range(layer.num_outputs)]


def _inputs(layer: Any) -> list[Any]:
    """Return the tensors that the layer reads, without the optional ones that are not there."""
    found = (layer.get_input(place) for place in range(layer.num_inputs))
    return [tensor for tensor in found if tensor is not None]
