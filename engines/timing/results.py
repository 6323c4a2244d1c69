"""The results of a benchmark: one row for each model, runtime and batch, measured or with the reason why not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ...core.plain_data import plain
from .latency import Latency
from .machine import Conditions
from .method import Method
from .runtimes import RUNTIMES

Status = Literal["measured", "not measured", "wrong", "failed"]


@dataclass(frozen=True)
class Measurement:
    """One timed cell.

    Attributes:
        runtime: What ran the model, in words, with its version.
        device: CPU or GPU.
        precision: The one that it computed in, in words.
        latency: On rotated inputs.
        hot: On one and the same input.
        round_medians_ms: One for each round.
        throughput_per_s: Samples a second.
        peak_mib: The most that the process held, its inputs among it; None if the system does not tell.
        peak_counts_from_load: That counts from the time when the model was there; else from the process's start.
        inputs_mib: What the sets of inputs take.
        input_sets: The number of different inputs.
        on_device: What the GPU took of each call on rotated inputs, by its own clock, if the runtime asks it; of rounds
            that were left out as well.
        distant_medians_ms: One for each round that was left out because the cores were far from each other.
    """

    runtime: str
    device: str
    precision: str
    latency: Latency
    hot: Latency
    round_medians_ms: tuple[float, ...]
    throughput_per_s: float
    peak_mib: float | None
    peak_counts_from_load: bool
    inputs_mib: float
    input_sets: int
    on_device: Latency | None = None
    distant_medians_ms: tuple[float, ...] = ()


@dataclass(frozen=True)
class Row:
    """One cell: ``model`` is the target or the plain backbone, ``runtime`` a name of runtimes.py.

    ``wrong`` is a runtime whose output is not the others', ``failed`` one that should work here and does not; neither
    is timed. ``why`` says why there are no numbers, or what of a measured runtime's outputs was not compared.
    """

    model: str
    runtime: str
    batch: int
    status: Status
    why: str = ""
    measurement: Measurement | None = None

    @property
    def is_baseline(self) -> bool:
        """True if its failure says nothing of what this tool deploys."""
        return self.runtime in RUNTIMES and RUNTIMES[self.runtime].is_baseline

    def to_json(self) -> dict[str, Any]:
        """Return everything by name; the measurement only if there is one."""
        found = {"model": self.model, "runtime": self.runtime, "batch": self.batch, "status": self.status}
        if self.why:
            found["why"] = self.why
        return {**found, **({"measurement": plain(self.measurement)} if self.measurement else {})}


@dataclass(frozen=True)
class Benchmark:
    """All rows of one run, the method, the machine, and what the machine did meanwhile, batch by batch.

    ``sizes`` are those of every input, by batch and name; ``reference`` is a bundle's hash of what was recorded.
    """

    target: str
    bundle: str
    threads: int
    method: Method
    machine: Mapping[str, Any]
    versions: Mapping[str, str]
    sizes: Mapping[int, Mapping[str, tuple[int, ...]]]
    conditions: Mapping[int, Conditions]
    rows: tuple[Row, ...]
    reference: str = ""

    def to_json(self) -> dict[str, Any]:
        """The whole document."""
        return {
            "target": self.target,
            "bundle": self.bundle,
            "reference": self.reference,
            "threads": self.threads,
            "method": self.method.to_json(),
            "machine": dict(self.machine),
            "versions": dict(self.versions),
            "batches": [
                {
                    "batch": batch,
                    "inputs": plain(shapes),
                    "conditions": plain(self.conditions.get(batch)),
                }
                for batch, shapes in self.sizes.items()
            ],
            "warnings": self.warnings(),
            "rows": [row.to_json() for row in self.rows],
        }

    def warnings(self) -> list[str]:
        """Return what makes some of the numbers doubtful, one line for each kind."""
        found = []
        for batch, conditions in self.conditions.items():
            found += [f"batch {batch}: {remark}" for remark in conditions.remarks()]
        unsteady = [
            f"{row.model} in {row.runtime} at batch {row.batch}"
            for row in self.rows
            if row.measurement is not None and not row.measurement.latency.steady
        ]
        if unsteady:
            found.append(f"the latency varies by more than 2.5 %: {'; '.join(unsteady)}")
        measured = (row for row in self.rows if row.measurement is not None and row.why)
        return [*found, *(f"{row.model} in {row.runtime} at batch {row.batch}: {row.why}" for row in measured)]
