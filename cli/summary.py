"""Describe a bundle, and what to do with it, in a few lines for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ..core.command_line import quoted
from ..core.dimension import Dim, names_in, size_of
from ..core.graph_io import FLOAT32
from ..core.manifest import MANIFEST, REPORT
from ..core.precision import FP32
from ..engines.tensorrt.flavours import TENSORRT
from ..engines.tensorrt.plans import plans_of
from ..errors import CheckFailed, InputError, MissingRequirement
from ..modules.grammar import is_program, parse

# findings of one kind that are printed; the manifest holds them all
SHOWN = 5
LABEL = 8  # the columns of a line's first word
LONGEST_FORMULA = 40  # in characters; the manifest holds it whole

if TYPE_CHECKING:
    from ..core.bundle import Bundle
    from ..core.tensor_spec import Axis, TensorSpec
    from ..validate.verdict import Verdict


def bundle_lines(bundle: Bundle) -> list[str]:
    """The bundle's path, inputs, outputs, ranges and weights, and the cases that it could not hold."""
    lines = [f"bundle   {bundle.path}" + ("  (unchanged, reused; --force rebuilds)" if bundle.reused else "")]
    lines += [f"input    {spec}" for spec in bundle.inputs]
    lines += [f"output   {with_sizes(spec, bundle.axes)}" for spec in bundle.outputs]
    if bundle.axes:
        lines.append(
            "dynamic  " + ", ".join(f"{name} {axis}" for name, axis in bundle.axes.items()) + "  (min:opt:max)"
        )
    if default_batch := bundle.manifest.get("default_batch"):
        of_file = "--dynamic batch=MIN:OPT:MAX gives another range"
        hint = of_file if bundle.is_of_file else "--dynamic none keeps the traced size"
        lines.append(f"batch    {default_batch}" + f"; {hint}" * ("batch" in bundle.axes))
    if bundle.is_of_file:
        lines.append(truth_line(bundle.manifest.get("against") or ""))
    lines += [f"narrowed {name}: {text}" for name, text in bundle.manifest.get("narrowed", {}).items()]
    if weights := bundle.manifest["target"].get("weights"):
        lines.append(f"weights  {weights}")
    if search := bundle.manifest.get("precision_search"):
        from ..workflows.precision_search import Tried

        tried = [str(Tried(entry["precision"], tuple(entry["kept"]), entry["said"])) for entry in search["tried"]]
        lines += [f"auto     {text}" for text in [*tried, f"chosen: {search['chosen']}"]]
    for precision, entry in bundle.precisions.items():
        operators = entry["lowered"] + len(entry["float32"])
        graph = (
            f"{entry['file']}: {entry['lowered']} of {operators} float operators, "
            f"{_rest(bundle, precision)}; opset {entry['opset']}, TensorRT {entry['oldest_tensorrt']} and later"
        )
        lines += _labelled(precision, [graph, *first_of(entry["notes"])])
    lines += _plan_lines(bundle)
    if REPORT in bundle.manifest["files"]:
        lines.append(f"report   {bundle.path / REPORT}")
    lines += [f"note     {note}" for note in bundle.manifest.get("notes", ())]
    hidden = first_of(bundle.manifest.get("hidden", ()))
    lines += [f"hidden   {finding}" for finding in hidden]
    if hidden and _has_weights_as_made(bundle):
        lines.append(f"{'':9}--random-weights draws weights that hide less, --checkpoint takes trained ones")
    if left_out := bundle.manifest.get("cases_left_out"):
        lines.append(f"cases    judged, but too large to record for validate: {', '.join(left_out)}")
    return lines


def _has_weights_as_made(bundle: Bundle) -> bool:
    """Return True if weights are as the user's own code makes them, which is seldom as they will be used."""
    build = bundle.manifest.get("build")
    if build is None or build["checkpoint"] or build.get("random"):
        return False
    parsed = parse(bundle.name)
    return parsed.has_user_code and not is_program(parsed.base.name)


def with_sizes(spec: TensorSpec, axes: Mapping[str, Axis]) -> TensorSpec:
    """Return a tensor with its size at the axes' optima in place of every formula that is too long to read.

    One that cannot be computed here is cut.
    """

    def shown(dim: Dim) -> Dim:
        if len(str(dim)) <= LONGEST_FORMULA:
            return dim
        cut = f"{str(dim)[: LONGEST_FORMULA - 1]}…"
        try:
            names = names_in(dim)
        except InputError:  # torch writes minima and remainders, too
            return cut
        if not names or not axes.keys() >= set(names):
            return cut
        size = size_of(dim, {name: axes[name].opt for name in names})
        return f"{size} at {' and '.join(f'{name} {axes[name].opt}' for name in names)}"

    return replace(spec, shape=tuple(map(shown, spec.shape)))


def truth_line(against: str) -> str:
    """Return whose float64 an ONNX file was judged by; ``against`` names a PyTorch module, "" the graph itself."""
    if against:
        return f"truth    {against} in float64, by PyTorch"
    return "truth    the graph itself in float64: not compared with PyTorch, which --against TARGET does"


def _labelled(label: str, texts: Sequence[str]) -> list[str]:
    """Return texts behind their label; one that its column cannot hold has a line of its own."""
    if len(label) <= LABEL:
        return [f"{label:{LABEL}} {text}" for text in texts]
    return [label, *(f"{'':{LABEL}} {text}" for text in texts)]


def _rest(bundle: Bundle, precision: str) -> str:
    """Say in words what else of a graph is in float32."""
    io = bundle.io(precision)
    return (
        "the rest, inputs and outputs in float32" if io == FLOAT32 else f"the rest in float32, in- and outputs in {io}"
    )


def _plan_lines(bundle: Bundle) -> list[str]:
    """The plans' files, and once for each product what loads them."""
    plans = plans_of(bundle)
    products = dict.fromkeys(plan.product for plan in plans)
    return [
        *(f"plan     {plan.file}" for plan in plans),
        *(f"         plans of {product.title} are loaded by {product.loaded_by}" for product in products),
    ]


def first_of(findings: Sequence[str], rest: str = f"in {MANIFEST}") -> list[str]:
    """Return the findings that a summary shows, and how many more there are, with the place of the rest."""
    more = [f"and {len(findings) - SHOWN} more {rest}"] if len(findings) > SHOWN else []
    return [*findings[:SHOWN], *more]


def next_lines(bundle: Bundle) -> list[str]:
    """The commands that a user is likely to need now."""
    path = quoted(bundle.path)
    lines = [f"attn2trt validate {path}   the verdict again, on any machine, without PyTorch"]
    if not any(plan.flavour == TENSORRT.name for plan in plans_of(bundle)):
        precisions = "" if list(bundle.graphs) == [FP32] else f" --precision {','.join(bundle.graphs)}"
        lines.insert(0, f"attn2trt compile {path}{precisions}   on the machine with the GPU: TensorRT plans for it")
    return listed_next([*lines, f"attn2trt verify {path}   hashes of every file"])


def listed_next(commands: Sequence[str]) -> list[str]:
    """Return lines of commands, each with what it is for, as the summary shows them."""
    return [f"{'next' if number == 0 else '':9}{command}" for number, command in enumerate(commands)]


def exit_code(verdict: Verdict) -> int:
    """Return 0 for a pass, 1 if a stage that ran is none, 2 if all that ran passed and a precision was refused, 3 if no
    stage could run for what this machine lacks."""
    from ..validate.verdict import REFUSED

    if verdict:
        return 0
    if not verdict.objections:
        return MissingRequirement.exit_code
    is_refused = all(stage.status == REFUSED for stage in verdict.objections)
    return InputError.exit_code if is_refused else CheckFailed.exit_code
