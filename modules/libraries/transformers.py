"""``transformers:NAME``: detectors, segmenters, classifiers and backbones of images, by what the name is.

NAME is a folder with a ``config.json``, a model type (``rt_detr``), a class (``RTDetrForObjectDetection``,
``RTDetrConfig``) or, with --pretrained, a repository of the Hugging Face hub (``owner/name``). Options change the
configuration. Nothing is fetched unless --pretrained asks for it, and no code of a repository is ever run.

transformers, https://github.com/huggingface/transformers, Apache-2.0.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import torch
import transformers
from torch import Tensor, nn
from transformers.models.auto import modeling_auto
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.utils import logging as their_logging

from ...errors import InputError
from ..block_index import nearest
from ..checkpoint_file import sha256
from .configuration import configured
from .image_processor import default_processor, preprocessing_of
from .library import LibraryModel, one_line, tensors

PREFIX = "transformers:"
INPUT = "pixel_values"
PROCESSORS = ("preprocessor_config.json", "processor_config.json")
CONFIG, WEIGHTS, PICKLE = "config.json", "*.safetensors", "pytorch_model*.bin"
# every class has it; runtimes fuse the product, the softmax and the product by themselves
ATTENTION = "eager"
# By these a model type becomes a class: the head that says most of an image first.
TASKS = (
    *("OBJECT_DETECTION", "UNIVERSAL_SEGMENTATION", "INSTANCE_SEGMENTATION", "SEMANTIC_SEGMENTATION"),
    *("IMAGE_CLASSIFICATION", "DEPTH_ESTIMATION", "IMAGE_TO_IMAGE", "BACKBONE"),
)
# The answers of heads, which their post-processing reads. What stands beside them is there for training.
ANSWERS = (
    *("logits", "pred_boxes", "pred_masks", "class_queries_logits", "masks_queries_logits", "cls_logits"),
    *("distillation_logits", "predicted_depth", "reconstruction", "keypoints", "heatmaps", "feature_maps"),
)
SIDES = {"OBJECT_DETECTION": 640, "UNIVERSAL_SEGMENTATION": 640, "SEMANTIC_SEGMENTATION": 512}
SIDE = 224
# Attributes of a configuration and their values in a graph, with the reason; left alone if they are so already.
SWITCHES: Mapping[str, tuple[Any, str]] = {
    "return_dict": (True, "outputs have names"),
    "output_hidden_states": (False, "they are there for training"),
    "output_attentions": (False, "they are there for training"),
    "auxiliary_loss": (False, "the outputs of inner layers are there for training"),
    "use_auxiliary_head": (False, "it is there for training"),
    "anchor_image_size": (None, "anchors are computed for the size of the input"),
    "eval_size": (None, "position embeddings are computed for the size of the input"),
    "disable_custom_kernels": (True, "deformable attention by PyTorch's own operators"),
    "use_pretrained_backbone": (False, "nothing is fetched"),
}


class Results(nn.Module):
    """A model of images: its answers by transformers' names."""

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """``(n, c, h, w)`` to what the head answers."""
        return answers(super().forward(pixel_values=image))


def answers(output: Any) -> dict[str, Any]:
    """Return the tensors of a model's output that answer something; all of them if it has no head."""
    found = dict(tensors(output))
    return {name: found[name] for name in ANSWERS if name in found} or found


def left_out(module: Any, image: Tensor) -> list[str]:
    """Return, in words, what a model gives beside its answers."""
    with torch.no_grad():
        found = super(Results, module).forward(pixel_values=image)
    kept = answers(found)
    others = [name for name, value in found.items() if name not in kept and value is not None]
    return [f"outputs left out, which post-processing does not read: {', '.join(others)}"] if others else []


def find(name: str, options: Mapping[str, str], *, pretrained: bool) -> LibraryModel:
    """Return a model of transformers; InputError for a name that it does not know or a model of something else."""
    source = _source(name, pretrained=pretrained)
    config, kind = source.config, source.kind
    with _quiet(online=source.is_hub):
        config = configured(config, options, PREFIX + name)
    _check_kind(kind, name)
    notes = [*_attention(kind), *_switch(config)]
    task = next((task for task in TASKS if kind.__name__ in _classes(config.model_type, task)), "")
    channels = int(getattr(config, "num_channels", None) or 3)
    with _quiet(online=source.is_hub):
        processor = source.processor()
        preprocessing = None if processor is None else preprocessing_of(processor, channels)
    size = _size(config) or (preprocessing.size[1:] if preprocessing else (SIDES.get(task, SIDE),) * 2)
    return LibraryModel(
        source=f"transformers {version('transformers')} {kind.__name__}",
        create=lambda: source.create(config),
        size=(channels, *size),
        results=Results,
        input_name=INPUT,
        trained=source.trained,
        preprocessing=preprocessing,
        notes=tuple(notes),
        left_out=left_out,
        digest=source.digest,
    )


@dataclass(frozen=True)
class _Source:
    """A configuration, the class of its model, and the folder or repository of its weights; "" for random ones."""

    name: str
    config: Any
    kind: type[Any]
    place: str = ""
    is_hub: bool = False
    digest: str = ""

    @property
    def trained(self) -> str:
        if self.is_hub:
            return f"{self.place} of the Hugging Face hub"
        return f"safetensors of {Path(self.place).name}, sha256 {self.digest}" if self.place else ""

    def create(self, config: Any) -> nn.Module:
        """Return the model in float32; InputError if its weights are out of reach or of another model."""
        with _quiet(online=self.is_hub):
            try:
                if not self.place:
                    made: nn.Module = self.kind._from_config(config, dtype=torch.float32, attn_implementation=ATTENTION)
                    return made.float()
                return self._loaded(config)
            except InputError:
                raise
            except Exception as error:  # each model fails in its own way
                expected = "its weights within reach" if self.place else "a configuration that it can be made of"
                raise InputError(
                    f"received {PREFIX}{self.name}; expected {expected}, got {one_line(error)}; correct the name or "
                    "the options"
                ) from error

    def _loaded(self, config: Any) -> nn.Module:
        made, found = self.kind.from_pretrained(
            self.place,
            config=config,
            dtype=torch.float32,
            attn_implementation=ATTENTION,
            local_files_only=not self.is_hub,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are refused below, by their names
        )
        wrong = [(kind, sorted(map(_key, found[f"{kind}_keys"]))) for kind in ("missing", "mismatched")]
        if faults := [f"{len(keys)} {kind} ({', '.join(keys[:5])})" for kind, keys in wrong if keys]:
            raise InputError(
                f"received {PREFIX}{self.name}, whose weights are not those of its {self.kind.__name__}: "
                f"{'; '.join(faults)}; expected every weight; leave the options out, or name the class that was saved"
            )
        module: nn.Module = made.float()
        return module

    def processor(self) -> Any:
        """Return the image processor that is saved beside the weights, else the one of the model type."""
        folder = Path(self.place or self.name)
        if self.is_hub or any((folder / file).is_file() for file in PROCESSORS):
            with contextlib.suppress(Exception):  # of a model whose processor is not for images, or needs more
                return transformers.AutoImageProcessor.from_pretrained(
                    self.place or self.name, local_files_only=not self.is_hub, trust_remote_code=False
                )
        return default_processor(self.config.model_type)


def _key(found: Any) -> str:
    return str(found[0] if isinstance(found, tuple) else found)


def _source(name: str, *, pretrained: bool) -> _Source:
    folder = Path(name).expanduser()
    # a folder that happens to have the name of a model type is none of its weights
    if folder.is_dir() and ((folder / CONFIG).is_file() or name not in CONFIG_MAPPING):
        return _of_folder(name, folder)
    if pretrained:
        return _of_hub(name)
    kind = _attribute(name)
    if _is(kind, transformers.PreTrainedModel) and kind.config_class is not None:
        return _Source(name, _default(kind.config_class, name), kind)
    if _is(kind, transformers.PreTrainedConfig):
        return _Source(name, _default(kind, name), _head(kind.model_type, name))
    model_type = next((one for one in (name, name.replace("_", "-")) if one in CONFIG_MAPPING), "")
    if model_type:
        return _Source(name, _default(CONFIG_MAPPING[model_type], name), _head(model_type, name))
    if "/" in name:
        raise InputError(
            f"received target {PREFIX}{name}; expected a folder with {CONFIG}, found none there; correct the path, or "
            "add --pretrained to fetch it from the Hugging Face hub"
        )
    known = {one for task in TASKS for one in _names(task)}
    classes = {one for task in TASKS for types in _names(task) for one in _classes(types, task)}
    raise InputError(
        f"received target {PREFIX}{name}; expected a folder with {CONFIG}, a model type or a class of transformers "
        f"{version('transformers')}; {_nearest(name, known, classes)}"
    )


def _attribute(name: str) -> Any:
    """Return what transformers calls ``name``; None if it has none. Raises InputError if that cannot be imported."""
    try:
        return getattr(transformers, name, None)
    except Exception as error:  # a model that needs another package
        raise InputError(
            f"received target {PREFIX}{name}; expected what it needs to be installed, got {one_line(error)}; install it"
        ) from error


def _is(kind: object, base: type[Any]) -> bool:
    return inspect.isclass(kind) and issubclass(kind, base)


def _nearest(name: str, model_types: set[str], classes: set[str]) -> str:
    by_lower = {one.lower(): one for one in classes}
    close = nearest(name, [*model_types, *by_lower], "see attn2trt list libraries")
    return " ".join(by_lower.get(word.rstrip("?"), word.rstrip("?")) for word in close.split()) + "?" * ("?" in close)


def _of_folder(name: str, folder: Path) -> _Source:
    if not (folder / CONFIG).is_file():
        raise InputError(
            f"received target {PREFIX}{name}, a folder without {CONFIG}; expected one that save_pretrained wrote; "
            "name that folder"
        )
    weights = sorted(folder.glob(WEIGHTS))
    if not weights and (pickles := sorted(folder.glob(PICKLE))):
        raise InputError(
            f"received target {PREFIX}{name}, whose weights are in {pickles[0].name}; expected safetensors; save them "
            f"with safe_serialization, or give --checkpoint {pickles[0]} and a copy of {CONFIG} in a folder of its own"
        )
    config = _read_config(str(folder), name, is_hub=False)
    digest = hashlib.sha256("".join(map(sha256, [folder / CONFIG, *weights])).encode()).hexdigest()
    return _Source(name, config, _saved_class(config, name), str(folder) if weights else "", digest=digest)


def _of_hub(name: str) -> _Source:
    if name.count("/") != 1:
        raise InputError(
            f"received --pretrained for {PREFIX}{name}; expected a repository of the Hugging Face hub, since a model "
            "type has no weights of its own; write transformers:OWNER/NAME, as transformers:PekingU/rtdetr_r50vd"
        )
    config = _read_config(name, name, is_hub=True)
    return _Source(name, config, _saved_class(config, name), name, is_hub=True)


def _read_config(place: str, name: str, *, is_hub: bool) -> Any:
    with _quiet(online=is_hub):
        try:
            return transformers.AutoConfig.from_pretrained(place, local_files_only=not is_hub, trust_remote_code=False)
        except Exception as error:  # a file of any content
            expected = "a repository of the hub within reach" if is_hub else f"the {CONFIG} of a model of transformers"
            raise InputError(
                f"received target {PREFIX}{name}; expected {expected}, got {one_line(error)}; correct it"
            ) from error


def _saved_class(config: Any, name: str) -> type[Any]:
    for architecture in config.architectures or ():
        kind = _attribute(architecture)
        if _is(kind, transformers.PreTrainedModel):
            found: type[Any] = kind
            return found
    return _head(config.model_type, name)


def _default(kind: type[Any], name: str) -> Any:
    with _quiet(online=False):
        try:
            return kind()
        except Exception as error:  # one of several parts, which has no defaults
            raise InputError(
                f"received target {PREFIX}{name}, which has no default configuration ({one_line(error)}); expected a "
                f"folder with {CONFIG}; name one"
            ) from error


def _names(task: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = getattr(modeling_auto, f"MODEL_FOR_{task}_MAPPING_NAMES", {})
    return found


def _classes(model_type: str, task: str) -> tuple[str, ...]:
    found = _names(task).get(model_type, ())
    return (found,) if isinstance(found, str) else tuple(found)


def _head(model_type: str, name: str) -> type[Any]:
    """Return the class of a model type by its first task; InputError if it has none for images."""
    for task in TASKS:
        for one in _classes(model_type, task):
            kind: type[Any] = getattr(transformers, one)
            return kind
    raise InputError(
        f"received target {PREFIX}{name}, a model type without a head for images; expected a detector, a segmenter, a "
        "classifier or a backbone; name its class, as transformers:RTDetrForObjectDetection"
    )


def _check_kind(kind: type[Any], name: str) -> None:
    """Raise InputError for a model that takes something else than one image tensor."""
    parameters = inspect.signature(kind.forward).parameters
    kinds = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    needed = [
        key
        for key, one in parameters.items()
        if key not in ("self", INPUT) and one.default is one.empty and one.kind not in kinds
    ]
    if INPUT not in parameters or needed or getattr(kind, "main_input_name", INPUT) != INPUT:
        takes = ", ".join(needed) or getattr(kind, "main_input_name", "something else")
        raise InputError(
            f"received {PREFIX}{name}, a {kind.__name__} that takes {takes}; expected a model of {INPUT} alone; "
            "wrap it in a module of your own: FILE.py or py:package.module:factory"
        )


def _attention(kind: type[Any]) -> list[str]:
    has_choice = getattr(kind, "_supports_sdpa", False)
    return [f"attn_implementation={ATTENTION}: attention is written out"] if has_choice else []


def _switch(config: Any) -> Iterator[str]:
    """Set what a graph needs in a configuration and those inside it; yields each change in words."""
    parts = {"": config} | {
        f"{key}.": value for key, value in vars(config).items() if isinstance(value, transformers.PreTrainedConfig)
    }
    for prefix, part in parts.items():
        for key, (value, why) in SWITCHES.items():
            if hasattr(part, key) and getattr(part, key) not in (value, ()):
                setattr(part, key, value)
                yield f"{prefix}{key}={value}: {why}"


def _size(config: Any) -> tuple[int, int] | None:
    """Return the (height, width) that a configuration is for, if it says it."""
    stated = getattr(config, "image_size", None)
    if isinstance(stated, int):
        return stated, stated
    if isinstance(stated, list | tuple) and len(stated) == 2:
        return int(stated[0]), int(stated[1])
    return None


@contextlib.contextmanager
def _quiet(*, online: bool) -> Iterator[None]:
    """transformers without progress bars, advice and usage statistics, and without the network unless ``online``."""
    constants: Any = huggingface_hub.constants
    before = {name: getattr(constants, name) for name in ("HF_HUB_OFFLINE", "HF_HUB_DISABLE_TELEMETRY")}
    level, had_bars = their_logging.get_verbosity(), their_logging.is_progress_bar_enabled()
    their_logging.set_verbosity_error()
    their_logging.disable_progress_bar()
    constants.HF_HUB_DISABLE_TELEMETRY = True
    constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE or not online
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(constants, name, value)
        their_logging.set_verbosity(level)
        if had_bars:
            their_logging.enable_progress_bar()
