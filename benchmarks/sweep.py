"""Measure what a sweep costs over a plain loop, and lose a node of a Ray cluster in the middle of one.

Usage: python benchmarks/sweep.py [--blocks N] [--rounds R] [--only overhead|loss]. It needs the extras export, rtx and
ray, and a machine on which nothing else runs. Writes benchmarks/results/sweep.json and docs/sweep.md after each part.

Overhead: the same blocks are deployed by a plain loop over ``attn2trt.deploy`` in one process, by ``attn2trt sweep -j
1``, and by ``attn2trt sweep --ray ADDRESS`` on a cluster of one node that is there before. Each is a process of its
own, with its imports; one job at a time has all cores. The three take turns, in another order each round. A round
gives one ratio of each sweep to the loop.

Loss: all blocks in float32 and float16 on a cluster of two nodes of which one is killed as the jobs are at work; then
the same without Ray. Every verdict of the one must be that of the other.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

from page_text import table
from stored_results import store

ROOT = Path(__file__).parent.parent
RESULTS, PAGE = ROOT / "benchmarks/results/sweep.json", ROOT / "docs/sweep.md"
LIMIT = 1.05
NODE_MEMORY = 6 << 30
STORE_BYTES = 500 << 20
PLAIN = """
import sys
import attn2trt
for number, name in enumerate(sys.argv[1:]):
    bundle = attn2trt.deploy(name, out=f"plain/{number}")
    assert bundle.passed, name
"""


def blocks(count: int | None) -> list[str]:
    """The names of the blocks."""
    from attn2trt.modules.block_index import block_names

    return block_names()[:count]


@contextmanager
def cluster(*cpus: int) -> Iterator[Any]:
    """A Ray cluster on this machine: a head without CPUs, and one node for each number of them. Yields it and them."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    found = Cluster()
    common = {"object_store_memory": STORE_BYTES, "include_dashboard": False}
    found.add_node(num_cpus=0, **common)
    nodes = [found.add_node(num_cpus=count, memory=NODE_MEMORY, **common) for count in cpus]
    try:
        yield found, nodes
    finally:
        found.shutdown()


def timed(words: list[str], folder: Path) -> float:
    """Run a command in a folder; return its seconds."""
    began = time.perf_counter()
    ran = subprocess.run([sys.executable, *words], cwd=folder, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - began
    if ran.returncode:
        raise SystemExit(f"{words}: exit code {ran.returncode}\n{ran.stderr[-4000:]}{ran.stdout[-4000:]}")
    return seconds


def overhead(names: list[str], rounds: int) -> dict[str, Any]:
    """Time the loop and the sweeps in turn."""
    cores = os.cpu_count() or 1
    text = f"targets = {json.dumps(names)}\n[resources]\ncpus = {cores}\n"
    seconds: dict[str, list[float]] = {"loop": [], "sweep": [], "ray": []}
    with cluster(cores) as (found, _):
        calls: dict[str, Callable[[Path], float]] = {
            "loop": lambda folder: timed(["-c", PLAIN, *names], folder),
            "sweep": lambda folder: timed(["-m", "attn2trt", "sweep", "s.toml", "-j", "1"], folder),
            "ray": lambda folder: timed(["-m", "attn2trt", "sweep", "s.toml", "--ray", found.address], folder),
        }
        for number in range(rounds):
            order = [*calls][number % 3 :] + [*calls][: number % 3]
            for name in order:
                with tempfile.TemporaryDirectory() as folder:
                    Path(folder, "s.toml").write_text(text)
                    seconds[name].append(calls[name](Path(folder)))
                    print(f"round {number + 1}: {name} {seconds[name][-1]:.1f} s", flush=True)
    return {"blocks": names, "seconds": seconds}


def loss(names: list[str]) -> dict[str, Any]:
    """Run the sweep with and without Ray, and lose a node of the cluster."""

    document = {"verbs": ["deploy"], "targets": names, "precisions": ["fp32", "fp16"]}
    total = 2 * len(names)
    died: list[str] = []
    runs: dict[str, Any] = {}
    folder = Path(tempfile.mkdtemp())
    try:
        with cluster(1, 1) as (found, nodes):

            def watch(progress: Any) -> None:
                print(progress, flush=True)
                if progress.event.kind == "died":
                    died.append(f"{progress.event.task}: {progress.event.why}")
                if progress.event.kind == "started" and progress.done >= total // 3 and nodes:
                    time.sleep(0.5)  # the job is at work by then
                    found.remove_node(nodes.pop(), allow_graceful=False)
                    nodes.clear()

            runs["ray"] = _run(document, folder / "ray", ray=found.address, progress=watch)
        runs["here"] = _run(document, folder / "here", progress=lambda progress: print(progress, flush=True))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return {**runs, "died": died}


def _run(document: dict[str, Any], out: Path, **how: Any) -> dict[str, Any]:
    import attn2trt

    began = time.perf_counter()
    found = attn2trt.sweep(document, out=out, **how)
    seconds = time.perf_counter() - began
    whole = sum((out / row.folder / "bundle/bundle.json").is_file() for row in found.rows)
    keep = ("target", "precision", "status", "exit_code", "seconds", "attempts", "found")
    rows = [{name: getattr(row, name) for name in keep} | {"node": row.node.split()[-1:]} for row in found.rows]
    return {"seconds": seconds, "bundles": whole, "rows": rows}


def ratios(document: dict[str, Any], name: str) -> list[float]:
    """One ratio to the loop for each round."""
    seconds = document["overhead"]["seconds"]
    return [mine / loop for mine, loop in zip(seconds[name], seconds["loop"], strict=True)]


def page(document: dict[str, Any]) -> str:
    """The page."""
    machine = document["machine"]
    lines = [
        "# What a sweep costs, and a node that is lost",
        "",
        "Written by `python benchmarks/sweep.py`. [howto/sweep.md](howto/sweep.md) has the command.",
        "",
        f"{document['date']}: {machine['cpus']} processors, Python {machine['python']}, Ray {machine['ray']}, PyTorch "
        f"{machine['torch']}. On average {machine['load']:.0f} processes wanted to run in the minute before.",
        "",
    ]
    if "overhead" in document:
        lines += _overhead_lines(document)
    if "loss" in document:
        lines += _loss_lines(document["loss"])
    return "\n".join(lines).rstrip() + "\n"


def _overhead_lines(document: dict[str, Any]) -> list[str]:
    found = document["overhead"]
    rounds = len(found["seconds"]["loop"])
    measured: list[tuple[str, ...]] = [("plain loop", f"{statistics.median(found['seconds']['loop']):.1f}", *[""] * 4)]
    for name, words in (("sweep", "`sweep -j 1`"), ("ray", "`sweep --ray`")):
        each = ratios(document, name)
        middle = statistics.median(each)
        over = (f"{100 * (value - 1):+.1f} %" for value in (middle, min(each), max(each)))
        median = f"{statistics.median(found['seconds'][name]):.1f}"
        measured.append((words, median, *over, "yes" if middle < LIMIT else "no"))
    return [
        "## Over a plain loop",
        "",
        f"{len(found['blocks'])} blocks, deployed one after the other: by a loop over `attn2trt.deploy` in one",
        "process, by `attn2trt sweep FILE -j 1`, and by `attn2trt sweep FILE --ray ADDRESS` on one node of a",
        f"cluster that was started before. They took turns in {rounds} round{'s' if rounds > 1 else ''}; each is a",
        "process with its imports. The ratios are of the same round.",
        "",
        *table("| seconds, median | over the loop, median | smallest | largest | below 5 %", measured),
        "",
    ]


def _loss_lines(found: dict[str, Any]) -> list[str]:
    ray, here = found["ray"], found["here"]
    count = len(ray["rows"])
    same = sum(
        (mine["status"], mine["found"]) == (other["status"], other["found"])
        for mine, other in zip(ray["rows"], here["rows"], strict=True)
    )
    counted = [
        ("passed", *(_count(run, lambda row: row["status"] == "passed") for run in (ray, here))),
        ("run again", *(_count(run, lambda row: row["attempts"] > 1) for run in (ray, here))),
        ("bundles that are there", ray["bundles"], here["bundles"]),
    ]
    seconds = ("seconds", f"{ray['seconds']:.0f}", f"{here['seconds']:.0f}")
    jobs = (
        (
            *(f"`{mine['target']}`", mine["precision"], mine["status"], f"{mine['seconds']:.1f}", mine["attempts"]),
            *(other["status"], f"{other['seconds']:.1f}", _short(mine["found"])),
        )
        for mine, other in zip(ray["rows"], here["rows"], strict=True)
        if {mine["status"], other["status"]} != {"passed"} or mine["attempts"] > 1
    )
    return [
        "## A node that is killed",
        "",
        f"{count} jobs on two Ray nodes with one processor each. One node was killed (SIGKILL) with a third of the",
        "jobs done and a job of it at work. Then the same sweep without Ray.",
        "",
        *table(
            "| two nodes, one killed | without Ray",
            [seconds, *((words, f"{mine} of {count}", f"{other} of {count}") for words, mine, other in counted)],
        ),
        "",
        f"Lost results: {count - ray['bundles']}. Verdicts that are the same word for word in both: {same} of {count}.",
        "Jobs that died:",
        "",
        *(f"- {_short(line)}" for line in found["died"]),
        "",
        "The jobs that did not pass in both, or took more than one attempt:",
        "",
        *table("block | precision | with Ray | s | attempts | without | s | what was found", jobs),
    ]


def _count(run: dict[str, Any], test: Callable[[dict[str, Any]], bool]) -> int:
    return sum(map(test, run["rows"]))


def _short(text: str) -> str:
    return text.replace(platform.node(), "host")


def machine() -> dict[str, Any]:
    """Return the processors, the load and the versions."""
    return {
        "cpus": os.cpu_count(),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        **{name: version(name) for name in ("ray", "torch")},
    }


def main() -> None:
    """Measure, and write the results and the page after each part."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--blocks", type=int, help="the first so many (default: all)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=("overhead", "loss"))
    options = parser.parse_args()
    names = blocks(options.blocks)
    document = json.loads(RESULTS.read_text()) if options.only and RESULTS.exists() else {}
    for part, measure in (("overhead", lambda: overhead(names, options.rounds)), ("loss", lambda: loss(names))):
        if options.only in (None, part):
            document |= {"date": date.today().isoformat(), "machine": machine(), part: measure()}
            store(document, RESULTS, PAGE, page(document))
            print(PAGE)


if __name__ == "__main__":
    main()
