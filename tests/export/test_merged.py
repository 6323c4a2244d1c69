"""The modules of the nodes that a simplified node stands for."""

from __future__ import annotations

from attn2trt.export.merged import Wiring, merged_modules

# a convolution, a factor, an offset, and what reads them
BEFORE = [
    Wiring("conv", "Conv", ("x", "w", "b"), ("y",)),
    Wiring("factor", "Constant", (), ("f",)),
    Wiring("scale", "Mul", ("y", "f"), ("s",)),
    Wiring("offset", "Add", ("s", "o"), ("t",)),
    Wiring("gate", "Mul", ("t", "x"), ("z",)),
]
MODULES = {"conv": ["conv"], "scale": ["scale"], "offset": ["offset"], "gate": ["gate"]}


def test_a_product_with_other_constants_took_in_what_was_computed_from_it() -> None:
    after = [Wiring("conv", "Conv", ("x", "w2", "b2"), ("y",)), Wiring("gate", "Mul", ("y", "x"), ("z",))]
    assert merged_modules(BEFORE, after, MODULES)["conv"] == ("conv", "scale", "offset")


def test_a_product_with_its_own_constants_took_in_nothing() -> None:
    after = [Wiring("conv", "Conv", ("x", "w", "b"), ("y",)), Wiring("gate", "Gated", ("y", "x", "f"), ("z",))]
    assert merged_modules(BEFORE, after, MODULES) == {"gate": ("gate", "offset", "scale")}


def test_what_is_still_there_was_taken_in_by_nothing() -> None:
    after = [Wiring("conv", "Conv", ("x", "w2", "b2"), ("y",)), *BEFORE[1:]]
    assert merged_modules(BEFORE, after, MODULES) == {}
