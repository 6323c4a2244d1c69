"""docs/precision.md: the parts between its markers, of the policy, the limits and what was measured.

python benchmarks/half_precision_page.py        writes them from results/half_limits.json
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from page_text import table, with_parts

from attn2trt.core.operators import ARITHMETIC, MOVES, PRODUCTS
from attn2trt.core.precision import CAST
from attn2trt.core.refused_types import REFUSED
from attn2trt.export.passes.float_policy import FLOAT32_OPERATORS, HELD, SMALL_WINDOW

HALVES = CAST

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/precision.md"


def page(data: dict[str, Any]) -> str:
    """Return the page with its parts; ``data`` is benchmarks/results/half_limits.json."""
    return with_parts(PAGE.read_text(), {"policy": _policy(), "limits": _limits(), "measured": _measured(data)})


def _policy() -> Iterator[str]:
    either = (
        "half; float32 if all operands are float32 results, or if a float32 result goes in and only float32 operators "
        "read what comes out"
    )
    special = (
        f"`x * x`; a division by a computed number; AveragePool over more than {SMALL_WINDOW} elements; what has a "
        "graph inside"
    )
    constant = (
        f"an operator with a constant that overflows, or of which rounding loses more than {HELD:g} unit roundoffs "
        "(relative L2); one that no opset has in this precision"
    )
    refused = (
        f"{_listed(found)} in {precision}, which some TensorRT refuses ([tensorrt_operators.md](tensorrt_operators.md))"
        for precision, found in REFUSED.items()
    )
    rows = (
        (_listed(PRODUCTS), "half"),
        (_listed(FLOAT32_OPERATORS), "float32"),
        (special, "float32"),
        (_listed(MOVES), "that of what they move"),
        (_listed(ARITHMETIC), either),
        *((words, "float32") for words in refused),
        (constant, "float32"),
        ("counts and positions that come from sizes alone", "float32"),
        ("what gives a place among pixels: it is rounded to a whole number, or read as GridSample's grid", "float32"),
        ("what LSTM, GRU and RNN read, back to the operator that computes it", "float32"),
        ("anything else", "float32"),
    )
    return table("operators | precision", rows)


def _listed(operators: Iterable[str]) -> str:
    return ", ".join(sorted(operators))


def _limits() -> Iterator[str]:
    rows = (
        (
            *(name, allowed.words, f"2^{math.frexp(allowed.unit_roundoff)[1] - 1}"),
            *(f"{value:g}" for value in (allowed.healthy, allowed.limit, allowed.budget)),
        )
        for name, allowed in HALVES.items()
    )
    return table("| | unit roundoff | R | limit, in floors | budget, relative L2", rows)


def _measured(data: dict[str, Any]) -> Iterator[str]:
    yield from table(
        "target | precision | seeds | floor | ratio | off by 2 %: by numbers | by comparison",
        (
            (name, precision, len(rows), *_target([row["precisions"][precision] for row in rows]))
            for name, rows in data["rows"].items()
            for precision in HALVES
        ),
    )
    versions = data["versions"]
    yield ""
    yield f"{data['machine']}; torch {versions['torch']}, ONNX Runtime {versions['onnxruntime-gpu']}."
    yield f"False alarms: {len(data['alarms'])}."


def _target(found: list[dict[str, Any]]) -> Iterator[str]:
    yield f"{max(part['floor_l2'] for part in found):.1e}"
    yield f"{max(ratio for part in found for ratio in part['ratios'].values()):.2f}"
    changed = [mutant for part in found for mutant in part["mutants"]]
    yield from (f"{sum(mutant[key] for mutant in changed)} of {len(changed)}" for key in ("failed", "told"))


if __name__ == "__main__":
    PAGE.write_text(page(json.loads((ROOT / "benchmarks/results/half_limits.json").read_text())))
