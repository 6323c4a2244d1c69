"""The place of an error: a module of PyTorch, a node of the graph, and what is certain about them."""

from __future__ import annotations

import inspect
import math
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..boundaries import Node

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Location:
    """The place at which a graph leaves PyTorch. ``ratio`` is in floors; infinite if nothing could be computed.

    ``source`` is the file and line of the class's ``forward``. ``proven`` tells that the module alone (or the nodes
    behind the boundary, if PyTorch has no such module), fed PyTorch's own tensors, shows the error as well.
    ``detail`` says in a sentence what is certain.
    """

    module: str
    class_name: str
    source: str
    node: str
    op_type: str
    ratio: float
    proven: bool
    detail: str

    @classmethod
    def of(
        cls, path: str, module: nn.Module | None, node: Node | None, ratio: float, detail: str, *, proven: bool = False
    ) -> Location:
        """The location of ``module`` at ``path``, either of them as far as it is known, and of ``node``."""
        class_name, source = class_and_line(module) if module is not None else ("", "")
        name, op_type = (node.name, node.op_type) if node is not None else ("", "")
        return cls(path, class_name, source, name, op_type, ratio, proven, detail)

    def __str__(self) -> str:
        place = f" at {self.source}" if self.source else ""
        kind = f" ({self.class_name}{place})" if self.class_name else ""
        node = f", ONNX node {self.node} ({self.op_type})" if self.node else ""
        return f"first wrong in {self.module or 'the model itself'}{kind}{node}; {self.detail}"

    def to_json(self) -> dict[str, Any]:
        """Plain data; a ratio that JSON has no word for is a string."""
        return asdict(self) | {"ratio": self.ratio if math.isfinite(self.ratio) else str(self.ratio)}


def class_and_line(module: nn.Module) -> tuple[str, str]:
    """Return the class's name, and the file and line of its ``forward`` ("" if Python does not know)."""
    kind = type(module)
    try:
        file = inspect.getsourcefile(kind.forward)
        line = inspect.getsourcelines(kind.forward)[1]
    except (TypeError, OSError):
        return kind.__qualname__, ""
    if file is None:
        return kind.__qualname__, ""
    shorter = os.path.relpath(file)
    return kind.__qualname__, f"{file if shorter.startswith(os.pardir) else Path(shorter)}:{line}"
