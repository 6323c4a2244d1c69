"""``attn2trt validate --dataset``: what it prints, its exit codes, and one line for each bad input."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import prediction_bundle
import pytest
from cli_run import refused
from cli_run import run as run_command
from onnx import helper
from PIL import Image
from prediction_bundle import SWAPPED, graph
from small_graph import small_model

from attn2trt.cli.dataset import worse_code
from attn2trt.core.bundle import open_bundle

NUMERIC = 3  # the bundle records no case, so that no number is judged


run = functools.partial(run_command, "validate")


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return prediction_bundle.write(tmp_path / "mine", fp16=graph(SWAPPED)).path


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return prediction_bundle.write_images(tmp_path / "images", 2)


def test_predictions_are_printed_beside_the_verdict(bundle: Path, images: Path) -> None:
    result = run(bundle, "--dataset", images)
    assert result.exit_code == NUMERIC
    for text in (
        "│ fp16                 │ compared │ 4 of 6  │ 30.00% to 90.32% │ 33.33%",
        "dataset    6 images of images",
        "metric     top1: the best class of logits (3 classes); changed if it is another",
        "changed    fp16: class0/0.png: margin 0.784 of the scores: class 0 → class 1",
        "PREDICTIONS: most changed in fp16, 4 of 6 images; --max-flips makes a verdict of it",
    ):
        assert text in result.stdout, result.stdout
    kept = open_bundle(bundle).manifest["validated"]["predictions"]
    assert [runtime["changed"] for runtime in kept["runtimes"]] == [4, 4]
    page = (bundle / "report.html").read_text()
    assert "class0/0.png" in page
    assert "30.00% to 90.32%" in page


def test_a_limit_makes_a_verdict_in_every_format(bundle: Path, images: Path, tmp_path: Path) -> None:
    files = {name: tmp_path / f"out.{name}" for name in ("github", "junit", "sarif", "markdown")}
    formats = [text for name, file in files.items() for text in ("--format", f"{name}={file}")]
    done = run(bundle, "--dataset", images, "--max-flips", "50%", "--json", *formats)
    document = json.loads(done.stdout)
    assert (done.exit_code, document["passed"], document["predictions"]["passed"]) == (1, False, False)
    assert [runtime["outcome"] for runtime in document["predictions"]["runtimes"]] == ["failed", "failed"]
    assert "::error title=attn2trt mine%2C fp16%2C predictions::4 of 6 images changed" in files["github"].read_text()
    assert "| fp16 | failed | 66.67% | 30.00% to 90.32% |" in files["markdown"].read_text()
    (run_,) = json.loads(files["sarif"].read_text())["runs"]
    assert [result["ruleId"] for result in run_["results"]] == ["predictions", "predictions"]
    suite = ElementTree.parse(files["junit"]).getroot()[0]
    failures = [case.attrib["classname"] for case in suite if case.find("failure") is not None]
    assert failures == ["mine.fp16, predictions", "mine.fp16 onnxruntime cpu, predictions"]
    assert int(suite.attrib["failures"]) == 2
    assert "50% of the images may change" in (bundle / "report.html").read_text()


def test_an_image_on_which_the_reference_does_not_run_hides_no_verdict(tmp_path: Path, images: Path) -> None:
    nodes = [
        helper.make_node("ReduceMax", ["image"], ["largest"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Cast", ["largest"], ["place"], to=7),
        helper.make_node("Gather", ["rows", "place"], ["logits"]),  # of one row: a white image is the second
    ]
    one_row = small_model(
        nodes, {"image": ["batch", 3, 8, 8]}, {"logits": ["batch", 3]}, {"rows": np.eye(3, dtype=np.float32)[:1]}
    )
    bundle = prediction_bundle.write(tmp_path / "mine", fp32=one_row, fp16=graph(), preprocessing={}).path
    Image.new("RGB", (8, 8), "white").save(images / "class0" / "0.png")
    dataset = ["--dataset", images, "--preprocessing", '{"resize": "stretch"}']
    files = {name: tmp_path / f"out.{name}" for name in ("junit", "markdown")}
    done = run(bundle, *dataset, *(f"--format={name}={file}" for name, file in files.items()))
    line = "PREDICTIONS FAILED: the reference does not run on class0/0.png and the 1 after it: "
    assert done.exit_code == 1, done.output
    assert line in done.stdout
    assert "out of data bounds" in done.stdout
    assert "not checked" in done.stdout  # the verdict, which has no case
    assert line[20:-2] in (bundle / "report.html").read_text()
    for file in files.values():
        assert line[20:-2] in file.read_text()
    found = json.loads(run(bundle, *dataset, "--json").stdout)
    assert found["verdict"]["stages"]
    assert found["predictions"]["passed"] is found["passed"] is False
    assert "out of data bounds" in found["predictions"]["why"]


def test_images_of_which_none_can_be_read_hide_no_verdict(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "0.png").write_bytes(b"no image")
    done = run(bundle, "--dataset", tmp_path / "torn", "--json")
    assert done.exit_code == NUMERIC
    assert json.loads(done.stdout)["predictions"]["why"].startswith("none of the 1 images can be used")


def test_along_the_network_of_a_bundle_without_a_recorded_case_nothing_is_measured(bundle: Path) -> None:
    assert run(bundle, "--network").exit_code == NUMERIC


def test_a_failure_comes_before_what_could_not_be_checked() -> None:
    assert [worse_code(*codes) for codes in ((0, 0), (3, 0), (0, 3), (3, 1), (1, 3), (1, 0))] == [0, 3, 3, 1, 1, 1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--max-flips", "0.5%"], "received --max-flips without --dataset; expected the images as well"),
        (["--metric", "top1"], "received --metric without --dataset"),
        (["--dataset", "IMAGES", "--server", "grpc://localhost:1"], "received --dataset with --server; expected one"),
        (["--dataset", "nowhere"], "received --dataset nowhere, which is not there; expected a folder of images"),
        (["--dataset", "IMAGES", "--max-flips", "2"], "expected a share from 0% to 100%"),
        (["--dataset", "IMAGES", "--max-flips", "few"], "expected a share, as 0.5% or 0.005"),
        (
            ["--dataset", "IMAGES", "--preprocessing", "imagenet"],
            "received --preprocessing imagenet, which is not there",
        ),
        (["--dataset", "IMAGES", "--preprocessing", "{"], "which is no JSON"),
        (["--dataset", "IMAGES", "--preprocessing", '{"crop": 2}'], "crop 2; expected a share above 0, at most 1"),
        (
            ["--dataset", "IMAGES", "--preprocessing", '{"size": [3, 224, 224]}'],
            "size [3, 224, 224]; expected [3, 8, 8], as the input image has it",
        ),
    ],
)
def test_wrong_options_are_one_line(bundle: Path, images: Path, options: list[str], message: str) -> None:
    assert message in refused(run(bundle, *(images if option == "IMAGES" else option for option in options)))
