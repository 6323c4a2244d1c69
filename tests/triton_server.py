"""Triton's own ``tritonserver`` with its Python backend, as the wheel ``nvidia-pytriton`` holds them.

The wheel needs glibc 2.35, and the program of its Python backend a ``libpython`` of this Python's version, which
Debian has in ``libpython3.11`` and which a Python built with ``--enable-shared`` brings by itself.

``python tests/triton_server.py REPOSITORY --http PORT --grpc PORT`` serves a repository, prints a line when it is
ready, and ends with SIGTERM or Ctrl-C.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

STARTS_WITHIN = 60.0
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
LIBPYTHON = f"libpython{VERSION}.so.1.0"


def _libpython() -> Path | None:
    """The folder of this Python's shared library; an empty path if the loader finds it by itself."""
    folder = Path(sysconfig.get_config_var("LIBDIR") or "")
    if (folder / LIBPYTHON).is_file():
        return folder
    with contextlib.suppress(OSError):
        ctypes.CDLL(LIBPYTHON)
        return Path()
    return None


def _wheel() -> Path | None:
    found = importlib.util.find_spec("pytriton")
    return None if found is None or found.origin is None else Path(found.origin).parent / "tritonserver"


def require_server() -> None:
    """Skip the test if this machine cannot run the server."""
    wheel = _wheel()
    if wheel is None:
        pytest.skip("nvidia-pytriton is not installed")
    if _libpython() is None:
        pytest.skip(f"{LIBPYTHON} is not installed")


@dataclass
class Running:
    """A server with its addresses and its log; ``process`` is its own."""

    process: subprocess.Popen[bytes]
    http: str
    grpc: str
    log: Path

    def wait_until_ready(self) -> None:
        until = time.monotonic() + STARTS_WITHIN
        while time.monotonic() < until and self.process.poll() is None:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.http}/v2/health/live", timeout=1):
                return
            time.sleep(0.1)
        raise AssertionError(self.log.read_text())

    def pause(self) -> None:
        """Stop all its threads; one that is not stopped yet could still answer."""
        self.process.send_signal(signal.SIGSTOP)
        found = os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        assert found is not None
        assert found.si_code == os.CLD_STOPPED, self.log.read_text()


@contextlib.contextmanager
def started(repository: Path, folder: Path, *options: str, ports: tuple[int, int] | None = None) -> Iterator[Running]:
    """Start the server on this machine alone, and end it with the block; ``folder`` is for its log and backends.

    ``ports`` are those of HTTP and gRPC, by default two that are free.
    """
    wheel, libpython = _wheel(), _libpython()
    assert wheel is not None
    assert libpython is not None
    backends = folder / "backends"
    if not backends.exists():
        shutil.copytree(wheel / "backends" / "python", backends / "python")
        stub = "triton_python_backend_stub"
        shutil.copy(wheel / "python_backend_stubs" / VERSION / stub, backends / "python" / stub)
    libraries = [str(wheel.parents[1] / "nvidia_pytriton.libs"), *([str(libpython)] if libpython.parts else [])]
    places = [str(Path(sys.executable).parent), os.environ["PATH"]]  # the backend's Python is the first on the path
    environment = {**os.environ, "LD_LIBRARY_PATH": os.pathsep.join(libraries), "PATH": os.pathsep.join(places)}
    http, grpc = ports or _free_ports()
    arguments = [
        *(f"--model-repository={repository}", f"--backend-directory={backends}", "--exit-timeout-secs=5"),
        *("--http-address=127.0.0.1", f"--http-port={http}", "--grpc-address=127.0.0.1", f"--grpc-port={grpc}"),
        *("--allow-metrics=false", "--disable-auto-complete-config", "--exit-on-error=false", *options),
    ]
    log = folder / "tritonserver.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [str(wheel / "bin" / "tritonserver"), *arguments], stdout=stream, stderr=subprocess.STDOUT, env=environment
        )
    running = Running(process, f"http://127.0.0.1:{http}", f"grpc://127.0.0.1:{grpc}", log)
    try:
        running.wait_until_ready()
        yield running
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(30)
            process.kill()
        process.wait()


def _free_ports() -> tuple[int, int]:
    with socket.socket() as first, socket.socket() as second:
        first.bind(("127.0.0.1", 0))
        second.bind(("127.0.0.1", 0))
        return first.getsockname()[1], second.getsockname()[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("repository", type=Path)
    parser.add_argument("--http", type=int, required=True, metavar="PORT")
    parser.add_argument("--grpc", type=int, required=True, metavar="PORT")
    asked = parser.parse_args()
    if _wheel() is None or _libpython() is None:
        sys.exit(f"nvidia-pytriton and {LIBPYTHON} are needed")
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    with (
        contextlib.suppress(KeyboardInterrupt),
        tempfile.TemporaryDirectory() as name,
        started(asked.repository, Path(name), ports=(asked.http, asked.grpc)) as server,
    ):
        print(f"ready: {server.http} {server.grpc}", flush=True)
        signal.pause()


if __name__ == "__main__":
    main()
