"""Read what TensorRT's inspector says of a plan's layers: the nodes that each one computes, and in which precision.

The document is JSON of detailed verbosity, with raw control characters in its strings (8.6). A layer's ``Name`` joins
the names of its nodes (``Conv_0 + PWN(Sigmoid_1)``); ``Metadata`` names them as well (``[ONNX Layer: Conv_0]``).

A tensor has its type in ``Format/Datatype`` (8.6, 10), or in ``Datatype`` or ``DataType`` beside ``Format`` (11). 8.6
leaves it open if shapes vary ("N/A due to dynamic shapes") until the context that is asked has run: then the kernel's
name and the weights tell.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ...core.precision import FP32, PRECISIONS
from ...core.typed_json import parsed
from .kernel_names import kernel_precision
from .layer_tensors import LayerTensor, element_bytes, read_tensor

# Layers that move values, and change their type on the way.
MOVES = frozenset(
    {"Reformat", "MyelinReformat", "NoOp", "Constant", "Shuffle", "Slice", "Concat", "Gather", "Identity", "Cast"}
)
# The words for a precision in a format.
_WORDS = {row.name: rf"\b({'|'.join(row.layer_words)})\b" for row in PRECISIONS.values() if row.layer_words}
# What separates the names of nodes in the name of a layer; \x1e in what Metadata says beside it.
_BETWEEN = re.compile(r"[\s+,(){}\[\]\x1e\x1f]+")
_NODE = re.compile(r"\[ONNX Layer: ([^\x1e\x1f]+?)\](?=[\x1e\x1f\s\[]|$)")


@dataclass(frozen=True)
class Layer:
    """One layer of a plan.

    ``names`` are all words of its name that may be nodes. ``computes`` holds the precision of its kernel if the
    kernel's name tells it, else those of the floats and 8-bit integers that it reads, weights included; it is empty if
    the inspector does not tell. ``weights`` is the precision of its weights, "" if it has none. ``weight_bytes`` is
    what its weights and biases take, None if their type is unknown; ``reads`` and ``writes`` are its tensors.
    """

    name: str
    kind: str
    names: frozenset[str]
    computes: frozenset[str]
    weights: str
    tactic: str
    reads: tuple[LayerTensor, ...] = ()
    writes: tuple[LayerTensor, ...] = ()
    weight_bytes: int | None = 0

    @property
    def known_by_inputs(self) -> bool:
        """Tell whether ``computes`` is known from the tensors that the layer reads alone."""
        return not self.weights and not kernel_precision(self.tactic)


def read_layers(text: str) -> list[Layer]:
    """Return the layers of an inspector's document. Raises ValueError if it is none, or one of names alone."""
    try:
        found = parsed(text, strict=False)["Layers"]
        entries = [entry for entry in found if isinstance(entry, Mapping)]
        layers = [_layer(entry) for entry in entries]
    except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"the inspector's document cannot be read ({error!r})") from None
    if len(entries) < len(found):
        raise ValueError("the document has the names of layers alone")
    return layers


def fullest(documents: Iterable[str]) -> str:
    """Return the document that tells the types of most tensors, the first of equals; "" without any document."""
    return max(documents, key=_types_told, default="")


def _types_told(text: str) -> int:
    """Return of how many tensors a document tells the type; -1 if it cannot be read."""
    try:
        layers = read_layers(text)
    except ValueError:
        return -1
    return sum(bool(value.form) for one in layers for value in (*one.reads, *one.writes))


def _layer(entry: Mapping[str, Any]) -> Layer:
    name, about = str(entry.get("Name", "")), str(entry.get("Metadata", ""))
    tactic = str(entry.get("TacticName", ""))
    weights = entry.get("Weights")
    of_weights = _precision(weights, "type") if isinstance(weights, Mapping) else ""
    of_kernel = kernel_precision(tactic)
    read = (_precision(value, "format/datatype", "datatype", "format") for value in entry.get("Inputs", ()))
    return Layer(
        name=name,
        kind=str(entry.get("LayerType", "")),
        names=frozenset(_BETWEEN.split(f"{name} {about}")) | frozenset(_NODE.findall(about)),
        computes=frozenset([of_kernel] if of_kernel else filter(None, [*read, of_weights])),
        weights=of_weights,
        tactic=tactic,
        reads=tuple(map(read_tensor, entry.get("Inputs", ()))),
        writes=tuple(map(read_tensor, entry.get("Outputs", ()))),
        weight_bytes=_weight_bytes(weights, entry.get("Bias")),
    )


def _weight_bytes(*found: Any) -> int | None:
    """Return the bytes of what is given as type and count; None if a type is unknown."""
    total = 0
    for entry in found:
        if isinstance(entry, Mapping) and (count := int(entry.get("Count", 0))):
            size = element_bytes(str(entry.get("Type", "")))
            if size is None:
                return None
            total += math.ceil(count * size)
    return total


def _precision(entry: Mapping[str, Any], *keys: str) -> str:
    """Return what the first of the ``keys`` with a known type says; "" for integers, and if shapes leave it open."""
    words = {key.lower(): str(value) for key, value in entry.items()}
    said = [words.get(key, "") for key in keys]
    found = (name for text in said for name, pattern in _WORDS.items() if re.search(pattern, text, re.IGNORECASE))
    return next(found, "")


def summary(layers: Iterable[Layer]) -> dict[str, dict[str, int]]:
    """Return how many layers there are of each kind, and how many run each kernel, of those that name one."""
    found = list(layers)
    kernels = Counter(one.tactic for one in found if one.tactic)
    return {"kinds": dict(Counter(one.kind for one in found)), "kernels": dict(kernels)}


def computed(layers: Iterable[Layer]) -> Counter[str]:
    """Count the layers that compute by their precision, the coarsest of what each reads; "" if it is unknown."""
    order = ["", *PRECISIONS]
    return Counter(max(one.computes, key=order.index, default="") for one in layers if one.kind not in MOVES)


def in_words(counts: Mapping[str, int]) -> str:
    """Write what ``computed`` counts as a part of a sentence, most layers first."""
    ordered = sorted(counts.items(), key=lambda item: (not item[0], -item[1]))
    parts = [f"{count} in {PRECISIONS[name].words}" if name else f"{count} unknown" for name, count in ordered]
    return ", ".join(parts) or "none that computes"


@dataclass(frozen=True)
class Achieved:
    """A count of what computes in the precision that was asked for: nodes of a lower one, layers of "fp32" and "tf32".

    Of the ``unknown`` the inspector does not tell. ``wrong`` layers compute ``instead`` in other precisions.
    """

    kept: int
    unknown: int
    wrong: tuple[Layer, ...]
    instead: frozenset[str]


def achieved(
    layers: Iterable[Layer], precision: str, nodes: frozenset[str], conversions: frozenset[str] = frozenset()
) -> Achieved:
    """Compare layers with the ``nodes`` that should compute in ``precision``.

    A layer of such nodes is wrong if the inspector tells what it computes in and ``precision`` is not among it. Of
    "fp32" and "tf32", whose graphs list no nodes, a layer is wrong if it computes in less or has weights of less. A
    node that no layer names, or whose layer does not tell its types, is unknown. So is a node in a layer that holds one
    of the ``conversions`` as well, if only what that layer reads is known.
    """
    computing = [one for one in layers if one.kind not in MOVES]
    if PRECISIONS[precision].graph == "float32":
        return _in_no_less(computing, frozenset(("", FP32, precision)))
    wanted = PRECISIONS[precision].products_as or precision
    known = [
        one
        for one in computing
        if one.names & nodes
        and one.computes
        and (wanted in one.computes or not (one.known_by_inputs and one.names & conversions))
    ]
    right = [one for one in known if wanted in one.computes]
    wrong = tuple(one for one in known if wanted not in one.computes)
    kept = {name for one in right for name in one.names & nodes}
    covered = {name for one in known for name in one.names & nodes}
    return Achieved(len(kept), len(nodes - covered), wrong, frozenset(name for one in wrong for name in one.computes))


def _in_no_less(layers: list[Layer], allowed: frozenset[str]) -> Achieved:
    known = [one for one in layers if one.computes]
    wrong = tuple(one for one in known if (one.computes | {one.weights}) - allowed)
    instead = frozenset(name for one in wrong for name in (*one.computes, one.weights) if name not in allowed)
    return Achieved(len(known) - len(wrong), len(layers) - len(known), wrong, instead)
