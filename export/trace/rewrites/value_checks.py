"""Checks of tensors' values, as passed, since no graph can raise: ``torch._check_tensor_all``, torch.distributions.

torch.onnx has no form of them. They are made where the module runs eagerly: before each trace, and for each reference.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .calls import Arguments


class _Passed:
    """A check that has passed: true itself and by ``item``."""

    def item(self) -> bool:
        return True


def _is_all_true(_call: Arguments) -> Any:
    return _Passed()


REWRITES: dict[Any, Any] = dict.fromkeys((Tensor._is_all_true, torch._is_all_true), (("input",), _is_all_true))
