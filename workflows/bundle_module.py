"""The PyTorch module of a bundle, built again from the target's name and checked against what was recorded."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ..core.bundle import Bundle
from ..core.graph import DEFAULT_OPSET, OnnxGraph
from ..core.precision import FP32
from ..core.progress import Progress
from ..core.tensor_spec import optima
from ..errors import InputError
from ..modules.dynamic import ranges_of
from ..modules.grammar import parse
from ..modules.packages import why_not
from ..validate.agreement import disagreement
from .options import Weights
from .variants import Built, resolve_as_asked, shape_texts

if TYPE_CHECKING:
    from ..validate.cases import Case
    from ..validate.metrics import Reference

NO_MODULE = "it was made of an ONNX file, which has no PyTorch module"
NOT_SAID = "the bundle does not say how its module is built"
BY_TARGET = "name the TARGET in place of the bundle"


def why_not_built(bundle: Bundle, instead: str = BY_TARGET) -> str:
    """Return why the module of a bundle cannot be built here, and what to do ``instead``; "" if it can be tried."""
    if bundle.is_of_file:
        return NO_MODULE
    if why := why_not():
        return why
    arguments = bundle.manifest.get("build")
    if arguments is None:
        return f"{NOT_SAID}; {instead}"
    if arguments.get("checkpoint"):
        with_it = " with --checkpoint" if instead == BY_TARGET else ""
        return f"its weights came from a checkpoint, which a bundle does not hold; {instead}{with_it}"
    if parse(bundle.name).has_user_code:
        return f"a bundle's name is not trusted to run code of your own; {instead}"
    return ""


def rebuild(bundle: Bundle, recorded: tuple[Case, Reference] | None, progress: Progress) -> tuple[Weights, Built]:
    """Return the source of the weights, and the module with the bundle's graph.

    Raises InputError if the module is another one than was recorded, and what the catalog and ``deploy`` raise.
    """
    weights = _weights_of(bundle)
    built = _built(bundle, weights, progress)
    if recorded is not None and (problem := _unlike(built, *recorded)):
        raise InputError(
            f"what PyTorch builds here is not what the bundle recorded ({problem}): other weights or versions; "
            "deploy the target again"
        )
    return weights, built


def _unlike(built: Built, case: Case, reference: Reference) -> str:
    """Describe how a module's outputs differ from the recorded ones; "" if they do not."""
    return disagreement(built.run(case.feeds), reference.outputs64, unsettled=reference.unsettled)


def _weights_of(bundle: Bundle) -> Weights:
    """Return the source of the bundle's weights. Raises InputError if the bundle does not say it."""
    arguments = bundle.manifest.get("build")
    if arguments is None:
        raise InputError(f"{NOT_SAID}; {BY_TARGET}")
    return Weights(seed=arguments["seed"], pretrained=arguments["pretrained"])


def _built(bundle: Bundle, weights: Weights, progress: Progress) -> Built:
    """Build the module of a bundle again, beside the bundle's graph. Raises what the catalog raises."""
    sizes = optima(bundle.axes)
    ranges = ranges_of(bundle.inputs, bundle.axes)
    resolved = resolve_as_asked(bundle.name, shape_texts(bundle.inputs, sizes), ranges, weights)
    target = replace(resolved, output_names=tuple(output.name for output in bundle.outputs))
    progress("building the module")
    opset = int(bundle.manifest.get("opset", DEFAULT_OPSET))
    modules = bundle.node_modules(FP32)
    graph = OnnxGraph(bundle.model_path, opset, bundle.inputs, bundle.outputs, modules=modules, axes=bundle.axes)
    return Built(target, target.build(), graph)
