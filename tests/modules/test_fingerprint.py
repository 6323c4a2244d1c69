"""A module that cannot say what it is is refused, with what its own code raised."""

from __future__ import annotations

from typing import Any

import pytest
from torch import nn

from attn2trt.errors import ModuleRefused
from attn2trt.modules.fingerprint import fingerprint


class NoRepr(nn.Module):
    def __repr__(self) -> str:
        raise ValueError("no\nname")


class NoState(nn.Module):
    def state_dict(self, *_: Any, **__: Any) -> Any:
        raise OSError("gone")


@pytest.mark.parametrize(("module", "words"), [(NoRepr(), "ValueError: no name"), (NoState(), "OSError: gone")])
def test_a_module_whose_own_code_fails_is_refused(module: nn.Module, words: str) -> None:
    with pytest.raises(ModuleRefused, match=words) as caught:
        fingerprint(module)
    assert "\n" not in str(caught.value)
