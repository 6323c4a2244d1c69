"""The models of a benchmark at one batch: loaded, compared with each other, timed in turn and gone again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

from ..core import graph_io
from ..core.graph_io import fed, with_io
from ..core.precision import FLOAT32, PRECISIONS, Precision
from ..core.progress import Progress
from ..engines.runtime import Arrays
from ..engines.timing import machine
from ..engines.timing.core_latency import CoreWatch
from ..engines.timing.inputs import input_bytes
from ..engines.timing.latency import Latency
from ..engines.timing.method import Method
from ..engines.timing.results import Measurement, Row, Status
from ..engines.timing.rounds import Samples
from ..engines.timing.runners import Runner
from ..engines.timing.runtimes import RUNTIMES, GraphRuntime, is_of_bundle
from ..engines.timing.timed_process import TimedProcess
from ..engines.timing.timed_run import Entry, TimedRun, rotated_sets
from ..validate.agreement import disagreement, wrong_output
from ..validate.arrays import Mask
from ..validate.cases import Case, make_cases
from .near_ties import find_unsettled, shares_left_out
from .variants import Variant

Key = tuple[str, str]  # (model, runtime)


class TimedBatch:
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
            one = len(run.processes) == 1
            self._tell("loading the runtime" if one else f"loading {len(run.processes)} runtimes")
            names = run.load()
            self._tell("comparing outputs")
            self._compare(run)
            self._tell("warming up")
            run.warm_up()
            self._tell("timing the runtime" if one else f"timing {len(run.processes)} runtimes in turn")
            samples, watch = run.time(watch_of(run.processes))
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
        if recorded is None or not is_of_bundle(runtime):
            return ""
        return wrong_output(run, *recorded, precision=self._precision(key), io=self._io(key))

    def _precision(self, key: Key) -> Precision:
        """Return the precision that a runtime computes in: that of the graph, unless it has one of its own."""
        runtime = RUNTIMES[key[1]]
        is_graph = isinstance(runtime, GraphRuntime) and is_of_bundle(runtime)
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


def watch_of(keys: Sequence[Key] | Mapping[Key, object]) -> CoreWatch:
    """Return a watch of the cores; of GPUs alone one that measures nothing, since launching hands no maps over."""
    on_cpu = any(not RUNTIMES[runtime].on_gpu for _, runtime in keys)
    return CoreWatch() if on_cpu else CoreWatch(lambda: None)
