"""``benchmark``: the same model in every runtime of this machine, checked against each other, then timed in turn."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ..core.bundle import MANIFEST, Folder, open_bundle
from ..core.graph import DEFAULT_OPSET
from ..core.progress import Progress
from ..core.scratch import scratch
from ..engines.runtime import Arrays
from ..engines.timing import machine
from ..engines.timing.core_latency import CoreWatch
from ..engines.timing.inputs import input_bytes, set_count
from ..engines.timing.latency import Latency
from ..engines.timing.method import Method
from ..engines.timing.results import Benchmark, Measurement, Row, Status
from ..engines.timing.rounds import Samples, interleave
from ..engines.timing.runtimes import BASELINES, ON_GPU, PLANS, PROVIDERS, check_names, precision_of
from ..engines.timing.timed_process import TimedProcess
from ..errors import Attn2trtError, InputError
from ..modules.grammar import is_file
from ..validate.agreement import disagreement
from ..validate.cases import make_cases
from ..validate.metrics import FLOAT32, LOWER, Precision
from ..validate.verdict import judge_case
from .options import Weights
from .variants import Variant, check_batches, from_bundle, from_target, plan_kinds

Key = tuple[str, str]  # (model, runtime)
PACKAGES = ("torch", "timm", "onnx", "onnxruntime-gpu", "onnxruntime", "onnxsim", "tensorrt", "numpy")


def benchmark(
    target: Folder,
    *,
    batches: Sequence[int] = (),
    runtimes: Sequence[str] = (),
    threads: int | None = None,
    method: Method | None = None,
    shapes: Sequence[str] = (),
    dynamic: str | None = None,
    seed: int = 0,
    pretrained: bool = False,
    checkpoint: Path | str | None = None,
    opset: int = DEFAULT_OPSET,
    beside: Sequence[Variant] = (),
    backbone: bool = True,
    progress: Progress | None = None,
) -> Benchmark:
    """Time ``target``, a TARGET or a bundle, at each of the ``batches`` in each of the ``runtimes``.

    ``batches`` defaults to the batch that is traced, ``runtimes`` to all that runtimes.py names, ``threads`` to the
    physical cores. A bundle needs no PyTorch; what says how a module is built (``shapes`` to ``opset``) goes with a
    TARGET alone. ``beside`` are more models with the same inputs and axes, timed in the same turns; without
    ``backbone`` the target's own backbone is none of them. Raises InputError
    for wrong arguments, and what ``deploy`` raises where the target itself cannot be exported. A runtime that is not
    here, computes something else or fails is a row of the result.
    """
    names = check_names(runtimes)
    wanted = sorted(set(batches))
    rules = method if method is not None else Method()
    told: Progress = progress if progress is not None else lambda _text: None
    count = threads if threads is not None else machine.physical_cores()
    if count < 1 or (wanted and wanted[0] < 1):
        raise InputError(f"received batches {wanted} and {count} threads; expected numbers of 1 or more; correct them")
    with scratch("benchmark") as folder:
        bundle = ""
        if not isinstance(target, str) or is_bundle(target):
            opened = open_bundle(target)
            _refuse_build_options(shapes, dynamic, seed, pretrained, checkpoint, opset)
            check_batches(wanted, opened.inputs, opened.axes)
            bundle, title = str(opened.path), opened.name
            names = check_names(runtimes, plans=plan_kinds(opened))
            variants = from_bundle(opened, folder, names, backbone=backbone, progress=told)
        else:
            title = target
            variants = from_target(
                target,
                folder,
                names,
                batches=wanted,
                shapes=shapes,
                dynamic=dynamic,
                weights=Weights(seed=seed, pretrained=pretrained, checkpoint=checkpoint),
                opset=opset,
                backbone=backbone,
                progress=told,
            )
        first = variants[0]
        check_batches(wanted, first.inputs, first.axes)
        cells = [_Batch([*variants, *beside], batch, count, rules) for batch in wanted or [_usual_batch(first)]]
        rows = [row for cell in cells for row in cell.rows(told)]
    return Benchmark(
        target=title,
        bundle=bundle,
        threads=count,
        method=rules,
        machine=machine.describe(),
        versions=dict(installed_versions()),
        sizes={cell.batch: cell.shapes for cell in cells},
        conditions={cell.batch: cell.conditions for cell in cells if cell.conditions is not None},
        rows=tuple(rows),
    )


def is_bundle(target: str) -> bool:
    """Return True if ``target`` means a folder: one that is there, or what looks like the path of one."""
    # A backbone's options may hold a slash, after a colon: resnet50:out_indices=2/3/4
    looks_like_one = "/" in target and ":" not in target and not is_file(target)
    return Path(target, MANIFEST).is_file() or Path(target).is_dir() or looks_like_one


class _Batch:
    """All variants at one batch: loaded, checked, timed and gone again."""

    def __init__(self, variants: Sequence[Variant], batch: int, threads: int, method: Method) -> None:
        self.batch = batch
        self.conditions: machine.Conditions | None = None
        self._variants = {variant.model: variant for variant in variants}
        self._threads, self._method = threads, method
        first = variants[0]
        self._sizes = {name: axis.opt for name, axis in first.axes.items()}
        if "batch" in first.axes:
            self._sizes["batch"] = batch
        self.shapes = {spec.name: spec.resolve(self._sizes) for spec in first.inputs}
        self._one_set = input_bytes(first.inputs, self._sizes)
        on_gpu = any(not isinstance(found.runners.get(name), str | None) for found in variants for name in ON_GPU)
        cache = max(machine.last_level_cache_bytes(), machine.GPU_CACHE_BYTES if on_gpu else 0)
        self._sets = set_count(self._one_set, cache)
        self._rows: dict[Key, Row] = {}
        self._names: dict[Key, str] = {}

    def rows(self, progress: Progress) -> list[Row]:
        """One row for each model and runtime."""
        order = [(model, runtime) for model, found in self._variants.items() for runtime in found.runners]
        with ExitStack() as stack:
            running = {}
            for key in order:
                runner = self._variants[key[0]].runners[key[1]]
                if isinstance(runner, str):
                    self._note(key, "not measured", runner)
                else:
                    running[key] = stack.enter_context(TimedProcess(runner, threads=self._threads))
            progress(f"batch {self.batch}: loading {len(running)} runtimes")
            running = dict(self._loaded(running))
            progress(f"batch {self.batch}: comparing outputs")
            running = dict(self._agreeing(running))
            progress(f"batch {self.batch}: warming up")
            running = dict(self._warm(running))
            progress(f"batch {self.batch}: timing {len(running)} runtimes in turn")
            self._time(running)
        return [self._rows[key] for key in order]

    def _note(self, key: Key, status: Status, why: str) -> None:
        """A row without numbers; a baseline that does not work is no failure of ours."""
        told: Status = "not measured" if status == "failed" and key[1] in BASELINES else status
        self._rows[key] = Row(*key, self.batch, told, why)

    def _loaded(self, running: Mapping[Key, TimedProcess]) -> Iterator[tuple[Key, TimedProcess]]:
        for key, process in running.items():
            try:
                self._names[key] = process.name
            except Attn2trtError as error:
                self._note(key, "failed", str(error))
            else:
                yield key, process

    def _agreeing(self, running: Mapping[Key, TimedProcess]) -> Iterator[tuple[Key, TimedProcess]]:
        """Those whose outputs are PyTorch's or, without it, those of the first that computes what was recorded."""
        feeds: dict[str, Arrays] = {}
        expected: dict[str, Arrays] = {}
        for model, variant in self._variants.items():
            fixed = [replace(spec, shape=self.shapes[spec.name]) for spec in variant.inputs]
            feeds[model] = make_cases(fixed, {})[0].feeds
            if variant.eager is not None:
                expected[model] = variant.eager(feeds[model])
        # Beside each other: a first call may compile for a minute, and nothing is timed yet.
        with ThreadPoolExecutor(self._threads) as pool:
            first_runs = {key: pool.submit(found.run, feeds[key[0]]) for key, found in running.items()}
        for key, process in running.items():
            try:
                outputs = first_runs[key].result()
                why = self._unlike_recorded(key, process)
            except Attn2trtError as error:
                self._note(key, "failed", str(error))
                continue
            precision = self._precision(key)
            if precision is FLOAT32:
                expected.setdefault(key[0], outputs)
            if key[0] in expected:
                why = why or disagreement(outputs, expected[key[0]], precision)
            if why:
                self._note(key, "wrong", why)
            else:
                yield key, process

    def _unlike_recorded(self, key: Key, process: TimedProcess) -> str:
        """Describe how outputs differ from the recorded ones, for the bundle's own graphs and plans alone."""
        recorded = self._variants[key[0]].recorded
        if recorded is None or key[1] not in {*PROVIDERS, *PLANS}:
            return ""
        judged = judge_case(process.run, *recorded, precision=self._precision(key))
        wrong = [found for _, found in judged if not found.passed]
        return f"{wrong[0].output}: {wrong[0].detail}" if wrong else ""

    def _precision(self, key: Key) -> Precision:
        return LOWER.get(precision_of(key[1]), FLOAT32)

    def _warm(self, running: Mapping[Key, TimedProcess]) -> Iterator[tuple[Key, TimedProcess]]:
        for key, process in running.items():
            try:
                process.prepare(self._variants[key[0]].inputs, self._sizes, sets=self._sets)
                process.warm_up(self._method.warm_up_seconds)
            except Attn2trtError as error:
                self._note(key, "failed", str(error))
            else:
                yield key, process

    def _time(self, running: Mapping[Key, TimedProcess]) -> None:
        own, used = time.process_time(), {key: _cpu_seconds(found) for key, found in running.items()}
        watch, cores = machine.Watch(), _cores(running)
        samples, failed = interleave(running, self._method, cores=cores)
        for key, why in failed.items():
            self._note(key, "failed", why)
        spent = sum(_cpu_seconds(running[key]) - used[key] for key in samples)
        self.conditions = watch.conditions(spent + time.process_time() - own, cores.distance())
        for key, found in samples.items():
            usage = running[key].usage()
            measurement = self._measurement(key, found, usage["peak_mib"], usage["counts_from_load"])
            if times := running[key].device_times:
                measurement = replace(measurement, on_device=Latency.of(times))
            self._rows[key] = Row(*key, self.batch, "measured", measurement=measurement)

    def _measurement(self, key: Key, found: Samples, peak_mib: float | None, from_load: bool) -> Measurement:
        latency = Latency.of(found.rotated)
        return Measurement(
            runtime=self._names[key],
            device="GPU" if key[1] in ON_GPU else "CPU",
            precision=self._precision(key).words,
            latency=latency,
            hot=Latency.of(found.hot),
            round_medians_ms=found.round_medians_ms,
            throughput_per_s=self.batch * 1000 / latency.mean_ms,
            peak_mib=peak_mib,
            peak_counts_from_load=from_load,
            inputs_mib=self._sets * self._one_set / (1 << 20),
            input_sets=self._sets,
        )


def _cores(running: Iterable[Key]) -> CoreWatch:
    """Of GPUs alone nobody asks how near the processors are: the thread that launches kernels hands no maps over."""
    return CoreWatch() if any(runtime not in ON_GPU for _, runtime in running) else CoreWatch(lambda: None)


def _cpu_seconds(process: TimedProcess) -> float:
    """Processor seconds that it has used until now; 0 where it is gone, which is told where it is timed."""
    try:
        return float(process.usage()["cpu_seconds"])
    except Attn2trtError:
        return 0.0


def _usual_batch(variant: Variant) -> int:
    """The optimum of the batch axis, else the first input's first size."""
    if "batch" in variant.axes:
        return variant.axes["batch"].opt
    first = next((spec.shape[0] for spec in variant.inputs if spec.shape), 1)
    return first if isinstance(first, int) else 1


def _refuse_build_options(
    shapes: Sequence[str],
    dynamic: str | None,
    seed: int,
    pretrained: bool,
    checkpoint: Path | str | None,
    opset: int,
) -> None:
    given = {
        "--shape": bool(shapes),
        "--dynamic": dynamic is not None,
        "--seed": seed != 0,
        "--pretrained": pretrained,
        "--checkpoint": checkpoint is not None,
        "--opset": opset != DEFAULT_OPSET,
    }
    for option, is_given in given.items():
        if is_given:
            raise InputError(
                f"received {option} with a bundle, whose graph is there already; expected it with a TARGET; "
                f"leave {option} out"
            )


@functools.lru_cache(maxsize=1)
def installed_versions() -> tuple[tuple[str, str], ...]:
    """(package, version) of what a latency depends on, as far as it is installed."""
    found = []
    for name in PACKAGES:
        try:
            found.append((name, version(name)))
        except PackageNotFoundError:
            continue
    return tuple(found)
