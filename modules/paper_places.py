"""The places of papers' and releases' blocks in a ResNet and in MobileNetV2, as data: no torch is imported for it.

A block that is not listed has the place of squeeze-and-excitation: on a ResNet's residual branch after its last
normalisation, and after MobileNetV2's depthwise convolution if the unit expands. The entries were read in the
authors' code that is named with them, or in the paper if they released none for the network.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

STAGES = (1, 2, 3, 4)
# What a block can be put after, before or in place of; insertion_points.py knows the modules.
SITES = {
    "branch": "on the residual branch, after its last normalisation",
    "convolution": "after the last 3x3 convolution, before its normalisation",
    "inside": "before the last convolution of a bottleneck",
    "in place": "in place of the 3x3 convolution of a bottleneck",
    "convolutions": "before every convolution",
    "unit": "after a residual unit",
    "stage": "after a stage",
    "depthwise": "after the depthwise convolution and its activation, if the unit expands",
    "projection": "after the projection and its normalisation",
}


@dataclass(frozen=True)
class Place:
    """``site`` is one of SITES; only units of ``stages``, of those every ``every``-th, or the ``last_of`` some stages.

    ``source`` is the code, or else the paper, that has it so.
    """

    site: str
    source: str = ""
    stages: tuple[int, ...] = STAGES
    every: int = 1
    last_of: tuple[int, ...] = ()

    def __str__(self) -> str:
        where = SITES[self.site]
        if self.every > 1:
            where += f", every {_ordinal(self.every)}"
        if self.stages != STAGES:
            where += f", stage{'s' if len(self.stages) > 1 else ''} {_ranged(self.stages)}"
        if self.last_of:
            where += f", only the last of stages {_ranged(self.last_of)}"
        return where


RESNET: Mapping[str, Place] = {
    "bam": Place("stage", "Jongchan/attention-module", stages=(1, 2, 3)),
    "bot": Place("in place", "section 3 of the paper", stages=(4,)),
    "cot": Place("in place", "JDAI-CV/CoTNet"),
    "gc": Place("branch", "xvjiarui/GCNet", stages=(2, 3, 4)),
    "gct": Place("convolutions", "z-x-yang/GCT"),
    "non_local": Place("unit", "facebookresearch/video-nonlocal-net", stages=(2, 3), every=2),
    "psa": Place("in place", "murufeng/EPSANet"),
    "simam": Place("convolution", "ZjjConan/SimAM"),
    "sk": Place("in place", "implus/SKNet"),
    "strip_pooling": Place("inside", "houqb/SPNet", last_of=(1, 2, 3)),
}
MOBILENETV2: Mapping[str, Place] = {
    "eca": Place("projection", "BangguWu/ECANet"),
    "simam": Place("convolution", "ZjjConan/SimAM"),
    "triplet": Place("projection", "landskape-ai/triplet-attention"),
}


@dataclass(frozen=True)
class Places:
    """A block's places by backbone family; the general one if no release is known to differ."""

    resnet: Place
    mobilenetv2: Place | None

    @property
    def by_family(self) -> dict[str, str]:
        """Each family's place in words, with its source."""
        return {family: f"{place} ({place.source or 'the general rule'})" for family, place in self._given.items()}

    @property
    def of_its_own(self) -> dict[str, str]:
        """Return the places without their source, but for those of the general rule."""
        return {family: str(place) for family, place in self._given.items() if place.source}

    @property
    def _given(self) -> dict[str, Place]:
        found = {"ResNet": self.resnet, "MobileNetV2": self.mobilenetv2}
        return {family: place for family, place in found.items() if place is not None}


def places(block: str, *, replaces_conv3x3: bool = False) -> Places:
    """Return the places of a block that names none; one that replaces a convolution has none in MobileNetV2."""
    resnet = RESNET.get(block, Place("in place" if replaces_conv3x3 else "branch"))
    return Places(resnet, None if replaces_conv3x3 else MOBILENETV2.get(block, Place("depthwise")))


def _ordinal(number: int) -> str:
    return {2: "second", 3: "third"}.get(number, f"{number}th")


def _ranged(stages: tuple[int, ...]) -> str:
    return str(stages[0]) if len(stages) == 1 else f"{stages[0]} to {stages[-1]}"
