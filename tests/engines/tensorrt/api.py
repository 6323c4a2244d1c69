"""The names in TensorRT's Python API, version by version, as NVIDIA's own bindings have them.

    python3.10 tests/engines/tensorrt/api.py

writes ``api.json``: for every ``Class`` and ``Class.attribute`` a mark for each of its ``versions``, x if that version
has the name. It downloads the bindings and imports them over stand-ins for TensorRT's libraries: nothing is called, so
that symbols alone do. It needs x86-64 Linux with gcc, nm and readelf, and Python 3.10, for which every version has a
wheel: 1 MB each, 819 MB for 8.6.0. Another Python reads the versions that have one for it, and keeps the others' marks.
"""

from __future__ import annotations

import ctypes
import inspect
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import ZipFile

TABLE = Path(__file__).with_name("api.json")
RTX = "tensorrt-rtx 1.7.1"


class Bindings(NamedTuple):
    """A version in the table, the wheel that has its bindings, and the newest Python with such a wheel."""

    version: str
    wheel: str
    newest_python: tuple[int, int]

    @property
    def is_readable(self) -> bool:
        """Return True if this Python imports them."""
        return sys.version_info[:2] <= self.newest_python

    @property
    def is_large(self) -> bool:
        """Return True if the wheel holds TensorRT itself."""
        return self.wheel.startswith("tensorrt==")


BINDINGS = (
    Bindings("8.6.0", "tensorrt==8.6.0", (3, 10)),
    Bindings("8.6.1", "tensorrt-bindings==8.6.1", (3, 11)),
    Bindings("10.0.1", "tensorrt-cu12-bindings==10.0.1", (3, 12)),
    Bindings("10.3.0", "tensorrt-cu12-bindings==10.3.0", (3, 12)),
    Bindings("10.8.0", "tensorrt-cu12-bindings==10.8.0.43", (3, 12)),
    Bindings("10.13.3", "tensorrt-cu13-bindings==10.13.3.9", (3, 13)),
    Bindings("10.16.1", "tensorrt-cu13-bindings==10.16.1.11", (3, 13)),
    Bindings("11.0.0", "tensorrt-cu13-bindings==11.0.0.114", (3, 13)),
    Bindings("11.4.0", "tensorrt-cu13-bindings==11.4.0.106", (3, 14)),
    Bindings(RTX, "tensorrt-rtx-cu13-bindings==1.7.1.116", (3, 14)),
)


def read_table() -> dict[str, frozenset[str]]:
    """Return the names that each version has, as the table tells."""
    document = json.loads(TABLE.read_text())
    return {
        version: frozenset(name for name, marks in document["names"].items() if marks[place] == "x")
        for place, version in enumerate(document["versions"])
    }


def write_table(found: Mapping[str, frozenset[str]]) -> None:
    """Write the names that each version has."""
    marks = {
        name: "".join("x" if name in names else "." for names in found.values())
        for name in sorted(frozenset().union(*found.values()))
    }
    TABLE.write_text(json.dumps({"versions": list(found), "names": marks}, indent=0) + "\n")


def names_of(module: Any) -> Iterator[str]:
    """Yield the public classes of a module of bindings, and their public attributes as ``Class.attribute``."""
    for name, found in vars(module).items():
        if inspect.isclass(found) and not name.startswith("_"):
            yield name
            yield from (f"{name}.{attribute}" for attribute in dir(found) if not attribute.startswith("_"))


def read_names(module: str, folders: Mapping[str, Path] | None = None) -> frozenset[str]:
    """Return the names of a module that can be imported, read in a process of its own.

    ``folders`` are put in front of the search paths of these names, PYTHONPATH and LD_LIBRARY_PATH.
    """
    environment = dict(os.environ)
    for name, folder in (folders or {}).items():
        environment[name] = os.pathsep.join([str(folder), *filter(None, [environment.get(name)])])
    command = [sys.executable, __file__, module]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return frozenset(json.loads(done.stdout))


def download_names(bindings: Bindings, folder: Path) -> frozenset[str]:
    """Return the names that the bindings' wheel has; wheel and stand-ins go to ``folder``."""
    options = ["--quiet", "--no-deps", "--only-binary", ":all:", "--dest", str(folder)]
    subprocess.run([sys.executable, "-m", "pip", "download", *options, bindings.wheel], check=True)
    (wheel,) = folder.glob("*.whl")
    with ZipFile(wheel) as archive:
        wanted = re.compile(r"\w+/(.+\.py|tensorrt\w*\.so)")
        archive.extractall(folder, filter(wanted.fullmatch, archive.namelist()))
    (library,) = folder.glob("*/tensorrt*.so")
    stubs = folder / "stubs"
    stubs.mkdir()
    write_stubs(library, stubs)
    return read_names(library.parent.name, {"PYTHONPATH": folder, "LD_LIBRARY_PATH": stubs})


def write_stubs(library: Path, folder: Path) -> None:
    """Write the libraries that ``library`` needs and this machine lacks, with all symbols that nothing here has."""
    needed = re.findall(r"NEEDED.*\[(.+)\]", _output("readelf", "-d", str(library)))
    absent = [name for name in needed if not _loads(name)]
    here = ctypes.CDLL(None)
    undefined = re.findall(r"^ +U (\w+)$", _output("nm", "-D", "--undefined-only", str(library)), re.MULTILINE)
    symbols = [name for name in undefined if not hasattr(here, name)]
    (folder / "stub.c").write_text("".join(f"int {name}(void) {{ return 0; }}\n" for name in symbols))
    for name in absent:
        command = ["gcc", "-w", "-shared", "-fPIC", f"-Wl,-soname,{name}", "-o", str(folder / name)]
        subprocess.run([*command, str(folder / "stub.c")], check=True)


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def main() -> None:
    """Write the table."""
    before, found = read_table(), dict[str, frozenset[str]]()
    for bindings in BINDINGS:
        if bindings.is_readable:
            with tempfile.TemporaryDirectory(prefix="tensorrt-api-") as folder:
                found[bindings.version] = download_names(bindings, Path(folder))
        else:
            found[bindings.version] = before[bindings.version]
        how = bindings.wheel if bindings.is_readable else "as before: no wheel for this Python"
        print(f"{bindings.version}: {len(found[bindings.version])} names, {how}")
    write_table(found)


if __name__ == "__main__":
    if len(sys.argv) == 2:
        print(json.dumps(sorted(names_of(import_module(sys.argv[1])))))
    else:
        main()
