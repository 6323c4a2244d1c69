"""Small modules, each rebuilt from public reports of what exporters did with it; ``SITUATIONS`` lists them.

benchmarks/field.py deploys them all. They are written for this repository: a report gives the idea, no code.
"""

from __future__ import annotations

from situations import inputs, lower_precisions, operators, outputs, references, refused, sizes
from situations.situation import SITUATIONS, Deploy, Situation

__all__ = [
    "SITUATIONS",
    "Deploy",
    "Situation",
    "inputs",
    "lower_precisions",
    "operators",
    "outputs",
    "references",
    "refused",
    "sizes",
]
