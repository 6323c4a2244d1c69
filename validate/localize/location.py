"""The place of an error: a module of PyTorch, a node of the graph, and what is certain about them."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from ...modules.source_lines import class_and_line
from ..boundaries import Node
from ..place import Boundary, Place

if TYPE_CHECKING:
    from torch import nn


_SMALL = "exp(x) - 1 loses the digits of a small x: write it as torch.where(x > 0, x, torch.expm1(x))"
# The reason why runtimes may lose much in an operator of ONNX, and what to do about it.
LOSSES = dict.fromkeys(("Elu", "Celu", "Selu"), _SMALL)


@dataclass(frozen=True)
class Location:
    """The place at which a graph leaves PyTorch.

    Attributes:
        module: The path of the module.
        class_name: Its class.
        source: The file and line of the class's ``forward``.
        node: The name of the node.
        op_type: Its operator.
        ratio: The error in floors; infinite if nothing could be computed.
        proven: The module alone, fed PyTorch's own tensors, shows the error as well; if PyTorch has no such module, the
            nodes behind the boundary do.
        detail: What is certain, in a sentence.
        boundaries: Those that were compared on the way there.
    """

    module: str
    class_name: str
    source: str
    node: str
    op_type: str
    ratio: float
    proven: bool
    detail: str
    boundaries: tuple[Boundary, ...] = ()

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
        said = (f"first wrong in {self.module or 'the model itself'}{kind}{node}", self.detail)
        return "; ".join([*said, *filter(None, [LOSSES.get(self.op_type)])])

    def to_json(self) -> dict[str, Any]:
        """Plain data without the boundaries; a ratio that JSON has no word for is a string."""
        plain = asdict(replace(self, boundaries=())) | {
            "ratio": self.ratio if math.isfinite(self.ratio) else str(self.ratio)
        }
        del plain["boundaries"]
        return plain

    @property
    def place(self) -> Place:
        """Return the entries that the verdict keeps of it."""
        return Place(self.module, self.class_name, self.source, self.node, self.op_type, self.boundaries)
