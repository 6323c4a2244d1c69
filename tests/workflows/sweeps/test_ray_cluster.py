"""A Ray cluster as a backend: with a stand-in of Ray, and with two real nodes of which one is killed."""

from __future__ import annotations

import os
import socket
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from attn2trt.core.file_hashes import verify
from attn2trt.core.schedule import Needs
from attn2trt.errors import MissingRequirement, StorageError
from attn2trt.workflows.sweep import Progress, sweep
from attn2trt.workflows.sweeps import ray_cluster, ray_task
from attn2trt.workflows.sweeps.file import parse
from attn2trt.workflows.sweeps.matrix import jobs_of
from attn2trt.workflows.sweeps.results import Results

NODES = [
    {
        "NodeID": f"{letter * 8}",
        "Alive": letter != "c",
        "NodeManagerAddress": "10.0.0.1",
        "NodeManagerHostname": "one",
        "Resources": {"CPU": 2.0, "memory": float(8 << 30), "GPU": 1.0, "accelerator_type:L4": 1.0},
    }
    for letter in "abc"
]


class RayError(Exception):
    """The base of Ray's own errors."""


class RayTaskError(RayError):
    """An error that a task raised."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


class NodeDiedError(RayError):
    """A node that was lost."""


class StandIn:
    """As much of Ray as the backend uses; each task runs when it is waited for. ``losses`` fail instead."""

    exceptions = SimpleNamespace(RayError=RayError, RayTaskError=RayTaskError)

    def __init__(self, *losses: Exception, change: Any = lambda answer: answer) -> None:
        self.losses = [*losses]
        self.change = change
        self.asked: list[dict[str, Any]] = []
        self.puts = 0

    def nodes(self) -> list[dict[str, Any]]:
        return NODES

    def remote(self, function: Any) -> Any:
        def options(**given: Any) -> Any:
            self.asked.append(given)
            return SimpleNamespace(remote=lambda *arguments: lambda: function(*arguments))

        return SimpleNamespace(options=options)

    def put(self, value: Any) -> Any:
        self.puts += 1
        return value

    def wait(self, references: list[Any], **_: Any) -> tuple[list[Any], list[Any]]:
        return references[:1], references[1:]

    def get(self, reference: Any, **_: Any) -> Any:
        if self.losses:
            raise self.losses.pop(0)
        return self.change(reference())

    def cancel(self, *_: Any, **__: Any) -> None:
        pass

    def shutdown(self) -> None:
        ray_task._worker.stop()


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[StandIn]]:
    """Have the backend connect to the stand-in that the test puts into the list."""
    place = [StandIn()]
    monkeypatch.setattr(ray_cluster, "_connect", lambda _address: place[0])
    monkeypatch.setattr(ray_cluster, "_pinned", lambda node: node)
    yield place
    ray_task._worker.stop()


def run(*verbs: str, **more: Any) -> Any:
    return sweep({"verbs": [*verbs], "targets": ["se"], **more.pop("document", {})}, out="out", ray="x:1", **more)


def test_nodes_of_one_address_are_one_machine_with_what_ray_says_they_have() -> None:
    first, second = (ray_cluster.node_of(entry) for entry in NODES[:2])
    assert (first.machine == second.machine, first.name == second.name) == (True, False)
    assert first.could_hold(Needs(2, 8 << 30, 1, "L4"))
    assert not first.could_hold(Needs(1, 0, 1, "H100"))
    assert str(first) == "one aaaaaa"


def test_a_bundle_comes_back_whole_and_names_its_place_here(stand_in: Path, fake: list[StandIn]) -> None:
    found = run("deploy", document={"resources": {"cpus": 2, "memory_gib": 4}})
    assert [(row.status, row.node) for row in found.rows] == [("passed", "one aaaaaa")]
    bundle = stand_in / "out/se.fp32/deploy/bundle"
    assert all(part.ok for part in verify(bundle))
    assert (bundle / "report.html").read_text() == "out/se.fp32/deploy/bundle"
    (asked,) = fake[0].asked
    assert (asked["num_cpus"], asked["memory"], asked["max_retries"]) == (2, 4 << 30, 0)
    assert not list((stand_in / "out").glob("*/.work*"))
    assert [row.reused for row in run("deploy", document={"resources": {"cpus": 2}}, resume=True).rows] == [True]


def test_what_is_timed_asks_for_the_whole_node(stand_in: Path, fake: list[StandIn]) -> None:
    document = {"machines": [{"name": "l4", "accelerator": "L4"}]}
    assert bool(run("cost", document=document))
    _, asked = fake[0].asked  # the first asks what the node is
    assert (asked["num_cpus"], asked["num_gpus"], asked["accelerator_type"]) == (2, 1, "L4")


def test_a_time_is_that_of_a_machine_that_the_cluster_still_has(
    stand_in: Path, fake: list[StandIn], monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_reused(cpu: str, **more: Any) -> bool:
        monkeypatch.setattr(ray_cluster, "machine_here", lambda: {"cpu": cpu})
        return [row.reused for row in run("cost", **more).rows] == [True]

    assert not is_reused("one")
    assert is_reused("one", resume=True)
    assert not is_reused("other", resume=True)


def test_a_node_that_does_not_say_what_it_is_is_no_machine(
    fake: list[StandIn], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_cluster, "machine_here", lambda: {"cpu": "one"})
    (job,) = jobs_of(parse({"verbs": ["cost"], "targets": ["se"]}, "mine.toml"), defaultdict(list))
    results = Results(tmp_path / "out", [job])
    assert {"cpu": "one"} in ray_cluster.RayBackend({}, results, StandIn()).machines(job)
    assert not ray_cluster.RayBackend({}, results, StandIn(NodeDiedError("gone"))).machines(job)


def test_a_lost_node_is_named_and_another_takes_the_job(stand_in: Path, fake: list[StandIn]) -> None:
    fake[0] = StandIn(NodeDiedError("gone"))
    lines: list[Progress] = []
    found = run("check", progress=lines.append)
    assert [(row.status, row.attempts, row.node) for row in found.rows] == [("passed", 2, "one bbbbbb")]
    (died,) = [line.event.why for line in lines if line.event.kind == "died"]
    assert died == "the node one aaaaaa was lost"


def test_a_lost_node_gets_no_other_job_while_ray_still_lists_it(stand_in: Path, fake: list[StandIn]) -> None:
    fake[0] = StandIn(NodeDiedError("gone"))
    found = sweep({"verbs": ["check"], "targets": ["a", "b", "c"], "resources": {"cpus": 2}}, out="out", ray="x:1")
    assert {row.status for row in found.rows} == {"passed"}
    assert {row.node for row in found.rows} == {"one bbbbbb"}


@pytest.mark.parametrize(
    "change",
    [
        lambda files: {**files, "../../escaped": files["out"]},
        lambda files: {**files, "out": (files["out"][0], b"other")},
    ],
)
def test_files_that_are_not_what_was_sent_are_not_written(change: Any, stand_in: Path, fake: list[StandIn]) -> None:
    fake[0] = StandIn(change=lambda answer: {**answer, "files": change(answer["files"])})
    found = run("check", retries=1)
    assert [(row.status, row.attempts) for row in found.rows] == [("died", 2)]
    assert "run the job again" in found.rows[0].found
    assert not list(stand_in.rglob("escaped"))


def test_a_node_without_the_package_is_missing_something(stand_in: Path, fake: list[StandIn]) -> None:
    fake[0] = StandIn(RayTaskError(ModuleNotFoundError("No module named 'attn2trt'")))
    found = run("check")
    assert [(row.status, row.exit_code) for row in found.rows] == [("missing", 3)]
    assert "No module named 'attn2trt'; expected attn2trt there as it is here" in found.rows[0].found


def test_a_node_with_other_code_is_refused(
    stand_in: Path, fake: list[StandIn], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_task, "code_digest", lambda: "other")
    found = run("check")
    assert [(row.status, row.exit_code) for row in found.rows] == [("missing", 3)]
    assert "has another version of attn2trt" in found.rows[0].found


def test_on_shared_storage_nothing_is_sent(stand_in: Path, fake: list[StandIn]) -> None:
    fake[0] = StandIn(change=lambda answer: answer | ({"sent": 1} if "files" in answer else {}))
    found = run("deploy", shared=True)
    assert [row.status for row in found.rows] == ["passed"]
    assert all(part.ok for part in verify(stand_in / "out/se.fp32/deploy/bundle"))
    assert not list((stand_in / "out").glob("*/.work*"))


def test_a_node_that_does_not_see_the_storage_says_so(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="does not see the sweep at"):
        ray_task._on_shared_storage({}, {"folder": str(tmp_path), "mark": "1"})


def test_a_cluster_that_is_gone_ends_the_sweep_with_what_to_do(stand_in: Path, fake: list[StandIn]) -> None:
    def gone(*_: Any, **__: Any) -> Any:
        raise RayError("no answer")

    fake[0].wait = gone  # type: ignore[method-assign]
    with pytest.raises(StorageError, match=r"no longer answers .*; run the sweep again with --resume"):
        run("check")


def test_an_address_where_nothing_listens_is_one_line_at_once() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(OSError, match="refused"):
        ray_cluster._try_address(f"127.0.0.1:{port}")


def test_without_ray_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import builtins

    usual = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name == "ray":
            raise ImportError("No module named 'ray'")
        return usual(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    monkeypatch.delenv("RAY_USAGE_STATS_ENABLED", raising=False)
    with pytest.raises(MissingRequirement, match=r"expected Ray .*; pip install 'ray>=2.40'"):
        ray_cluster._connect("auto")
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_one_of_two_real_nodes_is_killed_and_no_result_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Real commands on a real cluster: the tasks, the loss and the files are Ray's own."""
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.chdir(tmp_path)
    from ray.cluster_utils import Cluster

    targets = ["se", "eca", "cbam", "srm", "simam", "gct"]
    document = {
        "verbs": ["deploy", "benchmark"],
        "targets": targets,
        "deploy": {"shape": "2x16x8x8", "for": "none"},
        "benchmark": {"seconds": 0.1, "iterations": 2, "runtime": "ort-cpu"},
    }
    cluster = Cluster()
    try:
        cluster.add_node(num_cpus=0, include_dashboard=False, object_store_memory=100_000_000)
        nodes = [
            cluster.add_node(num_cpus=1, memory=4 << 30, object_store_memory=100_000_000, include_dashboard=False)
            for _ in range(2)
        ]
        events: list[Progress] = []

        def watch(progress: Progress) -> None:
            events.append(progress)
            if progress.done == 2 and len(nodes) == 2 and progress.event.kind == "started":
                time.sleep(0.5)
                cluster.remove_node(nodes.pop(), allow_graceful=False)

        found = sweep(document, out="out", ray=cluster.address, progress=watch)
    finally:
        cluster.shutdown()
    assert [row.status for row in found.rows] == ["passed"] * 12, [row.found for row in found.rows]
    assert any(progress.event.kind == "died" for progress in events)
    assert max(row.attempts for row in found.rows) == 2
    for target in targets:
        for verb in ("deploy", "benchmark"):
            assert all(part.ok for part in verify(tmp_path / f"out/{target}.fp32/{verb}/bundle"))
    assert found.report is not None
    again = sweep(document, out="out", resume=True)
    assert all(row.reused for row in again.rows)
