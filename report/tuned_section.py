"""The graphs that ``tune`` wrote into a bundle: what they are worth, and the verdict on what is in the bundle now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..core.bundle import Bundle
from ..engines.tensorrt.flavours import FLAVOURS
from ..engines.tensorrt.plans import Plan, is_measured, is_of_its_graph, plans_of
from ..errors import InputError
from ..validate.verdict import Verdict
from .table import conclusion


@dataclass(frozen=True)
class TunedRow:
    """A tuned graph, or a plan of one.

    ``file`` is what runs; ``before``, ``after`` and ``times`` are empty, and ``passed`` None, if it was not measured
    and judged when it was tuned. ``found`` is the verdict in words, or why there is none.
    """

    file: str
    runtime: str
    where: str
    before: str
    after: str
    times: str
    passed: bool | None
    found: str


def tuned_rows(bundle: Bundle) -> tuple[TunedRow, ...]:
    """Return a row for the graph of the CPU, and for each plan of a tuned graph.

    Raises InputError for an entry that cannot be read.
    """
    try:
        return tuple(_rows(bundle))
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise InputError(
            f"received a bundle whose tuned graphs cannot be read ({error!r}); run attn2trt tune again"
        ) from None


def _rows(bundle: Bundle) -> Iterator[TunedRow]:
    entry: Mapping[str, Any] | None = bundle.tuned
    if entry is not None:
        yield _measured(str(entry["file"]), "ONNX Runtime on the CPU", str(_machine(entry).get("cpu", "")), entry)
    for plan in (one for one in plans_of(bundle) if one.tuned):
        runtime = f"{FLAVOURS[plan.flavour].title} in {plan.precision}"
        of_graph = bundle.tuned_graph(plan.flavour, plan.precision)
        if why := _why_not(bundle, plan):
            yield TunedRow(plan.file, runtime, "", "", "", "", None, why)
        elif of_graph is not None:
            yield _measured(plan.file, runtime, str(of_graph.get("gpu", "")), of_graph)


def _why_not(bundle: Bundle, plan: Plan) -> str:
    """Return why what was measured and judged says nothing of a plan; empty if it does."""
    if not is_of_its_graph(bundle, plan):
        return "built from another graph than the bundle's; tune again"
    if not is_measured(bundle, plan):
        return "not the plan that was timed and judged when its graph was tuned; attn2trt validate judges it"
    return ""


def _measured(file: str, runtime: str, machine: str, entry: Mapping[str, Any]) -> TunedRow:
    sizes = ", ".join(f"{name} {size}" for name, size in entry.get("sizes", {}).items())
    where = ", ".join(filter(None, [machine, sizes]))
    verdict = None if entry.get("verdict") is None else Verdict.from_json(entry["verdict"])
    before, after = entry.get("before_ms"), entry.get("after_ms")
    times = () if before is None or after is None else (f"{before:.4g}", f"{after:.4g}", f"{before / after:.2f}")
    passed = None if verdict is None else bool(verdict)
    found = "no verdict was kept; attn2trt validate judges it" if verdict is None else conclusion(verdict)
    return TunedRow(file, runtime, where, *(times or ("", "", "")), passed, found)


def _machine(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    found = entry.get("machine", {})
    return found if isinstance(found, Mapping) else {}
