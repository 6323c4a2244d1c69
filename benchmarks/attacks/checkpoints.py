"""Give checkpoints that run code, are damaged, or are no checkpoints: refused with one line, and no code runs."""

from __future__ import annotations

import builtins
import io
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attacks.kills import DEPLOY
from attacks.record import Row, Scene


class Calls:
    """An object whose unpickling calls a function."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self._call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self._call


def _saved(content: object, path: Path, **options: Any) -> None:
    import torch

    torch.save(content, path, **options)


def _zip_of(pickled: bytes, path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("w/data.pkl", pickled)
        archive.writestr("w/version", "3\n")


def _header(path: Path, length: int, text: bytes) -> None:
    path.write_bytes(struct.pack("<Q", length) + text)


def _bomb(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("w/version", "3\n")
        with archive.open("w/data.pkl", "w", force_zip64=True) as entry:
            for _ in range(512):
                entry.write(b"\0" * 2**20)


def _strided(path: Path) -> None:
    import torch

    _saved({"weight": torch.zeros(1).as_strided((1 << 20, 1 << 20), (0, 0))}, path)


def _damaged(path: Path, cut: bool) -> None:
    import torch

    _saved({"weight": torch.zeros(1000)}, path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] if cut else content.replace(b"PK", b"QK"))


def _tensor_file(path: Path, kind: str) -> None:
    import torch

    tensors = {
        "sparse": lambda: torch.eye(4).to_sparse(),
        "meta": lambda: torch.empty(4, device="meta"),
        "complex": lambda: torch.zeros(4, dtype=torch.complex64),
        "quantized": lambda: torch.quantize_per_tensor(torch.zeros(4), 0.1, 0, torch.qint8),
    }
    _saved({"weight": tensors[kind]()}, path)


def _script(path: Path) -> None:
    import torch

    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), str(path))


SAFETENSORS = {"weight": {"dtype": "F32", "shape": [4], "data_offsets": [0, 1 << 40]}}
# name of the file: what is written to the path, with a command that leaves a sentinel
FILES: dict[str, Callable[[Path, str], object]] = {
    "system.pt": lambda path, touch: _saved({"weight": Calls(os.system, touch)}, path),
    "system-legacy.pt": lambda path, touch: _saved(
        {"weight": Calls(os.system, touch)}, path, _use_new_zipfile_serialization=False
    ),
    "exec.pth": lambda path, touch: _saved(Calls(builtins.exec, f"import os; os.system({touch!r})"), path),
    "eval.bin": lambda path, touch: path.write_bytes(pickle.dumps(Calls(builtins.eval, f"open({touch[6:]!r}, 'w')"))),
    "open.ckpt": lambda path, touch: _zip_of(pickle.dumps(Calls(builtins.open, touch[6:], "w")), path),
    "getattr.pt": lambda path, touch: _zip_of(pickle.dumps(Calls(getattr, os, "system")), path),
    "pickle.safetensors": lambda path, touch: path.write_bytes(pickle.dumps(Calls(os.system, touch))),
    "raw.pt": lambda path, touch: path.write_bytes(b"cos\nsystem\n(S'" + touch.encode() + b"'\ntR."),
    "script.pt": lambda path, touch: _script(path),
    "bomb.pt": lambda path, touch: _bomb(path),
    "stride.pt": lambda path, touch: _strided(path),
    "cut.pt": lambda path, touch: _damaged(path, True),
    "signature.pt": lambda path, touch: _damaged(path, False),
    **{
        f"{kind}.pt": (lambda path, touch, kind=kind: _tensor_file(path, kind))  # type: ignore[misc]
        for kind in ("sparse", "meta", "complex", "quantized")
    },
    "number.pt": lambda path, touch: _saved(5, path),
    "list.pt": lambda path, touch: _saved([1, 2], path),
    "no-name.pt": lambda path, touch: _saved({1: 2}, path),
    "other.pt": lambda path, touch: _saved({"other": io.BytesIO(b"x").read()}, path),
    "empty.pt": lambda path, touch: path.write_bytes(b""),
    "text.pt": lambda path, touch: path.write_text("weights"),
    "empty.safetensors": lambda path, touch: path.write_bytes(b""),
    "header.safetensors": lambda path, touch: _header(path, 90_000_000, b" " * 90_000_000),
    "longer.safetensors": lambda path, touch: _header(path, 1 << 62, b"{}"),
    "offsets.safetensors": lambda path, touch: _header(
        path, len(json.dumps(SAFETENSORS)), json.dumps(SAFETENSORS).encode()
    ),
    "deep.safetensors": lambda path, touch: _header(path, 100_000, b"[" * 100_000),
    "index.safetensors.index.json": lambda path, touch: path.write_text('{"weight_map": {"weight": "../outside"}}'),
    "fifo.pt": lambda path, touch: os.mkfifo(path),
    "fifo.safetensors": lambda path, touch: os.mkfifo(path),
    "folder.pt": lambda path, touch: path.mkdir(),
    "absent.pt": lambda path, touch: None,
    "dangling.pt": lambda path, touch: path.symlink_to("nowhere"),
    "loop.pt": lambda path, touch: path.symlink_to(path.name),
}


def checkpoint(scene: Scene, name: str) -> None:
    """Deploy with such a checkpoint."""
    path, sentinel = scene.folder / name, scene.folder / "sentinel"
    FILES[name](path, f"touch {sentinel}")
    scene.note(f"benchmarks/attacks/checkpoints.py: FILES[{name!r}]")
    ran = scene.run(*DEPLOY, "--checkpoint", name, "--time-limit", "60", seconds=90)
    scene.expect(ran, {2, 4})
    scene.need(name in ran.err, f"the error is of something else: {ran.err.strip()[-300:]}")
    scene.need(not sentinel.exists(), "code of the checkpoint ran")
    scene.need(not (scene.folder / "out").exists(), "out/ was made")
    scene.need(ran.seconds < 50, f"{ran.seconds:.0f} s until it was refused")


ROWS = (Row("checkpoints", [*FILES], checkpoint),)
