"""Results go to stdout, progress to stderr, and JSON stays JSON."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path

import pytest
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from attn2trt.cli import output
from attn2trt.core.progress import Counted, Remark


def test_json_is_strict_where_numbers_are_not_finite(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_json({"ratio": float("nan"), "errors": (1.5, float("inf")), "path": Path("a")})
    assert json.loads(capsys.readouterr().out) == {"ratio": "nan", "errors": [1.5, "inf"], "path": "a"}


def test_stages_are_silent_where_stderr_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with output.stages() as progress:
        progress("exporting")
    assert capsys.readouterr() == ("", "")


def test_what_a_module_prints_meanwhile_is_kept_off_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    with output.stages():
        print("loading my weights")
    print("result")
    assert capsys.readouterr() == ("result\n", "loading my weights\n")


def test_a_terminal_sees_each_stage_with_its_time() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=80)
    with output._spinner(console) as progress:
        progress("exporting [fp32]")
        progress("judging")
    assert isinstance(console.file, io.StringIO)
    printed = console.file.getvalue()
    assert "s  exporting [fp32]" in printed
    assert "s  judging" in printed


def test_a_terminal_sees_how_long_the_stage_that_runs_has_taken() -> None:
    console = Console(file=io.StringIO(), width=80)
    console.print(output._Running("judging [fp32]", time.perf_counter() - 75))
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue() == "judging [fp32]  75 s\n"


def test_a_stage_that_fails_is_not_reported_as_done() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=80)

    def fail() -> None:
        with output._spinner(console) as progress:
            progress("dividing")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert isinstance(console.file, io.StringIO)
    assert "s  dividing" not in console.file.getvalue()


def test_a_remark_is_shown_also_where_stages_are_not(capsys: pytest.CaptureFixture[str]) -> None:
    remark = Remark("report.html was not written: \x1b[2J")
    with output.stages() as progress:
        progress("judging")
        progress(remark)
    assert capsys.readouterr().err == "note: report.html was not written: \\x1b[2J\n"
    console = Console(file=io.StringIO(), width=80)
    with output._spinner(console) as progress:
        progress(remark)
    assert isinstance(console.file, io.StringIO)
    assert "note: report.html was not written: \\x1b[2J\n" in console.file.getvalue()


def test_tables_in_a_pipe_have_no_colour_codes(capsys: pytest.CaptureFixture[str]) -> None:

    output.print_rich(Text("passed", style="bold green"))
    assert capsys.readouterr().out == "passed\n"


def test_a_narrow_terminal_gets_every_letter_of_a_cell(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    table = Table("stage", "result", "what was found")
    table.add_row("onnxruntime", "passed", "9 cases, 9 outputs: at most 1.2 times PyTorch's own rounding")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "30")
    monkeypatch.setenv("NO_COLOR", "1")
    output.print_rich(Group(table, "below"))
    text = capsys.readouterr().out
    assert "…" not in text
    assert "".join(line.split("│")[1].strip() for line in text.splitlines() if line.startswith("│")) == "onnxruntime"


HOSTILE = "\x1b[2J\x1b]0;title\x05na\x9bme\x7f"
WRITTEN_OUT = "\\x1b[2J\\x1b]0;title\\x05na\\x9bme\\x7f"


def test_a_terminal_folds_a_line_by_itself_so_that_a_command_in_it_can_be_copied(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "30")
    line = "next     attn2trt validate bundles/a-long-name   the verdict again"
    output.print_rich(Text(line))
    assert capsys.readouterr().out == f"{line}\n"


def test_escape_sequences_of_a_name_do_not_reach_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from rich.table import Table

    table = Table("name")
    table.add_row(Text(HOSTILE))
    output.print_rich(table, Text(HOSTILE))
    output.print_lines(HOSTILE)
    said = capsys.readouterr().out
    assert said.count(WRITTEN_OUT) == 3
    assert not set(said) & set(HOSTILE[0] + "\x05\x9b\x7f")


def test_colours_are_kept_where_names_are_cleaned() -> None:

    console = Console(file=io.StringIO(), force_terminal=True, width=80, color_system="standard")
    console.print(output._Printable(Text(HOSTILE, style="red")))
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue() == f"\x1b[31m{WRITTEN_OUT}\x1b[0m\n"


def test_escape_sequences_of_a_stage_are_written_out() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=80)
    with output._spinner(console) as progress:
        progress(f"exporting {HOSTILE}")
    assert isinstance(console.file, io.StringIO)
    assert f"exporting {WRITTEN_OUT}" in console.file.getvalue()


def test_a_count_replaces_the_one_before_it() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=80)
    with output._spinner(console) as progress:
        progress("loading")
        for done in (2, 4, 6):
            progress(Counted(f"comparing: {done} of 6"))
        progress("writing")
    assert isinstance(console.file, io.StringIO)
    lines = [line for line in console.file.getvalue().splitlines() if " s  " in line and "comparing" in line]
    assert sum("comparing: 6 of 6" in line for line in lines) == 1
    assert not any("comparing: 2 of 6" in line for line in lines)
