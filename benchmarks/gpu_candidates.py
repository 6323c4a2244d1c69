"""Count what every candidate for TensorRT changes, on TensorRT for RTX without a GPU; write docs/gpu_candidates.md.

Usage: python benchmarks/gpu_candidates.py [--keep] [TARGET ...]. Each candidate graph is parsed, its network's layers
are counted, and a plan is built for one compute capability. At the level VERBOSE the builder writes the layers of the
engine, which are its kernels, with the types of their tensors into the log. Writes results/gpu_candidates.json after
every target, and the tables of the page; with TARGETs it prints their rows alone, or with --keep replaces them.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import gpu_candidates_page
import onnx
from fused_bytes import Kernels
from int8_placement import CAPABILITY, by_bits, crossing, engine_layers
from stored_results import by_target, heading, target_options

from attn2trt.core.graph import OnnxGraph
from attn2trt.core.precision import FP16, INT8_FP16, QUANTISED
from attn2trt.core.scratch import scratch
from attn2trt.engines.tensorrt.flavours import RTX
from attn2trt.engines.tensorrt.library import load, make_logger
from attn2trt.errors import Attn2trtError
from attn2trt.export.candidate_source import Choice, Source
from attn2trt.export.candidates import choices_of, write_of
from attn2trt.export.placed import place
from attn2trt.modules import catalog
from attn2trt.workflows.float32_graph import export_graph

RESULTS = Path(__file__).parent / "results/gpu_candidates.json"
BLOCKS = ("se", "cbam", "eca", "coord_att", "gam", "psa")
TARGETS = (*BLOCKS, "resnet50+se", "resnet50+cbam", "resnet50+coord_att", "mobilenetv2_100+se")
# Layers of an engine that run no kernel: shapes are computed by the host, the others make one stream wait for another.
NO_KERNELS = ("shape_call", "signal", "wait")
# what is counted in int8-fp16, too, and the range of every tensor in 8 bits: what is built does not depend on it
INTEGERS, RANGE = ("resnet50+se", "mobilenetv2_100+se"), 1.0
BLOCK_SHAPE, IMAGE_SHAPE, AXES = "8x256x56x56", "8x3x224x224", "batch=1:8:32"
NOTHING = 100_000  # bytes for one image
FLOAT16, FLOAT32 = "float16", "float32"


def sources(name: str, folder: Path) -> Iterator[tuple[str, Source]]:
    """Yield each precision of a target, and its float32 graph for each type of inputs and outputs of that."""
    target = catalog.resolve(name, shapes=[BLOCK_SHAPE if name in BLOCKS else IMAGE_SHAPE], dynamic=AXES)
    graph = export_graph(target, target.build(), folder)
    for io in (FLOAT32, FLOAT16) if name in BLOCKS else (FLOAT32,):
        yield FP16, Source(graph, io=io)
    if name in INTEGERS:
        form = QUANTISED[INT8_FP16]
        placed = place(graph, lambda names: dict.fromkeys(names, RANGE), folder, calibration="made up", form=form)
        yield INT8_FP16, Source(graph, ranges=placed.ranges)


def rows_of(name: str, precision: str, source: Source) -> Iterator[dict[str, Any]]:
    """Yield the row of the graph as it is, one for each choice, and one for several together.

    Those are the best of each kind, the best first, each of which has to be better beside those before it.
    """
    single = {(): row_of(name, precision, source, ())}
    yield single[()]
    for choice in choices_of(source, precision):
        single[choice,] = row_of(name, precision, source, (choice,))
        yield single[choice,]
    chosen, best = best_of_each_kind(single), single[()]
    kept: tuple[Choice, ...] = ()
    for choice in chosen:
        row = row_of(name, precision, source, (*kept, choice)) if kept else single[choice,]
        if "why_not" not in row and _effort(row) < _effort(best):
            kept, best = (*kept, choice), row
    if len(kept) > 1:
        names = [[choice.name, choice.kind] for choice in kept]
        yield best | {"candidate": gpu_candidates_page.TOGETHER, "chosen": names}


def best_of_each_kind(single: Mapping[tuple[Choice, ...], Mapping[str, Any]]) -> tuple[Choice, ...]:
    """Return for each kind of place the choice that moves the fewest bytes, or of as many has the fewest kernels.

    Choices that are no better than the graph as it is are left out; the best comes first.
    """
    found = {chosen[0]: _effort(row) for chosen, row in single.items() if chosen and "why_not" not in row}
    better = sorted((choice for choice in found if found[choice] < _effort(single[()])), key=lambda one: found[one])
    return tuple({choice.kind: choice for choice in reversed(better)}.values())[::-1]


def _effort(row: Mapping[str, Any]) -> tuple[int, int]:
    """Return the bytes in steps of NOTHING, so that small tensors do not count, and the kernels."""
    return round(sum(row["bytes"].values()) / NOTHING), row["kernels"]


def row_of(name: str, precision: str, source: Source, chosen: Sequence[Choice]) -> dict[str, Any]:
    """Return what was counted of one candidate, or why it was refused."""
    choice = chosen[0] if chosen else Choice("", "", 0)
    row: dict[str, Any] = {"target": name, "precision": precision, "io": source.io}
    row |= {"candidate": choice.name, "kind": choice.kind}
    row["places"] = sum(one.count for one in chosen)
    with scratch("candidates") as folder:
        try:
            graph = write_of(source, precision, chosen, folder / "model.onnx")
            return row | counted(graph) | built(graph, precision)
        except Attn2trtError as error:
            return row | {"why_not": " ".join(str(error).split())[:300]}


def counted(graph: OnnxGraph) -> dict[str, Any]:
    """Return the layers of the parsed network by type and precision, and what the ONNX graph alone says.

    Raises CheckFailed for a graph that the parser refuses.
    """
    nodes = Counter(node.op_type for node in onnx.load(str(graph.path), load_external_data=False).graph.node)
    with scratch("parsed") as folder:
        trt = load(RTX, None).trt
        builder = trt.Builder(make_logger(trt, folder / "log"))
        network = builder.create_network(0)
        parser = trt.OnnxParser(network, builder.logger)
        if not parser.parse_from_file(str(graph.path)):
            return {"parsed": {}}
        layers = [network.get_layer(index) for index in range(network.num_layers)]
        found = Counter((layer.type.name, layer.get_output(0).dtype.name) for layer in layers)
    parsed: dict[str, dict[str, int]] = {}
    for (kind, dtype), count in sorted(found.items()):
        parsed.setdefault(kind, {})[dtype] = count
    pairs = nodes["QuantizeLinear"] + nodes["DequantizeLinear"]
    crossed = by_bits(Kernels(graph.path).crossing())
    return {"parsed": parsed, "casts": nodes["Cast"], "pairs": pairs, "if_fused": crossed}


def built(graph: OnnxGraph, precision: str) -> dict[str, Any]:
    """Return what the builder's log says of the engine; raises CheckFailed for a graph that is refused."""
    layers = engine_layers(graph, precision)
    kinds = Counter(layer.kind for layer in layers)
    return {
        "kernels": sum(count for kind, count in kinds.items() if kind not in NO_KERNELS),
        "by_type": dict(sorted(kinds.items())),
        "converting": sum(layer.only_converts for layer in layers),
        "bytes": by_bits(crossing(layers)),
        "names": [layer.name for layer in layers] if len(layers) < 100 else [],
    }


def main(names: Sequence[str], *, keeps: bool) -> int:
    """Count the targets, all of them without ``names``; with ``keeps`` replace their rows in the results and page."""
    stored: dict[str, Any] = json.loads(RESULTS.read_text()) if keeps and RESULTS.exists() else {"rows": []}
    rows = by_target(stored["rows"])
    for name in names or TARGETS:
        rows[name] = []
        with tempfile.TemporaryDirectory() as folder:
            for precision, source in sources(name, Path(folder)):
                for row in rows_of(name, precision, source):
                    rows[name].append(row)
                    print(json.dumps({key: value for key, value in row.items() if key != "names"}), flush=True)
        if keeps or not names:
            write([row for target in TARGETS for row in rows.get(target, ())])
    return 0


def write(rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the results and the page's tables."""
    document = heading("tensorrt-rtx", "torch", "onnx") | {
        "capability": CAPABILITY,
        "shapes": {"block": BLOCK_SHAPE, "image": IMAGE_SHAPE, "axes": AXES},
        "rows": rows,
    }
    RESULTS.write_text(json.dumps(document, indent=1) + "\n")
    gpu_candidates_page.write()


if __name__ == "__main__":
    asked = target_options(__doc__, TARGETS)
    sys.exit(main(asked.names, keeps=asked.keep))
