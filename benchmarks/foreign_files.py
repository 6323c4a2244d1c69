"""ONNX files as other tools write them: each function of ``MAKERS`` writes one and returns how it has to be checked.

Networks have random weights, seed 0. Files that a package ships are taken from where it is installed. optimum needs an
older transformers than this environment may have: the variable OPTIMUM names the folder into which it was installed by
``pip install --no-deps --target FOLDER optimum==2.1.* optimum-onnx 'transformers<4.58' 'huggingface_hub<1' ...``.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import distributions, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIZE = 64


@dataclass(frozen=True)
class Foreign:
    """A file of another tool: the model, the tool that wrote it, and what ``check_model`` needs to know."""

    model: str
    tool: str
    write: Callable[[Path], None]
    options: dict[str, Any] = field(default_factory=dict)


def networks() -> Iterator[Foreign]:
    """Yield torchvision's networks by PyTorch's two exporters, at every opset that the older one writes."""
    for name, opset in (
        ("resnet18", 9),
        ("squeezenet1_1", 10),
        ("mobilenet_v2", 11),
        ("shufflenet_v2_x0_5", 12),
        ("resnet18", 13),
        ("vit", 14),
        ("regnet_y_400mf", 15),
        ("mnasnet0_5", 16),
        ("mobilenet_v3_small", 17),
    ):
        yield Foreign(name, f"torch.onnx (TorchScript), opset {opset}", functools.partial(script, name, opset))
    for name, opset in (("resnet18", 18), ("mobilenet_v3_small", 20), ("efficientnet_b0", 22)):
        tool = f"torch.onnx (torch.export), opset {opset}, weights beside it"
        yield Foreign(name, tool, functools.partial(exported, name, opset))
    sides = {"dynamic": "h=64:96:128:32,w=64:96:128:32"}
    writes = functools.partial(script, "lraspp_mobilenet_v3_large", 16)
    yield Foreign("lraspp_mobilenet_v3_large", "torch.onnx (TorchScript), opset 16", writes, sides)


def module(name: str) -> Any:
    """Return a network of torchvision with random weights, scaled layer by layer so that nothing fades out."""
    import torch
    import torchvision

    from attn2trt.modules.randomise import randomise

    if name == "vit":
        kind = torchvision.models.VisionTransformer
        network = kind(image_size=SIZE, patch_size=16, num_layers=4, num_heads=4, hidden_dim=64, mlp_dim=128).eval()
    else:
        options = {"weights_backbone": None} if name.startswith("lraspp") else {}
        network = torchvision.models.get_model(name, weights=None, **options).eval()
    torch.manual_seed(0)
    network = _Out(network) if name.startswith("lraspp") else network
    randomise(network, (torch.randn(2, 3, SIZE, SIZE),), seed=0)
    return network


def script(name: str, opset: int, path: Path, **more: Any) -> None:
    """Write with PyTorch's TorchScript exporter; only the batch varies, and the sides of a segmenter's image."""
    import torch

    axes = {0: "n"} | ({2: "h", 3: "w"} if name.startswith("lraspp") else {})
    network = module(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (torch.randn(2, 3, SIZE, SIZE),),
            str(path),
            dynamo=False,
            opset_version=opset,
            input_names=["image"],
            output_names=["scores"],
            dynamic_axes={"image": axes, "scores": axes},
            **more,
        )


def exported(name: str, opset: int, path: Path) -> None:
    """Write with PyTorch's exporter of today."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module(name),
            (torch.randn(2, 3, SIZE, SIZE),),
            str(path),
            dynamo=True,
            opset_version=opset,
            dynamic_shapes=({0: torch.export.Dim("n", min=1, max=8)},),
            external_data=True,
            verbose=False,
        )


def _Out(network: Any) -> Any:
    import torch

    class Out(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = self.network(image)["out"]
            return found

    return Out().eval()


def layers() -> Iterator[Foreign]:
    """Yield single layers whose operators are seldom."""
    for name, opset in (("bicubic", 11), ("nms", 11), ("loop", 13), ("lstm", 14), ("grid", 16), ("gelu", 17)):
        yield Foreign(
            name, f"torch.onnx (TorchScript), opset {opset}", functools.partial(layer, name, opset), LAYERS[name]
        )


LAYERS: dict[str, dict[str, Any]] = {
    "bicubic": {},
    "nms": {"shapes": ["boxes=20x4:float32[0,9]", "scores=20:float32[0,1]"], "dynamic": "none"},
    "loop": {},
    "lstm": {},
    "grid": {"shapes": ["grid=2x6x6x2:float32[-1,1]"]},
    "gelu": {},
}


def layer(name: str, opset: int, path: Path) -> None:
    """Write one layer with PyTorch's TorchScript exporter."""
    import torch
    import torchvision
    from torch import nn

    class Bicubic(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.interpolate(x, scale_factor=2.0, mode="bicubic")

    class Nms(nn.Module):
        def forward(self, boxes: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
            corners = torch.cat([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1)
            return torchvision.ops.nms(corners, scores, 0.5)

    class Loop(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for _ in range(int(x.shape[1])):
                x = x * 0.9 + x.mean()
            return x

    class Lstm(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(8, 16, batch_first=True, bidirectional=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = self.lstm(x)[0]
            return found

    class Grid(nn.Module):
        def forward(self, x: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
            return nn.functional.grid_sample(x, grid, align_corners=False)

    image = torch.randn(2, 3, 8, 8)
    torch.manual_seed(0)
    made: dict[str, tuple[Any, tuple[torch.Tensor, ...], list[str]]] = {
        "bicubic": (Bicubic(), (image,), ["x"]),
        "nms": (Nms(), (torch.rand(20, 4), torch.rand(20)), ["boxes", "scores"]),
        "loop": (Loop(), (torch.randn(2, 3),), ["x"]),
        "lstm": (Lstm(), (torch.randn(2, 5, 8),), ["x"]),
        "grid": (Grid(), (image, torch.rand(2, 6, 6, 2)), ["x", "grid"]),
        "gelu": (nn.Sequential(nn.Linear(8, 8), nn.GELU(), nn.LayerNorm(8)), (torch.randn(2, 5, 8),), ["x"]),
    }
    network, inputs, names = made[name]
    axes = {} if name == "nms" else {one: {0: "n"} for one in (*names, "y")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            torch.jit.script(network) if name == "loop" else network.eval(),
            inputs,
            str(path),
            dynamo=False,
            opset_version=opset,
            input_names=names,
            output_names=["y"],
            dynamic_axes=axes,
        )


def rewritten() -> Iterator[Foreign]:
    """Yield what optimisers, converters and quantisers make of two networks."""
    mobile = functools.partial(script, "mobilenet_v3_small", 17)
    small = functools.partial(script, "resnet18", 13)
    yield Foreign("mobilenet_v3_small", f"onnxslim {_version('onnxslim')}", functools.partial(slim, mobile))
    yield Foreign("resnet18", f"onnxsim {_version('onnxsim')}", functools.partial(simplified, small))
    yield Foreign("resnet18", "onnx.version_converter, opset 22", functools.partial(raised, small))
    yield Foreign("resnet18", "torch.onnx, weights as inputs, opset 9", functools.partial(weights_as_inputs, 9))
    ort = f"ONNX Runtime {_version('onnxruntime-gpu')}"
    for how in ("QDQ", "QOperator"):
        yield Foreign("resnet18", f"{ort}, static {how}", functools.partial(quantised, small, how))
    yield Foreign("resnet18", f"{ort}, dynamic int8", functools.partial(quantised, small, "dynamic"))
    yield Foreign("resnet18", f"{ort}, float16", functools.partial(half, small, "onnxruntime"))
    common = f"onnxconverter-common {_version('onnxconverter-common')}, float16"
    yield Foreign("resnet18", common, functools.partial(half, small, "onnxconverter_common"))
    for level in ("basic", "extended"):
        yield Foreign("resnet18", f"{ort}, optimised ({level})", functools.partial(optimised, small, level))


def _version(package: str) -> str:
    return version(package)


def slim(source: Callable[[Path], None], path: Path) -> None:
    """Write what onnxslim makes of a file."""
    import onnxslim

    source(path)
    onnx.save(onnxslim.slim(onnx.load(str(path))), str(path))


def simplified(source: Callable[[Path], None], path: Path) -> None:
    """Write what onnxsim makes of a file."""
    import onnxsim

    source(path)
    onnx.save(onnxsim.simplify(onnx.load(str(path)))[0], str(path))


def raised(source: Callable[[Path], None], path: Path) -> None:
    """Write what ONNX's own converter makes of a file."""
    source(path)
    onnx.save(onnx.version_converter.convert_version(onnx.load(str(path)), 22), str(path))


def weights_as_inputs(opset: int, path: Path) -> None:
    """Write a file of the old kind, which lists its weights among its inputs."""
    script("resnet18", opset, path, keep_initializers_as_inputs=True)


def quantised(source: Callable[[Path], None], how: str, path: Path) -> None:
    """Write what ONNX Runtime's quantiser makes of a file."""
    from onnxruntime import quantization

    before = path.with_name("before.onnx")
    source(before)
    if how == "dynamic":
        quantization.quantize_dynamic(str(before), str(path))
        return

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            rng = np.random.default_rng(0)
            shape = (2, 3, SIZE, SIZE)
            self._feeds = iter([{"image": rng.normal(size=shape).astype(np.float32)} for _ in range(4)])

        def get_next(self) -> Any:
            return next(self._feeds, None)

    kind = quantization.QuantFormat[how]
    quantization.quantize_static(str(before), str(path), Reader(), quant_format=kind, per_channel=True)


def half(source: Callable[[Path], None], package: str, path: Path) -> None:
    """Write what a converter to float16 makes of a file: with float32 inputs and outputs, or in float16 throughout."""
    source(path)
    model = onnx.load(str(path))
    if package == "onnxruntime":
        from onnxruntime.transformers.float16 import convert_float_to_float16

        found = convert_float_to_float16(model, keep_io_types=True)
    else:
        from onnxconverter_common.float16 import convert_float_to_float16 as convert

        found = convert(model)
    onnx.save(found, str(path))


def optimised(source: Callable[[Path], None], level: str, path: Path) -> None:
    """Write the graph as ONNX Runtime optimised it; beyond the basic level it has operators of its own."""
    import onnxruntime

    before = path.with_name("before.onnx")
    source(before)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, f"ORT_ENABLE_{level.upper()}")
    options.optimized_model_filepath = str(path)
    onnxruntime.InferenceSession(str(before), options, providers=["CPUExecutionProvider"])


def by_hand() -> Iterator[Foreign]:
    """Yield graphs of onnx.helper."""
    yield Foreign("two layers", "onnx.helper, weights beside it", handmade_external)
    yield Foreign("one layer", "onnx.helper, bfloat16", handmade_bfloat16)
    yield Foreign("one layer", "onnx.helper, a function of the file", handmade_function)


def _dense(dtype: int, name: str = "MatMul", domain: str = "") -> onnx.ModelProto:
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(16, 12)).astype(helper.tensor_dtype_to_np_dtype(dtype))
    graph = helper.make_graph(
        [helper.make_node(name, ["x", "w"], ["z"], domain=domain), helper.make_node("Tanh", ["z"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT if domain else dtype, ("n", 16))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT if domain else dtype, ("n", 12))],
        [numpy_helper.from_array(weight, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def handmade_external(path: Path) -> None:
    """Write a layer whose weight lies beside it."""
    beside = {"save_as_external_data": True, "location": "layer.weights", "size_threshold": 0}
    onnx.save_model(_dense(TensorProto.FLOAT), str(path), **beside)


def handmade_bfloat16(path: Path) -> None:
    """Write a layer that casts to bfloat16 and back."""
    model = _dense(TensorProto.BFLOAT16)
    for value, cast in ((model.graph.input[0], "x"), (model.graph.output[0], "y")):
        value.type.tensor_type.elem_type = TensorProto.FLOAT
        value.name = f"{cast}32"
    nodes = list(model.graph.node)
    del model.graph.node[:]
    first = helper.make_node("Cast", ["x32"], ["x"], to=TensorProto.BFLOAT16)
    model.graph.node.extend([first, *nodes, helper.make_node("Cast", ["y"], ["y32"], to=TensorProto.FLOAT)])
    onnx.save(model, str(path))


def handmade_function(path: Path) -> None:
    """Write a layer whose product is a function that the file defines."""
    model = _dense(TensorProto.FLOAT, "Layer", "local")
    body = [helper.make_node("MatMul", ["a", "b"], ["c"])]
    model.functions.append(helper.make_function("local", "Layer", ["a", "b"], ["c"], body, model.opset_import[:1]))
    model.opset_import.append(helper.make_opsetid("local", 1))
    onnx.save(model, str(path))


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


def by_ultralytics() -> Iterator[Foreign]:
    """Yield what Ultralytics' own exporter writes of its networks, if it is installed."""
    if find_spec("ultralytics") is None:
        return
    tool = f"ultralytics {_version('ultralytics')}"
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


def makers() -> list[Foreign]:
    """Return every file, in the order of the page."""
    return [*networks(), *layers(), *rewritten(), *by_ultralytics(), *by_optimum(), *by_hand(), *shipped()]
