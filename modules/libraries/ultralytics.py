"""``ultralytics:NAME.yaml`` and, trusted, ``ultralytics:FILE.pt``: YOLO and RT-DETR networks, up to their predictions.

Ultralytics, https://github.com/ultralytics/ultralytics, **AGPL-3.0**: its code is not part of this package, and a
network of it that you deploy is under its licence unless you have another from its makers. Options: ``nc``, the number
of classes; ``end2end``, the branch that picks the best boxes itself; ``max_det``, how many of them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ...core.preprocessing import Preprocessing
from ...errors import InputError
from ..user_file import folders_last
from . import ultralytics_yaml
from .library import LibraryModel, failure_line, parse_value
from .ultralytics_offline import installed, network_tasks
from .ultralytics_yaml import Description, read

PREFIX = "ultralytics:"
PAPER = "https://github.com/ultralytics/ultralytics"
LICENCE = "Ultralytics is under AGPL-3.0: so is what you deploy of it, unless you have another licence from its makers"
YAML, WEIGHTS = (".yaml", ".yml"), ".pt"
OPTIONS: Mapping[str, type] = {"nc": int, "end2end": bool, "max_det": int}
KEPT = "shapes"  # what RT-DETR's head keeps of the last image, beside the places of its boxes
GREY = 114.0  # the border of a letterbox


class Predictions(nn.Module):
    """The network up to its decoded predictions, by the names that Ultralytics' own exporter gives them."""

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """``(n, c, h, w)`` to ``output0`` and, of a segmenter, ``output1``."""
        step = int(self.size_step)  # type: ignore[arg-type]
        if images.shape[2] % step or images.shape[3] % step:
            above = "x".join(str(-(-side // step) * step) for side in images.shape[2:])
            raise ValueError(f"height and width must be multiples of {step}, as {above}")
        if hasattr(_head(self), KEPT):
            setattr(_head(self), KEPT, None)
        found = super().forward(images)
        leaves = found if isinstance(found, tuple | list) else (found,)
        return {f"output{index}": leaf for index, leaf in enumerate(leaves)}


def names() -> list[str]:
    """Return the names of Ultralytics' own descriptions."""
    return ultralytics_yaml.names()


def find(name: str, options: Mapping[str, str], *, pretrained: bool, trust: bool) -> LibraryModel:
    """Return a network of Ultralytics'; InputError for an unknown one, and for one that cannot be deployed.

    MissingRequirement if the library is too old or cannot be imported.
    """
    if pretrained:
        raise InputError(
            f"received --pretrained for {PREFIX}{name}; expected a file that is here, since no weights are fetched; "
            f"fetch the file yourself, and write {PREFIX}FILE.pt --trust"
        )
    values = _options(name, options)
    suffix = Path(name).suffix.lower()
    if suffix == WEIGHTS:
        return _trained(name, values, trust=trust)
    if suffix not in YAML:
        described = f"{name}.yaml" if f"{name}.yaml" in names() else "yolo11n.yaml"
        raise InputError(
            f"received target {PREFIX}{name}; expected the name of a description, or a file of weights; write "
            f"{PREFIX}{described}, {PREFIX}your/own.yaml or {PREFIX}best.pt"
        )
    return _described(name, values)


def _options(name: str, options: Mapping[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {key: parse_value(text) for key, text in options.items()}
    for key, value in values.items():
        is_right = isinstance(value, bool) if OPTIONS.get(key) is bool else type(value) is int and value > 0
        if key not in OPTIONS or not is_right:
            raise InputError(
                f"received {PREFIX}{name} with {key}={options[key]}; expected nc=COUNT, end2end=true, end2end=false or "
                "max_det=COUNT; correct or leave it out"
            )
    return values


def _described(name: str, values: Mapping[str, Any]) -> LibraryModel:
    description = read(name, classes=values.get("nc"))
    build = functools.partial(_build, description)
    return _model(name, build, values, digest=description.digest, notes=description.notes)


def _build(description: Description) -> nn.Module:
    tasks = network_tasks()
    kind = getattr(tasks, description.network)
    try:
        module: nn.Module = kind(description.layers, ch=description.channels, verbose=False)
    except Exception as error:  # a description of the user's own may be wrong in any way
        raise InputError(
            f"received {PREFIX}{description.name}, of which Ultralytics {installed()} cannot make a network: "
            f"{failure_line(error)}; correct its layers"
        ) from error
    return module


def _trained(name: str, values: dict[str, Any], *, trust: bool) -> LibraryModel:
    path = Path(name).expanduser()
    if not path.is_file():
        described = f"{path.stem}.yaml"
        random = f", or deploy {PREFIX}{described} with random weights" if described in names() else ""
        raise InputError(
            f"received target {PREFIX}{name}; expected a file, found none in {path.parent.absolute()}, and none is "
            f"fetched; correct the path, or fetch it yourself{random}"
        )
    if not trust:
        raise InputError(
            f"received {PREFIX}{name} without --trust; expected it, since a .pt of Ultralytics is a pickle, which runs "
            "whatever code its author put into it; add --trust if you made it or trust its author, or save "
            f"its state_dict() as safetensors there and deploy {PREFIX}NAME.yaml --checkpoint weights.safetensors"
        )
    if "nc" in values:
        raise InputError(
            f"received {PREFIX}{name} with nc={values['nc']}; expected its own number of classes; leave nc out"
        )
    from ..checkpoint import sha256

    digest = sha256(path.absolute())
    trained = f"{path.name} as it was trained, sha256 {digest}"
    return _model(name, functools.partial(_load, path.absolute()), values, digest=digest, trained=trained)


def _load(path: Path) -> nn.Module:
    tasks = network_tasks()
    try:
        # absolute and there: nothing is looked for in the network
        with folders_last(path):  # of the blocks that it was trained with
            module, _ = tasks.load_checkpoint(str(path))
        if not isinstance(module, tasks.BaseModel):
            raise TypeError(f"it holds a {type(module).__name__}")
    except Exception as error:
        fix = "expected a file that its training wrote; give one, or its .yaml with --checkpoint"
        if isinstance(error, ModuleNotFoundError):
            fix = f"expected the code of its blocks; put it beside {path.name}, or name its folder in PYTHONPATH"
        elif isinstance(error, AttributeError):
            fix = "expected the code of its blocks; use the copy of Ultralytics that it was trained with"
        raise InputError(
            f"received {PREFIX}{path.name}, which Ultralytics {installed()} cannot read: {failure_line(error)}; {fix}"
        ) from error
    found: nn.Module = module.float()
    return found


def _model(
    name: str,
    build: Callable[[], nn.Module],
    values: Mapping[str, Any],
    *,
    digest: str,
    trained: str = "",
    notes: tuple[str, ...] = (),
) -> LibraryModel:
    """Return the model, made once here to learn its sizes and its head."""
    create = _Network(name, build, values)
    network: Any = create()
    head = _head(network)
    channels = int(getattr(network, "yaml", {}).get("channels", 3))
    classifies = type(head).__name__ == "Classify"
    side = _side(network, classifies=classifies)
    size = (channels, side, side)
    return LibraryModel(
        source=f"ultralytics {installed()} {name}",
        create=create,
        inputs={"images": size},
        results=Predictions,
        finish=_finish,
        is_optional=functools.partial(
            _is_under, tuple(f"model.{len(network.model) - 1}.{part}." for part in _unused(head))
        ),
        trained=trained,
        paper=PAPER,
        preprocessing=_preprocessing(size, classifies=classifies),
        notes=(*notes, *_switches(head), LICENCE),
        digest=digest,
    )


@dataclass(frozen=True)
class _Network:
    """Makes the network as it is exported: its predictions alone, for images of any size."""

    name: str
    build: Callable[[], nn.Module]
    values: Mapping[str, Any]

    def __call__(self) -> nn.Module:
        network: Any = self.build().eval()
        network.size_step = int(max(network.stride))
        head = _head(network)
        self._choose_branch(head)
        if "max_det" in self.values:
            self._set(head, "max_det", self.values["max_det"])
        for part in network.modules():
            if hasattr(type(part), "export"):
                part.export = True
            # RT-DETR's makes a tensor of a size, which fixes it: there the sizes of the last image are forgotten
            if hasattr(type(part), "dynamic") and not hasattr(part, KEPT):
                part.dynamic = True
        made: nn.Module = network
        return made

    def _choose_branch(self, head: Any) -> None:
        wanted = bool(self.values.get("end2end", False))
        if wanted and getattr(head, "one2one_cv2", None) is None:
            raise InputError(
                f"received {PREFIX}{self.name} with end2end=true, whose {type(head).__name__} has no branch that picks "
                "the best boxes; expected YOLOv10 or YOLO26 with a head of boxes; leave it out"
            )
        if hasattr(head, "end2end"):
            head.end2end = wanted

    def _set(self, head: Any, key: str, value: Any) -> None:
        if not hasattr(head, key):
            raise InputError(
                f"received {PREFIX}{self.name} with {key}={value}; expected a head that has it, got "
                f"{type(head).__name__}; leave it out"
            )
        setattr(head, key, value)


def _head(network: Any) -> Any:
    return network.model[-1]


def _side(network: Any, *, classifies: bool) -> int:
    """Return the height and width that Ultralytics trains a network at: larger with a pyramid of four levels."""
    if classifies:
        return 224
    return 640 if max(network.stride) <= 32 else 1280


def _unused(head: Any) -> list[str]:
    """Return the parts of a head with two branches that belong to the one that does not run."""
    second = [name for name in head._modules if name.startswith("one2one_")]
    return [name.removeprefix("one2one_") for name in second] if getattr(head, "end2end", False) else second


def _is_under(paths: tuple[str, ...], key: str) -> bool:
    return key.startswith(paths)


def _finish(network: nn.Module) -> list[str]:
    """Take the branch away that does not run, as Ultralytics does when it fuses a network."""
    head = _head(network)
    unused = [name for name in _unused(head) if head._modules.get(name) is not None]
    for name in unused:
        setattr(head, name, None)
    kept, left = ("one-to-one", "one-to-many") if getattr(head, "end2end", False) else ("one-to-many", "one-to-one")
    return [f"{kept} branch of {type(head).__name__} kept, {left} branch left out: it does not run"] if unused else []


def _switches(head: Any) -> tuple[str, ...]:
    """Return what was set for the export, in words."""
    name = type(head).__name__
    if hasattr(head, "num_queries"):
        kept = f"the best {min(head.num_queries, head.max_det)} boxes of each image, picked inside the graph"
    elif getattr(head, "end2end", False):
        kept = f"end2end=True: the best {head.max_det} boxes of each image, picked inside the graph"
    elif hasattr(head, "max_det"):
        kept = "all boxes, before the suppression of overlaps"
    else:
        kept = "the predictions alone"
    anew = ", dynamic=True: the places of boxes are computed for each size" if getattr(head, "dynamic", False) else ""
    return (f"{name}.export=True: {kept}{anew}",)


def _preprocessing(size: tuple[int, int, int], *, classifies: bool) -> Preprocessing:
    if classifies:
        return Preprocessing(resize="crop", interpolation="bilinear", size=size)
    return Preprocessing(resize="letterbox", interpolation="bilinear", antialias=False, pad=(GREY,), size=size)
