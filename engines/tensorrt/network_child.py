"""The child process that parses graphs and answers with the hashes of their networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ...errors import CheckFailed, MissingRequirement
from ..child import answer_first
from .build import BuildOrder, parsed
from .build_child import order_from_json
from .device import Device
from .flavours import FLAVOURS
from .library import load, make_logger
from .network_digest import network_digest


def main() -> None:
    """Parse the graphs of the orders in the first message."""
    answer_first(_answer)


def _answer(message: Mapping[str, Any]) -> dict[str, Any]:
    orders = [order_from_json(order) for order in message["orders"]]
    return {"digests": digests(orders, Path(message["log"]))}


def digests(orders: Sequence[BuildOrder], log: Path) -> list[str]:
    """Return the hash of the network of each order, all for one TensorRT and its targets; "" for one without.

    Raises MissingRequirement if there is no such TensorRT, or no device and no target.
    """
    found = []
    with ExitStack() as stack:
        device = None if orders[0].targets else stack.enter_context(Device())
        library = load(FLAVOURS[orders[0].flavour], device)
        logger = make_logger(library.trt, log)
        builder = library.trt.Builder(logger)
        for order in orders:
            try:
                network, _parser = parsed(library, builder, builder.create_builder_config(), logger, order)
                found.append(network_digest(library.trt, network))
            except (CheckFailed, MissingRequirement):  # its build says why
                found.append("")
    return found
