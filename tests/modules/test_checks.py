"""What a forward pass raises becomes one line with the sizes that it was given."""

from __future__ import annotations

import pytest

from attn2trt.errors import SizesRefused
from attn2trt.modules.checks import refused_sizes


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you"),
    ],
)
def test_sizes_that_memory_does_not_hold_are_named_with_what_to_do(error: Exception) -> None:
    message = r"^received x=2x9999 for Net, for which memory ran out; give smaller sizes with --shape or --dynamic$"
    with pytest.raises(SizesRefused, match=message), refused_sizes("Net", {"x": (2, 9999)}, lambda: "any advice; "):
        raise error
