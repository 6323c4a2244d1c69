"""The variants of a bundle, which stays what it was when it was opened."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from deployed_once import PLAIN, deployed_once
from manifest_edits import list_as_it_is
from quick_method import QUICK
from wrong_weights import scale_largest

from attn2trt.core.bundle import Bundle, open_bundle
from attn2trt.core.progress import silent
from attn2trt.engines.timing.runners import OrtRunner
from attn2trt.errors import StorageError
from attn2trt.modules import packages
from attn2trt.workflows import bundle_variants
from attn2trt.workflows.benchmark import benchmark
from attn2trt.workflows.bundle_variants import from_bundle
from attn2trt.workflows.variants import Variant


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return deployed_once(tmp_path_factory, "se", PLAIN)


@pytest.fixture
def bundle(exported: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(exported, tmp_path / "se"))


@pytest.fixture
def other(exported: Path, tmp_path: Path) -> Path:
    """A whole bundle of the same target that computes something else."""
    path = Path(shutil.copytree(exported, tmp_path / "other"))
    scale_largest(path / "model.onnx", 2.0)
    list_as_it_is(path, "model.onnx")
    return path


def replace(bundle: Path, other: Path) -> None:
    """Put another bundle in its place, as ``deploy`` does."""
    bundle.rename(bundle.with_name("replaced"))
    shutil.copytree(other, bundle)


def test_the_plain_backbone_can_be_left_out(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle_variants, "_rebuilt", lambda *_, backbone, **__: made[: 1 + backbone])
    made = [Variant("target", (), {}), Variant("plain backbone", (), {})]
    for backbone in (True, False):
        (folder := tmp_path / str(backbone)).mkdir()
        found = from_bundle(open_bundle(bundle), folder, ["pytorch-eager"], backbone=backbone, progress=silent)
        assert [one.name for one in found] == ["target", *(["plain backbone"] if backbone else [])]


@pytest.mark.parametrize("step", ["loading", "comparing outputs", "timing"])
def test_a_bundle_that_is_replaced_meanwhile_is_timed_as_it_was(
    bundle: Path, other: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    monkeypatch.setattr(packages, "find_spec", lambda name: None)  # the recorded case decides alone
    loaded: list[Path] = []
    opens = OrtRunner.to_json

    def to_json(runner: OrtRunner) -> dict[str, object]:
        loaded.append(runner.model)
        return opens(runner)

    def progress(text: str) -> None:
        if step in text and not bundle.with_name("replaced").exists():
            replace(bundle, other)

    monkeypatch.setattr(OrtRunner, "to_json", to_json)
    found = benchmark(bundle, runtimes=["ort-cpu"], threads=1, method=QUICK, progress=progress)
    assert bundle.with_name("replaced").exists()
    assert [row.status for row in found.rows] == ["measured"]
    assert found.bundle == str(bundle)
    assert not any(path.is_relative_to(bundle) for path in loaded)


def test_the_other_bundle_would_be_wrong(bundle: Path, other: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "find_spec", lambda name: None)
    (row,) = benchmark(other, runtimes=["ort-cpu"], threads=1, method=QUICK).rows
    assert row.status == "wrong"


def test_a_bundle_that_is_replaced_while_it_is_copied_ends_the_command(
    bundle: Path, other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check_and_replace(found: Bundle) -> None:
        replace(Path(found), other)

    monkeypatch.setattr(bundle_variants, "require_unchanged", check_and_replace)
    with pytest.raises(StorageError, match="was replaced by another command meanwhile; run this one again"):
        benchmark(bundle, runtimes=["ort-cpu"], threads=1, method=QUICK)
