"""Boxes: suppression as torchvision's, and a matching that is as large as one can be."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching
from torchvision.ops import batched_nms, box_convert, box_iou

from attn2trt.validate.predictions.boxes import corners, match, overlaps, suppress


def drawn(count: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centre, size = rng.uniform(0, 60, (count, 2)), rng.uniform(5, 30, (count, 2))
    return np.concatenate([centre, size], axis=1)


@pytest.mark.parametrize("seed", range(5))
def test_overlaps_are_suppressed_as_torchvision_does(seed: int) -> None:
    rng = np.random.default_rng(seed)
    boxes, scores, classes = corners(drawn(200, seed)), rng.random(200), rng.integers(0, 3, 200)
    tensors = [torch.from_numpy(array) for array in (boxes, scores, classes)]
    expected = batched_nms(*tensors, 0.5).tolist()
    assert suppress(boxes, scores, classes, 0.5, 300) == expected
    assert suppress(boxes, scores, classes, 0.5, 7) == expected[:7]


def test_overlaps_are_torchvisions() -> None:
    ours, theirs = drawn(20, 0), drawn(30, 1)
    converted = [box_convert(torch.from_numpy(boxes), "cxcywh", "xyxy") for boxes in (ours, theirs)]
    assert np.allclose(overlaps(corners(ours), corners(theirs)), box_iou(*converted).numpy())
    assert np.array_equal(overlaps(np.zeros((1, 4)), np.zeros((2, 4))), [[0.0, 0.0]])
    assert overlaps(np.zeros((0, 4)), np.zeros((2, 4))).shape == (0, 2)


@pytest.mark.parametrize("seed", range(10))
def test_a_matching_is_the_largest(seed: int) -> None:
    rng = np.random.default_rng(seed)
    allowed = rng.random((12, 9)) < 0.2
    columns = match(allowed)
    placed = [column for column in columns if column >= 0]
    assert len(placed) == len(set(placed))
    assert all(allowed[row, column] for row, column in enumerate(columns) if column >= 0)
    assert len(placed) == (maximum_bipartite_matching(csr_array(allowed), perm_type="column") >= 0).sum()


def test_the_best_overlap_first_would_leave_one_unmatched() -> None:
    assert match(np.array([[True, True], [True, False]])) == [1, 0]
