"""docs/gpu_candidates.md: the tables between its markers, of what was counted and of what a builder timed.

python benchmarks/gpu_candidates_page.py     writes them from results/gpu_candidates.json and results/tactic_times.json
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from page_text import table, versions_text, with_parts

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/gpu_candidates.md"
COUNTED, TIMED = "gpu_candidates", "tactic_times"
TOGETHER = "together"
PLAIN = "as it is"
TITLES = {"HALF": "float16", "FLOAT": "float32", "INT64": "integers", "INT32": "integers", "BOOL": "integers"}
BETWEEN = "Optimizer Reformat"  # from one format to another: a path that the plan may take
SLOW = 6.0  # microseconds; faster kernels are launch and little else


def page(data: Mapping[str, Any]) -> str:
    """Return the page with its tables; ``data`` has the results of ``stored``, by their names."""
    tables = {
        "summary": [*_summary(data[COUNTED]["rows"])],
        "counted": [*_heading(data[COUNTED]), *_counted(data[COUNTED]["rows"])],
        "refused": [*_refused(data[COUNTED]["rows"])],
        "timed": [*_timed(data[TIMED])],
    }
    return with_parts(PAGE.read_text(), tables)


def stored() -> dict[str, Any]:
    """Return the results that the page is made of."""
    return {name: json.loads((ROOT / f"benchmarks/results/{name}.json").read_text()) for name in (COUNTED, TIMED)}


def write() -> None:
    """Write the tables of what is stored."""
    PAGE.write_text(page(stored()))


def _heading(document: Mapping[str, Any]) -> Iterator[str]:
    shapes = document["shapes"]
    yield (
        f"Counted on {document['date']} ({document['machine']}; {versions_text(document)}), for compute "
        f"capability {document['capability']}. Blocks: `--shape {shapes['block']}`, networks: "
        f"`--shape {shapes['image']}`, both `--dynamic {shapes['axes']}`."
    )


def _summary(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Return for each graph the candidate that moves the fewest bytes, of as many the one with the fewest kernels."""
    shown = []
    for (target, precision, io), of_one in _by_graph(rows).items():
        found = [row for row in of_one if "why_not" not in row]
        best = min(found, key=lambda row: (round(sum(row["bytes"].values()) / 1e5), row["kernels"]))
        shown.append((target, precision, io, _short(found[0]), _short(best), _name(best)))
    return table("target | precision | inputs and outputs | as it is | fewest bytes, then kernels | candidate", shown)


def _by_graph(rows: list[dict[str, Any]]) -> dict[tuple[str, str, str], list[dict[str, Any]]]:
    """Return the rows of each target, precision, and type of inputs and outputs."""
    found: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault((row["target"], row["precision"], row["io"]), []).append(row)
    return found


def _short(row: Mapping[str, Any]) -> str:
    return f"{row['kernels']} kernels, {sum(row['bytes'].values()) / 1e6:.1f} MB"


def _counted(rows: list[dict[str, Any]]) -> Iterator[str]:
    for (target, precision, io), found in _by_graph(rows).items():
        plain = found[0]
        yield from ("", f"### {target} in {precision}, inputs and outputs in {io}", "")
        yield from (f"The graph as it is: {_layers(plain)}.", "")
        yield from table(
            "candidate | places | layers parsed | Casts | kernels | only convert | MB between kernels | if fused",
            [(_name(row), row["places"] or "", *_cells(row, plain)) for row in found],
        )


def _name(row: Mapping[str, Any]) -> str:
    chosen = row["chosen"] if row["candidate"] == TOGETHER else [(row["candidate"], row["kind"])]
    return "; ".join(name + (kind.removeprefix("8 bits") if "8 bits" in kind else "") or PLAIN for name, kind in chosen)


def _cells(row: Mapping[str, Any], plain: Mapping[str, Any]) -> list[object]:
    if "why_not" in row:
        return ["**refused**", *[""] * 5]
    change = _change(row["parsed"], plain["parsed"]) if row is not plain else f"{_total(row['parsed'])}"
    moved = (_megabytes(row["bytes"]), _megabytes(row["if_fused"]))
    return [change, row["casts"], row["kernels"], row["converting"], *moved]


def _layers(row: Mapping[str, Any]) -> str:
    """Return the layers of a parsed network by type and precision in words."""
    return ", ".join(
        f"{kind.lower()} {' + '.join(f'{count} {TITLES.get(dtype, dtype.lower())}' for dtype, count in types.items())}"
        for kind, types in row["parsed"].items()
    )


def _total(parsed: Mapping[str, Mapping[str, int]]) -> int:
    return sum(count for types in parsed.values() for count in types.values())


def _change(parsed: Mapping[str, Mapping[str, int]], plain: Mapping[str, Mapping[str, int]]) -> str:
    """Return how many layers of each type and precision are more or fewer; constants are left out."""
    changes = []
    for kind in dict.fromkeys((*plain, *parsed)):
        before, after = plain.get(kind, {}), parsed.get(kind, {})
        for dtype in () if kind == "CONSTANT" else sorted({*before, *after}):
            if difference := after.get(dtype, 0) - before.get(dtype, 0):
                changes.append(f"{difference:+} {kind.lower()} {TITLES.get(dtype, dtype.lower())}")
    return f"{_total(parsed)}: {', '.join(changes)}" if changes else f"{_total(parsed)}"


def _megabytes(moved: Mapping[str, int]) -> str:
    """Return the megabytes for one image, and how many of them are in 32 bits."""
    total, wide = sum(moved.values()) / 1e6, moved.get("32", 0) / 1e6
    return f"{total:.1f}" + (f" ({wide:.1f} in float32)" if wide >= 0.05 else "")


def _refused(rows: list[dict[str, Any]]) -> Iterator[str]:
    found = {(row["target"], row["candidate"]): row["why_not"] for row in rows if "why_not" in row}
    if not found:
        yield f"None: TensorRT for RTX parsed and built all {len(rows)} graphs."
        return
    rows = ((target, candidate or PLAIN, why) for (target, candidate), why in found.items())
    yield from table("target | candidate | reason", rows)


def _timed(document: Mapping[str, list[dict[str, Any]]]) -> Iterator[str]:
    for name, rows in document.items():
        slow = [row for row in rows if row["us"] >= SLOW and not row["layer"].startswith(BETWEEN)]
        slow.sort(key=lambda row: -row["us"])
        shown = ((row["layer"][:60], row["kernel"], row["formats"], f"{row['us']:.1f}") for row in slow)
        yield from ("", f"### {name}", "", *table("layer | kernel | formats | microseconds", shown))


if __name__ == "__main__":
    write()
