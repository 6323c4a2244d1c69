"""Predictions on a data set: what changed is found and named, and nothing is skipped in silence."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import prediction_bundle
import pytest
import served_bundle
import torch
from PIL import Image
from prediction_bundle import SWAPPED, graph

from attn2trt.core.preprocessing import Preprocessing
from attn2trt.errors import CheckFailed, InputError
from attn2trt.report.predictions_table import predictions_conclusion
from attn2trt.validate.predictions.results import NOT_FINITE, Predictions
from attn2trt.workflows.validate_predictions import validate_predictions

TWO_FP16 = ["fp16", "fp16 onnxruntime cpu"]


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prediction_bundle.write(tmp_path_factory.mktemp("healthy") / "mine", fp16=graph()).path


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of a float32 graph alone."""
    return prediction_bundle.write(tmp_path_factory.mktemp("alone") / "mine").path


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fp16 graph exchanges two of the three classes."""
    return prediction_bundle.write(tmp_path_factory.mktemp("broken") / "mine", fp16=graph(SWAPPED)).path


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return prediction_bundle.write_images(tmp_path / "images")


def test_a_healthy_bundle_changes_no_prediction(healthy: Path, images: Path) -> None:
    said: list[str] = []
    found = validate_predictions(healthy, images, max_flips=0.0, progress=said.append)
    assert [runtime.stage.label for runtime in found.runtimes] == TWO_FP16
    assert found.outcomes == ["passed", "passed"]
    assert found
    assert found.images == found.labelled == 15  # the last batch is not full
    assert found.scores == {"top-1 accuracy": 1.0, "top-3 accuracy": 1.0}
    assert found.labels == "the names of the folders, in order"
    assert "no verdict ties it to PyTorch" in found.reference
    assert said[-1] == "comparing predictions: 15 of 15 images"


def test_images_that_are_all_predicted_alike_are_said_to_be(alone: Path, images: Path) -> None:
    one = next(folder for folder in sorted(images.iterdir()) if folder.is_dir())
    (note,) = validate_predictions(alone, one, labels="none").notes
    assert re.match(r"the reference predicts class \d for all 5 images: what gives nothing else changes none", note)


def test_a_runtime_that_exchanges_two_classes_is_seen(broken: Path, images: Path) -> None:
    found = validate_predictions(broken, images, max_flips=0.5)
    for runtime in found.runtimes:
        assert {change.image for change in runtime.changes} == {
            f"class{kind}/{number}.png" for kind in (0, 1) for number in range(5)
        }
        first = runtime.changes[0]
        assert (first.image, first.reference, first.found) == ("class0/0.png", "class 0", "class 1")
        assert first.margin == pytest.approx((200 - 100) / 127.5, rel=1e-5)
        assert not first.is_tie
        assert runtime.share == pytest.approx(2 / 3)
        assert runtime.scores["top-1 accuracy"] == pytest.approx(1 / 3)
    assert found.outcomes == ["failed", "failed"]
    assert not found
    assert found.has_failed


def test_without_a_limit_it_is_no_verdict(broken: Path, images: Path) -> None:
    found = validate_predictions(broken, images)
    assert found.outcomes == ["compared", "compared"]
    assert not found.is_judged
    assert not found.has_failed
    assert found.to_json()["passed"] is None


def test_what_cannot_be_read_is_counted_and_named(healthy: Path, images: Path) -> None:
    (images / "class1" / "0.png").write_bytes(b"no image")
    Image.new("RGB", (1_100_000, 1)).save(images / "class2" / "line.png")
    (images / "list.txt").write_text("notes")
    how = Preprocessing(resize="crop", mean=(0.5,), std=(0.5,))
    found = validate_predictions(healthy, images, preprocessing=how, max_flips=0.15)
    assert found.images == 14
    assert [name for name, _ in found.refused] == ["class1/0.png", "class2/line.png"]
    assert "cannot read the image" in found.refused[0][1]
    assert "closer to square" in found.refused[1][1] or "cannot use" in found.refused[1][1]
    assert found.notes == ("no image by its name: list.txt",)
    assert found
    assert (strict := replace(found, max_flips=0.1)).has_failed
    assert "FAILED: 2 of 16 images could not be used, and count as changed" in predictions_conclusion(strict)
    alone = replace(found, runtimes=(), refused=found.refused[:1], max_flips=None)
    assert predictions_conclusion(alone) == (
        "PREDICTIONS: nothing was compared with the reference; --reference pytorch compares the float32 graph, and "
        "deploy --precision fp32,fp16 makes another to compare; 1 image could not be used"
    )


def test_a_runtime_that_gives_no_number_has_changed_the_prediction(tmp_path: Path, images: Path) -> None:
    bundle = prediction_bundle.write(tmp_path / "mine", fp16=graph(shift=float("nan")))
    found = validate_predictions(bundle, images, max_flips=0.5)
    assert [len(runtime.changes) for runtime in found.runtimes] == [15, 15]
    assert found.runtimes[0].changes[0].found == NOT_FINITE
    assert found.runtimes[0].scores["top-1 accuracy"] == 0.0
    assert found.has_failed


def test_a_reference_that_gives_no_number_is_an_error(tmp_path: Path, images: Path) -> None:
    bundle = prediction_bundle.write(tmp_path / "mine", fp32=graph(shift=float("nan")), fp16=graph())
    with pytest.raises(CheckFailed, match="the reference is NaN or infinity on all 15 images"):
        validate_predictions(bundle, images)


def test_a_graph_that_does_not_load_has_failed_and_the_others_are_compared(tmp_path: Path, images: Path) -> None:
    wrong = graph()
    wrong.graph.node[1].op_type, wrong.graph.node[1].domain = "NoSuchOperator", "mine"
    wrong.opset_import.append(onnx.helper.make_opsetid("mine", 1))
    found = validate_predictions(prediction_bundle.write(tmp_path / "mine", fp16=wrong), images, max_flips=0.5)
    assert found.outcomes == ["failed", "failed"]
    assert all("NoSuchOperator" in runtime.why for runtime in found.runtimes)
    assert found.has_failed


def test_nothing_beside_the_reference_is_no_pass(alone: Path, images: Path) -> None:
    found = validate_predictions(alone, images, max_flips=1.0)
    assert found.runtimes == ()
    assert not found
    assert not found.has_failed


def test_a_module_can_be_the_reference(healthy: Path, images: Path) -> None:
    class Means(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return image.mean((2, 3))[:, [1, 0, 2]]

    found = validate_predictions(healthy, images, reference=Means())
    assert [runtime.stage.label for runtime in found.runtimes] == ["onnxruntime cpu", *TWO_FP16]
    assert all(runtime.share == pytest.approx(2 / 3) for runtime in found.runtimes)
    with pytest.raises(InputError, match="its module is built; give the module itself, in Python: attn2trt"):
        validate_predictions(healthy, images, reference="pytorch")
    with pytest.raises(InputError, match="received reference 'tensorflow'"):
        validate_predictions(healthy, images, reference="tensorflow")


def tensors(folder: Path, **arrays: np.ndarray) -> Path:
    np.savez(folder / "samples.npz", **arrays)
    return folder / "samples.npz"


def test_tensors_bring_their_labels(broken: Path, tmp_path: Path) -> None:
    image = np.zeros((5, 3, 8, 8), np.float32)
    image[np.arange(5), [0, 1, 2, 0, 2]] = 1
    found = validate_predictions(broken, tensors(tmp_path, image=image, labels=np.array([0, 1, 2, 1, 2])))
    assert [change.image for change in found.runtimes[0].changes] == ["0", "1", "3"]
    assert found.scores["top-1 accuracy"] == pytest.approx(4 / 5)
    assert found.runtimes[0].scores["top-1 accuracy"] == pytest.approx(3 / 5)
    assert found.dataset == "5 samples of samples.npz"


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.array([0, 1, 2, 3, 0]), "received the label 3 .* expected 0 to 2"),
        (np.zeros((5, 3), np.int64), r"labels of shape 5x3, int64.*expected whole numbers, \(samples,\)"),
        (np.zeros(4, np.int64), "labels 4; expected as many"),
    ],
)
def test_labels_that_do_not_fit_tensors(alone: Path, tmp_path: Path, labels: np.ndarray, message: str) -> None:
    path = tensors(tmp_path, image=np.zeros((5, 3, 8, 8), np.float32), labels=labels)
    with pytest.raises(InputError, match=message):
        validate_predictions(alone, path)


def labelled(alone: Path, images: Path, text: str, name: str = "labels.txt") -> Predictions:
    path = images.parent / name
    path.write_text(text)
    return validate_predictions(alone, images, labels=path)


def test_a_file_of_labels_names_images_by_their_paths(alone: Path, images: Path) -> None:
    found = labelled(alone, images, "path,class\nclass0/0.png, 0\n# half of it\nclass1/0.png\t2\nelsewhere.png 1\n")
    assert (found.labelled, found.scores["top-1 accuracy"]) == (2, 0.5)
    assert found.notes == ("1 labels are of no image here, as elsewhere.png",)
    assert labelled(alone, images, '{"class2/1.png": 2}', "labels.json").labelled == 1


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ("other.png 0", "labels.txt", "label none of the 15 images; expected their paths in the data set, as class0/0"),
        ("class0/0.png 3", "labels.txt", "line 1: class 3 for class0/0.png; expected 0 to 2"),
        ("a.png 0\nclass0/0.png cat", "labels.txt", "line 2: 'class0/0.png cat'; expected lines of PATH CLASS"),
        ('{"a.png": "cat"}', "labels.json", "no JSON of paths and whole numbers"),
        ("{", "labels.json", "which is no JSON"),
    ],
)
def test_wrong_labels_are_one_line(alone: Path, images: Path, text: str, name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        labelled(alone, images, text, name)


def test_folders_that_are_no_classes_label_nothing(alone: Path, images: Path) -> None:
    (images / "class2").rename(images / "class1" / "deeper")
    found = validate_predictions(alone, images)
    assert (found.images, found.labelled, found.scores) == (15, 0, {})
    assert "no labels: 2 folders of images for the 3 classes of logits" in found.notes[0]
    with pytest.raises(InputError, match="received --labels folders, 2 folders of images for the 3 classes"):
        validate_predictions(alone, images, labels="folders")
    assert validate_predictions(alone, images, labels="none").notes == ()


def test_a_data_set_that_does_not_fit_is_one_line(alone: Path, images: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.png").write_bytes(b"no image")
    for dataset, message in (
        (tmp_path / "empty", "with no image in it"),
        (tmp_path / "bad", "none of the 1 images can be used, the first of them a.png: cannot read"),
        (tmp_path / "nowhere", "which is not there"),
        (images / "class0" / "0.png", "expected a folder of images, or a file ending in .npz or .safetensors"),
    ):
        with pytest.raises(InputError, match=message):
            validate_predictions(alone, dataset)
    with pytest.raises(InputError, match="received max_flips 2; expected a share"):
        validate_predictions(alone, images, max_flips=2)
    with pytest.raises(InputError, match=r"--labels .*gone.txt, which is not there"):
        validate_predictions(alone, images, labels=tmp_path / "gone.txt")


def test_a_model_without_preprocessing_asks_for_it(tmp_path: Path, images: Path) -> None:
    bundle = prediction_bundle.write(tmp_path / "mine", preprocessing={})
    with pytest.raises(InputError, match="expected its preprocessing: give --preprocessing"):
        validate_predictions(bundle, images)
    other = prediction_bundle.write(tmp_path / "other", preprocessing={"mean": [0.1, 0.2]})
    with pytest.raises(InputError, match=r"mean .*one for each of the input's 3 channels"):
        validate_predictions(other, images)


@pytest.mark.parametrize(
    ("graph_of_plan", "outcome", "why"), [("", "not compared", ""), ("0" * 64, "failed", "tune again")]
)
def test_a_tuned_plan_has_a_row_of_its_own(
    tmp_path: Path, images: Path, graph_of_plan: str, outcome: str, why: str
) -> None:
    bundle = prediction_bundle.write(tmp_path / "mine", fp16=graph())
    served_bundle.add_tuned(bundle, served_bundle.plan(precision="fp16", tuned=True, graph=graph_of_plan))
    found = validate_predictions(bundle, images, max_flips=0.0)
    rows = {one.stage.label: (one.outcome(0.0), one.why) for one in found.runtimes}
    assert rows["fp16 tuned for tensorrt"][0] == "passed"
    assert rows["tensorrt fp16, tuned"][0] == outcome
    assert rows["tensorrt fp16, tuned"][1]
    assert why in rows["tensorrt fp16, tuned"][1]
