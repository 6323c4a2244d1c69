"""A verdict on real photographs: those that scikit-image ships."""

from __future__ import annotations

from pathlib import Path

import skimage.data
from PIL import Image

import attn2trt
from attn2trt.validate.verdict import Verdict


def test_a_block_passes_on_photographs(tmp_path: Path) -> None:
    photographs = tmp_path / "photographs"
    photographs.mkdir()
    for name in ("astronaut", "coffee", "chelsea"):
        Image.fromarray(getattr(skimage.data, name)()).save(photographs / f"{name}.png")
    bundle = attn2trt.deploy(
        "coord_att",
        shapes=["2x64x24x32"],
        dynamic="batch=1:2:3",
        judging=attn2trt.Judging(inputs=photographs),
        capabilities="none",
        out=tmp_path / "bundle",
    )
    verdict = Verdict.from_json(bundle.manifest["verdict"])
    assert verdict
    for stage in verdict.stages:
        if stage.label in ("torch → onnx", "simplified", "onnxruntime cpu"):
            judged = {case for case, _ in stage.comparisons}
            assert {"images_0", "images_1"} <= judged, stage.label  # three photographs, two to a batch
