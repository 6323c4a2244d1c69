"""Map the names of a release's checkpoint to the names here, release by release.

A release is a name and rules over its keys. ``fit`` tries every one and takes the one that leaves no key of either
side over; what is left over under the nearest one is what an error tells. The rules were written from the releases'
code, named with each; the block's place in a ResNet is ``se`` here, as in timm.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

Rule = tuple[str, "str | Callable[[re.Match[str]], str]"]


@dataclass(frozen=True)
class Release:
    """``rules`` are applied to a key of the file one after the other, as ``re.sub`` does.

    ``turned`` changes a tensor, by a pattern over our keys. ``zeros`` are the keys of ours that the release computes
    without: all of them become 0. ``refused`` is why weights that fit would not compute what the release computes.
    """

    name: str
    rules: tuple[Rule, ...] = ()
    zeros: str = "(?!)"
    turned: tuple[tuple[str, Callable[[Tensor], Tensor]], ...] = ()
    refused: str = ""

    def key(self, theirs: str) -> str:
        """The name here of a key of the release."""
        for pattern, replacement in self.rules:
            theirs = re.sub(pattern, replacement, theirs)
        return theirs

    def tensor(self, ours: str, value: Tensor) -> Tensor:
        """The tensor here of what the release stores for ``ours``."""
        for pattern, turn in self.turned:
            if re.search(pattern, ours):
                value = turn(value)
        return value


@dataclass
class Fit:
    """A checkpoint as a release reads it: tensors by our keys, and what is left over on either side."""

    release: Release
    tensors: dict[str, Tensor] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    misshaped: list[str] = field(default_factory=list)

    @property
    def left_over(self) -> int:
        """Return how many keys of either side do not fit."""
        return len(self.missing) + len(self.unexpected) + len(self.misshaped)


def fit(state: Mapping[str, Tensor], expected: Mapping[str, Tensor], names: Mapping[str, str]) -> Fit:
    """Return the nearest release; one that leaves nothing over if there is one.

    ``expected`` are the module's tensors; ``names`` gives for a name as a release would have it the module's own key,
    if the two differ.
    """
    found: Fit | None = None
    for release in RELEASES:
        here = _fit(release, state, expected, names)
        if found is None or here.left_over < found.left_over:
            found = here
        if not found.left_over:
            break
    assert found is not None
    return found


def _fit(
    release: Release, state: Mapping[str, Tensor], expected: Mapping[str, Tensor], names: Mapping[str, str]
) -> Fit:
    made = Fit(release)
    for theirs, value in state.items():
        ours = release.key(theirs)
        if not (ours == theirs and theirs in expected):
            ours = names.get(ours, ours)
        if ours not in expected or ours in made.tensors:
            made.unexpected.append(theirs)
            continue
        wanted = expected[ours]
        given = release.tensor(ours, value)
        # a counter is of half precision or averaged in some files
        shaped = _shaped(given.to(wanted.dtype) if _is_counter(ours) else given, wanted)
        if shaped is None:
            made.misshaped.append(f"{theirs} {_kind(value, wanted)} instead of {_kind(wanted, value)}")
        made.tensors[ours] = value if shaped is None else shaped
    absent = [key for key in expected if key not in made.tensors]
    zeros = [key for key in expected if re.search(release.zeros, key)]
    if all(key in absent for key in zeros):  # some of them there: the file is not what the release holds
        made.tensors.update({key: expected[key].new_zeros(expected[key].shape) for key in zeros})
    made.missing = [key for key in absent if key not in made.tensors and not _is_counter(key)]
    return made


def _is_counter(key: str) -> bool:
    """Tell whether it counts training steps: older checkpoints lack it, and inference never reads it."""
    return key.endswith("num_batches_tracked")


def _shaped(value: Tensor, wanted: Tensor) -> Tensor | None:
    """The tensor in the shape wanted, a linear layer's weights as a 1x1 convolution's or back; None if it differs."""
    if value.is_floating_point() != wanted.is_floating_point():
        return None
    if value.shape == wanted.shape:
        return value
    both_weights = value.ndim >= 2 and wanted.ndim >= 2
    return value.reshape(wanted.shape) if both_weights and _core(value) == _core(wanted) else None


def _core(tensor: Tensor) -> tuple[int, ...]:
    sizes = list(tensor.shape)
    while len(sizes) > 2 and sizes[-1] == 1:
        sizes.pop()
    return tuple(sizes)


def _kind(tensor: Tensor, other: Tensor) -> str:
    if tensor.is_floating_point() != other.is_floating_point():
        return str(tensor.dtype).removeprefix("torch.")
    return str(tuple(tensor.shape))


# MobileNetV2's inverted residuals in one row, as the releases count them, and by stage, as timm does.
_DEPTHS = (1, 2, 3, 4, 3, 3, 1)
_UNITS = [f"blocks.{stage}.{unit}" for stage, depth in enumerate(_DEPTHS) for unit in range(depth)]
# The first has no expansion: its names here differ from the others'.
_FIRST = ("conv_dw", "bn1", "conv_pw", "bn2")
_OTHERS = ("conv_pw", "bn1", "conv_dw", "bn2", "conv_pwl", "bn3")
# features.N.conv.M, every layer in one sequence: activations count, and the attention stands before the projection
_FLAT_FIRST = dict(zip(("0", "1", "3", "4"), _FIRST, strict=True))
_FLAT_OTHERS = {**dict(zip(("0", "1", "3", "4", "7", "8"), _OTHERS, strict=True)), "6": "se"}
# features.N.conv.M.K, convolution, normalisation and activation in a sequence of their own; the attention last
_NESTED_FIRST = {**dict(zip(("0.0", "0.1", "1", "2"), _FIRST, strict=True)), "3": "bn2.attn"}
_NESTED_OTHERS = {**dict(zip(("0.0", "0.1", "1.0", "1.1", "2", "3"), _OTHERS, strict=True)), "4": "bn3.attn"}
# the same with SimAM, which has no weights but a number, between a depthwise convolution and its normalisation
_SIMAM_FIRST = dict(zip(("0.0", "0.2", "1", "2"), _FIRST, strict=True))
_SIMAM_OTHERS = dict(zip(("0.0", "0.1", "1.0", "1.2", "2", "3"), _OTHERS, strict=True))


def _mobilenetv2(first: Mapping[str, str], others: Mapping[str, str], head: str) -> Iterator[Rule]:
    def unit(match: re.Match[str]) -> str:
        number, layer = int(match[1]), match[2]
        names = first if number == 1 else others
        known = 1 <= number <= len(_UNITS) and layer in names
        return f"{_UNITS[number - 1]}.{names[layer]}." if known else match[0]

    yield r"^features\.(\d+)\.conv\.(\d+\.\d+|\d+)\.", unit
    yield r"^features\.0\.0\.", "conv_stem."
    yield r"^features\.0\.1\.", "bn1."
    yield rf"^{head}\.0\.", "conv_head."
    yield rf"^{head}\.1\.", "bn2."
    yield r"^classifier\.1\.", "classifier."


# alone, or at its place in a backbone
_AT = r"(^|\.se\.|\.attn\.)"
_TRIPLET: tuple[Rule, ...] = (
    (r"\.triplet_attention\.", ".se."),
    (rf"{_AT}cw\.conv\.", r"\1ChannelGateH.spatial."),
    (rf"{_AT}hc\.conv\.", r"\1ChannelGateW.spatial."),
    (rf"{_AT}hw\.conv\.", r"\1SpatialGate.spatial."),
)
_SE_LAYERS: tuple[Rule, ...] = ((rf"{_AT}fc1\.", r"\1fc.0."), (rf"{_AT}fc2\.", r"\1fc.2."))


def _swap_pools(weight: Tensor) -> Tensor:
    """Input channels (mean, max) to (max, mean)."""
    return weight.flip(1)


RELEASES: tuple[Release, ...] = (
    Release("this target's own names"),
    Release("the PyTorch port of SE-Net (moskomule/senet.pytorch), without bias", zeros=rf"{_AT}fc\.[02]\.bias$"),
    Release("timm's SE-ResNet", rules=_SE_LAYERS),
    Release(
        "the Caffe release of SE-Net (legacy_seresnet in timm)",
        rules=(
            (r"^layer0\.", ""),
            (r"\.se_module\.", ".se."),
            *_SE_LAYERS,
            (r"^last_linear\.", "fc."),
        ),
        refused="its bottlenecks stride in the first 1x1 convolution and its pooling rounds up, which no other ResNet "
        "computes; deploy timm's legacy_seresnet50 (18, 34, 101, 152) with this file",
    ),
    Release("CBAM's authors (Jongchan/attention-module)", rules=((r"\.cbam\.", ".se."),)),
    Release("BAM's authors (Jongchan/attention-module)", rules=((r"^bam([123])\.", r"layer\1.attn."),)),
    Release(
        "timm's CBAM",
        rules=(
            (rf"{_AT}channel\.fc1\.", r"\1ChannelGate.mlp.1."),
            (rf"{_AT}channel\.fc2\.", r"\1ChannelGate.mlp.3."),
            (rf"{_AT}spatial\.conv\.", r"\1SpatialGate.spatial."),
        ),
        zeros=r"ChannelGate\.mlp\.[13]\.bias$",
        turned=((r"SpatialGate\.spatial\.conv\.weight$", _swap_pools),),
    ),
    Release("ECA-Net's ResNet (BangguWu/ECANet)", rules=((r"\.eca\.", ".se."),)),
    Release("SimAM's authors (ZjjConan/SimAM)", rules=((r"\.conv2\.0\.", ".conv2."),)),
    Release("FcaNet's authors (cfzd/FcaNet)", rules=((r"\.att\.", ".se."),)),
    Release("shuffle attention's authors (wofmanaf/SA-Net)", rules=((r"\.sa\.", ".se."),)),
    Release("triplet attention's authors (landskape-ai/triplet-attention)", rules=_TRIPLET),
    Release(
        "torchvision's MobileNetV2, and those of ECA-Net and triplet attention",
        rules=(*_mobilenetv2(_NESTED_FIRST, _NESTED_OTHERS, r"features\.18"), *_TRIPLET),
    ),
    Release(
        "SimAM's MobileNetV2 (ZjjConan/SimAM)", rules=(*_mobilenetv2(_SIMAM_FIRST, _SIMAM_OTHERS, r"features\.18"),)
    ),
    Release(
        "coordinate attention's MobileNetV2 (houqb/CoordAttention)",
        rules=(
            *_mobilenetv2(_FLAT_FIRST, _FLAT_OTHERS, "conv"),
            (rf"{_AT}conv2\.", r"\1conv_h."),
            (rf"{_AT}conv3\.", r"\1conv_w."),
        ),
    ),
)
