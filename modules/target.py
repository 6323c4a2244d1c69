"""The target of a deployment as plain data: the inputs, the axes that may vary, and how the module is built."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..core.hidden_folder import shortened
from ..core.preprocessing import Preprocessing
from ..core.tensor_spec import Axis, TensorSpec

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Target:
    """A module to deploy and everything that its export needs to know.

    Attributes:
        name: Its name, as the user wrote it.
        build: Returns the module in eval mode, in float32, on the CPU; every call returns an equal, separate one.
        inputs: Its inputs, with the names of the axes that vary.
        axes: The ranges of those axes.
        output_names: The names of its outputs; without any, they are taken from what the module returns.
        paper: The papers that it is from.
        source: The origin of its code.
        weights: The origin of the weights, in words.
        fingerprint: Identifies what ``build`` returns without calling it; None if only the built module tells, as of a
            user's own factory.
        preprocessing: The way from a photograph to the input, if the model's author says it.
        fallbacks: The same target with a fixed batch, to be tried in turn if it refuses a batch that nobody asked for.
        advice_on_sizes: Returns the words for what makes such a module for images of any size, "" if nothing is known.
        weight_notes: Once it is built, what was done with the weights when they were loaded.
        notes: Once it is built, what was set or left out so that the module can be exported.
    """

    name: str
    build: Callable[[], nn.Module]
    inputs: tuple[TensorSpec, ...]
    axes: Mapping[str, Axis] = field(default_factory=dict)
    output_names: tuple[str, ...] = ()
    paper: str = ""
    source: str = ""
    weights: str = ""
    fingerprint: str | None = None
    preprocessing: Preprocessing | None = None
    fallbacks: tuple[Target, ...] = ()
    advice_on_sizes: Callable[[], str] = field(default=lambda: "", compare=False)
    weight_notes: list[str] = field(default_factory=list, compare=False)
    notes: list[str] = field(default_factory=list, compare=False)

    def sizes(self, which: str = "opt") -> dict[str, int]:
        """The size of every dynamic axis at its ``min``, ``opt`` or ``max``."""
        return {name: int(getattr(axis, which)) for name, axis in self.axes.items()}

    @property
    def file_name(self) -> str:
        """The target's name with every character that a folder name should not hold replaced."""
        return file_name(self.name)


def file_name(target: str) -> str:
    """Return a target's name with every character replaced that a folder name should not hold.

    One that is longer than a file system allows is shortened.
    """
    name = re.sub(r"\.py(?=[:+@]|$)|^onnx:|\.(onnx|pt2)$", "", target)
    return shortened(re.sub(r"[^A-Za-z0-9_.+=,@-]+", "-", name).strip("-.")) or "model"
