"""``benchmark``: the same model in every runtime of this machine, checked against each other, then timed in turn."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..core.arguments import checked
from ..core.bundle import Folder, open_bundle
from ..core.graph import DEFAULT_OPSET
from ..core.input_path import is_there
from ..core.progress import Progress, silent
from ..core.scratch import scratch
from ..engines.timing import machine
from ..engines.timing.method import Method
from ..engines.timing.results import Benchmark
from ..engines.timing.runtimes import check_names
from ..errors import InputError
from ..modules.grammar import is_folder_path, onnx_path
from ..modules.packages import require
from .batches import check_batches, usual_batch, with_batches
from .bundle_variants import from_bundle, plan_kinds
from .default_device import on_cpu
from .earlier_keywords import with_earlier_keywords
from .options import Weights
from .timed_batch import TimedBatch
from .timed_request import TimedRequest
from .variant_runners import ModuleRunners, of_backbone
from .variants import Exporter, Variant, export_backbone, export_target, resolve_as_asked


@dataclass(frozen=True)
class _Models:
    """The models to time, with the name of the target and, for a bundle, its folder."""

    title: str
    bundle: str
    variants: Sequence[Variant]
    reference: str = ""


@with_earlier_keywords
@checked
@on_cpu
def benchmark(
    target: Folder,
    *,
    batches: Sequence[int] = (),
    runtimes: Sequence[str] = (),
    threads: int | None = None,
    method: Method | None = None,
    shapes: Sequence[str] = (),
    dynamic: str | None = None,
    weights: Weights | None = None,
    opset: int = DEFAULT_OPSET,
    beside: Sequence[Variant] = (),
    backbone: bool = True,
    progress: Progress | None = None,
) -> Benchmark:
    """Time a target or a bundle at each batch in each runtime of this machine.

    A bundle needs no PyTorch, and is read from a checked copy: replaced meanwhile, it is timed as it was. A runtime
    that is not here, computes something else or fails is a row of the result.

    Args:
        target: A TARGET, an ONNX file, or the folder of a bundle.
        batches: The batches; by default the one that is traced.
        runtimes: Names of runtimes.py; by default all that apply.
        threads: The threads of each runtime; by default the physical cores.
        method: The rules of the clock.
        shapes: Traced input shapes, of a TARGET alone.
        dynamic: The ranges of axes, of a TARGET alone.
        weights: The source of the weights, of a TARGET alone.
        opset: That of the graph, of a TARGET alone.
        beside: More models with the same inputs and axes, timed in the same turns.
        backbone: Time the target's plain backbone as well.
        progress: Called with a line for every step.

    Returns:
        A row for each model, runtime and batch, with the machine and its conditions.

    Raises:
        InputError: An argument is wrong, or the target cannot be exported (ModuleRefused).
        CheckFailed: A file of the bundle is not the one that its manifest lists.
        StorageError: The bundle is replaced while it is copied.
        MissingRequirement: A TARGET needs what the ``export`` extra installs.
    """
    check_names(runtimes)
    count, wanted = machine.thread_count(threads), _checked(batches)
    request = TimedRequest(
        os.fspath(target), runtimes, wanted, shapes, dynamic, weights or Weights(), opset, backbone, progress or silent
    )
    rules = method if method is not None else Method()
    with scratch("benchmark") as folder:
        models = _models(request, folder, of_name=isinstance(target, str))
        first = models.variants[0]
        check_batches(wanted, first.inputs, first.axes)
        variants = [*models.variants, *beside]
        cells = [
            TimedBatch(variants, batch, count, rules, request.progress) for batch in wanted or [usual_batch(first)]
        ]
        rows = [row for cell in cells for row in cell.rows()]
    return Benchmark(
        target=models.title,
        bundle=models.bundle,
        threads=count,
        method=rules,
        machine=machine.describe(),
        versions=dict(machine.installed_versions()),
        sizes={cell.batch: cell.shapes for cell in cells},
        conditions={cell.batch: cell.conditions for cell in cells if cell.conditions is not None},
        rows=tuple(rows),
        reference=models.reference,
    )


def is_bundle(target: str) -> bool:
    """Return True if ``target`` means a folder: one that is there, or what looks like the path of one."""
    return is_there(Path(target), "folder") or is_folder_path(target)


def _models(request: TimedRequest, folder: Path, *, of_name: bool) -> _Models:
    """Return the models of a bundle, of an ONNX file, or of a TARGET."""
    if of_name and not is_there(Path(request.target), "folder") and (file := onnx_path(request.target)) is not None:
        return _from_file(request, file, folder)
    return (_from_bundle if not of_name or is_bundle(request.target) else _from_target)(request, folder)


def _checked(batches: Sequence[int]) -> list[int]:
    """Return the batches in order. Raises InputError for one below 1."""
    wanted = sorted(set(batches))
    if wanted and wanted[0] < 1:
        raise InputError(f"received batches {wanted}; expected numbers of 1 or more; correct them")
    return wanted


def _from_bundle(request: TimedRequest, folder: Path) -> _Models:
    """Return the models of a bundle. Raises InputError for options that go with a TARGET."""
    opened = open_bundle(request.target)
    request.require_built()
    check_batches(request.batches, opened.inputs, opened.axes)
    names = check_names(request.runtimes, plans=plan_kinds(opened))
    found = from_bundle(opened, folder, names, backbone=request.backbone, progress=request.progress)
    return _Models(opened.name, str(opened.path), found, opened.reference_hash)


def _from_file(request: TimedRequest, file: Path, folder: Path) -> _Models:
    """Return the model of an ONNX file, as it is in a bundle. Raises what ``deploy`` raises."""
    from .file_variant import from_file

    return _Models(request.target, "", from_file(request, file, folder))


def _from_target(request: TimedRequest, folder: Path) -> _Models:
    """Return a TARGET and the plain backbone of one with blocks. Raises what ``deploy`` raises."""
    from ..modules.checkpoint import locate

    require()
    names, progress, weights = check_names(request.runtimes), request.progress, request.weights
    progress("resolving the target")
    if weights.checkpoint is not None:  # before the user's code runs
        weights = replace(weights, checkpoint=locate(weights.checkpoint))
    shapes, ranges = with_batches(request.target, request.shapes, request.dynamic, request.batches, trust=weights.trust)
    target = resolve_as_asked(request.target, shapes, ranges, weights)
    check_batches(request.batches, target.inputs, target.axes)
    exporter = Exporter(folder, request.opset, progress)
    found = [export_target(target, exporter)]
    if request.backbone and (plain := export_backbone(request.target, target, weights, exporter)) is not None:
        found.append(plain)
    for variant, runtimes in zip(found, (names, of_backbone(names)), strict=False):
        graph, place = variant.made.graph.path, exporter.folder / variant.name
        variant.runners = ModuleRunners(variant, graph, place, progress, weights).runners(runtimes)
    return _Models(request.target, "", found)
