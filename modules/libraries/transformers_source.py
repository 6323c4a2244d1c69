"""What a name of transformers stands for: a configuration, the class of its model, and the place of its weights.

Nothing is fetched unless published weights are asked for, and no code of a repository is ever run.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import huggingface_hub.constants
import torch
import transformers
from torch import nn
from transformers.models.auto import modeling_auto
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.utils import logging as their_logging

from ...core.nearest import nearest
from ...errors import InputError, MissingRequirement
from ..checkpoint_file import sha256
from ..raised import raised
from .image_processor import default_processor
from .library import failure_line

PREFIX = "transformers:"
PROCESSORS = ("preprocessor_config.json", "processor_config.json")
CONFIG, WEIGHTS, PICKLE = "config.json", "*.safetensors", "pytorch_model*.bin"
# every class has it; runtimes fuse the product, the softmax and the product by themselves
ATTENTION = "eager"
# By these a model type becomes a class: the head that says most of an image first.
TASKS = (
    *("OBJECT_DETECTION", "UNIVERSAL_SEGMENTATION", "INSTANCE_SEGMENTATION", "SEMANTIC_SEGMENTATION"),
    *("IMAGE_CLASSIFICATION", "DEPTH_ESTIMATION", "POSE_ESTIMATION", "IMAGE_MATTING", "NORMAL_ESTIMATION"),
    *("KEYPOINT_DETECTION", "KEYPOINT_MATCHING", "VIDEO_CLASSIFICATION", "TEXT_RECOGNITION", "IMAGE_TO_IMAGE"),
    *("BACKBONE", "IMAGE"),
)
# the names of an input that is an image or a clip
CLIP = "pixel_values_videos"
INPUTS = ("pixel_values", CLIP)
# keys of every configuration that no model is made of
OF_NO_MODEL = (*vars(transformers.PreTrainedConfig()), "label2id", "id2label")
# what a model takes beside an image that was cut into patches before, or beside an image that a text goes with,
# whether its forward has a default for it or not
BESIDE = ("spatial_shapes", "grid_thw", "image_grid_thw", "pixel_position_ids", "input_ids")


@dataclass(frozen=True)
class Source:
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
        with quiet(online=self.is_hub):
            try:
                if not self.place:
                    made: nn.Module = self.kind._from_config(config, dtype=torch.float32, attn_implementation=ATTENTION)
                    return made.float()
                return self._loaded(config)
            except InputError:
                raise
            except ImportError as error:
                raise _missing(self.name, error) from error
            except Exception as error:  # each model fails in its own way
                expected = "its weights within reach" if self.place else "a configuration that it can be made of"
                raise InputError(
                    f"received {PREFIX}{self.name}; expected {expected}, got {raised(error)}; "
                    f"{'correct the name' if self.place else _completed(config)}"
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


def _missing(name: str, error: ImportError) -> MissingRequirement:
    return MissingRequirement(
        f"received target {PREFIX}{name}; expected what it needs to be installed, got {failure_line(error)}; install it"
    )


def _completed(config: Any) -> str:
    """Return what makes a configuration complete, which a model cannot be made of: the keys without a value."""
    empty = [
        key
        for key, value in vars(config).items()
        if value is None and not key.startswith("_") and key not in OF_NO_MODEL
    ]
    without = f" (no value: {', '.join(empty)})" if empty else ""
    return f"correct the options{without}, or name a folder with {CONFIG}"


def _key(found: Any) -> str:
    return str(found[0] if isinstance(found, tuple) else found)


def find_source(name: str, *, pretrained: bool) -> Source:
    """Return what a name stands for; InputError for a name that transformers does not know."""
    folder = Path(name).expanduser()
    # a folder that happens to have the name of a model type is none of its weights
    if folder.is_dir() and ((folder / CONFIG).is_file() or name not in CONFIG_MAPPING):
        return _of_folder(name, folder)
    if pretrained:
        return _of_hub(name)
    kind = _attribute(name)
    if _is(kind, transformers.PreTrainedModel) and kind.config_class is not None:
        return Source(name, _default(kind.config_class, name), kind)
    if _is(kind, transformers.PreTrainedConfig):
        return Source(name, _default(kind, name), _head(kind.model_type, name))
    model_type = next((one for one in (name, name.replace("_", "-")) if one in CONFIG_MAPPING), "")
    if model_type:
        return Source(name, _default(CONFIG_MAPPING[model_type], name), _head(model_type, name))
    if "/" in name:
        raise InputError(
            f"received target {PREFIX}{name}; expected a folder with {CONFIG}, found none there; correct the path, or "
            "add --pretrained to fetch it from the Hugging Face hub"
        )
    known = {one for task in TASKS for one in _names(task)}
    classes = {one for task in TASKS for types in _names(task) for one in classes_of(types, task)}
    raise InputError(
        f"received target {PREFIX}{name}; expected a folder with {CONFIG}, a model type or a class of transformers "
        f"{version('transformers')}; {_nearest(name, known, classes)}"
    )


def _attribute(name: str) -> Any:
    """Return what transformers calls ``name``; None if it has none. Raises InputError if that cannot be imported."""
    try:
        return getattr(transformers, name, None)
    except ImportError as error:  # a model that needs another package
        raise _missing(name, error) from error


def _is(kind: object, base: type[Any]) -> bool:
    return inspect.isclass(kind) and issubclass(kind, base)


def _nearest(name: str, model_types: set[str], classes: set[str]) -> str:
    by_lower = {one.lower(): one for one in classes}
    close = nearest(name, [*model_types, *by_lower], "see attn2trt list libraries")
    return " ".join(by_lower.get(word.rstrip("?"), word.rstrip("?")) for word in close.split()) + "?" * ("?" in close)


def _of_folder(name: str, folder: Path) -> Source:
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
    return Source(name, config, _saved_class(config, name), str(folder) if weights else "", digest=digest)


def _of_hub(name: str) -> Source:
    if name.count("/") != 1:
        raise InputError(
            f"received --pretrained for {PREFIX}{name}; expected a repository of the Hugging Face hub, since a model "
            "type has no weights of its own; write transformers:OWNER/NAME, as transformers:PekingU/rtdetr_r50vd"
        )
    config = _read_config(name, name, is_hub=True)
    return Source(name, config, _saved_class(config, name), name, is_hub=True)


def _read_config(place: str, name: str, *, is_hub: bool) -> Any:
    with quiet(online=is_hub):
        try:
            return transformers.AutoConfig.from_pretrained(place, local_files_only=not is_hub, trust_remote_code=False)
        except Exception as error:  # a file of any content
            expected = "a repository of the hub within reach" if is_hub else f"the {CONFIG} of a model of transformers"
            raise InputError(
                f"received target {PREFIX}{name}; expected {expected}, got {failure_line(error)}; correct it"
            ) from error


def _saved_class(config: Any, name: str) -> type[Any]:
    for architecture in config.architectures or ():
        kind = _attribute(architecture)
        if _is(kind, transformers.PreTrainedModel):
            found: type[Any] = kind
            return found
    return _head(config.model_type, name)


def _default(kind: type[Any], name: str) -> Any:
    with quiet(online=False):
        try:
            return kind()
        except Exception as error:  # one of several parts, which has no defaults
            raise InputError(
                f"received target {PREFIX}{name}, which has no default configuration ({failure_line(error)}); expected "
                f"a folder with {CONFIG}; name one"
            ) from error


def _names(task: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = getattr(modeling_auto, f"MODEL_FOR_{task}_MAPPING_NAMES", {})
    return found


def classes_of(model_type: str, task: str) -> tuple[str, ...]:
    """Return the classes of a model type for a task."""
    found = _names(task).get(model_type, ())
    return (found,) if isinstance(found, str) else tuple(found)


def _head(model_type: str, name: str) -> type[Any]:
    """Return the class of a model type by its first task, else the model without a head; InputError if it has none."""
    for task in TASKS:
        for one in classes_of(model_type, task):
            kind: type[Any] = getattr(transformers, one)
            return kind
    bare = modeling_auto.MODEL_MAPPING_NAMES.get(model_type, "")
    found = _attribute(bare) if isinstance(bare, str) and bare else None
    if _is(found, transformers.PreTrainedModel):
        return cast(type[Any], found)
    raise InputError(
        f"received target {PREFIX}{name}, a model type without a head for images; expected a detector, a segmenter, a "
        "classifier or a backbone; name its class, as transformers:RTDetrForObjectDetection"
    )


def image_input(kind: type[Any]) -> str:
    """Return the name of the one tensor that a model takes, if that is an image or a clip; "" otherwise."""
    parameters = inspect.signature(kind.forward).parameters
    if any(name in parameters for name in BESIDE):
        return ""
    found = next((name for name in INPUTS if name in parameters and not _needed(kind, name)), "")
    main = getattr(kind, "main_input_name", None) or found
    return found if main in (found, "pixel_values") else ""


def needed(kind: type[Any]) -> str:
    """Return what a model takes beside an image, in words."""
    beside = [name for name in BESIDE if name in inspect.signature(kind.forward).parameters]
    found = dict.fromkeys([*_needed(kind, *INPUTS), *beside])
    return ", ".join(found) or str(getattr(kind, "main_input_name", "something else"))


def _needed(kind: type[Any], *but: str) -> list[str]:
    kinds = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    return [
        key
        for key, one in inspect.signature(kind.forward).parameters.items()
        if key not in ("self", *but) and one.default is one.empty and one.kind not in kinds
    ]


def image_classes(module: str) -> list[str]:
    """Return the classes of a file of transformers that are models of images alone."""
    try:
        file = import_module(module)
    except Exception:  # one that needs another package, and none at all
        return []
    kinds: dict[str, Any] = {name: getattr(file, name, None) for name in getattr(file, "__all__", ())}
    return [
        name
        for name, kind in kinds.items()
        if _is(kind, transformers.PreTrainedModel) and not name.endswith("PreTrainedModel") and image_input(kind)
    ]


@contextlib.contextmanager
def quiet(*, online: bool) -> Iterator[None]:
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
