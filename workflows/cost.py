"""``cost``: what a block costs in its backbone, beside what it must cost on this machine."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from ..core.graph import DEFAULT_OPSET, OPSETS
from ..core.progress import Progress
from ..core.scratch import scratch
from ..engines import roofline
from ..engines.node_times import NodeTimes, node_homes
from ..engines.ort_runtime import CPU, OPTIMISED
from ..engines.timing import machine
from ..engines.timing.core_latency import CoreWatch
from ..engines.timing.costs import Added, BlockAlone, Cost, Model, Timing
from ..engines.timing.inputs import input_bytes, set_count
from ..engines.timing.latency import Latency
from ..engines.timing.method import Limits, Method
from ..engines.timing.paired import Difference
from ..engines.timing.rounds import Samples, interleave
from ..engines.timing.runners import OrtRunner
from ..engines.timing.stage_costs import Limited, Profile, Run, profile_of
from ..engines.timing.timed_process import TimedProcess
from ..errors import CheckFailed, InputError
from ..validate.cases import make_cases
from ..validate.verdict import judge_case
from .benchmark import installed_versions
from .cost_variants import PLAIN, TARGET, Subject, check_target, subjects
from .options import Weights

# Even, so that each model is timed as often before the other as after it.
ROUNDS = 12
AGAIN = "plain backbone again"
# Another process had the caches until now; calls of a profiled graph are few, since each writes to the profile.
PROFILE_SETTLE_SECONDS = 0.005
PROBE_SHARE = 0.1

Key = tuple[str, str]  # (what is done with it, its name)


def cost(
    target: str,
    *,
    threads: int | None = None,
    method: Method | None = None,
    shapes: Sequence[str] = (),
    dynamic: str | None = None,
    seed: int = 0,
    pretrained: bool = False,
    checkpoint: Path | str | None = None,
    opset: int = DEFAULT_OPSET,
    progress: Progress | None = None,
) -> Cost:
    """Time ``target`` in ONNX Runtime on the CPU, a backbone with blocks beside the backbone without them.

    ``target`` is a backbone with blocks, or a block or a module of the user's own, which needs ``shapes``. ``threads``
    defaults to the physical cores. Raises InputError for wrong arguments, what ``deploy`` raises where the target
    cannot be exported, and CheckFailed if ONNX Runtime computes something else than PyTorch, or breaks.
    """
    rules = method if method is not None else Method(rounds=ROUNDS)
    told: Progress = progress if progress is not None else lambda _text: None
    count = threads if threads is not None else machine.physical_cores()
    if count < 1:
        raise InputError(f"received {count} threads; expected 1 or more; correct threads")
    if opset not in OPSETS:
        raise InputError(f"opset {opset} is not supported; expected {OPSETS.start} to {OPSETS.stop - 1}")
    check_target(target, shapes)
    with scratch("cost") as folder:
        found = subjects(
            target,
            folder,
            shapes=shapes,
            dynamic=dynamic,
            weights=Weights(seed=seed, pretrained=pretrained, checkpoint=checkpoint),
            opset=opset,
            progress=told,
        )
        return _Bench({subject.name: subject for subject in found}, folder, count, rules, told).cost(target)


@dataclass(frozen=True)
class _Part:
    """A process that gets only a part of a turn, on inputs that rotate."""

    process: TimedProcess
    limits: Limits

    def turn(self, limits: Limits, *, hot: bool) -> list[int]:
        return [] if hot else self.process.turn(self.limits, hot=False)


class _Bench:
    """Every graph in a process of its own: loaded, compared with PyTorch, timed in turn."""

    def __init__(
        self, found: Mapping[str, Subject], folder: Path, threads: int, method: Method, progress: Progress
    ) -> None:
        self._found, self._folder, self._threads = found, folder, threads
        self._method, self._progress = method, progress
        self._cache = machine.last_level_cache_bytes()
        self._probes = roofline.probes(folder, self._cache)
        # adjacent in every round: they are compared with each other
        models = [PLAIN, TARGET] if PLAIN in found else [TARGET]
        again = [AGAIN] if PLAIN in found else []
        self._names = [*again, *models, *(name for name in found if name not in models)]
        self._profiled = models if PLAIN in found else []

    def cost(self, spec: str) -> Cost:
        """Everything of the run; raises CheckFailed for the first graph that is wrong or breaks."""
        with ExitStack() as stack:
            self._progress(f"loading {len(self._names)} graphs, and {len(self._probes)} that measure the machine")
            models = {name: self._started(stack, self._subject(name).graph.path) for name in self._names}
            probing = {probe.name: self._started(stack, probe.path) for probe in self._probes}
            profiled = {name: self._started_with_profile(stack, name) for name in self._profiled}
            self._progress("comparing outputs with PyTorch's")
            for name, process in models.items():
                self._compare(name, process)
            self._progress("warming up")
            for name, process in models.items():
                self._prepare(self._subject(name), process)
                process.warm_up(self._method.warm_up_seconds)
            for name, process in profiled.items():
                self._prepare(self._subject(name), process)
            for probe in self._probes:
                probing[probe.name].prepare(probe.inputs, {}, sets=1)
                probing[probe.name].warm_up(self._method.warm_up_seconds * PROBE_SHARE)
            self._progress(f"timing {len(self._names)} graphs in turn")
            everyone = [*models.values(), *probing.values(), *profiled.values()]
            watch, used, own = machine.Watch(), _cpu_seconds(everyone), time.process_time()
            cores = CoreWatch()
            samples = self._time(models, probing, profiled, cores)
            spent = _cpu_seconds(everyone) - used + time.process_time() - own
            conditions = watch.conditions(spent, cores.distance())
            self._progress("reading the profile")
            nodes = {name: process.node_times() for name, process in profiled.items()}
        seconds = {
            probe.name: Latency.of(samples["probe", probe.name].rotated).median_ms / 1e3 for probe in self._probes
        }
        rates = roofline.rates_of(self._probes, seconds)
        found = {name: self._model(name, samples["model", name], rates) for name in self._names}
        subject = self._found[TARGET]
        return Cost(
            target=spec,
            inputs={item.name: item.resolve(subject.sizes) for item in subject.inputs},
            threads=self._threads,
            method=self._method,
            machine=machine.describe(),
            versions=dict(installed_versions()),
            conditions=conditions,
            rates=rates,
            model=found[TARGET],
            added=self._added(found, samples, nodes, rates) if PLAIN in found else None,
        )

    def _subject(self, name: str) -> Subject:
        return self._found[PLAIN if name == AGAIN else name]

    def _started(self, stack: ExitStack, graph: Path, profile: Path | None = None) -> TimedProcess:
        return stack.enter_context(TimedProcess(OrtRunner(graph, CPU, profile), threads=self._threads))

    def _started_with_profile(self, stack: ExitStack, name: str) -> TimedProcess:
        self._profile_folder(name).mkdir()
        return self._started(stack, self._found[name].graph.path, self._profile_folder(name))

    def _profile_folder(self, name: str) -> Path:
        return self._folder / f"profile of the {name}"

    def _compare(self, name: str, process: TimedProcess) -> None:
        """Raise CheckFailed unless the graph computes what the module does, by the verdict's floors."""
        from ..validate.reference import references

        subject = self._subject(name)
        fixed = [replace(item, shape=item.resolve(subject.sizes)) for item in subject.inputs]
        case = make_cases(fixed, {})[0]
        (reference,) = references(subject.module, [case], [output.name for output in subject.graph.outputs])
        wrong = [found for _, found in judge_case(process.run, case, reference) if not found.passed]
        if wrong:
            raise CheckFailed(
                f"{name}: ONNX Runtime computes something else than PyTorch: {wrong[0].output} is {wrong[0].detail}; "
                f"nothing was timed; run attn2trt deploy {subject.target.name}, whose verdict says where"
            )

    def _prepare(self, subject: Subject, process: TimedProcess) -> None:
        sets = set_count(input_bytes(subject.inputs, subject.sizes), self._cache)
        process.prepare(subject.inputs, subject.sizes, sets=sets)

    def _time(
        self,
        models: Mapping[str, TimedProcess],
        probing: Mapping[str, TimedProcess],
        profiled: Mapping[str, TimedProcess],
        cores: CoreWatch,
    ) -> dict[Key, Samples]:
        turn = self._method.turn()
        probe = replace(turn, min_seconds=turn.min_seconds * PROBE_SHARE, max_seconds=turn.max_seconds * PROBE_SHARE)
        few = Limits(0, turn.min_iterations, turn.max_seconds, min(turn.settle_seconds, PROFILE_SETTLE_SECONDS))
        samples, failed = interleave(
            {
                **{("model", name): process for name, process in models.items()},
                **{("profile", name): _Part(process, few) for name, process in profiled.items()},
                **{("probe", name): _Part(process, probe) for name, process in probing.items()},
            },
            self._method,
            cores=cores,
        )
        for (_, name), why in failed.items():
            raise CheckFailed(f"{name}: {why}; run the command again, with smaller sizes where memory ran out")
        return samples

    def _model(self, name: str, samples: Samples, rates: roofline.Rates) -> Model:
        counted = self._subject(name).counted
        timing = Timing(Latency.of(samples.rotated), Latency.of(samples.hot), samples.round_medians_ms)
        return Model(name, timing, roofline.Limit.of(counted, rates), counted.uncounted)

    def _added(
        self,
        models: Mapping[str, Model],
        samples: Mapping[Key, Samples],
        nodes: Mapping[str, NodeTimes],
        rates: roofline.Rates,
    ) -> Added:
        plain, target, again = (models[name].timing.round_medians_ms for name in (PLAIN, TARGET, AGAIN))
        blocks = tuple(
            BlockAlone(subject.block.kind, subject.block.shape, subject.block.paths, models[name], subject.replaces)
            for name, subject in self._found.items()
            if subject.block is not None
        )
        return Added(
            plain=models[PLAIN],
            difference=Difference.between(plain, target),
            control=Difference.between(plain, again),
            blocks=blocks,
            profile=self._profile([path for block in blocks for path in block.paths], models, samples, nodes, rates),
        )

    def _profile(
        self,
        blocks: Sequence[str],
        models: Mapping[str, Model],
        samples: Mapping[Key, Samples],
        nodes: Mapping[str, NodeTimes],
        rates: roofline.Rates,
    ) -> Profile:
        runs = {}
        for name in self._profiled:
            graph = self._found[name].graph
            homes = node_homes(graph.path, self._profile_folder(name) / OPTIMISED, graph.modules)
            profiled = Latency.of(samples["profile", name].rotated).median_ms
            runs[name] = Run(
                nodes[name], homes, tuple(graph.modules.values()), profiled / models[name].timing.latency.median_ms
            )
        subject = self._found[TARGET]
        limits = [
            Limited(
                subject.graph.modules.get(operator.name, ""),
                operator.kind,
                rates.seconds(operator.bytes, operator.operations) * 1e3,
            )
            for operator in subject.counted.operators
        ]
        return profile_of(runs[PLAIN], runs[TARGET], blocks, limits)


def _cpu_seconds(processes: Sequence[TimedProcess]) -> float:
    return sum(float(process.usage()["cpu_seconds"]) for process in processes)
