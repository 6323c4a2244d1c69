"""The plan of work of gpu_tune.py: the cases in waves, the most wanted first, and the steps that each case takes.

Of a case at a batch the plan of the graph as it is, that of PyTorch's plain export and PyTorch's kernels are built
beside each other and timed: these are the first rows. Then every candidate is built and timed, the winners are
combined, and the whole is timed beside the others. Builds are stopped while something is timed, and go on afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from attn2trt.core.precision import FP16

from .work import FIRST, SECOND, TRACED, WIDE, Case, Pool, Step

TuneKind = Literal[
    "export", "plan", "plain", "compile", "time", "pytorch", "cost", "candidates", "trial", "combine", "whole"
]
TIMED: tuple[TuneKind, ...] = ("time", "pytorch", "cost", "trial", "whole")
WITH_PYTORCH: tuple[TuneKind, ...] = ("export", "compile", "pytorch")
RANGE = f"batch=1:{TRACED}:32"
INTEGERS = ("int8-fp16", "int8")
# What is timed beside each other, as rows and the page name it.
TUNED, AS_IT_IS, PLAIN, EAGER, COMPILED = "tuned", "as it is", "plain export", "eager", "torch.compile"


@dataclass(frozen=True)
class TuneCase(Case):
    """A case; ``beside`` names another one whose plan in float16 is timed beside its own plans.

    The first of its precisions is tuned, the others are timed as they are.
    """

    dynamic: str = RANGE
    io: str = FP16
    beside: str = ""

    @property
    def tuned_in(self) -> str:
        """Return the precision whose candidates are tried."""
        return self.precisions[0]


@dataclass(frozen=True)
class TuneStep(Step):
    """A step of gpu_tune.py; ``does`` is its kind here."""

    does: TuneKind = "export"

    @property
    def pool(self) -> Pool:
        """Return the steps that it runs beside, none if it runs alone."""
        return "export" if self.does == "export" else "alone" if self.does in TIMED else "held"


def _blocks(names: Sequence[str], batches: Sequence[int]) -> tuple[TuneCase, ...]:
    return tuple(TuneCase(f"{name}-{WIDE}", name, f"{TRACED}x{WIDE}", batches=tuple(batches)) for name in names)


def _networks(names: Sequence[str], batches: Sequence[int]) -> tuple[TuneCase, ...]:
    return tuple(TuneCase(name, name, batches=tuple(batches)) for name in names)


def _integers(names: Sequence[str]) -> tuple[TuneCase, ...]:
    return tuple(
        TuneCase(f"{name}-int8", name, precisions=INTEGERS, plain=(), batches=(8,), pytorch=False, beside=name)
        for name in names
    )


BACKBONES, NETWORKS = ("resnet50+se", "resnet50"), ("resnet50+cbam", "resnet50+coord_att")
WAVES: tuple[tuple[TuneCase, ...], ...] = (
    _blocks(FIRST, (32,)),
    _networks(BACKBONES, (8,)),
    _integers(BACKBONES),
    _networks(NETWORKS, (8,)),
    _blocks(SECOND, (32,)),
    _blocks(FIRST, (8, 1)),
    _networks((*BACKBONES, *NETWORKS), (32, 1)),
    _blocks(SECOND, (8, 1)),
)


def cases(waves: Sequence[Sequence[TuneCase]] | None = None) -> dict[str, TuneCase]:
    """Every case by its name; one that comes in several waves with the batches of the first."""
    found: dict[str, TuneCase] = {}
    for wave in WAVES if waves is None else waves:
        for case in wave:
            found.setdefault(case.name, case)
    return found


def profile_of(batch: int) -> str:
    """Return the ranges of plans that are fast at a batch: up to it, from one that was recorded on."""
    return f"batch={min(batch, TRACED)}:{batch}:{batch}"


def steps(waves: Sequence[Sequence[TuneCase]] | None = None) -> list[TuneStep]:
    """All steps, the most wanted first: of each wave the first rows of every case, then what is tuned."""
    found: dict[str, TuneStep] = {}
    for number, wave in enumerate(WAVES if waves is None else waves, 1):
        at = [(case, batch) for case in wave for batch in case.batches]
        made = [_step("export", number, case) for case in wave]
        for make in (_built, _timed, _tuned):
            made += [step for case, batch in at for step in make(case, batch, number)]
        for step in made:  # a case that comes in several waves is exported once
            found.setdefault(step.name, step)
    return [*found.values()]


def _step(does: TuneKind, number: int, case: TuneCase, batch: int = 0, precision: str = "", **more: object) -> TuneStep:
    kind = does if does in ("export", "plain", "compile", "time", "pytorch") else "build"
    name = step_name(does, case.name, batch, precision)
    return TuneStep(name, kind, number, case.name, precision, batch, does=does, **more)  # type: ignore[arg-type]


def step_name(does: TuneKind, case: str, batch: int = 0, precision: str = "") -> str:
    """Return the name of a step."""
    return "-".join(filter(None, (does, case, str(batch or ""), precision)))


def _built(case: TuneCase, batch: int, number: int) -> Iterator[TuneStep]:
    needs = (step_name("export", case.name),)
    for precision in case.precisions:
        yield _step("plan", number, case, batch, precision, needs=needs)
    for precision in case.plain:
        yield _step("plain", number, case, batch, precision, needs=needs)
    if case.pytorch:
        yield _step("compile", number, case, batch, needs=needs)


def plans_of(case: TuneCase, batch: int) -> dict[str, str]:
    """Return the step of each plan that is timed as it is, by precision; that of the case beside it comes first."""
    found = {FP16: step_name("plan", case.beside, batch, FP16)} if case.beside else {}
    return found | {precision: step_name("plan", case.name, batch, precision) for precision in case.precisions}


def _timed(case: TuneCase, batch: int, number: int) -> Iterator[TuneStep]:
    plans = tuple(plans_of(case, batch).values())
    plain = tuple(step_name("plain", case.name, batch, precision) for precision in case.plain)
    yield _step("time", number, case, batch, one_of=(*plans, *plain))
    if case.pytorch:
        after = (step_name("compile", case.name, batch),)
        yield _step("pytorch", number, case, batch, needs=(step_name("export", case.name),), after=after)
    for precision in case.precisions:
        yield _step("cost", number, case, batch, precision, needs=(step_name("plan", case.name, batch, precision),))


def _tuned(case: TuneCase, batch: int, number: int) -> Iterator[TuneStep]:
    precision = case.tuned_in

    def named(does: TuneKind) -> tuple[str, ...]:
        return (step_name(does, case.name, batch, precision),)

    yield _step("candidates", number, case, batch, precision, needs=named("plan"))
    yield _step("trial", number, case, batch, precision, needs=named("candidates"))
    yield _step("combine", number, case, batch, precision, needs=named("trial"))
    yield _step("whole", number, case, batch, precision, needs=named("trial"), after=named("combine"))
