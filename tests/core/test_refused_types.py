"""The table of refused types, held against what TensorRT for RTX was asked and what TensorRT's parsers document."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from scripts import load_script

from attn2trt.core import refused_types

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def command() -> ModuleType:
    return load_script("tensorrt_operators")


@pytest.fixture
def asked() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((BENCHMARKS / "results/tensorrt_operators.json").read_text())
    return found


def test_the_policy_lowers_nothing_that_is_refused_and_keeps_nothing_needlessly(
    command: ModuleType, asked: dict[str, Any]
) -> None:
    assert command.contradictions(asked) == []


def test_every_block_backbone_and_example_was_asked(command: ModuleType, asked: dict[str, Any]) -> None:
    assert {*command.TARGETS} <= {*asked["targets"]}
    keys = {row["sample"] for row in asked["rows"]}
    assert {key for found in asked["targets"].values() for key in found} <= keys


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({}, r"the policy lowers HardSwish to bf16, which is refused: .*Only FLOAT, HALF or INT8 input is supported"),
        ({}, r"the policy lowers Mish to bf16, which is refused: Only FLOAT32 or FLOAT16 input is supported"),
        ({"fp16": {"Relu": "a mistake"}}, r"the policy keeps Relu out of fp16, which nothing refuses"),
    ],
)
def test_a_wrong_table_is_found(
    command: ModuleType, asked: dict[str, Any], table: Any, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (refused_types, command):
        monkeypatch.setattr(module, "REFUSED", table)
    assert any(re.match(words, found) for found in command.contradictions(asked))


def test_what_a_parser_documents_is_a_limit_without_any_result(
    command: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command.contradictions({"rows": []}) == [
        f"the policy keeps {operator} out of bf16, which nothing refuses" for operator in ("ConvTranspose", "HardSwish")
    ]
    monkeypatch.setattr(refused_types, "REFUSED", {})
    assert "the policy lowers Mish to bf16, which is refused: TensorRT 10.1 documents ['float32', 'float16']" in (
        command.contradictions({"rows": []})
    )


def test_an_operator_that_is_refused_later_is_found(command: ModuleType, asked: dict[str, Any]) -> None:
    row: dict[str, Any] = {"sample": "Relu", "operator": "Relu", "results": {"fp16": "no kernel"}}
    wrong = ["the policy lowers Relu to fp16, which is refused: no kernel"]
    assert command.contradictions({"rows": [*asked["rows"], row]}) == wrong
    row["results"] = {"fp32": "no such attribute", "fp16": "no such attribute"}  # it is not the type that is refused
    assert command.contradictions({"rows": [*asked["rows"], row]}) == []
