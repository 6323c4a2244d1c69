"""A head that picks the best boxes itself, as an ONNX file, and scores of which two nearly tie."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper
from small_graph import small_model

COUNT, PICKED = 64, 32


def scored_boxes(lowest: float = 0.05) -> np.ndarray:
    """(2, COUNT, 4): a score that falls from row to row, and a box of its own; rows 10 and 11 nearly tie."""
    rng = np.random.default_rng(0)
    scores = np.linspace(0.95, lowest, COUNT, dtype=np.float32)
    scores[11] = scores[10] - np.float32(1e-7)
    found = np.concatenate([scores[:, None], rng.uniform(0, 600, (COUNT, 3)).astype(np.float32)], 1)
    return np.stack([found, found])


SCORED = scored_boxes()


def best_boxes(**raised: float) -> onnx.ModelProto:
    """The boxes of the best scores of ``x``, those scores, and their places.

    The scores are computed by a product, so that every runtime rounds them in its own way. Scores of rows that are
    named, as ``row_11=1e-7``, are ``raised`` by so much.
    """
    offset = np.zeros((COUNT, 1), np.float32)
    for row, value in raised.items():
        offset[int(row.removeprefix("row_"))] = value
    rng = np.random.default_rng(1)
    weights = {
        "k": np.array([PICKED], np.int64),
        "first": np.array([0], np.int64),
        "rest": np.array([1], np.int64),
        "end": np.array([4], np.int64),
        "axis": np.array([2], np.int64),
        "offset": offset,
        "up": (up := rng.uniform(0.5, 1.5, (1, 24)).astype(np.float32)),
        "down": (1 / up.T / 24).astype(np.float32),
    }
    nodes = [
        helper.make_node("Slice", ["x", "first", "rest", "axis"], ["given"], name="given"),
        helper.make_node("MatMul", ["given", "up"], ["wide"], name="up"),
        helper.make_node("MatMul", ["wide", "down"], ["product"], name="down"),
        helper.make_node("Add", ["product", "offset"], ["scored"], name="raise"),
        helper.make_node("Slice", ["x", "rest", "end", "axis"], ["all"], name="all"),
        helper.make_node("TopK", ["scored", "k"], ["scores", "places"], axis=1, name="best"),
        helper.make_node("GatherND", ["all", "places"], ["boxes"], batch_dims=1, name="boxes"),
    ]
    outputs = {name: ["n", PICKED, last] for name, last in (("scores", 1), ("places", 1), ("boxes", 3))}
    return small_model(nodes, {"x": ["n", COUNT, 4]}, outputs, weights, types={"places": TensorProto.INT64})
