"""Simplification runs in a child process; whatever happens there, a graph that keeps the contract comes back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from pretended_worker import pretend, real_workers
from small_graph import INPUT, OUTPUT, graph_file, healthy, small_model
from torch import nn

from attn2trt.core.graph import OnnxGraph
from attn2trt.export import simplify as room
from attn2trt.export.precision import lower
from attn2trt.export.precision_options import PrecisionOptions
from attn2trt.export.trace.exporter import trace
from attn2trt.modules.own_module import from_module


@pytest.fixture(autouse=True)
def _as_users_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    real_workers(monkeypatch)


@pytest.fixture
def graph(tmp_path: Path) -> OnnxGraph:
    onnx.save(healthy(), tmp_path / "exported.onnx")
    return OnnxGraph(tmp_path / "exported.onnx", 17, (INPUT,), (OUTPUT,), {"add": "layer1.0"})


def test_the_simplified_graph_keeps_contract_and_module_map(graph: OnnxGraph, tmp_path: Path) -> None:
    result, why_not = room.simplify(graph, tmp_path / "model.onnx")
    assert why_not == ""
    assert result.path == tmp_path / "model.onnx"
    assert set(result.modules.values()) == {"layer1.0"}


def _child(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Run ``code`` in place of the real child, with the ``source`` and ``destination`` that it gets, and ``say``."""
    prelude = (
        "import sys, os, onnx; from attn2trt.core.channel import receive, send\n"
        "(order, _) = receive(sys.stdin.buffer); source, destination = order['source'], order['destination']\n"
        "say = lambda: send(sys.stdout.buffer, {})\n"
    )
    pretend(monkeypatch, prelude + code)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("os.kill(os.getpid(), 11)", "onnxsim was killed by SIGSEGV"),
        ("raise RuntimeError('cannot fold')", "cannot fold"),
        ("pass", "onnxsim ended with exit code 0"),
        ("onnx.save(onnx.load(source), destination)", "onnxsim ended with exit code 0"),
        ("say()", "onnxsim wrote nothing"),
        (
            "m = onnx.load(source); m.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 8;"
            "onnx.save(m, destination); say()",
            "after simplification, input x",
        ),
        ("open(destination, 'wb').write(b'garbage'); say()", "after simplification"),
    ],
    ids=[
        "crash",
        "error",
        "nothing at all",
        "no word of the end",
        "nothing written",
        "lost dynamic dimension",
        "garbage",
    ],
)
def test_a_bad_child_falls_back_to_the_exported_graph(
    graph: OnnxGraph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, reason: str
) -> None:
    _child(monkeypatch, code)
    result, why_not = room.simplify(graph, tmp_path / "model.onnx")
    assert result is graph
    assert reason in why_not


def test_a_child_that_hangs_is_stopped(graph: OnnxGraph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "TIMEOUT_SECONDS", 0.2)
    _child(monkeypatch, "import time; time.sleep(60)")
    result, why_not = room.simplify(graph, tmp_path / "model.onnx")
    assert result is graph
    assert "did not finish" in why_not


def test_a_node_that_took_others_in_knows_their_modules(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Conv2d(4, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 1)).eval()
    target = from_module(net, torch.randn(2, 4, 8, 8), dynamic="batch=1:2:4")
    traced = trace(target, net, tmp_path / "exported.onnx", opset=17)
    result, why_not = room.simplify(traced, tmp_path / "model.onnx")
    assert why_not == ""
    assert [result.modules_of(node) for node in result.modules] == [("1", "0"), ("2",), ("3",)]
    assert result.module_paths == ("1", "0", "2", "3")
    low = lower(result, "fp16", tmp_path, PrecisionOptions(["0"]))
    assert low.kept_exactly == ("1", "0")
    assert low.lowered_modules == {"3": ("3",)}
    assert lower(result, "fp16", tmp_path).lowered_modules == {"1": ("1", "0"), "2": ("2",), "3": ("3",)}


class Heads(nn.Module):
    """Attention with a layer for each of queries, keys and values, as in Hugging Face's models."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(8)
        self.query, self.key, self.value = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(x)
        q, k, v = (part(x).view(-1, 6, 2, 4).transpose(1, 2) for part in (self.query, self.key, self.value))
        return ((q @ k.transpose(2, 3) * 0.5).softmax(-1) @ v).transpose(1, 2).reshape(-1, 6, 8)


def test_attention_keeps_its_layers(tmp_path: Path) -> None:
    target = from_module(Heads(), torch.randn(2, 6, 8), dynamic="batch=1:2:4")
    result, why_not = room.simplify(trace(target, target.build(), tmp_path / "exported.onnx", opset=17), tmp_path / "m")
    assert why_not == ""
    products = [node.name for node in onnx.load(tmp_path / "m").graph.node if node.op_type in ("MatMul", "Gemm")]
    assert [result.modules[name] for name in products] == ["query", "key", "value", "", ""]


def test_a_node_before_a_layers_product_is_that_layers(tmp_path: Path) -> None:
    target = from_module(nn.Sequential(nn.ReLU(), nn.Linear(8, 4)), torch.randn(2, 6, 8), dynamic="batch=1:2:4")
    result, _ = room.simplify(trace(target, target.build(), tmp_path / "exported.onnx", opset=17), tmp_path / "m")
    nodes = onnx.load(tmp_path / "m").graph.node
    assert [(node.op_type, result.modules[node.name]) for node in nodes] == [
        ("Relu", "0"),
        ("Reshape", "1"),
        ("Gemm", "1"),
        ("Reshape", "1"),
    ]


def test_a_graph_without_modules_has_none_afterwards(tmp_path: Path) -> None:
    target = from_module(nn.Linear(8, 4), torch.randn(2, 8), dynamic="batch=1:2:4")
    traced = trace(target, target.build(), tmp_path / "exported.onnx", opset=17)
    result, why_not = room.simplify(replace(traced, modules={}), tmp_path / "m")  # as of an ONNX file
    assert (result.modules, why_not) == ({}, "")


def test_a_convolution_keeps_its_weight_beside_a_factor_of_what_it_reads(tmp_path: Path) -> None:
    before = small_model(
        [
            helper.make_node("Relu", ["x"], ["open"], name="relu"),
            helper.make_node("Mul", ["open", "six"], ["larger"], name="factor"),
            helper.make_node("Conv", ["larger", "w"], ["y"], name="conv"),
        ],
        {"x": ["batch", 2, 4, 4]},
        {"y": ["batch", 3, 4, 4]},
        {"w": np.ones((3, 2, 1, 1), np.float32), "six": np.array(6, np.float32)},
    )
    _, why_not = room.simplify(graph_file(before, tmp_path / "before.onnx"), tmp_path / "after.onnx")
    assert why_not == ""
    assert [node.op_type for node in onnx.load(tmp_path / "after.onnx").graph.node] == ["Relu", "Mul", "Conv"]
