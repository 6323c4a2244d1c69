"""Write other things into a manifest or a graph, with their hashes recomputed: everything that can be forged."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from manifest_edits import HOSTILE, MISSING, VALUES, replaced
from manifest_edits import places as places_of

from attacks.product import MANIFEST, MODEL, read, rehash, write
from attacks.record import NotRun, Row, Scene


def edit(scene: Scene, variation: tuple[int, bool]) -> None:
    """Put another value at a random place of the manifest: bad input, or read; never another error."""
    which, hashed = variation
    folder = scene.bundle()
    value = (*VALUES, MISSING)[which]
    before = read(folder)
    path = scene.random.choice([*places_of(before)])
    after = replaced(before, path, value)
    write(folder, after, hashed=hashed)
    scene.note(f"{MANIFEST}: {'/'.join(map(str, path))} = {'(removed)' if value is MISSING else repr(value)[:60]}")
    scene.note("its hash recomputed" if hashed else "its hash left")
    unchanged = after == before or path == ("sha256",)
    scene.expect(scene.run("verify", "out/se"), {0, 1, 2} if hashed or unchanged else {1, 2}, "verify")
    scene.expect(scene.run("validate", "out/se"), {0, 1, 2}, "validate")


def document(scene: Scene, which: int) -> None:
    """Put what is no manifest into the place of one."""
    folder = scene.bundle()
    text = (*HOSTILE, '{"format": 1, "key": "' + "x" * 100_000_000 + '"}')[which]
    (folder / MANIFEST).write_text(text)
    scene.note(f"{MANIFEST} = {text[:30]!r} ({len(text)} characters)")
    for command in ("verify", "validate"):
        scene.expect(scene.run(command, "out/se"), {2}, command)


def listed_path(scene: Scene, name: str) -> None:
    """Let the manifest list a path that leaves the folder: refused, and never opened (a FIFO lies there)."""
    folder = scene.bundle()
    os.mkfifo(scene.folder / "out/outside")
    name = name.replace("OUT", str(scene.folder / "out"))
    manifest = read(folder)
    manifest["files"][name] = dict(manifest["files"][MODEL])
    write(folder, manifest, hashed=True)
    scene.note(f"mkfifo out/outside; {MANIFEST}: files lists {name!r}, its hash recomputed")
    for command in ("verify", "validate"):
        scene.expect(scene.run(command, "out/se", seconds=60), {1, 2}, command)


def node(scene: Scene, kind: str) -> None:
    """Put a link, a FIFO or a folder into the place of a file of the bundle."""
    folder = scene.bundle()
    name = scene.random.choice([MANIFEST, *read(folder)["files"]])
    path = folder / name
    shutil.move(path, scene.folder / "out/moved")
    if kind == "FIFO":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to({"link": scene.folder / "out/moved", "loop": path, "dangling link": "nowhere"}[kind])
    scene.note(f"mv out/se/{name} out/moved; a {kind} in its place")
    for command in ("verify", "validate"):
        scene.expect(scene.run(command, "out/se", seconds=60), {1, 2, 4}, command)


def manifest_attack(scene: Scene, variation: tuple[Any, ...]) -> None:
    """Play one of the attacks above."""
    kinds: dict[str, Callable[[Scene, Any], None]]
    kinds = {"value": edit, "document": document, "path": listed_path, "node": node}
    kinds[variation[0]](scene, variation[1:] if variation[0] == "value" else variation[1])


def external(scene: Scene, variation: tuple[str, str]) -> None:
    """Move weights of the graph into a file that no hash covers: refused by ``verify`` and ``validate``."""
    import onnx

    where, location = variation
    folder = scene.bundle()
    model = onnx.load(folder / MODEL)
    tensor = _tensor_in(model, where)
    content = tensor.raw_data or onnx.numpy_helper.to_array(tensor).tobytes()
    places = {"unlisted": "weights.bin", "parent": "../outside", "absolute": f"{scene.folder}/out/outside"}
    name = {**places, "link": "link.bin"}[location]
    if location == "link":
        (scene.folder / "out/outside").write_bytes(content)
        (folder / name).symlink_to("../outside")
    else:
        (folder / name).write_bytes(content)
    onnx.external_data_helper.set_external_data(tensor, location=name, offset=0, length=len(content))
    tensor.ClearField("raw_data")
    tensor.ClearField("float_data")
    (folder / MODEL).write_bytes(model.SerializeToString())
    rehash(folder, MODEL)
    scene.note(f"{MODEL}: data of {where} moved to {name}, every hash recomputed")
    for command in ("verify", "validate"):
        scene.expect(scene.run(command, "out/se", seconds=60), {1, 2}, command)


def _tensor_in(model: Any, where: str) -> Any:
    """A tensor of the graph, or a new one in the place that is asked for."""
    import numpy as np
    from onnx import helper, numpy_helper

    if where == "an initializer":
        return max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    tensor = numpy_helper.from_array(np.ones(16, np.float32), "attack")
    if where == "a Constant":
        model.graph.node.insert(0, helper.make_node("Constant", [], ["attack"], value=tensor))
        return model.graph.node[0].attribute[0].t
    constant = helper.make_node("Constant", [], ["attack_value"], value=tensor)
    if where == "a function":
        opset = helper.make_opsetid("", 17)
        function = helper.make_function("attack", "Never", [], ["attack_value"], [constant], [opset])
        model.functions.append(function)
        return model.functions[0].node[0].attribute[0].t
    output = helper.make_tensor_value_info("attack_value", 1, [16])
    branches = [helper.make_graph([constant], name, [], [output]) for name in ("then", "else")]
    truth = numpy_helper.from_array(np.array(True), "attack_truth")
    node = helper.make_node("If", ["attack_truth"], ["attack"], then_branch=branches[0], else_branch=branches[1])
    model.graph.initializer.append(truth)
    model.graph.node.insert(0, node)
    return model.graph.node[0].attribute[0].g.node[0].attribute[0].t


PLANS: dict[str, Callable[[dict[str, Any], Path], object]] = {
    "file ../outside": lambda plan, folder: plan.update(file="../outside"),
    "file absolute": lambda plan, folder: plan.update(file=str(folder.parent / "outside")),
    "file unlisted": lambda plan, folder: plan.update(file="plans/other.plan"),
    "file a graph": lambda plan, folder: plan.update(file=MODEL),
    "file the manifest": lambda plan, folder: plan.update(file=MANIFEST),
    "file empty": lambda plan, folder: plan.update(file=""),
    "graph of another": lambda plan, folder: plan.update(graph="0" * 64),
    "flavour unknown": lambda plan, folder: plan.update(flavour="other"),
    "capabilities none": lambda plan, folder: plan.update(capabilities=[]),
    "profiles swapped": lambda plan, folder: plan.update(profiles=[{"batch": [8, 2, 1]}]),
    "bytes changed": lambda plan, folder: _append(folder / plan["file"]),
    "bytes none": lambda plan, folder: (folder / plan["file"]).write_bytes(b""),
}
DETECTED = {
    *("file ../outside", "file absolute", "file unlisted", "file the manifest", "file empty"),
    *("bytes changed", "bytes none"),
}


def _append(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"x")


def plan_entry(scene: Scene, variation: str) -> None:
    """Change a plan's entry: refused, or a file that the manifest lists."""
    folder = scene.bundle()
    manifest = read(folder)
    if not manifest.get("plans"):
        raise NotRun("the prepared bundle has no plan: tensorrt_rtx is not usable here")
    os.mkfifo(scene.folder / "out/outside")
    PLANS[variation](manifest["plans"][0], folder)
    write(folder, manifest, hashed=True)
    scene.note(f"{MANIFEST}: first plan, {variation}; the manifest's hash recomputed")
    codes = {1, 2} if variation in DETECTED else {0, 1, 2}
    for command in ("verify", "validate"):
        scene.expect(scene.run(command, "out/se", seconds=60), codes, command)


ROWS = (
    Row(
        "manifest edits",
        [
            *itertools.product(("value",), range(len(VALUES) + 1), (False, True)),
            *itertools.product(("document",), range(len(HOSTILE) + 1)),
            *(("path", name) for name in ("../outside", "OUT/outside", "plans/../../outside", "", ".", "a\\b", "a\0b")),
            *(("node", kind) for kind in ("FIFO", "folder", "link", "loop", "dangling link")),
        ],
        manifest_attack,
    ),
    Row(
        "external data",
        [
            *itertools.product(("an initializer", "a Constant"), ("unlisted", "parent", "absolute", "link")),
            *itertools.product(("an If branch", "a function"), ("unlisted", "parent")),
        ],
        external,
    ),
    Row("plan entries", [*PLANS], plan_entry),
)
