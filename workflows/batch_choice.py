"""The batch of a bundle if the caller named none: any from 1 to 8, or a fixed one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..core.bundle import Bundle
from ..core.graph import OnnxGraph
from ..core.progress import StageTimes
from ..errors import InputError, ModuleRefused, SizesRefused
from ..modules.target import Target
from .float32_graph import trace

if TYPE_CHECKING:
    from torch import nn


class BatchChoice:
    """The default batch of a target, given up for a fixed one if the module refuses it.

    The module refuses it in a forward pass at a batch of one, or in tracing; nothing slower has run by then. An error
    of the last of the target's fallbacks is raised: it is about the sizes that were asked for.

    Attributes:
        target: The target at the batch that is tried now.
        module: The built module; None until it is needed.
        is_default: True if the caller did not choose the batch.
    """

    def __init__(self, target: Target) -> None:
        self.target = target
        self.module: nn.Module | None = None
        self.is_default = bool(target.fallbacks)
        self._left = list(target.fallbacks)
        self._refused = ""
        if target.fingerprint is None:  # the built module is part of the bundle's key
            self.build()

    @property
    def finding(self) -> str:
        """The batch that was chosen and why, for people; "" if the caller chose it."""
        if not self.is_default:
            return ""
        batch = self.target.axes.get("batch") or self.target.inputs[0].shape[0]
        return f"fixed at {batch}: {self._refused}" if self._refused else f"{batch} by default"

    def target_of(self, bundle: Bundle) -> Target:
        """Return the target, of those to be tried, that has the inputs of the bundle."""
        targets = (self.target, *self._left)
        same = (one for one in targets if [spec.to_json() for spec in one.inputs] == bundle.manifest["inputs"])
        return next(same, self.target)

    def build(self) -> nn.Module:
        """Return the module, built once, at sizes that it takes."""
        while self.module is None:
            try:
                self.module = self.target.build()
            except SizesRefused as error:
                self._give_up(error)
        return self.module

    def trace(self, folder: Path, opset: int, times: StageTimes) -> OnnxGraph:
        """Return the graph as exported; ``target`` and ``module`` are then what it was made of."""
        module = self.build()
        while True:
            try:
                graph = trace(self.target, module, folder, opset, times, self.finding and f", batch {self.finding}")
                if self._left and not self._refused and graph.axes["batch"] != self.target.axes["batch"]:
                    raise ModuleRefused(f"{self.target.name} holds for batch {graph.axes['batch']} alone")
            except InputError as error:
                self._give_up(error)
            else:
                return graph

    def _give_up(self, error: InputError) -> None:
        if not self._left:
            raise error
        # the advice behind it is about an axis that was not asked for
        self._refused = self._refused or str(error).partition("; ")[0]
        self.target = self._left.pop(0)
