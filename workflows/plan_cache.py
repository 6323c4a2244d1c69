"""Plans that a search builds, kept by the hash of all that they depend on: an interrupted search finds them again.

The folder is the user's own, outside of any bundle. Times are not kept: they belong to the run that took them.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import shutil
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from ..core.bundle import Bundle
from ..core.file_hashes import sha256
from ..core.lock import try_lock
from ..core.manifest import is_inside
from ..core.typed_json import find_wrong, parsed
from ..engines.environment import ask_driver
from ..engines.tensorrt.build import BuildOptions
from ..engines.tensorrt.flavours import Flavour
from ..engines.tensorrt.isolated import PARSE_SECONDS, networks_of
from ..engines.tensorrt.plan_build import CACHE, PlanBuild, PlanRequest
from ..engines.tensorrt.plans import Plan
from ..engines.tensorrt.profiles import Profile
from ..errors import Attn2trtError, CheckFailed, InputError, StorageError

log = logging.getLogger(__name__)

ABOUT, MODULES, NETWORK = "built.json", "modules.json", "network.txt"
OUT_OF_TIME = "no time was left"


def _require_own(folder: Path) -> None:
    """Raise StorageError for a folder of another user, or that others can write into."""
    about = folder.lstat()
    is_own = not hasattr(os, "geteuid") or about.st_uid == os.geteuid()
    if not is_own or about.st_mode & 0o022:
        raise StorageError(
            f"{folder} can be written by others, who could put a plan there; expected a folder that is yours alone; "
            "remove it, or give another one with --cache"
        )


def default_folder() -> Path:
    """Return the user's own folder for plans that a search builds."""
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "attn2trt" / "tune"


@dataclass(frozen=True)
class Recipe:
    """All that the plans of one search have in common.

    Attributes:
        bundle: The bundle that the graphs are of.
        precision: Of the graphs.
        flavour: The TensorRT that builds.
        version: Its version.
        targets: The compute capabilities to build for; without any, the GPU at hand.
        profiles: The ranges to choose kernels for.
        options: What the builder is given.
        known_cache: Kernels that were timed before, and the file's hash; None if there are none.
    """

    bundle: Bundle
    precision: str
    flavour: Flavour
    version: str
    profiles: tuple[Profile, ...]
    targets: tuple[str, ...] = ()
    options: BuildOptions = field(default_factory=BuildOptions)
    known_cache: tuple[Path, str] | None = None

    @property
    def key(self) -> str:
        """Return the hash of everything that a plan depends on beside its graph."""
        driver = ask_driver()
        facts = {
            "precision": self.precision,
            "flavour": self.flavour.name,
            "version": self.version,
            "devices": driver.devices,
            "driver": driver.version,
            "targets": self.targets,
            "profiles": [str(profile) for profile in self.profiles],
            "options": asdict(self.options),
            "inputs": [spec.to_json() for spec in self.bundle.inputs_of(self.precision)],
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class WrittenGraph:
    """A graph in the folder of its plan, which its hash names, its file there, and the module of each of its nodes."""

    folder: Path
    name: str
    modules: Mapping[str, str]

    @property
    def path(self) -> Path:
        """Return the graph's file."""
        return self.folder / self.name


class BuiltPlan(NamedTuple):
    """A plan in its own folder: the file's hash, and each file there with what it is."""

    graph: WrittenGraph
    plan: Plan
    sha256: str
    files: Mapping[str, str]

    @property
    def path(self) -> Path:
        """Return the plan's file."""
        return self.graph.folder / self.plan.file


class PlanCache:
    """The plans of one recipe in a folder of ``root``; entered, it is held against other commands.

    Args:
        root: The folder for all searches.
        recipe: What the plans have in common.
        jobs: The builds beside each other.
        kernels: Files with kernels that were timed before, beside those in the folder.

    Raises:
        StorageError: Another command builds the same plans now, or others can write into the folder: a plan in it is
            loaded by what the file beside it says.
    """

    def __init__(
        self,
        root: Path,
        recipe: Recipe,
        *,
        jobs: int = 1,
        kernels: Sequence[Path] = (),
    ) -> None:
        self._folder = Path(os.path.realpath(root)) / recipe.key
        self._kernels = tuple(kernels)
        self._recipe, self._jobs = recipe, jobs
        self._deadline: float | None = None

    def __enter__(self) -> PlanCache:
        self._folder.parent.mkdir(parents=True, exist_ok=True)
        self._folder.mkdir(mode=0o700, exist_ok=True)
        _require_own(self._folder)
        lock = try_lock(self._folder)
        if lock is None:
            raise StorageError(f"{self._folder} is in use by another command that tunes; wait for it, or give --cache")
        self._lock = lock
        for left in [*self._folder.glob("writing-*"), *self._folder.glob("*/plans/.partial-*")]:
            shutil.rmtree(left, ignore_errors=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def remove(self) -> None:
        """Remove all plans of the recipe."""
        shutil.rmtree(self._folder, ignore_errors=True)

    @contextlib.contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """Give the path to write a graph of this name to; ``keep_graph`` puts it in its place."""
        folder = self._folder / f"writing-{os.getpid()}"
        folder.mkdir()
        try:
            yield folder / name
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def keep_graph(self, graph: Path, modules: Mapping[str, str]) -> WrittenGraph:
        """Return the graph in the folder that its own hash, and that of its weights, names."""
        hashes = [sha256(file) for file in sorted(graph.parent.iterdir())]
        folder = self._folder / hashlib.sha256("".join(hashes).encode()).hexdigest()[:32]
        folder.mkdir(exist_ok=True)
        (graph.parent / MODULES).write_text(json.dumps(dict(modules)), encoding="utf-8")
        for file in graph.parent.iterdir():  # also over those of an earlier run, which may be damaged by now
            file.replace(folder / file.name)
        return WrittenGraph(folder, graph.name, modules)

    def build(self, wanted: Mapping[str, WrittenGraph]) -> dict[str, BuiltPlan | str]:
        """Return the plan of each graph, or why there is none; those of earlier runs are taken as they are.

        Of graphs that TensorRT parses to the same network one is built: all have the plan of that graph.

        Raises MissingRequirement if there is no TensorRT or GPU to build with.
        """
        plans: dict[Path, BuiltPlan | str] = {}
        running: deque[tuple[WrittenGraph, PlanBuild]] = deque()
        first = self._first_of_its_network(list(wanted.values()))
        with contextlib.ExitStack() as stack:
            for graph in {graph.folder: graph for graph in first.values()}.values():
                if (known := self.known(graph)) is not None:
                    plans[graph.folder] = known
                    continue
                if len(running) >= self._jobs:
                    self._end(*running.popleft(), plans)
                if why := self.why_not_now():
                    plans[graph.folder] = why
                    continue
                build = stack.enter_context(PlanBuild(self._request(graph)))
                running.append((graph, build))
            while running:
                self._end(*running.popleft(), plans)
        return {name: plans[first[graph.folder].folder] for name, graph in wanted.items()}

    def _first_of_its_network(self, wanted: Sequence[WrittenGraph]) -> dict[Path, WrittenGraph]:
        """Return for the folder of each graph the first graph of the same network, one that has a plan before others.

        A graph whose network is not known is the first of its own.
        """
        built = [*self._whole()]
        graphs = {graph.folder: graph for graph in (*built, *wanted)}
        networks = self._networks([*graphs.values()]) if len(graphs) > max(1, len(built)) else {}
        first: dict[str, WrittenGraph] = {}
        for folder, graph in graphs.items():
            first.setdefault(networks.get(folder) or folder.name, graph)
        return {graph.folder: first[networks.get(graph.folder) or graph.folder.name] for graph in wanted}

    def _whole(self) -> Iterator[WrittenGraph]:
        """Yield the graphs of earlier runs that are there, with their plans."""
        for file in sorted(self._folder.glob(f"*/{ABOUT}")):
            with contextlib.suppress(InputError):
                graph = self.graph_in(file.parent.name)
                if self.known(graph) is not None:
                    yield graph

    def _networks(self, graphs: Sequence[WrittenGraph]) -> dict[Path, str]:
        """Return the hash of each graph's network by its folder, where it is kept; "" or none if nobody can tell."""
        files = {graph.folder: graph.folder / NETWORK for graph in graphs}
        new = [graph for graph in graphs if not files[graph.folder].exists()]
        left = self._left()
        seconds = PARSE_SECONDS if left is None else min(left, PARSE_SECONDS)
        try:
            orders = [PlanBuild(replace(self._request(graph), more_caches=())).order for graph in new]
            found = networks_of(orders, seconds=seconds) if orders else []
        except Attn2trtError as error:  # each graph is built then, which says what is wrong with it
            log.info("networks are not compared: %s", error)
            return {}
        for graph, network in zip(new, found, strict=True):
            files[graph.folder].write_text(network, encoding="utf-8")
        return {folder: file.read_text(encoding="utf-8", errors="ignore") for folder, file in files.items()}

    def graph_in(self, name: str) -> WrittenGraph:
        """Return the graph of a plan's folder, by the folder's name. Raises InputError if there is none."""
        folder = self._folder / name
        try:
            modules = parsed((folder / MODULES).read_text(encoding="utf-8"))
            file = next((file.name for file in folder.glob("*.onnx")), "")
        except (OSError, ValueError):
            modules, file = None, ""
        if not file or find_wrong(modules, dict[str, str]) is not None:
            raise InputError(f"{folder} holds no graph any more; build it again")
        return WrittenGraph(folder, file, modules)

    def _end(self, graph: WrittenGraph, build: PlanBuild, plans: dict[Path, BuiltPlan | str]) -> None:
        """Wait for a build, and note its plan or its error."""
        try:
            plan, files = build.result(seconds=self._left())
        except CheckFailed as error:
            is_late = self._deadline is not None and time.monotonic() >= self._deadline
            plans[graph.folder] = f"{OUT_OF_TIME} ({error})" if is_late else str(error)
            return
        digest = sha256(graph.folder / plan.file)
        about = {"plan": plan.to_json(), "sha256": digest, "files": files}
        partial = graph.folder / f".{ABOUT}"
        partial.write_text(json.dumps(about), encoding="utf-8")
        partial.replace(graph.folder / ABOUT)
        plans[graph.folder] = BuiltPlan(graph, plan, digest, files)

    def known(self, graph: WrittenGraph) -> BuiltPlan | None:
        """Return the plan that an earlier run has built of the graph; None if that, or the graph, is not whole."""
        try:
            about = parsed((graph.folder / ABOUT).read_text(encoding="utf-8"))
            plan, files, digest = Plan.from_json(about["plan"]), about["files"], about["sha256"]
            if find_wrong(files, dict[str, str]) is not None or not all(map(is_inside, files)):
                return None
            if not all((graph.folder / name).is_file() for name in files):
                return None
            if (sha256(graph.folder / plan.file), sha256(graph.path)) != (digest, plan.graph):
                return None
        except (OSError, ValueError, KeyError, TypeError, InputError):
            return None
        return BuiltPlan(graph, plan, digest, files)

    def build_until(self, deadline: float | None) -> None:
        """Begin no build after this time of ``time.monotonic``, and let none run on; None, as at first, for no end."""
        self._deadline = deadline

    def why_not_now(self) -> str:
        """Return why no further plan is built; empty if one is."""
        if self._deadline is None:
            return ""
        # the first build takes minutes, the others, which know its kernels, a fraction: none predicts the next
        return OUT_OF_TIME if time.monotonic() >= self._deadline else ""

    def _left(self) -> float | None:
        return None if self._deadline is None else max(1.0, self._deadline - time.monotonic())

    def _request(self, graph: WrittenGraph) -> PlanRequest:
        recipe = self._recipe
        more = [(file, sha256(file)) for file in (*self._kernels, *sorted(self._folder.glob(f"*/{CACHE}")))]
        return PlanRequest(
            folder=graph.folder,
            graph=graph.name,
            precision=recipe.precision,
            inputs=recipe.bundle.inputs_of(recipe.precision),
            profiles=recipe.profiles,
            modules=graph.modules,
            flavour=recipe.flavour,
            targets=recipe.targets,
            options=recipe.options,
            known_cache=None if recipe.known_cache is None else (str(recipe.known_cache[0]), recipe.known_cache[1]),
            more_caches=tuple(more),
            tuned=True,
        )
