"""The run over timm's families: how a model is chosen, and what its page says of a row."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

import pytest
import timm
import torch
from scripts import load_script

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def families() -> ModuleType:
    return load_script("families")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("resnet10t", True),
        ("convnext_atto", True),
        ("mobilevit_xxs", True),
        ("vit_tiny_patch16_224", False),
        ("mixer_s32_224", False),
    ],
)
def test_a_family_counts_where_windows_of_a_convolution_overlap(
    families: ModuleType, name: str, expected: bool
) -> None:
    with torch.device("meta"):
        assert families.convolves(timm.create_model(name)) is expected


def test_the_smallest_that_convolves_is_taken(families: ModuleType) -> None:
    found = families.smallest(["vit_tiny_patch16_224", "resnet18", "resnet10t"])
    assert found.name == "resnet10t"
    assert found.parameters == sum(p.numel() for p in timm.create_model("resnet10t").parameters())
    assert families.smallest(["mixer_s32_224", "mixer_s16_224"]).name == "mixer_s16_224"


def test_every_module_of_timm_with_models_is_a_family(families: ModuleType) -> None:
    found = families.families()
    assert {"resnet", "ghostnet", "swin_transformer"} <= set(found)
    assert sorted(name for names in found.values() for name in names) == sorted(timm.list_models())


def test_a_size_that_the_model_takes(families: ModuleType) -> None:
    assert families.image_size("test_convnext") == 96
    assert families.image_size("test_vit") == 96
    assert families.image_size("vit_tiny_patch16_224") == 224


def test_a_crash_is_a_row(families: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "crash.py"
    script.write_text("import os\nos.abort()\n")
    monkeypatch.setattr(families, "__file__", str(script))
    row = families.in_own_process("resnet")
    assert (row["family"], row["result"]) == ("resnet", "fails")
    assert "exit code -6" in row["why"]


def test_the_page_counts_and_says_why(families: ModuleType) -> None:
    measured = {"parameters": 1_250_000, "size": 96}
    rows = [
        {"family": "a", "model": "a_s", "result": "right", "hidden": ["x"], **measured},
        {"family": "b", "model": "b_s", "result": "refused", "why": "line 3", **measured},
        {"family": "c", "result": "fails", "why": "exit code -9: no word"},
    ]
    text = families.page({"date": "1", "machine": "m", "versions": {}, "rows": rows})
    assert "Right: 1 of 3 (33%); refused: 1, failed verdict: 0, silently wrong: 0, fails: 1, traceback: 0." in text
    assert "| a | `a_s` | 1.25 M | 96² | right; 1 thing hidden by its weights |" in text
    assert "| b | `b_s` | 1.25 M | 96² | **refused**: line 3 |" in text
    assert "| c | `-` | - | - | **fails**: exit code -9: no word |" in text


def test_an_unknown_family_is_one_line(families: ModuleType) -> None:
    with pytest.raises(SystemExit, match="received resnets; expected modules of timm"):
        families.check(["resnets"])


def test_an_interrupted_run_keeps_its_rows_and_ends(
    families: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``side_by_side`` begins no further row once it is left; its own test shows that."""

    def interrupted(_: object, calls: Sequence[tuple[str]], jobs: int) -> Iterator[dict[str, str]]:
        assert (calls, jobs) == ([("resnet",), ("vgg",)], 2)
        yield {"family": "vgg", "result": "right"}
        raise KeyboardInterrupt

    monkeypatch.setattr(families, "families", lambda: {"resnet": ["resnet18"], "vgg": ["vgg11"]})
    monkeypatch.setattr(families, "side_by_side", interrupted)
    monkeypatch.setattr(families, "RESULTS", tmp_path / "families.json")
    monkeypatch.setattr(families, "PAGE", tmp_path / "families.md")
    with pytest.raises(KeyboardInterrupt):
        families.main([], 2, resume=False)
    assert json.loads(families.RESULTS.read_text())["rows"] == [{"family": "vgg", "result": "right"}]
    assert "| vgg | `-` | - | - | right |" in families.PAGE.read_text()
