"""A rewrite is one file in export/rewrites: found by existing, tried in its turn, and tested as every other."""

from __future__ import annotations

from pathlib import Path

import pytest

from attn2trt.export import rewrites
from attn2trt.export.rewrites import REWRITES, found_rewrites

from .rewrite_graphs import model, numbers, rewritten, same

FILE = '''"""A sum of a value with itself as a product with two."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from attn2trt.export.rewrites.rewrite import Writer


class Doubled:
    """x + x as 2 x."""

    name = "double by a product"

    def kind(self, node: ir.Node) -> str:
        """The same for all."""
        return "Add of a value to itself" if node.op_type == "Add" and node.inputs[0] is node.inputs[1] else ""

    def apply(self, node: ir.Node) -> None:
        """In the node's place: a product."""
        write = Writer(node)
        write.put(write.node("Mul", [node.inputs[0], write.weight(np.array(2.0), "two")], "doubled"))


REWRITES = (Doubled(),)
'''


def test_one_file_is_all_that_a_rewrite_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "doubled_values.py").write_text(FILE)
    monkeypatch.setattr(rewrites, "__path__", [*rewrites.__path__, str(tmp_path)])
    *known, doubled = found_rewrites("REWRITES")
    assert [rewrite.name for rewrite in known] == [rewrite.name for rewrite in REWRITES]
    before = model("u = Add (x, x) y = Relu (u)")
    after = rewritten(before, doubled)
    assert [node.op_type for node in after.graph.node] == ["Mul", "Relu"]
    same(before, after, {"x": numbers(2, 16, 3, 5)})


def test_a_turn_says_when_it_is_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "first_of_all.py").write_text(f"{FILE}\n\nTURN = 0\n")
    monkeypatch.setattr(rewrites, "__path__", [*rewrites.__path__, str(tmp_path)])
    assert [rewrite.name for rewrite in found_rewrites("REWRITES")] == [
        "double by a product",
        *(rewrite.name for rewrite in REWRITES),
    ]


def test_the_rewrites_are_tried_in_this_order() -> None:
    assert [type(rewrite).__name__ for rewrite in REWRITES] == [
        *("SeparateMaps", "SplitReduction", "UnturnedMaps"),
        *(
            "PooledMean",
            "PooledMapByMap",
            "OuterProduct",
            "BroadcastGates",
            "EnlargedGates",
            "FewOutputs",
        ),
        *("PixelLinear", "DepthwiseSum", "WiderGroups", "WiderGroups", "MinimalFiltering", "MinimalFiltering"),
    ]
