"""Give output places that are not ours, full, or without permission: refused or failed, and nothing is touched."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import shutil
import socket
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from attacks.kills import COMMANDS, DEPLOY
from attacks.record import NotRun, Row, Scene


def tree(folder: Path) -> dict[str, str]:
    """Everything below a folder: kind, permissions and content, without the attack's own files."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if name.startswith(".attack-"):
            continue
        mode = path.lstat().st_mode
        content = ""
        if stat.S_ISLNK(mode):
            content = str(path.readlink())
        elif stat.S_ISREG(mode):
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        found[name] = f"{mode:o} {content}"
    return found


def _device(scene: Scene) -> None:
    try:
        os.mknod(scene.folder / "out", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    except OSError as error:
        raise NotRun(f"mknod: {error.strerror}") from None


def _socket(scene: Scene) -> None:
    here = Path.cwd()
    os.chdir(scene.folder)  # the name of a socket is at most 107 characters long
    try:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind("out")
    finally:
        os.chdir(here)


def _folder(scene: Scene, *names: str, manifest: str = "") -> None:
    for name in names:
        path = scene.folder / "out" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("precious")
    if manifest:
        (scene.folder / "out").mkdir(exist_ok=True)
        (scene.folder / "out/bundle.json").write_text(manifest)


def _inside(scene: Scene, add: Callable[[Path], object]) -> None:
    add(scene.bundle("out"))


def _linked(scene: Scene, to: str) -> None:
    if to == "bundle":
        scene.bundle("bundle")
    elif to == "folder":
        (scene.folder / "folder").mkdir()
    (scene.folder / "out").symlink_to(to)


# what lies in the place, and the name that is given (out unless another)
TAKEN: dict[str, tuple[Callable[[Scene], object], str]] = {
    "device": (_device, "out"),
    "FIFO": (lambda scene: os.mkfifo(scene.folder / "out"), "out"),
    "socket": (_socket, "out"),
    "file": (lambda scene: (scene.folder / "out").write_text("precious"), "out"),
    "link to a bundle": (lambda scene: _linked(scene, "bundle"), "out"),
    "link to a folder": (lambda scene: _linked(scene, "folder"), "out"),
    "dangling link": (lambda scene: _linked(scene, "nowhere"), "out"),
    "loop": (lambda scene: _linked(scene, "out"), "out"),
    "below a loop": (lambda scene: _linked(scene, "out"), "out/se"),
    "below a file": (lambda scene: (scene.folder / "out").write_text("precious"), "out/deep/se"),
    "below a FIFO": (lambda scene: os.mkfifo(scene.folder / "out"), "out/se"),
    "below a dangling link": (lambda scene: _linked(scene, "nowhere"), "out/se"),
    "user's folder": (lambda scene: _folder(scene, "thesis.txt", "src/main.js"), "out"),
    "another's bundle.json": (lambda scene: _folder(scene, "thesis.txt", manifest='{"name": "my app"}'), "out"),
    "another's bundle.json alone": (lambda scene: _folder(scene, manifest='{"name": "my app"}'), "out"),
    "a format of ours, empty": (lambda scene: _folder(scene, "a.txt", manifest='{"format": 1}'), "out"),
    "bundle.json is a list": (lambda scene: _folder(scene, "a.txt", manifest="[]"), "out"),
    "bundle with a note": (lambda scene: _inside(scene, lambda at: (at / "notes.txt").write_text("mine")), "out"),
    "bundle with a hidden file": (lambda scene: _inside(scene, lambda at: (at / ".env").write_text("mine")), "out"),
    "bundle with a folder": (lambda scene: _inside(scene, lambda at: (at / "mine").mkdir()), "out"),
    "bundle with a bundle": (
        lambda scene: _inside(scene, lambda at: shutil.copytree(scene.prepared, at / "inner")),
        "out",
    ),
    "bundle with a FIFO": (lambda scene: _inside(scene, lambda at: os.mkfifo(at / "plans-pipe")), "out"),
    "bundle with a link": (lambda scene: _inside(scene, lambda at: (at / "link").symlink_to("..")), "out"),
    "this folder": (lambda scene: _folder(scene, "a.txt"), "."),
    "the folder above": (lambda scene: _folder(scene, "a.txt"), ".."),
    "empty name": (lambda scene: _folder(scene, "a.txt"), ""),
    "not UTF-8": (lambda scene: None, os.fsdecode(b"out-\xff")),
    "too long": (lambda scene: None, "x" * 300),
}


def taken(scene: Scene, variation: tuple[str, str]) -> None:
    """Write to a place that is not free: refused before any work, everything as it was."""
    name, force = variation
    make, place = TAKEN[name]
    make(scene)
    scene.note(f"out is: {name}")
    before = tree(scene.folder)
    ran = scene.run(*DEPLOY[:-1], place, *([force] if force else []), seconds=60)
    scene.expect(ran, {2, 4} if name == "too long" else {2})
    scene.need(tree(scene.folder) == before, "something was changed")


def output_file(scene: Scene, kind: str) -> None:
    """Let ``benchmark`` write its document to what is not a document: refused before any work, as it was."""
    scene.bundle("bundle")
    path = scene.folder / "latency.json"
    kinds: dict[str, Callable[[], object]] = {
        "file": lambda: path.write_text('{"mine": 1}'),
        "link": lambda: ((scene.folder / "real").write_text("mine"), path.symlink_to("real")),
        "FIFO": lambda: os.mkfifo(path),
        "folder": path.mkdir,
        "dangling link": lambda: path.symlink_to("nowhere"),
    }
    kinds[kind]()
    scene.note(f"latency.json is: {kind}")
    before = tree(scene.folder)
    words = ("benchmark", "bundle", "--seconds", "0.1", "--max-seconds", "1", "-o", "latency.json")
    ran = scene.expect(scene.run(*words, *(["--force"] if kind != "file" else []), seconds=60), {2})
    scene.need("latency.json" in ran.err, f"the error is of something else: {ran.err.strip()[-300:]}")
    scene.need(tree(scene.folder) == before, "something was changed")


def output_path(scene: Scene, variation: tuple[str, str]) -> None:
    """Play one of the attacks above."""
    if variation[0] == "document":
        output_file(scene, variation[1])
    else:
        taken(scene, variation)


@contextlib.contextmanager
def _small_disk(scene: Scene, place: Path, size: int) -> Iterator[None]:
    """A file system of ``size`` kB of memory at ``place``, which is unmounted at the end."""
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}k", "attack", str(place)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotRun(f"a small tmpfs cannot be mounted here: {done.stderr.strip()}")
    scene.note(f"mount a tmpfs of {size} kB at {place.name}")
    try:
        yield
    finally:
        scene.end()
        subprocess.run(["umount", "-l", str(place)], check=False, capture_output=True)


def disk_full(scene: Scene, variation: str) -> None:
    """Fill the disk below the bundle or the temporary files: one line, the old bundle whole, nothing half."""
    place = scene.folder / "disk"
    size = scene.random.choice([4, 16, 64, 200, 450, 530, 900, 1200])
    kept = variation in ("deploy again", "tune")
    content = sum(path.stat().st_size + 4096 for path in scene.prepared.rglob("*")) // 1024
    with _small_disk(scene, place, content + scene.random.choice([0, 8, 64]) + 4 if kept else size):
        if kept:
            scene.bundle("disk/se")
        words = (*DEPLOY[:-1], "disk/se", *(["--force"] if variation == "deploy again" else []))
        if variation == "tune":
            words = ("tune", "disk/se", "--seconds", "0.1")
        env = {"TMPDIR": str(place)} if variation == "temporary" else {}
        if variation == "temporary":
            words = DEPLOY
        ran = scene.run(*words, env=env)
        scene.expect(ran, {0, 4})
        where = "out/se" if variation == "temporary" else "disk/se"
        if kept or ran.code == 0:
            scene.whole(where)
        else:
            scene.need(not (scene.folder / where).exists(), "a half bundle stayed")
        scene.clean("out", "disk" if variation != "temporary" else "out", where)


ORDINARY = (
    "setpriv",
    "--inh-caps=-all",
    "--bounding-set=-dac_override,-dac_read_search,-fowner",
)


def permission(scene: Scene, variation: str) -> None:
    """Take a permission away, from a command without root's exceptions: exit code 4, one line, nothing changed."""
    around: tuple[str, ...] = ()
    if os.geteuid() == 0:
        if not shutil.which("setpriv"):
            raise NotRun("setpriv, which takes root's exceptions away, is not installed")
        around = ORDINARY
    out = scene.bundle().parent
    targets = {
        "bundle above": (out, 0o555, COMMANDS["deploy"]),
        "bundle above, new": (out, 0o555, (*DEPLOY[:-1], "out/new")),
        "tune in a bundle": (out / "se", 0o555, COMMANDS["tune"]),
        "verify a file": (out / "se/model.onnx", 0o000, ("verify", "out/se")),
        "verify a manifest": (out / "se/bundle.json", 0o000, ("verify", "out/se")),
        "validate a reference": (out / "se/reference.safetensors", 0o000, ("validate", "out/se")),
        "verify a folder": (out / "se", 0o000, ("verify", "out/se")),
        "above unreadable": (out, 0o000, COMMANDS["deploy"]),
    }
    path, mode, words = targets[variation]
    before = tree(out)
    own = path.stat().st_mode
    path.chmod(mode)
    scene.note(f"chmod {mode:o} {path.relative_to(scene.folder)}")
    try:
        scene.expect(scene.run(*words, around=around), {4})
    finally:
        path.chmod(own)
    scene.need(tree(out) == before, "something was changed")


ROWS = (
    Row(
        "output paths",
        [*itertools.product(TAKEN, ("", "--force"))]
        + [("document", kind) for kind in ("file", "link", "FIFO", "folder", "dangling link")],
        output_path,
    ),
    Row("disk full", ["deploy new", "deploy again", "tune", "temporary"], disk_full),
    Row(
        "permissions",
        [
            *("bundle above", "bundle above, new", "tune in a bundle", "verify a file", "verify a manifest"),
            *("validate a reference", "verify a folder", "above unreadable"),
        ],
        permission,
    ),
)
