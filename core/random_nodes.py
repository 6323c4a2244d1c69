"""Nodes of an ONNX graph that give something else in every run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .nodes import constants, nodes
from .operators import named

if TYPE_CHECKING:
    import onnx

_RANDOM = named("RandomNormal RandomNormalLike RandomUniform RandomUniformLike Bernoulli Multinomial")


def random_operators(graph: onnx.GraphProto) -> list[str]:
    """Return the operators of a graph that draw random numbers, in words, sorted."""
    found = {node.op_type for node in nodes(graph)} & _RANDOM
    return [*sorted(found), *(["Dropout in training mode"] if _trains(graph) else [])]


def _trains(graph: onnx.GraphProto) -> bool:
    """Return True if a Dropout draws: its third input is there, and no stored False."""
    from onnx import TensorProto, numpy_helper

    off = {
        name
        for name, one in constants(graph).items()
        if one.data_type == TensorProto.BOOL and not numpy_helper.to_array(one).any()
    }
    modes = {node.input[2] for node in nodes(graph) if node.op_type == "Dropout" and len(node.input) > 2}
    return bool(modes - off - {""})
