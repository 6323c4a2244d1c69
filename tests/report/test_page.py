"""The page shows what the bundle holds, escapes what the user named, and needs nothing else."""

from __future__ import annotations

import math
import re
from html.parser import HTMLParser
from pathlib import Path

import page_sample
import pytest

from attn2trt.core.bundle import Bundle
from attn2trt.errors import InputError
from attn2trt.report.bundle_view import bundle_view
from attn2trt.report.page import page
from attn2trt.validate.predictions.results import Predictions
from attn2trt.validate.verdict import Verdict

VOID = {"meta", "link", "br", "wbr", "rect", "line", "path"}


class Balance(HTMLParser):
    """Every element that is opened is closed, in order; collects names and the links to parts of the page."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.names: list[str] = []
        self.ids: set[str] = set()
        self.links: set[str] = set()
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.names.append(tag)
        if (anchor := found.get("id")) is not None:
            assert anchor not in self.ids
            self.ids.add(anchor)
        if (href := found.get("href") or "").startswith("#"):
            self.links.add(href[1:])
        assert "style" not in found
        assert not [name for name in found if name.startswith("on")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def read(text: str) -> Balance:
    found = Balance()
    found.feed(text)
    assert found.open == []
    assert found.links <= found.ids
    return found


def words(text: str) -> str:
    return " ".join(" ".join(read(text).text).split())


@pytest.fixture
def full(tmp_path: Path) -> Bundle:
    more = {
        "cost": page_sample.cost(),
        "benchmark": page_sample.benchmark(),
        "validated": {"verdict": page_sample.verdict(passed=False).to_json(), "machine": {"cpu": "Another"}},
    }
    return page_sample.write(tmp_path / "mine", shown=more)


def test_every_section_is_filled(full: Bundle) -> None:
    text = words(page([full]))
    for part in (
        "FAILED: the first stage that is wrong is onnxruntime cpu",
        "Judged by attn2trt validate, Another",
        "Judged by attn2trt deploy, when the bundle was made",
        "y[0, 3, 0:56, 0:56]",
        f"onnxruntime cpu failed, and names layer1.{page_sample.EVIL} (Gate at net.py:12), ONNX node n0 (Mul)",
        "2 of 3",
        "✓ as asked",
        "✗ another",
        "the blocks add",
        "limit of the blocks, fused",
        "tensorrt-fp16: not measured; not here",
        "batch 1:2:8 (min:opt:max)",
        "torch 2.14.1",
        "seed 7",
        full.manifest["files"]["model.onnx"]["sha256"],
    ):
        assert part.replace(" ", "") in text.replace(" ", ""), part


@pytest.mark.parametrize("options", ["", " --precision fp32", " --precision=fp32 --json --force"])
def test_the_command_for_a_lower_precision_has_no_option_twice(tmp_path: Path, options: str) -> None:
    command = f"attn2trt deploy se{options} --for=none"
    bundle = page_sample.write(tmp_path / "mine", shown={"command": command})
    again = bundle_view(bundle, bundle.path, number=1).commands["deploy"]
    assert again == "attn2trt deploy se --for=none --precision fp32,fp16 --force"


def test_a_case_repeats_no_number_in_words(full: Bundle) -> None:
    text = page([full])
    assert '<td class="text">over the whole output, at (0, 3, 55, 55)</td>' in text  # a case that passed
    assert "4e+05 times PyTorch&#39;s own rounding (over the whole output, at (0, 3, 55, 55))</td>" in text


def test_nothing_in_it_runs_or_asks_the_network(full: Bundle) -> None:
    text = page([full])
    names = read(text).names
    assert not {"script", "iframe", "img", "object", "embed", "form", "base"} & set(names)
    assert page_sample.EVIL not in text
    assert not re.findall(r"(?:src|href)=\"(?!#|data:,)", text)
    assert not re.findall(r"url\(|@import", text)
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]+)"', text)
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy


def test_every_drawing_has_a_table_and_no_status_is_a_colour_alone(full: Bundle) -> None:
    text = page([full])
    for drawing in re.findall(r"<svg[^>]*>", text):
        assert 'aria-hidden="true"' in drawing or "aria-label" in drawing
    for kind in ("good", "bad", "warn"):
        for shown in re.findall(rf'class="{kind}">([^<]*)<', text):
            assert shown.strip()[0] in "✓✗≈!", shown
    assert text.count("<table") == text.count("<caption")
    assert not re.findall(r"<th(?![^>]*scope)[ >]", text)


def test_a_bundle_without_measurements_names_the_commands_that_make_them(tmp_path: Path) -> None:
    bundle = page_sample.write(tmp_path / "a b")
    text = page([bundle], shown=[Path("a b")])
    assert "attn2trt benchmark &#39;a b&#39;" in text
    assert (
        "attn2trt cost mine --shape 2x3 -o cost.json &amp;&amp; attn2trt report &#39;a b&#39; --add cost.json" in text
    )
    assert "attn2trt validate &#39;a b&#39;" in text
    assert str(tmp_path) not in text


def test_bundles_beside_each_other_share_one_axis(full: Bundle, tmp_path: Path) -> None:
    other = page_sample.write(tmp_path / "other")
    text = page([full, other, other])
    assert read(text).names.count("main") == 1
    assert "3 bundles side by side" in text
    row = next(row for row in re.findall(r"<tr>.*?</tr>", text, re.S) if 'scope="row">onnxruntime cpu' in row)
    assert [float(width) for width in re.findall(r'width="([\d.]+)%" height="8"', row)] == [100.0, 34.95, 34.95]


def test_of_several_plans_with_one_label_the_worst_is_in_the_overview(tmp_path: Path) -> None:
    good, bad = page_sample.verdict().stages[0], page_sample.verdict(passed=False).stages[0]
    bundle = page_sample.write(tmp_path / "mine", Verdict((good, bad, good)))
    text = page([bundle, bundle])
    row = next(row for row in re.findall(r"<tr>.*?</tr>", text, re.S) if 'scope="row">onnxruntime cpu' in row)
    assert row.count("✗ failed") == 2


@pytest.mark.parametrize("name", ["cost", "benchmark"])
@pytest.mark.parametrize("document", [{}, {"rows": 3, "added": 4}, [], "text"], ids=str)
def test_an_entry_that_is_no_measurement_is_one_line(name: str, document: object, tmp_path: Path) -> None:
    bundle = page_sample.write(tmp_path / "mine")
    with pytest.raises(InputError, match=f"{name}.*cannot be read.*run attn2trt {name} again"):
        page([Bundle(bundle.path, {**bundle.manifest, name: document})])


@pytest.mark.parametrize("number", [math.inf, math.nan, "text"])
def test_predictions_without_a_number_are_one_line(number: object, tmp_path: Path) -> None:
    bundle = page_sample.write(tmp_path / "mine")
    found = Predictions("", "", "", "", 8, (), not_finite=("a.png",)).to_json()
    entry = {"verdict": bundle.manifest["verdict"], "predictions": {**found, "not_finite_count": number}}
    with pytest.raises(InputError, match=r"'predictions' cannot be read .*; run attn2trt validate --dataset again"):
        page([bundle.with_entries({"validated": entry})])
