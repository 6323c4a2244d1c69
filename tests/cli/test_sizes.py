"""Sizes, layouts and ties as a user writes them, and the exit code of what cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_run import run

NETS = """
from torch import nn


class Last(nn.Module):
    def forward(self, image):
        return image.permute(0, 3, 1, 2).relu()


class Two(nn.Module):
    def forward(self, fine, coarse):
        return fine.mean() + coarse
"""


@pytest.fixture(autouse=True)
def nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sized_nets.py").write_text(NETS)
    monkeypatch.chdir(tmp_path)


def test_a_layout_says_where_height_and_width_are() -> None:
    last = ("show", "py:sized_nets:Last", "--shape", "2x32x40x3", "--dynamic", "batch,height=16:32:64:16,width")
    shown = run(*last, "--layout", "nhwc")
    assert shown.exit_code == 0, shown.output
    assert "image: float32[batch, height, width, 3]" in shown.stdout
    assert "height 16:32:64 (multiples of 16)" in shown.stdout
    assert run(*last, "--layout", "image=nhwc").stdout == shown.stdout
    plain = run("show", "py:sized_nets:Last", "--shape", "2x32x40x3", "--dynamic", "dim1=16:32:64")
    assert "image: float32[2, dim1, 40, 3]" in plain.stdout


def test_a_tie_is_shown_as_it_is_kept() -> None:
    ranges = "fine.height=8:16:32,coarse.height=fine.height/2"
    shown = run(
        "show", "py:sized_nets:Two", "--shape", "fine=2x3x16x8", "--shape", "coarse=2x3x8x4", "--dynamic", ranges
    )
    assert shown.exit_code == 0, shown.output
    assert "coarse: float32[2, 3, fine.height/2, 4]" in shown.stdout
    assert "fine.height 8:16:32 (multiples of 2)" in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--dynamic", "height"), "add --layout image=nhwc"),
        (("--layout", "nwhc"), "did you mean nhwc?"),
        (("--layout", "nhwc", "--dynamic", "height=17:32:64:16"), "write height=16:32:64:16"),
        (("--layout", "nhwc", "--dynamic", "dim1,height"), "dynamic axes dim1 and height for the same dimension"),
        (("--dynamic", "dim1=dim2/2,dim2"), "with a shape of dim1 32 and dim2 40; expected 20"),
    ],
)
def test_bad_sizes_are_bad_input(arguments: tuple[str, ...], message: str) -> None:
    result = run("show", "py:sized_nets:Last", "--shape", "2x32x40x3", *arguments)
    assert (result.exit_code, message in result.stderr) == (2, True), result.stderr


def test_channels_of_a_catalogue_model_are_not_dynamic() -> None:
    result = run("show", "se", "--shape", "2x16x8x8", "--dynamic", "dim1=8:16:32")
    assert "its weights fix the channels" in result.stderr
    result = run("show", "se", "--shape", "2x16x8x8", "--layout", "nhwc")
    assert "received the layout nhwc for se; expected (n, c, h, w)" in result.stderr
