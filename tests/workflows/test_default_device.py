"""A verb makes its tensors on the CPU, and leaves the caller's default device as it was."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

import attn2trt
from attn2trt.workflows.default_device import on_cpu

VERBS = (attn2trt.deploy, attn2trt.export_bundle, attn2trt.check_model, attn2trt.check_plan)


@pytest.fixture
def elsewhere() -> Iterator[None]:
    torch.set_default_device("meta")
    yield
    torch.set_default_device(None)  # type: ignore[arg-type]


@pytest.mark.usefixtures("elsewhere")
def test_another_default_device_holds_around_a_verb_and_not_inside() -> None:
    @on_cpu
    def verb() -> str:
        return torch.rand(1).device.type

    assert (verb(), torch.rand(1).device.type) == ("cpu", "meta")


@pytest.mark.parametrize("verb", [*VERBS, attn2trt.cost, attn2trt.benchmark], ids=lambda verb: verb.__name__)
def test_every_verb_that_runs_a_module_does_so(verb: object, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    monkeypatch.setattr(torch, "get_default_device", lambda: asked.append(True) or torch.device("cpu"))
    with pytest.raises((attn2trt.Attn2trtError, TypeError)):
        verb("no such target", no_such_keyword=1)  # type: ignore[operator]
    assert asked
