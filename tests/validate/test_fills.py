"""What a mask writes into an output hides no error of what is computed beside it."""

from __future__ import annotations

import numpy as np
import pytest

from attn2trt.core.precision import FLOAT32
from attn2trt.validate.comparison import compare
from attn2trt.validate.fills import shrunk
from attn2trt.validate.metrics import UNIT_ROUNDOFF, Floor, measure

RNG = np.random.default_rng(0)
FILLS = [-1e9, -1e4, float(np.finfo(np.float32).min), 65504.0]


def scores(fill: float) -> np.ndarray:
    """Scores below 1, a third of them masked."""
    found = RNG.uniform(-1, 1, (2, 12, 12))
    found[:, :, ::3] = fill
    return found


def rounded(truth: np.ndarray, seed: int = 1) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal(truth.shape)
    return np.where(np.abs(truth) < 10, truth * (1 + 4 * UNIT_ROUNDOFF * noise), truth).astype(np.float32)


@pytest.mark.parametrize("fill", FILLS)
def test_scores_beside_a_mask_are_judged_by_their_own_size(fill: float) -> None:
    truth = scores(fill)
    floor, largest = measure(rounded(truth), truth), abs(fill)
    assert compare("y", rounded(truth, 2), truth, floor, largest).passed
    wrong = rounded(truth, 2)
    wrong[0, 3, 4] += np.float32(1e-3)
    assert not compare("y", wrong, truth, floor, largest).passed
    wrong = np.where(truth == fill, truth, truth * 1.5).astype(np.float32)
    assert not compare("y", wrong, truth, floor, largest).passed


@pytest.mark.parametrize("fill", FILLS)
def test_the_mask_itself_is_judged_too(fill: float) -> None:
    truth = scores(fill)
    wrong = rounded(truth, 2)
    wrong[0, 3, 3] = fill / 2
    assert not compare("y", wrong, truth, measure(rounded(truth), truth), abs(fill)).passed


def test_a_mask_that_is_added_is_one_as_well() -> None:
    truth = RNG.uniform(-1, 1, (2, 12, 12))
    truth[:, :, ::3] -= 1e9
    found, _ = shrunk(truth, truth)
    assert np.abs(found).max() <= 1


@pytest.mark.parametrize(
    "truth",
    [
        RNG.standard_normal((2, 3, 4)),
        np.array([0.0, 0.0, 1e9, 1e9]),  # nothing beside it
        np.array([1.0, 2.0, 3.0, 1e9]),  # one loud number may be computed
        np.array([1.0, 2.0, 6.0, 6.0]),  # a clamp
        np.array([1.0, 50.0, -1e4, -1e4]),  # near enough: float32 shows an error of the others
        np.array([np.inf, np.inf, 1.0, 2.0]),
        np.array([1, 2, 10**9, 10**9]),
        np.zeros((0, 3)),
    ],
)
def test_other_outputs_stay_as_they_are(truth: np.ndarray) -> None:
    out, found = shrunk(truth, truth)
    assert out is truth
    assert found is truth


def test_a_mask_on_the_way_hides_nothing_in_an_output_that_float32_keeps() -> None:
    """Attention behind masked_fill(…, -1e9): nothing of the number is in the output, which is no larger than 1."""
    truth = RNG.uniform(-1, 1, (2, 12, 16))
    floor = measure(rounded(truth), truth)
    assert compare("y", rounded(truth, 2), truth, floor, 1e9).passed
    found = compare("y", (1.001 * truth).astype(np.float32), truth, floor, 1e9)
    assert (found.passed, found.which in ("l2", "max", "channel")) == (False, True)


def test_what_float32_does_not_keep_is_measured_by_the_way() -> None:
    truth = RNG.uniform(-1, 1, (2, 12, 16))
    lost = Floor(0.5, 0.5, np.full(28, 0.5))
    found = compare("y", (1.5 * truth).astype(np.float32), truth, lost, 1e9)
    assert (found.passed, found.which) == (True, "absolute")
    assert not compare("y", (1.5 * truth).astype(np.float32), truth, lost, 1e9, is_kept=True, precision=FLOAT32).passed
