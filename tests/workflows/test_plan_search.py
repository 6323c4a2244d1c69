"""Choices that pay off only together, and those that only seem to; plans, builds and times are stand-ins."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest

from attn2trt.engines.tensorrt.build import BuildOptions
from attn2trt.engines.timing.machine import Conditions
from attn2trt.engines.timing.paired import Pair
from attn2trt.engines.timing.rounds import Samples
from attn2trt.errors import InputError
from attn2trt.workflows import plan_search
from attn2trt.workflows.plan_combinations import AT_ONCE, MOST, Candidate
from attn2trt.workflows.plan_search import WHOLE, PlanSearch, SearchResult
from attn2trt.workflows.tune_plans import METHOD


class Choice(NamedTuple):
    """A stand-in for a rewrite."""

    name: str
    kind: str
    count: int = 1


POOL, PRODUCT = Choice("pool", "mean"), Choice("product", "mean")
HALF, MERGE, CONVOLVE = Choice("half", "precision"), Choice("merge", "map"), Choice("convolve", "gate")
BESIDE = Choice("beside", "sigmoid")  # applies only once the gate is a convolution
CHOICES = (POOL, PRODUCT, HALF, MERGE, CONVOLVE)


class Plan(NamedTuple):
    """A stand-in for a plan: the names of the choices in its graph."""

    chosen: tuple[str, ...]
    built_by: str = "TensorRT 8.6.0"
    gpu: str = "NVIDIA H200"
    seconds: float = 1.0

    @property
    def plan(self) -> Plan:
        return self

    @property
    def graph(self) -> Any:
        return SimpleNamespace(folder=self.chosen)


class World:
    """The machine: the milliseconds of a graph with some choices, what cannot be built, and what was done."""

    def __init__(self, choices: Sequence[Choice] = CHOICES) -> None:
        self.all, self.pairs_of_it = choices, [*combinations(choices, 2)]
        self.pairs_of_it = [pair for pair in self.pairs_of_it if pair[0].kind != pair[1].kind]
        self.ms: Callable[[set[str]], float] = lambda _: 1.0
        self.look: Callable[[str, float], float] = lambda _, ms: ms  # the milliseconds that a look shows
        self.impossible: set[tuple[str, ...]] = set()
        self.built: list[tuple[str, ...]] = []
        self.looks: list[tuple[tuple[str, ...], list[tuple[str, ...]]]] = []
        self.out_of_time_after = 10_000

    # the graphs
    @property
    def choices(self) -> Sequence[Choice]:
        return self.all

    @property
    def pairs(self) -> Sequence[Candidate]:
        return self.pairs_of_it

    def write(self, chosen: Sequence[Choice], path: Path) -> Mapping[str, str]:
        names = tuple(choice.name for choice in chosen)
        kinds = [choice.kind for choice in chosen]
        assert len({*kinds}) == len(kinds), "two choices of one kind"
        if names in self.impossible or ("beside" in names and "convolve" not in names):
            raise InputError("it changes nothing beside what else is chosen")
        self.names = names
        return {}

    # the cache of plans
    @contextlib.contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        yield Path(name)

    def keep_graph(self, graph: Path, modules: Mapping[str, str]) -> tuple[str, ...]:
        return self.names

    def build(self, wanted: Mapping[str, tuple[str, ...]]) -> dict[str, Plan | str]:
        self.built += wanted.values()
        return {name: Plan(names) for name, names in wanted.items()}

    def build_until(self, _: float | None) -> None: ...

    def why_not_now(self) -> str:
        return "no time was left" if len(self.built) > self.out_of_time_after else ""

    # the comparison
    def compared(self, before: Plan, after: Mapping[str, Plan], *, checked: bool = False) -> dict[str, Pair]:
        self.looks.append((before.chosen, [plan.chosen for plan in after.values()]))
        return {name: Pair(self._samples("", before), self._samples(name, plan)) for name, plan in after.items()}

    def _samples(self, name: str, plan: Plan) -> Samples:
        ms = self.ms({*plan.chosen})
        return Samples([[round(1e6 * self.look(name, ms)) + turn] for turn in range(METHOD.rounds)])

    @property
    def several(self) -> list[tuple[str, ...]]:
        return [names for names in self.built if len(names) > 1]


@pytest.fixture
def search(monkeypatch: pytest.MonkeyPatch) -> Callable[[World], SearchResult]:
    def run(world: World) -> SearchResult:
        conditions = Conditions(1.0, None, (None, None), None)
        watch = SimpleNamespace(conditions=lambda: conditions)
        comparison = SimpleNamespace(compared=world.compared, watch=watch)
        monkeypatch.setattr(plan_search, "TimedComparison", {BuiltPlan: lambda *_, **__: comparison})
        monkeypatch.setattr(plan_search, "rotated_sets", lambda *_: 1)
        bundle = SimpleNamespace(inputs_of=lambda _: ())
        recipe: Any = SimpleNamespace(bundle=bundle, precision="fp16", profiles=(), options=BuildOptions())
        fakes: Any = world
        case: Any = ("case", "reference")
        return PlanSearch(
            recipe, fakes, fakes, sizes={}, case=case, name="g", method=METHOD, progress=lambda _: None
        ).search()

    BuiltPlan = plan_search.BuiltPlan
    return run


def ms_of(rules: Mapping[str, float]) -> Callable[[set[str]], float]:
    """One millisecond and what each rule adds, whose choices are all there: ``{"pool+half": -0.2}``."""
    return lambda names: 1 + sum(ms for rule, ms in rules.items() if {*rule.split("+")} <= names)


SLOW = {"pool": 0.05, "product": 0.04, "half": 0.03, "merge": 0.06, "convolve": 0.02}


@pytest.mark.parametrize("alone", [{}, SLOW], ids=["no choice matters alone", "every choice loses alone"])
def test_two_choices_that_pay_off_only_together_are_found(
    search: Callable[[World], SearchResult], alone: Mapping[str, float]
) -> None:
    world = World()
    world.ms = ms_of({**alone, "pool+half": -0.3})
    found = search(world)
    assert found.tuning.chosen == ("pool (mean)", "half (precision)")
    assert found.best == Plan(("pool", "half"))
    assert {trial.form: trial.kept for trial in found.tuning.trials if trial.kept} == {
        "pool (mean) + half (precision)": True
    }
    # of many it had to win once more alone, and the whole was held against the graph as it was
    assert ((), [("pool", "half")]) in world.looks
    assert world.looks[-1] == ((), [("pool", "half")])


def test_pairs_that_lose_least_by_themselves_are_built_first(search: Callable[[World], SearchResult]) -> None:
    world = World()
    world.ms = ms_of(SLOW)
    assert search(world).best is None
    losses = [round(sum(SLOW[name] for name in names), 6) for names in world.several]
    assert losses == sorted(losses)
    assert len(losses) == len(world.pairs_of_it)


def test_a_choice_that_applies_only_beside_another_is_found(search: Callable[[World], SearchResult]) -> None:
    world = World()
    world.pairs_of_it.append((CONVOLVE, BESIDE))
    world.ms = ms_of({**SLOW, "beside": -0.2})
    found = search(world)
    assert found.tuning.chosen == ("convolve (gate)", "beside (sigmoid)")


def test_a_pair_goes_beside_the_winner_or_in_its_place(search: Callable[[World], SearchResult]) -> None:
    world = World()
    world.ms = ms_of({"merge": -0.1, "pool": 0.05, "half": 0.05, "pool+half": -0.3})
    assert search(world).tuning.chosen == ("pool (mean)", "half (precision)", "merge (map)")
    # the winner is of the kind that the pair needs in another way
    world = World()
    world.ms = ms_of({"product": -0.1, "pool": 0.05, "half": 0.05, "pool+half": -0.4})
    assert search(world).tuning.chosen == ("pool (mean)", "half (precision)")


def test_two_pairs_are_found_one_after_the_other(search: Callable[[World], SearchResult]) -> None:
    world = World()
    world.ms = ms_of({**SLOW, "pool+half": -0.3, "merge+convolve": -0.2})
    assert {*search(world).tuning.chosen} == {
        "pool (mean)",
        "half (precision)",
        "merge (map)",
        "convolve (gate)",
    }


def test_all_that_are_no_loss_are_tried_together(search: Callable[[World], SearchResult]) -> None:
    world = World()
    names = {"pool", "half", "merge", "convolve"}
    world.ms = lambda chosen: 0.7 if names <= chosen else 1.1 if "product" in chosen else 1.0
    found = search(world)
    assert {*found.tuning.chosen} == {"pool (mean)", "half (precision)", "merge (map)", "convolve (gate)"}
    # behind the pairs, of which none was faster
    assert world.several.index(("pool", "half", "merge", "convolve")) == len(world.pairs_of_it)


def test_where_nothing_wins_few_plans_are_built_and_none_is_kept(search: Callable[[World], SearchResult]) -> None:
    many = [Choice(f"rewrite {number}", f"kind {number}") for number in range(30)]
    world = World(many)
    found = search(world)
    assert (found.best, found.tuning.chosen, found.tuning.difference) == (None, (), None)
    assert len(world.several) == AT_ONCE
    assert [len(names) for names in world.several] == [2] * (AT_ONCE - 1) + [len(many)]


def test_however_much_wins_the_plans_are_bounded(search: Callable[[World], SearchResult]) -> None:
    many = [Choice(f"rewrite {number}", f"kind {number}") for number in range(30)]
    world = World(many)
    # the further a pair is from the front, the more it gains: each step leaves a better one
    world.ms = lambda chosen: 1 + 0.01 * (len(chosen) == 1) - 0.002 * len(chosen) * (len(chosen) > 1)
    found = search(world)
    assert found.best is not None
    assert AT_ONCE < len(world.several) <= MOST


def test_noise_that_pretends_a_win_is_found_out(search: Callable[[World], SearchResult]) -> None:
    """Each candidate looks faster in the look in which it is one of many, and as it is when it is timed alone."""
    world = World()
    world.look = lambda name, ms: ms - 0.1 * ("half" in name and " + " in name and len(world.looks[-1][1]) > 1)
    found = search(world)
    assert (found.best, found.tuning.chosen) == (None, ())
    seconds = [after for before, after in world.looks if len(after) == 1]
    assert len(seconds) > 1
    assert WHOLE not in {name for name, _ in world.looks}


def test_noise_that_pretends_a_win_twice_is_found_out_by_the_whole(search: Callable[[World], SearchResult]) -> None:
    world = World()
    world.look = lambda name, ms: ms - 0.1 * (" + " in name)
    found = search(world)
    assert found.best is None
    assert found.tuning.difference is not None
    assert not found.tuning.is_faster
    assert found.tuning.chosen == ()


def test_random_noise_is_seldom_kept_and_a_pair_found_in_it(search: Callable[[World], SearchResult]) -> None:
    drawn = random.Random(0)
    kept = []
    for gain in [0.0] * 20 + [0.05] * 20:
        world = World()
        world.ms = ms_of({**SLOW, "pool+half": -0.08 - gain})
        world.look = lambda _, ms: ms * (1 + drawn.gauss(0, 0.01))
        kept.append(search(world).tuning.chosen)
    assert sum(map(bool, kept[:20])) <= 1
    assert sum({"pool (mean)", "half (precision)"} <= {*names} for names in kept[20:]) >= 18


def test_what_cannot_be_written_is_listed_and_its_place_taken_by_the_next(
    search: Callable[[World], SearchResult],
) -> None:
    world = World()
    world.impossible = {("pool", "half")}
    world.ms = ms_of({**SLOW, "merge+convolve": -0.2})
    found = search(world)
    assert found.tuning.chosen == ("merge (map)", "convolve (gate)")
    assert "changes nothing" in found.tuning.not_tried["pool (mean) + half (precision)"]


def test_a_pair_with_a_choice_that_was_refused_alone_is_not_built(search: Callable[[World], SearchResult]) -> None:
    world = World()
    world.impossible = {("half",)}
    search(world)
    assert not [names for names in world.several if "half" in names]


def test_without_time_for_combinations_the_winner_is_kept_and_the_rest_listed(
    search: Callable[[World], SearchResult],
) -> None:
    world = World()
    world.ms, world.out_of_time_after = ms_of({"pool": -0.1, "half": -0.1}), len(CHOICES)
    found = search(world)
    assert found.tuning.chosen == ("pool (mean)",)
    assert found.tuning.not_tried["pool (mean) + half (precision)"] == "no time was left"
    assert world.several == []
