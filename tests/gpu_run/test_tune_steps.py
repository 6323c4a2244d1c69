"""The steps of the benchmark of tuning up to the device: the plan of work, what rows pass on, and what is timed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
from gpu import tune_search, tune_steps, tune_timing, tune_work
from gpu.rows import read_row, write_row
from gpu.tune_search import Search
from gpu.tune_steps import Work
from gpu.tune_timing import Model

from attn2trt.core.tensor_spec import Axis, TensorSpec
from attn2trt.engines.environment import ask_driver
from attn2trt.engines.tensorrt import build
from attn2trt.engines.tensorrt.build import BuildOptions
from attn2trt.engines.tensorrt.profiles import parse_profiles
from attn2trt.engines.timing.paired import Difference
from attn2trt.engines.timing.rounds import Samples
from attn2trt.engines.timing.trials import Trial
from attn2trt.errors import CheckFailed, InputError

HERE = Path(__file__).parent
PRETENDED = HERE.parent / "pretended_gpu"


def test_every_step_is_named_once_and_needs_steps_before_it() -> None:
    seen: set[str] = set()
    for step in tune_work.steps():
        assert step.name not in seen
        seen.add(step.name)
        assert {*step.needs, *step.one_of, *step.after} <= seen
        assert step.case in tune_work.cases()


def test_the_most_wanted_comes_first_and_everything_is_timed_at_its_batches() -> None:
    steps = tune_work.steps()
    timed = [step.name for step in steps if step.does == "time"]
    assert timed[:3] == [f"time-{name}-256x56x56-32" for name in ("se", "cbam", "coord_att")]
    assert timed[3:7] == ["time-resnet50+se-8", "time-resnet50-8", "time-resnet50+se-int8-8", "time-resnet50-int8-8"]
    for case in (*(f"{name}-256x56x56" for name in ("se", "cbam", "coord_att", "eca", "gam", "psa")), "resnet50+cbam"):
        assert {f"time-{case}-{batch}" for batch in (1, 8, 32)} < {*timed}
    pools = {step.does: step.pool for step in steps}
    assert {kind for kind, pool in pools.items() if pool == "alone"} == {*tune_work.TIMED}
    assert pools["export"] == "export"
    assert pools["candidates"] == pools["plain"] == "held"


@pytest.mark.parametrize(("batch", "profile"), [(1, "batch=1:1:1"), (8, "batch=2:8:8"), (32, "batch=2:32:32")])
def test_plans_of_a_batch_hold_a_recorded_case(batch: int, profile: str) -> None:
    """A case at 32 is too large to be recorded; those at 1 and 2 always are."""
    assert tune_work.profile_of(batch) == profile
    (found,) = parse_profiles([profile], {"batch": Axis(1, 2, 32)})
    assert found.axes["batch"].opt == batch
    assert any(found.holds({"batch": recorded}) for recorded in (1, 2))


def test_a_plain_plan_takes_and_gives_the_types_of_ours() -> None:
    trt = SimpleNamespace(float32="float32", float16="float16")
    tensors = [SimpleNamespace(dtype=dtype) for dtype in ("float32", "int32", "float32")]
    network = SimpleNamespace(
        num_inputs=2, num_outputs=1, get_input=lambda at: tensors[at], get_output=lambda at: tensors[2 + at]
    )
    build._set_io(trt, network, "float32")
    assert [tensor.dtype for tensor in tensors] == ["float32", "int32", "float32"]
    build._set_io(trt, network, "float16")
    assert [tensor.dtype for tensor in tensors] == ["float16", "int32", "float16"]


class Choice(NamedTuple):
    """A stand-in for a rewrite."""

    name: str
    kind: str
    count: int


CHOICE = Choice("pool", "mean", 2)
TRIAL = Trial("pool", "mean", 2, 0.05, Difference(-0.01, -0.02, -0.005, 0.96, 12), kept=False)


def search_with(choices: Any, *, pairs: Any = (), is_there: bool = True) -> Search:
    found = Search.__new__(Search)
    built = SimpleNamespace(graph=SimpleNamespace(folder=Path("abc")))
    found._graphs = SimpleNamespace(choices=choices, pairs=pairs)  # type: ignore[assignment]
    found._cache = SimpleNamespace(  # type: ignore[assignment]
        graph_in=lambda name: name, known=lambda _: built if is_there else None
    )
    found.search = SimpleNamespace(plans={}, trials={}, builds=[], not_tried={})  # type: ignore[assignment]
    return found


def found_before() -> dict[str, Any]:
    first = search_with([CHOICE])
    first.search.plans |= dict.fromkeys([(), (CHOICE,)], SimpleNamespace(graph=SimpleNamespace(folder=Path("abc"))))
    first.search.trials[CHOICE,] = TRIAL
    first.search.builds.append({"form": "pool", "seconds": 9.0})
    first.search.not_tried["merge"] = "no time was left"
    return dict(json.loads(json.dumps(first.found())))


def test_what_one_step_has_found_the_next_one_knows() -> None:
    second = search_with([CHOICE])
    second.take([found_before(), {}])
    assert {*second.search.plans} == {(), (CHOICE,)}
    assert second.search.trials == {(CHOICE,): TRIAL}
    assert second.found() == found_before()
    # a choice that applies only beside another one
    third = search_with([], pairs=[(Choice("convolve", "gate", 1), CHOICE)])
    third.take([found_before()])
    assert {*third.search.plans} == {(), (CHOICE,)}


def test_a_plan_that_is_gone_and_a_candidate_that_is_none_any_more_are_refused() -> None:
    with pytest.raises(CheckFailed, match="gone or damaged; remove the row"):
        search_with([CHOICE], is_there=False).take([found_before()])
    with pytest.raises(CheckFailed, match=r"\('mean', 'pool'\) is no candidate any more"):
        search_with([]).take([found_before()])


def test_kernels_of_other_cases_and_of_an_earlier_run_are_known(tmp_path: Path) -> None:
    case = tune_work.cases()["resnet50"]
    for name in ("run/plans/se-32-fp16/k/g/plans/timing.cache", "run/plans/resnet50-8-fp16/k/g/plans/timing.cache"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("kernels")
    (tmp_path / "home/deep").mkdir(parents=True)
    (tmp_path / "home/deep/timing.cache").write_text("kernels")
    place = tune_search.Place(tmp_path / "run", case, 8, "fp16", BuildOptions(), carried=tmp_path / "home")
    found = place._kernels((tmp_path / "run/plans/resnet50-8-fp16").resolve())
    assert [path.relative_to(tmp_path).as_posix() for path in found] == [
        "run/plans/se-32-fp16/k/g/plans/timing.cache",
        "home/deep/timing.cache",
    ]


def work_of(folder: Path, name: str) -> Work:
    step = next(step for step in tune_work.steps() if step.name == name)
    return Work(folder, step, "now", BuildOptions())


def test_an_error_of_ours_is_in_the_row(tmp_path: Path) -> None:
    row = tune_steps.run(work_of(tmp_path, "plan-resnet50-8-fp16"), 0.0)
    assert (row["status"], row["kind"], row["exit_code"]) == ("failed", "plan", InputError.exit_code)
    assert read_row(tmp_path, "plan-resnet50-8-fp16", "now") == row


def test_rows_that_failed_or_are_of_other_conditions_are_not_taken(tmp_path: Path) -> None:
    work = work_of(tmp_path, "time-resnet50-8")
    for setting, status, taken in (("now", "done", True), ("now", "failed", False), ("before", "done", False)):
        write_row(tmp_path, {"step": "plain-resnet50-8-fp16", "setting": setting, "status": status})
        assert bool(work.row("plain-resnet50-8-fp16")) == taken
    with pytest.raises(CheckFailed, match="there is no plan to time"):
        tune_steps.time_plans(work)


def test_integers_are_timed_beside_the_float16_plan_of_the_same_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tune_steps, "reading", lambda place: SimpleNamespace(
        place=place, take=lambda _: None, search=SimpleNamespace(plans={(): "plan"})
    ))  # fmt: skip
    monkeypatch.setattr(
        tune_timing, "built_model", lambda what, search, _: (what, search.place.case.name, search.place.precision)
    )
    monkeypatch.setattr(tune_timing, "timed", lambda models: {"timing": [{"ms": 1.0, "models": models}]})
    for name in ("plan-resnet50-8-fp16", "plan-resnet50-int8-8-int8"):
        write_row(tmp_path, {"step": name, "setting": "now", "status": "done"})
    (one,) = tune_steps.time_plans(work_of(tmp_path, "time-resnet50-int8-8"))["timing"]
    assert one["models"] == [("as it is", "resnet50", "fp16"), ("as it is", "resnet50-int8", "int8")]


class Run:
    """A timed run in which each model takes its own milliseconds, and one breaks."""

    def __init__(self, entries: Any, method: Any, *, threads: int, on_failure: Any) -> None:
        self.processes, self._rounds, self._fail = dict.fromkeys(entries), method.rounds, on_failure

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None: ...

    def load(self) -> None:
        self._fail("breaks, fp16", "out of memory")
        del self.processes["breaks, fp16"]

    def each(self, step: Any) -> None:
        for key in [*self.processes]:
            step(key, key)

    def drop(self, key: str) -> None:
        del self.processes[key]

    def warm_up(self, _jobs: int) -> None: ...

    def time(self) -> Any:
        ms = {"tuned, fp16": 1, "plain export, fp16": 3}
        samples = {key: Samples([[ms[key] * 1_000_000]] * self._rounds) for key in self.processes}
        return samples, SimpleNamespace(conditions=lambda: SimpleNamespace(gpu=None))


def test_models_are_checked_and_timed_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tune_timing, "TimedRun", Run)
    entry: Any = SimpleNamespace(inputs=(TensorSpec("x", (1,), "float16"),))
    words = {"tuned": "", "breaks": "", "wrong": "y is 3 away", "plain export": ""}
    models = [Model(what, "fp16", entry, lambda _, why=why: why) for what, why in words.items()]
    found = tune_timing.timed(models)
    assert {one["what"]: (one["ms"], one["why"]) for one in found["timing"]} == {
        "tuned": (1.0, ""),
        "breaks": (None, "out of memory"),
        "wrong": (None, "it computes something else: y is 3 away"),
        "plain export": (3.0, ""),
    }
    assert found["differences"]["plain export, fp16"]["ms"] == 2.0


@pytest.mark.slow
@pytest.mark.skipif(bool(ask_driver().devices), reason="this machine has a GPU")
@pytest.mark.skipif(shutil.which("gcc") is None, reason="the pretended driver is compiled by gcc")
def test_a_whole_run_on_a_pretended_gpu_finds_a_faster_graph(tmp_path: Path) -> None:
    """The fewer nodes a graph has, the faster its plan is there: it says nothing about a GPU."""
    subprocess.run(
        ["gcc", "-shared", "-fPIC", str(PRETENDED / "cuda.c"), "-o", str(tmp_path / "libcuda.so.1")], check=True
    )
    about = tmp_path / "site/tensorrt-8.6.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: tensorrt\nVersion: 8.6.0\n")
    path = os.pathsep.join(filter(None, (str(PRETENDED), str(tmp_path / "site"), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": path, "LD_LIBRARY_PATH": str(tmp_path)}
    command = [sys.executable, str(HERE / "small_tune.py"), str(tmp_path), str(tmp_path / "run"), "--minutes", "15"]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    found = json.loads((tmp_path / "gpu_tune.json").read_text())
    rows = {row["step"]: row for row in found["rows"]}
    assert {row["status"] for row in rows.values()} == {"done"}
    steps = ("candidates", "trial", "combine", "whole", "plan", "cost")
    assert {*found["not_reached"]} == {f"{step}-cbam-int8-4-int8-fp16" for step in steps}  # 8.6 reads no such graph
    assert [one["what"] for one in rows["time-se-4"]["timing"]] == ["as it is", "plain export"]
    assert [one["precision"] for one in rows["time-cbam-int8-4"]["timing"]] == ["fp16", "int8"]
    assert rows["trial-se-4-fp16"]["trials"]
    assert rows["cost-se-4-fp16"]["cost"]["model"]["layers"]
    assert "## Candidates of se at batch 4" in (tmp_path / "gpu_tune.md").read_text()
