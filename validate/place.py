"""The place that a failed stage names, and the error at each module's boundary on the way there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

STATUSES = ("right", "wrong", "unknown", "measured")


@dataclass(frozen=True)
class Boundary:
    """A tensor that enters or leaves a module, compared with PyTorch.

    Attributes:
        module: The module's path; empty for the model itself.
        kind: ``enter`` or ``leave``.
        ratio: The error of the value that comes closest, in PyTorch's own roundings; infinite if none does.
        status: ``right``, ``wrong``, ``unknown`` if the graph has no value that the tensor may be, or ``measured`` if
            nobody judged it.
    """

    module: str
    kind: str
    ratio: float
    status: str

    def to_text(self) -> str:
        """Return it as one line of text, since each entry of an object would be a line of the file."""
        return f"{self.kind} {self.status} {self.ratio:.3g} {self.module}"

    @classmethod
    def from_text(cls, line: Any) -> Boundary:
        """Read what ``to_text`` wrote. Raises ValueError for anything else."""
        kind, status, ratio, module = str(line).split(" ", 3)
        if kind not in ("enter", "leave") or status not in STATUSES:
            raise ValueError(f"boundary {line!r}")
        return cls(module, kind, float(ratio), status)


@dataclass(frozen=True)
class Place:
    """The module and the node that a verdict names.

    Attributes:
        module: The module's path; empty for the model itself.
        class_name: The module's class; empty if the verdict was reached without PyTorch.
        source: The file and line of the class's ``forward``, as ``net.py:12``; empty if Python does not know.
        node: The name of the ONNX node, if one is named.
        op_type: The node's operator.
        boundaries: Every boundary that was compared, in the order in which PyTorch came by it.
    """

    module: str
    class_name: str = ""
    source: str = ""
    node: str = ""
    op_type: str = ""
    boundaries: tuple[Boundary, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return every field by name, as plain data."""
        return {**asdict(self), "boundaries": [boundary.to_text() for boundary in self.boundaries]}

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> Place:
        """Read what ``to_json`` wrote. Raises ValueError, KeyError or TypeError for anything else."""
        names = ("module", "class_name", "source", "node", "op_type")
        texts = {name: str(entry[name]) for name in names}
        return cls(**texts, boundaries=tuple(map(Boundary.from_text, entry["boundaries"])))
