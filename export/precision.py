"""A half precision written into the graph: ``model.fp16.onnx`` or ``model.bf16.onnx`` from the float32 graph.

passes/float_policy.py decides what computes in half precision and what stays in float32, and passes/lower_precision.py
writes it. precision_check.py then proves that the file is the float32 graph but for that.

Inputs and outputs stay float32 unless ``io`` names the precision's type, so that every graph of a bundle is fed and
read alike. The price is one cast per input and output.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.graph import EXTERNAL_DATA_BYTES, OPSETS, OnnxGraph, save
from ..core.graph_io import with_io
from ..core.precision import CAST, PRECISIONS, QUANTISED, Precision, oldest_tensorrt
from ..errors import ModuleRefused, one_line
from .contract import check_contract
from .keep_fp32 import BY_PATTERN, kept_in, why_kept
from .precision_check import check_precision
from .precision_options import DEFAULTS, PrecisionOptions

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir


MOST_NAMED = 5  # modules or nodes in a sentence


@dataclass(frozen=True)
class LowPrecisionGraph:
    """A graph in a precision below float32.

    Attributes:
        precision: Its name.
        graph: The written graph.
        lowered: The float operators that compute in the precision.
        float32: The reason for every other float operator.
        kept: Those of them that a pattern, a constant or the opset keeps in float32 beyond the policy, with the reason.
        patterns: Globs over modules that stay in float32.
        kept_within: The paths that a pattern matches, whose modules stay in float32 with everything inside.
        kept_exactly: The paths of modules that stay in float32 because their weights do not fit.
        raised_from: The opset of the float32 graph if this one has another; else None.
        files: The graph's files.
    """

    precision: str
    graph: OnnxGraph
    lowered: tuple[str, ...]
    float32: Mapping[str, str]
    kept: Mapping[str, str]
    patterns: tuple[str, ...] = ()
    kept_within: tuple[str, ...] = ()
    kept_exactly: tuple[str, ...] = ()
    raised_from: int | None = None
    files: tuple[str, ...] = field(default=())

    @property
    def oldest_tensorrt(self) -> str:
        """The oldest TensorRT that reads the graph."""
        return oldest_tensorrt(self.graph.opset, self.precision)

    @property
    def lowered_modules(self) -> dict[str, tuple[str, ...]]:
        """The modules whose own operators were lowered, by path, in the order of the graph, each with those that its
        operators took in; not the model itself."""
        lowered = set(self.lowered)
        found: dict[str, dict[str, None]] = {}
        for name, path in self.graph.modules.items():
            if name in lowered and path:
                found.setdefault(path, {}).update(dict.fromkeys(self.graph.modules_of(name)))
        return {path: tuple(paths) for path, paths in found.items()}

    @property
    def notes(self) -> list[str]:
        """Return what a user should know: a raised opset, and the modules that stay in float32 beyond the policy."""
        found = []
        if PRECISIONS[self.precision].is_placed:
            found.append("for TensorRT: ONNX Runtime computes it right only with its optimisations off")
        if self.raised_from is not None:
            found.append(
                f"opset {self.graph.opset} instead of {self.raised_from}, the lowest whose operators take "
                f"{self.precision}; the oldest TensorRT that reads it is {self.oldest_tensorrt}"
            )
        asked = sum(reason == BY_PATTERN for reason in self.kept.values())
        if self.patterns:
            also = "" if asked else ", since the policy alone keeps all"
            more = f"{asked} more operator{'s' * (asked != 1)}{also}"
            kept = ", ".join(self.kept_within[:MOST_NAMED]) + ", …" * (len(self.kept_within) > MOST_NAMED)
            found.append(f"{kept} in float32 by --keep-fp32: {more}")
        others = {
            (self.graph.modules.get(name) or f"node {name}", reason): None
            for name, reason in self.kept.items()
            if reason != BY_PATTERN
        }
        return found + [f"{where} stays in float32: {reason}" for where, reason in others]

    def to_json(self) -> dict[str, Any]:
        """The manifest's entry."""
        return {
            "file": self.graph.path.name,
            "opset": self.graph.opset,
            "oldest_tensorrt": self.oldest_tensorrt,
            "inputs_and_outputs": self.graph.io,
            "lowered": len(self.lowered),
            "float32": dict(self.float32),
            "kept": {
                name: {"module": self.graph.modules.get(name, ""), "why": reason} for name, reason in self.kept.items()
            },
            "keep_fp32": list(self.patterns),
            "notes": self.notes,
            "modules": dict(self.graph.modules),
        }


def lower(graph: OnnxGraph, precision: str, folder: Path, options: PrecisionOptions = DEFAULTS) -> LowPrecisionGraph:
    """Write a float32 graph in half precision.

    A graph that quantises itself keeps its levels: it is written in an 8-bit precision, in whose half precision all
    else is.

    Args:
        graph: The graph, in float32 but for levels of its own.
        precision: The name of the half precision, or of the 8-bit one.
        folder: The place of the file.
        options: What else is asked for.

    Raises:
        InputError: A glob matches nothing.
        ModuleRefused: Nothing can be lowered, or the graph cannot be raised to the opset that the precision needs.
        CheckFailed: The result is not the float32 graph but for its dtypes.
    """
    import onnx_ir as ir

    from .passes.float_policy import plan
    from .passes.lower_precision import LowerPrecision
    from .passes.own_levels import OwnLevels

    low = CAST.get(precision) or CAST[QUANTISED[precision].rest]
    io, overrides = options.io, options.overrides
    within = kept_in(graph, options.keep)
    kept_by = overrides.why_kept(why_kept(graph, within))
    source = float32_source(graph, graph.opset)
    model = ir.from_proto(source)
    opset = _lowest_opset(model, low, kept_by, overrides.allowed, io)
    if opset != graph.opset:
        source = float32_source(graph, opset)
        model = ir.from_proto(source)
    planned = plan(model, low, kept_by, allowed=overrides.allowed, io=io)
    if not planned.operators:
        raise ModuleRefused(
            f"{precision} leaves nothing to lower: all {len(planned.float32)} float operators stay in float32; "
            f"leave {precision} out of --precision, or keep less with --keep-fp32"
        )
    levels = OwnLevels(planned.low, low, graph.modules, io_is_low=io == low.dtype)
    levels(model)
    rewrite = LowerPrecision(replace(planned, low=frozenset(levels.low)), low, levels.modules, io=io)
    rewrite(model)
    path = options.path(folder, precision)
    after = f"the cast to {low.words}"
    written, files = saved(graph, model, path, opset=opset, modules=rewrite.modules, io=io, after=after)
    check_precision(source, path, frozenset(levels.low), low.name)
    return LowPrecisionGraph(
        precision,
        written,
        tuple(sorted(planned.operators)),
        planned.float32,
        planned.kept,
        patterns=tuple(options.keep),
        kept_within=within,
        kept_exactly=graph.paths_of(planned.kept),
        raised_from=graph.opset if opset != graph.opset else None,
        files=files,
    )


def saved(
    graph: OnnxGraph, model: ir.Model, path: Path, *, opset: int, modules: Mapping[str, str], io: str, after: str
) -> tuple[OnnxGraph, tuple[str, ...]]:
    """Save a model that was made of ``graph``, check its contract, and return it with its files.

    Raises CheckFailed naming the step that it comes ``after`` if it breaks the contract.
    """
    files = save(model, path)
    inputs, outputs = with_io(graph.inputs, io), with_io(graph.outputs, io)
    written = replace(graph, path=path, opset=opset, modules=modules, inputs=inputs, outputs=outputs, io=io)
    check_contract(written, opset=opset, inputs=inputs, outputs=outputs, after=after)
    return written, files


def _lowest_opset(
    model: ir.Model, low: Precision, kept_by: Callable[[str], str], allowed: Collection[str], io: str
) -> int:
    """The lowest opset, the graph's own or above, at which everything that can be lowered has a form in ``low``."""
    from .passes.float_policy import first_opset, plan

    own = int(model.graph.opset_imports[""])
    wanted = plan(model, low, kept_by, opset=OPSETS[-1], allowed=allowed, io=io)
    operators = {node.op_type for node in model.graph if str(node.name) in wanted.low}
    return max([own, *(opset for name in operators if (opset := first_opset(name, low, own)) < OPSETS.stop)])


def float32_source(graph: OnnxGraph, opset: int, *, who: str = "this precision") -> onnx.ModelProto:
    """Return the float32 graph at a higher opset, which ``who`` needs; raises ModuleRefused if it cannot be raised."""
    import onnx
    from onnx import helper, version_converter

    if opset == graph.opset:
        return onnx.load(str(graph.path))
    refused = f"{who} needs opset {opset}, and the graph cannot be raised to it from {graph.opset}"
    advice = f"export with --opset {opset}, or leave {who} out"
    if sum(file.stat().st_size for file in graph.files) > EXTERNAL_DATA_BYTES:
        raise ModuleRefused(f"{refused}: its weights lie beside it; {advice}")
    try:
        model = version_converter.convert_version(onnx.load(str(graph.path)), opset)
    except Exception as error:  # the converter raises several unrelated types
        reason = one_line(error)
        raise ModuleRefused(f"{refused} ({reason}); {advice}") from error
    model.ir_version = helper.find_min_ir_version_for(model.opset_import)
    for position, node in enumerate(model.graph.node):
        node.name = node.name or f"{node.op_type}_raised_{position}"
    raised: onnx.ModelProto = model
    return raised
