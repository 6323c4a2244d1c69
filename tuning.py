"""``tune``: a bundle's graph in the forms that are fastest in ONNX Runtime on this CPU, judged like any other.

Which form of the same computation is faster is a question to the runtime's kernels and the machine, so that it is
measured here: for every kind of place, the whole graph with and without each form, in turn in one run.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from .benchmarking import installed_versions
from .engines.ort_runtime import CPU
from .engines.tensorrt.profiles import parse_profiles
from .engines.timing import machine
from .engines.timing.contestant import Contestant, OrtJob
from .engines.timing.inputs import input_bytes, set_count
from .engines.timing.latency import Latency
from .engines.timing.method import Method
from .engines.timing.paired import Difference
from .engines.timing.rounds import Samples, interleave
from .engines.timing.trials import Trial, Tuning, faster
from .errors import CheckFailed, InputError, MissingRequirement
from .export.bundle import MODEL, TUNED, Bundle, is_running, open_bundle, require_unchanged
from .export.contract import check_contract
from .export.extend import extend
from .export.graph import OnnxGraph, save
from .tuned_stages import judge_tuned
from .validate.recorded import from_tensors
from .validate.verdict import StageResult, Verdict, judge_case

if TYPE_CHECKING:
    from .export.forms import Form

# Even, so that each graph is timed as often before the others as after them; of twelve the interval leaves out two at
# each end, so that a disturbed round does not decide.
METHOD = Method(seconds=1.5, iterations=12, rounds=12, warm_up_seconds=0.3, hot_share=0.0)
AS_IT_IS = "as it is"
WORK = ".tuning.partial-"


def tune_bundle(
    path: Path | str,
    *,
    at: str | None = None,
    threads: int | None = None,
    method: Method | None = None,
    progress: Callable[[str], None] | None = None,
) -> tuple[Bundle, Tuning, Verdict | None]:
    """Try every form of export/forms on the float32 graph; the fastest becomes ``model.ort-cpu.onnx`` of the bundle.

    ``at`` are the sizes to be fast at, ``batch=1,height=56``; the optimum of every axis that it leaves out. Returns
    the bundle, what was tried and, where a graph was written, its verdict on the recorded cases; None where no form is
    faster beyond doubt, and the bundle is as it was. Raises InputError for sizes outside of the bundle's ranges,
    MissingRequirement without onnx-ir, CheckFailed where a file has changed, or where a form computes something else.
    """
    told = progress if progress is not None else lambda _text: None
    bundle = open_bundle(path)
    sizes = _sizes(bundle, at)
    count = threads if threads is not None else machine.physical_cores()
    if count < 1:
        raise InputError(f"received {count} threads; expected 1 or more; correct threads")
    if find_spec("onnx_ir") is None:
        raise MissingRequirement(
            "other forms of a graph are written with onnx-ir, which is not installed; pip install onnx-ir"
        )
    told("checking hashes")
    require_unchanged(bundle)
    work = _work_folder(bundle)
    try:
        tuner = _Tuner(bundle, work, sizes, count, method if method is not None else METHOD, told)
        graph, tuning = tuner.tune()
        if graph is None:
            return bundle, tuning, None
        told("judging the tuned graph on the recorded cases")
        verdict = Verdict(tuple(_judged(bundle, graph)))
        if verdict.first_failure is not None:
            raise CheckFailed(f"the tuned graph failed its verdict and was not kept: {verdict.first_failure.why}")
        return _added(bundle, graph, tuning, verdict), tuning, verdict
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _work_folder(bundle: Bundle) -> Path:
    """A new folder in the bundle, and none that a killed run has left there."""
    for left in bundle.path.glob(f"{WORK}*"):
        pid = left.name.removeprefix(WORK)
        if pid.isdecimal() and not is_running(int(pid)):
            shutil.rmtree(left, ignore_errors=True)
    work = bundle.path / f"{WORK}{os.getpid()}"
    work.mkdir()
    return work


def _sizes(bundle: Bundle, at: str | None) -> dict[str, int]:
    (profile,) = parse_profiles([] if at is None else [at], bundle.axes, option="--at")
    return {name: axis.opt for name, axis in profile.axes.items()}


def _judged(bundle: Bundle, graph: Path) -> list[StageResult]:
    opset = int(bundle.manifest["opset"])
    written = OnnxGraph(graph, opset, bundle.inputs, bundle.outputs)
    check_contract(written, opset=opset, inputs=bundle.inputs, outputs=bundle.outputs, after="tuning")
    return judge_tuned(graph, bundle.outputs, lambda: from_tensors(bundle.reference_path, bundle.manifest["cases"]))


def _added(bundle: Bundle, graph: Path, tuning: Tuning, verdict: Verdict) -> Bundle:
    """The bundle with the graph, and with weights that lie beside it, in place of earlier ones."""
    written = sorted(graph.parent.glob(f"{TUNED}*"))
    for file in written:
        file.replace(bundle.path / file.name)
    roles = {file.name: "weights of the tuned graph" for file in written}
    entry = {
        "file": TUNED,
        "graph": str(bundle.manifest["files"][MODEL]["sha256"]),
        **tuning.to_json(),
        "verdict": verdict.to_json(),
    }
    return extend(bundle, {**roles, TUNED: "graph, float32, in forms for ONNX Runtime on the CPU"}, {"tuned": entry})


class _Tuner:
    """Writes candidates, has each checked and timed in a process of its own, and keeps what is faster."""

    def __init__(
        self,
        bundle: Bundle,
        folder: Path,
        sizes: Mapping[str, int],
        threads: int,
        method: Method,
        progress: Callable[[str], None],
    ) -> None:
        self._bundle, self._folder, self._sizes = bundle, folder, sizes
        self._threads, self._method, self._progress = threads, method, progress
        self._sets = set_count(input_bytes(bundle.inputs, sizes), machine.last_level_cache_bytes())
        self._watched: list[float] = []

    def tune(self) -> tuple[Path | None, Tuning]:
        """The graph in its new forms, None where it is not faster as a whole, and everything that was tried."""
        import onnx_ir as ir

        from .export.forms import forms_for

        watch, since = machine.Watch(), time.process_time()
        trials: list[Trial] = []
        best = self._bundle.model_path
        places = _places(best, forms_for(next(iter(self._bundle.inputs[0].resolve(self._sizes)), 1)))
        for number, (kind, forms) in enumerate(places.items(), 1):
            self._progress(f"{number} of {len(places)}: {kind}")
            best = self._fastest(best, kind, forms, trials)
        before = after = difference = None
        if best != self._bundle.model_path:
            self._progress("timing the whole against the graph as it was")
            found = self._times({AS_IT_IS: self._bundle.model_path, TUNED: best}, [])
            before, after = _median(found[AS_IT_IS]), _median(found[TUNED])
            difference = _difference(found[AS_IT_IS], found[TUNED])
        tuning = Tuning(
            sizes=self._sizes,
            threads=self._threads,
            method=self._method,
            machine=machine.describe(),
            versions=dict(installed_versions()),
            conditions=watch.conditions(sum(self._watched) + time.process_time() - since),
            trials=tuple(trials),
            before_ms=before,
            after_ms=after,
            difference=difference,
        )
        if not tuning.is_faster:
            return None, tuning
        # Written once more: weights that lie beside a graph are found by the name that the graph gives.
        save(ir.load(str(best)), self._folder / TUNED)
        return self._folder / TUNED, tuning

    def _fastest(self, best: Path, kind: str, forms: Sequence[Form], trials: list[Trial]) -> Path:
        """The graph with every place of the kind in the form that is fastest, which may be the one that it has."""
        candidates = {
            form.name: self._written(best, kind, form, len(trials) + place) for place, form in enumerate(forms)
        }
        paths = {AS_IT_IS: best, **{name: graph for name, (graph, _) in candidates.items()}}
        samples = self._times(paths, list(candidates))
        medians = {name: _median(found) for name, found in samples.items()}
        clear = [name for name in candidates if faster(_difference(samples[AS_IT_IS], samples[name]))]
        chosen = min(clear, key=lambda name: medians[name], default=AS_IT_IS)
        for name, (_, count) in candidates.items():
            difference = _difference(samples[AS_IT_IS], samples[name])
            trials.append(Trial(name, kind, count, medians[AS_IT_IS], difference, name == chosen))
        return paths[chosen]

    def _written(self, best: Path, kind: str, form: Form, number: int) -> tuple[Path, int]:
        import onnx_ir as ir

        from .export.forms import apply

        model = ir.load(str(best))
        count = apply(model, form, kind)
        path = self._folder / f"candidate-{number}.onnx"
        save(model, path)
        return path, count

    def _times(self, paths: Mapping[str, Path], unchecked: Sequence[str]) -> dict[str, Samples]:
        """Every graph's samples; raises CheckFailed for one of ``unchecked`` that is not what PyTorch computed."""
        with ExitStack() as stack:
            running = {
                name: stack.enter_context(Contestant(OrtJob(path, CPU), threads=self._threads))
                for name, path in paths.items()
            }
            for name in unchecked:
                self._check(name, running[name])
            for contestant in running.values():
                contestant.prepare(self._bundle.inputs, self._sizes, sets=self._sets)
                contestant.warm_up(self._method.warm_up_seconds)
            samples, failed = interleave(running, self._method)
            self._watched += [float(contestant.usage()["cpu_seconds"]) for contestant in running.values()]
        for name, why in failed.items():
            raise CheckFailed(f"{name}: {why}; run the command again, with smaller sizes where memory ran out")
        return samples

    def _check(self, name: str, contestant: Contestant) -> None:
        case, reference = next(from_tensors(self._bundle.reference_path, self._bundle.manifest["cases"][:1]))
        wrong = [found for _, found in judge_case(contestant.run, case, reference) if not found.passed]
        if wrong:
            raise CheckFailed(
                f"the form {name!r} computes something else: {wrong[0].output}: {wrong[0].detail}; nothing was kept; "
                "please report the graph"
            )


def _places(graph: Path, forms: Sequence[Form]) -> dict[str, list[Form]]:
    """For every kind of place in the graph the forms that apply to it."""
    import onnx_ir as ir

    from .export.forms import kinds

    model = ir.load(str(graph))
    found: dict[str, list[Form]] = {}
    for form in forms:
        for kind in kinds(model, form):
            found.setdefault(kind, []).append(form)
    return found


def _difference(before: Samples, after: Samples) -> Difference:
    return Difference.between(before.round_medians_ms, after.round_medians_ms)


def _median(samples: Samples) -> float:
    return Latency.of(samples.rotated).median_ms
