"""Swin window attention: the positions of a window attend to each other, by likeness and by their place in it.

Liu et al., Swin Transformer, ICCV 2021, https://arxiv.org/abs/2103.14030, eq. 4: per head,
``softmax(q k^T / sqrt(d) + B) v`` within every window, ``B`` read from a table of relative positions; ``shifted``
windows (section 3.2) stand half a window further down and right, the image wrapped around, and positions that do not
belong together are masked by -100.
The attention is timm's ``WindowAttention``, whose parameter names are the authors' release's. Networks have windows of
7 and heads of 32 channels, and shift in every second block. It stands in for a transformer's self-attention, between a
layer normalisation and the addition.
An image that is no multiple of the window is padded by zeros at the bottom and right, as the paper's footnote and the
authors' detection code have it: any height and width, all of them dynamic. Their classification code takes multiples
alone, which need no padding, and shrinks the window to a smaller image; here such an image is one padded window.
"""

from __future__ import annotations

import torch
from timm.models.swin_transformer import WindowAttention
from torch import Tensor
from torch.nn import functional

from ...errors import InputError

MASKED = -100.0  # as the release has it, in place of minus infinity


class Swin(WindowAttention):
    """Attention in windows of ``window`` x ``window``; without ``heads``, of 32 channels or a few more.

    Raises InputError if the heads do not divide the channels, or the window is below 2.
    """

    def __init__(
        self,
        channels: int,
        *,
        window: int = 7,
        shifted: bool = False,
        heads: int | None = None,
        qkv_bias: bool = True,
    ) -> None:
        if heads is None:
            heads = next((count for count in range(channels // 32, 0, -1) if channels % count == 0), 1)
        if heads < 1 or channels % heads:
            raise InputError(
                f"received swin with heads {heads} on {channels} channels; expected a divisor; "
                "choose another number of heads"
            )
        if window < 2:
            raise InputError(f"received swin with window {window}; expected 2 or more; choose 7")
        super().__init__(channels, heads, window_size=window, qkv_bias=qkv_bias)
        self.window, self.shift = window, window // 2 if shifted else 0

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """``(n, c, h, w)`` to ``(n, c, h, w)``."""
        height, width = x.shape[2:]
        below, beside = _missing(height, self.window), _missing(width, self.window)
        image = functional.pad(x, (0, beside, 0, below)).permute(0, 2, 3, 1)  # (n, h', w', c)
        mask = None
        if self.shift:
            image = torch.roll(image, (-self.shift, -self.shift), (1, 2))
            mask = self._mask(height + below, width + beside, x)
        windows = self._cut(image)  # (n, rows, columns, window, window, c)
        attended = super().forward(windows.flatten(0, 2).flatten(1, 2), mask)  # (n·rows·columns, window², c)
        joined = attended.reshape(windows.shape).transpose(2, 3).flatten(3, 4).flatten(1, 2)  # (n, h', w', c)
        if self.shift:
            joined = torch.roll(joined, (self.shift, self.shift), (1, 2))
        return joined[:, :height, :width].permute(0, 3, 1, 2)

    def _cut(self, image: Tensor) -> Tensor:
        """``(n, h, w, c)`` to ``(n, rows, columns, window, window, c)``."""
        return torch.unflatten(torch.unflatten(image, 2, (-1, self.window)), 1, (-1, self.window)).transpose(2, 3)

    def _mask(self, height: int, width: int, like: Tensor) -> Tensor:
        """``(rows·columns, window², window²)``: -100 between positions that the wrapped image only seems to join."""
        side = [self._part(size, like) for size in (height, width)]
        part = 3 * side[0][:, None] + side[1]  # (h', w')
        windows = self._cut(part[None, :, :, None]).flatten(0, 2).flatten(1)  # (rows·columns, window²)
        return torch.where(windows[:, :, None] == windows[:, None], 0.0, MASKED).to(like.dtype)

    def _part(self, size: int, like: Tensor) -> Tensor:
        """Return for each row 0, but 1 in the last window as far as it was there before the shift, 2 from there on."""
        row = torch.arange(size, device=like.device)
        return (row >= size - self.window).long() + (row >= size - self.shift).long()


def _missing(size: int, window: int) -> int:
    """Return how much ``size`` lacks of a multiple of the window."""
    return (size + window - 1) // window * window - size
