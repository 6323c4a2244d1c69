"""The verdict's own test: a small fixed sample of broken graphs, each of which it must catch.

The whole run is `python benchmarks/mutants.py`; docs/mutants.md holds its figures.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scripts import load_script

from attn2trt.validate.metrics import HEALTHY_RATIO, LIMIT

ROOT = Path(__file__).resolve().parents[2]
AXES = "batch=1:2:3,height=4:8:11,width=4:8:11"


@pytest.fixture(scope="module")
def tools() -> Any:
    return load_script


@pytest.fixture(scope="module")
def healthy_model(tools: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("mutants")
    make = tools("mutation.healthy_model").HealthyModel
    return make("cbam", "2x16x8x8", AXES, folder, seed=3, inputs=60, simplified=False)


def sample(tools: Any, healthy_model: Any, seed: int = 3) -> list[Any]:
    operators = tools("mutation.operators")
    model = healthy_model.graphs["exported"]
    return list(operators.mutants(model, healthy_model.anatomy("exported"), each=1, seed=seed))


def test_everything_that_counts_in_the_sample_is_caught(tools: Any, healthy_model: Any) -> None:
    outcomes = [(mutant, healthy_model.outcome(mutant)) for mutant in sample(tools, healthy_model)]
    assert [f"{mutant.what}: {outcome.by}" for mutant, outcome in outcomes if outcome.status == "missed"] == []
    assert Counter(outcome.status for _, outcome in outcomes)["caught"] >= 30
    assert len({mutant.operator for mutant, outcome in outcomes if outcome.status == "caught"}) >= 30


def test_the_same_seed_breaks_the_same_places(tools: Any, healthy_model: Any) -> None:
    first, again, other = (sample(tools, healthy_model, seed) for seed in (3, 3, 4))
    assert first == again
    assert [mutant.what for mutant in first] != [mutant.what for mutant in other]


def test_a_verdict_without_cases_misses_them(tools: Any, healthy_model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(healthy_model, "pairs", [])
    broken = next(mutant for mutant in sample(tools, healthy_model) if mutant.operator == "weight_negated")
    assert healthy_model.outcome(broken).status == "missed"


def test_a_graph_that_is_not_broken_does_not_count(tools: Any, healthy_model: Any) -> None:
    healthy = tools("mutation.operators").Mutant(
        "none", "nothing", healthy_model.graphs["exported"].SerializeToString()
    )
    assert healthy_model.outcome(healthy).status == "equivalent"


def test_the_search_stays_inside_the_ranges_and_repeats(tools: Any, healthy_model: Any) -> None:
    search = tools("mutation.search")
    target = healthy_model.target
    for index in range(20):
        first, again = (search.random_case(target.inputs, target.axes, 5, index) for _ in range(2))
        assert all(axis.min <= first.sizes[name] <= axis.max for name, axis in target.axes.items())
        for name, value in first.feeds.items():
            np.testing.assert_array_equal(value, again.feeds[name])


MASKS = ("mask_fill_changed", "middle_swapped", "output_emptied", "parts_swapped")
NUMBERS = ("whole_number_off_by_one", "rounding_changed", "output_emptied")
RESIZES = ("resize_rescaled", "resize_mode_changed", "parts_swapped")


@pytest.mark.parametrize(
    ("name", "wanted"), [("MaskedAttention", MASKS), ("FixedPoint", NUMBERS), ("Pyramid", RESIZES)]
)
def test_masks_whole_numbers_and_resized_maps_are_judged(
    tools: Any, tmp_path: Path, name: str, wanted: tuple[str, ...]
) -> None:
    """Each way to break them counts somewhere, and wherever it does, it is caught."""
    make, operators = tools("mutation.healthy_model").HealthyModel, tools("mutation.operators")
    spec = f"{ROOT}/benchmarks/mutation/modules.py:{name}"
    healthy = make(spec, "2x16x8x8", "height=6:8:9", tmp_path, seed=3, inputs=6, simplified=False)
    chosen = [operator for operator in operators.OPERATORS if operator.__name__ in wanted]
    broken = operators.mutants(
        healthy.graphs["exported"], healthy.anatomy("exported"), each=2, seed=3, operators=chosen
    )
    outcomes = [(mutant, healthy.outcome(mutant)) for mutant in broken]
    assert [f"{mutant.what}: {outcome.by}" for mutant, outcome in outcomes if outcome.status == "missed"] == []
    assert {mutant.operator for mutant, outcome in outcomes if outcome.status == "caught"} == set(wanted)


def test_every_way_to_break_a_graph_counts_somewhere(tools: Any) -> None:
    rows = json.loads((ROOT / "benchmarks/results/mutants.json").read_text())["rows"].values()
    counting = {name for row in rows for name, counts in row["operators"].items() if counts.get("caught")}
    assert set(tools("mutants").summaries()) - counting == set()


def test_the_stored_results_meet_what_is_claimed(tools: Any) -> None:
    results = ROOT / "benchmarks/results"
    mutants, limits = (json.loads((results / f"{name}.json").read_text()) for name in ("mutants", "limit"))
    assert max(limits["largest"].values()) <= HEALTHY_RATIO < LIMIT
    assert limits["alarms"] == []
    summaries = tools("mutants").summaries()
    assert len(summaries) >= 20
    assert tools("mutation.page").page(mutants, limits, summaries) == (ROOT / "docs/mutants.md").read_text()


HEAD = '''
import torch
from torch import Tensor, nn


class Head(nn.Module):
    """(n, 8, 6): the boxes of the eight best scores, those scores and their classes."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, stride=2, padding=1), nn.SiLU())
        self.score, self.box = nn.Conv2d(16, 2, 1), nn.Conv2d(16, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.stem(x)
        scores, classes = self.score(y).sigmoid().flatten(2).max(1)
        best = scores.topk(8, dim=1)
        boxes = (self.box(y).exp() * 8).flatten(2).transpose(1, 2)
        picked = boxes.gather(1, best.indices[..., None].expand(-1, -1, 4))
        return torch.cat([picked, best.values[..., None], classes.gather(1, best.indices)[..., None].to(x.dtype)], -1)
'''


def test_what_is_left_out_of_a_head_that_picks_lets_no_mutant_through(tools: Any, tmp_path: Path) -> None:
    (tmp_path / "head.py").write_text(HEAD)
    make = tools("mutation.healthy_model").HealthyModel
    axes = "batch=1:2:3,height=12:16:21,width=12:16:21"
    head = make(str(tmp_path / "head.py"), "2x3x16x16", axes, tmp_path, seed=3, inputs=60, simplified=False)
    outcomes = [(mutant, head.outcome(mutant)) for mutant in sample(tools, head)]
    assert [f"{mutant.what}: {outcome.by}" for mutant, outcome in outcomes if outcome.status == "missed"] == []
    assert Counter(outcome.status for _, outcome in outcomes)["caught"] >= 20
