"""The variants of a bundle: its graphs and plans and, if PyTorch can build it here, the module beside them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.bundle import Bundle
from ..core.file_hashes import require_unchanged
from ..core.manifest import MODEL, REFERENCE
from ..core.progress import Progress
from ..core.snapshot import copy_files
from ..engines.tensorrt.here import why_not_runnable
from ..engines.tensorrt.isolated import checked
from ..engines.tensorrt.plans import Plan, is_of_its_graph, kernels_name, plans_of
from ..engines.tensorrt.profiles import is_held
from ..engines.timing.runners import PlanRunner, Runner
from ..engines.timing.runtimes import RUNTIMES, GraphRuntime, PlanRuntime
from ..errors import Attn2trtError
from ..validate.recorded import recorded_cases
from .bundle_module import rebuild, why_not_built
from .variant_runners import ModuleRunners, of_backbone
from .variants import TARGET, Exporter, Variant, export_backbone

if TYPE_CHECKING:
    from ..validate.cases import Case
    from ..validate.metrics import Reference


def from_bundle(
    bundle: Bundle, folder: Path, runtimes: Sequence[str], *, backbone: bool = True, progress: Progress
) -> list[Variant]:
    """Return the graphs of a bundle and, if PyTorch is here and the bundle says how, the module that it was made of.

    Everything is read from checked copies in ``folder``, so that a bundle which is replaced meanwhile changes nothing.

    Raises:
        CheckFailed: A file is not the one that the manifest lists.
        StorageError: The bundle is replaced while it is copied.
    """
    progress("checking hashes")
    require_unchanged(bundle)
    held = copy_files(bundle, _files_of(bundle, runtimes), folder / "bundle")
    recorded = next(recorded_cases(held), None)
    why_not, found = why_not_built(held), list[Variant]()
    if not why_not:
        try:
            found = _rebuilt(held, recorded, folder, runtimes, backbone=backbone, progress=progress)
        except Attn2trtError as error:
            why_not = str(error)
    if why_not:
        alone = Variant(TARGET, held.inputs, held.axes)
        runners = ModuleRunners(alone, held.model_path, folder, progress, why_not_built=why_not)
        alone.runners = runners.runners(runtimes)
        found = [alone]
    found[0].recorded, found[0].precision = recorded, held.precision
    graphs = {name: held.path / file for name, file in held.graphs.items()}
    found[0].graphs = {name: path for name, path in graphs.items() if path.is_file()}
    found[0].runners |= _own_runners(held, recorded, runtimes)
    return found


def plan_kinds(bundle: Bundle) -> tuple[tuple[str, str, bool], ...]:
    """Return the flavour and precision of each plan that the bundle has, and if it is of a tuned graph, each once."""
    return tuple(dict.fromkeys((plan.flavour, plan.precision, plan.tuned) for plan in plans_of(bundle)))


def _files_of(bundle: Bundle, runtimes: Sequence[str]) -> list[str]:
    """Return the files that the runtimes load, the graphs that plans were built from, and the recorded cases."""
    kinds = [RUNTIMES[name] for name in runtimes]
    graphs = [MODEL]
    if bundle.tuned is not None and any(isinstance(kind, GraphRuntime) for kind in kinds):
        graphs.append(str(bundle.tuned["file"]))
    of_plans = {kind.precision for kind in kinds if isinstance(kind, PlanRuntime)}
    graphs += [file for precision, file in bundle.graphs.items() if precision in of_plans]
    plans = [plan.file for kind in kinds if isinstance(kind, PlanRuntime) for plan in _plans_of(bundle, kind)]
    wanted = dict.fromkeys(
        [
            *(name for graph in graphs for name in (graph, f"{graph}.data")),
            *(name for plan in plans for name in (plan, kernels_name(plan))),
            REFERENCE,
        ]
    )
    return [name for name in wanted if name in bundle.manifest["files"]]


def _own_runners(
    bundle: Bundle, recorded: tuple[Case, Reference] | None, runtimes: Sequence[str]
) -> dict[str, Runner | str]:
    """Return the runners of the tuned graph and of the plans."""
    found: dict[str, Runner | str] = {}
    for name in runtimes:
        kind = RUNTIMES[name]
        if isinstance(kind, PlanRuntime):
            found[name] = _plan_runner(bundle, recorded, kind)
        elif isinstance(kind, GraphRuntime) and kind.graph == "tuned graph" and bundle.tuned is not None:
            found[name] = kind.why_not() or kind.runner(bundle.path / str(bundle.tuned["file"]))
    return found


def _plans_of(bundle: Bundle, kind: PlanRuntime) -> list[Plan]:
    return [plan for plan in plans_of(bundle) if (plan.flavour, plan.precision, plan.tuned) == kind.key]


def _plan_runner(bundle: Bundle, recorded: tuple[Case, Reference] | None, kind: PlanRuntime) -> Runner | str:
    """Return the bundle's plan that this machine can load and that can be checked, or why there is none."""
    plans = _plans_of(bundle, kind)
    if not plans and kind.tuned:
        return f"no tuned {kind.precision} plan; attn2trt tune --runtime {kind.flavour} writes one if it is faster"
    if not plans:
        return f"no {kind.precision} plan; attn2trt compile --precision {kind.precision} writes one into a bundle"
    reasons = {plan.file: why_not_runnable(plan) for plan in plans}
    usable = next((plan for plan in plans if not reasons[plan.file]), None)
    if usable is None:
        return reasons[plans[-1].file]
    if not is_of_its_graph(bundle, usable):
        return f"{usable.file} was built from another graph; attn2trt {'tune' if usable.tuned else 'compile'} again"
    if recorded is None or not is_held(usable.profiles, recorded[0].sizes):
        return f"{usable.file} holds no case that was recorded; attn2trt compile without --profile"
    return PlanRunner(*checked(bundle, usable), kind.graphed, bundle.io(usable.precision))


def _rebuilt(
    bundle: Bundle,
    recorded: tuple[Case, Reference] | None,
    folder: Path,
    runtimes: Sequence[str],
    *,
    backbone: bool,
    progress: Progress,
) -> list[Variant]:
    """Return the bundle's graph beside the module built again, and the plain backbone.

    Raises InputError if the module is another one than was recorded, and what the catalog and ``deploy`` raise.
    """
    weights, built = rebuild(bundle, recorded, progress)
    variant = Variant(TARGET, built.target.inputs, built.target.axes, built=built)
    place = folder / TARGET
    place.mkdir()
    variant.runners = ModuleRunners(variant, bundle.model_path, place, progress, weights).runners(runtimes)
    exporter = Exporter(folder, built.graph.opset, progress)
    plain = export_backbone(bundle.name, built.target, weights, exporter) if backbone else None
    if plain is None:
        return [variant]
    graph, place = plain.made.graph.path, exporter.folder / plain.name
    plain.runners = ModuleRunners(plain, graph, place, progress, weights).runners(of_backbone(runtimes))
    return [variant, plain]
