"""A module that is no function of its inputs is refused by name; one that only looks like it is not."""

from __future__ import annotations

import cProfile
import functools
import itertools
import os
import random
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attn2trt.core.tensor_spec import Axis, TensorSpec
from attn2trt.errors import ModuleRefused
from attn2trt.validate.cases import make_cases
from attn2trt.validate.reference import references
from attn2trt.validate.repeats.sources import watch_clocks

CASES = make_cases([TensorSpec("x", ("batch", 3, 8, 8))], {"batch": Axis(1, 2, 3)})
CALLS = itertools.count()


class _Missing:
    """What a package puts in the place of one that is not installed, as MONAI does: any question is an ImportError."""

    def __getattr__(self, name: str) -> Any:
        raise ImportError("import gdown (No module named 'gdown')")

    def __call__(self) -> Any:
        raise ImportError("import gdown (No module named 'gdown')")


GDOWN = _Missing()


class Module(nn.Module):
    """A convolution, and what ``function(module, x, y)`` makes of it."""

    calls = 0

    def __init__(self, function: Callable[[Any, Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.c = nn.Conv2d(3, 3, 1)
        self.norm = nn.BatchNorm2d(3)
        self.own = random.Random(0)
        self.rng = np.random.default_rng(0)
        self.memory: Any = None
        self.tables: dict[Any, Tensor] = {}
        self.register_buffer("count", torch.zeros(()))
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x, self.c(x))


def run(function: Callable[[Any, Tensor, Tensor], Tensor]) -> None:
    for _ in references(Module(function).eval(), CASES):
        pass


def remember(m: Any, x: Tensor, y: Tensor) -> Tensor:
    mean = y.mean((2, 3), keepdim=True).mean(0)
    m.memory = mean if m.memory is None else 0.5 * m.memory + mean
    return y * m.memory


def freeze(m: Any, x: Tensor, y: Tensor) -> Tensor:
    if m.memory is None:
        m.memory = x.abs().mean()
    return y / m.memory


def count(m: Any, x: Tensor, y: Tensor) -> Tensor:
    m.count += 1
    return y + m.count


def count_class(m: Any, x: Tensor, y: Tensor) -> Tensor:
    Module.calls += 1
    return y + Module.calls


def collect(m: Any, x: Tensor, y: Tensor) -> Tensor:
    m.tables.setdefault("all", []).append(x.mean())
    return y + sum(m.tables["all"])


def warm_up(m: Any, x: Tensor, y: Tensor) -> Tensor:
    m.calls += 1
    return y if m.calls < 500 else y * 2


def freeze_late(m: Any, x: Tensor, y: Tensor) -> Tensor:
    m.count += 1
    return y * 2 if m.count % 50 == 0 else y


TOTALS = {"calls": 0}


def total() -> int:
    TOTALS["calls"] += 1
    return TOTALS["calls"]


def warm_up_around() -> Any:
    calls = 0

    def run(m: Any, x: Tensor, y: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return y if calls < 5000 else y * 2

    return run


class _Schedule:
    __slots__ = ("steps",)

    def __init__(self) -> None:
        self.steps = 0.0

    def step(self) -> float:
        self.steps += 0.5
        return self.steps


SCHEDULE, BOX, KEPT = _Schedule(), [0], np.zeros(1)


def boxed() -> int:
    BOX[0] += 1
    return BOX[0]


def kept() -> Any:
    KEPT[0] += 1
    return KEPT[0]


def by_default(memo: list[int] = [0]) -> int:  # noqa: B006
    memo[0] += 1
    return memo[0]


def nested(m: Any, x: Tensor, y: Tensor) -> Tensor:
    m.tables.setdefault("all", [0])[0] += 1
    return y if m.tables["all"][0] < 500 else y * 2


def progress(m: Any, x: Tensor, y: Tensor) -> Tensor:
    m.memory = min(1.0, (m.memory or 0.0) + 0.001)
    return y if m.memory < 1 else y * 2


def grow(m: Any, x: Tensor, y: Tensor) -> Tensor:
    m.tables.setdefault("all", []).append(0)
    return y if len(m.tables["all"]) <= 100 else y * 2


def count_down(m: Any, x: Tensor, y: Tensor) -> Tensor:
    m.calls -= 1
    return y if m.calls > -5000 else y * 2


def in_one_of_many(m: Any, x: Tensor, y: Tensor) -> Tensor:
    m.memory = torch.zeros(4) if m.memory is None else m.memory + torch.arange(4)
    return y if m.memory[1] < 100 else y * 2


def in_a_byte(m: Any, x: Tensor, y: Tensor) -> Tensor:
    m.memory = torch.zeros((), dtype=torch.uint8) if m.memory is None else m.memory + 1
    return y if m.memory < 250 else y * 2


SEEN: list[int] = []
CYCLE = itertools.cycle([*[False] * 90, True])
TICKED = functools.partial(lambda box: box.append(0) or len(box), [])


def see(m: Any, x: Tensor, y: Tensor) -> Tensor:
    SEEN.append(0)
    return y if len(SEEN) < 110 else y * 2


REFUSED = {
    "in the length of a list": (grow, r"one of many calls .* changes its tables at .*append"),
    "in the length of a global": (see, r"one of many calls .* changes its SEEN at .*append"),
    "downwards": (count_down, r"calls in calls at .*, and once"),
    "in a byte": (in_a_byte, r"calls in memory at .*, and once"),
    "in one of four": (in_one_of_many, r"one of many calls .* changes its memory at"),
    "in a cycle": (lambda m, x, y: y * 2 if next(CYCLE) else y, r"one of many calls .* its CYCLE;"),
    "in a partial function": (lambda m, x, y: y if TICKED() < 110 else y * 2, r"one of many calls .* its TICKED at"),
    "in halves, in an object": (
        lambda m, x, y: y * (SCHEDULE.step() < 500),
        r"calls in SCHEDULE.steps at .*self.steps",
    ),
    "in a list": (lambda m, x, y: y * (boxed() < 5000), r"calls in BOX\[0\] at"),
    "in an array": (lambda m, x, y: y * float(kept() < 5000), r"calls in KEPT at"),
    "in a default": (lambda m, x, y: y * (by_default() < 5000), r"calls in by_default.memo\[0\] at"),
    "in a list in a table": (nested, r"calls in tables\['all'\]\[0\] at"),
    "up to one": (progress, r"calls in memory.*, and once"),
    "after many calls in a global": (lambda m, x, y: y * (total() < 5000), r"calls in TOTALS\['calls'\] at"),
    "after many calls in a variable around": (
        warm_up_around(),
        r"counts its calls in calls at .*`calls \+= 1`, and once",
    ),
    "after many calls": (warm_up, r"counts its calls in calls at .*`m.calls \+= 1`, and once it has come to 18017999"),
    "at every fiftieth call": (freeze_late, r"counts its calls in count at .*`m.count \+= 1`, and once"),
    "attribute": (remember, r"changes its memory at .*test_repeats.py:\d+ `m.memory = "),
    "first call": (freeze, r"off by"),
    "buffer": (count, r"changes its count at .*`m.count \+= 1`"),
    "container": (collect, r"changes its tables at .*append"),
    "class attribute": (count_class, r"changes its Module.calls at .*`Module.calls \+= 1`"),
    "global": (lambda m, x, y: y * next(CALLS), r"changes its CALLS at .*next\(CALLS\)"),
    "python": (lambda m, x, y: y if random.random() < 0.001 else y * 2, r"Python's random at .*test_repeats.py:"),
    "python choice": (lambda m, x, y: y * random.choice([1, 2]), r"Python's random at"),
    "numpy": (lambda m, x, y: y if np.random.rand() > 0.001 else y * 2, r"NumPy's random at .*test_repeats.py:"),
    "numpy normal": (lambda m, x, y: y + float(np.random.randn()), r"NumPy's random at"),
    "torch": (lambda m, x, y: y + torch.rand(()), r"torch's rand at .*test_repeats.py:"),
    "torch normal": (lambda m, x, y: y + torch.randn_like(y), r"torch's randn_like at"),
    "order": (lambda m, x, y: y + torch.argsort(torch.rand(8))[0], r"torch's rand at"),
    "own torch": (lambda m, x, y: y + torch.rand((), generator=torch.Generator()), r"torch's rand at"),
    "seldom dropout": (lambda m, x, y: F.dropout(y, 1e-4), r"torch's bernoulli_ at .*F.dropout"),
    "drop path": (lambda m, x, y: y * (torch.rand(2) < 0.5)[:1].to(y), r"torch's rand at"),
    "own python": (lambda m, x, y: y * m.own.random(), r"changes its own at"),
    "own numpy": (lambda m, x, y: y * (m.rng.random() < 0.9), r"changes its rng at"),
    "fresh numpy": (lambda m, x, y: y * np.random.default_rng().random(), r"the system's entropy \(os.urandom\) at"),
    "entropy": (lambda m, x, y: y * os.urandom(1)[0], r"the system's entropy \(os.urandom\) at .*test_repeats.py"),
    "clock": (lambda m, x, y: y * (time.perf_counter() % 1), r"the clock time.perf_counter at .*test_repeats.py"),
    "batch statistics": (
        lambda m, x, y: F.batch_norm(y, m.norm.running_mean, m.norm.running_var, training=True),
        r"statistics of its batch.* at .*F.batch_norm.*training=self.training",
    ),
}


@pytest.mark.parametrize(("function", "match"), REFUSED.values(), ids=REFUSED)
def test_no_function_of_its_inputs_is_refused_by_name(function: Any, match: str) -> None:
    with pytest.raises(ModuleRefused, match=match):
        run(function)


def by_height(m: Any, x: Tensor, y: Tensor) -> Tensor:
    key = str(x.shape[2])
    if key not in m.tables:
        m.tables[key] = torch.linspace(0, 1, x.shape[3], dtype=x.dtype).mean() * x.shape[3]
    return y + m.tables[key]


def by_pixels(m: Any, x: Tensor, y: Tensor) -> Tensor:
    if m.memory is None or m.memory.numel() != x.shape[2:].numel():
        m.memory = torch.linspace(0, 1, x.shape[2], dtype=x.dtype)[:, None].expand(x.shape[2:]).flatten()
    return y + m.memory.view(x.shape[2:])


@pytest.mark.parametrize(
    ("function", "match"),
    [
        (by_height, r"width=7 is off by .* after one at batch=1, height=6, width=6, and calls change its tables;"),
        (by_pixels, r"height=\d, width=\d is off by .* after one at .*, and calls change its memory;"),
    ],
)
def test_a_table_for_other_sizes_than_it_was_made_for_is_refused(function: Any, match: str) -> None:
    axes = {"batch": Axis(1, 2, 3), "height": Axis(6, 9, 12), "width": Axis(6, 9, 12)}
    cases = make_cases([TensorSpec("x", ("batch", 3, "height", "width"))], axes)
    with pytest.raises(ModuleRefused, match=match):
        for _ in references(Module(function).eval(), cases):
            pass
    for allowed in (cache, look_at):
        for _ in references(Module(allowed).eval(), cases):
            pass


def test_a_profiler_goes_on_after_clocks_were_watched() -> None:
    profiler = cProfile.Profile()
    profiler.enable()
    try:
        with watch_clocks([]):
            pass
        os.getpid()
    finally:
        profiler.disable()
    assert any("getpid" in str(entry.code) for entry in profiler.getstats())


def cache(m: Any, x: Tensor, y: Tensor) -> Tensor:
    if x.shape not in m.tables:
        m.tables[x.shape] = torch.linspace(0, 1, x.shape[3], dtype=x.dtype)
    return y + m.tables[x.shape]


def look_at(m: Any, x: Tensor, y: Tensor) -> Tensor:
    m.memory = y.softmax(1)
    m.count += 1
    return y * m.memory


def drop_layers(m: Any, x: Tensor, y: Tensor) -> Tensor:
    drawn = torch.rand(()), random.random(), np.random.rand(), m.own.random()
    return y * 2 if m.training and min(drawn) < 0.5 else y


def largest_so_far(m: Any, x: Tensor, y: Tensor) -> Tensor:
    if m.tables.get("largest") is None or m.calls < x.shape[0]:
        m.calls, m.tables["largest"] = x.shape[0], torch.linspace(0, 1, x.shape[0], dtype=x.dtype)
    return y + m.tables["largest"][: x.shape[0], None, None, None]


def count_in_vain(m: Any, x: Tensor, y: Tensor) -> Tensor:
    m.calls += 1
    m.count = torch.full((), m.calls % 3)
    return y


ALLOWED = {
    "a table for the largest size so far": largest_so_far,
    "calls that are only counted": count_in_vain,
    "a cache by sizes": cache,
    "what was seen last": look_at,
    "drawn in vain": drop_layers,
    "time that is only noted": lambda m, x, y: y + 0 * len(str(time.time())),
    "batch statistics without running ones": lambda m, x, y: F.batch_norm(y, None, None, training=True),
    "instance normalisation": lambda m, x, y: F.instance_norm(y, m.norm.running_mean, m.norm.running_var),
    "attention": lambda m, x, y: F.scaled_dot_product_attention(y, y, y),
    "not a number": lambda m, x, y: y * float("nan"),
    "a package that is not installed": lambda m, x, y: y if m.training is False else y + GDOWN(),
    "no dropout": lambda m, x, y: F.dropout(y, 0.5, training=m.training),
}


@pytest.mark.parametrize("function", ALLOWED.values(), ids=ALLOWED)
def test_a_function_of_its_inputs_is_not_refused(function: Any) -> None:
    run(function)


def test_the_generators_of_the_process_are_left_where_the_module_put_them() -> None:
    random.seed(1)
    np.random.seed(1)
    expected = random.random(), np.random.rand()
    random.seed(1)
    np.random.seed(1)
    run(lambda m, x, y: y)
    assert (random.random(), np.random.rand()) == expected
