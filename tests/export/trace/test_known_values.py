"""What Python asks of a module's own tensors is answered in a trace; what inputs decide, or a call changes, is not."""

from __future__ import annotations

import logging
from pathlib import Path

import onnx
import pytest
import torch
from torch import nn

from attn2trt.errors import ModuleRefused
from attn2trt.export.trace.exporter import trace
from attn2trt.export.trace.following import followed
from attn2trt.export.trace.known_values import KnownValues
from attn2trt.export.trace.tracing import example_inputs
from attn2trt.modules.own_module import from_module


class Own(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.shares = nn.Buffer(torch.tensor([1.0, 0.0, 2.0]))
        self.count = nn.Buffer(torch.tensor(2))


class Asks(Own):
    """Asks in every way: as EoMT does for the layers whose attention it masks, and for a number of repeats."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for _ in range(self.count.item()):  # type: ignore[arg-type]
            x = x.sin()
        if self.shares[1] > 0 or x.shape[2] % int(self.count):
            x = x * 100
        if (self.shares.sum() * 2).clamp(max=9.0) > 3:
            x = x + self.shares.tolist()[2]
        return x[:, : int(self.count)] * float(self.shares[0])


class Reads(Own):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2 if x.mean() + self.shares[0] > 0 else x


class Counts(Own):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found = x * 2 if self.count > 3 else x
        self.count += 1
        return found


class CountsByData(Own):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found = x * 2 if self.count > 3 else x
        self.count.data += 1
        return found


class Warms(Own):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found = x * 2 if self.shares[1] > 0.95 else x
        self.shares = self.shares + 0.1
        return found


class Writes(Own):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found = x * 2 if self.shares[1] > 0.95 else x
        self.shares.data[1] = 0.1
        return found


def test_a_number_of_the_modules_own_is_known(tmp_path: Path) -> None:
    target = from_module(Asks(), torch.ones(2, 3, 4, 4), dynamic="batch=1:2:4,height=2:4:8:2")
    trace(target, target.build(), tmp_path / "model.onnx", opset=17)
    operators = [node.op_type for node in onnx.load(tmp_path / "model.onnx").graph.node]
    assert operators == ["Sin", "Sin", "Add", "Slice"]


def test_a_number_that_an_input_decides_is_not_known() -> None:
    target = from_module(Reads(), torch.ones(2, 3, 4, 4), dynamic="batch=1:2:4")
    with pytest.raises(ModuleRefused, match=r"pick by torch\.where"):
        trace(target, target.build(), Path("model.onnx"), opset=17)


class Spreads(Own):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.count.expand(x.shape[-2], x.shape[-1])


def test_what_varies_in_size_is_not_known_and_asks_nothing_of_sizes() -> None:
    target = from_module(Spreads(), torch.ones(2, 3, 64, 64), dynamic="height=32:64:128,width=32:64:128")
    guards, is_whole = followed(
        target.build(), target.inputs, example_inputs(target), target.sizes("opt"), keep_numbers=True
    )
    assert is_whole
    assert not [guard for guard in guards if guard.is_branch]


@pytest.mark.parametrize("kind", [Counts, CountsByData, Warms, Writes])
def test_a_number_that_each_call_changes_is_refused(kind: type[Own]) -> None:
    module = kind()
    with KnownValues(module), pytest.raises(ModuleRefused, match=r"asks for the value of .* changes it in each call"):
        module(torch.ones(2, 3))


def test_what_was_written_to_is_no_longer_known() -> None:
    module = Own()
    with KnownValues(module) as known:
        module._forward_pre_hooks[next(iter(module._forward_pre_hooks))](module, ())  # as a call begins
        copied = module.shares.clone()
        copied[0] = torch.ones(())
        written = copied[0] > 0
        assert known._found(module.shares[0] > 0)
        assert known._found(written) is None


class Branches(Own):
    """A function of the user's beside torch.cond, as torch.compile reads it: its cells are not filled yet."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        def large(x: torch.Tensor) -> torch.Tensor:
            return torch.where(x > 0, x > 0.5, x < -0.5) * self.shares[0]

        return torch.cond(x.mean() > 0, large, lambda x: x.sigmoid(), (x,))


def test_a_condition_on_values_is_written_by_torch_cond(tmp_path: Path) -> None:
    target = from_module(Branches(), torch.ones(2, 3, 4, 4), dynamic="batch=1:2:4")
    trace(target, target.build(), tmp_path / "model.onnx", opset=17)
    assert "If" in [node.op_type for node in onnx.load(tmp_path / "model.onnx").graph.node]


class Logs(nn.Module):
    """Warns of large inputs, as the deformable convolutions of basicsr do, and writes to a tensor by a similar name."""

    def __init__(self, *, writes: bool) -> None:
        super().__init__()
        self.writes = writes

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean = x.abs().mean()
        if mean > 50:
            logger = logging.getLogger(__name__)
            logger.warning(f"the mean is {mean.item()}")
        y = x * 2
        if not self.writes:
            return y
        if not mean <= 50:
            y.log_()
        return y


def test_a_branch_that_only_logs_is_left_out_of_a_trace(tmp_path: Path) -> None:
    x = torch.ones(2, 3, 4, 4)
    target = from_module(Logs(writes=False).eval(), x, dynamic="none")
    graph = trace(target, target.build(), tmp_path / "model.onnx", opset=18)
    assert [node.op_type for node in onnx.load(graph.path).graph.node] == ["Mul"]
    target = from_module(Logs(writes=True).eval(), x, dynamic="none")
    with pytest.raises(ModuleRefused, match=r"depends on the values of a tensor at .*`if not mean <= 50:`"):
        trace(target, target.build(), tmp_path / "model.onnx", opset=18)
