"""Every way to break a graph, and a seeded sample of the places where each applies."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from . import geometry, sizes, values, weights, wiring
from .graph import Anatomy, Operator, Patient

OPERATORS: tuple[Operator, ...] = (
    *weights.OPERATORS,
    *wiring.OPERATORS,
    *geometry.OPERATORS,
    *sizes.OPERATORS,
    *values.OPERATORS,
)


@dataclass(frozen=True)
class Mutant:
    """A broken model, serialised; ``what`` says in words what was broken and at which node."""

    operator: str
    what: str
    model: bytes


def summary(operator: Operator) -> str:
    """The first line of its docstring."""
    return (operator.__doc__ or "").strip().splitlines()[0]


def mutants(
    model: onnx.ModelProto, anatomy: Anatomy, *, each: int, seed: int, operators: Sequence[Operator] = OPERATORS
) -> Iterator[Mutant]:
    """Yield at most ``each`` mutants of every operator, at nodes drawn from ``seed``; none twice.

    If an operator has several variants, a node may be drawn again.
    """
    for operator in operators:
        rng = np.random.default_rng([seed, zlib.crc32(operator.__name__.encode())])
        seen: set[str] = set()
        places = [int(k) for _ in range(2) for k in rng.permutation(len(model.graph.node))]
        patient = Patient(model, anatomy)
        for place in places:
            if len(seen) >= each:
                break
            node = patient.graph.node[place]
            name = f"{node.op_type} {node.name}"
            what = operator(patient, node, rng)
            if not what:
                continue
            what = f"{name}: {what}"
            if what not in seen:
                seen.add(what)
                yield Mutant(operator.__name__, what, patient.model.SerializeToString())
            patient = Patient(model, anatomy)
