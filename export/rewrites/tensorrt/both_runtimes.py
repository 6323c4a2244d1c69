"""Rewrites that pay off on the CPU and may on the GPU too: their home is the folder above.

Linear layers on pixels as convolutions need no transposed copy of a map. The product of two gates before the map makes
one elementwise kernel of two. Merged groups fill the units that multiply matrices, which narrow groups cannot use.
"""

from __future__ import annotations

from ..few_outputs import FewOutputs
from ..narrow_convolutions import BLOCKS, WiderGroups
from ..pixel_linear import PixelLinear
from ..row_column_gates import OuterProduct

TURN = 5
REWRITES = (PixelLinear(), OuterProduct(), WiderGroups(max(BLOCKS)), FewOutputs())
