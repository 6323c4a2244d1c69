"""Versions that are too old are found by their metadata, in a clone and as installed, and named with the way out."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from attn2trt.core import bounds
from attn2trt.engines.environment import probe
from attn2trt.errors import MissingRequirement
from attn2trt.modules import packages


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of metadata, found before what is really installed."""
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    bounds._outside.cache_clear()


def pretend(folder: Path, **versions: str) -> None:
    for name, version in versions.items():
        metadata = folder / f"{name}-{version}.dist-info" / "METADATA"
        metadata.parent.mkdir()
        metadata.write_text(f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: {version}\n")
    bounds._outside.cache_clear()


def test_every_package_that_is_too_old_is_named_with_one_command(old: Path) -> None:
    pretend(old, torch="2.3.1", timm="1.0.9", onnx_ir="0.1.1")
    expected = (
        r"received torch 2\.3\.1, timm 1\.0\.9, onnx-ir 0\.1\.1; expected torch>=[\d.]+, timm>=[\d.]+, "
        r"onnx-ir>=[\d.]+; pip install 'torch>=[\d.]+' 'timm>=[\d.]+' 'onnx-ir>=[\d.]+'$"
    )
    with pytest.raises(MissingRequirement, match=expected):
        packages.require()
    assert packages.why_not().startswith("received torch 2.3.1")


@pytest.mark.parametrize("version", ["99.1", "2.11.0", "2.11.0a0+git1.nv26.1", "2.11.0.dev20260101+cu130", "unknown"])
def test_a_build_before_the_release_and_what_is_no_version_are_taken(version: str, old: Path) -> None:
    pretend(old, torch=version)
    assert bounds.why_outside(["torch"]) == ""


def test_what_is_not_installed_or_not_bounded_is_left_to_others() -> None:
    assert bounds.outside(["no-such-package", "torchvision", "pip"]) == ()


def test_everything_that_is_installed_here_is_within_the_bounds() -> None:
    assert bounds.why_outside([*packages.EXPORT.values(), *bounds.BASE]) == ""


def test_the_bounds_are_the_same_from_a_clone_and_from_an_installation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clone = dict(bounds._bounds())
    metadata = [f"{name}{bound}; extra == 'any'" for name, bound in clone.items()]
    monkeypatch.setattr(bounds, "PROJECT", tmp_path / "pyproject.toml")  # as in site-packages
    monkeypatch.setattr("importlib.metadata.requires", lambda name: metadata if name == "attn2trt" else None)
    assert bounds._bounds.__wrapped__() == clone


def test_each_package_that_is_required_has_a_bound() -> None:
    """One without is never found too old, as by a name that pip does not know."""
    from attn2trt.export.modelopt_placement import PACKAGES

    named = [*packages.EXPORT.values(), *bounds.BASE, *PACKAGES.values(), "pillow", "pycocotools", "ray"]
    assert {*named, "tritonclient", "matplotlib", "transformers", "ultralytics"} <= bounds._bounds().keys()


def test_doctor_calls_it_unusable_and_gives_the_command(old: Path) -> None:
    pretend(old, torch="2.3.1", numpy="1.20", transformers="4.40", onnxruntime_gpu="1.17")
    found = probe()
    for name, package in (("PyTorch", "torch"), ("NumPy", "numpy"), ("transformers", "transformers")):
        part = found.find(name)
        assert part is not None
        assert part.status == "unusable", name
        assert part.detail.startswith(f"expected {package}>=")
        assert part.fix.startswith(f"pip install '{package}>=")
    runtime = found.find("ONNX Runtime")
    assert runtime is not None
    assert (runtime.status, runtime.version) == ("unusable", "1.17")


def test_a_command_says_so_before_it_imports_anything_heavy(old: Path) -> None:
    pretend(old, torch="2.3.1")
    code = f"import sys; sys.path.insert(0, {str(old)!r}); from attn2trt.cli.main import run; run()"
    ran = subprocess.run([sys.executable, "-c", code, "deploy", "cbam"], capture_output=True, text=True, check=False)
    assert ran.returncode == 3
    assert ran.stderr.startswith("error: received torch 2.3.1; expected torch>=")
    assert ran.stderr.count("\n") == 1
