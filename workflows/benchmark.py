"""``benchmark``: the same model in every runtime of this machine, checked against each other, then timed in turn."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from ..core import graph_io
from ..core.bundle import MANIFEST, Folder, open_bundle
from ..core.graph import DEFAULT_OPSET
from ..core.graph_io import fed, with_io
from ..core.precision import FLOAT32, PRECISIONS, Precision
from ..core.progress import Progress, silent
from ..core.scratch import scratch
from ..engines.runtime import Arrays
from ..engines.timing import machine
from ..engines.timing.core_latency import CoreWatch
from ..engines.timing.inputs import input_bytes
from ..engines.timing.latency import Latency
from ..engines.timing.method import Method
from ..engines.timing.results import Benchmark, Measurement, Row, Status
from ..engines.timing.rounds import Samples
from ..engines.timing.runners import Runner
from ..engines.timing.runtimes import RUNTIMES, GraphRuntime, ModuleRuntime, check_names
from ..engines.timing.timed_process import TimedProcess
from ..engines.timing.timed_run import Entry, TimedRun, rotated_sets
from ..errors import InputError
from ..modules.grammar import is_file, onnx_path
from ..validate.agreement import disagreement, wrong_output
from ..validate.cases import Case, make_cases
from ..validate.near_ties import Mask
from .batches import check_batches, usual_batch, with_batches
from .bundle_variants import from_bundle, plan_kinds
from .earlier_keywords import with_earlier_keywords
from .near_ties import find_unsettled, shares_left_out
from .options import Weights
from .variant_runners import ModuleRunners, of_backbone
from .variants import Exporter, Variant, export_backbone, export_target, resolve_as_asked

Key = tuple[str, str]  # (model, runtime)


@dataclass(frozen=True)
class _Request:
    """The arguments that say what is timed."""

    target: str
    runtimes: Sequence[str]
    batches: Sequence[int]
    shapes: Sequence[str]
    dynamic: str | None
    weights: Weights
    opset: int
    backbone: bool
    progress: Progress


@dataclass(frozen=True)
class _Models:
    """The models to time, with the name of the target and, for a bundle, its folder."""

    title: str
    bundle: str
    variants: Sequence[Variant]


@with_earlier_keywords
def benchmark(
    target: Folder,
    *,
    batches: Sequence[int] = (),
    runtimes: Sequence[str] = (),
    threads: int | None = None,
    method: Method | None = None,
    shapes: Sequence[str] = (),
    dynamic: str | None = None,
    weights: Weights | None = None,
    opset: int = DEFAULT_OPSET,
    beside: Sequence[Variant] = (),
    backbone: bool = True,
    progress: Progress | None = None,
) -> Benchmark:
    """Time a target or a bundle at each batch in each runtime of this machine.

    A bundle needs no PyTorch, and is read from a checked copy: replaced meanwhile, it is timed as it was. A runtime
    that is not here, computes something else or fails is a row of the result.

    Args:
        target: A TARGET, an ONNX file, or the folder of a bundle.
        batches: The batches; by default the one that is traced.
        runtimes: Names of runtimes.py; by default all that apply.
        threads: The threads of each runtime; by default the physical cores.
        method: The rules of the clock.
        shapes: Traced input shapes, of a TARGET alone.
        dynamic: The ranges of axes, of a TARGET alone.
        weights: The source of the weights, of a TARGET alone.
        opset: That of the graph, of a TARGET alone.
        beside: More models with the same inputs and axes, timed in the same turns.
        backbone: Time the target's plain backbone as well.
        progress: Called with a line for every step.

    Returns:
        A row for each model, runtime and batch, with the machine and its conditions.

    Raises:
        InputError: An argument is wrong, or the target cannot be exported (ModuleRefused).
        CheckFailed: A file of the bundle is not the one that its manifest lists.
        StorageError: The bundle is replaced while it is copied.
        MissingRequirement: A TARGET needs what the ``export`` extra installs.
    """
    check_names(runtimes)
    count, wanted = machine.thread_count(threads), _checked(batches)
    request = _Request(
        os.fspath(target), runtimes, wanted, shapes, dynamic, weights or Weights(), opset, backbone, progress or silent
    )
    rules = method if method is not None else Method()
    with scratch("benchmark") as folder:
        models = _models(request, folder, of_name=isinstance(target, str))
        first = models.variants[0]
        check_batches(wanted, first.inputs, first.axes)
        variants = [*models.variants, *beside]
        cells = [_Batch(variants, batch, count, rules, request.progress) for batch in wanted or [usual_batch(first)]]
        rows = [row for cell in cells for row in cell.rows()]
    return Benchmark(
        target=models.title,
        bundle=models.bundle,
        threads=count,
        method=rules,
        machine=machine.describe(),
        versions=dict(machine.installed_versions()),
        sizes={cell.batch: cell.shapes for cell in cells},
        conditions={cell.batch: cell.conditions for cell in cells if cell.conditions is not None},
        rows=tuple(rows),
    )


def is_bundle(target: str) -> bool:
    """Return True if ``target`` means a folder: one that is there, or what looks like the path of one."""
    # A backbone's options may hold a slash, after a colon: resnet50:out_indices=2/3/4
    looks_like_one = "/" in target and ":" not in target and not is_file(target)
    return Path(target, MANIFEST).is_file() or Path(target).is_dir() or looks_like_one


def _models(request: _Request, folder: Path, *, of_name: bool) -> _Models:
    """Return the models of a bundle, of an ONNX file, or of a TARGET."""
    if of_name and not Path(request.target).is_dir() and (file := onnx_path(request.target)) is not None:
        return _from_file(request, file, folder)
    return (_from_bundle if not of_name or is_bundle(request.target) else _from_target)(request, folder)


def _checked(batches: Sequence[int]) -> list[int]:
    """Return the batches in order. Raises InputError for one below 1."""
    wanted = sorted(set(batches))
    if wanted and wanted[0] < 1:
        raise InputError(f"received batches {wanted}; expected numbers of 1 or more; correct them")
    return wanted


def _from_bundle(request: _Request, folder: Path) -> _Models:
    """Return the models of a bundle. Raises InputError for options that go with a TARGET."""
    opened = open_bundle(request.target)
    _refuse_build_options(request)
    check_batches(request.batches, opened.inputs, opened.axes)
    names = check_names(request.runtimes, plans=plan_kinds(opened))
    found = from_bundle(opened, folder, names, backbone=request.backbone, progress=request.progress)
    return _Models(opened.name, str(opened.path), found)


def _from_file(request: _Request, file: Path, folder: Path) -> _Models:
    """Return the model of an ONNX file, as it is in a bundle. Raises what ``deploy`` raises."""
    from .file_variant import from_file

    variants = from_file(
        request.target,
        file,
        folder,
        request.runtimes,
        shapes=request.shapes,
        dynamic=request.dynamic,
        batches=request.batches,
        weights=request.weights,
        opset=request.opset,
        progress=request.progress,
    )
    return _Models(request.target, "", variants)


def _from_target(request: _Request, folder: Path) -> _Models:
    """Return a TARGET and the plain backbone of one with blocks. Raises what ``deploy`` raises."""
    from ..modules.checkpoint import locate
    from ..modules.packages import require

    require()
    names, progress, weights = check_names(request.runtimes), request.progress, request.weights
    progress("resolving the target")
    if weights.checkpoint is not None:  # before the user's code runs
        weights = replace(weights, checkpoint=locate(weights.checkpoint))
    shapes, ranges = with_batches(request.target, request.shapes, request.dynamic, request.batches)
    target = resolve_as_asked(request.target, shapes, ranges, weights)
    check_batches(request.batches, target.inputs, target.axes)
    exporter = Exporter(folder, request.opset, progress)
    found = [export_target(target, exporter)]
    if request.backbone and (plain := export_backbone(request.target, target, weights, exporter)) is not None:
        found.append(plain)
    for variant, runtimes in zip(found, (names, of_backbone(names)), strict=False):
        graph, place = variant.made.graph.path, exporter.folder / variant.name
        variant.runners = ModuleRunners(variant, graph, place, progress, weights.seed).runners(runtimes)
    return _Models(request.target, "", found)


class _Batch:
    """All models at one batch: loaded, compared, timed and gone again.

    Attributes:
        batch: The batch.
        shapes: The shape of every input by name.
        conditions: The machine's, from the timing on.
    """

    def __init__(
        self, variants: Sequence[Variant], batch: int, threads: int, method: Method, progress: Progress
    ) -> None:
        self.batch = batch
        self.conditions: machine.Conditions | None = None
        self._variants = {variant.name: variant for variant in variants}
        self._threads, self._method, self._progress = threads, method, progress
        first = variants[0]
        self._sizes = first.sizes | ({"batch": batch} if "batch" in first.axes else {})
        self.shapes = {spec.name: spec.resolve(self._sizes) for spec in first.inputs}
        self._one_set = input_bytes(first.inputs, self._sizes)
        self._rows: dict[Key, Row] = {}
        self._near_ties: dict[tuple[str, str], Mapping[str, Mask]] = {}
        self._left_out: dict[Key, str] = {}

    def rows(self) -> list[Row]:
        """Return one row for each model and runtime."""
        order = {(model, name): found for model, one in self._variants.items() for name, found in one.runners.items()}
        for key, found in order.items():
            if isinstance(found, str):
                self._note(key, "not measured", found)
        entries = self._entries({key: found for key, found in order.items() if not isinstance(found, str)})
        with TimedRun(entries, self._method, threads=self._threads, on_failure=self._note_failure) as run:
            self._tell(f"loading {len(run.processes)} runtimes")
            names = run.load()
            self._tell("comparing outputs")
            self._compare(run)
            self._tell("warming up")
            run.warm_up()
            self._tell(f"timing {len(run.processes)} runtimes in turn")
            samples, watch = run.time(_cores(run.processes))
            self.conditions = watch.conditions()
            for key, sampled in samples.items():
                measurement = self._measurement(key, names[key], sampled, run.processes[key], entries[key].sets)
                self._rows[key] = Row(*key, self.batch, "measured", self._left_out.get(key, ""), measurement)
        return [self._rows[key] for key in order]

    def _entries(self, runners: Mapping[Key, Runner]) -> dict[Key, Entry]:
        on_gpu = any(RUNTIMES[runtime].on_gpu for _, runtime in runners)
        cache = max(machine.last_level_cache_bytes(), machine.GPU_CACHE_BYTES if on_gpu else 0)
        sets = rotated_sets(next(iter(self._variants.values())).inputs, self._sizes, cache)
        return {
            key: Entry(
                runner,
                with_io(self._variants[key[0]].inputs, runner.io),
                self._sizes,
                sets,
                self._method.warm_up_seconds,
            )
            for key, runner in runners.items()
        }

    def _tell(self, text: str) -> None:
        self._progress(f"batch {self.batch}: {text}")

    def _note(self, key: Key, status: Status, why: str) -> None:
        self._rows[key] = Row(*key, self.batch, status, why)

    def _note_failure(self, key: Key, why: str) -> None:
        """Write a row without numbers; a baseline that does not work is no failure of ours."""
        self._note(key, "not measured" if RUNTIMES[key[1]].is_baseline else "failed", why)

    def _compare(self, run: TimedRun[Key]) -> None:
        """Drop runtimes whose outputs differ from eager PyTorch.

        Without PyTorch, compare with the first runtime that matches the recorded case.
        """
        feeds = {name: self._case(variant).feeds for name, variant in self._variants.items()}
        expected = {
            name: variant.built.run(feeds[name])
            for name, variant in self._variants.items()
            if variant.built is not None
        }
        # Beside each other: a first call may compile for a minute, and nothing is timed yet.
        with ThreadPoolExecutor(self._threads) as pool:
            first = {
                key: pool.submit(process.run, fed(feeds[key[0]], self._io(key)))
                for key, process in run.processes.items()
            }
        wrong: dict[Key, str] = {}

        def compare(key: Key, process: TimedProcess) -> None:
            if why := self._why_wrong(key, process, first[key], expected):
                wrong[key] = why

        run.each(compare)
        for key, why in wrong.items():
            self._note(key, "wrong", why)
            run.drop(key)

    def _case(self, variant: Variant) -> Case:
        fixed = [replace(spec, shape=self.shapes[spec.name]) for spec in variant.inputs]
        types = {found.io for found in variant.runners.values() if not isinstance(found, str)} - {graph_io.FLOAT32}
        return make_cases(fixed, {}, io=next(iter(types), graph_io.FLOAT32))[0]

    def _io(self, key: Key) -> str:
        """Return the type in which the model of a row takes float inputs."""
        found = self._variants[key[0]].runners[key[1]]
        return graph_io.FLOAT32 if isinstance(found, str) else found.io

    def _why_wrong(self, key: Key, process: TimedProcess, first: Future[Arrays], expected: dict[str, Arrays]) -> str:
        """Describe how a runtime differs from the recorded case or the ``expected`` outputs; "" if it does not."""
        outputs, precision = first.result(), self._precision(key)
        why = self._unlike_recorded(key, process.run)
        if precision is FLOAT32 and not why:
            expected.setdefault(key[0], outputs)
        if key[0] in expected and not why:
            why = disagreement(outputs, expected[key[0]], precision)
            if why and not disagreement(outputs, expected[key[0]], precision, unsettled := self._unsettled(key)):
                self._left_out[key], why = shares_left_out(unsettled), ""
        return why

    def _unsettled(self, key: Key) -> Mapping[str, Mask]:
        """Return the elements of each output that near ties decide: asked only if outputs differ."""
        variant, precision = self._variants[key[0]], self._precision(key)
        if (found := self._near_ties.get((key[0], precision.name))) is None:
            self._tell(f"looking for near ties in the {key[0]}")
            found = find_unsettled(variant.graphs, self._case(variant), precision)
            self._near_ties[key[0], precision.name] = found
        return found

    def _unlike_recorded(self, key: Key, run: Callable[[Arrays], Arrays]) -> str:
        """Describe how outputs differ from the recorded ones, for the bundle's own graphs and plans alone."""
        recorded, runtime = self._variants[key[0]].recorded, RUNTIMES[key[1]]
        is_baseline = isinstance(runtime, ModuleRuntime) or (
            isinstance(runtime, GraphRuntime) and runtime.graph == "plain export"
        )
        if recorded is None or is_baseline:
            return ""
        return wrong_output(run, *recorded, precision=self._precision(key), io=self._io(key))

    def _precision(self, key: Key) -> Precision:
        """Return the precision that a runtime computes in: that of the graph, unless it has one of its own."""
        runtime = RUNTIMES[key[1]]
        is_graph = isinstance(runtime, GraphRuntime) and runtime.graph != "plain export"
        return PRECISIONS[self._variants[key[0]].precision if is_graph else runtime.precision]

    def _measurement(self, key: Key, name: str, found: Samples, process: TimedProcess, input_sets: int) -> Measurement:
        latency, usage = Latency.of(found.rotated), process.usage()
        return Measurement(
            runtime=name,
            device="GPU" if RUNTIMES[key[1]].on_gpu else "CPU",
            precision=self._precision(key).words,
            latency=latency,
            hot=Latency.of(found.hot),
            round_medians_ms=found.round_medians_ms,
            distant_medians_ms=found.distant_medians_ms,
            throughput_per_s=self.batch * 1000 / latency.mean_ms,
            peak_mib=usage["peak_mib"],
            peak_counts_from_load=usage["counts_from_load"],
            inputs_mib=input_sets * self._one_set / (1 << 20),
            input_sets=input_sets,
            on_device=Latency.of(process.device_times) if process.device_times else None,
        )


def _cores(keys: Sequence[Key] | Mapping[Key, object]) -> CoreWatch:
    """Return a watch of the cores; of GPUs alone one that measures nothing, since launching hands no maps over."""
    on_cpu = any(not RUNTIMES[runtime].on_gpu for _, runtime in keys)
    return CoreWatch() if on_cpu else CoreWatch(lambda: None)


def _refuse_build_options(request: _Request) -> None:
    given = {
        "--shape": bool(request.shapes),
        "--dynamic": request.dynamic is not None,
        "--seed": request.weights.seed != 0,
        "--pretrained": request.weights.pretrained,
        "--checkpoint": request.weights.checkpoint is not None,
        "--trust": request.weights.trust,
        "--opset": request.opset != DEFAULT_OPSET,
    }
    for option, is_given in given.items():
        if is_given:
            raise InputError(
                f"received {option} with a bundle, whose graph is there already; expected it with a TARGET; "
                f"leave {option} out"
            )
