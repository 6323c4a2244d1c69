"""The descriptions of Ultralytics' networks: its own by their names, and files of the user's.

A name has the scale in it: ``yolo11n.yaml`` is ``yolo11.yaml`` at scale n. A description may name any module and holds
Python for its activation, so it is checked before Ultralytics reads it.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import json
import re
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from torch import nn

from ...core.nearest import nearest
from ...errors import InputError, one_line
from .ultralytics_offline import PACKAGE, installed, network_tasks

PREFIX = "ultralytics:"
SCALE = re.compile(r"(?P<before>.*yoloe?-?v?\d+)(?P<scale>[nslmxtbce])(?![a-z0-9])")
# by the class of the head, the first that fits
NETWORKS = {
    "SemanticSegment": "SemanticSegmentationModel",
    "Segment": "SegmentationModel",
    "Pose": "PoseModel",
    "OBB": "OBBModel",
    "Classify": "ClassificationModel",
    "Depth": "DepthModel",
    "RTDETRDecoder": "RTDETRDetectionModel",
    "Detect": "DetectionModel",
}
BY_TEXT = ("WorldDetect", "YOLOEDetect", "YOLOESegment")


@dataclass(frozen=True)
class Description:
    """A network as layers, in Ultralytics' own form, and the class of the library that it makes.

    ``digest`` identifies the file and the scale; ``notes`` are what was chosen for the user, in words.
    """

    name: str
    layers: Mapping[str, Any]
    network: str
    channels: int
    digest: str
    notes: tuple[str, ...] = ()


def read(name: str, *, classes: int | None = None) -> Description:
    """Return the description of a name or a file, with ``classes`` in place of its own number.

    Raises InputError if there is none, and if it holds what Ultralytics would run, fetch or not know.
    """
    file, scale = _file(name)
    given = _parsed(name, file)
    scales = given.get("scales") or {}
    notes: tuple[str, ...] = ()
    if scales and scale not in scales:
        if scale and Path(name).stem != file.stem:
            raise InputError(
                f"received {PREFIX}{name} with the scale {scale}; expected {', '.join(scales)}; write one of them"
            )
        scale = str(next(iter(scales)))
        notes = (f"scale {scale}, the first of {', '.join(scales)}: the name has none",)
    layers = {**given, "scale": scale, "yaml_file": Path(name).name}
    if classes is not None:
        layers["nc"] = classes
    layers["activation"] = _checked_activation(name, layers.get("activation"))
    for layer in (*layers["backbone"], *layers["head"]):
        _check_layer(name, layer)
    network = _network(name, str(layers["head"][-1][2]))
    text = json.dumps(layers, sort_keys=True, default=str)
    return Description(
        name, layers, network, int(layers.get("channels", 3)), hashlib.sha256(text.encode()).hexdigest(), notes
    )


def names() -> list[str]:
    """Return the names of Ultralytics' own descriptions, at the scales that they have."""
    found = []
    for stem, file in _own().items():
        scales = () if SCALE.match(stem) else _scales(file)
        parts = re.match(r"(yoloe?[-]?v?\d+)(.*)", stem)
        found += [f"{parts[1]}{scale}{parts[2]}.yaml" for scale in scales] if parts and scales else [f"{stem}.yaml"]
    return sorted(found)


def newest(task: str = "") -> str:
    """Return the name of the smallest network of the newest YOLO of a task ("", "-seg", "-pose" …) here."""
    plain = [re.fullmatch(rf"yolo(\d+)n{re.escape(task)}\.yaml", name) for name in names()]
    return str(max((found for found in plain if found), key=lambda found: int(found[1]))[0])


@functools.lru_cache(maxsize=1)
def _own() -> dict[str, Path]:
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        return {}
    return {file.stem: file for file in sorted((Path(spec.origin).parent / "cfg/models").rglob("*.yaml"))}


@functools.lru_cache
def _scales(file: Path) -> tuple[str, ...]:
    import yaml

    return tuple(map(str, yaml.safe_load(file.read_text(encoding="utf-8")).get("scales") or ()))


def _file(name: str) -> tuple[Path, str]:
    """Return the file of a description and the scale in its name; one that is here comes before the library's own."""
    path = Path(name).expanduser()
    with_scale = SCALE.match(path.stem)
    scale = with_scale["scale"] if with_scale else ""
    without = with_scale["before"] + path.stem[with_scale.end() :] if with_scale else path.stem
    for stem in (path.stem, without):
        if path.with_name(f"{stem}{path.suffix}").is_file():
            return path.with_name(f"{stem}{path.suffix}"), scale
    if path.parent == Path():
        for stem in (path.stem, without):
            if stem in _own():
                return _own()[stem], scale
    raise InputError(
        f"received target {PREFIX}{name}; expected a file, or one of the {len(names())} networks of Ultralytics "
        f"{installed()}; {nearest(name, names(), 'e.g. yolo11n.yaml')}"
    )


def _parsed(name: str, file: Path) -> dict[str, Any]:
    import yaml

    try:
        given = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = one_line(error)
        raise InputError(f"received {PREFIX}{name}, which is no YAML: {reason}; correct it") from error
    parts = [given.get(part) for part in ("backbone", "head")] if isinstance(given, dict) else [None]
    whole = all(
        isinstance(part, list) and part and all(isinstance(layer, list) and len(layer) == 4 for layer in part)
        for part in parts
    )
    if not whole or not isinstance(given.get("nc"), int):
        raise InputError(
            f"received {PREFIX}{name}; expected a description of a network: nc, and backbone and head of layers [from, "
            "repeats, module, arguments]; a data set's .yaml is none; correct it"
        )
    return deepcopy(given)


def _checked_activation(name: str, text: Any) -> str | None:
    """Return the activation; InputError unless it is a call of a torch.nn class with plain values."""
    if not text:
        return None
    with_values = re.fullmatch(r"(torch\.)?nn\.([A-Z]\w*)\((.*)\)", str(text).strip())
    try:
        kind = getattr(nn, with_values[2]) if with_values else None
        call = ast.parse(str(text).strip(), mode="eval").body
        assert isinstance(call, ast.Call)
        assert isinstance(kind, type)
        assert issubclass(kind, nn.Module)
        for value in (*call.args, *(word.value for word in call.keywords)):
            ast.literal_eval(value)
    except (AssertionError, AttributeError, SyntaxError, ValueError) as error:
        raise InputError(
            f"received {PREFIX}{name} with the activation {str(text)[:60]!r}, which Ultralytics would run as Python; "
            "expected a class of torch.nn with plain values, as nn.ReLU(); correct it"
        ) from error
    return str(text).strip()


def _check_layer(name: str, layer: list[Any]) -> None:
    """Raise InputError for a module that is none, and keep published weights of torchvision from being fetched."""
    kind, arguments = str(layer[2]), layer[3]
    found = _module(kind)
    if found is None or not isinstance(arguments, list):
        known = [key for key, value in vars(network_tasks()).items() if _is_module(value)]
        own = f"put a block of your own in by +BLOCK@PATH, or deploy what was trained with it, {PREFIX}best.pt --trust"
        raise InputError(
            f"received {PREFIX}{name} with the module {kind!r}, which Ultralytics {installed()} reads in no "
            f"description; expected one of its own, or nn.NAME; {nearest(kind, known, own)}"
        )
    if kind == "TorchVision" and len(arguments) > 2:
        arguments[2] = None


def _module(kind: str) -> type[nn.Module] | None:
    if kind.startswith("nn."):
        found: Any = getattr(nn, kind.removeprefix("nn."), None)
    elif kind.startswith("torchvision.ops."):
        import torchvision

        found = getattr(torchvision.ops, kind.removeprefix("torchvision.ops."), None)
    else:
        found = vars(network_tasks()).get(kind)
    return found if _is_module(found) else None


def _is_module(found: Any) -> bool:
    return isinstance(found, type) and issubclass(found, nn.Module)


def _network(name: str, head: str) -> str:
    tasks, kind = network_tasks(), _module(head)
    assert kind is not None
    if any(issubclass(kind, getattr(tasks, one)) for one in BY_TEXT if hasattr(tasks, one)):
        raise InputError(
            f"received {PREFIX}{name}, whose {head} compares with words of a text encoder that would be fetched; "
            "expected a network of fixed classes; use another, as yolo11n.yaml"
        )
    for one, network in NETWORKS.items():
        if hasattr(tasks, one) and issubclass(kind, getattr(tasks, one)):
            return network
    raise InputError(
        f"received {PREFIX}{name}, whose last module is {head}; expected a head: {', '.join(NETWORKS)}; correct it"
    )
