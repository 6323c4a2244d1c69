"""Other ways to write what a graph computes, exact in real arithmetic, one file each.

Which of them is faster depends on the runtime, its kernels and the machine; a ``Form`` only says where it applies.
"""

from __future__ import annotations

from .few_outputs import FewOutputs
from .form import Form, GraphForm, apply, apply_whole, kinds
from .minimal_filtering import MinimalFiltering
from .narrow_convolutions import DepthwiseSum, WiderGroups
from .one_image import OneImage
from .pixel_linear import PixelLinear
from .pooled_mean import PooledMapByMap, PooledMean
from .row_column_gates import EnlargedGates, OuterProduct
from .split_reduction import SplitReduction

FORMS: tuple[Form, ...] = (
    SplitReduction(),
    PooledMean(),
    PooledMapByMap(),
    OuterProduct(),
    EnlargedGates(),
    FewOutputs(),
    PixelLinear(),
    DepthwiseSum(),
    WiderGroups(8),
    WiderGroups(16),
    MinimalFiltering(whole=False),
    MinimalFiltering(whole=True),
)
# after these no other form sees into the graph
BATCH_FORMS: tuple[GraphForm, ...] = (OneImage(own_weights=False), OneImage(own_weights=True))

__all__ = ["BATCH_FORMS", "FORMS", "Form", "GraphForm", "apply", "apply_whole", "kinds"]
