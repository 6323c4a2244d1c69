"""Bundles that earlier versions wrote are read, judged and extended.

``format1_coord_att`` was written before the manifest had a hash and before plans had flavours: graphs in float32,
float16 and int8, one that was tuned, and the entry of a TensorRT plan (whose file holds no plan).
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from attn2trt.core.bundle import open_bundle
from attn2trt.core.extend import extend
from attn2trt.core.file_hashes import verify
from attn2trt.engines.tensorrt.plans import plans_of
from attn2trt.errors import InputError
from attn2trt.workflows.validate import validate_bundle

OLD = Path(__file__).with_name("format1_coord_att")


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return Path(shutil.copytree(OLD, tmp_path / "coord_att"))


def test_every_part_of_an_old_bundle_is_read(old: Path) -> None:
    bundle = open_bundle(old)
    assert (bundle.name, set(bundle.graphs), bundle.tuned is not None) == ("coord_att", {"fp32", "fp16", "int8"}, True)
    (plan,) = plans_of(bundle)
    assert (plan.flavour, plan.precision, plan.capabilities) == ("tensorrt", "fp16", ("9.0",))
    findings = {finding.file: finding for finding in verify(old)}
    assert all(finding.ok for finding in findings.values())
    assert "manifest not covered" in findings["bundle.json"].detail


def test_an_old_bundle_is_judged(old: Path) -> None:
    verdict = validate_bundle(old)
    assert verdict
    passed = {stage.label for stage in verdict.stages if stage.status == "passed"}
    assert {"simplified", "onnxruntime cpu", "fp16", "int8", "onnxruntime cpu, tuned"} <= passed


def test_what_is_added_covers_the_manifest_from_then_on(old: Path) -> None:
    bundle = open_bundle(old)
    (old / "plans/fp16.txt").write_text("more")
    extend(bundle, {"plans/fp16.txt": "more"}, {})
    findings = {finding.file: finding for finding in verify(old)}
    assert all(finding.ok for finding in findings.values())
    assert "manifest not covered" not in findings["bundle.json"].detail


def test_a_newer_format_asks_for_an_upgrade(old: Path) -> None:
    manifest = json.loads((old / "bundle.json").read_text())
    (old / "bundle.json").write_text(json.dumps({**manifest, "format": 99}))
    with pytest.raises(InputError, match=r"format 99; this version reads format 1.*upgrade attn2trt"):
        open_bundle(old)
