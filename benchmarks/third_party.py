"""Try public attention modules that attn2trt has never seen, with dynamic batch, height and width; write the table.

Usage: python benchmarks/third_party.py FOLDER [--resume] [--jobs N] [CLASS ...]. FOLDER holds clones of the
repositories named below, each in a folder called as the repository; nothing of them is stored here. Modules that
cannot be imported or run are listed as not tried. Without class names it writes benchmarks/results/third_party.json and
docs/third_party.md; --resume keeps the rows that are there and right.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from outcomes import count_statuses, line, ours, shorten
from page_text import generated, table
from stored_results import heading, side_by_side, store
from torch import Tensor, nn

ROOT = Path(__file__).parent.parent
RESULTS, PAGE = ROOT / "benchmarks/results/third_party.json", ROOT / "docs/third_party.md"
IMAGE, IMAGES = ((2, 64, 14, 16),), "batch=1:2:4,height=8:14:27,width=9:16:30"
SMALL = "batch=1:2:3,height=4:6:11,width=4:8:13"
TOKENS, SEQUENCES = ((2, 20, 64),), "dim0=1:2:4,dim1=5:20:41"
BATCH = "batch=1:2:4"
# For modules that only take even sizes: PyTorch itself must run at the smallest.
EVEN = "batch=1:2:4,height=8:14:27,width=8:16:31"
EXTERNAL, COLLECTION = "xmu-xiaoma666/External-Attention-pytorch", "changzy00/pytorch-attention"
LIGHT, DUAL = "murufeng/awesome_lightweight_networks", "junfu1115/DANet"
AFF, VIT = "YimianDai/open-aff", "lucidrains/vit-pytorch"


@dataclass(frozen=True)
class Candidate:
    """A class of a public repository, how it is built, and what it is traced with."""

    repository: str
    file: str
    name: str
    arguments: tuple[Any, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    shapes: tuple[tuple[int, ...], ...] = IMAGE
    dynamic: str = IMAGES

    def build(self, folder: Path) -> nn.Module:
        """The module with seeded weights; what is all zeros (a closed gate) is drawn, so that it cannot hide errors."""
        root = folder / self.repository.partition("/")[2]
        sys.path.insert(0, str(root))
        try:
            path = root / self.file
            spec = importlib.util.spec_from_file_location(f"third_party_{abs(hash(path))}", path)
            if spec is None or spec.loader is None:
                raise ImportError(f"{path} is no Python file")
            file = importlib.util.module_from_spec(spec)
            sys.modules[spec.name] = file
            spec.loader.exec_module(file)
        finally:
            sys.path.remove(str(root))
        torch.manual_seed(0)
        module: nn.Module = getattr(file, self.name)(*self.arguments, **self.options)
        for parameter in module.parameters():
            if not parameter.detach().any():
                nn.init.normal_(parameter, std=0.5)
        for name, buffer in module.named_buffers():
            if name.endswith("running_mean"):
                nn.init.normal_(buffer, std=0.5)
            if name.endswith("running_var"):
                nn.init.uniform_(buffer, 0.5, 2.0)
        return module.eval()

    def row(self) -> dict[str, Any]:
        """Return the row of the results, whatever the outcome."""
        shapes = ["x".join(map(str, shape)) for shape in self.shapes]
        where = {"repository": self.repository, "file": self.file, "class": self.name}
        given = [*map(repr, self.arguments), *(f"{name}={value!r}" for name, value in self.options.items())]
        return {**where, "arguments": ", ".join(given), "shapes": shapes, "dynamic": self.dynamic}

    def example(self) -> tuple[Tensor, ...]:
        generator = torch.Generator().manual_seed(0)
        return tuple(torch.randn(shape, generator=generator) for shape in self.shapes)


def _external(file: str, name: str, *arguments: Any, **options: Any) -> Candidate:
    shapes, dynamic = options.pop("shapes", IMAGE), options.pop("dynamic", IMAGES)
    return Candidate(EXTERNAL, f"model/{file}.py", name, arguments, options, shapes, dynamic)


def _collection(file: str, name: str, *arguments: Any, **options: Any) -> Candidate:
    return Candidate(COLLECTION, f"attention_mechanisms/{file}.py", name, arguments, options)


THREE_TOKENS = ((2, 20, 64), (2, 20, 64), (2, 20, 64))
TWO_IMAGES = (IMAGE[0], IMAGE[0])
CANDIDATES = (
    _external("attention/A2Atttention", "DoubleAttention", 64, 32, 16),
    _external("attention/ACmixAttention", "ACmix", 64, 64),
    _external("attention/AFT", "AFT_FULL", 64, n=20, shapes=TOKENS, dynamic="dim0=1:2:4"),
    _external("attention/Axial_attention", "AxialAttention", dim=64, dim_index=1),
    _external("attention/BAM", "BAMBlock", 64),
    _external("attention/CBAM", "CBAMBlock", 64, kernel_size=7),
    _external("attention/CoTAttention", "CoTAttention", 64),
    _external("attention/CoordAttention", "CoordAtt", 64, 64),
    _external("attention/CrissCrossAttention", "CrissCrossAttention", 64),
    _external("attention/DANet", "DAModule", shapes=((2, 512, 7, 7),), dynamic="batch=1:2:3"),
    _external("attention/ECAAttention", "ECAAttention"),
    _external("attention/ExternalAttention", "ExternalAttention", 64, 8, shapes=TOKENS, dynamic=SEQUENCES),
    _external("attention/HaloAttention", "HaloAttention", dim=64, block_size=2, halo_size=1, dynamic=EVEN),
    _external("attention/MUSEAttention", "MUSEAttention", 64, 64, 64, 8, shapes=THREE_TOKENS, dynamic=BATCH),
    _external("attention/MobileViTAttention", "MobileViTAttention", 64, 64, patch_size=2, dynamic=EVEN),
    _external("attention/MobileViTv2Attention", "MobileViTv2Attention", 64, shapes=TOKENS, dynamic=SEQUENCES),
    _external("attention/OutlookAttention", "OutlookAttention", 16, dynamic="batch=1:2:4,height=8:14:27"),
    _external("attention/PSA", "PSA", 64, reduction=8),
    _external("attention/ParNetAttention", "ParNetAttention", 64),
    _external("attention/PolarizedSelfAttention", "ParallelPolarizedSelfAttention", 64),
    _external("attention/PolarizedSelfAttention", "SequentialPolarizedSelfAttention", 64),
    _external("attention/ResidualAttention", "ResidualAttention", 64, 10),
    _external("attention/S2Attention", "S2Attention", 512, shapes=((2, 512, 6, 8),), dynamic=SMALL),
    _external("attention/SEAttention", "SEAttention", 64),
    _external("attention/SGE", "SpatialGroupEnhance", 8),
    _external("attention/SKAttention", "SKAttention", 64, reduction=8),
    _external(
        "attention/SelfAttention", "ScaledDotProductAttention", 64, 64, 64, 8, shapes=THREE_TOKENS, dynamic=BATCH
    ),
    _external("attention/ShuffleAttention", "ShuffleAttention", 64),
    _external("attention/SimAM", "SimAM"),
    _external(
        "attention/SimplifiedSelfAttention",
        "SimplifiedScaledDotProductAttention",
        64,
        8,
        shapes=THREE_TOKENS,
        dynamic=BATCH,
    ),
    _external("attention/TripletAttention", "TripletAttention"),
    _external("attention/UFOAttention", "UFOAttention", 64, 64, 64, 8, shapes=THREE_TOKENS, dynamic=BATCH),
    _external("conv/CondConv", "CondConv", 64, 32, 3, 1, 1),
    _external("conv/DynamicConv", "DynamicConv", 64, 32, 3, 1, 1),
    _external("conv/Involution", "Involution", 3, 64),
    _external("conv/DepthwiseSeparableConvolution", "DepthwiseSeparableConvolution", 64, 32),
    _collection("bam", "BAM", 64),
    _collection("cbam", "CBAM", 64),
    _collection("coordatten", "CoordinateAttention", 64, 64),
    _collection("double_attention", "DoubleAttention", 64, 32, 16),
    _collection("dual_attention", "PAM", 64),
    _collection("dual_attention", "CAM"),
    _collection("eca", "ECALayer", 64),
    _collection("gate_channel_module", "GCT", 64),
    _collection("gc_module", "GCModule", 64),
    _collection("gct", "GCT", 64),
    _collection("lct", "LCT", 64, 8),
    _collection("se_module", "SELayer", 64),
    _collection("simam", "simam_module"),
    _collection("sk_module", "SKLayer", 64, 64),
    _collection("srm", "SRM", 64),
    _collection("triplet_attention", "TripletAttention"),
    Candidate(COLLECTION, "mlps/mobilevig.py", "SVGABlock", (64,)),
    Candidate("moskomule/senet.pytorch", "senet/se_module.py", "SELayer", (64,)),
    Candidate("Jongchan/attention-module", "MODELS/cbam.py", "CBAM", (64,)),
    Candidate("Jongchan/attention-module", "MODELS/bam.py", "BAM", (64,)),
    Candidate("BangguWu/ECANet", "models/eca_module.py", "eca_layer", (64,)),
    Candidate("houqb/CoordAttention", "coordatt.py", "CoordAtt", (64, 64)),
    Candidate(AFF, "aff_pytorch/aff_net/fusion.py", "AFF", (64,), shapes=TWO_IMAGES),
    Candidate(AFF, "aff_pytorch/aff_net/fusion.py", "iAFF", (64,), shapes=TWO_IMAGES),
    Candidate(AFF, "aff_pytorch/aff_net/fusion.py", "DAF", shapes=TWO_IMAGES),
    Candidate(AFF, "aff_pytorch/aff_net/fusion.py", "MS_CAM", (64,)),
    Candidate("ZjjConan/SimAM", "networks/attentions/simam_module.py", "simam_module"),
    Candidate("landskape-ai/triplet-attention", "triplet_attention.py", "TripletAttention"),
    Candidate(DUAL, "encoding/nn/da_att.py", "PAM_Module", (64,)),
    Candidate(DUAL, "encoding/nn/da_att.py", "CAM_Module", (64,)),
    Candidate("speedinghzl/CCNet", "cc_attention/functions.py", "CrissCrossAttention", (64,)),
    Candidate("cfzd/FcaNet", "model/layer.py", "MultiSpectralAttentionLayer", (64, 7, 7)),
    Candidate(
        "zhanghang1989/ResNeSt", "resnest/torch/models/splat.py", "SplAtConv2d", (64, 64, 3), {"padding": (1, 1)}
    ),
    Candidate(LIGHT, "light_cnns/Attention/sanet.py", "sa_layer", (64,)),
    Candidate(LIGHT, "light_cnns/Attention/CANet.py", "CoordAtt", (64, 64)),
    Candidate(LIGHT, "light_cnns/Attention/resnest.py", "SplitAttention", (64, 64)),
    Candidate(
        "lucidrains/lambda-networks",
        "lambda_networks/lambda_networks.py",
        "LambdaLayer",
        (64,),
        {"dim_out": 32, "r": 7, "dim_k": 16, "heads": 4, "dim_u": 1},
    ),
    Candidate(VIT, "vit_pytorch/cvt.py", "Attention", (64, 3, 1, 2)),
    Candidate(VIT, "vit_pytorch/twins_svt.py", "LocalAttention", (64,), {"patch_size": 2}, dynamic=EVEN),
    Candidate(VIT, "vit_pytorch/twins_svt.py", "GlobalAttention", (64,), {"k": 2}),
    Candidate(VIT, "vit_pytorch/vit.py", "Attention", (64,), shapes=TOKENS, dynamic=SEQUENCES),
    Candidate(VIT, "vit_pytorch/scalable_vit.py", "ScalableSelfAttention", (64,), {"reduction_factor": 2}),
    Candidate(VIT, "vit_pytorch/scalable_vit.py", "InteractiveWindowedSelfAttention", (64, 2), dynamic=EVEN),
    Candidate(VIT, "vit_pytorch/sep_vit.py", "DSSA", (64,), {"window_size": 2}, dynamic=EVEN),
    Candidate(VIT, "vit_pytorch/crossformer.py", "Attention", (64, "short", 2), dynamic=EVEN),
    Candidate(VIT, "vit_pytorch/crossformer.py", "Attention", (64, "long", 2), dynamic=EVEN),
    Candidate(VIT, "vit_pytorch/mobile_vit.py", "MobileViTBlock", (48, 2, 64, 3, (2, 2), 96), dynamic=EVEN),
    Candidate(VIT, "vit_pytorch/nest.py", "Attention", (64,)),
    Candidate(VIT, "vit_pytorch/cct.py", "Attention", (64,), shapes=TOKENS, dynamic=SEQUENCES),
    Candidate(VIT, "vit_pytorch/deepvit.py", "Attention", (64,), shapes=TOKENS, dynamic=SEQUENCES),
    Candidate(COLLECTION, "vision_transformers/poolformer.py", "Block", (64,)),
    Candidate(COLLECTION, "vision_transformers/xcit.py", "XCA", (64,), shapes=TOKENS, dynamic=SEQUENCES),
    Candidate(COLLECTION, "vision_transformers/xcit.py", "ClassAttention", (64,), shapes=TOKENS, dynamic=SEQUENCES),
    Candidate(LIGHT, "light_cnns/HRNet/lite_hrnet.py", "SpatialWeighting", (64,)),
    Candidate(LIGHT, "light_cnns/Attention/TripletNet.py", "TripletAttention", (64,)),
    Candidate(LIGHT, "light_cnns/Attention/ecanet.py", "eca_layer", (64,)),
)


def measure(candidate: Candidate, folder: Path) -> dict[str, Any]:
    """One row."""
    row = candidate.row()
    try:
        module = candidate.build(folder)
        module(*candidate.example())
    except Exception as error:
        return row | {"result": "not tried", "why": f"{type(error).__name__}: {line(error)}"}
    with tempfile.TemporaryDirectory() as output:
        outcome = ours(module, candidate.example(), candidate.dynamic, Path(output))
    return row | outcome.to_json() | {"why": shorten(outcome.why, folder.resolve())}


def page(document: dict[str, Any]) -> str:
    """The docs page."""
    tried = [row for row in document["rows"] if row["result"] != "not tried"]
    count = Counter(row["result"] for row in tried)
    alarms = ["false alarm"] if count["false alarm"] else []
    lines = [
        "# Third-party modules",
        "",
        generated("python benchmarks/third_party.py FOLDER", document),
        "",
        f"{len(tried)} attention modules of {len({row['repository'] for row in tried})} public repositories, none of",
        "them written for this tool, through `attn2trt.deploy` with dynamic batch, height and width. *Right*: the",
        "graph in the bundle was run in ONNX Runtime at the traced sizes, at every corner of the ranges that",
        "its manifest claims and at ten random sizes inside, and each output agrees with eager PyTorch in float64.",
        f"*Not tried*, and not counted: {len(document['rows']) - len(tried)}, which fail in PyTorch itself here.",
        "",
        f"Right: {count['right']} of {len(tried)} ({count['right'] / max(1, len(tried)):.0%}); "
        + ", ".join(
            f"{result}: {count[result]}"
            for result in ("refused", "failed verdict", *alarms, "silently wrong", "traceback")
        )
        + ".",
        *count_statuses(tried),
        "",
        *table("repository | class | inputs | dynamic | result", map(_cells, document["rows"])),
    ]
    return "\n".join(lines) + "\n"


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    result = row["result"] if row["result"] == "right" else f"**{row['result']}**: {row['why'][:260]}"
    stated = f" ({row['constraints']})" if "constraints" in row else ""
    called = f"`{row['class']}({row['arguments']})`"
    return row["repository"], called, ", ".join(row["shapes"]), f"`{row['dynamic']}`", result + stated


def main(folder: Path, names: list[str], *, resume: bool, jobs: int) -> int:
    """Measure every candidate, or those whose class is named; exit code 1 if one is wrong in silence, a
    false alarm, or raised."""
    known = json.loads(RESULTS.read_text())["rows"] if resume and RESULTS.exists() else []
    document = heading("torch", "onnx", "onnxscript", "onnxruntime-gpu", "onnxsim")
    candidates = [candidate for candidate in CANDIDATES if not names or candidate.name in names]
    right = [row for row in known if row["result"] == "right"]
    rows = {
        index: row
        for index, candidate in enumerate(candidates)
        for row in right
        if row.items() >= candidate.row().items()
    }
    left = [(index, candidate, folder) for index, candidate in enumerate(candidates) if index not in rows]
    for index, row in side_by_side(_numbered, left, jobs):
        rows[index] = row
        print(row["repository"], row["class"], row["result"], row.get("why", ""), sep=" | ", flush=True)
        document["rows"] = [rows[index] for index in sorted(rows)]
        if not names:
            store(document, RESULTS, PAGE, page(document))
    return 1 if any(row["result"] in ("silently wrong", "false alarm", "traceback") for row in rows.values()) else 0


def _numbered(index: int, candidate: Candidate, folder: Path) -> tuple[int, dict[str, Any]]:
    return index, measure(candidate, folder)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="holds a clone of each repository")
    parser.add_argument("names", nargs="*", metavar="CLASS", help="only these, printed and not written")
    parser.add_argument("--resume", action="store_true", help="keep the stored rows that are right")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes (default: the number of cores)")
    options = parser.parse_args()
    if not options.folder.is_dir():
        parser.error(f"received {options.folder}; expected a folder; name the one that holds the clones")
    sys.exit(main(options.folder, options.names, resume=options.resume, jobs=options.jobs))
