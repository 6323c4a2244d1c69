"""Tell whether this machine can run a plan, without starting anything that could end the process."""

from __future__ import annotations

from ..environment import Component, ask_driver, probe_rtx, probe_tensorrt
from .flavours import TENSORRT, Flavour
from .plans import Plan
from .targets import name_targets


def probe_flavour(flavour: Flavour) -> Component:
    """Look at one of the products called TensorRT."""
    return probe_tensorrt() if flavour is TENSORRT else probe_rtx()


def why_no_flavour(flavour: Flavour) -> str:
    """Return why no plan of this flavour can run on this machine; empty if one can."""
    found = probe_flavour(flavour)
    if found.status == "missing":
        return f"{flavour.title} is not installed here"
    return found.detail if found.status == "unusable" else ask_driver().problem


def why_not_runnable(plan: Plan) -> str:
    """Return why this machine cannot run the plan; empty if it can."""
    if why := why_no_flavour(plan.product):
        return why if plan.product is TENSORRT else f"built for {name_targets(plan.capabilities)}, not run: {why}"
    version = plan.product.parse_version(probe_flavour(plan.product).version)
    return plan.why_not_here(version, ask_driver().capability)
