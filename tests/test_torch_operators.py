"""The benchmark of PyTorch's operators: a call holds what is no input, and the page counts what is right where."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
import torch
from scripts import load_script


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    return load_script("torch_operators")


def test_a_call_holds_its_further_tensors_as_buffers(tool: ModuleType) -> None:
    x, y = torch.rand(2, 3), torch.rand(3)
    call = tool.Call(torch.addcmul, ((y, y), {"value": 2}), is_list=False)
    assert [*call.state_dict()] == ["0", "1"]
    assert torch.equal(call(x), torch.addcmul(x, y, y, value=2))
    assert torch.equal(tool.Call(torch.cat, ((0,), {}), is_list=True)(x, x), torch.cat([x, x]))
    assert tool.Call(torch.fft.fft, ((), {}), is_list=False)(y).shape == (3, 2)


def outcome(result: str = "right", sizes: str = "any size") -> dict[str, Any]:
    return {"result": result, "sizes": sizes, "why": "" if result == "right" else "a reason"}


def test_the_page_says_what_is_right_where(tool: ModuleType) -> None:
    rows = [
        {"operator": "both", "any size": True, "plain": outcome(), "ours": outcome()},
        {"operator": "fixed", "any size": False, "plain": outcome(sizes=tool.TRACED), "ours": outcome("refused")},
        {"operator": "half", "any size": True, "plain": outcome("silently wrong"), "ours": outcome(sizes=tool.TRACED)},
        {"operator": "unread"},
    ]
    document = {"date": "2026-01-01", "machine": "one", "versions": {"torch": "2"}, "rows": rows}
    page = tool.page(document)
    assert "3 operators" in page
    assert "2 of them take their input at other sizes" in " ".join(page.split())
    assert "- plain: 2 right, 1 silently wrong" in page
    assert "- ours: 1 right, 1 refused, 1 right at the traced size alone" in page
    assert "\n`both`\n" in page
    assert "| `half` | **silently wrong**: a reason | right at the traced size alone |" in page
    assert "unread" not in page
