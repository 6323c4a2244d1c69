"""The timed run of ``cost`` on a GPU: plans as CUDA graphs, the same plans with a profiler, and copies, in turn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from ..core.bundle import Bundle
from ..core.file_hashes import require_unchanged
from ..core.manifest import REFERENCE
from ..core.module_path import is_part, is_part_of_any
from ..core.part_bytes import GraphBytes
from ..core.precision import PRECISIONS
from ..core.progress import Progress
from ..core.snapshot import copy_files
from ..core.tensor_spec import TensorSpec
from ..engines.node_times import NodeTimes
from ..engines.tensorrt.isolated import checked
from ..engines.tensorrt.layer_costs import LayerCost, Origin, layer_costs
from ..engines.tensorrt.layers import read_layers
from ..engines.tensorrt.plans import Plan, graph_of, kernels_name, modules_of
from ..engines.timing import machine
from ..engines.timing.core_latency import CoreWatch
from ..engines.timing.costs import Timing
from ..engines.timing.device_costs import PLAIN, Beside, BlockOnDevice, DeviceCost, PlanModel, Rates
from ..engines.timing.latency import Latency
from ..engines.timing.method import Limits, Method
from ..engines.timing.paired import Difference
from ..engines.timing.rounds import Samples
from ..engines.timing.runners import CopyRunner, PlanRunner
from ..engines.timing.stage_costs import Profile, Run, profile_of
from ..engines.timing.timed_process import TimedProcess
from ..engines.timing.timed_run import Cell, Entry, TimedRun, rotated_sets
from ..errors import CheckFailed, InputError
from ..modules.recorded_blocks import recorded_blocks
from ..validate.agreement import wrong_output
from ..validate.recorded import from_tensors
from .plan_sizes import recorded_case

# Rounds are even, so that each model is timed as often before the other as after it. A GPU is warm in a moment, and
# nothing of a process that waits runs on it.
METHOD = Method(seconds=1.0, rounds=12, warm_up_seconds=0.3, settle_seconds=0.01, pause_seconds=0.01)
MODEL = "model"
# Of copies that are large beside every cache, and of one that is nothing but its launch.
LARGE, SMALL = CopyRunner(1 << 29, 8), CopyRunner(4, 1, graphed=True)
COPY_SHARE = 0.1


@dataclass(frozen=True)
class HeldPlan:
    """The checked copy of a bundle, its plan that is timed, and the size of every axis."""

    bundle: Bundle
    plan: Plan
    sizes: Mapping[str, int]

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Return the inputs of the plan's graph."""
        return self.bundle.inputs_of(self.plan.precision)

    @property
    def modules(self) -> Mapping[str, str]:
        """Return the path of the PyTorch module of each node."""
        return modules_of(self.bundle, self.plan)

    @cached_property
    def blocks(self) -> dict[str, str]:
        """Return the name of the block at each module path."""
        return recorded_blocks(self.bundle.name, self.bundle.manifest.get("classes", ()))

    @cached_property
    def graph(self) -> GraphBytes:
        """Return the plan's graph at these sizes."""
        return GraphBytes.of_file(self.bundle.path / str(graph_of(self.bundle, self.plan)), self.sizes)

    def runner(self, *, profiled: bool) -> PlanRunner:
        """Return what loads the plan: as a CUDA graph, or with TensorRT's profiler."""
        io = self.bundle.io(self.plan.precision)
        return PlanRunner(*checked(self.bundle, self.plan), graphed=not profiled, io=io, profiled=profiled)

    def why_wrong(self, process: TimedProcess) -> str:
        """Judge the plan on a recorded case; returns the first output that is wrong, "" if none is."""
        entry = recorded_case(self.bundle, self.plan)
        assert entry is not None  # held with one
        recorded = next(from_tensors(self.bundle.reference_path, [entry]))
        precision, io = PRECISIONS[self.plan.precision], self.bundle.io(self.plan.precision)
        return wrong_output(process.run, *recorded, precision=precision, io=io)


def hold(bundle: Bundle, plan: Plan, sizes: Mapping[str, int], folder: Path) -> HeldPlan:
    """Copy what is read of a bundle, so that one that is replaced meanwhile changes nothing.

    Raises InputError if no recorded case can tell whether the plan is right, CheckFailed for a file that is not the one
    that the manifest lists, and StorageError if the bundle is replaced meanwhile.
    """
    if recorded_case(bundle, plan) is None:
        raise InputError(
            f"received {bundle.path}, whose {plan.file} holds no case that was recorded, so that nothing says if it is "
            "right; expected one that attn2trt deploy has judged; compile it without --profile"
        )
    require_unchanged(bundle)
    graph = graph_of(bundle, plan)
    wanted = [plan.file, kernels_name(plan.file), str(graph), f"{graph}.data", REFERENCE]
    return HeldPlan(copy_files(bundle, [one for one in wanted if one in bundle.manifest["files"]], folder), plan, sizes)


class PlanBench:
    """Every plan twice, and the copies, each in a process of its own: loaded, compared, timed in turn."""

    def __init__(self, models: Mapping[str, HeldPlan], method: Method, progress: Progress) -> None:
        self._models, self._method, self._progress = models, method, progress

    def cost(self, folder: str) -> DeviceCost:
        """Return everything of the run. Raises CheckFailed for the first plan that is wrong or breaks."""
        held = self._models[MODEL]
        with TimedRun(self._entries(), self._method, threads=1) as run:
            self._progress(f"loading {len(self._models)} plans twice, and copies that measure the GPU")
            names = run.load()
            self._progress("comparing outputs with those that were recorded")
            run.each(self._compare)
            self._progress("warming up")
            run.warm_up()
            self._progress("timing plans, layers and copies in turn")
            # nothing is passed from core to core
            samples, watch = run.time(CoreWatch(lambda: None))
            self._progress("reading layers")
            times = {name: run.processes[Cell("layers", name)].node_times() for name in self._models}
            layers = {name: self._layers(name, run, times[name]) for name in self._models}
            conditions = watch.conditions()
        models = {name: self._model(name, samples, layers[name], times[name]) for name in self._models}
        return DeviceCost(
            target=held.bundle.name,
            bundle=folder,
            runtime=held.plan.flavour,
            built_by=held.plan.built_by,
            gpu=names[Cell("copy", "large")],
            precision=held.plan.precision,
            inputs={spec.name: spec.resolve(held.sizes) for spec in held.inputs},
            method=self._method,
            machine=machine.describe(),
            versions=dict(machine.installed_versions()),
            conditions=conditions,
            rates=Rates(LARGE.moved / _seconds(samples, "large"), _seconds(samples, "small") * 1e3),
            model=models[MODEL],
            blocks=tuple(_blocks(held, layers[MODEL])),
            beside=self._beside(models, times) if PLAIN in models else None,
            reference=held.bundle.reference_hash,
        )

    def _entries(self) -> dict[Cell, Entry]:
        """Return the whole plans, adjacent in every round, then those with a profiler, then the copies."""
        method, turn = self._method, self._method.turn()
        few = Limits(0, turn.min_iterations, turn.max_seconds, turn.settle_seconds)
        part = replace(turn, min_seconds=turn.min_seconds * COPY_SHARE, max_seconds=turn.max_seconds * COPY_SHARE)
        entries = {}
        for name in self._models:
            entries[Cell("whole", name)] = replace(self._entry(name, profiled=False), on_device=True)
        for name in self._models:
            entries[Cell("layers", name)] = replace(self._entry(name, profiled=True), limits=few)
        for name, runner in (("large", LARGE), ("small", SMALL)):
            seconds = method.warm_up_seconds * COPY_SHARE
            entries[Cell("copy", name)] = Entry(runner, (), {}, 1, seconds, part, on_device=True)
        return entries

    def _entry(self, name: str, *, profiled: bool) -> Entry:
        held = self._models[name]
        sets = rotated_sets(held.inputs, held.sizes, machine.GPU_CACHE_BYTES)
        warm_up_seconds = None if profiled else self._method.warm_up_seconds
        return Entry(held.runner(profiled=profiled), held.inputs, held.sizes, sets, warm_up_seconds)

    def _compare(self, key: Cell, process: TimedProcess) -> None:
        """Raise CheckFailed unless the plan computes what was recorded."""
        if key.part != "copy" and (why := self._models[key.name].why_wrong(process)):
            held = self._models[key.name]
            raise CheckFailed(
                f"{held.plan.file} of {held.bundle.name} computes something else than was recorded: {why}; nothing was "
                "timed; run attn2trt validate on the bundle, whose verdict says where"
            )

    def _layers(self, name: str, run: TimedRun[Cell], times: NodeTimes) -> tuple[LayerCost, ...]:
        """Return the cost of each layer. Raises CheckFailed if the inspector's document cannot be read."""
        held = self._models[name]
        try:
            layers = read_layers(run.processes[Cell("layers", name)].layers())
        except ValueError as error:
            raise CheckFailed(f"{held.plan.file}: {error}; run attn2trt compile again") from None
        return layer_costs(layers, times, Origin(held.graph, held.modules, tuple(held.blocks)))

    def _model(
        self, name: str, samples: Mapping[Cell, Samples], layers: tuple[LayerCost, ...], times: NodeTimes
    ) -> PlanModel:
        held, found = self._models[name], samples[Cell("whole", name)]
        timing = Timing(Latency.of(found.rotated), Latency.of(found.hot), found.round_medians_ms)
        least = held.graph.least(held.graph.nodes)
        return PlanModel(held.bundle.name, held.plan.file, timing, least, layers, len(times.microseconds))

    def _beside(self, models: Mapping[str, PlanModel], times: Mapping[str, NodeTimes]) -> Beside:
        plain, model = models[PLAIN], models[MODEL]
        return Beside(
            plain=plain,
            difference=Difference.between(plain.timing.round_medians_ms, model.timing.round_medians_ms),
            profile=self._profile(models, times),
        )

    def _profile(self, models: Mapping[str, PlanModel], times: Mapping[str, NodeTimes]) -> Profile:
        runs = {name: _run(self._models[name], model, times[name]) for name, model in models.items()}
        return profile_of(runs[PLAIN], runs[MODEL], list(self._models[MODEL].blocks))


def _run(held: HeldPlan, model: PlanModel, times: NodeTimes) -> Run:
    """Return a plan's profile; a layer that a block shares with the rest belongs to the rest."""
    kinds = {layer.name: layer.kind for layer in model.layers}
    homes = {layer.name: _home(layer, held.blocks) for layer in model.layers if layer.modules}
    named = NodeTimes(times.names, tuple(kinds.get(name, "") for name in times.names), times.microseconds)
    return Run(named, homes, tuple(held.modules.values()), model.layers_ms / model.ms)


def _home(layer: LayerCost, blocks: Mapping[str, str]) -> str:
    outside = [path for path in layer.modules if not is_part_of_any(path, blocks)]
    return outside[0] if outside else layer.modules[0]


def _blocks(held: HeldPlan, layers: tuple[LayerCost, ...]) -> list[BlockOnDevice]:
    """Return the blocks of a model that has more than one block, in the order in which they stand there."""
    found = []
    for path, kind in held.blocks.items():
        if path:
            nodes = [name for name, home in held.modules.items() if is_part(home, path)]
            ms = {
                place: sum(one.ms or 0.0 for one in layers if (one.block, one.place) == (path, place))
                for place in ("block", "shared")
            }
            found.append(BlockOnDevice(path, kind, ms["block"], ms["shared"], held.graph.least(nodes)))
    return found


def _seconds(samples: Mapping[Cell, Samples], name: str) -> float:
    """Return the seconds that a call of the copy of this name takes."""
    return Latency.of(samples[Cell("copy", name)].rotated).median_ms / 1e3
