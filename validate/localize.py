"""Where a failed stage goes wrong: the first PyTorch module and ONNX node whose output leaves PyTorch's own rounding.

Every tensor that enters or leaves a module in PyTorch is compared, by its values, with what crosses the same boundary
in the graph: no naming convention is trusted, because a simplifier keeps names for values that it changed. The floor
at a boundary is what PyTorch loses there in float32, as for the outputs. Going back from the first boundary that is
wrong to what is known to be right leaves a few nodes; PyTorch's operators in those modules single one out. Last, the
module is cut out of the graph and fed PyTorch's own inputs: a fault that shows there too is proven to be there.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..export.graph import OnnxGraph
from .boundaries import Arrays, GraphView, Node, Opener, is_inside, ort_opener
from .cases import Case, Feeds
from .localize_eager import EagerCalls, Moment, Sight, class_and_line
from .metrics import Array, Comparison, Floor, compare, measure

if TYPE_CHECKING:
    from torch import nn

# Tensors of one pass over the model: at least this, and at most about half of the model's weights.
PASS_BYTES = 64 << 20


@dataclass(frozen=True)
class Location:
    """Where a graph leaves PyTorch. ``ratio`` is in floors; infinite where nothing could be computed.

    ``source`` is the file and line of the class's ``forward``. ``proven`` tells that the module alone (or the nodes
    behind the boundary, where PyTorch has no such module), fed PyTorch's own tensors, shows the error as well.
    ``detail`` says in a sentence what is certain.
    """

    module: str
    class_name: str
    source: str
    node: str
    op_type: str
    ratio: float
    proven: bool
    detail: str

    def __str__(self) -> str:
        place = f" at {self.source}" if self.source else ""
        kind = f" ({self.class_name}{place})" if self.class_name else ""
        node = f", ONNX node {self.node} ({self.op_type})" if self.node else ""
        return f"first wrong in {self.module or 'the model itself'}{kind}{node}; {self.detail}"

    def to_json(self) -> dict[str, Any]:
        """Plain data; a ratio that JSON has no word for is a string."""
        return asdict(self) | {"ratio": self.ratio if math.isfinite(self.ratio) else str(self.ratio)}


def locate(
    module: nn.Module, graph: OnnxGraph, case: Case, *, optimise: bool, opener: Opener | None = None, seed: int = 0
) -> Location | None:
    """Where ``graph`` leaves ``module`` on ``case``; None where its outputs stay within the limit.

    The graph runs in ONNX Runtime, as in production with ``optimise``; ``opener`` loads it in another runtime.
    Raises ModuleRefused where PyTorch cannot run the case.
    """
    with GraphView(graph.path, graph.modules) as view:
        return _Search(view, module, case, opener or ort_opener(optimise=optimise), seed).find()


@dataclass(frozen=True)
class _Judged:
    """A tensor of PyTorch beside the graph's values: ``values`` holds the one that fits, or those that should."""

    sight: Sight
    status: str  # right, wrong or unknown
    values: tuple[str, ...]
    ratio: float


Candidates = Callable[[Sight], Sequence[str]]


class _Search:
    def __init__(self, view: GraphView, module: nn.Module, case: Case, opener: Opener, seed: int) -> None:
        self.view, self.case, self.opener = view, case, opener
        self.feeds = case.feeds
        self.double = EagerCalls(module, seed, is_double=True)
        self.single = EagerCalls(module, seed, is_double=False)
        weights = sum(p.numel() * 4 for p in module.parameters())
        self.pass_bytes = max(PASS_BYTES, weights // 2)
        self.hidden: set[str] = set()  # values whose display makes the error vanish
        self.raised: Node | None = None
        self.moments: dict[str, Moment] = {}  # when PyTorch had what a value of the graph holds
        self.parts: set[str] = set()  # values that are a step inside one of PyTorch's operators
        self.rivals: set[str] = set()  # values that one of PyTorch's operators should have made, and that differ

    def find(self) -> Location | None:
        self.sights = self._sights()
        try:
            outputs = self.view.values_at(self.opener, self.feeds, ())
        except Exception as error:
            if not self._shorten(str(error)):
                return None
            if not self.view.outputs:
                return self._raising(set(self.view.inputs))
        else:
            if not self._is_wrong(outputs):
                return None
        judged = self._judge(self.sights, self._boundary)
        right = set(self.view.inputs) | {j.values[0] for j in judged if j.status == "right"}
        return self._narrow([self._unclaimed(found, judged) for found in judged], right)

    # --- which boundary

    def _narrow(self, judged: list[_Judged], right: set[str]) -> Location | None:
        left = {(j.sight.moment[:2]) for j in judged if j.status == "right" and j.sight.moment.kind == "leave"}
        for found in judged:
            moment = found.sight.moment
            cleared = self.view.cleared(right)
            if found.status != "wrong" or (moment.kind == "enter" and moment[:2] in left):
                continue
            if moment.kind == "leave" and moment.path and self._is_harmless(found, cleared):
                continue
            region = self.view.back(found.values, cleared)
            if region:
                right |= self._operators(region, right)
                cleared = self.view.cleared(right)
                suspects = [node for node in region if not cleared.issuperset(self.view.floats(node.outputs))]
                if suspects:
                    return self._folded_before(suspects, found) or self._locate(suspects, found, judged)
            elif (missing := self._missing(found, judged)) is not None:
                return missing
        return None if self.raised is None else self._raising(right)

    def _unclaimed(self, found: _Judged, judged: Sequence[_Judged]) -> _Judged:
        """A wrong output with only those values that no other call of the module accounts for."""
        path, _, kind, _ = found.sight.moment
        if found.status != "wrong" or kind != "leave":
            return found
        claimed = {
            other.values[0]
            for other in judged
            if other.status == "right" and (other.sight.moment.path, other.sight.moment.kind) == (path, kind)
        }
        left = tuple(name for name in found.values if name not in claimed)
        return replace(found, values=left) if left else replace(found, status="unknown")  # not read at all

    def _boundary(self, sight: Sight) -> Sequence[str]:
        """The graph's values that a tensor at a module's boundary may be."""
        path, _, kind, number = sight.moment
        if not path and self.raised is None:
            if kind == "enter":
                return ()
            return self.view.outputs[number : number + 1]
        if not self.view.inside(path):
            home = self._home(sight.moment)
            return self.view.leaving(home) if kind == "leave" and home else ()
        return self.view.entering(path) if kind == "enter" else self.view.leaving(path)

    def _home(self, moment: Moment) -> str:
        """The module into whose nodes a module without nodes was folded: the one that made its input."""
        entered = self.entered.get((moment.path, moment.call))
        while entered is not None:
            origin = entered.origin
            if origin.kind != "leave":
                return ""
            if self.view.inside(origin.path):
                return origin.path
            entered = self.entered.get((origin.path, origin.call))
        return ""

    # --- comparing

    def _sights(self) -> list[Sight]:
        """Every boundary in the order of execution; learns the truth of the outputs on the way."""
        sights: list[Sight] = []
        truths: list[Array] = []

        def note(sight: Sight, get: Callable[[], Array]) -> None:
            sights.append(sight)
            if sight.moment[:3] == ("", 0, "leave"):
                truths.append(get().copy())

        self.double.visit(self.feeds, self.case, note)
        rounded = list(self.single.run(self.feeds, self.case).values())
        self.outputs = [(truth, measure(own, truth)) for truth, own in zip(truths, rounded, strict=True)]
        self.entered = {
            sight.moment[:2]: sight for sight in reversed(sights) if sight.moment.kind == "enter" and sight.is_float
        }
        return [sight for sight in sights if sight.is_float]

    def _is_wrong(self, outputs: Mapping[str, Array]) -> bool:
        found = zip(self.view.outputs, self.outputs, strict=False)
        return any(not self._compare(outputs[name], truth, floor).passed for name, (truth, floor) in found)

    def _compare(self, value: Array, truth: Array, floor: Floor) -> Comparison:
        return compare("", value, truth, floor, self.double.largest, budget=math.inf)

    def _judge(self, sights: Sequence[Sight], candidates: Candidates, ops: Collection[str] = ()) -> list[_Judged]:
        judged: list[_Judged] = []
        used: dict[str, Moment] = {}
        for group in self._groups(sights):
            judged += self._judge_group(group, candidates, ops, used)
        return judged

    def _groups(self, sights: Sequence[Sight]) -> Iterator[list[Sight]]:
        """As many tensors as fit into memory at a time."""
        group: list[Sight] = []
        size = 0
        for sight in sights:
            group.append(sight)
            size += 8 * math.prod(sight.shape)  # float32 twice: PyTorch's and the graph's
            if size > self.pass_bytes:
                yield group
                group, size = [], 0
        if group:
            yield group

    def _judge_group(
        self, group: Sequence[Sight], candidates: Candidates, ops: Collection[str], used: dict[str, Moment]
    ) -> list[_Judged]:
        wanted = {sight.moment: tuple(candidates(sight)) for sight in group}
        wanted = {moment: names for moment, names in wanted.items() if names}
        names = {name for names in wanted.values() for name in names}
        values = self._values(names - self.feeds.keys()) | {n: self.feeds[n] for n in names & self.feeds.keys()}
        floors: dict[Moment, Floor] = {}
        for feeds in self.case.neighbours():
            for moment, floor in self._floors(feeds, wanted, ops).items():
                floors[moment] = floor.or_larger(floors[moment]) if moment in floors else floor
        own = self._kept(self.feeds, wanted, ops)
        judged: list[_Judged] = []
        seen: set[tuple[tuple[int, ...], bytes]] = set()

        def judge(sight: Sight, get: Callable[[], Array]) -> None:
            moment = sight.moment
            if moment not in wanted or moment not in own:
                return
            truth = get()
            if moment.kind in ("op", "part"):
                digest = (truth.shape, _digest(truth))
                if digest in seen:
                    return
                if moment.kind == "op":
                    seen.add(digest)
            floor = measure(own[moment], truth)
            floor = floor.or_larger(floors[moment]) if moment in floors else floor
            names = [n for n in wanted[moment] if n in values and values[n].shape == truth.shape]
            if moment.kind in ("leave", "op"):
                names = [n for n in names if n not in used or used[n].path != moment.path]
            found = self._best(sight, truth, floor, {name: values[name] for name in names})
            judged.append(found)
            if found.status == "right" and moment.kind != "part":
                self.moments.setdefault(found.values[0], moment)
                if moment.kind != "enter":
                    used[found.values[0]] = moment

        self.double.visit(self.feeds, self.case, judge, ops)
        return self._absorbed(judged)

    def _best(self, sight: Sight, truth: Array, floor: Floor, values: Arrays) -> _Judged:
        best: tuple[float, tuple[str, ...]] = (math.inf, ())
        for name, value in values.items():
            found = self._compare(value, truth, floor)
            if found.passed:
                return _Judged(sight, "right", (name,), found.ratio)
            best = min(best, (found.ratio, (name,)), key=lambda pair: pair[0])
        is_own = sight.moment.kind in ("enter", "leave") and (
            not sight.moment.path or bool(self.view.inside(sight.moment.path))
        )
        return _Judged(sight, "wrong" if values and is_own else "unknown", tuple(values), best[0])

    def _absorbed(self, judged: list[_Judged]) -> list[_Judged]:
        """A convolution whose normalisation was folded into it: its own output is nowhere, the folded one is right."""
        right = {
            (self._home(j.sight.moment), j.values[0])
            for j in judged
            if j.status == "right" and j.sight.moment.kind == "leave" and not self.view.inside(j.sight.moment.path)
        }

        def settle(found: _Judged) -> _Judged:
            moment = found.sight.moment
            folded = moment.kind == "leave" and any((moment.path, name) in right for name in found.values)
            return replace(found, status="unknown") if found.status == "wrong" and folded else found

        return [settle(found) for found in judged]

    def _kept(
        self, feeds: Feeds, wanted: Collection[Moment], ops: Collection[str], *, plain: bool = False
    ) -> dict[Moment, Array]:
        """PyTorch's own float32 tensors; one array for a tensor that is seen again."""
        kept: dict[Moment, Array] = {}

        def keep(sight: Sight, get: Callable[[], Array]) -> None:
            if sight.moment in wanted:
                kept[sight.moment] = kept[sight.origin] if sight.origin in kept else get().copy()

        self.single.visit(feeds, self.case, keep, ops, plain=plain)
        return kept

    def _floors(self, feeds: Feeds, wanted: Collection[Moment], ops: Collection[str]) -> dict[Moment, Floor]:
        own = self._kept(feeds, wanted, ops, plain=True)
        floors: dict[Moment, Floor] = {}

        def note(sight: Sight, get: Callable[[], Array]) -> None:
            if sight.moment in own and own[sight.moment].shape == sight.shape:
                floors[sight.moment] = measure(own[sight.moment], get())

        self.double.visit(feeds, self.case, note, ops)
        return floors

    def _values(self, names: Iterable[str]) -> Arrays:
        """The graph's values. Where showing them makes the error vanish (an optimisation is then switched off), they
        are shown in smaller groups, and one that hides the error by itself is left out."""
        ordered = sorted(names)
        if not ordered:
            return {}
        found = self.view.values_at(self.opener, self.feeds, ordered)
        if self.raised is not None or self._is_wrong(found):
            return {name: found[name] for name in ordered}
        if len(ordered) == 1:
            self.hidden.add(ordered[0])
            return {}
        half = len(ordered) // 2
        return self._values(ordered[:half]) | self._values(ordered[half:])

    # --- which node

    def _operators(self, region: Sequence[Node], right: set[str]) -> set[str]:
        """The values inside ``region`` that one of PyTorch's operators in the same module computes too.

        Each operator vouches for one value: a dropped activation leaves a second copy of the value before it, for
        which no operator is left.
        """
        paths = {node.module for node in region}
        folded = {
            moment.path: home
            for moment in (sight.moment for sight in self.sights)
            if moment.kind == "leave" and not self.view.inside(moment.path) and (home := self._home(moment)) in paths
        }
        inside = [node for node in self.view.nodes if node.module in paths]
        # Values outside of the region come first: an operator that made one of them cannot vouch for another.
        inside.sort(key=lambda node: node in region)
        made = {name: node.module for node in inside for name in self.view.floats(node.outputs)}
        named = set(self.view.outputs) if self.raised is None else set()  # known by name, so never vouched for
        sights: list[Sight] = []

        def note(sight: Sight, get: Callable[[], Array]) -> None:
            if sight.moment.kind in ("op", "part") and sight.is_float:
                sights.append(sight)

        modules = paths | set(folded)
        self.double.visit(self.feeds, self.case, note, modules)

        def candidates(sight: Sight) -> Sequence[str]:
            path = folded.get(sight.moment.path, sight.moment.path)
            fit = (name for name, module in made.items() if module == path and self.view.may_be(name, sight.shape))
            return [name for name in fit if name not in named]

        judged = self._judge(sights, candidates, modules)
        ops = [found for found in judged if found.sight.moment.kind == "op"]
        self.parts |= {j.values[0] for j in judged if j.status == "right" and j.sight.moment.kind == "part"}
        self.rivals |= {name for found in ops if found.status != "right" for name in found.values}
        return {found.values[0] for found in ops if found.status == "right"}

    def _locate(self, suspects: Sequence[Node], found: _Judged, judged: Sequence[_Judged]) -> Location:
        same = [other for other in suspects if other.module == suspects[0].module]
        # A step inside one of PyTorch's operators, done rightly: what goes on from it is to blame.
        while len(same) > 1 and self.parts.intersection(same[0].outputs) and set(same[0].outputs) & set(same[1].inputs):
            same = same[1:]
        node = same[0]
        # Without a tensor of PyTorch to hold against a node's output, the next one may be the culprit as well.
        known = [place for place, other in enumerate(same) if self.rivals.intersection(other.outputs)]
        same = same[: known[0] + 1] if known else same
        certain = "" if len(same) == 1 else f"one of {len(same)} nodes from {node.name} to {same[-1].name}; "
        return self._location(node.module, node, found, certain, judged)

    def _missing(self, found: _Judged, judged: Sequence[_Judged]) -> Location | None:
        """All that a module reads is right somewhere, but it is not what PyTorch feeds it: a step left out, or another
        value read in its place."""
        moment = found.sight.moment
        if moment.kind == "leave":
            return self._last_step_missing(found)
        readers, calls = self._readers(found), self._call_count(moment.path)
        # Of a module that is called again, the node in the order of its calls.
        reader = (readers[moment.call] if len(readers) == calls else readers[0]) if readers else None
        origin = found.sight.origin
        if origin.kind == "leave" and not self.view.inside(origin.path):
            if self._is_folded(origin):
                return self._before_folded(found, origin, reader)
            return self._absent(origin.path, "no node of the graph computes this module", reader, found)
        return None if reader is None else self._fed_otherwise(found, judged, reader, is_short=len(readers) < calls)

    def _folded_before(self, suspects: Sequence[Node], found: _Judged) -> Location | None:
        """What is missing before a module that was folded into the one whose output is wrong."""
        path, call, kind, _ = found.sight.moment
        entered = self.entered.get((path, call))
        if kind != "leave" or entered is None or suspects[0].module != path or not self._is_folded(entered.origin):
            return None
        return self._before_folded(found, entered.origin, suspects[0])

    def _before_folded(self, found: _Judged, origin: Moment, reader: Node | None) -> Location | None:
        """A module with weights but no node was folded into its reader, whose own output is judged next. What it was
        fed must be in the graph all the same."""
        fed = self.entered.get((origin.path, origin.call))
        while fed is not None and self._is_folded(fed.origin):
            fed = self.entered.get((fed.origin.path, fed.origin.call))
        if fed is None or self._computed(fed) is not None:
            return None
        if fed.origin.kind == "leave" and not self.view.inside(fed.origin.path):
            return self._absent(fed.origin.path, "no node of the graph computes this module", reader, found)
        text = f"no node of the graph computes what PyTorch feeds to {fed.moment.path}"
        return self._absent(fed.caller, text, reader, found)

    def _is_folded(self, moment: Moment) -> bool:
        return moment.kind == "leave" and not self.view.inside(moment.path) and self._has_weights(moment.path)

    def _fed_otherwise(self, found: _Judged, judged: Sequence[_Judged], reader: Node, *, is_short: bool) -> Location:
        """``reader`` does not read what PyTorch feeds the module; ``is_short`` where calls of it have no node."""
        path = found.sight.moment.path
        computed = self._computed(found.sight)
        if computed is None:
            text = f"no node of the graph computes what PyTorch feeds to {path}"
            return self._absent(found.sight.caller, text, reader, found)
        if is_short:
            user = next(iter(self.view.consumers.get(computed, ())), None)
            return self._absent(path, "a call of this module is missing from the graph", user, found)
        return self._location(reader.module, reader, found, "it reads another value than PyTorch feeds it; ", judged)

    def _absent(self, path: str, text: str, reader: Node | None, found: _Judged) -> Location:
        """Something that has no node: the one that reads what should have gone into it stands for it."""
        name, source = self._class_and_line(path)
        node, kind = (reader.name, reader.op_type) if reader else ("", "")
        text += f"; {node} reads what is before it" if reader else ""
        return Location(path, name, source, node, kind, found.ratio, False, text)

    def _readers(self, found: _Judged) -> list[Node]:
        return [node for node in self.view.inside(found.sight.moment.path) if set(node.inputs) & set(found.values)]

    def _call_count(self, path: str) -> int:
        return 1 + max(sight.moment.call for sight in self.sights if sight.moment.path == path)

    def _is_harmless(self, found: _Judged, cleared: Collection[str]) -> bool:
        """Whether all that goes on from what leaves a module ends well, so that only the comparison was at fault."""
        users = [user for name in found.values for user in self.view.consumers.get(name, ())]
        after = [user for user in users if not is_inside(user.module, found.sight.moment.path)]
        return all(set(cleared).issuperset(self.view.floats(user.outputs)) for user in after)

    def _last_step_missing(self, found: _Judged) -> Location | None:
        """What leaves the module is right, one step too early."""
        path = found.sight.moment.path
        makers = [self.view.producer[name] for name in found.values if name in self.view.producer]
        if not path or not makers:
            return None
        text = f"no node of the graph computes the last step of this module: it ends with {makers[-1].name}"
        name, source = self._class_and_line(path)
        return Location(path, name, source, makers[-1].name, makers[-1].op_type, found.ratio, False, text)

    def _has_weights(self, path: str) -> bool:
        part = self.double.paths.get(path)
        return part is not None and next(iter(part.parameters()), None) is not None

    def _computed(self, sight: Sight) -> str | None:
        """The value of the graph, wherever it is, that holds what PyTorch feeds a module."""
        made = [name for node in self.view.nodes for name in node.outputs]
        names = [name for name in self.view.floats([*self.view.inputs, *made]) if self.view.may_be(name, sight.shape)]
        at_once = max(1, self.pass_bytes // (4 * math.prod(sight.shape) or 1))
        for start in range(0, len(names), at_once):
            for found in self._judge([sight], _always(names[start : start + at_once])):
                if found.status == "right":
                    return found.values[0]
        return None

    # --- a graph that does not run

    def _shorten(self, message: str) -> bool:
        """Keep of the graph what runs before the node that ONNX Runtime's message names."""
        name = re.search(r"Name:'([^']*)'", message)
        found = [node for node in self.view.nodes if name is not None and node.name == name[1]]
        if not found:
            return False
        self.raised = found[0]
        self.raised_why = " ".join(message.split())[:200]
        self.view.shorten(found[0])
        return True

    def _raising(self, right: set[str]) -> Location:
        """The node that does not run; or, where what it reads is not what PyTorch computes, the one that made that."""
        assert self.raised is not None
        node = self.raised
        region = self.view.back(self.view.outputs, self.view.cleared(right))
        cleared = self.view.cleared(right | self._operators(region, right)) if region else right
        suspects = [part for part in region if not cleared.issuperset(self.view.floats(part.outputs))]
        blamed = suspects[0] if suspects else node
        before = (
            f"{node.name} does not run on what it makes" if suspects else "what it reads is right, and it does not run"
        )
        name, source = self._class_and_line(blamed.module)
        text = f"{before}: {self.raised_why}"
        return Location(blamed.module, name, source, blamed.name, blamed.op_type, math.inf, not suspects, text)

    # --- the proof

    def _location(self, path: str, node: Node, found: _Judged, certain: str, judged: Sequence[_Judged]) -> Location:
        name, source = self._class_and_line(path)
        proof, what = self._proof(path, node, judged), "the module alone, fed PyTorch's own inputs,"
        if proof is None:
            proof, what = self._nodes_alone(node, found), "its nodes alone, fed PyTorch's own tensors,"
        if proof is None:
            proven, text = False, "it could not be cut out and fed alone"
        else:
            proven = not proof.passed
            text = (
                f"{what} are off by {proof.ratio:.3g} floors" if proven else f"{what} are right: the fault is beside it"
            )
            text = text if what.startswith("its") else text.replace(" are ", " is ")
        if self.hidden:
            text += f"; looking at {', '.join(sorted(self.hidden)[:3])} makes the error vanish"
        return Location(path, name, source, node.name, node.op_type, found.ratio, proven, certain + text)

    def _class_and_line(self, path: str) -> tuple[str, str]:
        place = self.double.paths.get(path)
        return class_and_line(place) if place is not None else ("", "")

    def _proof(self, path: str, node: Node, judged: Sequence[_Judged]) -> Comparison | None:
        """The module's nodes alone on PyTorch's inputs of one call, against the module alone in float64."""
        for found in judged:
            moment = found.sight.moment
            if moment.path != path or moment.kind != "leave" or found.status != "wrong":
                continue
            for value in found.values:
                entering = {*self.view.entering(path), *self.view.inputs}
                nodes = [part for part in self.view.back([value], entering) if is_inside(part.module, path)]
                if node in nodes:
                    return self._alone(moment, nodes, value)
        return None

    def _alone(self, moment: Moment, nodes: Sequence[Node], value: str) -> Comparison | None:
        inputs = self.single.inputs_of(moment.path, moment.call, self.feeds, self.case)
        if inputs is None:
            return None
        truth = self.double.alone(moment.path, inputs, self.case)[moment.number]
        floor = measure(self.single.alone(moment.path, inputs, self.case)[moment.number], truth)
        return self._cut_and_compare(nodes, value, truth, floor)

    def _nodes_alone(self, node: Node, found: _Judged) -> Comparison | None:
        """What lies between values known to be right and the wrong boundary, on PyTorch's tensors for those values."""
        moment, truths = found.sight.moment, list[Array]()

        def note(sight: Sight, get: Callable[[], Array]) -> None:
            if sight.moment == moment:
                truths.append(get().copy())

        self.double.visit(self.feeds, self.case, note)
        own = self._kept(self.feeds, {moment}, ())
        for value in found.values:
            nodes = self.view.back([value], self.moments)
            if node in nodes and truths and moment in own:
                return self._cut_and_compare(nodes, value, truths[0], measure(own[moment], truths[0]))
        return None

    def _cut_and_compare(self, nodes: Sequence[Node], value: str, truth: Array, floor: Floor) -> Comparison | None:
        nodes = self.view.with_sizes(nodes)
        made = {name for node in nodes for name in node.outputs}
        feeds = self._fed(dict.fromkeys(name for node in nodes for name in node.inputs if name not in made))
        path = self.view.cut(nodes, feeds, [value])
        try:
            with self.opener(path) as session:
                return self._compare(session.run(feeds)[value], truth, floor)
        except Exception:  # the cut may not run: then nothing is proven
            return None

    def _fed(self, names: Iterable[str]) -> Arrays:
        """PyTorch's float32 tensors for these values; the graph's own where PyTorch has none (sizes)."""
        names = list(names)
        fed = {name: self.feeds[name] for name in names if name in self.feeds}
        known = {name: self.moments[name] for name in names if name in self.moments and name not in fed}
        ops = {moment.path for moment in known.values() if moment.kind not in ("enter", "leave")}
        kept = self._kept(self.feeds, set(known.values()), ops)
        fed |= {name: kept[moment] for name, moment in known.items() if moment in kept}
        rest = [name for name in names if name not in fed]
        if rest:
            found = self.view.values_at(self.opener, self.feeds, rest)
            fed |= {name: found[name] for name in rest}
        return {name: np.ascontiguousarray(fed[name]) for name in names}


def _always(names: Sequence[str]) -> Candidates:
    return lambda _: names


def _digest(array: Array) -> bytes:
    import hashlib

    return hashlib.blake2b(array.tobytes(), digest_size=16).digest()
