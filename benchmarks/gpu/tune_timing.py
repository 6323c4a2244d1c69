"""The timings of gpu_tune.py: plans and PyTorch as CUDA graphs, in turn, by the GPU's own clock; a plan's cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import plain_plans
from gpu_cost import QUICK

from attn2trt.core.bundle import Bundle, open_bundle
from attn2trt.core.plain_data import plain
from attn2trt.core.precision import FP16, PRECISIONS
from attn2trt.core.scratch import scratch
from attn2trt.engines.tensorrt.isolated import described
from attn2trt.engines.tensorrt.plans import Plan
from attn2trt.engines.timing.inputs import input_bytes, set_count
from attn2trt.engines.timing.latency import Latency
from attn2trt.engines.timing.machine import GPU_CACHE_BYTES
from attn2trt.engines.timing.method import Method
from attn2trt.engines.timing.paired import Difference
from attn2trt.engines.timing.runners import PlanRunner, TorchRunner
from attn2trt.engines.timing.timed_process import TimedProcess
from attn2trt.engines.timing.timed_run import Entry, TimedRun
from attn2trt.errors import Attn2trtError, CheckFailed
from attn2trt.validate.agreement import disagreement, wrong_output
from attn2trt.validate.cases import make_cases
from attn2trt.validate.recorded import recorded_cases
from attn2trt.workflows.cost_plan import cost_plan
from attn2trt.workflows.plan_cache import BuiltPlan
from attn2trt.workflows.variants import shape_texts

from .cached_plans import adopt
from .exporting import bundle_path
from .timing import ONCE
from .tune_search import Search
from .tune_work import COMPILED, EAGER, PLAIN, TuneCase

# Even, so that each model is timed as often before the others as after them.
METHOD = Method(
    seconds=0.36, iterations=36, max_seconds=1.5, rounds=12, warm_up_seconds=0.1, settle_seconds=0.003,
    pause_seconds=0.002, hot_share=0.0,
)  # fmt: skip
# Of a document of cost: this machine's own, which the run's document has already.
OF_THE_MACHINE = ("machine", "bundle", "versions", "conditions", "method")


@dataclass(frozen=True)
class Model:
    """A model to time: the words for it, its precision and entry, and what says that it computes something else."""

    what: str
    precision: str
    entry: Entry
    why_wrong: Callable[[TimedProcess], str]

    @property
    def key(self) -> str:
        """Return its name in a row."""
        return f"{self.what}, {self.precision}"


def timed(models: Sequence[Model], method: Method = METHOD) -> dict[str, Any]:
    """Check the models, then time them in turn; returns of each its milliseconds, or why there are none.

    Differences are those of the others less the first one that was timed.
    """
    by_key = {model.key: model for model in models}
    why: dict[str, str] = {}
    with TimedRun(
        {key: model.entry for key, model in by_key.items()}, method, threads=1, on_failure=why.__setitem__
    ) as run:
        run.load()
        wrong: dict[str, str] = {}
        run.each(lambda key, process: wrong.__setitem__(key, by_key[key].why_wrong(process)))
        for key in [key for key, found in wrong.items() if found and key in run.processes]:
            why[key] = f"it computes something else: {wrong[key]}"
            run.drop(key)
        run.warm_up(len(models))
        samples, watch = run.time()
    timing = []
    for key, model in by_key.items():
        about = {"what": model.what, "precision": model.precision, "input": model.entry.inputs[0].dtype}
        if key not in samples:
            timing.append({**about, "ms": None, "why": why.get(key, "it was not timed")})
            continue
        latency = Latency.of(samples[key].rotated)
        timing.append({**about, "ms": latency.median_ms, "p90_ms": latency.p90_ms, "why": ""})
    return {
        "timing": timing,
        "differences": _differences({key: found.round_medians_ms for key, found in samples.items()}),
        "gpu_clock": watch.conditions().gpu and vars(watch.conditions().gpu),
    }


def _differences(rounds: Mapping[str, Sequence[float]]) -> dict[str, dict[str, Any]]:
    if not rounds:
        return {}
    first, *others = rounds
    return {key: plain(Difference.between(rounds[first], rounds[key])) for key in others}


def built_model(what: str, search: Search, built: BuiltPlan) -> Model:
    """Return a plan of a search, judged on a recorded case that its profile holds."""
    recipe = search.recipe
    about = described(recipe.bundle, built.plan, sha256=built.sha256)
    return _plan_model(what, recipe.bundle, recipe.precision, built.path, about, search.sizes, search.case)


def plain_model(folder: Path, search: Search, built: Mapping[str, Any]) -> Model:
    """Return the plan of the plain export, as ``plain_plans.build_plain`` described it."""
    bundle, plan = search.recipe.bundle, Plan.from_json(built)
    about = described(bundle, plan, sha256=str(built["sha256"]))
    path = (folder / plain_plans.FOLDER / plan.file).resolve()
    return _plan_model(PLAIN, bundle, plan.precision, path, about, search.sizes, search.case)


def _plan_model(
    what: str, bundle: Bundle, precision: str, path: Path, about: str, sizes: Mapping[str, int], case: Any
) -> Model:
    io, inputs = bundle.io(precision), bundle.inputs_of(precision)
    sets = set_count(input_bytes(inputs, sizes), GPU_CACHE_BYTES)
    entry = Entry(
        PlanRunner(path, about, graphed=True, io=io), inputs, sizes, sets, METHOD.warm_up_seconds, on_device=True
    )
    return Model(
        what,
        precision,
        entry,
        lambda process: wrong_output(process.run, *case, precision=PRECISIONS[precision], io=io),
    )


def time_pytorch(folder: Path, case: TuneCase, batch: int, *, compiled: bool) -> dict[str, Any]:
    """Time PyTorch in float16 as CUDA graphs: eager and, if its kernels are there, compiled.

    Eager is judged on a recorded case, compiled beside eager at this batch: another one would be compiled anew.
    """
    bundle = open_bundle(bundle_path(folder, case))
    recorded, reference = next(recorded_cases(bundle))
    feeds = _feeds(bundle, batch)
    at_this_batch: dict[str, Any] = {}

    def eager_is_wrong(process: TimedProcess) -> str:
        at_this_batch.update(process.run(feeds))
        return disagreement(process.run(recorded.feeds), reference.outputs64, PRECISIONS[FP16])

    def compiled_is_wrong(process: TimedProcess) -> str:
        found = process.run(feeds)
        return disagreement(found, at_this_batch, PRECISIONS[FP16]) if at_this_batch else "eager did not run"

    models = [Model(EAGER, FP16, _torch_entry(folder, case, bundle, batch, compiled=False), eager_is_wrong)]
    if compiled:
        entry = _torch_entry(folder, case, bundle, batch, compiled=True)
        models.append(Model(COMPILED, FP16, entry, compiled_is_wrong))
    found = timed(models)
    if all(one["ms"] is None for one in found["timing"]):
        raise CheckFailed("; ".join(f"{one['what']}: {one['why']}" for one in found["timing"]))
    return found


def compile_pytorch(folder: Path, case: TuneCase, batch: int) -> dict[str, Any]:
    """Have PyTorch choose and compile its kernels for a batch; it keeps them in its cache for ``time_pytorch``.

    Raises CheckFailed if it does not.
    """
    bundle = open_bundle(bundle_path(folder, case))
    entry, feeds = _torch_entry(folder, case, bundle, batch, compiled=True), _feeds(bundle, batch)
    with TimedRun({COMPILED: entry}, ONCE, threads=1) as run:
        run.load()
        run.each(lambda _, process: process.run(feeds))
        run.warm_up()
        run.time()
    return {}


def _feeds(bundle: Bundle, batch: int) -> dict[str, Any]:
    fixed = [replace(spec, shape=spec.resolve(_sizes(bundle, batch))) for spec in bundle.inputs]
    return make_cases(fixed, {})[0].feeds


def _sizes(bundle: Bundle, batch: int) -> dict[str, int]:
    return {name: batch if name == "batch" else axis.opt for name, axis in bundle.axes.items()}


def _torch_entry(folder: Path, case: TuneCase, bundle: Bundle, batch: int, *, compiled: bool) -> Entry:
    sizes = _sizes(bundle, batch)
    runner = TorchRunner(
        spec=case.spec,
        shapes=tuple(shape_texts(bundle.inputs, sizes)),
        seed=0,
        weights=weights_path(folder, case).resolve(),
        output_names=tuple(output.name for output in bundle.outputs),
        compiled=compiled,
        on_gpu=True,
        half=True,
        graphed=True,
    )
    sets = set_count(input_bytes(bundle.inputs, sizes), GPU_CACHE_BYTES)
    return Entry(runner, bundle.inputs, sizes, sets, METHOD.warm_up_seconds, on_device=True)


def weights_path(folder: Path, case: TuneCase) -> Path:
    """Return the file with the weights of a case's module, for the processes that time PyTorch."""
    return folder / "weights" / f"{case.name}.pt"


def cost_of(search: Search, built: BuiltPlan) -> dict[str, Any]:
    """Return the document of ``attn2trt cost`` for a plan of a search, without what is the machine's own."""
    bundle, sizes = search.recipe.bundle, search.sizes
    with scratch("gpu-tune") as folder:
        adopted = adopt(bundle, built.graph.folder, folder / bundle.path.name)
        specs = adopted.inputs_of(search.recipe.precision)
        shapes = [f"{spec.name}={'x'.join(map(str, spec.resolve(sizes)))}" for spec in specs]
        cost = cost_plan(adopted, precision=search.recipe.precision, shapes=shapes, tuned=True, method=QUICK)
    return {name: value for name, value in cost.to_json().items() if name not in OF_THE_MACHINE}


def cost_or_why(search: Search, built: BuiltPlan) -> dict[str, Any]:
    """Return the same, or why there is none: what was timed before is not lost for it."""
    try:
        return {"cost": cost_of(search, built)}
    except Attn2trtError as error:
        return {"cost": None, "why_no_cost": str(error)}
