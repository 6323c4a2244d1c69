"""Tell whether this machine can run a plan, without starting anything that could end the process."""

from __future__ import annotations

from ..environment import Component, Driver, ask_driver, probe_rtx, probe_tensorrt
from .flavours import TENSORRT, Flavour
from .plans import Plan
from .targets import name_targets


def probe_flavour(flavour: Flavour) -> Component:
    """Look at one of the products called TensorRT."""
    return probe_tensorrt() if flavour is TENSORRT else probe_rtx()


def why_no_flavour(flavour: Flavour) -> str:
    """Return why no plan of this flavour can run on this machine; empty if one can."""
    return _why_not(flavour, probe_flavour(flavour), ask_driver())


def _why_not(flavour: Flavour, found: Component, driver: Driver) -> str:
    if found.status == "missing":
        return f"{flavour.title} is not installed here"
    return found.detail if found.status == "unusable" else driver.problem


def why_not_runnable(plan: Plan) -> str:
    """Return why this machine cannot run the plan; empty if it can."""
    found, driver = probe_flavour(plan.product), ask_driver()
    if why := _why_not(plan.product, found, driver):
        return why if plan.product is TENSORRT else f"built for {name_targets(plan.capabilities)}, not run: {why}"
    return plan.why_not_here(plan.product.parse_version(found.version), driver.capability)
