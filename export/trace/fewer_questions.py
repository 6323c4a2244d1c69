"""Views and convolutions in a run without data, with fewer questions than torch asks of their sizes.

torch's counterpart of a view in Python goes dimension by dimension, and asks at each how the sizes divide each other.
It writes the sizes of the result as those divisions, which grow with each view of a view: where windows are cut out of
padded maps, sympy simplifies them for minutes. A contiguous tensor has a view of every shape with as many elements.

The kernel of a convolution is chosen by its sizes, from a batch of 16 or 20480 elements of one image on. Each answer is
a branch to follow (paths.py), and the graph is the same.

torch keeps the sizes of each result, in case the same operator comes again. It writes, hashes and checks them, which
costs more than it spares if they are terms of several axes. If only the batch varies, equal blocks are met often.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate, takewhile
from operator import mul
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, _dynamo, _refs
from torch._prims_common import is_contiguous_or_false

_references: Any = _refs
_by_dimension = _references._reshape_view_helper_core_alg


@contextmanager
def fewer_questions(axes: Collection[str]) -> Iterator[None]:
    """While active, a view of a contiguous tensor has the sizes asked for, and every convolution is oneDNN's.

    ``axes`` are the names of those that vary: of several, no results are kept.
    """
    kernels: Any = torch._C
    with (
        patch.object(_dynamo.config, "fake_tensor_cache_enabled", len(axes) < 2),
        patch.object(kernels, "_select_conv_backend", lambda *_, **__: kernels._ConvBackend.Mkldnn),
        patch.object(_refs, "_reshape_view_helper_core_alg", _viewed),
    ):
        yield


def _viewed(tensor: Tensor, shape: Sequence[Any], allow_copy: bool) -> Tensor:
    """Return a view; torch has checked that it has as many elements, and any."""
    if not is_contiguous_or_false(tensor):
        result: Tensor = _by_dimension(tensor, shape, allow_copy)
        return result
    # a dimension that stays may have a number for its size where the view has a quotient
    kept = [own for own, size in takewhile(_is_same, zip(tensor.shape, shape, strict=False))]
    sizes = [*kept, *shape[len(kept) :]]
    return torch.as_strided(tensor, sizes, [*accumulate([1, *sizes[:0:-1]], mul)][::-1])


def _is_same(pair: tuple[Any, Any]) -> bool:
    """Return True if two sizes are the same; torch is asked only if they are in the trace."""
    first, second = (size.node.hint if isinstance(size, torch.SymInt) else size for size in pair)
    return bool(first == second and pair[0] == pair[1])
