"""A block is one file: what is read from it, and that nothing else has to name it."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
import torch

from attn2trt.errors import InputError
from attn2trt.modules import blocks
from attn2trt.modules.block_index import block_info, block_names
from attn2trt.modules.catalog import build, resolve
from attn2trt.modules.listing import entries

FILE = '''"""Half: halve whatever comes.

Nobody, 1999, https://example.org/half.
"""

from __future__ import annotations

from torch import Tensor, nn


class Half(nn.Module):
    def __init__(self, channels: int, *, by: float = 2.0, times: int | None = None, loud: bool = False) -> None:
        super().__init__()
        self.by = by * (times or 1)

    def forward(self, x: Tensor) -> Tensor:
        return x / self.by
'''


@pytest.fixture
def dropped_block(tmp_path, monkeypatch):
    name = f"half_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(FILE)
    monkeypatch.setattr(blocks, "__path__", [*blocks.__path__, str(tmp_path)])
    return name


def test_one_file_is_all_that_a_block_needs(dropped_block):
    assert dropped_block in block_names()
    entry = next(entry for entry in entries() if entry.name == dropped_block)
    assert (entry.kind, entry.summary, entry.paper) == (
        "block",
        "Half: halve whatever comes",
        "https://example.org/half",
    )
    assert (entry.parameters, entry.options) == (0, {"by": 2.0, "times": None, "loud": False})
    target = resolve(f"{dropped_block}:by=4,times=2,loud=yes", shapes=["2x6x4x4"])
    x = torch.rand(2, 6, 4, 4)
    assert torch.equal(target.build()(x), x / 8)
    model = build(f"resnet18+{dropped_block}@stage4")
    assert [path for path, part in model.named_modules() if type(part).__name__ == "Half"] == [
        "layer4.0.se",
        "layer4.1.se",
    ]


FORMULA = """VARIANTS = [{}, {"by": 4.0, "times": 2}]
KEYS = set()
REFUSED = []


def formula(x, w, by=2.0, times=1):
    return x / (by * times)
"""


def test_its_formula_is_all_that_its_tests_need(dropped_block, tmp_path, monkeypatch):
    """The tests of every block take it up: what is parametrised over the catalogue has it, and holds for it."""
    (tmp_path / "block_formulas").mkdir()
    (tmp_path / f"block_formulas/{dropped_block}.py").write_text(FORMULA)
    monkeypatch.syspath_prepend(str(tmp_path))
    found = runpy.run_path(str(Path(__file__).with_name("test_blocks.py")))
    cases = [case for case in found["CASES"] if case[0] == dropped_block]
    assert cases == [(dropped_block, {}), (dropped_block, {"by": 4.0, "times": 2})]
    for name, options in cases:
        found["test_equals_the_formula"](name, options, (3, 7, 5))
    for test in ("test_takes_a_tensor_that_is_not_contiguous", "test_trains", "test_parameter_names_are_the_releases"):
        found[test](dropped_block)


def test_a_block_that_is_not_its_formula_is_found(dropped_block, tmp_path, monkeypatch):
    (tmp_path / "block_formulas").mkdir()
    (tmp_path / f"block_formulas/{dropped_block}.py").write_text(FORMULA.replace("by * times", "by * times + 1"))
    monkeypatch.syspath_prepend(str(tmp_path))
    found = runpy.run_path(str(Path(__file__).with_name("test_blocks.py")))
    with pytest.raises(AssertionError):
        found["test_equals_the_formula"](dropped_block, {}, (3, 7, 5))


def test_the_six_core_blocks_are_there():
    assert {"se", "cbam", "eca", "coord_att", "gam", "psa"} <= set(block_names())


@pytest.mark.parametrize("name", block_names())
def test_every_file_describes_itself(name):
    info = block_info(name)
    assert len(info.summary) > 10
    assert info.paper.startswith("https://")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            "se:reducton=4",
            "received option 'reducton' for se; expected one of bias, reduction; did you mean reduction?",
        ),
        ("se:reduction=four", "received 'four' for option reduction of se; expected int"),
        ("se:bias=maybe", "received 'maybe' for option bias of se; expected bool"),
        ("eca:k=3.5", "received '3.5' for option k of eca; expected int | None"),
        ("resnet50+cbm", "received block 'cbm'; expected one of"),
        ("resnet50+cbm", "did you mean cbam"),
        ("resnet50+cbam:kernal=3", "did you mean kernel?"),
    ],
)
def test_refuses_a_wrong_name_or_value(spec, message):
    with pytest.raises(InputError) as caught:
        resolve(spec)
    assert message in str(caught.value)


def test_an_optional_option_takes_none():
    assert block_info("eca").parse_options({"k": "none"}) == {"k": None}


def test_a_file_with_two_public_classes_is_refused(tmp_path, monkeypatch):
    (tmp_path / "two_classes.py").write_text("class A: ...\nclass B: ...\n")
    monkeypatch.setattr(blocks, "__path__", [*blocks.__path__, str(tmp_path)])
    with pytest.raises(InputError, match=r"two_classes\.py with 2 public classes; expected one"):
        block_info("two_classes")
