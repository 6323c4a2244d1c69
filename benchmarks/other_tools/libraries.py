"""Files that libraries write of their own models, if they are installed, and files that a package ships.

optimum needs an older transformers than this environment may have: the variable OPTIMUM names the folder into which it
was installed by ``pip install --no-deps --target FOLDER optimum==2.1.* optimum-onnx 'transformers<4.58'
'huggingface_hub<1' ...``.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from importlib.metadata import distributions, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from other_tools.foreign_file import SIZE, Foreign


def by_ultralytics() -> Iterator[Foreign]:
    """Yield what Ultralytics' own exporter writes of its networks, if it is installed."""
    if find_spec("ultralytics") is None:
        return
    tool = f"ultralytics {version('ultralytics')}"
    sides = {"shapes": ["2x3x96x96"], "dynamic": "batch=1:2:4,height=64:96:128:32,width=64:96:128:32"}
    for name, more, options in (
        ("yolo11n", "", {"simplify": False}),
        ("yolo11n", ", simplified", {"simplify": True}),
        ("yolo11n", ", simplified, float16", {"simplify": True, "quantize": 16}),
        ("yolo11n-seg", ", simplified", {"simplify": True}),
        ("yolo26n", ", simplified, the best boxes picked inside", {"simplify": True, "nms": False}),
    ):
        yield Foreign(name, f"{tool}{more}", functools.partial(yolo, name, options), dict(sides))


def yolo(name: str, options: dict[str, Any], path: Path) -> None:
    """Write with Ultralytics' exporter, which names the file itself and writes it into the working folder."""
    import torch

    from attn2trt.modules.libraries.ultralytics_offline import network_tasks
    from attn2trt.modules.randomise import randomise

    network_tasks()  # imported without its calls to the network
    from ultralytics import YOLO

    model, before = YOLO(f"{name}.yaml"), Path.cwd()
    torch.manual_seed(0)
    randomise(model.model, (torch.rand(2, 3, SIZE, SIZE),), seed=0)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        os.chdir(folder)
        try:
            model.export(format="onnx", imgsz=SIZE, batch=2, dynamic=True, opset=17, **options)
            shutil.copy(f"{name}.onnx", path)
        finally:
            os.chdir(before)


OPTIMUM = """
import sys, torch
from pathlib import Path
from optimum.exporters.onnx import export
from optimum.exporters.tasks import TasksManager
from transformers import AutoConfig
import transformers
kind, task, type_, path = sys.argv[1:5]
options = dict(pair.split("=") for pair in sys.argv[5:])
values = {key: [int(one) for one in text.split("/")] if "/" in text else int(text) for key, text in options.items()}
torch.manual_seed(0)
model = getattr(transformers, kind)(AutoConfig.for_model(type_, **values)).eval()
with torch.no_grad():
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.normal_(0, parameter[0].numel() ** -0.5)
config = TasksManager.get_exporter_config_constructor("onnx", model, task=task)(model.config)
export(model, config, Path(path), opset=17)
"""


def by_optimum() -> Iterator[Foreign]:
    """Yield what optimum writes of small models of transformers, if the variable OPTIMUM names its folder."""
    folder = os.environ.get("OPTIMUM", "")
    if not folder:
        return
    found = {dist.metadata["Name"]: dist.version for dist in distributions(path=[folder])}
    tool = f"optimum-onnx {found['optimum-onnx']}, transformers {found['transformers']}"
    vit = "hidden_size=32 num_hidden_layers=2 num_attention_heads=2 intermediate_size=64 image_size=64 patch_size=8"
    seg = "hidden_sizes=16/32/40/64 depths=1/1/1/1 decoder_hidden_size=32"
    swin = "embed_dim=16 depths=1/1 num_heads=2/2 image_size=64 patch_size=4 window_size=4"
    one_size = {"shapes": ["2x3x64x64"], "dynamic": "batch_size=1:2:4,height=none,width=none"}
    for kind, task, type_, options, asked in (
        ("ViTForImageClassification", "image-classification", "vit", vit, one_size),
        ("SegformerForSemanticSegmentation", "semantic-segmentation", "segformer", seg, one_size),
        ("SwinForImageClassification", "image-classification", "swin", swin, one_size),
    ):
        words = (kind, task, type_, *options.split())
        yield Foreign(type_, tool, functools.partial(optimum, folder, words), dict(asked))


def optimum(folder: str, words: tuple[str, ...], path: Path) -> None:
    """Write with optimum, in a process that finds it and the transformers that it needs first."""
    paths = os.pathsep.join(filter(None, [folder, os.environ.get("PYTHONPATH", "")]))
    command = [sys.executable, "-W", "ignore", "-c", OPTIMUM, *words[:3], str(path), *words[3:]]
    environment = {**os.environ, "PYTHONPATH": paths, "HF_HUB_OFFLINE": "1"}
    subprocess.run(command, env=environment, check=True, capture_output=True)


def shipped() -> Iterator[Foreign]:
    """Yield the files of a package of text recognition, which PaddlePaddle's converter wrote."""
    found = find_spec("rapidocr_onnxruntime")
    folder = Path(str(found.origin)).parent / "models" if found is not None else None
    sides = "p2o.DynamicDimension.1=64:96:128:32,p2o.DynamicDimension.2=64:96:128:32"
    for name, options in (
        ("ch_PP-OCRv4_det_infer", {"dynamic": sides}),
        ("ch_PP-OCRv4_rec_infer", {"shapes": ["2x3x48x96"]}),
        ("ch_ppocr_mobile_v2.0_cls_infer", {"shapes": ["2x3x48x96"]}),
    ):
        if folder is not None and (folder / f"{name}.onnx").is_file():
            copy = functools.partial(shutil.copy, folder / f"{name}.onnx")
            yield Foreign(name, "paddle2onnx, as rapidocr-onnxruntime ships it", copy, dict(options))
