"""The plan of work: the cases in waves, the most wanted first, and the steps that each case takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["export", "build", "plain", "compile", "copies", "time", "pytorch"]
# Steps of all but the last run beside each other; a step that is timed runs alone.
Pool = Literal["export", "build", "light", "held", "alone"]
# Those of these pools are stopped while something is timed, not waited for.
HELD: tuple[Pool, ...] = ("export", "held")
POOLS: dict[Kind, Pool] = {
    "export": "export",
    "build": "build",
    "plain": "build",
    "compile": "build",
    "copies": "alone",
    "time": "alone",
    "pytorch": "alone",
}
# The steps of the Python that has PyTorch; the others are TensorRT's.
WITH_PYTORCH: frozenset[Kind] = frozenset({"export", "compile", "pytorch"})
# A plan can be built for another GPU; everything else but an export runs on the one at hand.
WITHOUT_GPU: frozenset[Kind] = frozenset({"export", "build"})

# The batch that PyTorch traces is small for the sake of the recorded cases; TensorRT chooses kernels for a batch of 8.
RANGE, PROFILE = "batch=1:2:32", "batch=1:8:32"
TRACED = 2


@dataclass(frozen=True)
class Case:
    """A target at one size.

    Attributes:
        name: Names its bundle and its rows.
        spec: The target in the grammar of the catalogue.
        shape: The shape of a block's input for the traced batch; a network has its own.
        precisions: The precisions that plans are built in.
        plain: The precisions that TensorRT may use in the plan of PyTorch's plain export.
        batches: The batches that are timed.
        pytorch: Whether PyTorch in float16 is timed as well.
        dynamic: The ranges that it is deployed with.
        io: The type of float inputs and outputs below float32.
    """

    name: str
    spec: str
    shape: str = ""
    precisions: tuple[str, ...] = ("fp16",)
    plain: tuple[str, ...] = ("fp16",)
    batches: tuple[int, ...] = (8, 32)
    pytorch: bool = True
    dynamic: str = RANGE
    io: str = "fp32"

    @property
    def is_block(self) -> bool:
        """Return True for one block by itself."""
        return bool(self.shape)


@dataclass(frozen=True)
class Step:
    """One thing to do in a process of its own.

    Attributes:
        name: Names its row; in every run the same.
        kind: The work.
        wave: Counted from 1; the lower, the more wanted.
        case: The case's name.
        precision: Of the plan that is built.
        batch: That is timed, or compiled for.
        needs: Steps without whose results it makes no sense.
        one_of: Steps of which one result at least is needed.
        after: Steps that must be over, whatever came of them.
    """

    name: str
    kind: Kind
    wave: int
    case: str = ""
    precision: str = ""
    batch: int = 0
    needs: tuple[str, ...] = ()
    one_of: tuple[str, ...] = ()
    after: tuple[str, ...] = ()

    @property
    def pool(self) -> Pool:
        """Return the steps that it runs beside, none if it runs alone."""
        return POOLS[self.kind]


def _blocks(names: Sequence[str], size: str) -> tuple[Case, ...]:
    return tuple(Case(f"{name}-{size}", name, f"{TRACED}x{size}", ("fp16", "fp32")) for name in names)


FIRST, SECOND = ("se", "cbam", "coord_att"), ("eca", "gam", "psa")
WIDE, DEEP = "256x56x56", "1024x14x14"
NETWORKS = (
    *(f"resnet50+{block}" for block in ("cbam", "coord_att", "eca", "psa")),
    *(
        f"{net}{block}"
        for net in ("mobilenetv2_100", "efficientnet_b0")
        for block in ("", "+se", "+cbam", "+coord_att")
    ),
)
INTEGERS = ("resnet50+se", "resnet50+cbam")
WAVES: tuple[tuple[Case, ...], ...] = (
    _blocks(FIRST, WIDE),
    (Case("resnet50", "resnet50"), Case("resnet50+se", "resnet50+se")),
    _blocks(SECOND, WIDE),
    _blocks((*FIRST, *SECOND), DEEP),
    (
        *(Case(f"{name}-int8", name, precisions=("int8",), plain=(), pytorch=False) for name in INTEGERS),
        *(Case(name, name) for name in NETWORKS),
    ),
)
# A single image, of the networks that have been timed before.
LATE_BATCHES = (1,)


def cases() -> dict[str, Case]:
    """Every case by its name."""
    return {case.name: case for wave in WAVES for case in wave}


def steps(waves: Sequence[Sequence[Case]] = WAVES) -> list[Step]:
    """All steps, the most wanted first: of each wave the exports, then the builds, then what is timed."""
    found: list[Step] = []
    for number, wave in enumerate(waves, 1):
        found += [Step(f"export-{case.name}", "export", number, case.name) for case in wave]
        found += _builds(wave, number)
        if number == 2:
            found.append(Step("copies", "copies", number))
        found += [step for case in wave for batch in case.batches for step in _timed(case, batch, number)]
    last = len(waves)
    for case in waves[1] if last > 1 else ():
        for batch in LATE_BATCHES:
            found += [*_compiled(case, batch, last), *_timed(case, batch, last)]
    return found


def _builds(wave: Sequence[Case], number: int) -> Iterator[Step]:
    """One precision of every case before the next: each case has its first plan early."""
    for place in range(max(len(case.precisions) for case in wave)):
        for case in wave:
            for precision in case.precisions[place : place + 1]:
                yield Step(build_name(case, precision), "build", number, case.name, precision, needs=(_export(case),))
        if place:
            continue
        for case in wave:
            for precision in case.plain:
                yield Step(plain_name(case, precision), "plain", number, case.name, precision, needs=(_export(case),))
        for case in wave:
            for batch in case.batches:
                yield from _compiled(case, batch, number)


def _compiled(case: Case, batch: int, number: int) -> Iterator[Step]:
    if case.pytorch:
        yield Step(compile_name(case, batch), "compile", number, case.name, batch=batch, needs=(_export(case),))


def _timed(case: Case, batch: int, number: int) -> Iterator[Step]:
    ours = tuple(build_name(case, precision) for precision in case.precisions)
    plain = tuple(plain_name(case, precision) for precision in case.plain)
    name, needs = f"time-{case.name}-{batch}", (_export(case),)
    yield Step(name, "time", number, case.name, batch=batch, needs=needs, one_of=ours, after=(*ours, *plain))
    if case.pytorch:
        after = (compile_name(case, batch),)
        yield Step(f"pytorch-{case.name}-{batch}", "pytorch", number, case.name, batch=batch, needs=needs, after=after)


def _export(case: Case) -> str:
    return f"export-{case.name}"


def build_name(case: Case, precision: str) -> str:
    """The step that builds and judges our plan of this precision."""
    return f"build-{case.name}-{precision}"


def plain_name(case: Case, precision: str) -> str:
    """The step that builds the plan of PyTorch's plain export."""
    return f"plain-{case.name}-{precision}"


def compile_name(case: Case, batch: int) -> str:
    """The step in which PyTorch compiles the case for this batch."""
    return f"compile-{case.name}-{batch}"
