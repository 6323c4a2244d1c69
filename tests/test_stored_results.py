"""Rows that a benchmark keeps of earlier runs, and what its page says of them."""

from __future__ import annotations

import json
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from scripts import load_script

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
NOW = {"date": "2", "versions": {"torch": "2.2"}, "sources": "new", "rows": []}


@pytest.fixture(scope="module")
def stored() -> ModuleType:
    return load_script("stored_results")


def write(folder: Path, rows: list[dict[str, Any]], **changed: Any) -> Path:
    path = folder / "results.json"
    path.write_text(json.dumps({**NOW, **changed, "rows": rows}))
    return path


def test_rows_of_the_same_code_and_versions_are_kept_as_they_are(stored: ModuleType, tmp_path: Path) -> None:
    assert stored.rows_before(write(tmp_path, [{"name": "a"}], date="1"), NOW) == [{"name": "a"}]
    assert stored.rows_before(tmp_path / "none.json", NOW) == []
    assert stored.of_earlier_runs([{"name": "a"}]) == []


@pytest.mark.parametrize("changed", [{"sources": "old"}, {"versions": {"torch": "2.1"}}])
def test_others_are_kept_on_request_and_noted(stored: ModuleType, tmp_path: Path, changed: dict[str, Any]) -> None:
    path = write(tmp_path, [{"name": "a"}, {"name": "b"}], date="1", **changed)
    assert stored.rows_before(path, NOW) == []
    (kept,) = stored.rows_before(path, NOW, lambda row: row["name"] == "a")
    assert kept["measured"] == {key: ({**NOW, "date": "1"} | changed)[key] for key in ("date", "versions", "sources")}
    torch = changed.get("versions", NOW["versions"])["torch"]
    note = f"1 row is of an earlier run, on 1 (torch {torch})."
    assert stored.of_earlier_runs([kept, {"name": "c"}]) == ["", note]


def test_runs_of_one_day_and_the_same_versions_are_noted_together(stored: ModuleType) -> None:
    runs = [{"date": "1", "versions": {"torch": "2.0"}, "sources": code} for code in ("old", "older")]
    notes = stored.of_earlier_runs([{"measured": run} for run in runs])
    assert notes == ["", "2 rows are of an earlier run, on 1 (torch 2.0)."]


def test_a_row_that_was_kept_before_stays_what_it_was(stored: ModuleType, tmp_path: Path) -> None:
    origin = {"date": "0", "versions": {"torch": "2.0"}, "sources": "oldest"}
    path = write(tmp_path, [{"name": "a", "measured": origin}, {"name": "b"}])
    assert stored.rows_before(path, NOW) == [{"name": "b"}]
    assert stored.rows_before(path, NOW, lambda _: True)[0]["measured"] == origin


def test_no_call_begins_once_the_caller_stops(stored: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pool of processes runs what it was given ahead even if that is cancelled: it must not be given more."""
    given: list[int] = []
    is_left = threading.Event()

    class Pool(ThreadPoolExecutor):
        def submit(self, *call: Any) -> Future[Any]:  # type: ignore[override]
            given.append(call[1])
            return super().submit(*call)

        def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
            is_left.set()
            super().shutdown(wait=wait, cancel_futures=cancel_futures)

    def measure(number: int) -> int:
        if number:  # at work until the pool is left
            is_left.wait(60)
        return number

    monkeypatch.setattr(stored, "ProcessPoolExecutor", lambda jobs, _: Pool(jobs))
    rows = stored.side_by_side(measure, [(number,) for number in range(9)], 2)
    assert next(rows) == 0
    rows.close()
    assert given == [0, 1, 2]


def test_every_call_is_yielded_once(stored: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored, "ProcessPoolExecutor", lambda jobs, _: ThreadPoolExecutor(jobs))
    assert sorted(stored.side_by_side(lambda a, b: a * b, [(n, 2) for n in range(5)], 3)) == [0, 2, 4, 6, 8]
