"""The inputs that int8 is calibrated on: photographs, tensors, or the ordinary cases; one clear line for a misfit."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from attn2trt.core.tensor_spec import Axis, TensorSpec
from attn2trt.errors import InputError
from attn2trt.modules.target import Target
from attn2trt.validate.calibration_inputs import MOST_BATCHES, CalibrationInputs, calibration_inputs
from attn2trt.validate.cases import make_cases

AXES = {"batch": Axis(1, 2, 4)}
INPUTS = (TensorSpec("image", ("batch", 3, 8, 8)), TensorSpec("ids", ("batch", 5), "int64", low=0, high=9))
TARGET = Target(name="t", build=lambda: None, inputs=INPUTS, axes=AXES, fingerprint="")  # type: ignore[arg-type,return-value]


def found(source: Path | None) -> CalibrationInputs:
    return calibration_inputs(source, TARGET, make_cases(INPUTS, AXES), seed=0)


def tensors(count: int = 5, **others: Any) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "image": rng.standard_normal((count, 3, 8, 8), dtype=np.float32),
        "ids": rng.integers(0, 9, (count, 5)),
        **others,
    }


def test_without_a_source_the_ordinary_cases_are_taken() -> None:
    inputs = found(None)
    batches = list(inputs.make())
    assert inputs.words == "3 random batches (--calibrate DIR)"
    assert [batch["image"].shape[0] for batch in batches] == [2, 1, 4]
    assert all(np.abs(batch["image"]).max() < 10 for batch in batches)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_tensors_are_cut_into_batches_and_the_last_is_filled_up(suffix: str, tmp_path: Path) -> None:
    arrays = tensors()
    path = tmp_path / f"samples{suffix}"
    if suffix == ".npz":
        np.savez(path, **arrays)
    else:
        save_file(arrays, str(path))
    inputs = found(path)
    for _ in range(2):  # made anew
        batches = list(inputs.make())
        assert inputs.words == f"3 batches of samples{suffix}"
        np.testing.assert_array_equal(batches[2]["image"], arrays["image"][[4, 0]])
        np.testing.assert_array_equal(batches[1]["ids"], arrays["ids"][2:4])


def test_photographs_go_in_at_the_optimum_with_the_other_inputs_beside(tmp_path: Path) -> None:
    for number in range(3):
        Image.new("RGB", (12, 9), (80 * number, 10, 20)).save(tmp_path / f"{number}.png")
    inputs = found(tmp_path)
    batches = list(inputs.make())
    assert inputs.words.startswith("2 batches of photographs, stretched, pixels as -1 to 1 since nothing says")
    assert [batch["image"].shape for batch in batches] == [(2, 3, 8, 8)] * 2
    assert batches[0]["ids"].dtype == np.int64


def test_no_more_batches_are_taken_than_change_a_range(tmp_path: Path) -> None:
    np.savez(tmp_path / "many.npz", **tensors(2 * MOST_BATCHES + 6))
    assert len(list(found(tmp_path / "many.npz").make())) == MOST_BATCHES


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"image": np.zeros((5, 3, 9, 8), np.float32)}, r"image of shape 5x3x9x8 .* samples x 3 x 8 x 8, float32"),
        ({"image": np.zeros((5, 3, 8, 8))}, r"image as float64 .* float32"),
        ({"image": np.full((5, 3, 8, 8), np.nan, np.float32)}, r"image with NaN or Inf"),
        ({"ids": np.zeros((4, 5), np.int64)}, r"image 5, ids 4; expected as many for every input"),
        ({"image": np.zeros((0, 3, 8, 8), np.float32)}, r"image of shape 0x3x8x8"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(arrays: dict[str, Any], said: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "t.npz", **tensors(**arrays))
    with pytest.raises(InputError, match=said):
        found(tmp_path / "t.npz")


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", **{name: np.zeros(3) for name in "abcdefgh"})
    with pytest.raises(
        InputError, match=r"received arrays a, b, c, d, e and 3 more .* image \(samples x 3 x 8 x 8, float32\)"
    ):
        found(tmp_path / "other.npz")
    for name in ("broken.npz", "broken.safetensors"):
        (tmp_path / name).write_bytes(b"no archive")
        with pytest.raises(InputError, match=r"cannot read the calibration tensors"):
            found(tmp_path / name)
    np.savez(tmp_path / "pickled.npz", image=np.array([{}], object))
    with pytest.raises(InputError, match=r"cannot read the calibration tensors .*allow_pickle"):
        found(tmp_path / "pickled.npz")
    with zipfile.ZipFile(tmp_path / "text.npz", "w") as archive:
        archive.writestr("image.npy", "no array")
    with pytest.raises(InputError, match=r"received arrays none in .*text.npz'; expected image"):
        found(tmp_path / "text.npz")
    (tmp_path / "list.txt").write_text("a.png")
    with pytest.raises(
        InputError, match=r"received --calibrate .*list.txt'; expected a folder of photographs, or a file"
    ):
        found(tmp_path / "list.txt")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"received --calibrate .* with no image in it"):
        found(tmp_path / "empty")
