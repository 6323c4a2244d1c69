"""Every rewrite is held to graphs that are drawn: what it writes computes the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx.reference import ReferenceEvaluator

from attn2trt.export.rewrites import REWRITES as FOR_THE_CPU
from attn2trt.export.rewrites import Rewrite, kinds
from attn2trt.export.rewrites.concatenated_maps import SeparateMaps
from attn2trt.export.rewrites.rewrite import Writer, rewrite_places
from attn2trt.export.rewrites.tensorrt import REWRITES
from attn2trt.export.rewrites.tensorrt.spatial_mean import SPATIAL, MeanRewrite, is_spatial, reduce

from .drawn_graphs import Drawn, Piece, concatenated_means, draw

SEEDS = (1, 11, 17, 18, 22, 37)
CPU_SEEDS = range(10)
Outputs = Sequence[Sequence[np.ndarray]]


def computed(model: onnx.ModelProto, drawn: Drawn) -> Outputs:
    evaluator = ReferenceEvaluator(model)
    return [evaluator.run(None, dict(feed)) for feed in drawn.feeds]


def require_same(model: ir.Model, drawn: Drawn, expected: Outputs) -> None:
    """Fail unless a rewritten graph is valid, has the same inputs and outputs, and computes the same."""
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    for part in ("input", "output"):
        names = [[value.name for value in getattr(graph, part)] for graph in (drawn.model.graph, proto.graph)]
        assert names[0] == names[1]
    for all_found, all_expected in zip(computed(proto, drawn), expected, strict=True):
        for found, wanted in zip(all_found, all_expected, strict=True):
            assert found.shape == wanted.shape
            np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


def hold(seed: int, rewrites: Sequence[Rewrite], first: Piece | None = None) -> Counter[str]:
    """Hold each rewrite alone, then as many as go together, to the graph of a seed; return how often each applied."""
    drawn = draw(seed, first)
    expected = computed(drawn.model, drawn)
    applied: Counter[str] = Counter()
    for rewrite in rewrites:
        for kind in kinds(ir.from_proto(drawn.model), rewrite):
            model = ir.from_proto(drawn.model)
            applied[rewrite.name] += len(rewrite_places(model, rewrite, kind))
            require_same(model, drawn, expected)
    together, taken = ir.from_proto(drawn.model), set()
    wanted = {rewrites[place].name for place in np.random.default_rng(seed).permutation(len(rewrites))[::2].tolist()}
    for rewrite in (rewrite for rewrite in rewrites if rewrite.name in wanted):
        for kind in kinds(together, rewrite):
            if kind not in taken:
                taken.add(kind)
                rewrite_places(together, rewrite, kind)
    require_same(together, drawn, expected)
    return applied


@pytest.mark.parametrize("seed", SEEDS)
def test_every_rewrite_computes_what_was_there(seed: int) -> None:
    assert len(hold(seed, REWRITES)) > 5


def test_the_rewrites_for_the_cpu_compute_what_was_there() -> None:
    applied: Counter[str] = Counter()
    for seed in CPU_SEEDS:
        applied += hold(seed, FOR_THE_CPU, concatenated_means)
    assert applied[SeparateMaps.name] > 5


@pytest.mark.slow
def test_the_rewrites_for_the_cpu_compute_what_was_there_in_many_graphs() -> None:
    applied: Counter[str] = Counter()
    for seed in range(150):
        applied += hold(seed, FOR_THE_CPU, concatenated_means)
    assert {name for name, count in applied.items() if count > 1} == {one.name for one in FOR_THE_CPU}


@pytest.mark.slow
def test_every_rewrite_computes_what_was_there_in_many_graphs() -> None:
    applied: Counter[str] = Counter()
    for seed in range(150):
        applied += hold(seed, REWRITES)
    assert {name for name, count in applied.items() if count > 1} == {one.name for one in REWRITES}


class MaximumForMean(MeanRewrite):
    """A rewrite that computes something else."""

    name = "mean as maximum"

    def applies(self, node: ir.Node) -> bool:
        return is_spatial(node)

    def mean(self, write: Writer, node: ir.Node, found: ir.Value) -> ir.Value:
        return reduce(write, node, found, SPATIAL, "mean", keep=True, operator="ReduceMax")


def test_a_rewrite_that_computes_something_else_is_found() -> None:
    found = []
    for seed in SEEDS:
        try:
            hold(seed, [MaximumForMean()])
        except AssertionError as error:
            found.append(str(error))
    assert any("Not equal to tolerance" in text for text in found)
