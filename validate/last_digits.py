"""The last digits of a kernel's result, drawn anew: another kernel would have rounded to another neighbour.

One run of a model is one draw of its rounding errors, and may be a lucky one. The idea is that of Monte Carlo
arithmetic (Parker, 1997): move results in their last place at random and see what the output makes of it.
IEEE 754 fixes what sums of two numbers, products, quotients and roots are, so those are left as they are, and with
them every index and grid that a model computes from sizes.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from .operator_mode import operator_mode

# Two results in three move by the distance of 1 from the next number, up or down. A sum of many terms is off by as much
# anyway, and where two scores of a softmax nearly tie it takes that last digit to show what it decides: moving one in
# eight left the floor of a channel attention at a twelfth of what every other order of its sums loses. Half precision
# rounds each result as well, and its limits were measured with one in eight.
EPSILON = 2.0**-23
OFTEN = (-1, 0, 1)
SELDOM = (-1, *[0] * 14, 1)
TABLE = 1 << 20
SEED = 20
# The values of these functions: what needs a probability would not take a moved sigmoid above 1.
RANGES = {
    **dict.fromkeys(("sigmoid", "sigmoid_", "hardsigmoid", "hardsigmoid_", "_softmax"), (0.0, 1.0)),
    **dict.fromkeys(("tanh", "tanh_", "erf", "erf_", "sin", "cos"), (-1.0, 1.0)),
}
# Operators that add up many terms or approximate a function: every runtime has its own last digits there.
OWN_DIGITS = (
    *("convolution", "addmm", "mm", "bmm", "baddbmm", "linear", "matmul", "mean", "sum", "var", "var_mean", "std"),
    *("native_batch_norm", "_native_batch_norm_legit_no_training", "native_layer_norm", "native_group_norm"),
    *("_native_batch_norm_legit", "_softmax", "_log_softmax", "linalg_vector_norm", "norm", "logsumexp", "nansum"),
    *("std_mean", "dot", "mv", "addmv"),
    *("avg_pool2d", "avg_pool1d", "avg_pool3d", "_adaptive_avg_pool2d", "_adaptive_avg_pool3d", "prod", "cumsum"),
    *("sigmoid", "sigmoid_", "tanh", "tanh_", "exp", "exp_", "log", "log_", "pow", "silu", "silu_", "gelu", "elu"),
    *("elu_", "softplus", "mish", "mish_", "hardswish", "hardswish_", "hardsigmoid", "hardsigmoid_", "erf", "erf_"),
    *("sin", "cos", "rsqrt", "rsqrt_", "log1p", "expm1", "upsample_bilinear2d", "upsample_bicubic2d"),
    *("_scaled_dot_product_flash_attention_for_cpu", "_scaled_dot_product_attention_math"),
)


def last_digits_mode(draw: int = 1) -> Any:
    """A mode in which a float32 run has PyTorch's kernels and other last digits, others for each ``draw``."""
    digits = LastDigits(draw)
    return operator_mode(lambda func, args, kwargs: digits.move(func, func(*args, **kwargs)))


class LastDigits:
    """Moves some float32 results in their last place; the same ``draw`` moves the same ones.

    ``epsilon`` is how far: the distance of 1 from the next number of the precision. ``steps`` are what is drawn from.
    """

    def __init__(self, draw: int, epsilon: float = EPSILON, steps: Sequence[int] = OFTEN) -> None:
        self._factors = _factors(draw, epsilon, tuple(steps))
        self._at = 0
        self._operators = frozenset(OWN_DIGITS)

    def move(self, func: Any, result: Any) -> Any:
        """``result`` of the operator ``func``, changed in place where its last digits are a kernel's own."""
        import torch

        name = func.overloadpacket.__name__
        if name not in self._operators:
            return result
        # normalisations return statistics behind what they normalised
        first = result[0] if isinstance(result, (tuple, list)) else result
        if isinstance(first, torch.Tensor) and first.dtype == torch.float32 and first.numel() and not _is_whole(first):
            self._scale(first)
            if name in RANGES:
                first.clamp_(*RANGES[name])
        return result

    def _scale(self, x: Any) -> None:
        flat = x.reshape(-1)
        for start in range(0, flat.numel(), TABLE):
            part = flat[start : start + TABLE]
            self._at = self._at if self._at + part.numel() <= TABLE else 0
            part *= self._factors[self._at : self._at + part.numel()]
            self._at += part.numel()
        if flat.data_ptr() != x.data_ptr():  # reshaping copied what lies scattered in memory
            x.copy_(flat.view(x.shape))


@lru_cache(maxsize=8)  # every case of a model draws the same
def _factors(draw: int, epsilon: float, steps: tuple[int, ...]) -> Any:
    """Return what results are multiplied by, in turn: a tensor of ``TABLE`` float32 numbers, never changed."""
    import torch

    drawn = np.random.default_rng([SEED, draw]).choice(np.array(steps, np.float32), TABLE)
    return torch.from_numpy(1 + drawn * np.float32(epsilon))


def _is_whole(x: Any) -> bool:
    """Return True if every value is a whole number, as counts are, which any kernel gets exactly."""
    import torch

    few = x.reshape(-1)[:64]
    return bool(torch.equal(few, few.round()) and torch.equal(x, x.round()))
