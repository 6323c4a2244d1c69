"""flex_attention exports as what PyTorch computes without a compiler, at any size."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from sized import check_right, exported
from torch import Tensor, nn
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

from attn2trt.export.trace.rewrites import flexible
from attn2trt.export.trace.rewrites.calls import bound

OPERATOR = torch.ops.higher_order.flex_attention


def near(_batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
    """Return True for keys that a query may see: none for the first."""
    return ((query - key).abs() <= 3 + head) & (query > 0)


class Pixels(nn.Module):
    """Attention over pixels: capped scores, a bias by a table and what the image adds, within ``near``."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.query, self.both = nn.Linear(8, 8), nn.Linear(8, 8)
        self.table = nn.Parameter(torch.randn(4, 9))
        self.attend = torch.compile(flex_attention)

    def forward(self, x: Tensor) -> Tensor:
        width = x.shape[3]
        tokens = x.flatten(2).mT
        query = self.query(tokens).unflatten(-1, (4, 2)).transpose(1, 2)
        key, value = self.both(tokens).unflatten(-1, (2, 2, 2)).permute(2, 0, 3, 1, 4).unbind(0)
        loud = tokens.mean(-1)

        def changed(score: Tensor, batch: Tensor, head: Tensor, at: Tensor, to: Tensor) -> Tensor:
            columns = (at % width - to % width).abs()
            return 4 * torch.tanh(score / 4) + self.table[head, columns] + loud[batch, to]

        mask = create_block_mask(near, None, None, tokens.shape[1], tokens.shape[1], device="cpu")
        found: Any = self.attend(query, key, value, score_mod=changed, block_mask=mask, enable_gqa=True)
        return found.transpose(1, 2).flatten(2).mT.unflatten(2, (-1, width))


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_an_attention_is_right_at_sizes_that_were_not_traced(tmp_path: Path) -> None:
    target, graph = exported(Pixels(), tmp_path, "batch=1:2:3,width=3:5:9", (2, 8, 4, 5))
    for sizes in ({"batch": 1, "width": 3}, {"batch": 3, "width": 9}):
        check_right(target, graph, sizes)


@pytest.mark.parametrize("sizes", [(2, 2, 7, 7), (4, 2, 5, 9), (4, 1, 6, 3)])
def test_its_results_are_those_of_pytorch_s_kernel(sizes: tuple[int, int, int, int]) -> None:
    heads, groups, queries, keys = sizes
    generator = torch.Generator().manual_seed(1)
    query = torch.randn(2, heads, queries, 3, generator=generator, dtype=torch.float64)
    key, value = torch.randn(2, 2, groups, keys, 3, generator=generator, dtype=torch.float64)
    mask = create_block_mask(near, None, None, queries, keys, device="cpu")
    given = (query, key, value, lambda score, *_: score, mask.as_tuple(), 1 / math.sqrt(3), {})
    names, rewrite = flexible.REWRITES[OPERATOR]
    found = rewrite(bound(names, given, {}))
    wanted = OPERATOR.py_kernels[torch._C.DispatchKey.CompositeExplicitAutograd](*given)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)
    assert not found[0][:, :, 0].any()
