"""Decide if a mutant counts: search the claimed ranges for an input on which it computes something else.

Nothing here is what the verdict sees: other sizes, other values, other seeds. The healthy graph and the mutant run in
ONNX Runtime, float32, optimisations off. A mutant counts when its output moves by more than twice the verdict's limit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from attn2trt.core.tensor_spec import Axis, TensorSpec
from attn2trt.modules.target import Target
from attn2trt.validate.case_judgement import Run
from attn2trt.validate.cases import Case, Feeds
from attn2trt.validate.comparison import compare
from attn2trt.validate.metrics import LIMIT, Floor, Reference, measure
from attn2trt.validate.reference import references

if TYPE_CHECKING:
    from torch import nn

TIMES = 2.0
KINDS = ("normal", "uniform", "positive", "large", "small", "sparse", "flat")


class Search:
    """A few hundred random inputs, the healthy graph's outputs on them, and the floors, each computed when needed."""

    def __init__(self, target: Target, module: nn.Module, healthy: Run, *, count: int, seed: int) -> None:
        self.count = count
        self._module = module
        self._healthy = healthy
        self._cases = [random_case(target.inputs, target.axes, seed, index) for index in range(count)]
        self._expected: dict[int, tuple[Feeds, dict[str, np.ndarray]]] = {}
        self._references: dict[int, Reference] = {}

    def shows(self, run: Run) -> str:
        """Return the case on which the mutant moves the output by more than allowed, in words; empty if none does."""
        for index, case in enumerate(self._cases):
            if index not in self._expected:
                feeds = case.feeds
                self._expected[index] = feeds, dict(self._healthy(feeds))
            feeds, expected = self._expected[index]
            try:
                outputs = run(feeds)
            except Exception as error:
                return f"{case.name}: {type(error).__name__}"
            for name, value in expected.items():
                if name not in outputs or self._moves(index, name, outputs[name], value):
                    return case.name
        return ""

    def _moves(self, index: int, name: str, out: np.ndarray, healthy: np.ndarray) -> bool:
        wide = healthy.astype(np.float64) if healthy.dtype.kind == "f" else healthy
        if out.shape == wide.shape and np.array_equal(out, healthy):
            return False
        # With the smallest floor that there is the ratio is the largest: if that is allowed, no truth is needed.
        least = Floor(0.0, 0.0, np.zeros_like(measure(wide, wide).channel))
        if wide.any() and compare(name, out, wide, least, 0.0, limit=TIMES * LIMIT, budget=np.inf).passed:
            return False
        reference = self._reference(index)
        floor = reference.floors[name]
        found = compare(name, out, wide, floor, reference.largest, limit=TIMES * LIMIT, budget=np.inf)
        # another best class alone is a smaller move than that
        return not (found.passed or found.which == "top1")

    def _reference(self, index: int) -> Reference:
        if index not in self._references:
            names = list(self._expected[index][1])
            self._references[index] = next(references(self._module, [self._cases[index]], names))
        return self._references[index]


def random_case(inputs: tuple[TensorSpec, ...], axes: Mapping[str, Axis], seed: int, index: int) -> Case:
    """Random sizes in the ranges and values of a random kind: what a user's network may feed."""
    rng = np.random.default_rng([seed, index])
    sizes = {name: int(rng.integers(axis.min, axis.max, endpoint=True)) for name, axis in axes.items()}
    kind = KINDS[int(rng.integers(len(KINDS)))]
    at = ", ".join(f"{name}={size}" for name, size in sizes.items())

    def make() -> Feeds:
        again = np.random.default_rng([seed, index, 1])
        return {spec.name: draw(spec.resolve(sizes), kind, again) for spec in inputs}

    return Case(f"input {index} ({kind}, {at})", "", "normal", sizes, make)


_SHAPES: dict[str, Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]] = {
    "normal": lambda rng, shape: rng.normal(rng.normal(), 1.0, shape),
    "uniform": lambda rng, shape: rng.uniform(0, 1, shape),
    "positive": lambda rng, shape: np.maximum(rng.normal(0.2, 1.0, shape), 0),
    "large": lambda rng, shape: rng.normal(0, 6, shape),
    "small": lambda rng, shape: rng.normal(0, 0.05, shape),
    "sparse": lambda rng, shape: rng.normal(0, 3, shape) * (rng.uniform(size=shape) < 0.05),
    "flat": lambda rng, shape: rng.normal(0, 1, (*shape[:2], *(1 for _ in shape[2:]))) + rng.normal(0, 0.1, shape),
}


def draw(shape: tuple[int, ...], kind: str, rng: np.random.Generator) -> np.ndarray:
    """Float32 values of one kind."""
    return _SHAPES[kind](rng, shape).astype(np.float32)
