"""Configurations of transformers with options on top: ``d_model=32``, ``backbone_config.depths=1/1/1/1``.

An option goes through the class's constructor, which derives other values of it (``hidden_size`` of Swin's depths), so
that nothing derived from the defaults is left over. A configuration itself takes any name and keeps quiet; an unknown
one is an error here.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from ...core.nearest import nearest
from ...errors import InputError
from .library import failure_line, parse_value

# what transformers keeps of a file, not of the model
_KEPT_QUIET = ("transformers_version", "dtype")
# two spellings of one choice: one that is given replaces both
_OUTPUTS = ("out_features", "out_indices")
MODEL_TYPE = "model_type"


def configured(base: Any, options: Mapping[str, str], name: str) -> Any:
    """Return a configuration like ``base`` with ``options``, dotted ones for configurations inside it.

    Raises InputError for an option that it does not have, and with transformers' reason for values that it refuses.
    """
    if not options:
        return base
    own = {key: text for key, text in options.items() if "." not in key}
    inner: dict[str, dict[str, str]] = {}
    for key, text in options.items():
        head, dot, rest = key.partition(".")
        if dot:
            inner.setdefault(head, {})[rest] = text
    for key in (*own, *inner):
        _check_known(base, key, name)
    kind = _kind(base, own.pop(MODEL_TYPE, ""), name)
    values = _changes(base) if kind is type(base) else {}
    if any(key in own for key in _OUTPUTS):
        values = {key: value for key, value in values.items() if key not in _OUTPUTS}
    values |= {key: _like(parse_value(text), getattr(base, key, None)) for key, text in own.items()}
    for key, texts in inner.items():
        part = getattr(base, key)
        if not hasattr(part, "to_dict"):
            raise InputError(
                f"received option {key}.{next(iter(texts))} of {name}, whose {key} is {part!r}; expected a "
                f"configuration inside it; leave out what follows the dot"
            )
        values[key] = configured(part, texts, f"{name}'s {key}")
    try:
        return kind(**values)
    except Exception as error:  # each configuration validates in its own way
        given = ", ".join(f"{key}={text}" for key, text in options.items())
        lacks = "out_features" in str(error) and not any(key in own for key in _OUTPUTS)
        fix = "add out_indices, the stages that are read, as out_indices=1/2" if lacks else "correct them"
        raise InputError(
            f"received options {given} of {name}, which transformers refused ({failure_line(error)}); {fix}"
        ) from error


def _check_known(base: Any, key: str, name: str) -> None:
    public = {one for one in vars(base) if not one.startswith("_")} - {*_KEPT_QUIET}
    known = public | {*getattr(base, "attribute_map", {})} | {"num_labels", MODEL_TYPE} | ({*_OUTPUTS} & {*dir(base)})
    if key not in known:
        raise InputError(
            f"received option {key!r} of {name}; expected one of its {type(base).__name__}; "
            f"{nearest(key, known, 'see its documentation')}"
        )


def _kind(base: Any, model_type: str, name: str) -> type[Any]:
    """Return the class of the configuration: another one than ``base`` has if ``model_type`` names it."""
    if not model_type:
        return type(base)
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    if model_type not in CONFIG_MAPPING:
        raise InputError(
            f"received option {MODEL_TYPE}={model_type} of {name}; expected a model type of transformers; "
            f"{nearest(model_type, CONFIG_MAPPING.keys(), 'see its documentation')}"
        )
    found: type[Any] = CONFIG_MAPPING[model_type]
    return found


def _changes(base: Any) -> dict[str, Any]:
    """Return what ``base`` has different from a new configuration of its class."""
    default = type(base)()
    values = {key: value for key, value in vars(base).items() if not key.startswith("_") and key not in _KEPT_QUIET}
    values |= {key: getattr(base, key) for key in _OUTPUTS if hasattr(base, key)}
    changed = {key: value for key, value in values.items() if not _equal(value, getattr(default, key, None))}
    # the labels say how many there are
    return copy.deepcopy(changed)


def _equal(one: Any, other: Any) -> bool:
    if hasattr(one, "to_dict") and hasattr(other, "to_dict"):
        return bool(one.to_dict() == other.to_dict())
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return list(one) == list(other)
    return bool(one == other)


def _like(value: Any, default: Any) -> Any:
    """Return a value as a list if the default is one: of words, or of a single number."""
    if not isinstance(default, list | tuple) or isinstance(value, list):
        return value
    return value.split("/") if isinstance(value, str) else [value]
