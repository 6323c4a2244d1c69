"""One job on a node of a Ray cluster: called there, in a process of Ray's that keeps a worker with the libraries."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...core.scratch import scratch
from ...errors import Attn2trtError, Interrupted, MissingRequirement, StorageError
from ..reuse import sources
from ..versions import package_versions
from .command_worker import CommandOrder, CommandWorker, Ending
from .folders import MARKER
from .matrix import BUNDLE
from .pack import Packed, pack, unpack

_worker = CommandWorker()  # of this process of Ray's, for all jobs that it is given


def code_digest() -> str:
    """Return a hash of this package's code."""
    return hashlib.sha256(json.dumps(sources()).encode()).hexdigest()


def run_job(order: Mapping[str, Any], bundle: Packed | None, code: str, storage: Mapping[str, str]) -> dict[str, Any]:
    """Run a job, and return its exit code, its time, the versions here, and its files.

    Args:
        order: What ``CommandOrder.to_json`` returns; its folder is empty unless storage is shared.
        bundle: The bundle that the job works on; None if it works on none, or finds it in its folder.
        code: The digest of the code of whoever asks; another one here is an error.
        storage: ``folder`` and ``mark`` of the sweep on shared storage: its folder, and the content of its marker.

    Never raises an error of this package: it is in the answer, as ``error`` with ``code``.
    """
    began = time.monotonic()
    try:
        _check_code(code)
        found = _on_shared_storage(order, storage) if storage else _in_scratch(order, bundle)
    except Attn2trtError as error:
        found = {"code": error.exit_code, "killed": str(error) if isinstance(error, Interrupted) else ""}
        found["error"] = str(error)
    return {**found, "seconds": time.monotonic() - began, "versions": package_versions()}


def _check_code(code: str) -> None:
    if code_digest() != code:
        raise MissingRequirement(
            f"the node {os.uname().nodename} has another version of attn2trt than the machine that the sweep runs on; "
            "expected the same code on both; install it there"
        )


def _in_scratch(order: Mapping[str, Any], bundle: Packed | None) -> dict[str, Any]:
    with scratch("sweep") as folder:
        work = folder / "job"
        work.mkdir()
        if bundle is not None:
            (work / BUNDLE).mkdir()
            unpack(bundle, work / BUNDLE)
        ending = _run(_moved(order, work))
        return {"code": ending.code, "killed": ending.killed, "files": pack(work)}


def _on_shared_storage(order: Mapping[str, Any], storage: Mapping[str, str]) -> dict[str, Any]:
    folder = Path(storage["folder"])
    try:
        mark = (folder / MARKER).read_text(encoding="utf-8")
    except OSError:
        mark = ""
    if mark != storage["mark"]:
        raise StorageError(
            f"the node {os.uname().nodename} does not see the sweep at {folder}; expected storage that every node has "
            "at this path; leave --shared out, or give such a folder with -o"
        )
    ending = _run(CommandOrder(**order))
    return {"code": ending.code, "killed": ending.killed}


def _moved(order: Mapping[str, Any], work: Path) -> CommandOrder:
    """Return the order for another folder; the folder of the order begins the paths in its arguments."""
    before = str(order["folder"])
    arguments = [str(work) + word[len(before) :] if word.startswith(before) else word for word in order["arguments"]]
    cwd = str(order["cwd"]) if Path(order["cwd"]).is_dir() else str(work)
    return replace(CommandOrder(**order), folder=str(work), arguments=arguments, cwd=cwd)


def _run(order: CommandOrder) -> Ending:
    """Run the command to its end; whatever ends this process of Ray's ends the command."""
    gpus = os.environ.get("CUDA_VISIBLE_DEVICES")  # as Ray has it for this very job
    environment = {**order.environment, **({} if gpus is None else {"CUDA_VISIBLE_DEVICES": gpus})}
    try:
        _worker.run(replace(order, environment=environment))
        while order.name not in (ended := _worker.ended()):
            pass
    except BaseException:
        _worker.stop()
        raise
    return ended[order.name]
