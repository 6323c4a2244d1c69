"""Find the fastest forms of a graph on this machine: each is written, checked on a case, timed, and kept or left.

What looks faster but may be so by chance is timed a second time, in new processes: where a process finds its memory
moves its times as much as some forms do. By chance alone a first look of twelve rounds takes one form in fifty for
faster, both looks together one in thirty; the whole is held against the graph as it was in the same way at the end.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import onnx_ir as ir

from ..core.bundle import TUNED, Bundle
from ..core.graph import save
from ..engines.ort_runtime import CPU
from ..engines.timing import machine
from ..engines.timing.core_latency import CoreWatch
from ..engines.timing.inputs import input_bytes, set_count
from ..engines.timing.method import Method
from ..engines.timing.paired import Pair
from ..engines.timing.rounds import interleave
from ..engines.timing.runners import OrtRunner
from ..engines.timing.timed_process import TimedProcess
from ..engines.timing.trials import Trial, Tuning
from ..errors import CheckFailed
from ..export.forms import BATCH_FORMS, FORMS, GraphForm, apply, apply_whole, kinds
from ..validate.recorded import from_tensors
from ..validate.verdict import judge_case
from .benchmark import installed_versions

AS_IT_IS = "as it is"
Rewrite = Callable[[ir.Model], int]  # how many places of the model it rewrote


class Tuner:
    """Tries every form on a bundle's float32 graph at the given sizes; writes into ``folder`` alone."""

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
        self._cores = CoreWatch()

    def tune(self) -> tuple[Path | None, Tuning]:
        """The graph in its new forms, None where it is not faster as a whole, and everything that was tried."""
        watch, since = machine.Watch(), time.process_time()
        trials: list[Trial] = []
        best = self._bundle.model_path
        tried: set[str] = set()
        while left := {kind: forms for kind, forms in _places(best).items() if kind not in tried}:
            # one, and asked again: what is kept may leave other places than there are now
            kind, forms = next(iter(left.items()))
            tried.add(kind)
            self._progress(f"place {len(tried)}: {kind}")
            best = self._fastest(best, kind, forms, trials)
        for kind in _left_before_another(trials):
            again = _places(best).get(kind)
            if again is not None:
                self._progress(f"once more, beside what was kept since: {kind}")
                best = self._fastest(best, kind, again, trials)
        if next(iter(self._bundle.inputs[0].resolve(self._sizes)), 1) > 1:
            for kind, forms in _whole(best).items():
                self._progress(kind)
                best = self._fastest(best, kind, forms, trials)
        whole = None
        if best != self._bundle.model_path:
            self._progress("timing the whole against the graph as it was")
            whole = self._compared(self._bundle.model_path, {TUNED: best}, checked=True)[TUNED]
        tuning = Tuning(
            sizes=self._sizes,
            threads=self._threads,
            method=self._method,
            machine=machine.describe(),
            versions=dict(installed_versions()),
            conditions=watch.conditions(sum(self._watched) + time.process_time() - since, self._cores.distance()),
            trials=tuple(trials),
            before_ms=None if whole is None else whole.before_ms,
            after_ms=None if whole is None else whole.after_ms,
            difference=None if whole is None else whole.difference,
        )
        if not tuning.is_faster:
            return None, tuning
        return best, tuning

    def _fastest(self, best: Path, kind: str, forms: Mapping[str, Rewrite], trials: list[Trial]) -> Path:
        """The graph with every place of the kind in the form that is fastest, which may be the one that it has."""
        candidates = {
            name: self._written(best, rewrite, len(trials) + place)
            for place, (name, rewrite) in enumerate(forms.items())
        }
        pairs = self._compared(best, {name: graph for name, (graph, _) in candidates.items()})
        differences = {name: pair.difference for name, pair in pairs.items()}
        clear = [name for name, difference in differences.items() if difference.is_faster]
        chosen = min(clear, key=lambda name: differences[name].ms, default=None)
        for name, (_, count) in candidates.items():
            trials.append(Trial(name, kind, count, pairs[name].before_ms, differences[name], name == chosen))
        return best if chosen is None else candidates[chosen][0]

    def _written(self, best: Path, rewrite: Rewrite, number: int) -> tuple[Path, int]:
        model = ir.load(str(best))
        count = rewrite(model)
        path = self._folder / f"candidate-{number}.onnx"
        save(model, path)
        return path, count

    def _compared(self, before: Path, after: Mapping[str, Path], *, checked: bool = False) -> dict[str, Pair]:
        """Each of ``after`` beside ``before``; raises CheckFailed for one that is not what PyTorch computed."""
        pairs = self._look(before, after, checked=checked)
        again = {name: after[name] for name, pair in pairs.items() if pair.is_promising}
        if again:
            later = self._look(before, again, checked=True)
            pairs |= {name: pairs[name].together(pair) for name, pair in later.items()}
        return pairs

    def _look(self, before: Path, after: Mapping[str, Path], *, checked: bool) -> dict[str, Pair]:
        with ExitStack() as stack:
            running = {
                name: stack.enter_context(TimedProcess(OrtRunner(path, CPU), threads=self._threads))
                for name, path in {AS_IT_IS: before, **after}.items()
            }
            running[AS_IT_IS].load()  # if this graph does not load, no form is to blame
            for name in () if checked else after:
                self._check(name, running[name])
            for process in running.values():
                process.prepare(self._bundle.inputs, self._sizes, sets=self._sets)
                process.warm_up(self._method.warm_up_seconds)
            samples, failed = interleave(running, self._method, cores=self._cores)
            self._watched += [float(process.usage()["cpu_seconds"]) for process in running.values()]
        for name, why in failed.items():
            raise CheckFailed(f"{name}: {why}; run the command again, with smaller sizes where memory ran out")
        return {name: Pair(samples[AS_IT_IS], samples[name]) for name in after}

    def _check(self, name: str, process: TimedProcess) -> None:
        case, reference = next(from_tensors(self._bundle.reference_path, self._bundle.manifest["cases"][:1]))
        wrong = [found for _, found in judge_case(process.run, case, reference) if not found.passed]
        if wrong:
            raise CheckFailed(
                f"the form {name!r} computes something else: {wrong[0].output}: {wrong[0].detail}; nothing was kept; "
                "please report the graph"
            )


def _places(graph: Path) -> dict[str, dict[str, Rewrite]]:
    """For every kind of place in the graph the forms that apply to it, by name."""
    model = ir.load(str(graph))
    found: dict[str, dict[str, Rewrite]] = {}
    for form in FORMS:
        for kind in kinds(model, form):
            found.setdefault(kind, {})[form.name] = partial(apply, form=form, kind=kind)
    return found


def _whole(graph: Path) -> dict[str, dict[str, Rewrite]]:
    """The same of the graph as a whole."""
    model = ir.load(str(graph))
    found: dict[str, dict[str, Rewrite]] = {}
    for form in BATCH_FORMS:
        if kind := form.kind(model.graph):
            found.setdefault(kind, {})[form.name] = partial(_once, form=form)
    return found


def _once(model: ir.Model, form: GraphForm) -> int:
    apply_whole(model, form)
    return 1


def _left_before_another(trials: Sequence[Trial]) -> list[str]:
    """The kinds that were left as they were before another was changed, beside which another form may pay off."""
    kept = [trial.kind for trial in trials if trial.kept]
    tried = list(dict.fromkeys(trial.kind for trial in trials))
    last = tried.index(kept[-1]) if kept else 0
    return [kind for kind in tried[:last] if kind not in kept]
