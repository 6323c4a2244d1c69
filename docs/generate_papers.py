"""Write docs/papers.md: what the papers publish of their networks, beside the counts of ours.

Usage: python docs/generate_papers.py. docs/published.json holds what was read in papers and releases, with its source;
every other number is counted here, on tensors without values. A figure that differs after it has been counted as the
paper counts must say why in its ``note``, and one that is equal must not.
"""

from __future__ import annotations

import functools
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from attn2trt.core.module_path import is_within
from attn2trt.modules import catalog
from attn2trt.modules.backbones.known import KNOWN
from attn2trt.modules.block_index import block_info, block_names
from attn2trt.modules.metering import Step, meter

PAGE, PUBLISHED = Path(__file__).with_name("papers.md"), Path(__file__).with_name("published.json")
UNITS = {"decimal": {"M": 1e6, "G": 1e9}, "binary": {"M": 2.0**20, "G": 2.0**30}}
# what is counted once for each value that comes out; ReLU6 is a hardtanh
PER_VALUE = {"native_batch_norm": "normalised", "relu": "activated", "hardtanh": "activated", "add": "added"}


@dataclass(frozen=True)
class Count:
    """One network. ``beside`` are the values of one image that some papers count beside the multiply-accumulates.

    ``normalisations`` are the parameters of batch normalisations, each of which also keeps as many statistics.
    """

    parameters: int
    normalisations: int
    macs: int
    beside: Mapping[str, int]

    def macs_as(self, counting: Mapping[str, Any], uncounted: Sequence[str]) -> int:
        """The multiply-accumulates and whatever the paper adds to them, as often as it does."""
        adds: Mapping[str, int] = counting.get("adds", {})
        return self.macs + sum(times * self.beside[what] for what, times in adds.items() if what not in uncounted)

    def parameters_as(self, counting: Mapping[str, Any]) -> int:
        """The parameters that the paper counts."""
        return self.parameters - (self.normalisations if "parameters" in counting else 0)


@functools.cache
def count(target: str, size: int, variant: str | None) -> Count:
    """Return the cost of a TARGET's network for one image of ``size`` x ``size``."""
    found = catalog.read(target, shapes=[f"2x3x{size}x{size}"])
    with torch.device("meta"):
        module, blocks = found.recipe.structure(found.inputs, found.axes)
        if variant is not None:
            VARIANTS[variant](module)
    own = {path for path, part in module.named_modules() if any(part is block for block in blocks)}
    norms = [part for part in module.modules() if isinstance(part, nn.BatchNorm2d)]
    normalisations = sum(parameter.numel() for part in norms for parameter in part.parameters())
    metering = meter(module, [torch.empty(1, 3, size, size, device="meta")])
    beside: Counter[str] = Counter()
    for step in metering.steps:
        beside.update(_beside(step, is_in_block=is_within(step.module, own)))
    return Count(metering.cost.parameters, normalisations, metering.cost.macs, beside)


def _beside(step: Step, *, is_in_block: bool) -> dict[str, int]:
    made, given = math.prod(step.result), math.prod(step.shapes[0])
    if step.operator in PER_VALUE:
        return {PER_VALUE[step.operator]: made}
    if step.operator == "convolution":
        return {"biases": made if len(step.shapes) == 3 else 0}
    if step.operator == "addmm":
        return {"linear": made * step.shapes[1][1]}
    if step.operator.startswith("max_pool"):
        return {"max-pooled values": given, "max-pooled windows": made}
    is_global = step.operator in ("mean", "amax") and made == math.prod(step.shapes[0][:2])
    return {"pooled in blocks" if is_in_block else "pooled": given} if is_global else {}


def _early_stride(model: nn.Module) -> None:
    for part in model.modules():
        if type(part).__name__ == "Bottleneck":
            first, second = part.get_submodule("conv1"), part.get_submodule("conv2")
            if isinstance(first, nn.Conv2d) and isinstance(second, nn.Conv2d):
                first.stride, second.stride = second.stride, first.stride


def _plain_shortcuts(model: nn.Module) -> None:
    for part in model.modules():
        if getattr(part, "downsample", None) is not None:
            part.downsample = _Widen()


class _Widen(nn.Module):
    """Every second position, and as many channels again, all zero: a shortcut without weights."""

    def forward(self, x: Tensor) -> Tensor:
        """``(n, c, h, w)`` to ``(n, 2c, h/2, w/2)``."""
        every_second = x[:, :, ::2, ::2]
        return torch.cat((every_second, torch.zeros_like(every_second)), 1)


VARIANTS = {"early stride": _early_stride, "plain shortcuts": _plain_shortcuts}


def rounded(value: float, published: str, unit: float, step: int | None = None) -> str:
    """``value`` as the published figure is written: with its decimals, or to multiples of ``step``."""
    decimals = len(published.partition(".")[2])
    scaled = value / unit
    return f"{scaled:.{decimals}f}" if step is None else str(round(scaled / step) * step)


def compare(paper: Mapping[str, Any], row: Mapping[str, Any]) -> tuple[list[str], bool]:
    """The cells of a row, and whether both figures are equal as the paper counts and rounds them."""
    counting = paper["counting"]
    units = UNITS[counting.get("unit", "decimal")]
    plain = count(row["target"], row.get("size", 224), None)
    as_published = count(row["target"], row.get("size", 224), row.get("variant"))
    cells, is_equal = [row["network"], f"`{row['target']}`"], True
    if "parameters" in row:
        there = rounded(as_published.parameters_as(counting), row["parameters"], units["M"])
        is_equal &= there == row["parameters"]
        cells += [row["parameters"], f"{plain.parameters / 1e6:.3f}", there]
    else:
        cells += ["-", f"{plain.parameters / 1e6:.3f}", "-"]
    if "macs" in row:
        figure, letter = row["macs"][:-1], row["macs"][-1]
        total = as_published.macs_as(counting, row.get("uncounted", ()))
        there = rounded(total, figure, units[letter], counting.get("step"))
        is_equal &= there == figure
        cells += [f"{figure} {letter}", f"{plain.macs / 1e6:,.1f}", f"{there} {letter}"]
    else:
        cells += ["-", f"{plain.macs / 1e6:,.1f}", "-"]
    note = row.get("note", "").format(
        macs=f"{as_published.macs / 1e6:,.1f}",
        with_statistics=f"{(as_published.parameters + as_published.normalisations) / 1e6:.2f}",
    )
    if is_equal == bool(note):
        state = "equal, and has a note" if is_equal else f"different and without a note: {cells}"
        raise SystemExit(f"{row['network']} of {paper['paper']} is {state}; correct {PUBLISHED.name}")
    cells.append("equal" + (f"; {row['because']}" if "because" in row else "") if is_equal else f"**differs**: {note}")
    return cells, is_equal


def page() -> str:
    """The whole page."""
    papers = json.loads(PUBLISHED.read_text())["papers"]
    compared = [(paper, [compare(paper, row) for row in paper["rows"]]) for paper in papers]
    equal = [is_equal for _, rows in compared for _, is_equal in rows]
    lines = [
        "# Numbers from papers",
        "",
        f"Written by `python docs/{Path(__file__).name}`, which counts our networks. The published figures are those",
        f"of [{PUBLISHED.name}]({PUBLISHED.name}), with the place where they were read.",
        "",
        "*Ours*: parameters in 10⁶; multiply-accumulates of convolutions and matrix products for one image in 10⁶, as",
        "`attn2trt show` counts them. *Counted so*: the same network counted and rounded as the paper does it,",
        "whatever it calls the result. Images are 224 x 224 unless the paper says otherwise.",
        "",
        f"Of {len(equal)} networks {sum(equal)} are equal in every published digit; the others say what is known.",
    ]
    for paper, rows in compared:
        link = f"https://arxiv.org/abs/{paper['arxiv']}" if paper["arxiv"] else ""
        counting = paper["counting"]
        lines += [
            "",
            f"## {paper['paper']}",
            "",
            f"{f'{link}; ' if link else ''}{paper['source']}.",
            f"{counting['text']} Known from: {counting['basis']}.",
            "",
            "| network | TARGET | parameters | ours | counted so | FLOPs or MACs | ours | counted so | |",
            "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
            *(f"| {' | '.join(cells)} |" for cells, _ in rows),
        ]
    return "\n".join([*lines, "", *_absent(papers)])


def _absent(papers: Sequence[Mapping[str, Any]]) -> list[str]:
    """List what of the catalogue has no figures here."""
    targets = "+".join(row["target"] for paper in papers for row in paper["rows"])
    used = {part.partition(":")[0] for part in targets.split("+")}
    here = {paper["arxiv"] for paper in papers}
    blocks = [
        name for name in block_names() if name not in used and block_info(name).paper.rpartition("/")[2] not in here
    ]
    backbones = [name for name in KNOWN if name not in used]
    listed = [", ".join(f"`{name}`" for name in names) for names in (blocks, backbones)]
    return [
        "## Not here",
        "",
        "These have no figures. Their papers publish none for a network that can be built here, or the table could not",
        "be read again when this page was made.",
        "",
        f"Blocks: {listed[0]}. Backbones: {listed[1]}.",
        "",
    ]


if __name__ == "__main__":
    PAGE.write_text(page())
    print(PAGE)
