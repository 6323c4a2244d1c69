"""The confidence interval of a share that was counted.

Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", JASA 22 (1927).
"""

from __future__ import annotations

import math
from statistics import NormalDist

CONFIDENCE = 0.95


def wilson(count: int, total: int) -> tuple[float, float]:
    """Return the score interval of ``count`` of ``total``; (0, 1) if nothing was counted."""
    if total == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    share, spread = count / total, z * z / total
    centre = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(share * (1 - share) / total + spread / (4 * total))
    # rounding would leave 1e-18 for none, and 1 - 1e-16 for all
    return 0.0 if count == 0 else max(0.0, centre - half), 1.0 if count == total else min(1.0, centre + half)
