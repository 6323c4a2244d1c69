"""Break exported graphs on purpose and count what the verdict catches.

    python benchmarks/mutants.py                 all models; writes results/mutants.json and docs/mutants.md
    python benchmarks/mutants.py cbam --list     one model, every mutant on a line; its row is replaced
    python benchmarks/mutants.py --page          the page alone, from what is stored
    python benchmarks/mutants.py cbam --seed 2   other weights, cases, places and searches; nothing is stored

Seeded: the same command breaks the same places. A model's row is stored as soon as it is finished, so that an
interrupted run goes on with --missing.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mutation.healthy_model import HealthyModel
from mutation.operators import OPERATORS, mutants, summary
from mutation.page import page
from stored_results import side_by_side

ROOT = Path(__file__).parent.parent
RESULTS, PAGE = ROOT / "benchmarks/results/mutants.json", ROOT / "docs/mutants.md"
LIMITS = ROOT / "benchmarks/results/limit.json"
BLOCK_AXES = "batch=1:2:3,height=6:8:13,width=6:8:13"
IMAGE = ("2x3x64x64", "batch=1:2:3,height=48:64:81,width=48:64:81")
MODULES = "benchmarks/mutation/modules.py"
# name, that of a class in MODULES for what no block of the catalog has: shape, axes, mutants of each operator and
# graph, random inputs of the search
MODELS: dict[str, tuple[str, str, int, int]] = {
    **dict.fromkeys(("se", "cbam", "eca", "coord_att", "gam", "shuffle_attention"), ("2x16x8x8", BLOCK_AXES, 4, 300)),
    **dict.fromkeys(("MaskedAttention", "Pyramid", "FixedPoint"), ("2x16x8x8", BLOCK_AXES, 4, 300)),
    "psa": ("2x64x8x8", BLOCK_AXES, 4, 300),
    "resnet18+cbam": (*IMAGE, 3, 200),
    "mobilenetv2_050+coord_att": (*IMAGE, 3, 200),
    "efficientnet_b0+se": (*IMAGE, 3, 200),
}
SEED = 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", help=f"default: {', '.join(MODELS)}")
    parser.add_argument("--list", action="store_true", help="print every mutant and its outcome")
    parser.add_argument("--missing", action="store_true", help="only the models that have no row yet")
    parser.add_argument("--page", action="store_true", help="only write the page")
    parser.add_argument("--seed", type=int, default=SEED, help=f"of everything (default: {SEED}, the stored one)")
    parser.add_argument("--jobs", type=int, default=2, help="models at a time (default: 2)")
    options = parser.parse_args()
    rows: dict[str, Any] = json.loads(RESULTS.read_text())["rows"] if RESULTS.exists() else {}
    names = [name for name in options.models or MODELS if not (options.missing and name in rows)]
    stores = options.seed == SEED
    if not stores:
        rows, names = {}, options.models or list(MODELS)
    if not options.page:
        work = [(name, options.seed, options.list) for name in reversed(names)]  # the slow ones first
        for name, row in side_by_side(named, work, options.jobs):
            rows[name] = row
            print(line(name, row), flush=True)
            if stores:
                store(rows)
    if stores:
        if not LIMITS.exists():
            raise SystemExit(f"{LIMITS.relative_to(ROOT)} is missing; run python benchmarks/derive_limit.py first")
        PAGE.write_text(page(json.loads(RESULTS.read_text()), json.loads(LIMITS.read_text()), summaries()))
    missed = [f"{name}: {entry}" for name in names for entry in rows[name]["missed"]]
    print(line("all", joined(list(rows.values()))))
    print(*missed, sep="\n")
    return 1 if missed else 0


def named(name: str, seed: int, verbose: bool) -> tuple[str, dict[str, Any]]:
    """Return the row of a model with its name, without the line that ONNX Runtime writes, past Python, for every mutant
    that does not run: there are hundreds of them."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
    return name, examined(name, seed, verbose)


def examined(name: str, seed: int = SEED, verbose: bool = False) -> dict[str, Any]:
    """Break one model and return its row."""
    shape, dynamic, each, inputs = MODELS[name]
    found: dict[str, Counter[str]] = {}
    by: Counter[str] = Counter()
    missed = []
    with tempfile.TemporaryDirectory() as folder:
        spec = f"{ROOT / MODULES}:{name}" if name[0].isupper() else name
        healthy_model = HealthyModel(spec, shape, dynamic, Path(folder), seed=seed, inputs=inputs)
        for which, model in healthy_model.graphs.items():
            for mutant in mutants(model, healthy_model.anatomy(which), each=each, seed=seed):
                outcome = healthy_model.outcome(mutant)
                found.setdefault(mutant.operator, Counter())[outcome.status] += 1
                if outcome.status == "caught":
                    by[outcome.by.split(":")[0]] += 1
                if outcome.status == "missed":
                    missed.append(f"{which}, {mutant.operator}: {mutant.what}; shows at {outcome.by}")
                if verbose:
                    print(f"{outcome.status:10} {which} {mutant.operator}: {mutant.what} [{outcome.by}]", flush=True)
    return {
        "shape": shape,
        "dynamic": dynamic,
        "inputs": inputs,
        "operators": {name: dict(counts) for name, counts in found.items()},
        "caught_by": dict(by.most_common()),
        "missed": missed,
    }


def joined(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """All rows as one."""
    operators: dict[str, Counter[str]] = {}
    for row in rows:
        for name, counts in row["operators"].items():
            operators.setdefault(name, Counter()).update(counts)
    return {
        "operators": operators,
        "missed": [entry for row in rows for entry in row["missed"]],
    }


def line(name: str, row: dict[str, Any]) -> str:
    """One row in words."""
    total: Counter[str] = Counter()
    for counts in row["operators"].values():
        total.update(counts)
    counted = total["caught"] + total["missed"]
    return (
        f"{name:26} {sum(total.values()):5} mutants, {total['refused']:4} do not load, {total['equivalent']:4} show "
        f"nowhere, {counted:5} count, {total['caught']:5} caught, {total['missed']:3} missed"
    )


def summaries() -> dict[str, str]:
    """Every operator's name and what it breaks."""
    return {operator.__name__: summary(operator) for operator in OPERATORS}


def store(rows: dict[str, Any]) -> None:
    """Write what is known so far, the models in their usual order."""
    document = {
        "command": "python benchmarks/mutants.py",
        "machine": f"{platform.machine()}, {platform.system()}, CPU",
        "versions": {name: version(name) for name in ("torch", "onnx", "onnxruntime-gpu", "numpy")},
        "seed": SEED,
        "rows": {name: rows[name] for name in MODELS if name in rows},
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
