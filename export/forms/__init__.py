"""Other ways to write what a graph computes, exact in real arithmetic, one file each.

Which of them is faster depends on the runtime, its kernels and the machine; a ``Form`` only says where it applies.
"""

from __future__ import annotations

from .few_outputs import FewOutputs
from .form import Form, apply, kinds
from .minimal_filtering import MinimalFiltering
from .narrow_convolutions import DepthwiseSum, WiderGroups
from .one_image import OneImage
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
    OneImage(),  # last: after it no form sees into the graph
)


def forms_for(batch: int) -> tuple[Form, ...]:
    """The forms that can be faster for so many images."""
    return FORMS if batch > 1 else tuple(form for form in FORMS if not isinstance(form, OneImage))


__all__ = ["FORMS", "Form", "apply", "forms_for", "kinds"]
