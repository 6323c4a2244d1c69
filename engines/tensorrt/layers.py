"""What TensorRT's inspector says of a plan's layers: which nodes each one computes, and in which precision.

The file is JSON of TensorRT's own, of detailed verbosity. A layer's ``Name`` joins the names of the nodes in it
(``Conv_0 + PWN(Sigmoid_1)``), from version 10 on ``Metadata`` names them (``[ONNX Layer: Conv_0]``); its tensors tell
their ``Format/Datatype`` in words, and its weights their type.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

# Layers that move values, and change their type on the way.
MOVES = frozenset({"Reformat", "NoOp", "Constant", "Shuffle", "Slice", "Concat", "Gather", "Identity"})
# The words for a precision in a format, in the order in which they are looked for: BF16 holds no other.
_WORDS = (
    ("bf16", r"\bBF16\b|\bBFloat16\b"),
    ("fp16", r"\bFP16\b|\bHalf\b"),
    ("fp8", r"\bFP8\b"),
    ("int8", r"\bInt8\b"),
    ("fp32", r"\bFP32\b|\bFloat\b"),
)
# What separates the names of nodes in the name of a layer; \x1e in what version 10 says beside it.
_APART = re.compile(r"[\s+,(){}\[\]\x1e]+")


@dataclass(frozen=True)
class Layer:
    """One layer. ``names`` are all words of its name that may be nodes; ``reads`` the precisions of the floats and
    8-bit integers that it reads, those of its weights among them; empty where the inspector does not tell."""

    name: str
    kind: str
    names: frozenset[str]
    reads: frozenset[str]
    weights: str
    tactic: str


def read_layers(text: str) -> list[Layer]:
    """The layers of an inspector's document. Raises ValueError where it is not one, or of names alone."""
    try:
        found = json.loads(text)["Layers"]
        if not all(isinstance(entry, Mapping) for entry in found):
            raise ValueError("the inspector told the names of layers alone")
        return [_layer(entry) for entry in found]
    except (AttributeError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"what the inspector said cannot be read ({error!r})") from None


def _layer(entry: Mapping[str, Any]) -> Layer:
    name, about = str(entry.get("Name", "")), str(entry.get("Metadata", ""))
    weights = entry.get("Weights")
    of_weights = _precision(str(weights.get("Type", ""))) if isinstance(weights, Mapping) else ""
    formats = [_precision(str(value.get("Format/Datatype", ""))) for value in entry.get("Inputs", ())]
    return Layer(
        name=name,
        kind=str(entry.get("LayerType", "")),
        names=frozenset(_APART.split(f"{name} {about}")),
        reads=frozenset(found for found in (*formats, of_weights) if found),
        weights=of_weights,
        tactic=str(entry.get("TacticName", "")),
    )


def _precision(words: str) -> str:
    """What a format says of its type; "" for integers, and where shapes that vary leave it open."""
    return next((name for name, pattern in _WORDS if re.search(pattern, words, re.IGNORECASE)), "")


def summary(layers: Iterable[Layer]) -> dict[str, dict[str, int]]:
    """How many layers there are of each kind, and how many run each kernel, for those that name one."""
    found = list(layers)
    kernels = Counter(one.tactic for one in found if one.tactic)
    return {"kinds": dict(Counter(one.kind for one in found)), "kernels": dict(kernels)}


@dataclass(frozen=True)
class Achieved:
    """How many of the nodes that should compute in a precision are known to, and the layers that do not."""

    kept: int
    untold: int
    wrong: tuple[Layer, ...]


def achieved(layers: Iterable[Layer], precision: str, nodes: frozenset[str]) -> Achieved:
    """Hold layers against the ``nodes`` that compute in ``precision`` and, of "fp32" and "tf32", against less.

    A layer is wrong where all that it is known to read is float32 although nodes of ``precision`` are in it; of the
    float32 graph where its weights are of another type, or its kernel is one of tf32's and tf32 was not asked for. A
    node that no layer names, or whose layer does not tell its types, is untold.
    """
    wrong: list[Layer] = []
    kept: set[str] = set()
    told: set[str] = set()
    for one in layers:
        if one.kind in MOVES:
            continue
        if precision in ("fp32", "tf32"):
            if one.weights not in ("", "fp32") or (precision == "fp32" and "tf32" in one.tactic.lower()):
                wrong.append(one)
            continue
        inside = one.names & nodes
        if not inside or not one.reads:
            continue
        told |= inside
        if one.reads == {"fp32"}:
            wrong.append(one)
        else:
            kept |= inside
    return Achieved(len(kept), len(nodes - told), tuple(wrong))
