"""Compare PyTorch's tensors with the graph's values, one by one.

No naming convention is trusted, because a simplifier keeps names for values that it changed: a tensor is right if
one of the values that it may be, in shape and place, equals it within the floor.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from ..arrays import Array, Arrays
from ..metrics import Floor
from .eager_calls import Moment, Sight
from .observed import Observed
from .truth import Truth
from .watching import passes

Candidates = Callable[[Sight], Sequence[str]]


@dataclass(frozen=True)
class Judged:
    """A tensor of PyTorch beside the graph's values: ``values`` holds the one that fits, or those that should.

    ``status`` is unknown if the graph has no value that the tensor may be. ``ratio`` is that of the value that comes
    closest, in floors.
    """

    sight: Sight
    status: Literal["right", "wrong", "unknown"]
    values: tuple[str, ...]
    ratio: float

    @property
    def moment(self) -> Moment:
        return self.sight.moment

    @property
    def is_right(self) -> bool:
        return self.status == "right"


class Judge:
    """Compare tensors with values; ``moments`` has for every right value the moment at which PyTorch had it."""

    def __init__(self, truth: Truth, graph: Observed) -> None:
        self._truth, self._graph = truth, graph
        self.moments: dict[str, Moment] = {}

    def judge(self, sights: Sequence[Sight], candidates: Candidates, modules: Collection[str] = ()) -> list[Judged]:
        """Judge each tensor of ``sights`` by its ``candidates``; ``modules`` are those whose operators are among them.

        A tensor without candidates, and one that float32 does not come by, is left out.
        """
        claims = _Claims()
        judged: list[Judged] = []
        # float32 three times: PyTorch's with either kind of kernel, and the graph's
        for group in passes(sights, lambda sight: 12 * math.prod(sight.shape), self._truth.pass_bytes):
            wanted = {sight.moment: names for sight in group if (names := candidates(sight))}
            judged += self._judge_group(wanted, modules, claims)
        return judged

    def equal(self, sight: Sight, names: Sequence[str]) -> str | None:
        """The first of ``names`` whose value is the tensor of ``sight``."""
        return next((found.values[0] for found in self.judge([sight], lambda _: names) if found.is_right), None)

    def _judge_group(
        self, wanted: dict[Moment, Sequence[str]], modules: Collection[str], claims: _Claims
    ) -> list[Judged]:
        if not wanted:
            return []
        values = self._graph.values({name for names in wanted.values() for name in names})
        floors = self._truth.floors(wanted, modules)
        judged: list[Judged] = []

        def look(sight: Sight, get: Callable[[], Array]) -> None:
            moment = sight.moment
            if moment not in wanted or moment not in floors:
                return
            truth = get()
            if claims.is_repetition(moment, truth):
                return
            fitting = [name for name in wanted[moment] if name in values and values[name].shape == truth.shape]
            free = {name: values[name] for name in fitting if claims.is_free(name, moment)}
            found = self._closest(sight, truth, floors.at(moment, truth), free)
            judged.append(found)
            if found.is_right and moment.kind != "part":
                self.moments.setdefault(found.values[0], moment)
                claims.take(found.values[0], moment)

        self._truth.visit(look, modules)
        return judged

    def _closest(self, sight: Sight, truth: Array, floor: Floor, values: Arrays) -> Judged:
        closest = math.inf
        for name, value in values.items():
            found = self._truth.compare(value, truth, floor)
            if found.passed:
                return Judged(sight, "right", (name,), found.ratio)
            closest = min(closest, found.ratio)
        return Judged(sight, "wrong" if values else "unknown", tuple(values), closest)


class _Claims:
    """Each tensor that a module makes stands for one value of the graph.

    A dropped activation leaves a second copy of the value before it. The copy must find no tensor to vouch for it:
    neither the one that vouched for the first, nor what a view or a copy in PyTorch makes of that.
    """

    def __init__(self) -> None:
        self._owners: dict[str, str] = {}
        self._seen: dict[tuple[tuple[int, ...], bytes], tuple[str, int]] = {}

    def is_repetition(self, moment: Moment, truth: Array) -> bool:
        """Return True if another operator gave these very numbers before; takes note of what an operator gives.

        The same one in another call of its module gives a tensor of its own: a gate that is closed gives zeros twice.
        """
        if moment.kind not in ("op", "part"):
            return False
        digest = (truth.shape, hashlib.blake2b(truth.tobytes(), digest_size=16).digest())
        step = (moment.path, moment.number)
        if digest in self._seen:
            return self._seen[digest] != step
        if moment.kind == "op":
            self._seen[digest] = step
        return False

    def is_free(self, name: str, moment: Moment) -> bool:
        """Return True if a value may be what is made at ``moment``; a module may read any, and a step be any."""
        return moment.kind in ("enter", "part") or self._owners.get(name) != moment.path

    def take(self, name: str, moment: Moment) -> None:
        """Note that ``moment`` makes this value. An outer module that returns the value takes it over."""
        if moment.kind != "enter":
            self._owners[name] = moment.path
