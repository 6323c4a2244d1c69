"""What the exporter reads of its own operators is read once, and replaced only as long as it exports."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from onnxscript import opset18, values
from torch.onnx._internal.exporter import _schemas

from attn2trt.export.trace.read_once import read_once


def doubled(x):  # type: ignore[no-untyped-def]
    return opset18.Add(x, x)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The functions whose source or annotations were read."""
    plain: Any = values.TracedOnnxFunction.function_ir
    signature = _schemas.op_signature_from_function
    found: list[Any] = []

    def read(function: Any, *rest: Any) -> Any:
        found.append(function)
        return signature(function, *rest) if rest else plain.fget(function)

    monkeypatch.setattr(values.TracedOnnxFunction, "function_ir", property(read))
    monkeypatch.setattr(_schemas, "op_signature_from_function", read)
    return found


def test_each_is_read_once(reads: list[Any]) -> None:
    function = values.TracedOnnxFunction(opset18, doubled)
    for _ in range(2):
        with read_once():
            assert [value.name for value in function.function_ir.inputs] == ["x"]
            assert [one.name for one in _schemas.op_signature_from_function(doubled, "a", "first").params] == ["x"]
            assert _schemas.op_signature_from_function(doubled, "a", "second").name == "second"
    assert reads == [function, doubled, doubled]


def test_nothing_of_it_stays_behind(reads: list[Any]) -> None:
    function = values.TracedOnnxFunction(opset18, doubled)
    with pytest.raises(RuntimeError), read_once():
        raise RuntimeError
    assert [function.function_ir.name for _ in range(2)] == ["doubled"] * 2
    assert len(reads) == 2
    assert torch._ops.Callable is Callable


def test_versions_without_these_names_read_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(values, "TracedOnnxFunction")
    monkeypatch.delattr(_schemas, "op_signature_from_function")
    monkeypatch.delattr(torch._ops, "Callable")
    with read_once():
        assert not hasattr(values, "TracedOnnxFunction")
        assert not hasattr(torch._ops, "Callable")
