"""The values of a graph in one case, in the runtime that gave a wrong output."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..arrays import Array, Arrays
from ..boundaries import GraphView, Node, Opener
from .truth import Truth
from .watching import watch


@dataclass(frozen=True)
class Raised:
    """A node that does not run, and the runtime's message."""

    node: Node
    message: str


class Observed:
    """A graph on the case of ``truth``. ``hiding`` are the values that make the error vanish when they are shown.

    If the graph does not run, ``raised`` is the node that stopped it, and ``view`` keeps what runs before it.
    """

    def __init__(self, view: GraphView, opener: Opener, truth: Truth) -> None:
        self.view, self.opener, self.feeds = view, opener, truth.feeds
        self.hiding: set[str] = set()
        self.raised: Raised | None = None
        self._truth = truth

    @property
    def named_outputs(self) -> tuple[str, ...]:
        """Return the outputs that stand for PyTorch's by their place; none if they are only what was read last."""
        return self.view.outputs if self.raised is None else ()

    def is_wrong(self) -> bool:
        """Return True if the outputs leave PyTorch's, or a node that is known does not run."""
        try:
            outputs = self.run(())
        except Exception as error:  # of any runtime's own kind
            self.raised = _cut_before_failure(self.view, str(error))
            return self.raised is not None
        return self._leaves_pytorch(outputs)

    def run(self, names: Collection[str]) -> Arrays:
        """One run with the values of ``names`` shown beside the outputs."""
        return self.view.values_at(self.opener, self.feeds, names)

    def is_right_in(self, path: Path) -> bool:
        """Return True if the outputs of another graph file are PyTorch's; the file is removed."""
        try:
            with self.opener(path) as session:
                return not self._leaves_pytorch(session.run(self.feeds))
        except Exception:  # of any runtime's own kind
            return False
        finally:
            path.unlink()

    def values(self, names: Collection[str]) -> Arrays:
        """The values of ``names`` in runs that are wrong; those that hide the error are left out."""
        made = sorted(name for name in names if name not in self.feeds)
        found, hiding = watch(made, self.run, lambda outputs: self.raised is not None or self._leaves_pytorch(outputs))
        self.hiding |= hiding
        return found | {name: self.feeds[name] for name in names if name in self.feeds}

    def _leaves_pytorch(self, outputs: Mapping[str, Array]) -> bool:
        pairs = zip(self.view.outputs, self._truth.outputs, strict=False)
        return any(not self._truth.compare(outputs[name], *expected).passed for name, expected in pairs)


def _cut_before_failure(view: GraphView, message: str) -> Raised | None:
    """Keep of the graph what runs before the node that ONNX Runtime's message names; None if it names none."""
    name = re.search(r"Name:'([^']*)'", message)
    node = next((node for node in view.nodes if name is not None and node.name == name[1]), None)
    if node is None:
        return None
    view.shorten(node)
    return Raised(node, " ".join(message.split())[:200])
