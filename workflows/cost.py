"""``cost``: measure what a block costs in its backbone, and the least that it can cost on this machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ..core.arguments import checked
from ..core.graph import DEFAULT_OPSET, require_opset
from ..core.progress import Progress, silent
from ..core.scratch import scratch
from ..core.traffic import traffic
from ..engines import roofline
from ..engines.node_times import NodeTimes, node_homes
from ..engines.ort_runtime import CPU, OPTIMISED
from ..engines.timing import machine
from ..engines.timing.costs import Added, BlockAlone, Cost, Model, Timing
from ..engines.timing.latency import Latency
from ..engines.timing.method import Limits, Method
from ..engines.timing.paired import Difference
from ..engines.timing.rounds import Samples
from ..engines.timing.runners import OrtRunner
from ..engines.timing.stage_costs import Limited, Profile, Run, profile_of
from ..engines.timing.timed_process import TimedProcess
from ..engines.timing.timed_run import Cell, Entry, TimedRun, rotated_sets
from ..errors import CheckFailed, InputError
from ..modules.block_index import block_names
from ..modules.grammar import is_folder_path, parse
from ..modules.packages import require
from ..validate.agreement import wrong_output
from ..validate.cases import make_cases
from .default_device import on_cpu
from .earlier_keywords import with_earlier_keywords
from .options import Weights
from .variants import (
    BACKBONE,
    TARGET,
    Exporter,
    Variant,
    export_backbone,
    export_blocks,
    export_target,
    resolve_as_asked,
)

# Even, so that each model is timed as often before the other as after it.
ROUNDS = 12
AGAIN = "plain backbone again"
# Another process had the caches until now; calls of a profiled graph are few, since each writes to the profile.
PROFILE_SETTLE_SECONDS = 0.005
PROBE_SHARE = 0.1


@with_earlier_keywords
@checked
@on_cpu
def cost(
    target: str,
    *,
    shapes: Sequence[str] = (),
    dynamic: str | None = None,
    weights: Weights | None = None,
    opset: int = DEFAULT_OPSET,
    threads: int | None = None,
    method: Method | None = None,
    progress: Progress | None = None,
) -> Cost:
    """Time a target in ONNX Runtime on the CPU: a backbone with blocks beside the backbone without them.

    Args:
        target: A backbone with blocks. Or a block or a module of the user's own, which needs ``shapes``.
        shapes: Traced input shapes.
        dynamic: The ranges of axes.
        weights: The source of the weights.
        opset: That of the graphs.
        threads: The threads of ONNX Runtime; by default the physical cores.
        method: The rules of the clock.
        progress: Called with a line for every step.

    Returns:
        The latencies, their difference, and the limits of the machine.

    Raises:
        InputError: An argument is wrong, or the target cannot be exported (ModuleRefused).
        CheckFailed: ONNX Runtime computes something else than PyTorch, or breaks.
        MissingRequirement: What the ``export`` extra installs is missing.
    """
    count = machine.thread_count(threads)
    require_opset(opset)
    check_target(target, shapes)
    rules = method if method is not None else Method(rounds=ROUNDS)
    with scratch("cost") as folder:
        exporter = Exporter(folder, opset, progress or silent)
        found = _variants(target, shapes, dynamic, weights or Weights(), exporter)
        return _Bench(found, exporter, count, rules).cost(target)


def check_target(spec: str, shapes: Sequence[str]) -> None:
    """Raise InputError for a backbone without a block, a block without its shape, and a bundle."""
    from ..modules import catalog

    if is_folder_path(spec):  # a folder that happens to have the name of a target is none
        raise InputError(
            f"received {spec}, the path of a folder; expected a TARGET, since no bundle holds the plain backbone; "
            "name what it was deployed from, as resnet50+cbam, or add --runtime tensorrt for the cost of its plan"
        )
    parsed = parse(spec)
    if parsed.insertions or parsed.base.is_user_code:
        return
    if parsed.base.name not in block_names():
        require()
        catalog.read(spec, shapes=shapes)  # an unknown name is its own error
        raise InputError(
            f"received {spec}, a backbone without a block; expected one with the block whose cost is asked for; "
            f"write {spec}+cbam{'@PATH' if parsed.base.library else ''}"
        )
    if not shapes:
        raise InputError(
            f"received block {spec!r} without a shape; expected the one that it is given in its model, "
            "which decides what it costs; add --shape 1x64x112x112"
        )


def _variants(
    spec: str, shapes: Sequence[str], dynamic: str | None, weights: Weights, exporter: Exporter
) -> list[Variant]:
    """Export the target and, of a backbone with blocks, the plain backbone and each kind of block alone.

    Raises what ``deploy`` raises.
    """
    from ..modules import catalog
    from ..modules.inserted import inserted

    require()
    exporter.progress("resolving the target")
    resolved = resolve_as_asked(spec, shapes, dynamic, weights)
    target = export_target(resolved, exporter)
    plain = export_backbone(spec, resolved, weights, exporter)
    if plain is None:
        return [target]
    blocks = inserted(catalog.read(spec, shapes=shapes, dynamic=dynamic, seed=weights.seed, trust=weights.trust))
    return [target, plain, *export_blocks(blocks, target, plain, exporter)]


class _Bench:
    """Every graph in a process of its own: loaded, compared with PyTorch, timed in turn."""

    def __init__(self, variants: Sequence[Variant], exporter: Exporter, threads: int, method: Method) -> None:
        self._folder, self._progress = exporter.folder, exporter.progress
        self._variants = {variant.name: variant for variant in variants}
        self._counted = {one.name: traffic(one.made.graph.path, one.sizes) for one in variants}
        self._threads, self._method = threads, method
        self._cache = machine.last_level_cache_bytes()
        self._probes = roofline.probes(self._folder, self._cache)
        # adjacent in every round: they are compared with each other
        models = [BACKBONE, TARGET] if BACKBONE in self._variants else [TARGET]
        again = [AGAIN] if BACKBONE in self._variants else []
        self._names = [*again, *models, *(name for name in self._variants if name not in models)]
        self._profiled = models if BACKBONE in self._variants else []

    def cost(self, spec: str) -> Cost:
        """Return everything of the run. Raises CheckFailed for the first graph that is wrong or breaks."""
        samples, conditions, nodes = self._timed()
        seconds = {
            probe.name: Latency.of(samples[Cell("probe", probe.name)].rotated).median_ms / 1e3 for probe in self._probes
        }
        rates = roofline.rates_of(self._probes, seconds)
        models = {name: self._model(name, samples[Cell("model", name)], rates) for name in self._names}
        target = self._variants[TARGET]
        return Cost(
            target=spec,
            inputs={item.name: item.resolve(target.sizes) for item in target.inputs},
            threads=self._threads,
            method=self._method,
            machine=machine.describe(),
            versions=dict(machine.installed_versions()),
            conditions=conditions,
            rates=rates,
            model=models[TARGET],
            added=self._added(models, samples, nodes, rates) if BACKBONE in models else None,
        )

    def _timed(self) -> tuple[dict[Cell, Samples], machine.Conditions, dict[str, NodeTimes]]:
        """Load, compare and time everything; returns the samples, and the times of the nodes of profiled graphs."""
        with TimedRun(self._entries(), self._method, threads=self._threads) as run:
            count = len(self._names)
            self._progress(f"loading {count} graphs, and {len(self._probes)} that measure the machine")
            run.load()
            self._progress("comparing outputs with PyTorch's")
            run.each(self._compare)
            self._progress("warming up")
            run.warm_up()
            self._progress(f"timing {count} graphs in turn")
            samples, watch = run.time()
            conditions = watch.conditions()
            self._progress("reading the profile")
            nodes = {name: run.processes[Cell("profile", name)].node_times() for name in self._profiled}
        return samples, conditions, nodes

    def _entries(self) -> dict[Cell, Entry]:
        """Return the models, then those with a profile, then the graphs that measure the machine."""
        turn, warm_up = self._method.turn(), self._method.warm_up_seconds
        few = Limits(0, turn.min_iterations, turn.max_seconds, min(turn.settle_seconds, PROFILE_SETTLE_SECONDS))
        part = replace(turn, min_seconds=turn.min_seconds * PROBE_SHARE, max_seconds=turn.max_seconds * PROBE_SHARE)
        entries = {Cell("model", name): self._entry(name, warm_up_seconds=warm_up) for name in self._names}
        for name in self._profiled:
            self._profile_folder(name).mkdir()
            entry = self._entry(name, warm_up_seconds=None, profile=self._profile_folder(name))
            entries[Cell("profile", name)] = replace(entry, limits=few)
        for probe in self._probes:
            runner = OrtRunner(probe.path, CPU)
            entries[Cell("probe", probe.name)] = Entry(runner, probe.inputs, {}, 1, warm_up * PROBE_SHARE, part)
        return entries

    def _entry(self, name: str, *, warm_up_seconds: float | None, profile: Path | None = None) -> Entry:
        variant = self._variant(name)
        sets = rotated_sets(variant.inputs, variant.sizes, self._cache)
        runner = OrtRunner(variant.made.graph.path, CPU, profile)
        return Entry(runner, variant.inputs, variant.sizes, sets, warm_up_seconds)

    def _variant(self, name: str) -> Variant:
        return self._variants[BACKBONE if name == AGAIN else name]

    def _profile_folder(self, name: str) -> Path:
        return self._folder / f"profile of the {name}"

    def _compare(self, key: Cell, process: TimedProcess) -> None:
        """Raise CheckFailed unless the graph computes what the module does, by the verdict's floors."""
        from ..validate.reference import references

        if key.part != "model":
            return
        variant = self._variant(key.name)
        fixed = [replace(item, shape=item.resolve(variant.sizes)) for item in variant.inputs]
        case = make_cases(fixed, {})[0]
        (reference,) = references(variant.made.module, [case], variant.made.output_names)
        if why := wrong_output(process.run, case, reference):
            raise CheckFailed(
                f"{key}: ONNX Runtime computes something else than PyTorch: {why}; nothing was timed; "
                f"run attn2trt deploy {variant.made.target.name}, whose verdict says where"
            )

    def _model(self, name: str, samples: Samples, rates: roofline.Rates) -> Model:
        counted = self._counted[BACKBONE if name == AGAIN else name]
        timing = Timing(Latency.of(samples.rotated), Latency.of(samples.hot), samples.round_medians_ms)
        return Model(name, timing, roofline.Limit.of(counted, rates), counted.uncounted)

    def _added(
        self,
        models: Mapping[str, Model],
        samples: Mapping[Cell, Samples],
        nodes: Mapping[str, NodeTimes],
        rates: roofline.Rates,
    ) -> Added:
        plain, target, again = (models[name].timing.round_medians_ms for name in (BACKBONE, TARGET, AGAIN))
        blocks = tuple(
            BlockAlone(one.block.kind, one.block.shape, one.block.paths, models[one.name], one.replaces)
            for one in self._variants.values()
            if one.block is not None
        )
        runs = {name: self._run(name, models[name], samples[Cell("profile", name)], nodes[name]) for name in nodes}
        return Added(
            plain=models[BACKBONE],
            difference=Difference.between(plain, target),
            control=Difference.between(plain, again),
            blocks=blocks,
            profile=self._profile(runs, [path for block in blocks for path in block.paths], rates),
        )

    def _run(self, name: str, model: Model, samples: Samples, nodes: NodeTimes) -> Run:
        """Return the profile of one graph, with the slowdown by the profile itself."""
        graph = self._variant(name).made.graph
        homes = node_homes(graph.path, self._profile_folder(name) / OPTIMISED, graph.modules)
        slowdown = Latency.of(samples.rotated).median_ms / model.timing.latency.median_ms
        return Run(nodes, homes, tuple(graph.modules.values()), slowdown)

    def _profile(self, runs: Mapping[str, Run], blocks: Sequence[str], rates: roofline.Rates) -> Profile:
        modules = self._variants[TARGET].made.graph.modules
        limits = [
            Limited(
                modules.get(operator.name, ""),
                operator.kind,
                rates.seconds(operator.bytes, operator.operations) * 1e3,
            )
            for operator in self._counted[TARGET].operators
        ]
        return profile_of(runs[BACKBONE], runs[TARGET], blocks, limits)
