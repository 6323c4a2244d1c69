"""Compile the channel gate's plugin with nvcc: a library that TensorRT loads, and the kernels alone."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ....core.file_hashes import sha256
from ....core.progress import Progress
from ....errors import CheckFailed, InputError, MissingRequirement
from ..flavours import sm
from ..targets import name_targets
from .toolkit import Headers, Toolkit

SOURCES = Path(__file__).parent / "sources"
LIBRARY, KERNELS, ABOUT, LOG = "libattn2trt_channel_gate.so", "channel_gate.fatbin", "plugin.json", "build.log"
# Compute capabilities to compile for, as far as nvcc knows them; newer GPUs compile the PTX of the last.
DEFAULT_TARGETS = ("7.5", "8.0", "8.6", "8.9", "9.0", "10.0", "12.0")
NOT_RUN = "built, not run: no GPU has run this library"
SECONDS = 1800
MOST = 300
# IPluginV3 is of TensorRT 10; 8.6 has what came before.
INTERFACES = {
    True: ("plugin_v3.cpp", "IPluginV3", "getCreators"),
    False: ("plugin_v2.cpp", "IPluginV2DynamicExt", "getPluginCreators"),
}
LOADED = "import ctypes, sys; library = ctypes.CDLL(sys.argv[1]); [library[name] for name in sys.argv[2:]]"


@dataclass(frozen=True)
class PluginBuild:
    """A compiled plugin: the folder and what ``plugin.json`` there says of it."""

    folder: Path
    about: dict[str, Any]

    @property
    def library(self) -> Path:
        """The library that TensorRT loads."""
        return self.folder / LIBRARY


def choose_targets(asked: Sequence[str], toolkit: Toolkit) -> tuple[str, ...]:
    """Return the compute capabilities to compile for, those ``asked`` or the usual ones.

    Raises InputError for one that this nvcc does not know.
    """
    for capability in asked:
        if capability not in toolkit.capabilities:
            raise InputError(
                f"received --for {sm(capability)}; nvcc {toolkit.version.major}.{toolkit.version.minor} knows "
                f"{name_targets(toolkit.capabilities)}; leave it out, or install another nvcc"
            )
    return tuple(asked) or tuple(target for target in DEFAULT_TARGETS if target in toolkit.capabilities)


def build_plugin(
    folder: Path, toolkit: Toolkit, headers: Headers, targets: Sequence[str], *, progress: Progress
) -> PluginBuild:
    """Compile the library and the kernels into an empty ``folder``.

    Raises MissingRequirement on a system that is not Linux, CheckFailed if the compiler refuses the sources or the
    library does not load.
    """
    if sys.platform != "linux":
        raise MissingRequirement(f"the plugin is built on Linux, here is {platform.system()}; build it there")
    source, interface, entry = INTERFACES[headers.version.major >= 10]
    codes = [option for target in targets for option in _code(target, "sm")] + _code(targets[-1], "compute")
    common = [str(toolkit.nvcc), "-std=c++17", "-O3", "-I", str(SOURCES), *toolkit.options, *codes, "-t", "2"]
    plain = ["-Xcompiler", "-fPIC,-fvisibility=hidden,-Wall,-Wno-deprecated-declarations", "-cudart", "static"]
    library = ["-shared", *plain, "-isystem", str(headers.folder), "-o", str(folder / LIBRARY)]
    progress(f"compiling the kernels for {name_targets(targets)}")
    _compile([*common, "-fatbin", "-o", str(folder / KERNELS), str(SOURCES / "channel_gate.cu")], folder)
    progress(f"compiling the library for TensorRT {headers.version}")
    _compile([*common, *library, str(SOURCES / "launch.cu"), str(SOURCES / source)], folder)
    _require_loadable(folder / LIBRARY, ("setLoggerFinder", entry, "attn2trt_channel_gate"))
    about = {
        "node": {"op_type": "ChannelGate", "domain": "attn2trt", "plugin_version": "1"},
        "interface": interface,
        "tensorrt": str(headers.version),
        "cuda": f"{toolkit.version.major}.{toolkit.version.minor}",
        "capabilities": [*targets],
        "machine": platform.machine(),
        "files": {name: {"sha256": sha256(folder / name)} for name in (LIBRARY, KERNELS)},
        "sources": {path.name: sha256(path) for path in sorted(SOURCES.iterdir())},
        "status": NOT_RUN,
    }
    (folder / ABOUT).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    return PluginBuild(folder, about)


def _code(capability: str, kind: str) -> list[str]:
    """Return the options for machine code (``sm``) or PTX (``compute``)."""
    number = capability.replace(".", "")
    return ["-gencode", f"arch=compute_{number},code={kind}_{number}"]


def _compile(command: Sequence[str], folder: Path) -> None:
    """Run the compiler, its temporary files in the folder; the log gets all that it prints."""
    temporary = folder / "tmp"
    temporary.mkdir(exist_ok=True)
    with (folder / LOG).open("a", encoding="utf-8") as log:
        log.write(" ".join(command) + "\n")
        log.flush()
        start = log.tell()
        code = _run(command, temporary, log)
    text = (folder / LOG).read_text(encoding="utf-8", errors="replace")[start:]
    if code:
        raise CheckFailed(f"nvcc does not compile the plugin: {_first_error(text) or f'exit code {code}'}")
    temporary.rmdir()


def _run(command: Sequence[str], temporary: Path, log: Any) -> int:
    """Return the exit code. nvcc starts processes of its own, which end with this one if it is interrupted."""
    environment = {**os.environ, "TMPDIR": str(temporary)}
    # a user's own options for nvcc would not be what plugin.json says
    for name in ("NVCC_PREPEND_FLAGS", "NVCC_APPEND_FLAGS"):
        environment.pop(name, None)
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=environment, start_new_session=True
    ) as process:
        try:
            return process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            raise CheckFailed(
                f"nvcc did not end within {SECONDS} s; build on a faster machine, or for fewer --for"
            ) from None
        finally:
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)


def _first_error(text: str) -> str:
    found = re.search(r"^.*?\b(?:fatal error|error|fatal)\b\s*:?.*$", text, re.MULTILINE | re.IGNORECASE)
    return " ".join(found[0].split())[:MOST] if found else ""


def _require_loadable(library: Path, names: Sequence[str]) -> None:
    """Load the library in a process of its own and look for what TensorRT asks it for."""
    command = [sys.executable, "-I", "-c", LOADED, str(library.resolve()), *names]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS)
    if done.returncode:
        reason = " ".join(done.stderr.strip().splitlines()[-1:])[:MOST] or f"exit code {done.returncode}"
        raise CheckFailed(f"the plugin was compiled and does not load: {reason}")
