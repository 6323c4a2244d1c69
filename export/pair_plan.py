"""The plan of a graph with 8 bits between its products: it is written by it and, by other means, checked by it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..core.precision import Precision

if TYPE_CHECKING:
    from .passes.pairs import Reader
    from .passes.quantize_policy import Quantized


@dataclass(frozen=True)
class PairPlan:
    """The places of 8 bits and of half precision in a float32 graph.

    Attributes:
        products: The products that are quantised.
        readers: The inputs that read 8 bits of each tensor.
        ranges: The largest magnitude of each of these tensors.
        half: The names of the nodes that are to compute in half precision, the products among them.
        form: The 8-bit format and the precision of the rest.
    """

    products: tuple[Quantized, ...]
    readers: Mapping[str, tuple[Reader, ...]]
    ranges: Mapping[str, float]
    half: frozenset[str]
    form: Precision

    @property
    def scales(self) -> dict[str, float]:
        """The scale of each tensor."""
        from .passes.quantize import scale

        return {name: float(scale(self.ranges[name], self.form)) for name in self.readers}
