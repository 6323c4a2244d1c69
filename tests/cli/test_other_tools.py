"""An option of another tool is answered with ours, which the command has."""

from __future__ import annotations

import re

import click
import pytest
from cli_run import run

from attn2trt.cli import main
from attn2trt.cli.other_tools import ALWAYS, ROWS, Row, advice


def options(command: str) -> set[str]:
    found = main.group.get_command(click.Context(main.group), command)
    assert found is not None
    return {name for parameter in found.params for name in parameter.opts}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.names[0])
def test_what_is_advised_is_an_option_of_each_command(row: Row) -> None:
    for instead, commands in row.answers.items():
        for command in commands:
            own = options(command)
            assert set(re.findall(r"(?<!\S)--?[a-z][a-z-]*", instead)) <= own, command
            for name in row.names:
                assert advice(name, command) == f"write {instead}" or name in own


def test_every_command_answers_every_name() -> None:
    for command in main.COMMANDS:
        for name in (*ALWAYS, *(name for row in ROWS for name in row.names)):
            assert name in options(command) or advice(name, command)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("deploy se --img_size 640", "'--img_size'; write --shape 1x3x640x640 (batch, channels, height and width)"),
        ("deploy se --minShapes=x:1x3x8x8", "'--minShapes'; write --dynamic batch=1:8:32"),
        ("benchmark se --batch-size 8", "'--batch-size'; write --batch 1,8;"),
        ("compile bundle --batch-size 8", "'--batch-size'; write --profile batch=1:8:32;"),
        ("validate bundle --half", "'--half'; attn2trt deploy takes --precision fp16;"),
        ("deploy se --workspace 4096", "'--workspace'; attn2trt compile takes --workspace 4096, in MiB;"),
        ("--int8 deploy se", "'--int8'; attn2trt deploy takes --precision int8 --calibrate FOLDER"),
        ("export se --simplify", "'--simplify'; leave it out: deploy and export simplify every graph;"),
        ("list --quiet", "'--quiet'; leave it out: stdout has the result alone;"),
        ("check model.onnx --atol 1e-3", "'--atol'; write --max-error NUMBER, the relative L2 error"),
        ("deploy se --bogus", "'--bogus'. (Did you mean one of"),
    ],
)
def test_the_line_says_what_to_write(line: str, said: str) -> None:
    result = run(*line.split())
    assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1), result.stderr
    assert f"error: No such option {said}" in result.stderr
