"""Find the fastest rewrites of a graph on this machine: each is written, checked on a case, timed, and kept or left.

The kinds of place are decided one after the other. Then each rewrite is tried once on all kinds that it applies to,
also in place of what was kept there: some pay off only together, and one that pays off alone may stand in their way.
Kinds that were left are tried once more beside what was kept after them, and the graph as a whole comes last. So no
kind is tried more than twice, and no rewrite more than once on all of them.

A rewrite that looks faster but may be so by chance is timed a second time (timed_comparison.py). By chance alone a
first look of twelve rounds takes one rewrite in fifty for faster, both looks together one in thirty. At the end the
whole is held against the graph as it was in the same way.

A host that moves the processors to distant cores makes some rewrites slower. The last comparison waits for such a
moment. If the whole is slower then, the rewrites are tried again, each at both distances.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import onnx_ir as ir

from ..core.bundle import TUNED, Bundle
from ..core.graph import save
from ..core.precision import PRECISIONS
from ..core.progress import Progress
from ..engines.ort_runtime import CPU
from ..engines.timing import machine
from ..engines.timing.method import Method
from ..engines.timing.paired import Pair
from ..engines.timing.runners import OrtRunner
from ..engines.timing.timed_process import TimedProcess
from ..engines.timing.timed_run import Entry, MachineWatch, rotated_sets
from ..engines.timing.trials import Trial, Tuning
from ..errors import CheckFailed
from ..export.rewrites import BATCH_REWRITES, REWRITES, GraphRewrite, Rewrite, apply, apply_whole, kinds
from ..validate.agreement import wrong_output
from ..validate.recorded import recorded_cases
from .timed_comparison import TimedComparison, fastest

Change = Callable[[ir.Model], int]  # how many places of the model it rewrote
ALL_KINDS = "all kinds together"


class Choice(NamedTuple):
    """A rewrite of all places of a kind."""

    rewrite: Rewrite
    kind: str


class Rewritten(NamedTuple):
    """A graph in a file and in memory, and the choices by which it was made of the first one, in turn.

    The ``model`` stays as it is: a change is made to a copy, which shares its weights.
    """

    path: Path
    model: ir.Model
    choices: tuple[Choice, ...] = ()


class Candidate(NamedTuple):
    """A graph to be written: ``change`` of the model ``of``, and all choices that it then consists of."""

    of: ir.Model
    change: Change
    choices: tuple[Choice, ...]


class Tuner:
    """Tries every rewrite on a bundle's float32 graph at the given sizes; writes into ``folder`` alone.

    Args:
        bundle: The bundle.
        folder: The place of the candidates.
        start: The graph to begin with: the bundle's, or one that computes the same.
        sizes: The size of every dynamic axis.
        threads: The threads of ONNX Runtime.
        method: The rules of the clock.
        progress: Called with a line for every step.
    """

    def __init__(
        self,
        bundle: Bundle,
        folder: Path,
        start: Path,
        sizes: Mapping[str, int],
        threads: int,
        method: Method,
        progress: Progress,
    ) -> None:
        self._start = Rewritten(start, ir.load(str(start)))
        self._bundle, self._folder, self._sizes = bundle, folder, sizes
        self._threads, self._method, self._progress = threads, method, progress
        self._at_both_distances = replace(method, distant_rounds=method.rounds // 2)
        self._sets = rotated_sets(bundle.inputs, sizes, machine.last_level_cache_bytes())
        self._comparison = self._new_comparison()
        self._trials: list[Trial] = []

    def tune(self) -> tuple[Path | None, Tuning]:
        """Return the rewritten graph, None if it is not faster as a whole, and everything that was tried.

        Raises CheckFailed if a rewrite computes something else than PyTorch, or breaks.
        """
        self._comparison = self._new_comparison()
        best, whole = self._search()
        if whole is not None and whole.difference.is_slower_at_a_distance:
            self._progress("the whole is slower while the cores are distant: trying again at both distances")
            self._trials = [replace(trial, kept=False) for trial in self._trials]
            self._comparison.method = self._at_both_distances
            best, whole = self._search()
        tuning = Tuning(
            sizes=self._sizes,
            threads=self._threads,
            method=self._method,
            machine=machine.describe(),
            versions=dict(machine.installed_versions()),
            conditions=self._comparison.watch.conditions(),
            trials=tuple(self._trials),
            before_ms=None if whole is None else whole.before_ms,
            after_ms=None if whole is None else whole.after_ms,
            difference=None if whole is None else whole.difference,
        )
        return best if tuning.is_faster else None, tuning

    def _search(self) -> tuple[Path, Pair | None]:
        """Return the graph with the rewrites that are faster, and how it compares as a whole; None for no rewrite."""
        since = len(self._trials)
        best = self._together(self._every_place(self._start))
        best = self._every_image(self._left_once_more(best, since))
        if best is self._start:
            return best.path, None
        self._progress("timing the whole against the graph as it was")
        method, self._comparison.method = self._comparison.method, self._at_both_distances
        whole = self._comparison.compared(self._bundle.model_path, {TUNED: best.path}, checked=True)[TUNED]
        self._comparison.method = method
        return best.path, whole

    def _every_place(self, best: Rewritten) -> Rewritten:
        """Try the rewrites of each kind of place, on what was kept before."""
        tried: set[str] = set()
        while left := {kind: found for kind, found in _places(best).items() if kind not in tried}:
            # one, and asked again: what is kept may leave other places than there are now
            kind, candidates = next(iter(left.items()))
            tried.add(kind)
            self._progress(f"place {len(tried)}: {kind}")
            best = self._fastest(best, kind, candidates)
        return best

    def _together(self, best: Rewritten) -> Rewritten:
        """Try each rewrite on all kinds that it applies to at once, in place of what was kept of these.

        Two poolings of one map put it in blocks of channels once, for instance, which does not pay off for one.
        """
        for rewrite in REWRITES:
            if candidate := _on_all_kinds(self._start.model, best, rewrite):
                self._progress(f"{ALL_KINDS}: {rewrite.name}")
                best = self._fastest(best, ALL_KINDS, {rewrite.name: candidate})
                self._trials = [
                    replace(trial, kept=trial.kept and _is_in(trial, best.choices)) for trial in self._trials
                ]
        return best

    def _left_once_more(self, best: Rewritten, since: int) -> Rewritten:
        """Try the kinds again that were left before another was changed, of the trials ``since`` a number."""
        for kind in _left_before_another(self._trials[since:]):
            again = _places(best).get(kind)
            if again is not None:
                self._progress(f"once more, beside what was kept since: {kind}")
                best = self._fastest(best, kind, again)
        return best

    def _every_image(self, best: Rewritten) -> Rewritten:
        """Try the rewrites of the graph as a whole, if the batch is more than one."""
        if next(iter(self._bundle.inputs[0].resolve(self._sizes)), 1) > 1:
            for kind, candidates in _whole(best).items():
                self._progress(kind)
                best = self._fastest(best, kind, candidates)
        return best

    def _fastest(self, best: Rewritten, kind: str, candidates: Mapping[str, Candidate]) -> Rewritten:
        """Return the graph with every place of the kind as it is fastest, which may be as it is."""
        written: dict[str, Rewritten] = {}
        counts: dict[str, int] = {}
        for name, candidate in candidates.items():
            model = candidate.of.clone()
            counts[name] = candidate.change(model)
            path = self._folder / f"candidate-{len(self._trials) + len(written)}.onnx"
            save(model, path)
            written[name] = Rewritten(path, model, candidate.choices)
        pairs = self._comparison.compared(best.path, {name: graph.path for name, graph in written.items()})
        differences = {name: pair.difference for name, pair in pairs.items()}
        chosen = fastest(differences)
        for name, count in counts.items():
            self._trials.append(Trial(name, kind, count, pairs[name].before_ms, differences[name], name == chosen))
        return best if chosen is None else written[chosen]

    def _new_comparison(self) -> TimedComparison[Path]:
        """Return the way to time graphs, with a watch that begins now."""
        return TimedComparison(self._entry, self._check, self._method, threads=self._threads, watch=MachineWatch())

    def _entry(self, graph: Path) -> Entry:
        runner = OrtRunner(graph, CPU)
        return Entry(runner, self._bundle.inputs, self._sizes, self._sets, self._method.warm_up_seconds)

    def _check(self, name: str, process: TimedProcess) -> None:
        """Raise CheckFailed unless the graph computes what is recorded of the first case."""
        case, reference = next(recorded_cases(self._bundle))
        if why := wrong_output(process.run, case, reference, precision=PRECISIONS[self._bundle.precision]):
            raise CheckFailed(
                f"the rewrite {name!r} computes something else: {why}; nothing was kept; please report the graph"
            )


def _places(best: Rewritten) -> dict[str, dict[str, Candidate]]:
    """Return for every kind of place in the graph the rewrites that apply to it, by name."""
    found: dict[str, dict[str, Candidate]] = {}
    for rewrite in REWRITES:
        for kind in kinds(best.model, rewrite):
            one = (Choice(rewrite, kind),)
            change = partial(_apply_all, choices=one)
            found.setdefault(kind, {})[rewrite.name] = Candidate(best.model, change, best.choices + one)
    return found


def _on_all_kinds(start: ir.Model, best: Rewritten, rewrite: Rewrite) -> Candidate | None:
    """Return the graph with all kinds that a rewrite applies to rewritten by it, and the others as they are.

    None if that changes fewer than two kinds: one was tried alone.
    """
    own = {kind for model in (start, best.model) for kind in kinds(model, rewrite)}
    if len(own) < 2:
        return None
    others = tuple(choice for choice in best.choices if choice.kind not in own)
    model = start.clone()
    _apply_all(model, others)
    all_kinds = tuple(Choice(rewrite, kind) for kind in kinds(model, rewrite))
    if len(set(all_kinds) - set(best.choices)) < 2:
        return None
    return Candidate(model, partial(_apply_all, choices=all_kinds), others + all_kinds)


def _is_in(trial: Trial, choices: Sequence[Choice]) -> bool:
    """Return True if what a trial chose is still among the choices, of all kinds at least one."""
    of_its_rewrite = {choice.kind for choice in choices if choice.rewrite.name == trial.form}
    return trial.kind in of_its_rewrite or (trial.kind == ALL_KINDS and bool(of_its_rewrite))


def _apply_all(model: ir.Model, choices: Sequence[Choice]) -> int:
    """Apply the choices; return how many places they rewrote."""
    return sum(apply(model, choice.rewrite, choice.kind) for choice in choices)


def _whole(best: Rewritten) -> dict[str, dict[str, Candidate]]:
    """Return the rewrites of the graph as a whole, by kind and by name."""
    found: dict[str, dict[str, Candidate]] = {}
    for rewrite in BATCH_REWRITES:
        if kind := rewrite.kind(best.model.graph):
            change = partial(_once, rewrite=rewrite)
            found.setdefault(kind, {})[rewrite.name] = Candidate(best.model, change, best.choices)
    return found


def _once(model: ir.Model, rewrite: GraphRewrite) -> int:
    apply_whole(model, rewrite)
    return 1


def _left_before_another(trials: Sequence[Trial]) -> list[str]:
    """Return the kinds that were left before another was changed, beside which another rewrite may pay off."""
    kept = [trial.kind for trial in trials if trial.kept]
    tried = list(dict.fromkeys(trial.kind for trial in trials))
    last = tried.index(kept[-1]) if kept else 0
    return [kind for kind in tried[:last] if kind not in kept]
