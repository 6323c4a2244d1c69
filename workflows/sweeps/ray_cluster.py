"""A Ray cluster as the place where jobs run. Each is one task, pinned to the node that the schedule chose for it."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent import futures
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core import bounds
from ...core.schedule import Ended, Left, Node
from ...errors import CheckFailed, MissingRequirement, StorageError, one_line
from .command_worker import absolute
from .folders import ERRORS, MARKER, WORK
from .machine import machine_here
from .matrix import Job
from .orders import order_for
from .pack import pack, unpack
from .ray_task import code_digest, run_job
from .results import Results

log = logging.getLogger(__name__)
INSTALL = "pip install 'ray>=2.40'"
NODES_SECONDS = 1.0  # nodes are asked for no more often
WAIT_SECONDS = 0.5  # for a job to end, before nodes are looked at again
FETCH_SECONDS = 0.05  # the same while the files of another are fetched
CONNECT_SECONDS = 10.0
MACHINE_SECONDS = 60.0  # for a node to say what it is; a process of Ray starts there for it
FRESH = "/nowhere"  # a folder that the node replaces by one of its own
# Errors of Ray after which a node of that number never comes back.
NODE_LOST = ("NodeDiedError", "LocalRayletDiedError", "TaskUnschedulableError")
_ACCELERATOR = "accelerator_type:"


@dataclass(frozen=True)
class _Running:
    job: Job
    node: Node
    attempt: int
    work: Path | None  # on shared storage
    machine: Mapping[str, Any]


class RayBackend:
    """Runs jobs as tasks of a Ray cluster.

    Args:
        jobs: The jobs by name.
        results: The folder of the sweep.
        ray: The module of Ray, connected.
        shared: Jobs work in the folder of the sweep, which every node sees; else their files come back as bytes.
    """

    def __init__(self, jobs: Mapping[str, Job], results: Results, ray: Any, *, shared: bool = False) -> None:
        self._jobs = jobs
        self._results = results
        self._ray = ray
        self._task = self._ray.remote(run_job)
        self._code = code_digest()
        self._storage = self._shared_storage() if shared else {}
        self._running: dict[Any, _Running] = {}
        self._fetcher = futures.ThreadPoolExecutor(1)
        self._fetching: list[futures.Future[Ended]] = []
        self._inputs: dict[str, Any] = {}  # bundles that were sent to the object store, by the job that made them
        self._nodes: tuple[Node, ...] = ()
        self._asked = float("-inf")
        self._lost: set[str] = set()  # nodes that Ray lists as alive for some seconds more
        self._machines: dict[str, Mapping[str, Any]] = {}

    def _shared_storage(self) -> dict[str, str]:
        mark = (self._results.folder / MARKER).read_text(encoding="utf-8")
        return {"folder": absolute(self._results.folder), "mark": mark}

    def nodes(self) -> Sequence[Node]:
        """Return the nodes that are alive."""
        if time.monotonic() - self._asked >= NODES_SECONDS:
            with self._answers():
                alive = [node_of(entry) for entry in self._ray.nodes() if entry["Alive"]]
            self._nodes = tuple(node for node in alive if node.name not in self._lost)
            self._asked = time.monotonic()
        return self._nodes

    def machines(self, job: Job) -> Sequence[Mapping[str, Any]]:
        """Return what is known of each machine that could hold a job now."""
        found = [self._machine(node) for node in self.nodes() if node.could_hold(job.needs)]
        return [machine for machine in found if machine]

    def _machine(self, node: Node) -> Mapping[str, Any]:
        """Return what the machine of a node says that it is, asked once; nothing if it does not answer."""
        if node.machine not in self._machines:
            task = self._ray.remote(machine_here).options(
                num_cpus=0, max_retries=0, name="attn2trt machine", scheduling_strategy=_pinned(node)
            )
            self._machines[node.machine] = {}
            # what keeps it from answering is said of the job that meets it, too
            with contextlib.suppress(self._ray.exceptions.RayError, ConnectionError):
                self._machines[node.machine] = self._ray.get(task.remote(), timeout=MACHINE_SECONDS)
        return self._machines[node.machine]

    def start(self, name: str, node: Node, attempt: int) -> None:
        """Send a job to a node. It asks Ray for what it needs there, so that other users of the cluster are heeded."""
        job = self._jobs[name]
        work = self._work_folder(job, attempt) if self._storage else None
        folder = FRESH if work is None else absolute(work)
        machine = self._machine(node) if job.verb.is_on_machine else {}
        cpus = node.cpus if job.needs.is_alone else job.needs.cpus
        order = order_for(job, self._results, folder, threads=max(1, int(cpus)))
        options: dict[str, Any] = {
            "num_cpus": cpus,
            "num_gpus": job.needs.gpus,
            "memory": job.needs.memory_bytes or None,
        }
        if job.needs.accelerator:
            options["accelerator_type"] = job.needs.accelerator
        task = self._task.options(
            **options,
            name=f"attn2trt {name}",
            max_retries=0,  # the schedule decides about that, and says so
            scheduling_strategy=_pinned(node),
        )
        with self._answers():
            bundle = self._sent(job) if work is None else None
            reference = task.remote(order.to_json(), bundle, self._code, self._storage)
        self._running[reference] = _Running(job, node, attempt, work, machine)

    def wait(self) -> Sequence[Ended | Left]:
        """Return the jobs that have ended since, and those whose files are fetched now, while the node goes on."""
        events: list[Ended | Left] = []
        if self._running:
            with self._answers():
                seconds = FETCH_SECONDS if self._fetching else WAIT_SECONDS
                done, _ = self._ray.wait([*self._running], num_returns=1, timeout=seconds)
            events += [self._finish(reference) for reference in done]
        elif self._fetching:
            futures.wait(self._fetching, timeout=WAIT_SECONDS)
        else:
            time.sleep(WAIT_SECONDS)
        arrived = [future for future in self._fetching if future.done()]
        self._fetching = [future for future in self._fetching if future not in arrived]
        return [*events, *(future.result() for future in arrived)]

    def stop(self) -> None:
        """Cancel what runs, and keep the results that are on the way."""
        with contextlib.suppress(Exception):  # it may be gone
            for reference in self._running:
                self._ray.cancel(reference, force=True)
        self._running.clear()
        self._inputs.clear()
        self._fetcher.shutdown()

    def _work_folder(self, job: Job, attempt: int) -> Path:
        """Return a folder of this attempt's own: an earlier one may be at work on a node that is lost to us alone."""
        folder = self._results.folder / job.cell / f"{WORK}{job.verb.name}-{os.getpid()}-{attempt}"
        return self._results.prepare(job, folder)

    def _sent(self, job: Job) -> Any:
        """Return the bundle that a job works on, put into the object store once."""
        source = self._results.source(job)
        if source is None:
            return None
        key = job.after or job.target
        if key not in self._inputs:
            self._inputs[key] = self._ray.put(pack(source.path))
        return self._inputs[key]

    def _finish(self, reference: Any) -> Ended | Left:
        """Have the files of a job fetched by another thread. A job that Ray lost has ended at once."""
        running = self._running.pop(reference)
        try:
            answer = self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            cause = " ".join(str(error.cause).split())[:400]
            text = f"{running.node}: {type(error.cause).__name__}: {cause}; expected attn2trt there as it is here"
            answer = {"code": MissingRequirement.exit_code, "killed": "", "error": text}
        except self._ray.exceptions.RayError as error:
            answer = {"code": CheckFailed.exit_code, "killed": _death(error, running.node), "error": ""}
            if type(error).__name__ in NODE_LOST:
                self._lost.add(running.node.name)
            self._asked = float("-inf")
        else:
            self._fetching.append(self._fetcher.submit(self._take, running, answer))
            return Left(running.job.name)
        return self._take(running, answer)

    def _take(self, running: _Running, answer: Mapping[str, Any]) -> Ended:
        """Put what a job left into its folder and read the result."""
        job, killed, code = running.job, str(answer["killed"]), int(answer["code"])
        work = running.work or self._results.folder / job.cell / f"{WORK}{job.verb.name}-{os.getpid()}"
        work.mkdir(parents=True, exist_ok=True)
        try:
            if "files" in answer:
                unpack(answer["files"], work)
        except StorageError as error:
            killed, code = str(error), error.exit_code
        if answer.get("error") or killed:
            (work / ERRORS).write_text(f"error: {answer.get('error') or killed}\n", encoding="utf-8")
        self._results.put(job, work)
        result = self._results.finish(
            job,
            code=code,
            died=killed,
            seconds=float(answer.get("seconds", 0.0)),
            node=str(running.node),
            attempt=running.attempt,
            versions=answer.get("versions", {}),
            machine=running.machine,
        )
        return Ended(job.name, result.code == 0, result.died, result)

    @contextlib.contextmanager
    def _answers(self) -> Iterator[None]:
        """Turn the end of the cluster into an error that says what to do."""
        try:
            yield
        except (self._ray.exceptions.RayError, ConnectionError) as error:
            raise StorageError(
                f"the Ray cluster no longer answers ({' '.join(str(error).split())[:200]}); what is done so far is in "
                f"{self._results.folder}; run the sweep again with --resume"
            ) from error


def _pinned(node: Node) -> Any:
    """Return Ray's strategy for a task that runs on this node or not at all."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return NodeAffinitySchedulingStrategy(node.name, soft=False)


def node_of(entry: Mapping[str, Any]) -> Node:
    """Return a node as ``ray.nodes()`` describes it. Nodes at one address of one host are one machine."""
    resources = entry.get("Resources", {})
    address, host = str(entry["NodeManagerAddress"]), str(entry.get("NodeManagerHostname", ""))
    return Node(
        name=str(entry["NodeID"]),
        machine=f"{host} {address}",
        cpus=float(resources.get("CPU", 0.0)),
        memory_bytes=int(resources.get("memory", 0)),
        gpus=float(resources.get("GPU", 0.0)),
        accelerators=frozenset(name[len(_ACCELERATOR) :] for name in resources if name.startswith(_ACCELERATOR)),
        shown=f"{host or address} {str(entry['NodeID'])[:6]}",
    )


@contextlib.contextmanager
def connected(address: str) -> Iterator[Any]:
    """Connect to a cluster, and yield the module of Ray. Its usage statistics are off, and no dashboard is started.

    Raises:
        MissingRequirement: Ray is not installed, or no cluster is at the address.
    """
    ray = _connect(address)
    try:
        yield ray
    finally:
        ray.shutdown()


def _connect(address: str) -> Any:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # keep the GPUs' variable if a job needs none
    try:
        import ray
    except ImportError as error:
        raise MissingRequirement(f"received --ray {address}; expected Ray ({error}); {INSTALL}") from None
    bounds.require_within("ray")
    try:
        _try_address(address)
        ray.init(address=address, logging_level=logging.CRITICAL, log_to_driver=False, configure_logging=False)
    except (RuntimeError, ValueError, OverflowError, OSError) as error:
        reason = one_line(error, 300)
        raise MissingRequirement(
            f"received --ray {address}; expected the address of a running Ray cluster, on a machine of it ({reason}); "
            "start one with ray start --head, or give the address that this printed"
        ) from None
    return ray


def _try_address(address: str) -> None:
    """Raise OSError if nothing listens at ``host:port``: Ray itself would try for minutes without end."""
    host, separator, port = address.removeprefix("ray://").rpartition(":")
    if separator and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS).close()


def _death(error: Exception, node: Node) -> str:
    """Describe why Ray lost a job, in one line."""
    kind = type(error).__name__
    words = {
        "NodeDiedError": f"the node {node} was lost",
        "WorkerCrashedError": f"its process on {node} was killed",
        "OutOfMemoryError": f"Ray ended it on {node}, whose memory ran out",
        "ObjectLostError": f"its result was lost with the node {node}",
        "OwnerDiedError": f"its result was lost with the node {node}",
        "TaskUnschedulableError": f"the node {node} is gone",
        "LocalRayletDiedError": f"the node {node} was lost",
    }
    return words.get(kind) or f"on {node}, {kind}: {' '.join(str(error).split())[:200]}"
