"""Deploy one timm model, the smallest, of every family, with dynamic batch; write the docs' table.

Usage: python benchmarks/families.py [--jobs N] [--resume] [FAMILY ...]. A family is a module of timm.models. Each row
runs in a process of its own, so that a crash or a hang is a row too. Writes benchmarks/results/families.json and
docs/families.md after every row and takes up an interrupted run of the same code and versions; --resume also keeps
right rows of other runs, and says so. With FAMILY names it prints their rows; with --resume, too, it stores them
beside the rows that are there.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from catalogue import ROOMS, worst
from code_hash import code_hash
from outcomes import Outcome, count_statuses, judge, line, shorten
from page_text import generated, table
from stored_results import heading, of_earlier_runs, row_options, rows_before, side_by_side, store
from torch import nn

import attn2trt
from attn2trt.core.bundle import Bundle
from attn2trt.modules.catalog import resolve
from attn2trt.validate.verdict import Verdict

ROOT = Path(__file__).parent.parent
RESULTS, PAGE = ROOT / "benchmarks/results/families.json", ROOT / "docs/families.md"
DYNAMIC = "batch=1:2:3"
# the first that the model takes, then its own; at 64 the last map would have too few values to scale weights by
SIZES = (96, 128, 160, 192, 224, 256)
MINUTES = 30  # for one row
BAD = ("silently wrong", "false alarm", "traceback")
NOT_MEASURED = "not measured"  # a family that an earlier run had no model of


@dataclass(frozen=True)
class Candidate:
    """A model of a family."""

    name: str
    parameters: int


def families() -> dict[str, list[str]]:
    """The models of every module of timm.models, whose architecture they share."""
    found = {family: timm.list_models(module=family) for family in timm.list_modules()}
    return {family: names for family, names in found.items() if names}


def convolves(model: nn.Module) -> bool:
    """Return True if the windows of some convolution overlap; patches that an image is cut into do not."""
    return any(
        any(size > step for size, step in zip(part.kernel_size, part.stride, strict=True))
        for part in model.modules()
        if isinstance(part, (nn.Conv1d, nn.Conv2d))
    )


def smallest(names: Iterable[str]) -> Candidate:
    """The one of the fewest parameters among those that convolve; among all if none does."""
    found: dict[bool, list[Candidate]] = {True: [], False: []}
    for name in names:
        try:
            with torch.device("meta"):
                model = timm.create_model(name)
        except Exception:  # an architecture that reads a value while it is built
            model = timm.create_model(name)
        parameters = sum(parameter.numel() for parameter in model.parameters())
        found[convolves(model)].append(Candidate(name, parameters))
    return min(found[True] or found[False], key=lambda candidate: (candidate.parameters, candidate.name))


def image_size(name: str) -> int:
    """The smallest of SIZES that the model takes, or its own."""
    model = timm.create_model(name).eval()
    channels, height, _ = model.pretrained_cfg["input_size"]
    for size in SIZES:
        try:
            with torch.no_grad():
                model(torch.zeros(1, channels, size, size))
        except Exception:  # whatever its own code raises for a size that it cannot take
            continue
        return size
    return int(height)


def measure(family: str) -> dict[str, Any]:
    """One row."""
    since = time.perf_counter()
    chosen = smallest(families()[family])
    size = image_size(chosen.name)
    channels = timm.get_pretrained_cfg(chosen.name).input_size[0]
    shapes = [f"2x{channels}x{size}x{size}"]
    row = {"family": family, "model": chosen.name, "parameters": chosen.parameters, "size": size}
    target = resolve(chosen.name, shapes=shapes, dynamic=DYNAMIC)
    noted: dict[str, Any] = {"hidden": []}
    with tempfile.TemporaryDirectory() as folder:

        def deploy() -> Bundle:
            bundle = attn2trt.deploy(chosen.name, shapes=shapes, dynamic=DYNAMIC, out=Path(folder) / "bundle")
            noted.update(hidden=bundle.manifest["hidden"], **worst(Verdict.from_json(bundle.manifest["verdict"])))
            return bundle

        outcome = judge(deploy, target.build, target.inputs)
    why = shorten(outcome.why)
    measured = outcome.to_json() | {"why": why, **noted, "seconds": round(time.perf_counter() - since, 1)}
    return row | measured


def in_own_process(family: str) -> dict[str, Any]:
    """Run ``measure`` in a process of its own, so that nothing that it does reaches this one."""
    # one core for each; more threads inside a job would only wait for each other
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--row", family]
    try:
        ran = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=60 * MINUTES, check=False
        )
        row: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    except subprocess.TimeoutExpired:
        return {"family": family} | Outcome("fails", f"not done after {MINUTES} minutes").to_json()
    except (IndexError, json.JSONDecodeError):
        last = (ran.stderr.strip().splitlines() or ["no word"])[-1]
        return {"family": family} | Outcome("fails", f"exit code {ran.returncode}: {last[:240]}").to_json()
    return row


def page(document: dict[str, Any]) -> str:
    """The docs page."""
    rows = [row for row in document["rows"] if row["result"] != NOT_MEASURED]
    missing = [f"`{row['family']}`" for row in document["rows"] if row["result"] == NOT_MEASURED]
    count = Counter(row["result"] for row in rows)
    alarms = ["false alarm"] if count["false alarm"] else []
    others = ("refused", "failed verdict", *alarms, "silently wrong", "fails", "traceback")
    lines = [
        "# timm's families",
        "",
        generated("python benchmarks/families.py", document),
        "",
        "A family is a module of `timm.models`; its model here is the one of the fewest parameters, of those whose",
        "convolutions overlap if there are any.",
        f"Each was deployed by its name with `--dynamic {DYNAMIC}`, on weights drawn from seed 0 and scaled layer by",
        "layer, at the smallest image that it takes. *Right*: the verdict passed, and the graph in the bundle",
        "agrees in ONNX Runtime with eager PyTorch in float64 at every batch of the range.",
        "",
        f"Right: {count['right']} of {len(rows)} ({count['right'] / max(1, len(rows)):.0%}); "
        + ", ".join(f"{result}: {count[result]}" for result in others)
        + ".",
        *count_statuses(rows),
        *of_earlier_runs(rows),
        "",
        *table("family | model | parameters | image | result", map(_cells, rows)),
        *(["", f"Not measured yet: {', '.join(missing)}."] if missing else []),
    ]
    return "\n".join(lines) + "\n"


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    result = row["result"] if row["result"] == "right" else f"**{row['result']}**: {row.get('why', '')[:260]}"
    number = len(row.get("hidden") or ())
    unseen = f"; {number} thing{'' if number == 1 else 's'} hidden by its weights" if number else ""
    millions = f"{row['parameters'] / 1e6:.2f} M" if "parameters" in row else "-"
    image = f"{row['size']}²" if "size" in row else "-"
    return row["family"], f"`{row.get('model', '-')}`", millions, image, result + unseen


def main(names: list[str], jobs: int, *, resume: bool) -> int:
    """Measure every family, or those named; exit code 1 if one is wrong in silence or raised."""
    stores = resume or not names
    order = list(families()) if stores else names
    document: dict[str, Any] = heading("torch", "timm", "onnx", "onnxruntime-gpu", "onnxsim") | {
        "sources": code_hash(ROOMS),
        "rows": [],
    }
    rows: dict[str, dict[str, Any]] = {}
    if stores:
        kept = rows_before(RESULTS, document, lambda row: resume and (bool(names) or row["result"] == "right"))
        rows = {row["family"]: row for row in kept}
    wanted = names or [family for family in order if family not in rows]
    for number, row in enumerate(side_by_side(in_own_process, [(family,) for family in wanted], jobs), 1):
        rows[row["family"]] = row
        found = [row["family"], row.get("model", "-"), row["result"], row.get("why", "")]
        print(f"{number}/{len(wanted)}", *found, sep=" | ", flush=True)
        document["rows"] = [rows[family] for family in order if family in rows]
        if stores:
            store(document, RESULTS, PAGE, page(document))
    return 1 if any(row["result"] in BAD for row in rows.values()) else 0


def check(names: list[str]) -> None:
    """End with one line where a name is no family."""
    unknown = sorted(set(names) - set(families()))
    if unknown:
        sys.exit(
            f"received {', '.join(unknown)}; expected modules of timm.models with models in them; correct the name"
        )


if __name__ == "__main__":
    parser = row_options(__doc__, "FAMILY", kept="the right rows of other runs, too", stores_named=True)
    parser.add_argument("--row", metavar="FAMILY", help="measure this one in this process and print its row as JSON")
    options = parser.parse_args()
    check([*options.names, *filter(None, [options.row])])
    if options.row is not None:
        try:
            print(json.dumps(measure(options.row)))
        except Exception as error:
            print(
                json.dumps(
                    {"family": options.row} | Outcome("fails", f"{type(error).__name__}: {line(error)}").to_json()
                )
            )
        sys.exit(0)
    sys.exit(main(options.names, options.jobs, resume=options.resume))
