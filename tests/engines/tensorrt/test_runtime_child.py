"""A plan is deserialised from the bytes whose hash was compared, and from no others."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from attn2trt.core.tensor_spec import Axis
from attn2trt.engines.tensorrt import runtime_child
from attn2trt.engines.tensorrt.plans import Plan
from attn2trt.engines.tensorrt.profiles import Profile
from attn2trt.errors import CheckFailed

PLAN = Plan("plans/mine.plan", "fp32", "0" * 64, (Profile({"batch": Axis(1, 2, 4)}),), "8.6.0", "", ("9.0",), "")


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The settings that TensorRT gets."""
    found: list[bytes] = []
    monkeypatch.setattr(runtime_child, "TensorRTRuntime", lambda plan, **options: found.append(plan))
    return found


def about(content: bytes) -> str:
    known: dict[str, Any] = {"plan": PLAN.to_json(), "inputs": [], "outputs": [], "kernel_cache": None}
    return json.dumps({**known, "sha256": hashlib.sha256(content).hexdigest()})


def test_the_bytes_that_were_hashed_are_the_ones_that_tensorrt_gets(
    given: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "mine.plan"
    file.write_bytes(b"listed")
    read = Path.read_bytes

    def read_then_replaced(path: Path) -> bytes:
        content = read(path)
        file.write_bytes(b"another")
        return content

    monkeypatch.setattr(Path, "read_bytes", read_then_replaced)
    runtime_child.open_described(file, about(b"listed"))
    assert given == [b"listed"]


@pytest.mark.parametrize("there", ["changed", "missing", "a folder"])
def test_a_plan_that_is_not_the_listed_one_is_not_deserialised(given: list[bytes], there: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.plan"
    if there == "changed":
        file.write_bytes(b"another")
    elif there == "a folder":
        file.mkdir()
    with pytest.raises(CheckFailed, match="is not the file that the manifest lists"):
        runtime_child.open_described(file, about(b"listed"))
    assert given == []
