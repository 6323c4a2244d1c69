"""Give ``check`` ONNX files that no exporter writes: each passes only if ONNX Runtime runs it, else it is one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from attacks.record import Row, Scene

WEIGHT = np.arange(16, dtype=np.float32).reshape(4, 4) / 16
PRODUCT = helper.make_node("MatMul", ["x", "w"], ["y"], name="product")
PASSES, FAILS, REFUSED = (0,), (1,), (2,)


def model(nodes: Any = (PRODUCT,), weights: Any = None, *, dims: Any = ("n", 4), opset: int = 17) -> onnx.ModelProto:
    """A model from ``x`` to ``y`` of one product."""
    held = [numpy_helper.from_array(WEIGHT, "w")] if weights is None else weights
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, dims) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], held)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def beside(**said: object) -> onnx.ModelProto:
    """A model whose weight lies in w.bin, by these entries."""
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4, 4], data_location=TensorProto.EXTERNAL)
    for key, value in {"location": "w.bin", "offset": 0, "length": 64, **said}.items():
        if value is not None:
            tensor.external_data.add(key=key, value=str(value))
    return model(weights=[tensor])


def twice(**said: object) -> onnx.ModelProto:
    """The same with an entry that is there twice."""
    found = beside()
    for key, value in said.items():
        found.graph.initializer[0].external_data.add(key=key, value=str(value))
    return found


def sparse() -> onnx.ModelProto:
    """A model with three numbers of its weight."""
    places = numpy_helper.from_array(np.arange(3), "places")
    found = model(weights=[])
    found.graph.sparse_initializer.append(
        helper.make_sparse_tensor(numpy_helper.from_array(WEIGHT[1, 1:], "w"), places, [4, 4])
    )
    return found


def function(*bodies: str) -> onnx.ModelProto:
    """A model that calls a function of its own with each of these bodies, which has a further name if there are two."""
    texts = (f'<domain: "f", opset_import: ["": 17, "f": 1]> F (a) => (b) {{ {body} }}' for body in bodies)
    head = '<ir_version: 8, opset_import: ["": 17, "f": 1]> g (float[n, 4] x) => (float[n, 4] y) { y = f.F (x) }'
    return onnx.parser.parse_model("\n".join([head, *texts]))


def typed(kind: int) -> onnx.ModelProto:
    """A model with a weight of a data type of this number."""
    found = model()
    found.graph.initializer.add(name="q", data_type=kind, dims=[1], raw_data=b"1")
    return found


def named(*names: str) -> onnx.ModelProto:
    """Two nodes with these names."""
    first, second = names
    return model(
        [helper.make_node("Neg", ["x"], ["t"], name=first), helper.make_node("MatMul", ["t", "w"], ["y"], name=second)]
    )


def _files(folder: Path) -> None:
    (folder / "w.bin").write_bytes(WEIGHT.tobytes())
    (folder / "long.bin").write_bytes(WEIGHT.tobytes() + bytes(16))
    (folder / "link.bin").symlink_to("w.bin")
    (folder / "out.bin").symlink_to("/etc/hostname")


# the file, and the exit codes that are right
FILES: dict[str, tuple[Callable[[], onnx.ModelProto], tuple[int, ...]]] = {
    "healthy": (model, PASSES),
    "weights beside it": (beside, PASSES),
    "weights past the end": (lambda: beside(offset=32), REFUSED),
    "weights at a negative place": (lambda: beside(offset=-16), REFUSED),
    "weights at no number": (lambda: beside(offset="0.0"), REFUSED),
    "weights at a number of Python's alone": (lambda: beside(offset=" 0", length="6_4"), FAILS),
    "weights too short": (lambda: beside(length=32), REFUSED),
    "weights too long": (lambda: beside(location="long.bin", length=80), REFUSED),
    "weights of a whole longer file": (lambda: beside(location="long.bin", offset=None, length=None), REFUSED),
    "weights in two places": (lambda: twice(location="long.bin", offset=16), FAILS),
    "weights behind a link": (lambda: beside(location="link.bin"), REFUSED),
    "weights behind a link out of the folder": (lambda: beside(location="out.bin", length=4), REFUSED),
    "weights above the folder": (lambda: beside(location="../w.bin"), REFUSED),
    "a function that calls itself": (lambda: function("b = f.F (a)"), REFUSED),
    "a function that is there twice": (lambda: function("b = Neg (a)", "b = Exp (a)"), REFUSED),
    "a function that reads the graph": (lambda: function("b = Add (a, x)"), REFUSED),
    "a function": (lambda: function("b = Neg (a)"), PASSES),
    "weights that are sparse": (sparse, REFUSED),
    "a data type of no number": (lambda: typed(99), REFUSED),
    "two nodes with one name": (lambda: named("a", "a"), FAILS),
    "names of a terminal's colours": (lambda: named("\x1b[31m", "[red]"), PASSES),
    "a batch of 0": (lambda: model(dims=(0, 4)), FAILS),
    "a batch of -1": (lambda: model(dims=(-1, 4)), PASSES),
    "a batch that is a width": (lambda: model([helper.make_node("Neg", ["x"], ["y"])], dims=("n", "n")), PASSES),
    "no dimension": (lambda: model([helper.make_node("Neg", ["x"], ["y"])], dims=()), PASSES),
    "2^40 columns": (lambda: model([helper.make_node("Neg", ["x"], ["y"])], dims=("n", 2**40)), FAILS),
    "opset 99": (lambda: model(opset=99), REFUSED),
    "random numbers": (lambda: model([helper.make_node("RandomNormalLike", ["x"], ["y"])]), (3,)),
}


def check(scene: Scene, name: str) -> None:
    """Check such a file, with its verdict in JUnit beside the exit code."""
    make, codes = FILES[name]
    _files(scene.folder)
    (scene.folder / "model.onnx").write_bytes(make().SerializeToString())
    scene.note(f"model.onnx has: {name}")
    words = ("check", "model.onnx", "--for", "none", "--memory-limit", "4", "--format", "junit=verdict.xml")
    ran = scene.run(*words)
    if ran.code == 3:  # a verdict that judged nothing: a table, and no error
        scene.need(codes == (3,), f"exit code 3, expected {sorted(codes)}")
    else:
        scene.expect(ran, codes)
    scene.need(_is_green(scene.folder / "verdict.xml") == (ran.code == 0), "JUnit and exit code disagree")
    scene.need("\x1b" not in ran.out + ran.err, "a name of the file colours the terminal")


def _is_green(file: Path) -> bool:
    text = file.read_text() if file.exists() else ""
    return 'failures="0" errors="0"' in text


ROWS = (Row("ONNX files", [*FILES], check),)
