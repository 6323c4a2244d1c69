"""A bundle is given back only if making it again would make the same one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pretended_worker import pretend
from torch import Tensor, nn

import attn2trt
from attn2trt.engines.child import Child
from attn2trt.engines.isolated import IsolatedRuntime
from attn2trt.errors import Interrupted
from attn2trt.validate.batch_consistency import compare_rows
from attn2trt.validate.cases import Case
from attn2trt.validate.metrics import Reference, measure
from attn2trt.validate.stages.judge import judge, not_loaded
from attn2trt.validate.stages.stage import ORT_CPU, Stage
from attn2trt.validate.verdict import Verdict

KILLED = "import os; os.kill(os.getpid(), 9)"
HELPERS: dict[str, Callable[[Tensor], Tensor]] = {"act": torch.relu}


class Scaled(nn.Module):
    """A module whose function is neither in its class nor in its weights."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.c = nn.Conv2d(3, 4, 1)
        self.scale = 2.0
        self.offset = torch.ones(4, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return HELPERS["act"](self.c(x)) * self.scale + self.offset


def deploy(module: nn.Module, out: Path) -> attn2trt.Bundle:
    return attn2trt.export_bundle(module, torch.zeros(2, 3, 8, 8), out=out)


def scale(module: Any) -> None:
    module.scale = 3.0


def offset(module: Any) -> None:
    module.offset[2] = 7.0


def helper(_: Any) -> None:
    HELPERS["act"] = torch.sigmoid


def nothing(_: Any) -> None:
    return


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return deploy(Scaled(), tmp_path_factory.mktemp("made") / "bundle").path


@pytest.mark.parametrize(("change", "is_reused"), [(nothing, True), (scale, False), (offset, False), (helper, False)])
def test_the_users_module_is_traced_again(
    change: Callable[[Any], None], is_reused: bool, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(HELPERS, "act", HELPERS["act"])
    # a rebuilt bundle would be in the way of the next change
    monkeypatch.setattr("attn2trt.workflows.deploy.BundleWriter", _Stop)
    module = Scaled()
    with torch.no_grad():
        change(module)
    if is_reused:
        assert deploy(module, made).reused
    else:
        with pytest.raises(_Rebuilt):
            deploy(module, made)


class _Rebuilt(Exception):
    pass


class _Stop:
    def __init__(self, _: Path) -> None:
        raise _Rebuilt


def test_a_killed_simplifier_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        pretend(patch, KILLED)
        first = deploy(Scaled(), tmp_path / "bundle")
    assert "killed by SIGKILL" in first.manifest["simplified"]["why_not"]
    again = deploy(Scaled(), tmp_path / "bundle")
    assert not again.reused
    assert again.manifest["simplified"]["done"]


def killed_runtime(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> IsolatedRuntime:
    with monkeypatch.context() as patch:
        pretend(patch, KILLED)
        return IsolatedRuntime(tmp_path / "model.onnx")


def test_a_verdict_of_a_killed_runtime_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.ones((2, 3), np.float32)
    reference = Reference({"y": x.astype(np.float64)}, {"y": x}, {"y": measure(x, x.astype(np.float64))}, 1.0)
    pairs = [(Case.of("traced", {"x": x}), reference)]
    with killed_runtime(monkeypatch, tmp_path) as runtime:
        with pytest.raises(Interrupted, match="killed by SIGKILL") as caught:
            runtime.load()
        stages = [
            judge(Stage(ORT_CPU), runtime.run, pairs),
            compare_rows(runtime.run, pairs, Stage(ORT_CPU)),
            not_loaded(Stage(ORT_CPU), caught.value),
        ]
    for stage in stages:
        assert stage.status == "failed"
        assert stage.was_interrupted
        assert Verdict.from_json(Verdict((stage,)).to_json()).was_interrupted

    def wrong(_: Any) -> dict[str, np.ndarray]:
        raise RuntimeError("a fault of the graph")

    assert not judge(Stage(ORT_CPU), wrong, pairs).was_interrupted


def test_a_runtime_that_does_not_answer_in_time_is_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        pretend(patch, "import time; time.sleep(60)")
        child = Child("engines.isolated_child", who="ONNX Runtime", seconds=0.2)
    with child, pytest.raises(Interrupted, match=r"did not finish loading the model within 0.2 s"):
        child.load()
