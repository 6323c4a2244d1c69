"""A profile is split stage by stage: the backbone's own operators, layouts, and the block's."""

from __future__ import annotations

import numpy as np
import pytest

from attn2trt.engines.node_times import NodeTimes
from attn2trt.engines.timing.stage_costs import KindCost, Limited, Run, profile_of


def run(nodes: dict[str, tuple[str, str, float]], slowdown: float = 1.0) -> Run:
    """From name to (kind, module path or "", microseconds)."""
    kinds = tuple(kind for kind, _, _ in nodes.values())
    # the first call is slow, as first calls are; the median does not hear of it
    times = np.array([[9e6] * len(nodes), *[[time for _, _, time in nodes.values()]] * 4], np.float32)
    homes = {name: home for name, (_, home, _) in nodes.items() if home}
    return Run(NodeTimes(tuple(nodes), kinds, times), homes, tuple(homes.values()), slowdown)


PLAIN = run({"a": ("Conv", "conv1", 100), "b": ("Conv", "layer1.0.conv1", 1000), "c": ("Gemm", "fc", 10)}, 1.1)
TARGET = run(
    {
        "a": ("Conv", "conv1", 100),
        "b": ("Conv", "layer1.0.conv1", 900),
        "r": ("ReorderOutput", "layer1.0.conv1", 50),
        "s": ("Mul", "layer1.0.se", 200),
        "t": ("Gemm", "layer1.0.se.fc", 20),
        "u": ("Add", "layer1.0.second", 30),
        "c": ("Gemm", "fc", 10),
        "new": ("Cast", "", 5),
    },
    1.2,
)


def test_each_stage_is_split_by_what_takes_the_time() -> None:
    found = profile_of(PLAIN, TARGET, ["layer1.0.se"])
    assert [stage.stage for stage in found.stages] == ["stem", "layer1", "head", "no module"]
    stem, layer, _, untold = found.stages
    assert stem.difference_ms == 0
    assert (layer.plain_ms, layer.with_block_ms) == pytest.approx((1, 1.2))
    assert (layer.block_ms, layer.more_layout_ms, layer.more_rest_ms) == pytest.approx((0.22, 0.05, -0.07))
    assert untold.difference_ms == pytest.approx(0.005)
    assert found.total.difference_ms == pytest.approx(0.205)
    assert (found.calls, found.plain_slowdown, found.slowdown) == (5, 1.1, 1.2)
    assert found.to_json()["stages"][1]["difference_ms"] == pytest.approx(0.2)


def test_a_module_whose_name_begins_like_the_blocks_is_not_in_it() -> None:
    found = profile_of(PLAIN, TARGET, ["layer1.0.s"])
    assert found.total.block_ms == 0


def test_layouts_of_the_plain_backbone_are_taken_off() -> None:
    found = profile_of(TARGET, TARGET, ["layer1.0.se"])
    layer = found.stages[1]
    assert layer.more_layout_ms == 0
    # what stands in the block's place in the plain backbone counts as the backbone's
    assert (layer.block_ms, layer.more_rest_ms) == pytest.approx((0.22, -0.22))


def test_the_blocks_operators_stand_beside_their_limits() -> None:
    limits = [
        Limited("layer1.0.se", "Mul", 0.05),
        Limited("layer1.0.se.fc", "Gemm", 0.002),
        Limited("layer1.0.se.fc", "Relu", 0.001),
        Limited("layer1.0.conv1", "Conv", 0.5),
        Limited("", "Mul", 7.0),
    ]
    target = run(
        {
            "m": ("Mul", "layer1.0.se", 200),
            "n": ("Mul", "layer1.0.se", 100),
            "g": ("FusedGemm", "layer1.0.se.fc", 20),
            "r": ("ReorderInput", "layer1.0.se", 50),
            "c": ("Conv", "layer1.0.conv1", 900),
        }
    )
    found = profile_of(PLAIN, target, ["layer1.0.se"], limits)
    mul, gemm, relu = found.kinds
    assert (mul.kind, mul.count, mul.ms, mul.limit_ms) == ("Mul", 2, pytest.approx(0.3), 0.05)
    assert (gemm.kind, gemm.count, gemm.ms, gemm.limit_ms) == ("Gemm", 1, pytest.approx(0.02), 0.002)
    assert relu == KindCost("Relu", 0, 0.0, 0.001)
    assert found.to_json()["block_operators"][2] == {"kind": "Relu", "count": 0, "ms": 0.0, "limit_ms": 0.001}
