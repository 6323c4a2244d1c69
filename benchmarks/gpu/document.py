"""The findings of a run, as one document: benchmarks/results/tensorrt.json, which docs/gpu.md is made of."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import date
from typing import Any

from .rows import Row
from .work import PROFILE, Step, cases

METHOD = (
    f"plans with one profile, {PROFILE}, built several at a time on one GPU, as PyTorch's kernels are chosen; judged "
    "on the recorded cases in float64; timed with nothing else running, the plans of a case and batch in turn, then "
    "PyTorch's runtimes in turn"
)


@dataclass(frozen=True)
class Setting:
    """The conditions that the rows of a run depend on.

    Attributes:
        sources: The hash of the code.
        flavour: The name of the TensorRT that builds.
        tensorrt: Its version.
        devices: The GPUs, as the driver names them.
        driver: The newest CUDA of the driver.
        targets: The compute capabilities that plans are built for, as given; None for the GPU at hand.
        without_tactics: The sources of kernels that TensorRT does without.
        versions: Of the packages in both Pythons.
    """

    sources: str
    flavour: str
    tensorrt: str
    devices: tuple[str, ...]
    driver: str
    targets: str | None = None
    without_tactics: tuple[str, ...] = ()
    versions: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def mark(self, step: Step) -> str:
        """Return the hash of all that a step's row depends on: an export depends on the code alone."""
        facts = {"sources": self.sources} if step.kind == "export" else vars(self)
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def document(
    setting: Setting,
    run: Mapping[str, Any],
    steps: Mapping[str, Step],
    rows: Mapping[str, Row],
    left: Mapping[str, str],
) -> dict[str, Any]:
    """Everything that is known. ``run`` is how this run was started, ``left`` says why a step has no row."""
    known = {name: (steps[name], row) for name, row in rows.items() if name in steps}
    found = {kind: [row for step, row in known.values() if step.kind == kind] for kind in KINDS}
    copies = [row["bytes_per_s"] for row in found["copies"] if row["status"] == "done"]
    return {
        "date": date.today().isoformat(),
        "method": METHOD,
        **asdict(setting),
        **run,
        "cases": {name: {"spec": case.spec, "shape": case.shape} for name, case in cases().items()},
        "blocks": {row["case"]: row["blocks"] for row in found["export"] if row.get("blocks")},
        **({"bytes_per_s": copies[0]} if copies else {}),
        "exports": _without(found["export"], "blocks"),
        "rows": found["build"],
        "plain": found["plain"],
        "timing": [
            {"case": row["case"], "batch": row["batch"], **entry}
            for kind in ("time", "pytorch")
            for row in found[kind]
            for entry in row.get("timing", ())
        ],
        "warnings": {
            row["step"]: row["warnings"] for row in (*found["time"], *found["pytorch"]) if row.get("warnings")
        },
        "failed": {name: row.get("why", "") for name, (_, row) in known.items() if row["status"] == "failed"},
        "not_reached": dict(left),
    }


KINDS = ("export", "build", "plain", "compile", "copies", "time", "pytorch")


def _without(rows: list[Row], name: str) -> list[Row]:
    return [{key: value for key, value in row.items() if key != name} for row in rows]


def by_reason(left: Mapping[str, str]) -> dict[str, list[str]]:
    """The steps that were not reached, by the reason."""
    found: dict[str, list[str]] = {}
    for name, why in left.items():
        found.setdefault(why, []).append(name)
    return found
