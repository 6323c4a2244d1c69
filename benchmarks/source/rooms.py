"""The rooms in the order in which they import each other, and what stands against that order."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from graphlib import CycleError, TopologicalSorter

from .tree import Import, Package

ROOT = {"", "__main__"}  # the package's own face, which loads every room when it is asked for a name
Edges = Mapping[tuple[str, str], Sequence[Import]]


@dataclass(frozen=True)
class Order:
    """The rooms from the lowest, which imports no other, to the highest; those of a level import none of each other.

    Attributes:
        levels: The rooms.
        upward: The imports of a higher room, the fewest that have to go for the rest to be in an order.
        circle: A circle of rooms, if there is one.
        file_circle: A circle of files, if there is one.
    """

    levels: tuple[tuple[str, ...], ...]
    upward: tuple[Import, ...]
    circle: tuple[str, ...]
    file_circle: tuple[str, ...]

    def level(self, room: str) -> int:
        """Return the floor of a room; the root is above all."""
        return next((floor for floor, rooms in enumerate(self.levels) if room in rooms), len(self.levels))

    def __str__(self) -> str:
        return " < ".join(rooms[0] if len(rooms) == 1 else f"{{ {' | '.join(rooms)} }}" for rooms in self.levels)


def order(package: Package) -> Order:
    """Find the order of the rooms from what they import, and nothing else."""
    edges = _edges(package)
    rooms = sorted({file.room for file in package.files.values()} - ROOT)
    line = [room for circle in _strong(rooms, edges) for room in _fewest_upward(circle, edges)]
    place = {room: position for position, room in enumerate(line)}
    upward = [item for (higher, lower), found in edges.items() if place[lower] > place[higher] for item in found]
    below = {room: [lower for higher, lower in edges if higher == room] for room in rooms}
    files = {
        file.name: {item.module for item in package.imports(file)} - {file.name, *ROOT}
        for file in package.files.values()
        if file.name not in ROOT
    }
    return Order(_levels(line, edges), tuple(upward), _circle(below), _circle(files))


def _edges(package: Package) -> dict[tuple[str, str], list[Import]]:
    """Return the imports by the pair of rooms: the one that imports, and the imported one."""
    edges: dict[tuple[str, str], list[Import]] = {}
    for file in package.files.values():
        for item in package.imports(file):
            pair = file.room, item.module.partition(".")[0]
            if pair[0] != pair[1] and not ROOT & set(pair):
                edges.setdefault(pair, []).append(item)
    return edges


def _below(room: str, edges: Edges) -> set[str]:
    """Return every room that ``room`` imports, over any number of rooms."""
    found: set[str] = set()
    left = [room]
    while left:
        new = {lower for higher, lower in edges if higher == left[-1]} - found
        left.pop()
        found |= new
        left += new
    return found


def _strong(rooms: Sequence[str], edges: Edges) -> Iterator[list[str]]:
    """Yield the groups of rooms that import each other in a circle, lowest first; most are a room alone."""
    below = {room: _below(room, edges) for room in rooms}
    done: set[str] = set()
    for room in sorted(rooms, key=lambda room: (len(below[room] | {room}), room)):
        if room not in done:
            group = [other for other in rooms if other == room or (other in below[room] and room in below[other])]
            done |= set(group)
            yield group


def _fewest_upward(rooms: Sequence[str], edges: Edges) -> Sequence[str]:
    """Return the order of rooms of one circle against which the fewest names are imported."""

    @cache
    def best(placed: frozenset[str]) -> tuple[int, tuple[str, ...]]:
        """The least cost, and the order, of placing the others above ``placed``."""
        rest = [room for room in rooms if room not in placed]
        if not rest:
            return 0, ()
        found = []
        for room in rest:
            cost, line = best(placed | {room})
            upward = sum(len(edges.get((room, other), ())) for other in rest if other != room)
            found.append((cost + upward, (room, *line)))
        return min(found)

    return best(frozenset())[1]


def _levels(line: Sequence[str], edges: Edges) -> tuple[tuple[str, ...], ...]:
    """Put each room one floor above the highest of those that it imports."""
    floor: dict[str, int] = {}
    for room in line:
        floor[room] = 1 + max((floor[lower] for lower in line if lower in floor and (room, lower) in edges), default=-1)
    count = max(floor.values(), default=-1) + 1
    return tuple(tuple(room for room in line if floor[room] == level) for level in range(count))


def _circle(below: Mapping[str, Collection[str]]) -> tuple[str, ...]:
    """Return a circle of what stands above what is ``below`` it, from one back to it; nothing if there is none."""
    try:
        TopologicalSorter(below).prepare()
    except CycleError as error:
        return tuple(error.args[1])
    return ()
