"""The page of errors is what its generator writes: no entry was typed."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs/errors.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        return importlib.import_module("generate_errors")
    finally:
        sys.path.remove(str(ROOT / "docs"))


def test_the_page_has_the_commands_of_its_generator_in_order(generator: ModuleType) -> None:
    shown = re.findall(r"^\$ (attn2trt .*)\n(.*)\n\$ echo \$\?\n(\d+)$", PAGE, re.MULTILINE)
    assert [(command, int(code)) for command, _, code in shown] == [
        (step.command, step.exit_code) for step in generator.STEPS
    ]
    assert all(message.startswith("error: ") for _, message, _ in shown)


def test_what_a_run_alone_decides_is_left_out(generator: ModuleType, tmp_path: Path) -> None:
    line = f"error: at /proc/.bundle.partial-20579-23858c49 and {tmp_path}/nets.py"
    assert generator.essence(line, tmp_path) == "error: at /proc/.bundle.partial-… and …/nets.py"


@pytest.mark.slow
def test_every_message_is_what_its_command_prints(generator: ModuleType) -> None:
    assert generator.page() == PAGE
