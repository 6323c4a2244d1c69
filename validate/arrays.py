"""The arrays of the judge, by what they hold."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Float64 = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Arrays = dict[str, Array]
