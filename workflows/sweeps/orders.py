"""The command that a worker gets for a job."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from .command_worker import CommandOrder
from .matrix import Job
from .results import Results


def order_for(
    job: Job, results: Results, folder: str, *, threads: int, environment: Mapping[str, str] | None = None
) -> CommandOrder:
    """Return the command of a job.

    A job has a process of its own if it runs a user's code, which may change anything there, takes a GPU, whose memory
    it would keep, or measures time.

    Args:
        job: The job.
        results: The folder of the sweep.
        folder: The absolute folder that the job runs in.
        threads: The threads of PyTorch; 0 leaves that to it.
        environment: Is added to the process's own.
    """
    needs_torch = job.verb.needs_torch and not job.takes_bundle
    return CommandOrder(
        name=job.name,
        folder=folder,
        shown_folder=str(results.folder / job.folder),
        arguments=job.command(folder, force=results.force),
        shown=job.command(str(results.folder / job.folder)),
        needs_torch=needs_torch,
        threads=threads,
        environment=dict(environment or {}),
        cwd=str(Path.cwd()),
        may_share=needs_torch and job.is_described and not (job.needs.is_alone or job.needs.gpus),
        is_alone=job.needs.is_alone,
    )
