"""The question to TensorRT's inspector, whose document ``layers.py`` reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .profiles import Shape


def inspected(trt: Any, engine: Any, context: Any, shapes: Mapping[str, Shape]) -> str:
    """Return what the inspector says of an engine at these shapes of its inputs.

    TensorRT 8.6 leaves the types of tensors open if a shape varies, although these shapes are set, until the context
    has run: then it gives all of them, for the one plan of which both documents were recorded. Without a ``context``,
    which TensorRT could not make, the inspector does not know the shapes.
    """
    inspector = engine.create_engine_inspector()
    if context is not None:
        for name, shape in shapes.items():
            context.set_input_shape(name, shape)
        inspector.execution_context = context
    return str(inspector.get_engine_information(trt.LayerInformationFormat.JSON))
