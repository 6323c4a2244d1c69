"""Tell whether the user's module, built and traced again, is the one that a bundle was made of.

The source of its classes does not hold all that it computes: helper functions, plain attributes and files that a
factory reads do as well. All of that is in the traced program, its weights and its constants, and in what it computes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..core.bundle import Bundle
from ..errors import ModuleRefused
from .eager import Eager
from .recorded import from_tensors
from .repeats.repeats import distance

if TYPE_CHECKING:
    from torch import nn

# Two runs of one float32 program in two processes: the memory that they get may decide a kernel.
SAME = 1e-5


def is_same(bundle: Bundle, program: str, module: nn.Module, *, seed: int) -> bool:
    """Return True if ``module``, whose traced program has the digest ``program``, is what ``bundle`` was made of.

    The program must be the same, and the module must give what was recorded of the first case.
    """
    if bundle.manifest.get("program") != program:
        return False
    recorded = from_tensors(bundle.reference_path, bundle.manifest["cases"][:1])
    for case, reference in recorded:
        names = list(reference.outputs32)
        eager = Eager(module, names, seed, is_double=False)
        eager.ranks = True  # as in the run that was recorded, if that ranked anything
        try:
            outputs = eager.run(case.feeds, case)
        except ModuleRefused:
            return False
        return distance(reference.outputs32, outputs) <= SAME
    return False
