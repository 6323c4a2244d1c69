"""ONNX files as other tools write them: each ``Foreign`` writes one and says how it has to be checked.

Networks have random weights, seed 0. benchmarks/foreign.py checks them all.
"""

from __future__ import annotations

from other_tools.by_hand import by_hand
from other_tools.foreign_file import Foreign
from other_tools.libraries import by_optimum, by_ultralytics, shipped
from other_tools.rewriters import rewritten
from other_tools.torch_layers import layers
from other_tools.torch_networks import networks

__all__ = ["Foreign", "files"]


def files() -> list[Foreign]:
    """Return every file, in the order of the page."""
    return [*networks(), *layers(), *rewritten(), *by_ultralytics(), *by_optimum(), *by_hand(), *shipped()]
