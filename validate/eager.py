"""A module run by PyTorch on the CPU, in float32 or in float64 throughout."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..core.graph_io import FLOAT32
from ..errors import ModuleRefused, typed_line
from ..modules.user_line import frames, line_of, line_of_error
from .arrays import Array
from .cases import Case
from .choice import can_be_given
from .equal_scores import in_order_mode
from .float64 import BatchStatistics, NoSuchImage, Overlap, float64_mode
from .half_precision import mark_inputs
from .last_digits import last_digits_mode
from .lower import InGraph, Lower
from .plain_kernels import plain_kernels_mode
from .watch import Watch

if TYPE_CHECKING:
    from torch import nn

    from .choice import Choice
    from .reached import Reached
    from .repeats.draws import Draws

Feeds = dict[str, Array]
Outputs = dict[str, Array]
Mode = AbstractContextManager[Any]
Rounding = Literal["own", "plain", "other"]
_ROUNDING: dict[Rounding, Callable[[], Mode]] = {
    "own": nullcontext,
    "plain": plain_kernels_mode,
    "other": last_digits_mode,
}


class CannotRun(ModuleRefused):
    """PyTorch raised on a case; ``reason`` is its message."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class Eager:
    """The module on the CPU in one precision. Runs of the truth are watched, in float64 or in float32.

    Args:
        module: The module, which stays as it is.
        output_names: The names of its outputs; without any, ``output`` or ``output_0`` and so on.
        seed: Seeds PyTorch's random numbers before every run.
        is_double: Run in float64, which is the truth; else in float32.
        is_truth: A float32 run is the truth.

    Attributes:
        module: The copy that runs.
        watch: Looks at what the operators of watched runs give.
        ranks: True once a run of the truth has ranked scores. Set it on another ``Eager`` to rank equal scores alike.
        draws: Notes what every run draws, or decides it; None leaves that to PyTorch.
        noted: The choices of the last noted run.
        held: The levels that the quantisers of float32 runs give: ``levels`` of another one's last noted run.
    """

    def __init__(
        self, module: nn.Module, output_names: Sequence[str], seed: int, *, is_double: bool, is_truth: bool = False
    ) -> None:
        import torch

        from ..modules.copying import copy_module
        from ..modules.kept_tensors import cached_functions
        from ..modules.unregistered import unregistered

        dtype = torch.float64 if is_double else torch.float32
        # no third copy of large weights: float32 runs share those of the module
        copied = copy_module(module, shares_parameters=True, dtype=dtype)
        for _, part in unregistered(copied):
            part.to(device="cpu", dtype=dtype)
        self.module = (copied.double() if is_double else copied.float()).eval().cpu()
        self.output_names = tuple(output_names)
        self.seed = seed
        self.is_double = is_double
        self.is_truth = is_double or is_truth
        self.watch = Watch(self.inside)
        self.ranks = False
        self.draws: Draws | None = None
        self.noted: list[Choice] = []
        self.held: Mapping[int, Array] = {}
        self._inside: list[str] = []
        self._cached = cached_functions(self.module)

    @property
    def largest(self) -> float:
        """The largest magnitude that the last watched run met."""
        return self.watch.largest

    @property
    def choices(self) -> list[Choice]:
        """The choices of the last noted run, those of quantisers left out."""
        return [one for one in self.noted if one.grid is None]

    @property
    def to_give(self) -> list[Choice]:
        """The choices of the last noted run, quantisers among them, that ``run_given`` can give to another run."""
        return [one for one in self.noted if can_be_given(one)]

    @property
    def levels(self) -> dict[int, Array]:
        """The levels that quantisers gave in the last noted run, by their number in ``to_give``."""
        found = enumerate(self.to_give)
        return {number: one.picked for number, one in found if one.grid is not None and one.picked is not None}

    def fresh(self) -> Eager:
        """Return another copy in the same state, which shares the parameters. Hooks are copied, so make it early."""
        from ..modules.copying import copy_module

        found = copy.copy(self)
        found.module = copy_module(self.module, shares_parameters=True)
        found.draws, found._inside = None, []
        found.watch = Watch(found.inside)
        return found

    def tell(self, reached: Reached) -> None:
        """Let ``reached`` know what every watched run reaches, by the module that runs it."""
        self.watch.reached = reached
        self.follow_modules()

    def follow_modules(self) -> None:
        """Know at every operator which module runs it."""

        def leave(*_: object) -> None:
            self._inside.pop()

        for path, part in self.module.named_modules():
            part.register_forward_pre_hook(lambda *_, path=path: self._inside.append(path))
            part.register_forward_hook(leave)

    def run_lower(self, feeds: Feeds, case: Case, lower: Lower, draw: int) -> Outputs:
        """Outputs by name of a float32 run that loses what a lower precision does."""
        if isinstance(lower, InGraph):
            return _in_types(lower.outputs(feeds, draw, lambda: self.run(feeds, case)), case, lower.io)
        self._inside.clear()
        run = self._run_noted if draw == lower.draws[0] else self._run
        outputs = run(feeds, case, lower.mode(self.module, self.inside, draw))
        # once: what was rounded inside stays as it is
        return _in_types(outputs, case, lower.io)

    def run_within(self, case: Case, mode: Callable[[], Mode]) -> Outputs:
        """Outputs by name of a run on a case in another mode, the modules followed from the beginning."""
        self._inside.clear()
        return self._run(case.feeds, case, mode())

    def inside(self) -> str:
        """Return the path of the module that runs, if ``follow_modules`` was called; "" for the whole one."""
        return self._inside[-1] if self._inside else ""

    def run(self, feeds: Feeds, case: Case, *, rounding: Rounding = "own", watched: bool = True) -> Outputs:
        """Outputs by name.

        A float32 run has PyTorch's ``own`` kernels, ``plain`` ones as other runtimes have, or PyTorch's with ``other``
        last digits. A run of the truth looks at what every operator gives unless it is not ``watched``.
        """
        if watched and self.is_truth:
            self._inside.clear()
            self.watch.start(feeds)
        run = self._run_noted if watched and rounding == "own" else self._run
        return run(feeds, case, self._mode(rounding, watched=watched), self._holding())

    def run_again(self, feeds: Feeds, case: Case, draw: int) -> Outputs:
        """Outputs by name of a float32 run with other last digits, others for each ``draw``."""
        return self._run(feeds, case, last_digits_mode(draw), self._holding())

    def _holding(self) -> Mode:
        if not self.held:
            return nullcontext()
        from .selections import Given

        return Given(self.held)

    def run_moved(self, feeds: Feeds, case: Case, allowed: Sequence[Array], draw: int) -> Outputs:
        """Outputs by name of a run in which the scores of its choices are moved as far as ``allowed`` says.

        No output if the module cannot run with other choices, as one that has to find as many elements twice.
        """
        from .selections import Moved

        try:
            return self._run(feeds, case, self._mode("own", watched=False), Moved(allowed, draw))
        except CannotRun:
            return {}

    def run_given(
        self,
        case: Case,
        places: Mapping[int, Array],
        kept: Collection[int],
        *,
        rounding: Rounding = "own",
        draw: int | None = None,
        lower: Lower | None = None,
    ) -> tuple[Outputs, dict[int, Array]]:
        """Outputs by name, and the scores of the ``kept`` choices by number, of a run on a case with given choices.

        Args:
            case: The inputs.
            places: What choices among places and quantisers give, by their number among all of them.
            kept: The numbers of those whose scores are wanted.
            rounding: The kernels of a float32 run.
            draw: Other last digits in place of that, others for each number; of ``lower`` the draw.
            lower: The precision below float32 that a float32 run is rounded to.

        Raises ModuleRefused if a choice that is given was not met.
        """
        from .selections import Given

        self._inside.clear()
        if self.is_truth:
            self.watch.start(case.feeds)
        given = Given(places, kept)
        if lower is not None:
            mode = lower.mode(self.module, self.inside, draw or 0)
        else:
            mode = self._mode(rounding, watched=True) if draw is None else last_digits_mode(draw)
        outputs = self._run(case.feeds, case, mode, given)
        if given.met != set(places):
            raise ModuleRefused("the module made other choices than in the run before")
        return (outputs if lower is None else _in_types(outputs, case, lower.io)), given.scores

    def _run_noted(self, feeds: Feeds, case: Case, mode: Mode, *within: Mode) -> Outputs:
        """A run whose choices are kept in ``noted``."""
        from .selections import Choices

        noted = Choices()
        outputs = self._run(feeds, case, mode, *within, noted)
        self.noted = noted.take()
        return outputs

    def _run(self, feeds: Feeds, case: Case, mode: Mode, *within: Mode) -> Outputs:
        import torch

        from ..modules.kept_tensors import no_kept_tensors
        from ..modules.seen_operators import uncompiled

        tensors = {name: torch.from_numpy(value.copy()) for name, value in feeds.items()}
        wide = torch.float64 if self.is_double else torch.float32 if case.narrow else None
        tensors = {name: value.to(wide) if value.is_floating_point() else value for name, value in tensors.items()}
        self.watch.follow(tensors.values())
        mark_inputs(value for value in tensors.values() if value.is_floating_point())
        try:
            with (
                torch.no_grad(),
                torch.random.fork_rng(devices=[]),
                _plain_float32(),
                uncompiled(self._note_way),
                no_kept_tensors(self._cached),
                self.draws or nullcontext(),
                in_order_mode() if self.ranks and not self.is_truth else nullcontext(),
                mode,
                ExitStack() as inner,
            ):
                for one in within:
                    inner.enter_context(one)
                # what fork_rng puts back, and no more: manual_seed notes a stack trace for every kind of device
                torch.default_generator.manual_seed(self.seed)
                return self._call(tensors)
        except ModuleRefused:
            raise
        except Exception as error:
            is_moved = not (self.is_truth or isinstance(mode, nullcontext))
            raise _refusal(error, type(self.module).__name__, case, is_moved=is_moved) from error

    def _mode(self, rounding: Rounding, *, watched: bool) -> Mode:
        if self.is_truth and rounding == "own":
            seen, call = self.watch.see if watched else None, None if self.draws is None else self.draws.call
            mode: Mode = float64_mode(seen, call, widens=self.is_double, ranked=self._note_rank)
            return mode
        return _ROUNDING[rounding]()

    def _note_way(self, way: bool) -> None:
        if self.watch.reached is not None:
            self.watch.reached.way(line_of(frames()), way)

    def _note_rank(self) -> None:
        self.ranks = True

    def _call(self, tensors: dict[str, Any]) -> Outputs:
        import torch
        from torch.utils._pytree import tree_leaves

        given = self.module(*tensors.values())  # by position: names may be the graph's, and come in forward's order
        leaves = [leaf for leaf in tree_leaves(given) if isinstance(leaf, torch.Tensor)]
        names = self.output_names
        if not names:
            names = ("output",) if len(leaves) == 1 else tuple(f"output_{index}" for index in range(len(leaves)))
        if len(names) != len(leaves):
            number = f"{type(self.module).__name__} returns {len(leaves)} tensors"
            raise CannotRun(
                f"{number}, and the outputs of the graph are {', '.join(names)}; expected one for each; name the "
                "module that the graph was made of, or write all of its outputs",
                number,
            )
        return {name: leaf.detach().cpu().contiguous().numpy() for name, leaf in zip(names, leaves, strict=True)}


def _in_types(outputs: Outputs, case: Case, io: str) -> Outputs:
    """Return float32 outputs on the numbers of their types; what overflows is infinite, without a warning."""
    types = {name: case.narrow.get(name, io) for name, value in outputs.items() if value.dtype == FLOAT32}
    with np.errstate(over="ignore"):
        return {name: value.astype(types.get(name, value.dtype)).astype(value.dtype) for name, value in outputs.items()}


@contextmanager
def _plain_float32() -> Iterator[None]:
    """No TF32 and no bfloat16 inside float32 products, whatever the process has set."""
    import torch

    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _refusal(error: Exception, module: str, case: Case, *, is_moved: bool) -> ModuleRefused:
    """Return the error for what PyTorch, or the mode that watches it, raised in a run on a case; ``is_moved`` says that
    the run rounded otherwise than PyTorch."""
    line, reason = line_of_error(error), typed_line(error, 300)
    at = f" at {line}" if line else ""
    if isinstance(error, Overlap):
        return ModuleRefused(
            f"{module} copies a tensor onto a part of itself{at}: what PyTorch makes of that is left to chance; "
            "add .clone() to what is copied"
        )
    if isinstance(error, BatchStatistics):
        return ModuleRefused(
            f"{module} normalises by the statistics of its batch, and changes its running ones, in eval mode as "
            f"well{at}; pass training=self.training"
        )
    sizes = ", ".join(f"{name}={size}" for name, size in case.sizes.items()) or "the traced shape"
    if isinstance(error, NoSuchImage):
        return ModuleRefused(
            f"{module} takes a region of an image that its batch does not have{at} in case {case.name} ({sizes}): "
            "torchvision reads whatever lies there in memory; make the first column of the regions in the module, or "
            "give them a range, as boxes=5x5:float32[0,0.9]"
        )
    if is_moved:
        return CannotRun(
            f"{module} raises in case {case.name} ({sizes}) if its numbers are rounded otherwise than by PyTorch: "
            f"{reason}; let the module take numbers that are a rounding off, as by clamp",
            reason,
        )
    return CannotRun(
        f"PyTorch itself cannot run case {case.name} ({sizes}): {reason}; give a shape and ranges that the "
        "module takes",
        reason,
    )
