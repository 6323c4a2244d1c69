"""A package in place of Ultralytics: what it does when it is imported, a backbone, and heads with its switches."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

UTILS = """
import json, os, numpy, torch, warnings
if not os.environ.get("OMP_NUM_THREADS"):
    os.environ["OMP_NUM_THREADS"] = "1"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
ONLINE = os.environ.get("YOLO_OFFLINE") != "true"
AUTOINSTALL = os.environ.get("YOLO_AUTOINSTALL") != "false"
FOLDER = os.environ.get("YOLO_CONFIG_DIR", os.path.expanduser("~"))
SETTINGS = {"sync": True}
with open(os.path.join(FOLDER, "settings.json"), "w") as file:
    json.dump(SETTINGS, file)
numpy.set_printoptions(linewidth=320)
warnings.simplefilter("ignore")
torch.save = lambda *arguments: None
"""
TASKS = """
import torch
from torch import nn
class Conv(nn.Module):
    def __init__(self, c1, c2, k=1, s=1):
        super().__init__()
        self.conv = nn.Conv2d(c1, c2, k, s, k // 2, bias=False)
        self.bn = nn.BatchNorm2d(c2)
    def forward(self, x):
        return self.bn(self.conv(x)).relu()
class TorchVision(nn.Module):
    pass
class Detect(nn.Module):
    export = dynamic = False
    max_det = 4
    shape = None
    def __init__(self, nc, end2end, channels):
        super().__init__()
        self.nc = nc
        self.cv2 = nn.Conv2d(channels, 4, 1)
        self.cv3 = nn.Conv2d(channels, nc, 1)
        self._end2end = end2end
        if end2end:
            self.one2one_cv2 = nn.Conv2d(channels, 4, 1)
            self.one2one_cv3 = nn.Conv2d(channels, nc, 1)
    @property
    def end2end(self):
        return getattr(self, "one2one_cv2", None) is not None and self._end2end
    @end2end.setter
    def end2end(self, value):
        self._end2end = value
    def forward(self, x):
        boxes, scores = (self.one2one_cv2, self.one2one_cv3) if self.end2end else (self.cv2, self.cv3)
        if self.dynamic or self.shape != x.shape:  # kept between calls, as the places of boxes are
            self.shape, self.rows = x.shape, torch.arange(x.shape[2] * x.shape[3]).type_as(x)
        y = torch.cat([boxes(x).flatten(2) + self.rows, scores(x).flatten(2).sigmoid()], 1)
        if self.end2end:
            y = y.permute(0, 2, 1)
            best = y[..., 4:].max(-1)[0].topk(self.max_det)[1][..., None]
            y = y.gather(1, best.expand(-1, -1, y.shape[-1]))
        return y if self.export else (y, {"feats": x})
class Segment(Detect):
    def forward(self, x):
        found = super().forward(x)
        return (found, x) if self.export else ((found[0], x), found[1])
class RTDETRDecoder(Detect):
    shapes = []
    num_queries = 5
    def forward(self, x):
        assert not self.dynamic  # it would make a tensor of a size
        assert self.shapes is None  # of the last image
        self.shapes = [list(x.shape[2:])]
        self.shape = None
        return super().forward(x)
class WorldDetect(Detect):
    pass
class BaseModel(nn.Module):
    pass
class DetectionModel(BaseModel):
    def __init__(self, layers, ch, verbose):
        super().__init__()
        self.yaml = {**layers, "channels": ch}
        made, width = [], ch
        for number, (inputs, _, kind, arguments) in enumerate([*layers["backbone"], *layers["head"]]):
            if issubclass(globals()[kind], Detect):
                layer = globals()[kind](layers["nc"], bool(layers.get("end2end")), width)
            else:
                layer = globals()[kind](width, *arguments)
                width = arguments[0]
            layer.i, layer.f = number, inputs
            made.append(layer)
        self.model, self.stride = nn.Sequential(*made), torch.tensor([4.0])
    def forward(self, x):
        for layer in self.model:
            assert layer.f == -1
            x = layer(x)
        return x
SegmentationModel = RTDETRDetectionModel = DetectionModel
def load_checkpoint(path):
    return torch.load(path, weights_only=False), {}
"""
LAYERS = """nc: 3
{more}
scales:
  n: [0.5, 0.25, 1024]
  s: [0.5, 0.5, 1024]
backbone:
  - [-1, 1, Conv, [8, 3, 2]]
  - [-1, 1, Conv, [8, 3, 2]]
head:
  - [-1, 1, {head}, [nc]]
"""


def write(folder: Path, version: str = "8.4.7") -> None:
    """Write the package and its metadata."""
    package = folder / "ultralytics"
    for part in ("utils", "nn", "cfg/models/9"):
        (package / part).mkdir(parents=True)
    (package / "__init__.py").write_text("from . import utils\n")
    (package / "utils/__init__.py").write_text(UTILS)
    (package / "nn/__init__.py").write_text("")
    (package / "nn/tasks.py").write_text(TASKS)
    for name, head, more in (
        ("yolo9", "Detect", ""),
        ("yolo10", "Detect", "end2end: true"),
        ("yolo9-seg", "Segment", ""),
        ("yolo9-world", "WorldDetect", ""),
        ("rtdetr-l", "RTDETRDecoder", ""),
    ):
        (package / f"cfg/models/9/{name}.yaml").write_text(LAYERS.format(head=head, more=more))
    metadata = folder / f"ultralytics-{version}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: ultralytics\nVersion: {version}\n")


@contextmanager
def installed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have the package of ``folder`` imported in place of any other, and forget it and what it changed in the end."""
    before = _forget()
    environment, save, printed = dict(os.environ), torch.save, np.get_printoptions()
    monkeypatch.syspath_prepend(str(folder))
    try:
        yield
    finally:
        _forget()
        sys.modules.update(before)
        for name in {*os.environ} - {*environment}:
            del os.environ[name]
        torch.save = save
        np.set_printoptions(**printed)


def _forget() -> dict[str, object]:
    from attn2trt.modules.libraries import ultralytics_offline, ultralytics_yaml

    found = {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] == "ultralytics"}
    ultralytics_offline.network_tasks.cache_clear()
    ultralytics_yaml._own.cache_clear()
    ultralytics_yaml._scales.cache_clear()
    importlib.invalidate_caches()
    return found
