"""The exporter's translations are read from their source once, and only as long as it exports."""

from __future__ import annotations

from typing import Any

import pytest
from onnxscript import opset18, values

from attn2trt.export.passes.signatures_once import signatures_once


def doubled(x):  # type: ignore[no-untyped-def]
    return opset18.Add(x, x)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The functions whose source was read."""
    plain: Any = values.TracedOnnxFunction.function_ir
    found: list[Any] = []

    def read(function: Any) -> Any:
        found.append(function)
        return plain.fget(function)

    monkeypatch.setattr(values.TracedOnnxFunction, "function_ir", property(read))
    return found


def test_a_signature_is_read_once(reads: list[Any]) -> None:
    function = values.TracedOnnxFunction(opset18, doubled)
    for _ in range(2):
        with signatures_once():
            assert function.function_ir.name == "doubled"
            assert [value.name for value in function.function_ir.inputs] == ["x"]
    assert reads == [function]


def test_nothing_of_it_stays_behind(reads: list[Any]) -> None:
    function = values.TracedOnnxFunction(opset18, doubled)
    with pytest.raises(RuntimeError), signatures_once():
        raise RuntimeError
    assert [function.function_ir.name for _ in range(2)] == ["doubled"] * 2
    assert len(reads) == 2


def test_an_onnxscript_without_them_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(values, "TracedOnnxFunction")
    with signatures_once():
        assert not hasattr(values, "TracedOnnxFunction")
