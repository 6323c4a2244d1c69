"""Print the shape of the package: its rooms, what each workflow enters, how long everything is.

    python benchmarks/architecture.py                  of the files that are here
    python benchmarks/architecture.py --against v1.0   beside those of that revision
    python benchmarks/architecture.py --list           with every file and callback of a workflow

Everything is read from the code itself. The rooms are in the order in which they import each other; the exit code is 1
if there is a circle of rooms or of files, or an import of a higher room. A workflow enters each file that has a
function or a class which its function reaches by name (source/calls.py). Imports never go up, so a lower room calls a
higher one only through something callable, or an object with methods, that it is handed: each function that gets one,
and the argument that it gets it by, is counted once as a callback.
"""

from __future__ import annotations

import argparse
import io
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from source.calls import Calls, Walk
from source.rooms import Order, order
from source.size import code_lines, functions
from source.tree import Package

ROOT = Path(__file__).parent.parent
WORKFLOWS = ("deploy", "validate", "benchmark")
LONGEST = 40


@dataclass(frozen=True)
class Shape:
    """The printed figures of one tree; ``long`` are the functions above LONGEST lines, the longest first."""

    order: Order
    walks: dict[str, Walk]
    lines: int
    files: int
    long: tuple[tuple[int, str], ...]
    public: tuple[str, ...]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", metavar="REV", help="a revision of git")
    parser.add_argument("--list", action="store_true", help="every file and callback of a workflow")
    options = parser.parse_args()
    before = None
    if options.against is not None:  # first: a revision may not be there
        with tempfile.TemporaryDirectory() as name:
            unpack(options.against, Path(name))
            before = shape(Path(name))
    now = shape(ROOT)
    print("\n".join([*_text(now, before), *(_listed(now) if options.list else ())]))
    return int(bool(now.order.circle or now.order.file_circle or now.order.upward))


def shape(root: Path) -> Shape:
    """Measure the package in ``root``."""
    package = Package(root)
    rooms = order(package)
    calls = Calls(package, rooms)
    files = package.files.values()
    long = [(length, name) for file in files for name, length in functions(file) if length > LONGEST]
    return Shape(
        rooms,
        {verb: calls.walk(calls.entry(verb)) for verb in WORKFLOWS},
        sum(map(code_lines, files)),
        len(files),
        tuple(sorted(long, key=lambda it: (-it[0], it[1]))),
        tuple(package.public()),
    )


def unpack(revision: str, folder: Path) -> None:
    """Write the files of a revision into ``folder``."""
    ran = subprocess.run(["git", "-C", str(ROOT), "archive", revision], capture_output=True, check=False)
    if ran.returncode:
        raise SystemExit(f"received --against {revision}; expected a revision of git: {ran.stderr.decode().strip()}")
    with tarfile.open(fileobj=io.BytesIO(ran.stdout)) as archive:
        archive.extractall(folder, filter="data")


def _text(now: Shape, before: Shape | None) -> Iterator[str]:
    both = [(label, it) for label, it in (("before", before), ("now", now)) if it is not None]
    for label, it in both:
        yield f"rooms {label}: {it.order}"
    yield ""
    yield f"| | {' | '.join(label for label, _ in both)} |"
    yield f"| --- |{' ---: |' * len(both)}"
    rows = [_rows(it) for _, it in both]
    for name in rows[-1]:
        yield f"| {name} | {' | '.join(row.get(name, '') for row in rows)} |"
    for label, it in both:
        for item in it.order.upward:
            yield f"{label}, upward: {item.file.path}:{item.line} imports {item.module}.{item.name}".rstrip(".")
        yield ""
        yield f"functions above {LONGEST} lines, {label}: {_or_none([f'{name} {count}' for count, name in it.long])}"
        yield f"public names, {label}: {_or_none(it.public)}"


def _rows(it: Shape) -> dict[str, str]:
    rows = {
        "rooms": str(sum(map(len, it.order.levels))),
        "circle of rooms": " → ".join(it.order.circle) or "none",
        "circle of files": " → ".join(it.order.file_circle) or "none",
        "imports of a higher room": str(len(it.order.upward)),
    }
    for verb, walk in it.walks.items():
        rows[f"{verb}: rooms entered"] = str(len(walk.rooms))
        rows[f"{verb}: files entered"] = str(len(walk.files))
        rows[f"{verb}: callbacks"] = str(len(walk.callbacks))
    rows["files"] = str(it.files)
    rows["lines of code"] = f"{it.lines:,}"
    rows[f"functions above {LONGEST} lines"] = str(len(it.long))
    rows["public names"] = str(len(it.public))
    return rows


def _or_none(found: Sequence[str]) -> str:
    return ", ".join(found) or "none"


def _listed(it: Shape) -> Iterator[str]:
    for verb, walk in it.walks.items():
        yield ""
        yield f"{verb} enters {', '.join(walk.rooms)}:"
        yield from (f"  {path}" for path in walk.files)
        yield from (f"  {found.path}:{found.line} hands {found.argument} to {found.callee}" for found in walk.callbacks)


if __name__ == "__main__":
    sys.exit(main())
