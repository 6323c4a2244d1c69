"""Write the C++ programs that run a bundle without Python."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path

from ..core.bundle import Bundle, Folder, open_bundle
from ..core.command_line import quoted
from ..core.lock import owner
from ..engines.tensorrt.plans import is_of_its_graph, plans_of
from ..errors import InputError
from ..export.deploy_files import PROGRAMS, program_files


@dataclass(frozen=True)
class Programs:
    """The programs in a folder of the user's, and the commands that build and run them on the bundle."""

    path: Path
    files: tuple[str, ...]
    build: str
    run: tuple[str, ...]


def write_programs(bundle: Folder, out: Folder) -> Programs:
    """Write ``infer_ort.cpp`` and ``infer_trt.cpp``, with CMake's file, into a folder that is not there or empty.

    The programs read any bundle of this format; the commands that are returned name this one.

    Raises InputError if the folder is no bundle, has no recorded case, or something is in the way.
    """
    opened, destination = open_bundle(bundle), Path(out)
    if not opened.manifest["cases"]:
        raise InputError(f"{opened.path} has no recorded case that a program could run; deploy the target again")
    if not all(folder.is_dir() for folder in destination.parents if folder.exists()):
        raise InputError(f"{destination} lies below a file; give another folder with -o")
    if os.path.lexists(destination) and (not destination.is_dir() or any(destination.iterdir())):
        raise InputError(f"{destination} is not empty; expected a folder of its own; give another one with -o")
    files = program_files()
    made = [folder for folder in destination.parents if not folder.exists()]
    destination.parent.mkdir(parents=True, exist_ok=True)
    partial = destination.with_name(f".{destination.name}.partial-{owner()}")
    try:
        partial.mkdir()
        for name in files:
            shutil.copyfile(PROGRAMS / name, partial / name)
        if destination.exists():
            destination.rmdir()
        partial.rename(destination)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        for folder in made:
            with contextlib.suppress(OSError):  # not empty: the programs are there
                folder.rmdir()
    return Programs(destination, tuple(files), *_commands(opened, destination))


def _commands(bundle: Bundle, folder: Path) -> tuple[str, tuple[str, ...]]:
    build = folder / "build"
    made = f"cmake -S {quoted(folder)} -B {quoted(build)} && cmake --build {quoted(build)}"
    runs = [[str(build / "infer_ort"), str(bundle.path), graph] for graph in dict.fromkeys(bundle.graphs.values())]
    runs += [
        [str(build / "infer_trt"), str(bundle.path), plan.file]
        for plan in plans_of(bundle)
        if is_of_its_graph(bundle, plan)
    ]
    return made, tuple(shlex.join(words) for words in runs)
