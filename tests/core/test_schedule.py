"""The schedule with jobs that return, die, hang or need a machine of their own; nothing is started."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from attn2trt.core.schedule import Ended, Event, Left, Needs, Node, Schedule, Task

ALONE = Needs(is_alone=True)


class Fake:
    """A backend whose jobs take one turn each, or as many as ``turns`` says, and end as ``end`` says."""

    def __init__(
        self,
        *nodes: Node,
        end: Callable[[str, Node, int], Ended] = lambda name, _node, _attempt: Ended(name, True),
        turns: Callable[[str], int] = lambda _name: 1,
    ) -> None:
        self.alive = [*nodes]
        self.end = end
        self.turns = turns
        self.running: dict[str, tuple[Node, int, int]] = {}
        self.seen: list[dict[str, str]] = []  # at each turn the node of every job
        self.stopped = 0

    def nodes(self) -> Sequence[Node]:
        return self.alive

    def start(self, name: str, node: Node, attempt: int) -> None:
        self.running[name] = (node, attempt, self.turns(name))

    def wait(self) -> Sequence[Ended]:
        self.seen.append({name: node.name for name, (node, _, _) in self.running.items()})
        done = []
        for name, (node, attempt, left) in list(self.running.items()):
            if left > 1 and node in self.alive:
                self.running[name] = (node, attempt, left - 1)
                continue
            del self.running[name]
            is_there = node in self.alive
            done.append(self.end(name, node, attempt) if is_there else Ended(name, False, "the node was lost"))
        return done

    def stop(self) -> None:
        self.stopped += 1


class Fetching(Fake):
    """A backend whose jobs leave their node a turn before their result is there."""

    def __init__(self, *nodes: Node) -> None:
        super().__init__(*nodes)
        self.fetched: list[Ended] = []

    def wait(self) -> Sequence[Ended | Left]:
        arrived, self.fetched = self.fetched, [*super().wait()]
        return [*arrived, *(Left(ended.name) for ended in self.fetched)]


def node(name: str, machine: str = "", **more: float) -> Node:
    return Node(name, machine or name, cpus=more.pop("cpus", 2), memory_bytes=int(more.pop("memory", 0)), **more)  # type: ignore[arg-type]


def run(backend: Fake, *tasks: Task, **options: int) -> list[Event]:
    return list(Schedule(tasks, backend, **options).run())


def short(events: list[Event]) -> list[str]:
    return [f"{event.kind} {event.task}" for event in events]


def test_jobs_fill_the_nodes_and_no_more() -> None:
    backend = Fake(node("a"), node("b", cpus=1))
    run(backend, *(Task(str(number)) for number in range(7)))
    assert [len(turn) for turn in backend.seen] == [3, 3, 1]
    assert all(list(turn.values()).count("b") <= 1 for turn in backend.seen)
    assert backend.stopped == 1


def test_a_job_that_has_left_its_node_makes_room_before_its_result_is_there() -> None:
    backend = Fetching(node("a", cpus=1))
    events = run(backend, *(Task(str(number)) for number in range(3)))
    assert [[*turn] for turn in backend.seen] == [["0"], ["1"], ["2"], []]
    assert short(events) == ["started 0", "started 1", "ended 0", "started 2", "ended 1", "ended 2"]


def test_what_runs_alone_and_what_needs_a_result_wait_until_it_is_there() -> None:
    backend = Fetching(node("a"))
    run(backend, Task("first"), Task("alone", ALONE), Task("next", after="first"))
    assert [[*turn] for turn in backend.seen] == [["first"], [], ["next"], [], ["alone"], []]


def test_places_count_jobs_instead_of_processors() -> None:
    backend = Fake(Node("here", "here", cpus=1, places=3))
    run(backend, *(Task(str(number)) for number in range(4)))
    assert [len(turn) for turn in backend.seen] == [3, 1]


def test_memory_and_gpus_are_shared_out_too() -> None:
    backend = Fake(node("a", cpus=8, memory=4, gpus=1))
    run(backend, Task("x", Needs(memory_bytes=3)), Task("y", Needs(memory_bytes=3)), Task("z", Needs(memory_bytes=1)))
    assert [sorted(turn) for turn in backend.seen] == [["x", "z"], ["y"]]
    backend = Fake(node("a", cpus=8, gpus=1))
    run(backend, Task("x", Needs(gpus=1)), Task("y", Needs(gpus=1)))
    assert [sorted(turn) for turn in backend.seen] == [["x"], ["y"]]


def test_a_job_without_a_gpu_leaves_the_nodes_with_one_free() -> None:
    backend = Fake(node("gpu", gpus=1), node("plain"))
    run(backend, Task("x"))
    assert backend.seen[0] == {"x": "plain"}


def test_a_job_that_runs_alone_never_shares_its_machine() -> None:
    # two nodes of one machine, and one of another
    backend = Fake(node("a", "m"), node("b", "m"), node("c"), turns=lambda name: 1 + int(name) % 3)
    run(backend, *(Task(str(number), ALONE if number % 2 else Needs()) for number in range(12)))
    machines = {"a": "m", "b": "m", "c": "c"}
    shared = 0
    for turn in backend.seen:
        for name, place in turn.items():
            if int(name) % 2:
                others = [other for other in turn if other != name and machines[turn[other]] == machines[place]]
                assert others == []
        shared += len(turn) > 1
    assert shared


def test_a_result_is_there_before_the_job_that_takes_it_starts() -> None:
    backend = Fake(node("a", cpus=9))
    events = short(run(backend, Task("deploy"), Task("compile", after="deploy"), Task("time", ALONE, after="compile")))
    assert events == [
        "started deploy",
        "ended deploy",
        "started compile",
        "ended compile",
        "started time",
        "ended time",
    ]


def test_what_waits_for_a_failure_is_skipped_and_the_others_run() -> None:
    backend = Fake(node("a"), end=lambda name, _node, _attempt: Ended(name, name != "bad"))
    events = run(backend, Task("bad"), Task("x", after="bad"), Task("y", after="x"), Task("good"))
    assert sorted(short(events)[-2:]) == ["skipped x", "skipped y"]
    assert "ended good" in short(events)
    assert next(event.why for event in events if event.task == "x") == "bad did not pass"


def test_a_job_that_died_runs_again_on_another_node() -> None:
    first: list[str] = []

    def end(name: str, place: Node, attempt: int) -> Ended:
        first.append(place.name)
        return Ended(name, attempt > 1, "killed" if attempt == 1 else "")

    backend = Fake(node("a"), node("b"), end=end)
    events = run(backend, Task("x"), retries=1)
    assert short(events) == ["started x", "died x", "started x", "ended x"]
    assert sorted(first) == ["a", "b"]
    assert [event.attempt for event in events] == [1, 1, 2, 2]
    assert events[1].why == "killed"


def test_without_another_node_it_runs_again_alone() -> None:
    backend = Fake(
        node("a", cpus=2),
        end=lambda name, _node, attempt: Ended(name, True, "killed" if name == "big" and attempt == 1 else ""),
    )
    run(backend, Task("big"), Task("x"), Task("y"), Task("z"), retries=2)
    assert backend.seen[-1] == {"big": "a"}


def test_a_job_that_dies_each_time_ends_with_the_last_reason() -> None:
    backend = Fake(node("a"), end=lambda name, _node, attempt: Ended(name, False, f"killed {attempt}"))
    events = run(backend, Task("x"), Task("y", after="x"), retries=2)
    assert short(events).count("died x") == 2
    assert (events[-2].kind, events[-2].why, events[-1].kind) == ("ended", "killed 3", "skipped")


def test_a_lost_node_costs_no_job() -> None:
    backend = Fake(node("a"), node("b"), turns=lambda _name: 2)
    events = []
    for event in Schedule([Task(str(number)) for number in range(6)], backend, retries=2).run():
        events.append(event)
        if len(events) == 4:
            backend.alive.pop()
    ended = [event.task for event in events if event.kind == "ended" and event.ended and event.ended.passed]
    assert sorted(ended) == [str(number) for number in range(6)]
    assert short(events).count("died 1") == 1


def test_a_need_that_no_node_meets_is_missing_and_says_what_there_is() -> None:
    backend = Fake(node("a", gpus=1, accelerators=frozenset({"T4"})))
    wanted = Task("x", Needs(2, 3 << 30, 1, "L4"))
    events = run(backend, wanted, Task("y", after="x"), Task("z"))
    missing = next(event for event in events if event.kind == "missing")
    assert missing.why == ("it needs 2 CPUs, 3 GiB of memory, 1 GPU, the accelerator L4, and a has 2 CPUs, 1 GPU (T4)")
    assert {"skipped y", "ended z"} <= {*short(events)}


def test_a_node_that_comes_in_time_is_waited_for() -> None:
    backend = Fake()
    schedule = Schedule([Task("x")], backend, patience=60)
    turns = 0
    usual = backend.wait

    def wait() -> Sequence[Ended]:
        nonlocal turns
        turns += 1
        if turns == 3:
            backend.alive.append(node("late"))
        return usual()

    backend.wait = wait  # type: ignore[method-assign]
    assert short(list(schedule.run())) == ["started x", "ended x"]


def test_a_known_result_starts_nothing() -> None:
    backend = Fake(node("a"))
    known = {"x": Ended("x", True, result=7)}
    events = list(Schedule([Task("x"), Task("y", after="x")], backend, known=known.get).run())
    assert short(events) == ["ended x", "started y", "ended y"]
    assert events[0].ended == known["x"]


def test_whatever_ends_it_the_jobs_are_ended() -> None:
    backend = Fake(node("a"), turns=lambda _name: 1 << 30)  # hangs
    events = Schedule([Task("x")], backend).run()
    assert next(events).kind == "started"
    events.close()
    assert backend.stopped == 1

    def broken() -> Sequence[Ended]:
        raise OSError("disk")

    backend.wait = broken  # type: ignore[method-assign]
    with pytest.raises(OSError, match="disk"):
        list(Schedule([Task("x")], backend).run())
    assert backend.stopped == 2
