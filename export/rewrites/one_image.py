"""A graph that computes one image after the other, in place of all of a batch operator by operator.

A map of eight images leaves the caches between an operator and the next; one of an image stays there. Scan hands every
image to the body in place, and has the body write its output in place, so that nothing is copied. The price is that
threads no longer share out images: reductions over channels are shared out by groups of channels instead. Does not
apply if an operator may mix images (per_image.py), or to a batch of one.

ONNX Runtime takes weights from outside a body for something that may change: it does not arrange them for its kernels
that compute blocks of channels, nor change the layout of maps for these. Weights of the body's own get both, which
pays off for some graphs, and costs others more reordering than it saves.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from .per_image import ELEMENTWISE, batch_of, images_of
from .rewrite import Writer, constant
from .split_reduction import SplitReduction


class OneImage:
    """A graph as the body of a Scan over the images of its inputs; its weights inside the body, or outside."""

    def __init__(self, *, own_weights: bool) -> None:
        self._own_weights = own_weights
        self.name = f"one image after the other{', weights inside' if own_weights else ''}"

    def kind(self, graph: ir.Graph) -> str:
        """Return the kind by number of images."""
        batch = batch_of(graph)
        if batch is None or batch == 1 or not images_of(graph):
            return ""
        return f"whole graph, {batch} images"

    def apply(self, graph: ir.Graph) -> None:
        """Write in the place of all nodes a Scan with them as its body."""
        images, nodes = images_of(graph), list(graph)
        outputs = [(value.name, value.type, value.shape) for value in graph.outputs]
        last = graph.outputs[0].producer()
        assert last is not None
        write = Writer(last)
        zero = write.number(0, "axis of images")
        _alone(nodes, images, write)
        given, heads = _entered(graph, nodes, zero)
        results, tails = _left(graph, images.union(*(head.outputs for head in heads)), zero)
        graph.remove(nodes)
        body = ir.Graph(given, results, nodes=[*heads, *nodes, *tails], name="image")
        scan = ir.node(
            "Scan",
            list(graph.inputs),
            attributes={"body": body, "num_scan_inputs": len(graph.inputs)},
            num_outputs=len(outputs),
            name=f"{last.name}/images",
        )
        for place, (value, (name, of_type, shape)) in enumerate(zip(scan.outputs, outputs, strict=True)):
            value.name, value.type, value.shape = name, of_type, shape
            graph.outputs[place] = value
        graph.append(scan)
        if self._own_weights:
            for weight in list(graph.initializers.values()):
                del graph.initializers[str(weight.name)]
                body.register_initializer(weight)
        split = SplitReduction()
        for inner in list(body):
            if split.kind(inner):
                split.apply(inner)


def _alone(nodes: Sequence[ir.Node], images: frozenset[ir.Value], write: Writer) -> None:
    """Have every value of the batch hold one image, and every shape that names the batch say one."""
    for node in nodes:
        if node.op_type == "Reshape" and node.inputs[0] in images:
            target = constant(node.inputs[1])
            assert target is not None
            node.replace_input_with(1, write.weight(np.array([1, *target[1:]], np.int64), f"{node.name}, one image"))
        for value in node.outputs:
            if value in images and value.shape is not None:
                value.shape = ir.Shape([1, *value.shape[1:]])


def _entered(graph: ir.Graph, nodes: Sequence[ir.Node], zero: ir.Value) -> tuple[list[ir.Value], list[ir.Node]]:
    """The body's inputs, an image without its axis of the batch, and the nodes that give it one of size 1."""
    given, heads = [], []
    inside = set(nodes)
    for value in graph.inputs:
        image = ir.Value(name=f"{value.name}/image", type=value.type, shape=_without_batch(value))
        head = ir.node("Unsqueeze", [image, zero], name=f"{value.name}/alone")
        alone = head.outputs[0]
        alone.name, alone.type = f"{value.name}/alone", value.type
        alone.shape = ir.Shape([1, *_without_batch(value)])
        for use in list(value.uses()):
            if use.node in inside:
                use.node.replace_input_with(use.idx, alone)
        given.append(image)
        heads.append(head)
    return given, heads


def _left(graph: ir.Graph, images: frozenset[ir.Value], zero: ir.Value) -> tuple[list[ir.Value], list[ir.Node]]:
    """The body's outputs, an image without its axis of the batch, and the nodes that take that axis away.

    It is taken from what an elementwise operator reads, if that gives the output: of a value inside, a change of
    shape costs nothing; of an output it is a copy.
    """
    results, tails = [], []

    def without(value: ir.Value, name: str) -> ir.Value:
        tail = ir.node("Squeeze", [value, zero], name=name)
        found = tail.outputs[0]
        found.name, found.type, found.shape = name, value.type, _without_batch(value)
        tails.append(tail)
        return found

    for value in graph.outputs:
        last = value.producer()
        name = f"{value.name}/image"
        read = [] if last is None else list(last.inputs)
        value.name = f"{value.name}/alone"
        if last is not None and last.op_type in ELEMENTWISE and all(one in images or one is None for one in read):
            inside = [None if one is None else without(one, f"{name} {place}") for place, one in enumerate(read)]
            result = ir.node(last.op_type, inside, attributes=dict(last.attributes), name=name)
            found = result.outputs[0]
            found.name, found.type, found.shape = name, value.type, _without_batch(value)
            tails.append(result)
        else:
            found = without(value, name)
        results.append(found)
    return results, tails


def _without_batch(value: ir.Value) -> ir.Shape:
    assert value.shape is not None
    return ir.Shape(value.shape[1:])


TURN = 8
BATCH_REWRITES = (OneImage(own_weights=False), OneImage(own_weights=True))
