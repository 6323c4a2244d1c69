"""Every error comes whole out of another process, as of a pool."""

from __future__ import annotations

import pickle

import pytest

from attn2trt.errors import Attn2trtError, CheckFailed, InputError, PrecisionRefused
from attn2trt.validate.eager import CannotRun


@pytest.mark.parametrize(
    "error",
    [InputError("received 1"), CheckFailed("a", "b"), PrecisionRefused("fp16", "refused"), CannotRun("raised", "why")],
)
def test_an_error_comes_back_from_a_pool_as_it_was(error: Attn2trtError) -> None:
    vars(error)["__notes__"] = ["a note"]  # as add_note does from Python 3.11 on
    found = pickle.loads(pickle.dumps(error))
    assert (type(found), str(found), vars(found)) == (type(error), str(error), vars(error))
