"""Chains of products and elementwise operators on a few numbers of each image: a squeeze's layers up to its gate.

A chain has rows (n, c) with matrix products, or maps of one pixel (n, c, 1, 1) with 1x1 convolutions. A tree of its
steps is written again in the other shape.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from ..pixel_linear import ELEMENTWISE
from ..rewrite import Writer, constant, sizes
from ..split_reduction import reduced_axes
from .spatial_mean import SPATIAL, is_spatial, keeps_axes, reduce, with_axes, without_axes

ROWS, PIXELS = 2, 4
REDUCTIONS = ("ReduceMean", "ReduceMax")
JOINING = ("Add", "Mul", "Sub")


@dataclass(frozen=True)
class Product:
    """A weight (outputs, inputs) and a bias (outputs)."""

    weight: np.ndarray
    bias: np.ndarray | None


@dataclass(frozen=True)
class Step:
    """A value of a chain: a ``root`` or a product, an elementwise operator or a constant on other steps.

    ``vector`` are numbers that are the same for every image.
    """

    root: ir.Value | None = None
    node: ir.Node | None = None
    product: Product | None = None
    vector: np.ndarray | None = None
    given: tuple[Step, ...] = ()

    def products(self) -> Iterator[Product]:
        """Yield the products on the way here, the first first."""
        for step in self.given:
            yield from step.products()
        if self.product is not None:
            yield self.product


def chain(value: ir.Value | None, rank: int) -> Step | None:
    """Return the steps that a value of this rank is made of; None for a value of another rank."""
    if value is None or not _is_small(value, rank):
        return None
    node = value.producer()
    step = None if node is None or not _has_one_reader(value) else step_of(node, rank)
    return step or Step(root=value)


def step_of(node: ir.Node, rank: int) -> Step | None:
    """Return the step that a node is, with those before it; None for a node that is none."""
    if len(node.outputs) != 1 or not _is_small(node.outputs[0], rank):
        return None
    if node.op_type in ELEMENTWISE:
        inner = chain(node.inputs[0], rank)
        return None if inner is None else Step(node=node, given=(inner,))
    if (found := product_of(node)) is not None and (rank == PIXELS) == (node.op_type == "Conv"):
        inner = chain(node.inputs[0], rank)
        return None if inner is None else Step(node=node, product=found, given=(inner,))
    if node.op_type in JOINING:
        parts = [_operand(value, rank) for value in node.inputs]
        found_parts = tuple(part for part in parts if part is not None)
        if len(found_parts) == 2 and any(part.vector is None for part in found_parts):
            return Step(node=node, given=found_parts)
    return None


def _operand(value: ir.Value | None, rank: int) -> Step | None:
    numbers = constant(value)
    if numbers is None:
        return chain(value, rank)
    if numbers.size == 1 or (rank == ROWS and numbers.ndim <= 2 and numbers.size == numbers.shape[-1]):
        return Step(vector=numbers.reshape(-1))
    is_vector = rank == PIXELS and numbers.ndim in (3, 4) and numbers.size == numbers.shape[-3]
    return Step(vector=numbers.reshape(-1)) if is_vector else None


def product_of(node: ir.Node) -> Product | None:
    """Return the weight and bias of a linear layer of rows or of a 1x1 convolution; None for any other node."""
    if node.op_type not in ("Gemm", "MatMul", "Conv"):
        return None
    weight = constant(node.inputs[1])
    has_bias = len(node.inputs) > 2 and node.inputs[2] is not None
    bias = constant(node.inputs[2]) if has_bias else None
    if weight is None or (has_bias and bias is None):
        return None
    if node.op_type == "Conv":
        return Product(weight[:, :, 0, 0], bias) if _is_pointwise(node, weight) else None
    return _product_of_rows(node, weight, bias) if weight.ndim == 2 else None


def _product_of_rows(node: ir.Node, weight: np.ndarray, bias: np.ndarray | None) -> Product | None:
    if node.op_type == "MatMul":
        return Product(weight.T, None)
    rows = weight if node.attributes.get_int("transB", 0) else weight.T
    # a bias (n, 1) of as many images as there are outputs has one number for each image
    is_vector = bias is None or bias.size == 1 or bias.shape in ((len(rows),), (1, len(rows)))
    if node.attributes.get_int("transA", 0) != 0 or not is_vector:
        return None
    scale, bias_scale = node.attributes.get_float("alpha", 1.0), node.attributes.get_float("beta", 1.0)
    wide = None if bias is None else np.broadcast_to(bias.reshape(-1) * bias_scale, rows.shape[:1])
    return Product((rows * scale).astype(weight.dtype), None if wide is None else wide.astype(weight.dtype))


def _is_pointwise(node: ir.Node, weight: np.ndarray) -> bool:
    """Return True for a 1x1 convolution without groups, strides or padding."""
    numbers = [set(node.attributes.get_ints(name, (usual,))) for name, usual in (("strides", 1), ("pads", 0))]
    return (
        weight.ndim == 4
        and weight.shape[2:] == (1, 1)
        and numbers == [{1}, {0}]
        and node.attributes.get_int("group", 1) == 1
        and node.attributes.get_string("auto_pad", "NOTSET") == "NOTSET"
    )


def _is_small(value: ir.Value, rank: int) -> bool:
    found = sizes(value, rank)
    return found is not None and (rank == ROWS or found[2:] == (1, 1))


def _has_one_reader(value: ir.Value) -> bool:
    return len(value.uses()) == 1 and not value.is_graph_output()


class Rewriter:
    """Writes the steps of a chain of ``rank`` axes in the other shape."""

    def __init__(self, write: Writer, rank: int) -> None:
        self._write, self._rank = write, rank
        self._count = 0

    def written(self, step: Step) -> ir.Value:
        """Return the step's value in the other shape."""
        if step.root is not None:
            return self._root(step.root)
        self._count += 1
        word = f"step {self._count}"
        if step.vector is not None:
            shape = (-1,) if self._rank == PIXELS or step.vector.size == 1 else (-1, 1, 1)
            return self._write.weight(step.vector.reshape(shape), word)
        assert step.node is not None
        given = [self.written(inner) for inner in step.given]
        if step.product is None:
            return self._write.node(step.node.op_type, given, word, **step.node.attributes)
        return self._product(step.product, given[0], word)

    def _product(self, product: Product, given: ir.Value, word: str) -> ir.Value:
        weight = np.ascontiguousarray(product.weight)
        bias = [] if product.bias is None else [self._write.weight(product.bias, f"bias of {word}")]
        if self._rank == ROWS:
            kernel = self._write.weight(weight[:, :, None, None], f"weight of {word}")
            return self._write.node("Conv", [given, kernel, *bias], word, kernel_shape=[1, 1])
        return self._write.node("Gemm", [given, self._write.weight(weight, f"weight of {word}"), *bias], word, transB=1)

    def _root(self, value: ir.Value) -> ir.Value:
        """Return a root in the other shape: what it was made of before its axes went or came, if that is known."""
        self._count += 1
        word = f"root {self._count}"
        node = value.producer()
        if self._rank == ROWS:
            if node is not None and node.op_type == "Squeeze" and _axes(node) == SPATIAL:
                before = node.inputs[0]
                assert before is not None
                return before
            if (again := self._reduced(node, word, keep=True)) is not None:
                return again
            return with_axes(self._write, value, word)
        if node is not None and node.op_type == "Unsqueeze" and _axes(node) == SPATIAL:
            before = node.inputs[0]
            assert before is not None
            return before
        return self._reduced(node, word, keep=False) or without_axes(self._write, value, word)

    def _reduced(self, node: ir.Node | None, word: str, *, keep: bool) -> ir.Value | None:
        """Return the reduction that gives a root with its axes kept or not; None if it gives the root otherwise."""
        if node is None or keeps_axes(node) == keep or not _has_one_reader(node.outputs[0]):
            return None
        operator = next((name for name in REDUCTIONS if is_spatial(node, name)), "")
        given = node.inputs[0]
        if not operator or given is None:
            return None
        return reduce(self._write, node, given, SPATIAL, word, keep=keep, operator=operator)


def _axes(node: ir.Node) -> tuple[int, ...]:
    return tuple(sorted(reduced_axes(node)))
