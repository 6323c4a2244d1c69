"""The options of a graph below float32 beside its precision, which every writer of such a graph takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..core.graph_io import FLOAT32


@dataclass(frozen=True)
class Overrides:
    """Nodes, by name, that are not in the precision that the policy gives them.

    Attributes:
        allowed: Nodes that are lowered although they need float32's range.
        kept: Nodes that stay in float32, each with the reason.
        without_8_bits: Nodes that read none, although the policy hands them some.
    """

    allowed: frozenset[str] = frozenset()
    kept: Mapping[str, str] = field(default_factory=dict)
    without_8_bits: frozenset[str] = frozenset()

    def why_kept(self, other: Callable[[str], str]) -> Callable[[str], str]:
        """Return what says why a node stays in float32: the reason here, or else that of ``other``."""
        return lambda node: self.kept.get(node, "") or other(node)

    def why_not_in_8_bits(self, other: Callable[[str], str]) -> Callable[[str], str]:
        """Return what says why a node reads no 8 bits: it is so by choice, or else the reason of ``other``."""
        return lambda node: "without 8 bits by choice" if node in self.without_8_bits else other(node)


@dataclass(frozen=True)
class PrecisionOptions:
    """The options of a graph below float32. By default it is as the policy of its precision has it.

    Attributes:
        keep: Globs over PyTorch module paths; what they match stays in float32, with everything inside.
        io: The type of the inputs and outputs that the source has in float32: float32, or that of a half precision.
        overrides: The nodes that are not as the policy has them.
        file: The name of the file; "" for that of the precision.
    """

    keep: Sequence[str] = ()
    io: str = FLOAT32
    overrides: Overrides = Overrides()
    file: str = ""

    def path(self, folder: Path, precision: str) -> Path:
        """Return the path of the graph in a folder."""
        return folder / (self.file or file_name(precision))


DEFAULTS = PrecisionOptions()


def file_name(precision: str) -> str:
    """Return the name of a graph below float32 in a bundle."""
    return f"model.{precision}.onnx"
