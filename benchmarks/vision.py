"""Deploy detectors, segmenters and transformers of the libraries, with time and memory; write the docs' table.

Usage: python benchmarks/vision.py [--only NAME ...] [--resume] [--untimed]. It needs ultralytics and transformers
beside what the README installs. Each model is deployed by the command line in float32 and float16, with plans by
TensorRT for RTX, in a temporary folder; its graph is then compared with eager PyTorch in float64 at sizes that were
not traced (outcomes.py). Writes benchmarks/results/vision.json and docs/vision.md after every model; --resume keeps the
rows of the same code that are there, and --untimed stores no time, on a machine that does other work. Exit code 1 if a
graph is wrong or a refusal has no reason.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from code_hash import code_hash, of_several_versions
from large import SECONDS, family, resident_mib
from page_text import escaped, generated, table, whole_words
from stored_results import heading, store

ROOT = Path(__file__).parent.parent
RESULTS, PAGE = ROOT / "benchmarks/results/vision.json", ROOT / "docs/vision.md"
PACKAGES = ("torch", "torchvision", "ultralytics", "transformers", "timm", "onnxruntime-gpu", "tensorrt-rtx")
ROOMS = ("core", "modules", "export", "engines", "validate", "workflows")
LONGEST = 260
REFUSED = 2  # the exit code of bad input and of modules that are refused
# where packages are installed on this machine
SITE = re.compile(r"/\S*/site-packages/")
BATCH = "batch=1:2:4"
SIDES = "height=64:96:128:32,width=64:96:128:32"
# what the heads of YOLO11 and YOLO26 read
NECK = "model.16,model.19,model.22"
# of a detection transformer, so that it takes minutes
SMALL_DETR = ",".join(
    (
        "d_model=64,encoder_hidden_dim=64,encoder_ffn_dim=128,decoder_ffn_dim=128,decoder_layers=2,num_queries=20",
        "encoder_attention_heads=4,decoder_attention_heads=4,decoder_in_channels=64/64/64",
        "encoder_in_channels=32/64/64,backbone_config.embedding_size=16,backbone_config.hidden_sizes=16/32/64/64",
        "backbone_config.depths=1/1/1/1,backbone_config.layer_type=basic,num_labels=12",
    )
)


# of a transformer for images of 14 x 14 patches
SMALL_VIT = "hidden_size=64,num_hidden_layers=4,num_attention_heads=4"
SMALL_DEPTH = ",".join(
    (
        "reassemble_hidden_size=64,neck_hidden_sizes=16/32/32/64,fusion_hidden_size=32,head_hidden_size=16",
        *(f"backbone_config.{option}" for option in SMALL_VIT.split(",")),
        "backbone_config.image_size=98,backbone_config.out_indices=1/2/3/4",
    )
)
SMALL_DECODER = ",".join(
    (
        "d_model=64,encoder_layers=2,decoder_layers=2,encoder_ffn_dim=128,decoder_ffn_dim=128,num_queries=20",
        "encoder_attention_heads=4,decoder_attention_heads=4,backbone_config.backbone=resnet10t,num_labels=12",
    )
)
SMALL_EOMT = f"{SMALL_VIT},image_size=64,num_blocks=1,num_queries=10,num_labels=12"
SMALL_POSE = ",".join(
    f"backbone_config.{option}" for option in (*SMALL_VIT.split(","), "image_size=64/48", "out_indices=4")
)
SAM3 = "2x3x112x112"
SMALL_SAM3 = ",".join(
    f"backbone_config.{option}"
    for option in (*SMALL_VIT.split(","), "intermediate_size=128", "image_size=112", "window_size=4")
)
SMALL_MASKS = ",".join(
    (
        "feature_size=64,mask_feature_size=64,hidden_dim=64,encoder_feedforward_dim=128,encoder_layers=2,decoder_layers=2",
        "num_attention_heads=4,dim_feedforward=128,num_queries=20,num_labels=12,backbone_config.embed_dim=32",
        "backbone_config.depths=1/1/2/1,backbone_config.num_heads=2/2/4/8,backbone_config.window_size=4",
    )
)


@dataclass(frozen=True)
class Model:
    """A row: the target, how it is called, the traced shape and what varies."""

    title: str
    target: str
    shape: str
    dynamic: str

    @property
    def words(self) -> list[str]:
        """The options of the command."""
        return ["--shape", self.shape, "--dynamic", self.dynamic, "--precision", "fp32,fp16"]


def models() -> dict[str, Model]:
    """Return every model by its name; the newest YOLO is the newest that the installed Ultralytics knows."""
    from attn2trt.modules.libraries.ultralytics_yaml import newest

    small, any_size = "2x3x96x96", f"{BATCH},{SIDES}"
    new = newest()
    return {
        "yolo11n": Model("YOLO11n", "ultralytics:yolo11n.yaml", small, any_size),
        "yolo11n+cbam": Model("YOLO11n, CBAM at its neck", f"ultralytics:yolo11n.yaml+cbam@{NECK}", small, any_size),
        "newest": Model(f"{_name(new)}, the newest", f"ultralytics:{new}", small, any_size),
        "newest+cbam": Model(f"{_name(new)}, CBAM at its neck", f"ultralytics:{new}+cbam@{NECK}", small, any_size),
        "newest-end2end": Model(
            f"{_name(new)}, the best boxes picked inside", f"ultralytics:{new}:end2end=true", small, any_size
        ),
        "newest-seg": Model(f"{_name(new)}-seg", f"ultralytics:{new.replace('.yaml', '-seg.yaml')}", small, any_size),
        "yolo11n-seg": Model("YOLO11n-seg", "ultralytics:yolo11n-seg.yaml", small, any_size),
        "yolo11n-pose": Model("YOLO11n-pose", "ultralytics:yolo11n-pose.yaml", small, any_size),
        "yolo11n-obb": Model("YOLO11n-obb", "ultralytics:yolo11n-obb.yaml", small, any_size),
        "yolo11n-cls": Model("YOLO11n-cls", "ultralytics:yolo11n-cls.yaml", small, any_size),
        "rt-detr": Model("RT-DETR, shrunk", f"transformers:rt_detr:{SMALL_DETR}", small, any_size),
        "lraspp": Model("LR-ASPP", "torchvision:lraspp_mobilenet_v3_large", small, any_size),
        "deeplab": Model("DeepLabV3", "torchvision:deeplabv3_mobilenet_v3_large", small, any_size),
        "ssdlite-sizes": Model(
            "SSDLite at other sizes than its own",
            "torchvision:ssdlite320_mobilenet_v3_large",
            small,
            f"{BATCH},height=64:96:128,width=64:96:128",
        ),
        "fasterrcnn": Model("Faster R-CNN", "torchvision:fasterrcnn_mobilenet_v3_large_320_fpn", "2x3x320x320", BATCH),
        "segformer": Model(
            "SegFormer, shrunk",
            "transformers:segformer:hidden_sizes=16/32/64/128,depths=1/1/1/1,decoder_hidden_size=64,num_labels=12",
            small,
            any_size,
        ),
        "swinv2": Model(
            "Swin v2, shrunk",
            "transformers:swinv2:embed_dim=32,depths=1/1/2/1,num_heads=2/2/4/8,image_size=128,window_size=4,num_labels=12",
            "2x3x128x128",
            BATCH,
        ),
        "dinov2": Model(
            "DINOv2, shrunk",
            f"transformers:Dinov2Model:{SMALL_VIT},image_size=98",
            "2x3x98x98",
            f"{BATCH},height=70:98:140:14,width=70:98:140:14",
        ),
        "dinov3": Model(
            "DINOv3, shrunk", f"transformers:DINOv3ViTModel:{SMALL_VIT},intermediate_size=128", small, any_size
        ),
        "clip": Model(
            "CLIP, the tower of images, shrunk",
            f"transformers:CLIPVisionModelWithProjection:{SMALL_VIT},intermediate_size=128,image_size=96,patch_size=16",
            small,
            BATCH,
        ),
        "depth-anything": Model(
            "Depth Anything, shrunk", f"transformers:depth_anything:{SMALL_DEPTH}", "2x3x98x98", BATCH
        ),
        "sam": Model(
            "SAM, the encoder of images, shrunk",
            f"transformers:SamVisionModel:{SMALL_VIT},mlp_dim=128,image_size=128,output_channels=32,window_size=4",
            "2x3x128x128",
            BATCH,
        ),
        "detr": Model("DETR, shrunk", f"transformers:detr:{SMALL_DECODER}", small, any_size),
        "deformable-detr": Model(
            "Deformable DETR, shrunk", f"transformers:deformable_detr:{SMALL_DECODER}", small, any_size
        ),
        "mask2former": Model("Mask2Former, shrunk", f"transformers:mask2former:{SMALL_MASKS}", small, BATCH),
        "raft": Model("RAFT, small, 4 updates", "torchvision:raft_small:num_flow_updates=4", "2x3x128x128", BATCH),
        **further(),
        "r3d": Model(
            "R3D-18, clips",
            "torchvision:r3d_18",
            "2x3x4x32x32",
            f"{BATCH},dim2=4:4:8,height=32:32:64,width=32:32:64",
        ),
    }


def further() -> dict[str, Model]:
    """Return the models that are deployed as they are named, and those that are refused."""
    small = "2x3x64x64"
    found = {
        "yolov9t": ("YOLOv9t", "ultralytics:yolov9t.yaml", small, BATCH),
        "yolov10n": ("YOLOv10n", "ultralytics:yolov10n.yaml", small, BATCH),
        "yolo12n": ("YOLO12n", "ultralytics:yolo12n.yaml", small, BATCH),
        "googlenet": ("GoogLeNet", "torchvision:googlenet", small, BATCH),
        "retinanet": ("RetinaNet", "torchvision:retinanet_resnet50_fpn", small, BATCH),
        "fcos": ("FCOS", "torchvision:fcos_resnet50_fpn", small, BATCH),
        "eomt": ("EoMT, shrunk", f"transformers:eomt:{SMALL_EOMT}", small, BATCH),
        "rt-detr-v2": ("RT-DETRv2, shrunk", f"transformers:rt_detr_v2:{SMALL_DETR}", small, BATCH),
        "vitpose": ("ViTPose, shrunk", f"transformers:vitpose:{SMALL_POSE}", "2x3x64x48", BATCH),
        "sam3": ("SAM 3, the encoder of images, shrunk", f"transformers:Sam3VisionModel:{SMALL_SAM3}", SAM3, BATCH),
        "sam3-text": ("SAM 3, with its text", "transformers:sam3", "2x3x1008x1008", BATCH),
        "superpoint": ("SuperPoint, one image", "transformers:superpoint", "1x3x64x64", "height=48:64:96:8"),
        "superpoint-batch": ("SuperPoint, any batch", "transformers:superpoint", small, BATCH),
        "lightglue": ("LightGlue", "transformers:lightglue", "1x2x3x64x64", "none"),
    }
    return {name: Model(*model) for name, model in found.items()}


def _name(description: str) -> str:
    return description.removesuffix(".yaml").replace("yolo", "YOLO")


@dataclass(frozen=True)
class Ran:
    """A command: its exit code, what it printed, seconds from start to end, and the largest memory of its family."""

    exit_code: int
    stdout: str
    stderr: str
    seconds: float
    peak_mib: float


def deploy(model: Model, folder: Path) -> Ran:
    """Run the command and sample the memory of it and all processes below it."""
    command = [sys.executable, "-m", "attn2trt", "deploy", model.target, *model.words, "-o", "bundle"]
    paths = os.pathsep.join(filter(None, [str(ROOT / ".typing"), os.environ.get("PYTHONPATH", "")]))
    with (folder / "stdout").open("w+") as stdout, (folder / "stderr").open("w+") as stderr:
        since, peak = time.perf_counter(), 0.0
        environment = {**os.environ, "PYTHONPATH": paths}
        child = subprocess.Popen(command, cwd=folder, env=environment, stdout=stdout, stderr=stderr)
        while child.poll() is None:
            peak = max(peak, sum(map(resident_mib, family(child.pid))))
            time.sleep(SECONDS)
        seconds = time.perf_counter() - since
    printed = [(folder / name).read_text() for name in ("stdout", "stderr")]
    return Ran(child.returncode, *printed, seconds, peak)


def measure(name: str, model: Model) -> dict[str, Any]:
    """Return the row of a model."""
    row = {"name": name, "title": model.title, "target": model.target, "shape": model.shape, "dynamic": model.dynamic}
    with tempfile.TemporaryDirectory(prefix="vision-") as text:
        folder = Path(text)
        ran = deploy(model, folder)
        row |= {"exit_code": ran.exit_code, "seconds": round(ran.seconds, 1), "peak_mib": round(ran.peak_mib)}
        if not (folder / "bundle/bundle.json").is_file():
            lines = (ran.stderr or ran.stdout).strip().splitlines()
            return row | {"refused": SITE.sub("", lines[-1].removeprefix("error: ")) if lines else ""}
        return row | judged(model, folder / "bundle")


def judged(model: Model, folder: Path) -> dict[str, Any]:
    """Return what the bundle says of itself, and what an independent comparison says of its graph."""
    from outcomes import compare

    from attn2trt.core.bundle import open_bundle
    from attn2trt.modules.catalog import build
    from attn2trt.validate.verdict import Verdict

    bundle = open_bundle(folder)
    verdict = Verdict.from_json(bundle.manifest["verdict"])
    stages = [
        {"stage": one.label, "status": one.status, "why": SITE.sub("", one.why), "ratio": round(one.worst_ratio, 2)}
        for one in verdict.stages
    ]
    module = build(model.target, shapes=[model.shape])
    facts = {
        "passed": bool(verdict),
        "axes": {name: axis.text for name, axis in bundle.axes.items()},
        "parameters": sum(parameter.numel() for parameter in module.parameters()),
        "left_out": [said for said in bundle.manifest.get("hidden", []) if "not judged" in said],
        "stages": stages,
    }
    if facts["left_out"] or any(one.has_own_picks for one in verdict.stages):
        return facts  # the comparison does not know of near ties
    found = compare(bundle.model_path, module, bundle.inputs, bundle.axes, is_claimed=True)
    return facts | {"compared": found.to_json()}


def is_right(row: dict[str, Any]) -> bool:
    """Return True for a graph that is right at every size compared, and for a refusal with its reason."""
    if "refused" in row:
        return bool(row["refused"]) and row["exit_code"] == REFUSED
    compared = row.get("compared", {"result": "right"})
    return compared["result"] == "right" and all(one["why"] for one in row["stages"] if one["status"] == "failed")


def page(document: dict[str, Any]) -> str:
    """The docs page."""
    rows = document["rows"]
    lines = [
        "# Detectors, segmenters, transformers",
        "",
        generated("python benchmarks/vision.py", document),
        "",
        "Models of libraries, with random weights, deployed by the command line without a GPU: float32 and float16,",
        "the whole verdict, and plans by TensorRT for RTX, which parses and builds, and runs nothing. *float32* and",
        "*float16* are the verdict's worst stages in ONNX Runtime, with the largest error in PyTorch's own roundings.",
        "*Sizes* were compared with eager PyTorch in float64 by another program: traced, the ends of every range and",
        "sizes inside. A dash: near ties decide which boxes are picked. *Time* is that of the whole command, *memory*",
        "the largest of it and all its processes together; about 700 MiB are PyTorch and ONNX Runtime themselves. Rows",
        "without a time were measured while the machine did other work.",
        "",
        "Ultralytics is under AGPL-3.0, and so is what you deploy of it, unless you have another licence from its",
        "makers.",
        "",
        *table(
            "model | parameters | varies | float32 | float16 | TensorRT fp32, fp16 | sizes right | time | memory",
            map(_cells, rows),
        ),
        *of_several_versions(rows),
        "",
        "## Targets",
        "",
        *table("model | `attn2trt deploy` with", ((row["title"], f"`{_options(row)}`") for row in rows)),
    ]
    said = [f"- {row['title']}: {whole_words(escaped(why), LONGEST)}" for row in rows for why in _reasons(row)]
    return "\n".join([*lines, *(["", "## What fails or is not judged, and why", "", *said] if said else [])]) + "\n"


def _options(row: dict[str, Any]) -> str:
    return f"{row['target']} --shape {row['shape']} --dynamic {row['dynamic']} --precision fp32,fp16"


def _cells(row: dict[str, Any]) -> list[str]:
    cost = (f"{row['seconds']:.0f} s" if "seconds" in row else "", f"{row['peak_mib']} MiB")
    if "refused" in row:
        return [row["title"], "", "", "**refused**", "", "", "", *cost]
    compared = row.get("compared")
    sizes = "-" if compared is None else f"{compared['sizes']} of {compared['sizes']}"
    sizes = sizes if compared is None or compared["result"] == "right" else f"**{compared['result']}**"
    return [
        row["title"],
        f"{row['parameters'] / 1e6:.1f} M",
        ", ".join(row["axes"]),
        _worst(row, is_half=False),
        _worst(row, is_half=True),
        ", ".join(one["status"] for one in row["stages"] if one["stage"].startswith("tensorrt-rtx")),
        sizes,
        *cost,
    ]


def _worst(row: dict[str, Any], *, is_half: bool) -> str:
    """Return the worst of the stages in float16, or of the others."""
    found = [
        one
        for one in row["stages"]
        if not one["stage"].startswith("tensorrt") and ("fp16" in one["stage"].split()) is is_half
    ]
    ratio = max((one["ratio"] for one in found), default=0.0)
    wrong = next((one["status"] for one in found if not one["status"].startswith("passed")), "")
    return f"**{wrong}**" if wrong else f"passed, {ratio:.2g}"


def _reasons(row: dict[str, Any]) -> list[str]:
    """Return why a model was refused, and each stage that failed, once for each reason."""
    if "refused" in row:
        return [row["refused"]]
    failed = {one["why"]: one["stage"] for one in reversed(row["stages"]) if one["status"] == "failed"}
    return [*(f"{stage} failed: {why}" for why, stage in reversed(failed.items())), *row["left_out"]]


def show(row: dict[str, Any]) -> None:
    """Print what came of a model."""
    result = row.get("refused") or ("passed" if row["passed"] else "failed")
    compared = row.get("compared", {}).get("result", "")
    print(row["name"], result, compared, *_cells(row)[-2:], sep=" | ", flush=True)


def main(names: Sequence[str], *, resume: bool, is_timed: bool = True) -> int:
    """Measure every model, or those that are named; return 1 if one is wrong without a reason."""
    known = models()
    if unknown := [name for name in names if name not in known]:
        raise SystemExit(f"received {unknown[0]!r}; expected {', '.join(known)}")
    stored = json.loads(RESULTS.read_text())["rows"] if RESULTS.exists() and (resume or names) else []
    sources = code_hash(ROOMS)
    rows = {row["name"]: row for row in stored if names or row["sources"] == sources}
    for name in names or [name for name in known if name not in rows]:
        rows[name] = {**measure(name, known[name]), "sources": sources}
        if not is_timed:
            del rows[name]["seconds"]
        show(rows[name])
        document = heading(*PACKAGES) | {"rows": [rows[name] for name in known if name in rows]}
        store(document, RESULTS, PAGE, page(document))
    return 0 if all(map(is_right, rows.values())) else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="measured anew, the others kept")
    parser.add_argument("--resume", action="store_true", help="keep the stored rows of the same code")
    parser.add_argument("--untimed", action="store_true", help="store no time: the machine does other work")
    arguments = parser.parse_args()
    sys.exit(main(arguments.only, resume=arguments.resume, is_timed=not arguments.untimed))
