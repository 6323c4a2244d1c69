"""What an engine says of its inputs, outputs and ranges, beside the graph that it is said to be built from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from attn2trt.core.tensor_spec import Axis, TensorSpec
from attn2trt.engines.tensorrt import foreign_plan_child
from attn2trt.engines.tensorrt.engine_io import engine_profiles, require_io
from attn2trt.engines.tensorrt.profiles import Profile
from attn2trt.errors import CheckFailed

X, Y = TensorSpec("x", ("batch", 3, "h")), TensorSpec("y", ("batch", 4))
Range = tuple[tuple[int, ...], ...]


class Engine:
    """A stand-in for an engine with these inputs, each with its shapes by profile, and these outputs."""

    def __init__(self, inputs: Mapping[str, list[Range]], outputs: Mapping[str, tuple[int, ...]]) -> None:
        self._inputs, self._outputs = inputs, outputs
        self._names = [*inputs, *outputs]
        self.num_io_tensors = len(self._names)
        self.num_optimization_profiles = max(map(len, inputs.values()))

    def get_tensor_name(self, index: int) -> str:
        return self._names[index]

    def get_tensor_mode(self, name: str) -> str:
        return "TensorIOMode.INPUT" if name in self._inputs else "TensorIOMode.OUTPUT"

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self._inputs[name][0][0] if name in self._inputs else self._outputs[name]

    def get_tensor_profile_shape(self, name: str, index: int) -> Range:
        return self._inputs[name][index]


ENGINE = Engine({"x": [((1, 3, 8), (2, 3, 8), (8, 3, 16)), ((1, 3, 32),) * 3]}, {"y": (-1, 4)})


def test_the_ranges_of_the_axes_are_those_of_the_profiles() -> None:
    require_io(ENGINE, [X], [Y])
    assert engine_profiles(ENGINE, [X]) == (
        Profile({"batch": Axis(1, 2, 8), "h": Axis(8, 8, 16)}),
        Profile({"batch": Axis(1, 1, 1), "h": Axis(32, 32, 32)}),
    )


def test_an_axis_of_two_inputs_has_the_sizes_that_fit_both() -> None:
    engine = Engine({"x": [((1, 3, 8), (2, 3, 8), (8, 3, 8))], "z": [((2,), (4,), (16,))]}, {})
    (profile,) = engine_profiles(engine, [X, TensorSpec("z", ("batch",))])
    assert profile.axes["batch"] == Axis(2, 2, 8)
    with pytest.raises(CheckFailed, match="no size of batch fits every input"):
        engine_profiles(Engine({"x": [((1, 3, 8),) * 3], "z": [((2,),) * 3]}, {}), [X, TensorSpec("z", ("batch",))])


@pytest.mark.parametrize(
    ("inputs", "outputs", "why"),
    [
        ([TensorSpec("image", X.shape)], [Y], "the plan has the inputs x, the model image"),
        ([X], [TensorSpec("logits", Y.shape)], "the plan has the outputs y, the model logits"),
        ([TensorSpec("x", (2, 3))], [Y], r"the plan has x \[1, 3, 8\]"),
    ],
)
def test_a_plan_of_another_model_is_told(inputs: list[TensorSpec], outputs: list[TensorSpec], why: str) -> None:
    with pytest.raises(CheckFailed, match=f"{why}.*built from another model"):
        require_io(ENGINE, inputs, outputs)


def test_a_size_that_the_model_fixes_lies_in_every_profile() -> None:
    with pytest.raises(CheckFailed, match="takes x with 3 to 3 where the model has 4"):
        engine_profiles(ENGINE, [TensorSpec("x", ("batch", 4, "h"))])


def test_the_child_opens_the_bytes_whose_hash_it_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[tuple[bytes, dict[str, Any]]] = []
    monkeypatch.setattr(foreign_plan_child, "TensorRTRuntime", lambda plan, **how: given.append((plan, how)))
    (tmp_path / "a.plan").write_bytes(b"ftrt")
    about = {"flavour": "tensorrt", "inputs": [X.to_json()], "outputs": [Y.to_json()]}

    def open_it(content: bytes) -> None:
        digest = hashlib.sha256(content).hexdigest()
        foreign_plan_child.open_foreign(tmp_path / "a.plan", json.dumps({**about, "sha256": digest}))

    open_it(b"ftrt")
    ((plan, how),) = given
    assert plan == b"ftrt"
    assert how["profiles"] is None
    assert how["inputs"] == [X]
    with pytest.raises(CheckFailed, match="changed while the command ran"):
        open_it(b"another")
    assert len(given) == 1
