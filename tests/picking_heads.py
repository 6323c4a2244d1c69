"""Heads that pick the best of many scores inside, as modules and as graphs, each with wrong graphs beside it.

``Chained`` ranks places by their best class, then places and classes together, as YOLO26; ``Queries`` picks what a
decoder begins with, as RT-DETR; ``BestPlaces`` takes the best place of each class. ``spread`` scales the scores: if it
is small, most of them nearly tie in float32.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
import onnx
import torch
from onnx import numpy_helper, parser
from torch import Tensor, nn

PLACES, WIDTH, CLASSES, PICKED = 24, 8, 3, 10


def drawn(*shape: int, seed: int) -> nn.Parameter:
    """Weights."""
    return nn.Parameter(torch.from_numpy(np.random.default_rng(seed).standard_normal(shape).astype(np.float32)))


class Head(nn.Module):
    """(n, PLACES, WIDTH) to boxes and scores of every place; the graph and its wrong ones are in ``SOURCE``."""

    SOURCE: ClassVar[str]
    WRONG: ClassVar[dict[str, list[tuple[str, str]]]]
    classes = CLASSES

    def __init__(self, spread: float) -> None:
        super().__init__()
        self.spread = spread
        self.box, self.score = drawn(WIDTH, 4, seed=1), drawn(WIDTH, self.classes, seed=2)

    def of_all(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Boxes (n, PLACES, 4) and scores (n, PLACES, classes)."""
        return x @ self.box, ((x @ self.score) * self.spread).sigmoid()

    def graph(self, folder: Path, wrong: str = "") -> Path:
        """Write the graph of the head, or a wrong one of ``WRONG``."""
        body = self.SOURCE
        for old, new in self.WRONG.get(wrong, ()):
            assert old in body, (wrong, old)
            body = body.replace(old, new)
        model = parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]>\n{body}')
        values = {
            "box": self.box.detach().numpy(),
            "weight": self.score.detach().numpy(),
            "spread": np.float32(self.spread),
            "k": np.array([PICKED], np.int64),
            "classes": np.int64(self.classes),
            "flat": np.array([0, -1], np.int64),
            "one": np.array([1], np.int64),
            "two": np.array([2], np.int64),
            "whole": np.int64(1),
            "last": np.int64(PICKED - 1),
        }
        read = {name for node in model.graph.node for name in node.input}
        model.graph.initializer.extend(
            numpy_helper.from_array(np.asarray(v), n) for n, v in values.items() if n in read
        )
        path = folder / f"{type(self).__name__}-{self.spread:g}-{wrong.replace(' ', '-') or 'right'}.onnx"
        onnx.save(model, str(path))
        return path


OF_ALL = """
  boxes = MatMul(x, box)
  logits = MatMul(x, weight)
  small = Mul(logits, spread)
  scores = Sigmoid(small)"""


class Chained(Head):
    """(n, PICKED, 6): boxes, scores and classes of the best."""

    SOURCE = f"""picking (float[n, {PLACES}, {WIDTH}] x) => (float[n, {PICKED}, 6] out) {{{OF_ALL}
  most = ReduceMax <axes = [2], keepdims = 0> (scores)
  first_values, first = TopK <axis = 1> (most, k)
  first_column = Unsqueeze(first, two)
  near = GatherND <batch_dims = 1> (scores, first_column)
  near_flat = Reshape(near, flat)
  values, second = TopK <axis = 1> (near_flat, k)
  quotient = Div(second, classes)
  index = GatherElements <axis = 1> (first, quotient)
  column = Unsqueeze(index, two)
  found = GatherND <batch_dims = 1> (boxes, column)
  kind = Mod(second, classes)
  kind_float = Cast <to = 1> (kind)
  kind_column = Unsqueeze(kind_float, two)
  score_column = Unsqueeze(values, two)
  out = Concat <axis = 2> (found, score_column, kind_column)
}}"""
    WRONG: ClassVar = {
        "ascending": [("values, second = TopK <axis = 1>", "values, second = TopK <axis = 1, largest = 0>")],
        "first ascending": [("first = TopK <axis = 1>", "first = TopK <axis = 1, largest = 0>")],
        "unsorted": [
            (
                "values, second = TopK <axis = 1> (near_flat, k)",
                "sorted, places = TopK <axis = 1> (near_flat, k)\n  turned, order = TopK <axis = 1, largest = 0> "
                "(sorted, k)\n  second = GatherElements <axis = 1> (places, order)\n  values = Identity(turned)",
            )
        ],
        "off by one": [
            (
                "quotient = Div(second, classes)",
                "divided = Div(second, classes)\n  more = Add(divided, whole)\n  quotient = Min(more, last)",
            )
        ],
        "another divisor": [("Div(second, classes)", "Div(second, k)")],
        "boxes of another place": [("column = Unsqueeze(index, two)", "column = Unsqueeze(quotient, two)")],
        "no class": [("Mod(second, classes)", "Mod(second, one)")],
        "the lowest class": [("ReduceMax", "ReduceMin")],
    }

    def forward(self, x: Tensor) -> Tensor:
        boxes, scores = self.of_all(x)
        first = scores.max(-1)[0].topk(PICKED, 1)[1]
        near = scores.gather(1, first[..., None].expand(-1, -1, CLASSES))
        values, second = near.flatten(1).topk(PICKED, 1)
        index = first.gather(1, second // CLASSES)
        found = boxes.gather(1, index[..., None].expand(-1, -1, 4))
        return torch.cat([found, values[..., None], (second % CLASSES)[..., None].to(x.dtype)], -1)


class Queries(Head):
    """(n, PICKED, 4): boxes of the queries, each of which attends to all of them and to the memory."""

    SOURCE = f"""picking (float[n, {PLACES}, {WIDTH}] x) => (float[n, {PICKED}, 4] out) {{{OF_ALL}
  most = ReduceMax <axes = [2], keepdims = 0> (scores)
  values, first = TopK <axis = 1> (most, k)
  column = Unsqueeze(first, two)
  query = GatherND <batch_dims = 1> (x, column)
  begin = GatherND <batch_dims = 1> (boxes, column)
  turned = Transpose <perm = [0, 2, 1]> (query)
  product = MatMul(query, turned)
  weights = Softmax <axis = -1> (product)
  mixed = MatMul(weights, query)
  memory = Transpose <perm = [0, 2, 1]> (x)
  seen = MatMul(mixed, memory)
  seen_weights = Softmax <axis = -1> (seen)
  context = MatMul(seen_weights, x)
  offset = MatMul(context, box)
  out = Add(offset, begin)
}}"""
    WRONG: ClassVar = {
        "the lowest class": [("ReduceMax", "ReduceMin")],
        "ascending": [("TopK <axis = 1>", "TopK <axis = 1, largest = 0>")],
        "boxes of other places": [
            (
                "begin = GatherND <batch_dims = 1> (boxes, column)",
                "other = Sub(whole, whole)\n  zeros = Mul(column, other)\n"
                "  begin = GatherND <batch_dims = 1> (boxes, zeros)",
            )
        ],
        "memory of the next place": [
            (
                "query = GatherND <batch_dims = 1> (x, column)",
                "next = Add(column, one)\n  within = Min(next, last)\n  query = GatherND <batch_dims = 1> (x, within)",
            )
        ],
    }

    def forward(self, x: Tensor) -> Tensor:
        boxes, scores = self.of_all(x)
        first = scores.max(-1)[0].topk(PICKED, 1)[1][..., None]
        query, begin = x.gather(1, first.expand(-1, -1, WIDTH)), boxes.gather(1, first.expand(-1, -1, 4))
        mixed = (query @ query.transpose(1, 2)).softmax(-1) @ query
        return ((mixed @ x.transpose(1, 2)).softmax(-1) @ x) @ self.box + begin


class BestPlaces(Head):
    """(n, PLACES, 4): the box of the best place for each of as many classes, and that place."""

    classes = PLACES
    SOURCE = f"""picking (float[n, {PLACES}, {WIDTH}] x) => (float[n, {PLACES}, 4] out) {{{OF_ALL}
  best = ArgMax <axis = 1, keepdims = 0> (scores)
  column = Unsqueeze(best, two)
  out = GatherND <batch_dims = 1> (boxes, column)
}}"""
    WRONG: ClassVar = {
        "another axis": [("axis = 1, keepdims", "axis = 2, keepdims")],
        "the lowest": [("ArgMax", "ArgMin")],
        "the next place": [
            (
                "column = Unsqueeze(best, two)",
                "next = Add(best, whole)\n  some = Min(next, last)\n  column = Unsqueeze(some, two)",
            )
        ],
    }

    def forward(self, x: Tensor) -> Tensor:
        boxes, scores = self.of_all(x)
        return boxes.gather(1, scores.argmax(1)[..., None].expand(-1, -1, 4))


HEADS: dict[str, type[Head]] = {kind.__name__: kind for kind in (Chained, Queries, BestPlaces)}
