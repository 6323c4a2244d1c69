"""The page becomes part of a bundle and never breaks it; what commands find out is kept beside it."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path
from typing import Any

import click
import page_sample
import pytest
import served_bundle
from manifest_edits import edit
from small_bundle import write

from attn2trt.core.bundle import open_bundle
from attn2trt.core.command_line import CommandLine
from attn2trt.core.destination import check_destination
from attn2trt.core.extend import changing
from attn2trt.core.file_hashes import verify
from attn2trt.core.manifest import REPORT
from attn2trt.errors import CheckFailed, InputError, MissingRequirement, StorageError
from attn2trt.report import page as paging
from attn2trt.validate.place import Boundary
from attn2trt.workflows import report as reporting
from attn2trt.workflows.report import extend_and_report, record, report_bundle, report_page, validated, write_page


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return page_sample.write(tmp_path / "mine").path


def is_whole(place: Path) -> bool:
    check_destination(place)
    return all(finding.ok for finding in verify(place))


def test_the_page_is_listed_with_its_hash(place: Path) -> None:
    report_bundle(place)
    assert is_whole(place)
    assert REPORT in open_bundle(place).manifest["files"]
    first = (place / REPORT).read_text()
    report_bundle(place)
    assert (place / REPORT).read_text() == first
    (place / REPORT).write_text("changed")
    assert not is_whole(place)
    with pytest.raises(CheckFailed, match=r"report\.html: changed"):
        report_bundle(place)


def test_a_document_of_a_command_becomes_part_of_the_bundle(place: Path, tmp_path: Path) -> None:
    cost = {**page_sample.cost(), "inputs": {"x": [2, 3]}}
    for name, document in {"cost": cost, "benchmark": page_sample.benchmark()}.items():
        file = tmp_path / f"{name}.json"
        file.write_text(json.dumps(document))
        assert report_bundle(place, add=[file]).manifest[name] == json.loads(json.dumps(document))
    assert is_whole(place)
    text = (place / REPORT).read_text()
    assert "the blocks add" in text
    assert "ort-cpu" in text


@pytest.mark.parametrize(
    ("shape", "is_taken"), [([2, 3, 4, 4], True), ([8, 3, 6, 4], True), ([9, 3, 4, 4], False), ([2, 64, 28, 28], False)]
)
def test_a_document_of_other_sizes_is_refused(shape: list[int], is_taken: bool, tmp_path: Path) -> None:
    bundle = served_bundle.write(tmp_path / "b")
    document = {**page_sample.benchmark(), "target": "twice", "batches": [{"batch": shape[0], "inputs": {"x": shape}}]}
    (tmp_path / "times.json").write_text(json.dumps(document))
    if is_taken:
        report_bundle(bundle, add=[tmp_path / "times.json"])
        return
    sizes = "x".join(map(str, shape))
    words = (
        rf"with x={sizes}; expected inputs of the bundle, x: float32\[batch, 3, height, 4\]; run attn2trt benchmark "
    )
    with pytest.raises(InputError, match=words):
        report_bundle(bundle, add=[tmp_path / "times.json"])


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("no JSON", "no JSON.*expected what attn2trt cost or attn2trt benchmark writes"),
        ("[1]", "a document of no command"),
        ('{"command": "attn2trt show"}', "a document of attn2trt show"),
        ('{"command": ["attn2trt cost"]}', r"a document of \['attn2trt cost'\]"),
        (
            '{"command": "attn2trt cost", "target": "other"}',
            "about other; expected mine; run attn2trt cost mine --shape x=2x3 -o ",
        ),
        ('{"command": "attn2trt cost", "target": "mine", "reference": "0"}', "measured on another bundle of mine"),
        (
            '{"command": "attn2trt cost", "target": "mine", "reference": "0", "runtime": "tensorrt"}',
            "run attn2trt cost .*mine --runtime tensorrt -o ",
        ),
        ('{"command": "attn2trt cost", "target": "mine"}', "'cost' cannot be read"),
    ],
)
def test_another_document_is_refused_and_changes_nothing(place: Path, tmp_path: Path, text: str, wrong: str) -> None:
    file = tmp_path / "cost.json"
    file.write_text(text)
    before = (place / "bundle.json").read_text()
    with pytest.raises(InputError, match=wrong):
        report_bundle(place, add=[file])
    assert (place / "bundle.json").read_text() == before
    assert is_whole(place)


def test_a_verdict_is_kept_and_shown_first(place: Path) -> None:
    notes: list[str] = []
    opened = open_bundle(place)
    network = {"fp16": [Boundary("stem.conv", "leave", 3.5, "measured"), Boundary("", "leave", 40.0, "measured")]}
    found = page_sample.verdict(passed=False)
    record(opened, validated(opened, found, machine={"cpu": "Another"}, network=network), notes.append)
    assert notes == []
    assert is_whole(place)
    text = (place / REPORT).read_text()
    assert text.index("Judged by attn2trt validate, Another") < text.index("Judged by attn2trt deploy")
    assert "fp16, module by module (2)" in text
    assert 'scope="row">stem.conv</th><td class="number">3.5</td>' in text
    opened = open_bundle(place)
    record(opened, validated(opened, page_sample.verdict(), machine={}), notes.append)
    assert "fp16, module by module (2)" in (place / REPORT).read_text()


def test_a_bundle_that_was_replaced_meanwhile_keeps_nothing(place: Path) -> None:
    notes: list[str] = []
    opened = open_bundle(place)
    write(place)
    before = (place / "bundle.json").read_text()
    record(opened, {"more": 1}, notes.append)
    assert "was replaced by another command meanwhile" in notes[0]
    assert (place / "bundle.json").read_text() == before


def test_a_bundle_that_another_command_changes_is_noted_and_left(place: Path) -> None:
    notes: list[str] = []
    with changing(place) as bundle:
        record(bundle, {"note": 1}, notes.append)
        with pytest.raises(StorageError, match="changed by another command"):
            report_bundle(place)
    assert len(notes) == 1
    assert "report.html was not written anew" in notes[0]
    assert "note" not in open_bundle(place).manifest


def test_a_folder_that_may_not_be_written_is_noted_by_its_name(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Any, flags: int, *more: Any, **options: Any) -> int:
        if flags & os.O_CREAT and "dir_fd" in options:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return real(path, flags, *more, **options)

    real = os.open
    monkeypatch.setattr(os, "open", refuse)
    notes: list[str] = []
    record(open_bundle(place), {"more": 1}, notes.append)
    assert notes == [f"report.html was not written anew: writing {place} failed: Permission denied"]


def test_without_the_template_engine_the_bundle_is_whole_and_says_so(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report_bundle(place)
    before = (place / REPORT).read_text()
    monkeypatch.setattr(reporting, "find_spec", lambda _name: None)
    notes: list[str] = []
    with changing(place) as bundle:
        extend_and_report(bundle, {}, {"more": 1}, note=notes.append)
    assert "pip install jinja2" in notes[0]
    assert open_bundle(place).manifest["more"] == 1
    assert (place / REPORT).read_text() == before
    assert is_whole(place)
    assert write_page(place, notes.append)(open_bundle(place)) == {}
    for work in (lambda: report_bundle(place), lambda: report_page([place])):
        with pytest.raises(MissingRequirement, match="pip install jinja2"):
            work()


def test_a_fault_of_the_page_costs_no_bundle(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> str:
        raise ZeroDivisionError("x")

    monkeypatch.setattr(paging, "bundle_view", broken)
    notes: list[str] = []
    record(open_bundle(place), {"more": 1}, notes.append)
    assert "ZeroDivisionError: x; attn2trt report" in notes[0]
    assert open_bundle(place).manifest["more"] == 1
    assert is_whole(place)


def test_several_bundles_are_one_page(place: Path, tmp_path: Path) -> None:
    other = page_sample.write(tmp_path / "other", page_sample.verdict(passed=False)).path
    assert "2 bundles side by side" in report_page([place, other])
    (other / "model.onnx").write_bytes(b"")
    with pytest.raises(CheckFailed, match="changed"):
        report_page([place, other])


def test_the_command_line_is_that_of_attn2trt_and_of_no_other_program() -> None:
    assert reporting.made_by() == {}
    with click.Context(click.Command("theirs"), obj={"a": 1}):
        assert reporting.made_by() == {}
    with click.Context(click.Command("attn2trt"), obj=CommandLine(["deploy", "a b"])):
        assert reporting.made_by() == {"command": "attn2trt deploy 'a b'"}


def test_the_page_names_the_place_that_the_bundle_will_have(place: Path) -> None:
    line = CommandLine(["deploy", "se"])
    line.moved = place.parent, Path("sweep/se.fp32")
    with click.Context(click.Command("deploy"), obj=line):
        write_page(place, print)(open_bundle(place))
    text = (place / REPORT).read_text()
    assert "sweep/se.fp32/mine" in text
    assert str(place) not in text
    assert line.shown(Path("elsewhere")) == Path("elsewhere")


def test_a_bundle_of_an_earlier_version_has_a_page_as_well(tmp_path: Path) -> None:
    old = Path(__file__).parents[1] / "core" / "format1_coord_att"
    place = Path(shutil.copytree(old, tmp_path / "old"))
    edit(place, lambda manifest: [manifest["files"]["model.onnx"].pop(key, None) for key in ("role", "bytes")])
    report_bundle(place)
    text = (place / REPORT).read_text()
    assert is_whole(place)
    assert "No verdict in this bundle kept an error map" in text
    assert "attn2trt validate" in text
