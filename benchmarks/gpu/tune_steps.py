"""One step of gpu_tune.py in its own process: what it takes from the rows before it, and the row that it writes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import plain_plans

from attn2trt.core.bundle import open_bundle
from attn2trt.core.precision import FP16
from attn2trt.engines.tensorrt.build import BuildOptions
from attn2trt.errors import Attn2trtError, CheckFailed

from . import exporting, tune_timing
from .building import read_summary
from .exporting import bundle_path
from .rows import Row, read_row, write_row
from .tune_search import Place, Search, building, reading
from .tune_work import AS_IT_IS, TUNED, TuneCase, TuneKind, TuneStep, cases, plans_of, profile_of, step_name

# Builds of one step beside each other; other steps build meanwhile.
JOBS = 3


@dataclass(frozen=True)
class Work:
    """A step with what it is done with.

    Attributes:
        folder: The run's.
        step: The step.
        setting: The hash of the conditions that rows must have to be taken.
        options: What the builder is given.
        build_seconds: For the candidates of a case, after the plan of the graph as it is.
        jobs: The builds of this step beside each other.
        carried: A folder with kernels that an earlier run has timed; None if there is none.
    """

    folder: Path
    step: TuneStep
    setting: str
    options: BuildOptions
    build_seconds: float = 150.0
    jobs: int = JOBS
    carried: Path | None = None

    @property
    def case(self) -> TuneCase:
        """Return the step's case."""
        return cases()[self.step.case]

    def place(self, case: TuneCase | None = None, precision: str | None = None) -> Place:
        """Return the place of plans: of the step's case and precision, or of another one at the same batch."""
        of, named = case or self.case, precision or self.step.precision
        return Place(self.folder, of, self.step.batch, named, self.options, self.jobs, self.carried)

    def row(self, name: str) -> Row:
        """Return the row of a step that was done; an empty one if there is none."""
        found = read_row(self.folder, name, self.setting)
        return found if found is not None and found["status"] == "done" else {}

    def rows(self, *kinds: TuneKind) -> list[Row]:
        """Return the rows of earlier steps of this case, batch and precision."""
        step = self.step
        return [self.row(step_name(kind, step.case, step.batch, step.precision)) for kind in kinds]

    def read(self, *kinds: TuneKind) -> Search:
        """Return a search with what the rows of these kinds hold, which builds nothing."""
        found = reading(self.place())
        found.take(self.rows(*kinds))
        return found


def export(work: Work) -> dict[str, Any]:
    """Deploy the case, export it plainly, and keep the module's weights for PyTorch's own timing."""
    from attn2trt.engines.torch_runtime import save_weights
    from attn2trt.modules import catalog

    case = work.case
    found = exporting.export_case(work.folder, case)
    path = tune_timing.weights_path(work.folder, case)
    path.parent.mkdir(exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    shapes = [case.shape] if case.shape else []
    save_weights(catalog.resolve(case.spec, shapes=shapes, dynamic=case.dynamic).build(), partial)
    partial.replace(path)
    return {**found, "blocks": []}


def plan(work: Work) -> dict[str, Any]:
    """Build the plan of the graph as it is."""
    with building(work.place()) as search:
        search.search.build_plain()
        return search.found()


def plain(work: Work) -> dict[str, Any]:
    """Build the plan of the plain export, for the same batch and types of inputs."""
    step, bundle = work.step, open_bundle(bundle_path(work.folder, work.case))
    profiles, tag = [profile_of(step.batch)], f"-{step.batch}"
    built = plain_plans.build_plain(work.folder, step.case, bundle, step.precision, profiles, work.options, tag=tag)
    layers = plain_plans.layers_path(work.folder, f"{step.case}{tag}", step.precision)
    return {"plan": built, "layers": read_summary(layers)}


def time_plans(work: Work) -> dict[str, Any]:
    """Time the plans as they are and that of the plain export in turn. Raises CheckFailed if none can be timed."""
    plans = plans_of(work.case, work.step.batch)
    models = [model for precision, name in plans.items() for model in _as_it_is(work, precision, name)]
    return _measured([*models, *_plain(work)])


def _as_it_is(work: Work, precision: str, name: str) -> Iterator[tune_timing.Model]:
    """Yield the plan of the step of this name, of the case or of that beside it; nothing if it was not built."""
    if row := work.row(name):
        of = work.case if precision in work.case.precisions else cases()[work.case.beside]
        search = reading(work.place(of, precision))
        search.take([row])
        yield tune_timing.built_model(AS_IT_IS, search, search.search.plans[()])


def _plain(work: Work) -> list[tune_timing.Model]:
    """Return the plan of the plain export; none if it was not built."""
    row = work.row(step_name("plain", work.step.case, work.step.batch, FP16))
    return [tune_timing.plain_model(work.folder, reading(work.place(precision=FP16)), row["plan"])] if row else []


def _measured(models: list[tune_timing.Model]) -> dict[str, Any]:
    if not models:
        raise CheckFailed("there is no plan to time")
    found = tune_timing.timed(models)
    if all(one["ms"] is None for one in found["timing"]):
        raise CheckFailed("; ".join(f"{one['what']}: {one['why']}" for one in found["timing"]))
    return found


def pytorch(work: Work) -> dict[str, Any]:
    """Time PyTorch, compiled too if its kernels are there."""
    compiled = bool(work.row(step_name("compile", work.step.case, work.step.batch)))
    return tune_timing.time_pytorch(work.folder, work.case, work.step.batch, compiled=compiled)


def cost(work: Work) -> dict[str, Any]:
    """Time the plan of the graph as it is layer by layer, beside its bytes over bandwidth."""
    search = work.read("plan")
    return {"cost": tune_timing.cost_of(search, search.search.plans[()])}


def candidates(work: Work) -> dict[str, Any]:
    """Build a plan of every choice."""
    with building(work.place(), work.build_seconds) as search:
        search.take(work.rows("plan"))
        search.search.build_singles()
        return search.found()


def trial(work: Work) -> dict[str, Any]:
    """Time every choice by itself beside the graph as it is."""
    search = work.read("candidates")
    search.search.time_singles()
    return search.found()


def combine(work: Work) -> dict[str, Any]:
    """Build the combinations of the winners."""
    with building(work.place(), work.build_seconds) as search:
        search.take(work.rows("candidates", "trial"))
        search.search.build_together()
        return search.found()


def whole(work: Work) -> dict[str, Any]:
    """Time the combinations, then the best beside the others, and what it costs layer by layer."""
    search = work.read("candidates", "trial", "combine")
    best, tuning = search.search.combine()
    about = {name: value for name, value in tuning.to_json().items() if name not in tune_timing.OF_THE_MACHINE}
    found: dict[str, Any] = {"tuning": about, "is_faster": best is not None}
    if best is None:
        return found
    models = [tune_timing.built_model(TUNED, search, best)]
    for precision, name in plans_of(work.case, work.step.batch).items():
        if precision in (work.case.tuned_in, FP16):
            models += _as_it_is(work, precision, name)
    return {**found, **_measured([*models, *_plain(work)]), **tune_timing.cost_or_why(search, best)}


def compile_kernels(work: Work) -> dict[str, Any]:
    """Have PyTorch compile its kernels."""
    return tune_timing.compile_pytorch(work.folder, work.case, work.step.batch)


DO: Mapping[TuneKind, Callable[[Work], dict[str, Any]]] = {
    "export": export,
    "plan": plan,
    "plain": plain,
    "compile": compile_kernels,
    "time": time_plans,
    "pytorch": pytorch,
    "cost": cost,
    "candidates": candidates,
    "trial": trial,
    "combine": combine,
    "whole": whole,
}


def run(work: Work, since: float) -> Row:
    """Do the step and write its row, in which an error of ours is; returns the row."""
    step = work.step
    row: Row = {"step": step.name, "kind": step.does, "case": step.case, "precision": step.precision}
    row |= {"batch": step.batch, "setting": work.setting, "status": "done"}
    try:
        row |= DO[step.does](work)
    except Attn2trtError as error:
        row |= {"status": "failed", "why": str(error), "exit_code": error.exit_code}
    row["seconds"] = round(time.monotonic() - since, 1)
    write_row(work.folder, row)
    return row
