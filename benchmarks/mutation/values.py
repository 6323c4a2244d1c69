"""Faults in values that are written or counted: the fills of masks, and whole numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper
from onnx.helper import make_node

from .graph import Array, Patient, attribute, set_attribute

MASKED = -99.0  # and below: a mask writes it or adds it
FILLED = ("Where", "Add", "Expand", "Pad", "Concat", "ScatterND", "ScatterElements", "Max", "Min", "Mul")
WHOLE = (TensorProto.INT8, TensorProto.UINT8, TensorProto.INT16, TensorProto.INT32, TensorProto.INT64)
ROUNDINGS = ("Round", "Floor", "Ceil")


def mask_fill_changed(patient: Patient, node: onnx.NodeProto, rng: np.random.Generator) -> str:
    """The number of a mask, as -1e9 or minus infinity, replaced by a small negative one."""
    small = (-1.0, -4.0, -0.1)[int(rng.integers(3))]
    if node.op_type == "ConstantOfShape":
        given = attribute(node, "value")
        value = np.zeros(1) if given is None else numpy_helper.to_array(given)
        if not _is_fill(value):
            return ""
        set_attribute(node, "value", numpy_helper.from_array(_filled(value, small)))
        return f"{value.min():g} -> {small:g}"
    fills = [k for k, name in enumerate(node.input) if patient.is_weight(name) and _is_fill(patient.array(name))]
    if node.op_type not in FILLED or not fills:
        return ""
    index = fills[int(rng.integers(len(fills)))]
    value = patient.array(node.input[index])
    patient.replace_weight(node, index, _filled(value, small))
    return f"{value.min():g} -> {small:g}"


def _is_fill(value: Array) -> bool:
    return value.dtype.kind == "f" and bool((value <= MASKED).any())


def _filled(value: Array, small: float) -> Array:
    return np.where(value <= MASKED, np.float32(small), value).astype(value.dtype)


def whole_number_off_by_one(patient: Patient, node: onnx.NodeProto, rng: np.random.Generator) -> str:
    """An output of whole numbers off by one: all of them, the largest, or each towards zero."""
    kinds = {value.name: value.type.tensor_type.elem_type for value in patient.graph.output}
    kind = kinds.get(node.output[0])
    if kind not in WHOLE:
        return ""
    name = list(_OFF_BY_ONE)[int(rng.integers(len(_OFF_BY_ONE)))]
    one, wide, part, off = patient.constant(np.int64(1)), *(patient.fresh(stem) for stem in ("wide", "part", "off"))

    def parts(healthy: str, wanted: str) -> list[onnx.NodeProto]:
        # in 64 bits: there is no operator that adds some of the smaller ones
        before = make_node("Cast", [healthy], [wide], to=TensorProto.INT64)
        return [before, *_OFF_BY_ONE[name](wide, one, part, off), make_node("Cast", [off], [wanted], to=kind)]

    patient.behind(node, parts)
    return name


# Name the nodes between whole numbers and those that are off by one; the arguments are the tensors' names.
_OFF_BY_ONE: dict[str, Callable[[str, str, str, str], Sequence[onnx.NodeProto]]] = {
    "every number + 1": lambda wide, one, part, off: [make_node("Add", [wide, one], [off])],
    "the largest number - 1": lambda wide, one, part, off: [
        make_node("ReduceMax", [wide], [f"{part}_top"], keepdims=0),
        make_node("Sub", [f"{part}_top", one], [part]),
        make_node("Min", [wide, part], [off]),
    ],
    "every number 1 towards zero": lambda wide, one, part, off: [
        make_node("Sign", [wide], [part]),
        make_node("Sub", [wide, part], [off]),
    ],
}


def rounding_changed(patient: Patient, node: onnx.NodeProto, rng: np.random.Generator) -> str:
    """Whole numbers rounded down, up or to the nearest in place of another of these."""
    if node.op_type not in ROUNDINGS:
        return ""
    before = node.op_type
    others = [op for op in ROUNDINGS if op != before]
    patient.become(node, others[int(rng.integers(len(others)))])
    return f"{before} -> {node.op_type}"


OPERATORS = (mask_fill_changed, whole_number_off_by_one, rounding_changed)
