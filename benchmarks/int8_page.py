"""docs/int8.md: the parts between its markers, of the limits and of what was measured.

python benchmarks/int8_page.py        writes them from results/*_limit.json and results/int8_placement.json
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from page_text import table, versions_text, with_parts

from attn2trt.core.precision import LOWER
from attn2trt.engines.calibration import BINS, LEVELS, SHARE
from attn2trt.validate.calibration_inputs import MOST_BATCHES

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/int8.md"
FORMATS, PLACEMENT = ("int8", "int8-fp16", "fp8"), "int8_placement"


def page(data: dict[str, dict[str, Any]]) -> str:
    """Return the page with its parts; ``data`` has the results of ``stored``, by their names."""
    parts = {
        "crossing": _crossing(data[PLACEMENT]),
        "methods": _methods(),
        "limits": _limits(),
        "measured": (line for precision in FORMATS for line in _measured(precision, data[precision])),
    }
    return with_parts(PAGE.read_text(), parts)


def stored() -> dict[str, dict[str, Any]]:
    """Return the results that the page is made of."""
    names = {precision: f"{precision}_limit" for precision in FORMATS} | {PLACEMENT: PLACEMENT}
    return {key: json.loads((ROOT / f"benchmarks/results/{name}.json").read_text()) for key, name in names.items()}


def write() -> None:
    """Write the page of what is stored."""
    PAGE.write_text(page(stored()))


def _crossing(data: dict[str, Any]) -> Iterator[str]:
    yield (
        f"Built for compute capability {data['capability']}, `--shape {data['shape']}`, on a machine without a GPU; "
        f"{versions_text(data)}."
    )
    yield ""
    yield from table(
        "target | graph | Q | DQ | Cast | if fused: 8 bit | 16 | 32 | all | RTX: layers | converting | wide | 8 bit "
        "| 16 | 32 | all",
        map(_graph, data["rows"]),
    )


def _graph(row: dict[str, Any]) -> list[object]:
    named = [f"`{row['target'].removeprefix('py:')}`", row["graph"]]
    if "why_not" in row:
        return [*named, row["why_not"], *[""] * 13]
    nodes = [row["nodes"][name] for name in ("QuantizeLinear", "DequantizeLinear", "Cast")]
    layers = [row["layers"], row["converting"], f"{row['wide']} of {row['int8_convolutions']}"]
    return [*named, *nodes, *_megabytes(row["if_fused"]), *layers, *_megabytes(row["bytes"])]


def _megabytes(found: dict[str, int]) -> list[str]:
    """Return the megabytes in 8, 16 and 32 bits and the sum of all, as text."""
    sizes = [*(found.get(bits, 0) for bits in ("8", "16", "32")), sum(found.values())]
    return [f"{size / 1e6:.1f}" for size in sizes]


def _methods() -> Iterator[str]:
    yield f"At most {MOST_BATCHES} batches of the traced size are used."
    yield ""
    entropy = (
        f"the range whose {LEVELS} levels keep most of what the distribution says: the least Kullback-Leibler "
        f"divergence from a histogram of {BINS} bins"
    )
    rows = (
        ("`minmax` (the default)", "the largest magnitude that was met"),
        ("`percentile`", f"the magnitude that {SHARE:.2%} of the numbers other than zero stay below"),
        ("`entropy`", entropy),
    )
    yield from table("`--calibration` | range", rows)


def _limits() -> Iterator[str]:
    rows = ((name, f"{LOWER[name].healthy:g}", f"{LOWER[name].limit:g}", f"{LOWER[name].budget:g}") for name in FORMATS)
    return table("| R | limit, in floors | budget, relative L2", rows)


def _measured(precision: str, data: dict[str, Any]) -> Iterator[str]:
    methods = [*next(iter(data["rows"].values()))[0]["methods"]]
    columns = " | ".join(f"{method}: floor | ratio" for method in methods)
    yield from (f"### {precision}", "")
    yield from table(
        f"target | quantised | seeds | {columns} | off by 2 %: by numbers | by comparison",
        ((f"`{name}`", *_target(rows, methods)) for name, rows in data["rows"].items()),
    )
    versions = data["versions"]
    yield ""
    yield f"{data['machine']}; torch {versions['torch']}, ONNX Runtime {versions['onnxruntime-gpu']}."
    yield f"{data['verdicts']} verdicts, false alarms: {len(data['alarms'])}, largest ratio {data['largest']:.2f}."
    yield ""


def _target(rows: list[dict[str, Any]], methods: list[str]) -> Iterator[object]:
    yield from (f"{rows[0]['quantized']} of {rows[0]['products']}", len(rows))
    for method in methods:
        found = [row["methods"][method] for row in rows]
        yield f"{max(one['floor_l2'] for one in found):.1e}"
        yield f"{max(ratio for one in found for ratio in one['ratios'].values()):.2f}"
    changed = [mutant for row in rows for mutant in row["mutants"]]
    yield from (f"{sum(mutant[key] for mutant in changed)} of {len(changed)}" for key in ("failed", "told"))


if __name__ == "__main__":
    write()
