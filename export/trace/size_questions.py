"""The questions that a module asks of its sizes in a run without data: guards, texts of sizes, errors that it catches.

They are noted alike when a program is traced (tracing.py) and when a module is followed at other sizes (following.py).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from torch import nn

from ...core.dimension import names_in
from ...core.tensor_spec import TensorSpec
from .cached_functions import caches_take_sizes
from .caught_errors import CaughtErrors
from .fewer_questions import fewer_questions
from .guards import Guard, TraceGuards
from .known_values import KnownValues
from .rewrites import SizeIndependentCalls
from .size_numbers import sizes_stay_numbers
from .size_texts import SizeTexts


class SizeQuestions:
    """Notes what one run of ``module`` asks; ``guards`` are those of its branches and operators.

    Args:
        module: The module that runs.
        inputs: Its inputs.
        largest: The largest sizes of the axes, for which a graph is made.
    """

    def __init__(
        self, module: nn.Module, inputs: Sequence[TensorSpec], largest: Mapping[str, int] | None = None
    ) -> None:
        self._module = module
        self.guards = TraceGuards(module, inputs, largest)
        self._axes = {name for spec in inputs for dim in spec.shape for name in names_in(dim)}
        self._texts, self._errors = SizeTexts(), CaughtErrors(module)

    @contextlib.contextmanager
    def noted(self, *modes: contextlib.AbstractContextManager[Any], keep_numbers: bool) -> Iterator[None]:
        """Note a run, inside of further ``modes``; with ``keep_numbers`` its Python takes traced sizes for numbers."""
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.guards)
            stack.enter_context(self._texts)
            stack.enter_context(fewer_questions(self._axes))
            stack.enter_context(SizeIndependentCalls())
            stack.enter_context(KnownValues(self._module))
            stack.enter_context(caches_take_sizes(self._module))
            if keep_numbers:
                stack.enter_context(sizes_stay_numbers(self._module))
            for mode in modes:
                stack.enter_context(mode)
            stack.enter_context(self._errors)
            yield

    def asked(self, sizes: Mapping[str, int], run: Callable[[], object]) -> list[Guard]:
        """Return all that was asked in a run at ``sizes``, as guards; ``run`` runs the module on data at them."""
        names = self.guards.names
        return [*self.guards.guards(), *self._texts.guards(names, sizes), *self._errors.guards(names, sizes, run)]
