"""A plan on its way into a bundle's folder: built in a process of its own, then moved to its name there."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from ...core.extend import free_name
from ...core.file_hashes import sha256
from ...core.lock import owner
from ...core.tensor_spec import TensorSpec
from .build import BuildOptions, BuildOrder
from .flavours import TENSORRT, Flavour
from .isolated import BUILD_SECONDS, start_build
from .plans import FOLDER, Plan, file_name, layers_name, layers_role, log_name
from .profiles import Profile

CACHE = f"{FOLDER}/timing.cache"


@dataclass(frozen=True)
class PlanRequest:
    """The plan that is wanted of one graph of a bundle.

    Attributes:
        folder: The bundle's folder, or the one that it is written in.
        graph: The graph's file in there.
        precision: The graph's precision.
        inputs: The graph's inputs.
        profiles: The ranges to choose kernels for.
        modules: The PyTorch module of each node, for messages.
        flavour: The TensorRT that builds.
        targets: The compute capabilities to build for; without any, the GPU at hand.
        options: What the builder is given.
        known_cache: The file in the folder with kernels that were timed before, and its hash; None if there is none.
        more_caches: Further files with such kernels, and their hashes.
        tuned: The graph is the one that ``tune`` wrote for the flavour.
    """

    folder: Path
    graph: str
    precision: str
    inputs: tuple[TensorSpec, ...]
    profiles: tuple[Profile, ...]
    modules: Mapping[str, str] = field(default_factory=dict)
    flavour: Flavour = TENSORRT
    targets: tuple[str, ...] = ()
    options: BuildOptions = field(default_factory=BuildOptions)
    known_cache: tuple[str, str] | None = None
    more_caches: tuple[tuple[Path, str], ...] = ()
    tuned: bool = False


class PlanBuild:
    """A child process that builds one plan. Entered, it starts; ``result`` waits for it and moves the files in place.

    Use it in a ``with`` statement: leaving ends the process and removes what is not in place. ``order`` is what the
    process gets.
    """

    def __init__(self, request: PlanRequest) -> None:
        self._request = request
        plans = (request.folder / FOLDER).resolve()
        known, known_sha256 = request.known_cache or ("", "")
        self._work = plans / f".partial-{owner()}-{request.precision}"
        self.order = BuildOrder(
            graph=(request.folder / request.graph).resolve(),
            plan=self._work / "plan",
            log=self._work / "log",
            cache=self._work / "cache",
            layers=self._work / "layers",
            inputs=request.inputs,
            profiles=request.profiles,
            modules=request.modules,
            options=request.options,
            precision=request.precision,
            flavour=request.flavour.name,
            targets=request.targets,
            known_cache=(request.folder / known).resolve() if known else None,
            known_sha256=known_sha256,
            more_caches=request.more_caches,
        )

    def __enter__(self) -> PlanBuild:
        self._work.parent.mkdir(exist_ok=True)
        self._work.mkdir()
        self._child = start_build(self.order, seconds=BUILD_SECONDS)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._child.__exit__(kind, error, trace)
        shutil.rmtree(self._work, ignore_errors=True)

    def result(self, taken: Collection[str] = (), *, seconds: float | None = None) -> tuple[Plan, dict[str, str]]:
        """Return the plan, and its files in the bundle with what each is, under names that are not ``taken``.

        ``seconds`` limits the time from now on, in place of the limit that it began with. Raises what ``build`` raises.
        The log is in its place either way.
        """
        request, order = self._request, self.order
        if seconds is not None:
            self._child.seconds = seconds
        log = log_name(request.flavour, request.precision, tuned=request.tuned)
        try:
            built = self._child.built()
        finally:
            if order.log.exists():
                order.log.replace(request.folder / log)
        version = request.flavour.parse_version(built["tensorrt"])
        name = file_name(request.flavour, built["capabilities"], version, request.precision, tuned=request.tuned)
        name = free_name(name, taken)
        files = {name: _role(request, built)}
        order.plan.replace(request.folder / name)
        if order.layers.exists():
            order.layers.replace(request.folder / layers_name(name))
            files[layers_name(name)] = layers_role(name)
        if order.cache.exists() and sha256(order.cache) != order.known_sha256:
            cache = free_name(CACHE, taken)
            order.cache.replace(request.folder / cache)
            files[cache] = f"kernels that {request.flavour.title} {built['tensorrt']} timed on {built['gpu']}"
        return self._plan(name, built), files

    def _plan(self, name: str, built: Mapping[str, Any]) -> Plan:
        request = self._request
        return Plan(
            file=name,
            precision=request.precision,
            graph=sha256(self.order.graph),
            profiles=request.profiles,
            flags={key: value for key, value in vars(request.options).items() if value},
            tuned=request.tuned,
            **{**built, "capabilities": tuple(built["capabilities"])},
        )


def _role(request: PlanRequest, built: Mapping[str, Any]) -> str:
    where = built["gpu"] or ", ".join(built["capabilities"])
    tuned = ", of the tuned graph" * request.tuned
    return f"{request.flavour.title} {built['tensorrt']} plan, {request.precision}{tuned}, {where}"
