"""A precision that is too low names the modules that lose most in it; a graph that is wrong does not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import attn2trt
from attn2trt.validate.cases import Case
from attn2trt.validate.comparison import Comparison
from attn2trt.validate.half_precision import Half
from attn2trt.validate.sensitivity import LayerSensitivity
from attn2trt.validate.stages.judge import KEEP
from attn2trt.validate.stages.stage import ORT_CPU, WRITTEN, Stage
from attn2trt.validate.verdict import StageResult, Verdict
from attn2trt.workflows import sensitivity
from attn2trt.workflows.sensitivity import advised, name_most_sensitive

FP16 = Stage(WRITTEN, "fp16")


def verdict(which: str = "budget", stage: Stage = FP16) -> Verdict:
    found = Comparison("y", 0.1, 0.1, 1.0, which, (), False, "too much")
    return Verdict(
        (StageResult(Stage("exported graph"), "passed"), StageResult(stage, "failed", "too much", (("c", found),)))
    )


class Losing(LayerSensitivity):
    """Modules lose so much by themselves, of the ``whole``, whose part in proportion is lost if some are kept."""

    def __init__(self, whole: float, losses: dict[str, float]) -> None:
        self._whole, self._losses, self.asked = whole, losses, list[Any]()

    def of_each(self, lower: Any, modules: Any) -> dict[str, float]:
        self.asked.append(modules)
        return self._losses

    def whole(self, lower: Any) -> float:
        lost = sum(self._losses.values()) or 1.0
        return self._whole * (1 - sum(self._losses[path] for path in lower.kept) / lost) + 1e-6


class Lowered(SimpleNamespace):
    kept: tuple[str, ...] = ()

    def without(self, kept: Any) -> Lowered:
        return Lowered(kept=tuple(kept))


@pytest.fixture
def lost(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Have modules lose so much, in place of measuring it; counts how often that is asked."""

    def use(whole: float = 0.5, **losses: float) -> Any:
        monkeypatch.setattr(sensitivity, "floor_of", lambda low: Lowered())
        measured = Losing(whole, losses)
        return measured.asked, lambda: measured

    return use


MODULES = {path: (path,) for path in ("stem", "gate", "head", "tail", "last", "none")}
LOW: Any = {"fp16": SimpleNamespace(lowered_modules=MODULES, precision="fp16")}


@pytest.mark.parametrize(
    ("whole", "max_error", "said"),
    [
        # the graph lost 0.1 where PyTorch loses 0.05, so PyTorch may lose half of the limit
        (0.05, 0.03, "--keep-fp32 gate --keep-fp32 head: PyTorch's own fp16 then loses 0.0085 of 0.05"),
        (0.05, 0.09, "--keep-fp32 gate: PyTorch's own fp16 then loses 0.017 of 0.05"),
        (
            0.05,
            1e-9,
            "these alone are not enough, PyTorch's own fp16 then loses 0.005 of 0.05: not even all modules are; "
            "--precision auto looks for another precision too",
        ),
    ],
)
def test_what_loses_most_comes_first_and_is_said_to_be_enough_only_if_it_is(
    lost: Any, whole: float, max_error: float, said: str
) -> None:
    asked, losses = lost(whole, stem=0.01, gate=0.2, head=0.05, tail=0.0199, last=0.021, none=0.0)
    named = name_most_sensitive(verdict(), LOW, losses, max_error)
    assert named.stages[1].why == (
        f"too much; {KEEP}; most is lost in gate (0.2 by itself), head (0.05 by itself), last (0.021 by itself); {said}"
    )
    assert named.stages[0].why == ""
    assert asked == [MODULES]


def test_more_modules_than_a_line_holds_are_counted(lost: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sensitivity, "MOST_KEPT", 2)
    _, losses = lost(0.1, stem=0.1, gate=0.1, head=0.1, tail=0.1)
    why = name_most_sensitive(verdict(), LOW, losses, 0.03).stages[1].why
    assert "loses 0.025 of 0.1: 3 of 6 modules are; --precision auto" in why


def test_of_another_failure_than_the_budget_the_line_says_what_keeping_leaves(lost: Any) -> None:
    _, losses = lost(0.1, stem=0.1, gate=0.001)
    why = name_most_sensitive(verdict("top1"), LOW, losses).stages[1].why
    assert why.endswith("stem (0.1 by itself); --keep-fp32 stem: PyTorch's own fp16 then loses 0.00099 of 0.1")


def test_both_stages_of_a_precision_are_measured_once(lost: Any) -> None:
    asked, losses = lost(stem=0.5)
    stages = verdict().stages + verdict(stage=Stage(ORT_CPU, "fp16")).stages[1:]
    named = name_most_sensitive(Verdict(stages), LOW, losses)
    assert [stage.why.count("stem (0.5 by itself)") for stage in named.stages] == [0, 1, 1]
    assert len(asked) == 1


@pytest.mark.parametrize(
    "judged", [verdict("l2"), verdict(stage=Stage(WRITTEN, "bf16")), Verdict((StageResult(FP16, "passed"),))]
)
def test_what_lower_precision_does_not_explain_is_not_measured(lost: Any, judged: Verdict) -> None:
    asked, losses = lost(stem=0.5)
    assert name_most_sensitive(judged, LOW, losses) == advised(judged, LOW)
    assert asked == []


def test_a_loss_in_no_module_says_how_to_keep_it(lost: Any) -> None:
    _, losses = lost(stem=0.01, gate=2.3e-05)
    why = name_most_sensitive(verdict(), LOW, losses).stages[1].why
    assert why == f"too much; {sensitivity.IN_NO_MODULE}"


def test_the_verdict_stands_where_nothing_is_found(lost: Any) -> None:
    _, losses = lost(whole=5.8e-07, stem=0.0, holds_weights_alone=5.8e-07)
    assert name_most_sensitive(verdict(), LOW, losses) == advised(verdict(), LOW)

    def fails() -> NoReturn:
        raise RuntimeError("no memory")

    why = name_most_sensitive(verdict(), LOW, fails).stages[1].why
    assert why == f"too much; {KEEP}; which modules lose most was not found (RuntimeError)"


class BoxesAndScores(nn.Module):
    """Boxes of thousands beside a score that is the difference of two large numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.boxes, self.scores = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 1, 1)
        with torch.no_grad():
            self.boxes.weight.mul_(1000.0)
            self.scores.weight.copy_(torch.tensor([1.0, -1.0, 0.0]).reshape(1, 3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.boxes(x), self.scores(x)], 1)


@pytest.mark.parametrize("shapes", [[(2, 3, 4, 4)], [(1, 3, 1, 1), (40, 3, 1, 1)]], ids=["maps", "few elements"])
def test_of_slices_that_lose_their_variation_the_modules_that_take_it_are_named(
    shapes: list[tuple[int, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sensitivity, "floor_of", lambda low: Half("fp16"))
    rng = np.random.default_rng(0)
    scale = np.array([0.005, 0.005, 25.0]).reshape(1, 3, 1, 1)
    values = [(25 + scale * rng.standard_normal(shape)).astype(np.float32) for shape in shapes]
    cases = [replace(Case.of(f"c{number}", {"x": x}), sizes={"batch": len(x)}) for number, x in enumerate(values)]
    measured = LayerSensitivity(BoxesAndScores().eval(), cases, ("y",), 0)
    low: Any = SimpleNamespace(lowered_modules={"boxes": ("boxes",), "scores": ("scores",)}, precision="fp16")
    lost = Comparison("y", 1.0, 0.1, 60.0, "variation", (1, 4), False, "constant")
    of_scores = Verdict((StageResult(FP16, "failed", "constant", (("ordinary cases", lost),)),))
    why = name_most_sensitive(of_scores, {"fp16": low}, lambda: measured).stages[0].why
    assert f"{KEEP}; most of this variation is lost in scores (" in why
    assert "; --keep-fp32 scores: PyTorch's own fp16 then loses " in why
    of_the_whole: Any = measured.of_each(Half("fp16"), low.lowered_modules)
    assert of_the_whole["boxes"] > 2 * of_the_whole["scores"]


class Loud(nn.Module):
    """A product of its own overflows, behind one of a part if ``gain`` is large."""

    def __init__(self, gain: float = 1.0) -> None:
        super().__init__()
        self.part = nn.Conv2d(1, 1, 1)
        nn.init.constant_(self.part.weight, gain)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh((x + self.part(x)) * 60000)


@pytest.mark.parametrize(
    ("module", "precision", "words"),
    [
        (
            Loud(),
            "fp16",
            "fp16 overflows first in the model's own forward, at {line}: move that into a module of its own and name "
            "it by --keep-fp32, or take bf16",
        ),
        (
            torch.fx.symbolic_trace(Loud()),
            "int8-fp16",
            "int8-fp16 overflows first in the model's own forward, in mul: move that into a module of its own and name "
            "it by --keep-fp32, or take int8",
        ),
        (
            Loud(1e6),
            "fp16",
            "{keep}; fp16 overflows first in part, then in the model's own forward, at {line}: move that into a module "
            "of its own and name it by --keep-fp32 beside --keep-fp32 part, or take bf16",
        ),
    ],
)
def test_what_overflows_outside_of_every_module_is_no_module_to_keep(
    module: nn.Module, precision: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sensitivity, "floor_of", lambda low: Half("fp16"))
    stage = Stage(WRITTEN, precision)
    low: Any = SimpleNamespace(
        precision=precision, kept_within=(), kept_exactly=(), graph=SimpleNamespace(io="float32")
    )
    case = Case.of("c", {"x": np.full((1, 1, 2, 2), 2, np.float32)})
    measured = LayerSensitivity(module.eval(), [case], (), 0)
    named = name_most_sensitive(verdict("nan", stage), {precision: low}, lambda: measured)
    first = Loud.forward.__code__.co_firstlineno + 1
    line = f"tests/workflows/test_sensitivity.py:{first} `return torch.tanh((x + self.part(x)) * 60000)`"
    shown = named.stages[1].why.replace(f"{Path(__file__).parents[2]}/", "")
    assert shown == f"too much; {words.format(line=line, keep=KEEP)}"


def test_a_module_that_float16_cannot_hold_is_named(tmp_path: Path) -> None:
    calm, loud = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)
    with torch.no_grad():
        assert loud.bias is not None
        loud.bias.fill_(300.0)  # float16's steps are a quarter there
    net = nn.Sequential(calm, loud, nn.GroupNorm(2, 4)).eval()
    bundle = attn2trt.deploy(net, torch.randn(2, 4, 8, 8), out=tmp_path / "net", precision="fp16", capabilities="none")
    stage = next(one for one in bundle.manifest["verdict"]["stages"] if one["stage"] == "fp16")
    assert stage["status"] == "failed"
    named = stage["why"].split("most is lost in ")[1]
    assert named.startswith("1 (")
    assert "0 (" not in named.split(",")[0]
