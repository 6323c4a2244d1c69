"""The table of a sweep."""

from __future__ import annotations

import csv
import io

from printed_table import printed

from attn2trt.report.sweep_table import SweepRow, sweep_csv, sweep_summary, sweep_table

ROWS = (
    SweepRow("deploy", "se", "fp32", "", "", "passed", 0, 2.04, 1, "a", False, "PASSED", None, "se.fp32/deploy", "k"),
    SweepRow(
        "deploy", "eca", "fp32", "", "", "failed", 1, 3.0, 2, "b", False, "FAILED: x", None, "eca.fp32/deploy", "k"
    ),
    SweepRow("cost", "=se", "fp32", "", "", "skipped", found="deploy se did not pass", folder="se.fp32/cost"),
)


def shown(rows: tuple[SweepRow, ...]) -> str:
    return printed(sweep_table(rows), 160)


def test_columns_that_say_the_same_of_every_row_are_left_out() -> None:
    text = shown(ROWS)
    assert "node" in text
    assert "failed (attempt 2)" in text
    for name in ("precision", "options", "machine"):
        assert name not in text
    assert "node" not in shown(ROWS[:1])


def test_csv_is_read_back_and_holds_no_formula() -> None:
    rows = list(csv.DictReader(io.StringIO(sweep_csv(ROWS))))
    assert [row["status"] for row in rows] == ["passed", "failed", "skipped"]
    assert (rows[0]["reused"], rows[0]["latency_ms"], rows[2]["exit_code"]) == ("false", "", "")
    assert rows[2]["target"] == "'=se"


def test_the_summary_names_what_did_not_pass() -> None:
    assert sweep_summary(ROWS) == (
        "1 of 3 jobs passed; 1 failed: eca.fp32/deploy; 1 skipped: se.fp32/cost; 1 run again after their process or "
        "node died"
    )


def test_a_skipped_job_adds_no_exit_code() -> None:
    assert [row.sweep_code for row in ROWS] == [0, 1, 0]
