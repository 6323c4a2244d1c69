"""Networks of torchvision, written by PyTorch's two exporters."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import nn

from attn2trt.modules.randomise import randomise
from other_tools.foreign_file import SIZE, Foreign


class Scores(nn.Module):
    """A segmenter's scores alone, without the dict around them."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.network(image)["out"]
        return found


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


def module(name: str) -> nn.Module:
    """Return a network of torchvision with random weights, scaled layer by layer so that nothing fades out."""
    if name == "vit":
        kind = torchvision.models.VisionTransformer
        network = kind(image_size=SIZE, patch_size=16, num_layers=4, num_heads=4, hidden_dim=64, mlp_dim=128).eval()
    else:
        options = {"weights_backbone": None} if name.startswith("lraspp") else {}
        network = torchvision.models.get_model(name, weights=None, **options).eval()
    torch.manual_seed(0)
    network = Scores(network).eval() if name.startswith("lraspp") else network
    randomise(network, (torch.randn(2, 3, SIZE, SIZE),), seed=0)
    return network


def script(name: str, opset: int, path: Path, **more: Any) -> None:
    """Write with PyTorch's TorchScript exporter; only the batch varies, and the sides of a segmenter's image."""
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
