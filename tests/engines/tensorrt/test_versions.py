"""Every name that is used on TensorRT exists in every version that is supported, or its branch says which have it.

``api.json`` holds the names of every version's own bindings, TensorRT for RTX among them; api.py writes it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx
import pytest

from attn2trt.engines.environment import installed_version
from attn2trt.engines.tensorrt import versions
from attn2trt.engines.tensorrt.flavours import RTX
from attn2trt.engines.tensorrt.versions import BRANCHES, Version, has, parse_version
from attn2trt.errors import InputError, MissingRequirement

from . import api
from .weak_network import TRT as WEAK
from .weak_network import Network, parsed

ROOM = Path(__file__).parents[3] / "engines/tensorrt"
NAMES = api.read_table()
# The version whose branches each column of the table goes by.
COLUMNS = {column: RTX.api if column == api.RTX else parse_version(column) for column in NAMES}
# what the code calls its objects of TensorRT
OBJECTS = {
    "builder": "Builder",
    "config": "IBuilderConfig",
    "network": "INetworkDefinition",
    "parser": "OnnxParser",
    "error": "ParserError",
    "made": "IOptimizationProfile",
    "cache": "ITimingCache",
    "inspector": "EngineInspector",
    "layer": "ILayer",
    "registry": "IPluginRegistry",
    "tensor": "ITensor",
    "engine": "ICudaEngine",
    "_engine": "ICudaEngine",
    "_context": "IExecutionContext",
    "context": "IExecutionContext",
    "runtime": "Runtime",
    "kinds": "NetworkDefinitionCreationFlag",
}
# The same in the file that only TensorRT for RTX runs: its names are those of no other version.
RTX_FILE = ROOM / "rtx.py"
RTX_OBJECTS = {"config": "IBuilderConfig", "engine": "ICudaEngine", "_config": "IRuntimeConfig"} | {
    "_cache": "IRuntimeCache"
}


def used(source: str, objects: Mapping[str, str] = OBJECTS) -> Iterator[str]:
    """Yield ``Class.attribute`` of everything that the code takes from TensorRT."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Attribute):
            continue
        chain = dotted(node).removeprefix("self.").removeprefix("library.").split(".")
        if chain[0] in ("trt", "_trt") and len(chain) > 1 and chain[1][:1].isupper():
            yield ".".join(chain[1:3])
        elif chain[0] in objects and len(chain) == 2 and not chain[1].startswith("__"):
            yield f"{objects[chain[0]]}.{chain[1]}"


def dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "?"


def used_in_every_version() -> set[str]:
    """The names that the code takes from every version of TensorRT, unless a branch depends on the version."""
    return {name for path in ROOM.rglob("*.py") if path != RTX_FILE for name in used(path.read_text())}


def used_in_rtx() -> set[str]:
    """The names that the code takes from TensorRT for RTX: those that its branch has, and of no other version."""
    return {name for name in used_in_every_version() if has(COLUMNS[api.RTX], name)} | {
        *used(RTX_FILE.read_text(), RTX_OBJECTS),
        *(f"ComputeCapability.SM{target.replace('.', '')}" for target in RTX.targets),
    }


def wanting(names: set[str]) -> list[str]:
    """The uses that some supported version does not have although its branch, or the lack of one, says so."""
    return [
        f"{name} in {column}"
        for name in sorted(names)
        for column, version in COLUMNS.items()
        if has(version, name) and name not in NAMES[column]
    ]


def test_every_name_that_is_used_exists() -> None:
    names = used_in_every_version()
    assert len(names) > 35
    assert {"Builder", "IExecutionContext.execute_async_v3", "IBuilderConfig.set_tactic_sources"} <= names
    assert wanting(names) == []


def test_every_name_that_is_used_on_tensorrt_for_rtx_alone_exists_there() -> None:
    names = used_in_rtx()
    alone = {"IRuntimeCache.serialize", "IRuntimeConfig.cuda_graph_strategy", "IBuilderConfig.set_compute_capability"}
    assert alone | {"Builder", "ComputeCapability.SM120", "CudaGraphStrategy.WHOLE_GRAPH_CAPTURE"} <= names
    assert "BuilderFlag.FP16" not in names
    assert names - NAMES[api.RTX] == set()


@pytest.mark.tensorrt
def test_the_tensorrt_for_rtx_that_is_installed_has_them() -> None:
    found = api.read_names(RTX.module)
    assert used_in_rtx() - found == set()
    if f"{RTX.name} {RTX.parse_version(installed_version(*RTX.distributions))}" == api.RTX:
        assert found == NAMES[api.RTX]


def test_a_name_that_does_not_exist_is_found() -> None:
    code = "config.set_flagg(1); trt.BuilderFlag.TF33; engine.device_memory_size"
    lines = wanting(set(used(code)))
    assert {line.split()[0] for line in lines} == {"IBuilderConfig.set_flagg", "BuilderFlag.TF33"}
    assert f"BuilderFlag.TF33 in {api.RTX}" in lines
    of_rtx = set(used("self._config.cuda_graphs; self._cache.serialize()", RTX_OBJECTS))
    assert of_rtx - NAMES[api.RTX] == {"IRuntimeConfig.cuda_graphs"}


@pytest.mark.parametrize("name", BRANCHES)
def test_a_branch_is_as_wide_as_the_versions_that_have_it(name: str) -> None:
    expected = {column for column, version in COLUMNS.items() if has(version, name)}
    assert {column for column, names in NAMES.items() if name in names} == expected


def test_the_table_holds_every_version_and_both_products() -> None:
    assert list(NAMES) == [bindings.version for bindings in api.BINDINGS]
    assert {version.major for version in COLUMNS.values()} == {8, 10, 11}
    assert all("IExecutionContext.execute_async_v3" in names for names in NAMES.values())


def test_a_new_version_is_its_names_and_a_row_for_each_that_went(monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorRT 12 without a method that is used: it is named until a branch says so."""
    gone = "Builder.build_serialized_network"
    assert gone in used_in_every_version()
    monkeypatch.setitem(NAMES, "12.0.0", NAMES["11.4.0"] - {gone})
    monkeypatch.setitem(COLUMNS, "12.0.0", Version(12))
    assert wanting(used_in_every_version()) == [f"{gone} in 12.0.0"]
    monkeypatch.setitem(BRANCHES, gone, (versions.OLDEST, Version(12)))
    assert wanting(used_in_every_version()) == []
    test_a_branch_is_as_wide_as_the_versions_that_have_it(gone)
    assert has(Version(11, 4), gone)
    assert not has(Version(12, 1), gone)


# not those that are in one wheel of 819 MB with TensorRT; python3.10 tests/engines/tensorrt/api.py reads them
SMALL = [bindings for bindings in api.BINDINGS if not bindings.is_large]


@pytest.mark.slow
@pytest.mark.parametrize("bindings", SMALL, ids=lambda bindings: bindings.version)
def test_the_table_is_what_the_bindings_say(bindings: api.Bindings, tmp_path: Path) -> None:
    if not bindings.is_readable:
        pytest.skip("its bindings have no wheel for this Python")
    assert api.download_names(bindings, tmp_path) == NAMES[bindings.version]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("8.6.0", Version(8, 6, 0)), ("10.13.3.9.post1", Version(10, 13, 3)), ("11.4", Version(11, 4, 0))],
)
def test_versions_are_read(text: str, expected: Version) -> None:
    assert parse_version(text) == expected


@pytest.mark.parametrize("text", ["8.5.3.1", "7.2", "unknown", ""])
def test_older_ones_are_refused(text: str) -> None:
    with pytest.raises(MissingRequirement, match=r"expected 8\.6\.0 or newer"):
        parse_version(text)


FLAGS = SimpleNamespace(EXPLICIT_BATCH=0, STRONGLY_TYPED=1)
TRT: Any = SimpleNamespace(
    NetworkDefinitionCreationFlag=FLAGS, TacticSource=SimpleNamespace(CUBLAS=0, CUBLAS_LT=1, CUDNN=2)
)


@pytest.mark.parametrize(("version", "flags"), [(Version(8, 6), 1), (Version(10, 3), 2), (Version(11, 0), 0)])
def test_networks_are_typed_as_their_graph_where_that_can_be_asked(version: Version, flags: int) -> None:
    assert versions.network_flags(TRT, version) == flags


@pytest.mark.parametrize("version", [Version(8, 6), Version(10, 3)])
def test_weak_types_are_had_where_there_are_any(version: Version) -> None:
    assert versions.network_flags(TRT, version, weakly_typed=True) == 1


def test_the_newest_has_no_weak_types() -> None:
    with pytest.raises(MissingRequirement, match=r"TensorRT 11\.0\.0 takes a graph's precisions as they are"):
        versions.network_flags(TRT, Version(11), weakly_typed=True)


@pytest.mark.parametrize(("precision", "flags"), [("fp32", set()), ("tf32", {"TF32"}), ("fp16", {"TF32", "FP16"})])
def test_a_precision_is_allowed_and_nothing_bound(precision: str, flags: set[str]) -> None:
    assert allowed(precision) == flags


def test_what_the_graph_has_to_say_cannot_be_allowed() -> None:
    with pytest.raises(InputError, match="received precision int8; expected fp32, tf32 or fp16"):
        allowed("int8")


def allowed(precision: str) -> set[str]:
    """The flags of a builder's defaults with this precision allowed."""
    flags = {"TF32"}
    config = SimpleNamespace(set_flag=flags.add, clear_flag=flags.remove)
    versions.allow_precision(SimpleNamespace(BuilderFlag=SimpleNamespace(FP16="FP16", TF32="TF32")), config, precision)
    return flags


def test_sources_of_kernels_are_left_out() -> None:
    assert versions.tactic_mask(TRT, Version(8, 6), 0b11111, ["cublas", "cudnn"]) == 0b11010
    with pytest.raises(InputError, match=r"TensorRT 11\.0\.0 has no such source"):
        versions.tactic_mask(TRT, Version(11), 0b11000, ["cudnn"])


def flags_and_network(version: Version, precision: str, graph: Path) -> tuple[list[str], Network]:
    """The flags that are set for a network of the graph, if tf32 is on by default, and the network."""
    flags: list[str] = ["TF32"]
    config = SimpleNamespace(set_flag=flags.append, clear_flag=flags.remove)
    network = parsed(graph)
    versions.keep_precision(WEAK, version, config, network, precision, graph)
    return flags, network


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    """A sigmoid in float16 beside a mean in float32."""
    text = """<ir_version: 8, opset_import: ["" : 17]> g (float[n, 4] x) => (float[n, 4] y, float[n, 1] m) {
        [mean] m = ReduceMean <axes = [1]> (x)
        [down] h = Cast <to = 10> (x)
        [sigmoid] s = Sigmoid (h)
        [up] y = Cast <to = 1> (s)
    }"""
    onnx.save(onnx.parser.parse_model(text), tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


def precisions(network: Network) -> dict[str, str]:
    return {layer.node: layer.precision for layer in network.layers if layer.precision != "not set"}


def test_a_weakly_typed_network_is_bound_to_the_precisions_of_its_graph(graph: Path) -> None:
    flags, network = flags_and_network(Version(8, 6), "fp16", graph)
    assert flags == ["FP16", "OBEY"]
    assert precisions(network) == {"mean": "FLOAT", "sigmoid": "HALF"}


def test_integers_need_their_flag_and_float32_none_and_strong_types_nothing(graph: Path) -> None:
    for version, precision, flags in [
        *((Version(8, 6), "int8", ["INT8"]), (Version(8, 6), "fp32", [])),
        *((version, precision, []) for version in (Version(10), Version(11)) for precision in ("fp32", "fp16", "int8")),
    ]:
        found, network = flags_and_network(version, precision, graph)
        assert (found, precisions(network)) == (flags, {})


@pytest.mark.parametrize("version", [Version(8, 6), Version(10), Version(11)])
def test_tf32_is_allowed_where_it_is_asked_for_alone(version: Version, graph: Path) -> None:
    assert set(flags_and_network(version, "tf32", graph)[0]) == {"TF32"}
    assert "TF32" not in flags_and_network(version, "fp32", graph)[0]
