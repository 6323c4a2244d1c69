"""The random numbers that a run draws: of torch by operator, of Python and NumPy by their global generators.

A module may draw numbers that nothing depends on, as layers do that are dropped in training alone. The run is therefore
repeated with numbers at either end of their range and a few between: if the outputs are the same, no draw decides
anything.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...modules.user_line import frames, line_of

# The Mersenne twister of Python and of NumPy: words of its state, and the word that comes out as 2**32 - 1 (as 0: 0).
_WORDS = 624
_HIGHEST = 0x12DD9BB3
# So many words are at the end of the range. Those behind are not: some methods draw until a number is small enough.
_EXTREME = 312
TRIALS = 8
# the trials of the numbers at either end
ENDS = (0, 1)


@dataclass(frozen=True)
class Draw:
    """One source of random numbers: its name, the module that drew ("" if not known), and the user's line or ""."""

    source: str
    module: str = ""
    line: str = ""

    def __str__(self) -> str:
        inside = f" in {self.module}" if self.module else ""
        return f"{self.source}{inside}" + (f" at {self.line}" if self.line else "")


class Draws:
    """Entered around a run, notes in ``found`` what it drew; with a number ``trial`` it decides what is drawn instead.

    Trials 0 and 1 are the ends of the range. ``path`` gives the module that runs. The process's generators are left as
    they were if ``trial`` is given.
    """

    def __init__(self, path: Callable[[], str], trial: int | None = None) -> None:
        self.found: list[Draw] = []
        self._path = path
        self._trial = trial
        self._before = states()

    def __enter__(self) -> Draws:
        self.found.clear()
        self._before = states()
        if self._trial is not None:
            _start_at(self._trial)
        return self

    def __exit__(self, *_: object) -> None:
        if self._trial is not None:
            _restore(self._before)
            return
        after = states()
        self.found += [Draw(source) for source in after if after[source] != self._before[source]]

    def call(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Return what torch's operator gives; noted if it drew, and another draw in a trial."""
        import torch
        from torch.utils._pytree import tree_leaves

        if torch.Tag.nondeterministic_seeded not in func.tags:
            return func(*args, **kwargs)
        before = torch.get_rng_state()
        result = func(*args, **kwargs)
        own = any(isinstance(leaf, torch.Generator) for leaf in tree_leaves((args, kwargs)))
        if own or not torch.equal(before, torch.get_rng_state()):
            if self._trial is None:
                self.found.append(Draw(f"torch's {func.overloadpacket.__name__}", self._path(), line_of(frames())))
            else:
                result = _another(self._trial, result, lambda: func(*args, **kwargs))
        return result


PYTHON, NUMPY = "Python's random", "NumPy's random"


def states() -> Mapping[str, Any]:
    """Return the states of the generators that Python and NumPy share among everybody, by their names."""
    return {PYTHON: random.getstate(), NUMPY: _comparable(np.random.get_state(legacy=False))}


def _comparable(value: Any) -> Any:
    """A generator's state whose arrays are tuples, so that two can be compared; setting takes it as well."""
    if isinstance(value, Mapping):
        return {key: _comparable(part) for key, part in value.items()}
    return tuple(value.tolist()) if isinstance(value, np.ndarray) else value


def _another(trial: int, result: Any, draw: Callable[[], Any]) -> Any:
    """Return ``result`` as an end of the range, or another draw: numbers that are equal are in order as they are."""
    import torch
    from torch.utils._pytree import tree_leaves

    for leaf in tree_leaves(result) if trial in ENDS else ():
        if isinstance(leaf, torch.Tensor):
            leaf.fill_(trial)
    for _ in range(max(ENDS), trial):
        result = draw()
    return result


def _start_at(trial: int) -> None:
    words = [int(word) for word in np.random.RandomState(trial).randint(0, 2**32, size=_WORDS, dtype=np.uint64)]
    if trial in ENDS:
        words[:_EXTREME] = [trial * _HIGHEST] * _EXTREME
    random.setstate((3, (*words, 0), None))
    if np.random.get_state(legacy=False)["bit_generator"] == "MT19937":
        np.random.set_state(("MT19937", np.array(words, np.uint32), 0, 0, 0.0))


def _restore(before: Mapping[str, Any]) -> None:
    random.setstate(before[PYTHON])
    np.random.set_state(before[NUMPY])
