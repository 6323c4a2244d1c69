"""Types in which a TensorRT that knows the type refuses an operator: the one table that both policies ask.

Read from what TensorRT for RTX's parser and builder say (docs/tensorrt_operators.md, which a command writes; tests hold
this table against it), and from the types that the parsers of TensorRT 8.6 and 10.1 document. An operator is lowered
only to a type that all of them take.
"""

from __future__ import annotations

from collections.abc import Mapping

_PARSER = "its parser has no bfloat16 for it"
_KERNEL = "its builder has no kernel for it"

REFUSED: Mapping[str, Mapping[str, str]] = {
    "bf16": {"ConvTranspose": _KERNEL, "HardSwish": _PARSER, "Mish": _PARSER},
}


def refusal(operator: str, precision: str) -> str:
    """Return why TensorRT refuses the operator in the precision; "" if it takes it."""
    found = REFUSED.get(precision, {}).get(operator)
    return f"TensorRT refuses {operator} in {precision}: {found}" if found else ""
