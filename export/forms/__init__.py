"""Other ways to write what a graph computes, exact in real arithmetic, one file each.

Which of them is faster depends on the runtime, its kernels and the machine; a ``Form`` only says where it applies.
"""

from __future__ import annotations

from .few_outputs import FewOutputs
from .form import Form, apply, kinds
from .minimal_filtering import MinimalFiltering
from .narrow_convolutions import DepthwiseSum, WiderGroups
from .outer_product import OuterProduct
from .pixel_linear import PixelLinear
from .pooled_mean import PooledMean
from .split_reduction import SplitReduction

FORMS: tuple[Form, ...] = (
    SplitReduction(),
    PooledMean(),
    OuterProduct(),
    FewOutputs(),
    PixelLinear(),
    DepthwiseSum(),
    WiderGroups(),
    MinimalFiltering(whole=False),
    MinimalFiltering(whole=True),
)

__all__ = ["FORMS", "Form", "apply", "kinds"]
