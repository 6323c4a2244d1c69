"""Graphs or plans of a bundle timed beside one another: what looks faster but may be so by chance is timed twice.

The second look is in new processes: the place of a process's memory moves its times as much as some rewrites do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

from ..engines.timing.method import Method
from ..engines.timing.paired import Difference, Pair
from ..engines.timing.timed_process import TimedProcess
from ..engines.timing.timed_run import Entry, MachineWatch, TimedRun
from ..errors import CheckFailed

AS_IT_IS = "as it is"
Model = TypeVar("Model")


class TimedComparison(Generic[Model]):
    """Times models beside one of them.

    Attributes:
        watch: The machine while they are timed.
        method: The rules of the clock.

    Args:
        entry: Returns the entry of a timed run for a model.
        check: Called with the name and the process of a model that is not checked yet; raises CheckFailed if it
            computes something else.
        method: The rules of the clock.
        threads: The threads of each process.
        watch: The machine's watch, over all comparisons.
        on_wrong: Called with the name and the reason if a model computes something else; the others go on without it.
            Without it the error ends the comparison.
        jobs: The processes that are made ready, and checked, beside each other.
        on_failure: Called with the name and the reason if a model does not load or breaks while it is timed; the others
            go on. Without it the error ends the comparison, as that of the model beside which all are timed does.
    """

    def __init__(
        self,
        entry: Callable[[Model], Entry],
        check: Callable[[str, TimedProcess], object],
        method: Method,
        *,
        threads: int,
        watch: MachineWatch,
        on_failure: Callable[[str, str], object] | None = None,
        on_wrong: Callable[[str, str], object] | None = None,
        jobs: int = 1,
    ) -> None:
        self._entry, self._check, self.method, self._threads = entry, check, method, threads
        self.watch, self._on_failure, self._jobs = watch, on_failure, jobs
        self._on_wrong = on_wrong

    def compared(self, before: Model, after: Mapping[str, Model], *, checked: bool = False) -> dict[str, Pair]:
        """Time each of ``after`` beside ``before``, twice if it looks faster but may be so by chance.

        Raises CheckFailed for one that is not ``checked`` yet and does not compute what PyTorch computed.
        """
        pairs = self._look(before, after, checked=checked)
        again = {name: after[name] for name, pair in pairs.items() if pair.is_promising}
        if again:
            later = self._look(before, again, checked=True)
            pairs |= {name: pairs[name].together(pair) for name, pair in later.items()}
            for name in again.keys() - later.keys():  # it broke in its second look
                del pairs[name]
        return pairs

    def _look(self, before: Model, after: Mapping[str, Model], *, checked: bool) -> dict[str, Pair]:
        entries = {name: self._entry(model) for name, model in {AS_IT_IS: before, **after}.items()}
        failure = None if self._on_failure is None else self._note
        with TimedRun(entries, self.method, threads=self._threads, watch=self.watch, on_failure=failure) as run:
            run.processes[AS_IT_IS].load()  # if this model does not load, no rewrite is to blame
            run.load()
            if not checked:
                for name in self._wrong({name: run.processes[name] for name in entries if name in run.processes}):
                    run.drop(name)
            run.warm_up(self._jobs)
            samples, _ = run.time()
        return {name: Pair(samples[AS_IT_IS], samples[name]) for name in after if name in samples}

    def _wrong(self, processes: Mapping[str, TimedProcess]) -> Iterator[str]:
        """Check models beside each other; return those that are wrong, or raise the error of the first one."""
        others = {name: process for name, process in processes.items() if name != AS_IT_IS}
        with ThreadPoolExecutor(self._jobs) as pool:
            found = {name: pool.submit(self._check, name, process) for name, process in others.items()}
        for name, one in found.items():
            try:
                one.result()
            except CheckFailed as error:
                self._require_right(processes[AS_IT_IS])
                if self._on_wrong is None:
                    raise
                self._on_wrong(name, str(error))
                yield name

    def _require_right(self, as_it_is: TimedProcess) -> None:
        """Raise CheckFailed if the model beside which all are timed is wrong as well: no rewrite is to blame."""
        try:
            self._check(AS_IT_IS, as_it_is)
        except CheckFailed:
            raise CheckFailed(
                "the graph as it is computes something else than was recorded, without any rewrite; nothing was kept; "
                "run attn2trt validate on the bundle, whose verdict says where"
            ) from None

    def _note(self, name: str, why: str) -> None:
        """Pass a failure on; raises CheckFailed if it is that of the model beside which all are timed."""
        assert self._on_failure is not None
        if name == AS_IT_IS:
            raise CheckFailed(f"the model as it is cannot be timed: {why}")
        self._on_failure(name, why)


def fastest(differences: Mapping[str, Difference]) -> str | None:
    """Return the name of the fastest that is faster beyond doubt; None if there is none.

    Of graphs that were timed with near and with distant cores, that which is fastest in both together.
    """
    clear = [name for name, difference in differences.items() if difference.is_faster]
    return min(clear, key=lambda name: differences[name].sum_ms, default=None)
