"""The command that a worker gets for a job."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from .command_worker import Order
from .matrix import Job
from .results import Results


def order_for(
    job: Job, results: Results, folder: str, *, threads: int, environment: Mapping[str, str] | None = None
) -> Order:
    """Return the command of a job.

    Args:
        job: The job.
        results: The folder of the sweep.
        folder: The absolute folder that the job runs in.
        threads: The threads of PyTorch; 0 leaves that to it.
        environment: Is added to the process's own.
    """
    return Order(
        name=job.name,
        folder=folder,
        arguments=job.command(folder, force=results.force),
        shown=job.command(str(results.folder / job.folder)),
        needs_torch=job.verb.needs_torch and not job.takes_bundle,
        threads=threads,
        environment=dict(environment or {}),
        cwd=str(Path.cwd()),
    )
