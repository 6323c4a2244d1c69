"""Write the C++ programs that run a bundle without Python."""

from __future__ import annotations

import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path

from ..core.arguments import checked
from ..core.bundle import Bundle, Folder, open_bundle
from ..core.command_line import quoted
from ..core.file_hashes import require_unchanged
from ..core.new_folder import new_folder, require_free
from ..engines.tensorrt.plans import is_of_its_graph, plans_of
from ..errors import InputError
from ..export.deploy_files import PROGRAMS, program_files


@dataclass(frozen=True)
class Programs:
    """The programs in a folder of the user's, and the commands that build and run them on the bundle.

    Attributes:
        path: The folder.
        files: The names of the programs' files.
        build: The command that builds them.
        run: The commands that run them, one for each graph and plan.
        passed: The bundle's verdict is a pass.
    """

    path: Path
    files: tuple[str, ...]
    build: str
    run: tuple[str, ...]
    passed: bool


@checked
def write_programs(bundle: Folder, out: Folder) -> Programs:
    """Write ``infer_ort.cpp`` and ``infer_trt.cpp``, with CMake's file, into a folder that is not there or empty.

    The programs read any bundle of this format; the commands that are returned name this one.

    Raises InputError if the folder is no bundle, has no recorded case, or something is in the way; CheckFailed if a
    file of the bundle has changed.
    """
    opened, destination = open_bundle(bundle), Path(out)
    if not opened.manifest["cases"]:
        raise InputError(f"{opened.path} has no recorded case that a program could run; deploy the target again")
    require_free(destination)
    require_unchanged(opened)
    files = program_files()
    with new_folder(destination) as partial:
        for name in files:
            shutil.copyfile(PROGRAMS / name, partial / name)
    return Programs(destination, tuple(files), *_commands(opened, destination), opened.passed)


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
