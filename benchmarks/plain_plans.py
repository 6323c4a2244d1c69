"""The plan that a user gets without this tool: what torch.onnx.export writes, built with TensorRT's own defaults.

The graph is in float32, its layers compute in what TensorRT finds fastest among the precisions that a flag allows, as
with `trtexec --fp16`. Nothing has judged it; its first outputs are held against the recorded ones before it is timed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attn2trt.contenders import Contender
from attn2trt.engines.tensorrt.build import Options, Order
from attn2trt.engines.tensorrt.flavours import TENSORRT
from attn2trt.engines.tensorrt.isolated import build_isolated, described
from attn2trt.engines.tensorrt.plans import Plan
from attn2trt.engines.tensorrt.profiles import Profile, parse_profiles
from attn2trt.engines.timing.contestant import PlanJob
from attn2trt.engines.timing.runtimes import PLANS
from attn2trt.errors import Attn2trtError
from attn2trt.export.bundle import Bundle, sha256
from attn2trt.validate.recorded import from_tensors

if TYPE_CHECKING:
    from torch import nn

    from attn2trt.modules.target import Target

MODEL = "plain export"
# what TensorRT can be allowed to choose in a float32 graph without calibration
PRECISIONS = ("fp32", "tf32", "fp16")
# the newest that TensorRT 8.6 reads
OPSET = 17


def graph_path(folder: Path, name: str) -> Path:
    """Where the plain export of a target lies."""
    return folder / "plain" / f"{name}.onnx"


def export_plain(folder: Path, target: Target, module: nn.Module, bundle: Bundle) -> None:
    """Write it. Raises ModuleRefused where PyTorch's exporter refuses the target."""
    from attn2trt.export.trace.plain import export_plainly

    path = graph_path(folder, target.name)
    partial = path.with_suffix(".partial.onnx")
    export_plainly(target, module, partial, [output.name for output in bundle.outputs], opset=OPSET)
    partial.replace(path)


def layers_path(folder: Path, name: str, precision: str) -> Path:
    """Where what TensorRT's inspector says of its plan lies."""
    return folder / "plain" / f"{name}-{precision}.layers.json"


def plain_contender(bundle: Bundle, precision: str, profiles: Sequence[str], options: Options) -> Contender:
    """The plan of the plain export beside ``bundle`` in this precision, built here, as the precision's runtimes."""
    runtimes = {
        runtime: kind.graphed
        for runtime, kind in PLANS.items()
        if (kind.flavour, kind.precision) == (TENSORRT.name, precision)
    }
    recorded = next(from_tensors(bundle.reference_path, bundle.manifest["cases"]))
    found = Contender(MODEL, bundle.inputs, bundle.axes, recorded=recorded)
    graph = graph_path(bundle.path.parent, bundle.path.name)
    if not graph.exists():
        found.jobs = dict.fromkeys(runtimes, "PyTorch's exporter refuses the target")
        return found
    try:
        path, about = _built(graph, bundle, precision, parse_profiles(profiles, bundle.axes), options)
    except Attn2trtError as error:
        found.jobs = dict.fromkeys(runtimes, str(error))
        return found
    found.jobs = {runtime: PlanJob(path, about, graphed) for runtime, graphed in runtimes.items()}
    return found


def _built(
    graph: Path, bundle: Bundle, precision: str, profiles: Sequence[Profile], options: Options
) -> tuple[Path, str]:
    """The plan's file, and what its runtime has to know of it."""
    stem = graph.with_suffix("").resolve()
    order = Order(
        graph=graph.resolve(),
        plan=stem.with_name(f"{stem.name}-{precision}.plan"),
        log=stem.with_name(f"{stem.name}-{precision}.log"),
        cache=stem.with_name("timing.cache"),
        layers=layers_path(graph.parent.parent.resolve(), stem.name, precision),
        inputs=bundle.inputs,
        profiles=tuple(profiles),
        options=options,
        precision=precision,
        weakly_typed=True,
    )
    built: Mapping[str, Any] = build_isolated(order)
    built = {**built, "capabilities": tuple(built["capabilities"])}
    plan = Plan(order.plan.name, precision, sha256(graph), tuple(profiles), **built)
    return order.plan, described(bundle, plan, sha256=sha256(order.plan))
