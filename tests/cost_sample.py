"""A cost that nobody measured, for tests of what is made of one."""

from __future__ import annotations

from dataclasses import replace

from attn2trt.engines.roofline import Limit, Rates
from attn2trt.engines.tensorrt.layer_costs import LayerCost
from attn2trt.engines.timing import device_costs
from attn2trt.engines.timing.costs import Added, BlockAlone, Cost, Model, Timing
from attn2trt.engines.timing.device_costs import Beside, BlockOnDevice, DeviceCost, PlanModel
from attn2trt.engines.timing.latency import Latency
from attn2trt.engines.timing.machine import Conditions
from attn2trt.engines.timing.method import Method
from attn2trt.engines.timing.paired import Difference
from attn2trt.engines.timing.stage_costs import KindCost, Profile, StageCost

ROUNDS = 12
RATES = Rates(((1 << 19, 5e10), (1 << 27, 1e10)), 5e10, 1e-5)


def timing(ms: float) -> Timing:
    """Every call takes as long; on the same input nine tenths."""
    rotated, hot = ([round(ms * share * 1e6)] * 120 for share in (1.0, 0.9))
    return Timing(Latency.of(rotated), Latency.of(hot), (ms,) * ROUNDS)


def model(name: str, ms: float, operators_ms: float, least_ms: float) -> Model:
    """Its bytes and operations follow from its limits."""
    return Model(
        name, timing(ms), Limit(round(operators_ms * 1e7), round(least_ms * 1e7), 1000, least_ms, operators_ms)
    )


def difference(ms: float, spread: float) -> Difference:
    """Twelve rounds around so many milliseconds."""
    return Difference.between([0.0] * ROUNDS, [ms + spread * (place - 5.5) for place in range(ROUNDS)])


def alone() -> Cost:
    """A block that takes 0.4 ms and has a limit of 0.1."""
    return Cost(
        target="se",
        inputs={"x": (1, 64, 28, 28)},
        threads=2,
        method=Method(rounds=ROUNDS),
        machine={"cpu": "A Processor"},
        versions={},
        conditions=Conditions(60.0, 0.0, (None, None), 0),
        rates=RATES,
        model=model("target", 0.4, 0.2, 0.1),
    )


def added() -> Cost:
    """Blocks at two shapes that make a backbone of 10 ms take 1 ms more."""
    stages = (
        StageCost("stem", 1.0, 0.0, 1.0, 0.0, 0.0),
        StageCost("layer1", 8.0, 0.5, 7.0, 1.0, 0.75),
        StageCost("head", 1.0, 0.0, 1.0, 0.0, 0.0),
    )
    blocks = (
        BlockAlone("se", (1, 64, 28, 28), ("layer1.0.se", "layer1.1.se"), model("se a", 0.11, 0.05, 0.02)),
        BlockAlone("se", (1, 128, 14, 14), ("layer2.0.se",), model("se b", 0.21, 0.1, 0.06), "Conv2d"),
    )
    kinds = (KindCost("Mul", 3, 0.5, 0.1), KindCost("Conv", 6, 0.25, 0.0625), KindCost("Sigmoid", 0, 0.0, 0.01))
    return replace(
        alone(),
        target="resnet18+se",
        inputs={"image": (1, 3, 224, 224)},
        model=model("target", 11.0, 5.5, 5.0),
        added=Added(
            plain=model("plain backbone", 10.0, 5.0, 4.5),
            difference=difference(1.0, 0.01),
            control=difference(0.0, 0.01),
            blocks=blocks,
            profile=Profile(stages, 50, 1.1, 1.2, kinds),
        ),
    )


def layer(name: str, ms: float | None, place: str = "rest", **more: object) -> LayerCost:
    """A layer of 400 kB, in a block if ``place`` says so."""
    known = {"kind": "CaskConvolution", "kernel": "a_kernel", "precision": "fp16", "reads": (), "writes": ()}
    block = None if place == "rest" else "layer1.0.se"
    entries = {**known, "bytes": 400_000, "is_assumed": False, "modules": ("layer1.0",), "place": place, "block": block}
    return LayerCost(name=name, ms=ms, **{**entries, **more})  # type: ignore[arg-type]


def plan_model(name: str, ms: float, *layers: LayerCost) -> PlanModel:
    """A plan whose bytes take a quarter of its time at 1 TB/s."""
    return PlanModel(name, "plans/fp16.plan", timing(ms), round(ms * 0.25e9), layers, 120)


def on_device() -> DeviceCost:
    """A block that makes a backbone of 0.2 ms take 0.1 ms more on a GPU that moves 1 TB/s."""
    layers = (
        layer("node_conv", 0.2),
        layer("PWN(node_mul)", 0.1, "block", modules=("layer1.0.se", "layer1.0.se.fc"), kernel=""),
        layer("node_mul + node_add", 0.05, "shared", modules=("layer1.0.se", "layer1.0"), is_assumed=True),
        layer("cast", 0.004, "rest", kind="Reformat", bytes=None, modules=()),
        layer("reshape", None, kind="NoOp", bytes=0),
    )
    stages = (StageCost("layer1", 0.2, 0.0, 0.25, 0.0, 0.1), StageCost("no module", 0.0, 0.0, 0.0, 0.004, 0.0))
    return DeviceCost(
        target="resnet18+se",
        bundle="bundles/resnet18+se",
        runtime="tensorrt",
        built_by="TensorRT 10.9.0",
        gpu="A GPU",
        precision="fp16",
        inputs={"image": (8, 3, 224, 224)},
        method=Method(rounds=ROUNDS),
        machine={"cpu": "A Processor"},
        versions={},
        conditions=Conditions(60.0, 0.0, (None, None), 0),
        rates=device_costs.Rates(1e12, 0.002),
        model=plan_model("resnet18+se", 0.3, *layers),
        blocks=(BlockOnDevice("layer1.0.se", "se", 0.1, 0.05, 25_000_000),),
        beside=Beside(
            plain=plan_model("resnet18", 0.2, layer("node_conv", 0.2)),
            difference=difference(0.1, 0.001),
            profile=Profile(stages, 120, 1.0, 1.18, ()),
        ),
    )
