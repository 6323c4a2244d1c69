"""The page of errors is what its generator writes: no entry was typed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from scripts import load_script

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs/errors.md").read_text(encoding="utf-8")
generator: Any = load_script("generate_errors", "docs")
SHOWN = generator.shown(PAGE)


def test_the_page_is_written_from_its_messages() -> None:
    assert [*SHOWN] == [step.command for step in generator.STEPS]
    assert generator.page(SHOWN) == PAGE


def test_what_a_run_alone_decides_is_left_out(tmp_path: Path) -> None:
    line = f"error: at /proc/.bundle.partial-20579-23858c49 and {tmp_path}/nets.py"
    assert generator.essence(line, tmp_path) == "error: at /proc/.bundle.partial-… and …/nets.py"


def test_the_words_of_another_package_are_not_compared() -> None:
    step = generator.Step("", "attn2trt deploy a.onnx", quoted="no ONNX file (…); expected")
    for words in ("", "Wire format (of 1) was corrupt"):
        assert step.own_words(f"error: no ONNX file ({words}); expected one") == "error: no ONNX file (…); expected one"
    with pytest.raises(ValueError, match="not found"):
        step.own_words("error: no file (Wire format was corrupt); expected one")
    assert generator.Step("", "attn2trt deploy se").own_words("error: (a)") == "error: (a)"
    for each in generator.STEPS:  # what is left out is there, so that the rest is compared
        assert each.own_words(SHOWN[each.command])


def test_an_entry_that_this_machine_cannot_print_is_known() -> None:
    step = generator.Step
    assert step("", "", needs="no_such_package").hindrance == "no_such_package is not installed"
    assert step("", "", without="pytest").hindrance == "pytest is installed"
    assert step("", "", needs="pytest", without="no_such_package").hindrance == ""


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """The folder in which all commands run, one after the other."""
    with generator.prepared() as place:
        yield place


@pytest.mark.slow
@pytest.mark.parametrize("step", generator.STEPS, ids=lambda step: step.command)
def test_a_command_prints_what_the_page_shows(step: Any, folder: Path) -> None:
    if step.hindrance:
        pytest.skip(step.hindrance)
    assert step.own_words(generator.run(step, folder)) == step.own_words(SHOWN[step.command])
