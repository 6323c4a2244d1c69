"""A recorded case comes back bit for bit, within its budget; a damaged record is an error."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from attn2trt.errors import InputError
from attn2trt.validate import recorded
from attn2trt.validate.cases import Case
from attn2trt.validate.choice import Choice
from attn2trt.validate.metrics import Floor, Reference
from attn2trt.validate.recorded import from_tensors, to_tensors


def pair(name: str, size: int = 4) -> tuple[Case, Reference]:
    x = np.random.default_rng(size).standard_normal((2, size)).astype(np.float32)
    feeds = {"x": x[::-1].T.copy().T, "ids": np.arange(3), "mask": np.array(True)}
    case = Case(name, "why", "normal", {"batch": 2}, lambda: dict(feeds), ("x",))
    truth = {"y": x / 3.0, "best": x.argmax(1)}
    floors = {
        "y": Floor(0.1, math.inf, np.full(size, 0.1)),
        "best": Floor(0.0, 0.0, unsettled=np.array([True, False])),
    }
    rounded = {"y": x / np.float32(3), "best": x.argmax(1)}
    return case, Reference(truth, rounded, floors, 1e300, ("y",))


def written(path: Path, *pairs: tuple[Case, Reference]) -> tuple[Path, list[dict[str, object]]]:
    tensors, index, _ = to_tensors(pairs)
    save_file(tensors, str(path / "reference.safetensors"))
    return path / "reference.safetensors", json.loads(json.dumps(index, allow_nan=False))


def test_cases_come_back_bit_for_bit(tmp_path: Path) -> None:
    before = [pair("a"), pair("b", 7)]
    after = list(from_tensors(*written(tmp_path, *before)))
    assert len(after) == 2
    for (case, truth), (again, read) in zip(before, after, strict=True):
        assert (again.name, again.sizes, again.row_inputs, again.why) == (case.name, case.sizes, ("x",), "why")
        assert list(again.feeds) == ["x", "ids", "mask"]
        for name, value in case.feeds.items():
            assert np.array_equal(again.feeds[name], value)
            assert again.feeds[name].dtype == value.dtype
        for name in truth.outputs64:
            assert np.array_equal(read.outputs64[name], truth.outputs64[name])
            assert read.outputs32[name].dtype == truth.outputs32[name].dtype
            assert np.array_equal(read.floors[name].channel, truth.floors[name].channel)
            assert (read.floors[name].l2, read.floors[name].max) == (truth.floors[name].l2, truth.floors[name].max)
        assert read.floors["y"].unsettled is None
        unsettled = read.floors["best"].unsettled
        assert unsettled is not None
        assert unsettled.tolist() == [True, False]
        assert (read.largest, read.row_outputs) == (1e300, ("y",))


def test_choices_come_back_without_their_scores(tmp_path: Path) -> None:
    case, reference = pair("a")
    places = np.array([[1, 0], [0, 2]])
    ranked = Choice("topk", "head.py:3", np.ones((2, 4)), places, -1, descending=False, is_sorted=False)
    best = Choice("argmax", "", np.ones((2, 4)), np.array(3), None)
    path, index = written(tmp_path, (case, replace(reference, choices=[ranked, best])))
    ((_, read),) = from_tensors(path, index)
    for before, after in zip((ranked, best), read.choices, strict=True):
        assert after.key == before.key
        assert (after.dim, after.descending, after.is_sorted) == (before.dim, before.descending, before.is_sorted)
        assert np.array_equal(after.picked, before.picked)
        assert np.isnan(after.scores).all()
    index[0]["choices"][0]["dim"] = 2  # type: ignore[index]
    with pytest.raises(InputError, match="a choice along axis 2 of 2"):
        list(from_tensors(path, index))


def test_what_exceeds_the_budget_is_left_out_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorded, "BUDGET_BYTES", 2000)
    tensors, index, left_out = to_tensors([pair("small"), pair("large", 10_000), pair("last")])
    assert left_out == ["large"]
    assert [entry["name"] for entry in index] == ["small", "last"]
    assert sum(array.nbytes for array in tensors.values()) <= 2000


def test_records_are_read_one_case_at_a_time(tmp_path: Path) -> None:
    path, index = written(tmp_path, pair("a"), pair("b"))
    stream = from_tensors(path, [index[0], {"key": "missing"}])
    assert next(stream)[0].name == "a"
    with pytest.raises(InputError, match="cannot be read"):
        next(stream)


def test_a_damaged_record_is_an_error(tmp_path: Path) -> None:
    path, index = written(tmp_path, pair("a"))
    with pytest.raises(InputError, match="cannot be read"):
        list(from_tensors(path, [index[0] | {"inputs": ["other"]}]))
    with pytest.raises(InputError, match=r"mask of case a is a scalar, and has no rows"):
        list(from_tensors(path, [index[0] | {"row_inputs": ["mask"]}]))
    arrays = load_file(path)
    for name, other in (
        ("float32/y", np.zeros(8, np.float32)),
        ("floor/y", np.array(0.1)),
        ("floor/y", np.zeros(3)),
        ("floor/y", np.zeros(0)),
        ("floor/y", np.zeros(4, bool)),
        ("unsettled/best", np.zeros(3, bool)),
        ("unsettled/best", np.zeros(2)),
    ):
        save_file({**arrays, f"case_0/{name}": other}, path)
        with pytest.raises(InputError, match=rf"{name.rpartition('/')[2]} (of|in) case a is .*; run attn2trt verify"):
            list(from_tensors(path, index))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match="cannot be read"):
        list(from_tensors(path, index))
    with pytest.raises(InputError, match="cannot be read"):
        list(from_tensors(tmp_path / "none", index))


def test_programs_are_told_the_largest_difference_that_passes_if_the_verdict_goes_by_it() -> None:
    case, _ = pair("a")
    ids = np.array([3, 1])
    y = np.array([[1.0, -4.0], [2.0, 0.5]])
    tied = Floor(1e-7, 1e-7, np.zeros(2), np.array([[True, False], [False, False]]))
    outputs = {"y": y, "tied": y, "masked": np.array([[-1e9, 1.0], [-1e9, 2.0]]), "zero": y * 1e-12, "ids": ids}
    floors = {name: Floor(1e-7, 1e-7, np.zeros(2)) for name in outputs} | {"tied": tied, "ids": Floor(0.0, 0.0)}
    floors["zero"] = Floor(1.0, 1.0, np.zeros(2))
    half = {name: Floor(1e-3, 1e-3, np.zeros(2)) for name in outputs}
    plain = Reference(outputs, outputs, floors, 10.0, lower={"fp16": half})
    choice = Choice("TopK", "", np.zeros(4), np.zeros(2, int), 0, descending=True, is_sorted=True)
    for one, reference, expected in (
        (case, plain, {"y": 8 * 1e-7 * 4, "ids": 0.0}),
        (case, replace(plain, choices=(choice,)), {}),
        (case, replace(plain, no_float64="it cannot"), {}),
        (replace(case, kind="zeros"), plain, {}),
    ):
        _, (entry,), _ = to_tensors([(one, reference)])
        found = {output["name"]: float(output["most"]) for output in entry["outputs"] if "most" in output}
        assert found == pytest.approx(expected)
    assert float(to_tensors([(case, plain)])[1][0]["outputs"][0]["lower"]["fp16"]["most"]) == pytest.approx(6e-3 * 4)


def test_programs_are_told_no_limit_of_a_few_numbers_in_few_bits() -> None:
    case, _ = pair("a")
    outputs = {"few": np.arange(16.0), "more": np.arange(17.0), "ids": np.array([3, 1])}
    floors = {"few": Floor(1e-2, 1e-2), "more": Floor(1e-2, 1e-2), "ids": Floor(0.0, 0.0)}
    reference = Reference(outputs, outputs, floors, 16.0, lower=dict.fromkeys(("fp16", "int8"), floors))
    _, (entry,), _ = to_tensors([(case, reference)])
    told = {
        output["name"]: {name for name, low in output["lower"].items() if "most" in low} for output in entry["outputs"]
    }
    assert told == {"few": {"fp16"}, "more": {"fp16", "int8"}, "ids": {"fp16", "int8"}}
