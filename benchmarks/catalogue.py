"""Deploy every block, alone and in the papers' backbones, at several sizes; write the docs' table.

Usage: python benchmarks/catalogue.py [--jobs N] [--resume] [NAME ...]. Every target is also judged on the photographs
that scikit-image ships. Writes benchmarks/results/catalogue.json and docs/catalogue.md after every row, and takes up
an interrupted run of the same code and versions; --resume also keeps rows that passed in other runs, and says so.
With NAMEs it prints their rows; with --resume, too, it stores them beside the rows that are there.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from code_hash import code_hash
from page_text import generated, table
from stored_results import heading, of_earlier_runs, row_options, rows_before, side_by_side, store

import attn2trt
from attn2trt.errors import Attn2trtError
from attn2trt.modules.block_index import block_info, block_names
from attn2trt.validate.stages.stage import ROWS
from attn2trt.validate.verdict import StageResult, Verdict

ROOT = Path(__file__).parent.parent
RESULTS, PAGE = ROOT / "benchmarks/results/catalogue.json", ROOT / "docs/catalogue.md"
BLOCKS = tuple(block_names())
BLOCK_AXES = "batch=1:2:4,height=14:28:56,width=14:28:56"
PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket")
ROOMS = ("core", "modules", "export", "engines", "validate", "workflows")
IMAGE_SHAPE, IMAGE_AXES = "2x3x96x96", "batch=1:2:3,height=64:96:128,width=64:96:128"
GATES = ("se", "cbam", "eca", "coord_att")
CORE = (*GATES, "gam:groups=4", "psa")
# what the papers of the core blocks put them into; a PSA network has them in place of a bottleneck's 3x3 convolutions
OTHERS = {
    **dict.fromkeys(("resnet18", "resnet34"), tuple(block for block in CORE if block != "psa")),
    **dict.fromkeys(("resnet101", "resnet152"), CORE),
    **dict.fromkeys(("mobilenetv1_100", "mobilenetv2_050", "mobilenetv2_075", "mobilenext_100"), GATES),
    **dict.fromkeys(("efficientnet_b0", "efficientnet_b1", "efficientnet_b2"), GATES),
    "bn_inception": ("se",),
    **dict.fromkeys(("epsanet50", "epsanet50_large", "epsanet101", "epsanet101_large"), ()),
}


def backbones() -> dict[str, tuple[str, ...]]:
    """The blocks that go into each backbone: all of them into two, the core blocks into the others.

    One in place of a 3x3 convolution has no place among depthwise ones, and gam is as wide there as the whole network.
    """
    in_resnet = tuple("gam:groups=4" if block == "gam" else block for block in BLOCKS)
    in_mobilenet = tuple(block for block in BLOCKS if block != "gam" and not block_info(block).replaces_conv3x3)
    return {"resnet50": in_resnet, "mobilenetv2_100": in_mobilenet, **OTHERS}


def targets() -> list[str]:
    """The blocks alone, then every backbone plain and with each block that fits."""
    names = list(BLOCKS)
    for backbone, blocks in backbones().items():
        names += [backbone, *(f"{backbone}+{block}" for block in blocks)]
    return names


def photographs(folder: Path) -> Path:
    """Write scikit-image's photographs as PNG files into ``folder`` and return it."""
    import skimage.data
    from PIL import Image

    for name in PHOTOGRAPHS:
        Image.fromarray(getattr(skimage.data, name)()).save(folder / f"{name}.png")
    return folder


def measure(name: str, images: Path) -> dict[str, Any]:
    """Deploy ``name`` and return its row."""
    since = time.perf_counter()
    block = name.rpartition("+")[2].partition(":")[0]
    allowed = block_info(block).axes if block in BLOCKS else ("batch", "height", "width")
    asked = BLOCK_AXES if name in BLOCKS else IMAGE_AXES
    options: dict[str, Any] = {"dynamic": ",".join(axis for axis in asked.split(",") if axis.split("=")[0] in allowed)}
    if name not in BLOCKS:
        options["shapes"] = [IMAGE_SHAPE]
    with tempfile.TemporaryDirectory() as folder:
        try:
            bundle = attn2trt.deploy(
                name, out=Path(folder) / "bundle", judging=attn2trt.Judging(inputs=images), **options
            )
        except Attn2trtError as error:
            return {"target": name, "passed": False, "refused": True, "why": str(error)}
    verdict = Verdict.from_json(bundle.manifest["verdict"])
    failure = verdict.first_failure
    return {
        "target": name,
        "passed": bool(verdict),
        "why": "" if failure is None else f"{failure.label}: {failure.why}",
        "cases": max((stage.case_count for stage in compared(verdict)), default=0),
        "photographs": sum(case["kind"] == "image" for case in bundle.manifest["cases"]),
        "sizes": sorted({str(case["sizes"]) for case in bundle.manifest["cases"]}),
        **worst(verdict),
        "seconds": round(time.perf_counter() - since, 1),
    }


def compared(verdict: Verdict) -> list[StageResult]:
    """The stages that compared a graph with PyTorch."""
    return [stage for stage in verdict.stages if stage.comparisons and stage.stage.kind != ROWS]


def worst(verdict: Verdict) -> dict[str, dict[str, float]]:
    """The largest ratio and the largest error of each of these stages, as rows hold them."""
    stages = compared(verdict)
    return {
        "worst_ratio": {stage.label: stage.worst_ratio for stage in stages},
        "worst_error": {stage.label: stage.worst_error for stage in stages},
    }


def page(document: dict[str, Any]) -> str:
    """The docs page: one row per target."""
    lines = [
        "# Catalogue, checked",
        "",
        generated("python benchmarks/catalogue.py", document),
        "",
        f"Blocks: 64 channels, `--dynamic {BLOCK_AXES}`. Backbones: `--shape {IMAGE_SHAPE} --dynamic {IMAGE_AXES}`.",
        "Of a block whose weights belong to one height and width, only the batch is dynamic.",
        "*Ratio*: the largest error over all cases, in units of what PyTorch float32 itself loses on the same input;",
        "8 is the limit. *Sizes*: how many different combinations of batch, height and width were compared.",
        "*Photographs*: batches of the photographs that scikit-image ships.",
        *of_earlier_runs(document["rows"]),
        "",
        *table(
            "target | verdict | sizes | cases | photographs | ratio: torch → onnx | simplified | ONNX Runtime",
            map(_cells, document["rows"]),
        ),
    ]
    return "\n".join(lines) + "\n"


def _cells(row: dict[str, Any]) -> tuple[object, ...]:
    ratios = [f"{ratio:.1f}" for ratio in row.get("worst_ratio", {}).values()]
    how = "refused" if row.get("refused") else "failed"
    result = "passed" if row["passed"] else f"**{how}**: {row['why'][:160]}"
    counts = (len(row.get("sizes", [])), row.get("cases", 0), row.get("photographs", 0))
    return f"`{row['target']}`", result, *counts, *ratios, *["-"] * (3 - len(ratios))


def main(names: list[str], jobs: int, *, resume: bool) -> int:
    """Measure every target; exit code 1 if one failed."""
    document: dict[str, Any] = heading("torch", "timm", "onnx", "onnxruntime-gpu", "onnxsim") | {
        "method": "attn2trt.deploy per target, seed 0, randomised weights, seeded cases and photographs",
        "sources": code_hash(ROOMS),
        "rows": [],
    }
    stores = resume or not names
    if stores:
        document["rows"] = rows_before(RESULTS, document, lambda row: resume and (bool(names) or row["passed"]))
    rows = {row["target"]: row for row in document["rows"]}
    order = targets() if stores else names
    wanted = names or [name for name in order if name not in rows]
    with tempfile.TemporaryDirectory() as images:
        photographs(Path(images))
        measured = side_by_side(measure, [(name, Path(images)) for name in wanted], jobs)
        for number, row in enumerate(measured, 1):
            rows[row["target"]] = row
            print(f"{number}/{len(wanted)} {row['target']}", "passed" if row["passed"] else row["why"], flush=True)
            document["rows"] = [rows[name] for name in order if name in rows]
            if stores:
                store(document, RESULTS, PAGE, page(document))
    return 0 if all(row["passed"] for row in document["rows"]) else 1


if __name__ == "__main__":
    options = row_options(
        __doc__, "NAME", kept="the rows that passed in other runs, too", stores_named=True
    ).parse_args()
    sys.exit(main(options.names, options.jobs, resume=options.resume))
