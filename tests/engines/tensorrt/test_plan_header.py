"""The first bytes of a plan tell the product and the version; everything else is one line."""

from __future__ import annotations

from pathlib import Path

import pytest
from foreign_files import plan

from attn2trt.engines.tensorrt import foreign_plan
from attn2trt.engines.tensorrt.flavours import RTX, TENSORRT
from attn2trt.engines.tensorrt.plan_header import PlanHeader, read_header
from attn2trt.engines.tensorrt.versions import Version
from attn2trt.errors import InputError, MissingRequirement


@pytest.mark.parametrize(
    ("content", "header"),
    [
        (plan(), PlanHeader(TENSORRT, Version(8, 6, 1))),
        (plan(version=(10, 13, 3, 9)), PlanHeader(TENSORRT, Version(10, 13, 3))),
        (plan(b"vtrt", (1, 7, 1, 116)), PlanHeader(RTX, Version(1, 7, 1))),
    ],
)
def test_the_products_and_versions_are_told_from_each_other(content: bytes, header: PlanHeader, tmp_path: Path) -> None:
    (tmp_path / "a.plan").write_bytes(content)
    assert read_header(tmp_path / "a.plan") == header


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "which is empty"),
        (b"\x08\x08:\xf4 an ONNX file", "which is no plan: it begins with"),
        (plan()[:20], "the beginning of a plan, 20 bytes long"),
        (plan(number=7), "a plan of TensorRT in format 7"),
        (plan(b"vtrt", (1, 7, 1, 116), stated=141_100), "the first 100 bytes of a plan of 141100"),
    ],
)
def test_what_is_no_whole_plan_is_one_line(content: bytes, why: str, tmp_path: Path) -> None:
    (tmp_path / "a.plan").write_bytes(content)
    with pytest.raises(InputError, match=why) as caught:
        read_header(tmp_path / "a.plan")
    assert "\n" not in str(caught.value)


def test_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"which is not there; expected a TensorRT plan; correct the path"):
        read_header(tmp_path / "none.plan")
    with pytest.raises(InputError, match="a folder; expected a TensorRT plan; name the file in it"):
        read_header(tmp_path)


class _Found:
    version = "10.3.0"


@pytest.mark.parametrize(
    ("header", "runs"),
    [
        (PlanHeader(TENSORRT, Version(10, 3, 0)), True),
        (PlanHeader(TENSORRT, Version(8, 6, 1)), True),  # it may carry a runtime of its own
        (PlanHeader(TENSORRT, Version(10, 4, 0)), False),
        (PlanHeader(RTX, Version(1, 7, 1)), False),
    ],
)
def test_another_version_is_one_line(header: PlanHeader, runs: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foreign_plan, "why_no_flavour", lambda flavour: "")
    monkeypatch.setattr(foreign_plan, "probe_flavour", lambda flavour: _Found())
    if runs:
        foreign_plan.require_here(Path("a.plan"), header)
        return
    with pytest.raises(MissingRequirement, match=r"a plan of TensorRT.*, and here is TensorRT.* 10\.3\.0 on no GPU"):
        foreign_plan.require_here(Path("a.plan"), header)


def test_without_a_gpu_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foreign_plan, "why_no_flavour", lambda flavour: "no NVIDIA driver")
    with pytest.raises(MissingRequirement, match=r"which cannot run here: no NVIDIA driver; expected an NVIDIA GPU"):
        foreign_plan.require_here(Path("a.plan"), PlanHeader(RTX, Version(1, 7, 1)))
