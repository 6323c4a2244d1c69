"""The libraries whose models are targets, as plain data; nothing of one is imported until a model of it is asked for.

The file of a library, in this folder under its name, has ``find(name, options, pretrained=…)``, which returns a
``LibraryModel`` and raises InputError for a model that it does not know or that cannot be deployed. If it has
``names()``, that lists all of its models.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

from ...core import bounds
from ...errors import MissingRequirement

if TYPE_CHECKING:
    from .library import LibraryModel


@dataclass(frozen=True)
class Library:
    """A library by the word before the colon.

    Attributes:
        package: The package that is imported.
        install: The command that installs it.
        summary: The models that it has, in words.
        examples: Names that work, without the word before the colon.
        reads_pickles: Its own files of weights are pickles, which are read if the user trusts them.
        licence: Its licence, if that binds what is deployed.
    """

    package: str
    install: str
    summary: str
    examples: tuple[str, ...]
    reads_pickles: bool = False
    licence: str = ""

    @property
    def installed(self) -> str:
        """The version that is installed; "" if none is."""
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version(self.package)
        except PackageNotFoundError:
            return ""


LIBRARIES: Mapping[str, Library] = {
    "torchvision": Library(
        "torchvision",
        "pip install torchvision",
        "classifiers of images and clips, segmenters, one-stage detectors, optical flow, by torchvision's names",
        (
            "lraspp_mobilenet_v3_large",
            "deeplabv3_resnet50",
            "convnext_tiny",
            "retinanet_resnet50_fpn",
            "raft_small",
            "r3d_18",
        ),
    ),
    "ultralytics": Library(
        "ultralytics",
        "pip install ultralytics",
        "YOLO and RT-DETR by Ultralytics' names, your own .yaml, and with --trust your own .pt",
        ("yolo11n.yaml", "yolo26n.yaml", "yolo26n.yaml:end2end=true", "yolo11n-seg.yaml", "rtdetr-l.yaml"),
        reads_pickles=True,
        licence="AGPL-3.0",
    ),
    "transformers": Library(
        "transformers",
        "pip install transformers",
        "detectors, segmenters, classifiers and backbones, by model type, class, or a folder with config.json",
        ("rt_detr", "d_fine", "detr", "segformer", "mask2former", "depth_anything", "CLIPVisionModelWithProjection"),
    ),
}


def library_of(name: str) -> str:
    """Return the word before the colon of a target's name if it is a library's; "" otherwise."""
    word, colon, _ = name.partition(":")
    return word if colon and word in LIBRARIES else ""


def names(word: str) -> list[str]:
    """Return the names of a library's models: all, if it is installed and lists them, after some that work."""
    examples = [*LIBRARIES[word].examples]
    if find_spec(LIBRARIES[word].package) is None:
        return examples
    listed = getattr(import_module(f"{__package__}.{word}"), "names", list)
    return [*examples, *listed()]


def find(name: str, options: Mapping[str, str], *, pretrained: bool, trust: bool = False) -> LibraryModel:
    """Return the model that ``LIBRARY:NAME`` with ``options`` stands for.

    ``trust`` allows a file that runs code of its author when it is read, to a library that ``reads_pickles``.

    Raises MissingRequirement if the library is not installed or too old, and what the library's file raises.
    """
    word, _, rest = name.partition(":")
    library = LIBRARIES[word]
    if find_spec(library.package) is None:
        raise MissingRequirement(
            f"received target {name}; expected {library.package}, which is not installed; {library.install}"
        )
    bounds.require_within(library.package)
    given = {"pretrained": pretrained} | ({"trust": trust} if library.reads_pickles else {})
    found: LibraryModel = import_module(f"{__package__}.{word}").find(rest, options, **given)
    return found
