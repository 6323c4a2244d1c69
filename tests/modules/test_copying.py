"""A copy computes by itself: its hooks and closures are its own, and what cannot be made so is refused."""

from __future__ import annotations

import copy
import functools
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from no_compiler import no_compiler
from torch import Tensor, nn

from attn2trt.errors import ModuleRefused
from attn2trt.modules.copying import copy_module


class Tapped(nn.Module):
    """Returns what a hook on ``c`` has put into ``acts``."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.c = nn.Conv2d(3, 4, 1)
        self.acts: dict[str, Tensor] = {}
        self.extra: Any = None

    def forward(self, x: Tensor) -> Tensor:
        self.c(x)
        return self.acts["c"].relu()

    def save(self, _: nn.Module, __: Any, output: Tensor) -> None:
        self.acts["c"] = output


class Saver:
    def __init__(self, net: Tapped) -> None:
        self.net = net
        self.call: Any = lambda output: self.net.acts.update(c=output)

    def __call__(self, _: nn.Module, __: Any, output: Tensor) -> None:
        self.net.acts["c"] = output

    def later(self, _: nn.Module, __: Any, output: Tensor) -> None:
        self.call(output)


def put(net: Tapped, _: nn.Module, __: Any, output: Tensor) -> None:
    net.acts["c"] = output


def in_container(net: Tapped) -> Any:
    held = {"nets": [net]}
    return lambda _, __, output: held["nets"][0].acts.update(c=output)


def by_weak_reference(net: Tapped) -> Any:
    found = weakref.ref(net)
    return lambda _, __, output: found().acts.update(c=output)  # type: ignore[union-attr]


def nested(net: Tapped) -> Any:
    def store(output: Tensor) -> None:
        net.acts["c"] = output

    return lambda _, __, output: store(output)


def into(acts: dict[str, Tensor]) -> Any:
    return lambda _, __, output: acts.update(c=output)


def by_default(net: Tapped) -> Any:
    return lambda _, __, output, net=net: net.acts.update(c=output)


HOOKS: dict[str, Callable[[Tapped], Any]] = {
    "closure": lambda net: lambda _, __, output: net.acts.update(c=output),
    "closure over what is kept": lambda net: into(net.acts),
    "method": lambda net: net.save,
    "partial": lambda net: functools.partial(put, net),
    "object": Saver,
    "object's method": lambda net: Saver(net).later,
    "container": in_container,
    "weak reference": by_weak_reference,
    "nested": nested,
    "default": by_default,
}
X = torch.ones(1, 3, 2, 2)


@pytest.mark.parametrize("make", HOOKS.values(), ids=HOOKS)
@pytest.mark.parametrize("shares", [False, True])
def test_a_hook_of_a_copy_writes_into_the_copy(make: Callable[[Tapped], Any], shares: bool) -> None:
    net = Tapped()
    net.extra = net.c.register_forward_hook(make(net))
    expected = net(X * 2)  # with a history, as a training step leaves it
    kept = net.acts["c"]
    copied = copy_module(net, shares_parameters=shares)
    assert torch.equal(copied(X * 2), expected)
    assert not torch.equal(copied(X), expected)
    assert net.acts["c"] is kept
    assert (copied.c.weight is net.c.weight) == shares
    again = copy_module(copied)
    assert not torch.equal(again(X * 3), copied(X))


def test_a_hook_is_not_removed_with_that_of_the_copy() -> None:
    net = Tapped()
    net.extra = net.c.register_forward_hook(net.save)
    copy_module(net).extra.remove()
    assert len(net.c._forward_hooks) == 1


def test_a_forward_that_closes_over_the_module_runs_the_copys() -> None:
    net = nn.Sequential(nn.Linear(2, 2))
    net.forward = lambda x: net[0](x) + 1  # type: ignore[method-assign]
    copied = copy_module(net)
    with torch.no_grad():
        net[0].weight.zero_()
        net[0].bias.zero_()
    assert torch.equal(net(torch.ones(1, 2)), torch.ones(1, 2))
    assert not torch.equal(copied(torch.ones(1, 2)), torch.ones(1, 2))


def test_what_is_shared_with_others_stays_shared() -> None:
    log: list[int] = []
    net = Tapped()
    net.c.register_forward_hook(lambda *_: log.append(1))
    net.c.register_forward_hook(net.save)
    copy_module(net)(X)
    assert log == [1]


GLOBAL: Any = None
ACTS: dict[str, Tensor] = {}


def keep(output: Tensor) -> None:
    ACTS["c"] = output


def test_what_functions_know_by_a_global_name_is_shared() -> None:
    net = Tapped()
    net.acts, net.extra = ACTS, [3.0]
    net.c.register_forward_hook(lambda _, __, output: keep(output))
    expected = net(X * 2)
    copied = copy_module(net)
    assert copied.acts is ACTS
    assert copied.extra is not net.extra
    assert torch.equal(copied(X * 2), expected)
    assert not torch.equal(copied(X), expected)


def test_a_hook_that_reads_the_module_from_a_global_is_refused() -> None:
    global GLOBAL  # noqa: PLW0603
    GLOBAL = Tapped()
    try:
        GLOBAL.c.register_forward_hook(lambda _, __, output: GLOBAL.acts.update(c=output))
        with pytest.raises(ModuleRefused, match=r"<lambda> \(.*test_copying.py:\d+\) refers to the original module"):
            copy_module(GLOBAL)
    finally:
        GLOBAL = None


def test_a_forward_that_reads_the_module_from_a_global_is_refused() -> None:
    class Self(Tapped):
        def forward(self, x: Tensor) -> Tensor:
            return GLOBAL.c(x)

    global GLOBAL  # noqa: PLW0603
    GLOBAL = Self()
    try:
        with pytest.raises(ModuleRefused, match=r"Self.forward \(.*\) refers to the original module"):
            copy_module(GLOBAL)
    finally:
        GLOBAL = None


def test_parameters_are_shared_unless_they_are_of_another_type() -> None:
    class Own(nn.Parameter):
        """A class of the user's, which only copying keeps."""

    net = nn.Conv2d(3, 4, 1)
    net.own, net.index = Own(torch.ones(2)), nn.Parameter(torch.arange(3), requires_grad=False)
    shared = copy_module(net, shares_parameters=True, dtype=torch.float32)
    assert shared.weight is net.weight
    wide = copy_module(net, shares_parameters=True, dtype=torch.float64)
    assert wide.weight.dtype == torch.float64
    assert torch.equal(wide.weight, net.weight.double())
    assert net.weight.dtype == torch.float32
    assert wide.index is net.index
    assert isinstance(wide.own, Own)


class Compiled(nn.Module):
    """Holds one of its own functions, compiled."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))
        self.call = torch.compile(self.scaled, backend=no_compiler)

    def scaled(self, x: Tensor) -> Tensor:
        return self.weight * x

    def forward(self, x: Tensor) -> Tensor:
        return self.call(x)


def test_a_copy_computes_by_itself_what_torch_compile_was_given() -> None:
    net = Compiled()
    copied = copy_module(net)
    with torch.no_grad():
        copied.weight.zero_()
    assert not copied(torch.ones(2)).any()
    with pytest.raises(Exception, match="it was compiled"):
        net(torch.ones(2))


@pytest.mark.parametrize("view", ["keys", "values", "items"])
def test_what_looks_at_a_dict_looks_at_the_copied_one(view: str) -> None:
    net = nn.Module()
    net.layers, net.tables = nn.ModuleDict({"4": nn.ReLU(), "8": nn.Tanh()}), {"rows": 3}
    net.scales, net.rows = getattr(net.layers, view)(), getattr(net.tables, view)()
    copied = copy_module(net)
    assert list(copied.scales) == list(getattr(copied.layers, view)())  # type: ignore[call-overload]
    copied.tables["columns"] = 4  # type: ignore[index,operator]
    assert (len(copied.rows), len(net.rows)) == (2, 1)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="cannot pickle"):
        copy.deepcopy({}.keys())
