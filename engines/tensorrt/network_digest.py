"""The hash of a network that TensorRT's parser has made of a graph: its layers as the builder gets them.

Several graphs may be parsed to one network: the parser of TensorRT writes a mean that keeps its axes and a
GlobalAveragePool alike. Types of layers, what they read, their parameters, weights, types and sizes are part of the
hash, and so are the names of inputs and outputs. All other names are not: the builder decides nothing by them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

# of a weakly typed network alone
BOUND = ("precision", "precision_is_set")


class _Unknown(Exception):
    """Something of a layer that cannot be read."""


def network_digest(trt: Any, network: Any) -> str:
    """Return the hash of a network; "" if it has no layers, or something of it cannot be read."""
    if not network.num_layers:
        return ""
    classes = _classes(trt)
    digest = hashlib.sha256()
    try:
        for line in _lines(trt, network, classes):
            digest.update(line.encode())
    except _Unknown:
        return ""
    return digest.hexdigest()


def _lines(trt: Any, network: Any, classes: Mapping[str, Any]) -> Iterator[str]:
    places: dict[str, str] = {}
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        places[tensor.name] = tensor.name
        yield _line("input", tensor.name, _type_of(tensor))
    for number in range(network.num_layers):
        layer = network.get_layer(number)
        kind = layer.type.name.replace("_", "")
        if kind not in classes:
            raise _Unknown(layer.type.name)
        read = [layer.get_input(place) for place in range(layer.num_inputs)]
        sources = [None if tensor is None else _place(tensor, places) for tensor in read]
        gives = [layer.get_output(place) for place in range(layer.num_outputs)]
        places |= {tensor.name: f"{number}.{place}" for place, tensor in enumerate(gives)}
        bound = {name: str(getattr(layer, name)) for name in BOUND if hasattr(layer, name)}
        parameters = _parameters(trt, layer, classes[kind], places)
        yield _line(kind, sources, [_type_of(tensor) for tensor in gives], bound, parameters)
    for index in range(network.num_outputs):
        tensor = network.get_output(index)
        yield _line("output", tensor.name, _place(tensor, places), _type_of(tensor))


def _classes(trt: Any) -> dict[str, Any]:
    """Return the class of each type of layer, by the type's name without underscores."""
    named = {name: getattr(trt, name) for name in dir(trt) if name.startswith("I") and name.endswith("Layer")}
    return {name[1 : -len("Layer")].upper(): found for name, found in named.items() if name != "ILayer"}


def _parameters(trt: Any, layer: Any, kind: Any, places: Mapping[str, str]) -> dict[str, str]:
    """Return what the layer's own class has beside what every layer has."""
    layer.__class__ = kind
    names = [name for name in dir(kind) if not name.startswith("_") and not hasattr(trt.ILayer, name)]
    return {name: text for name in names if (text := _text(trt, layer, name, places))}


def _text(trt: Any, layer: Any, name: str, places: Mapping[str, str]) -> str:
    """Return a parameter in words that are the same for the same value; "" for a method."""
    try:
        value = getattr(layer, name)
    except Exception as error:  # the bindings raise what they like
        raise _Unknown(name) from error
    if callable(value):
        return ""
    if isinstance(value, trt.ITensor):
        return _place(value, places)
    if isinstance(value, trt.Weights):
        try:
            value = value.numpy()
        except Exception as error:
            raise _Unknown(name) from error
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {value.shape} {hashlib.sha256(value.tobytes()).hexdigest()}"
    if value is None or isinstance(value, (bool, int, float, str, bytes)):
        return repr(value)
    if isinstance(value, (trt.Dims, trt.Permutation, tuple, list)):
        return repr([*value])
    if hasattr(value, "name") and hasattr(type(value), "__members__"):
        return str(value.name)
    raise _Unknown(name)


def _type_of(tensor: Any) -> str:
    return f"{tensor.dtype} {[*tensor.shape]}"


def _place(tensor: Any, places: Mapping[str, str]) -> str:
    if tensor.name not in places:
        raise _Unknown(tensor.name)
    return places[tensor.name]


def _line(*parts: object) -> str:
    return f"{parts!r}\n"
