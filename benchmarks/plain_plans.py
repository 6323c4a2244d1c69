"""The plan that a user gets without this tool: what torch.onnx.export writes, built with TensorRT's own defaults.

The graph is in float32, its layers compute in what TensorRT finds fastest among the precisions that a flag allows, as
with `trtexec --fp16`. It takes and gives the types of the bundle's graph in that precision, as with `--inputIOFormats`,
so that neither plan has casts that the other is spared. Nothing has judged it; its first outputs are held against the
recorded ones before it is timed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attn2trt.core.bundle import Bundle
from attn2trt.core.file_hashes import sha256
from attn2trt.engines.tensorrt.build import BuildOptions, BuildOrder
from attn2trt.engines.tensorrt.flavours import TENSORRT
from attn2trt.engines.tensorrt.isolated import build_isolated, described
from attn2trt.engines.tensorrt.plans import Plan
from attn2trt.engines.tensorrt.profiles import parse_profiles
from attn2trt.engines.timing.runners import PlanRunner
from attn2trt.engines.timing.runtimes import PLANS
from attn2trt.errors import InputError
from attn2trt.validate.recorded import recorded_cases
from attn2trt.workflows.variants import Variant

if TYPE_CHECKING:
    from torch import nn

    from attn2trt.modules.target import Target

FOLDER = "plain"
MODEL = "plain export"
# the newest that TensorRT 8.6 reads
OPSET = 17


def graph_path(folder: Path, name: str) -> Path:
    """The path of the plain export of a case."""
    return folder / FOLDER / f"{name}.onnx"


def plan_path(folder: Path, name: str, precision: str) -> Path:
    """The path of its plan."""
    return folder / FOLDER / f"{name}-{precision}.plan"


def layers_path(folder: Path, name: str, precision: str) -> Path:
    """The path of the inspector's JSON of its plan."""
    return folder / FOLDER / f"{name}-{precision}.layers.json"


def export_plain(folder: Path, name: str, target: Target, module: nn.Module, bundle: Bundle) -> None:
    """Write it. Raises ModuleRefused if PyTorch's exporter refuses the target."""
    from attn2trt.export.trace.plain import export_plainly

    path = graph_path(folder, name)
    path.parent.mkdir(exist_ok=True)
    partial = path.with_suffix(".partial.onnx")
    export_plainly(target, module, partial, [output.name for output in bundle.outputs], opset=OPSET)
    partial.replace(path)


def build_plain(
    folder: Path,
    name: str,
    bundle: Bundle,
    precision: str,
    profiles: Sequence[str],
    options: BuildOptions,
    *,
    tag: str = "",
) -> dict[str, Any]:
    """Build its plan on the GPU at hand; returns what is known of the plan, with the file's hash.

    ``tag`` is added to the name of the plan's files, for a second plan of the same export.

    Raises InputError if there is no plain export, and what ``build`` raises.
    """
    graph = graph_path(folder, name).resolve()
    if not graph.exists():
        raise InputError("PyTorch's exporter refuses the target")
    chosen = tuple(parse_profiles(profiles, bundle.axes))
    plan = plan_path(folder, f"{name}{tag}", precision).resolve()
    cache = plan.with_suffix(".cache")
    order = BuildOrder(
        graph=graph,
        plan=plan,
        log=plan.with_suffix(".log"),
        cache=cache,
        layers=layers_path(folder, f"{name}{tag}", precision).resolve(),
        inputs=bundle.inputs,
        profiles=chosen,
        options=options,
        precision=precision,
        weakly_typed=True,
        io=bundle.io(precision),
        known_cache=cache if cache.exists() else None,
        known_sha256=sha256(cache) if cache.exists() else "",
    )
    built: Mapping[str, Any] = build_isolated(order)
    built = {**built, "capabilities": tuple(built["capabilities"])}
    known = Plan(plan.name, precision, sha256(graph), chosen, **built)
    return {**known.to_json(), "sha256": sha256(plan)}


def plain_variant(folder: Path, name: str, bundle: Bundle, built: Sequence[Mapping[str, Any]]) -> Variant:
    """The plans that ``build_plain`` returned of a case, as runtimes beside those of its ``bundle``.

    A file that is not the one that was built is not loaded.
    """
    recorded = next(recorded_cases(bundle))
    found = Variant(MODEL, bundle.inputs, bundle.axes, recorded=recorded)
    for entry in built:
        plan = Plan.from_json(entry)
        path, about = folder / FOLDER / plan.file, described(bundle, plan, sha256=str(entry["sha256"]))
        found.runners |= {
            runtime: PlanRunner(path.resolve(), about, kind.graphed)
            for runtime, kind in PLANS.items()
            if kind.key == (TENSORRT.name, plan.precision, False)
        }
    return found
