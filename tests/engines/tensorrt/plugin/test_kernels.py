"""The plugin's kernels on a CPU, thread by thread, beside PyTorch in float64 and by the verdict's own limits.

The device of cpu/ runs one thread at a time in a random order: indices, barriers, rounding and the choice of a way are
real. Memory that is seen late, speed and what nvcc makes of the text are a GPU's.
"""

from __future__ import annotations

import ctypes
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from gate_on_cpu import SOURCES, Case, Device, Feeds, compile_for_cpu, draw, judge, random_case, run

SMALL = Device(shared_of_block=1 << 11)
CASES = {
    # name: (case, one kernel, blocks that share an image, images at once)
    "one image": (Case(n=1), 1, 2, 1),
    "more images than fit at once": (Case(n=11, residual=True, relu=True), 1, 1, 8),
    "shared by blocks, one image after the other": (Case(n=3, h=16, w=16, hidden=5, residual=True), 1, 3, 1),
    "float16": (Case(n=5, precision="fp16", residual=True, relu=True), 1, 1, 5),
    "float16, shared, hard sigmoid": (Case(c=40, h=15, w=17, precision="fp16", hard=True, relu=True), 1, 2, 2),
    "a pixel": (Case(n=3, c=5, h=1, w=1, hidden=1, precision="fp16"), 1, 1, 3),
    "a channel": (Case(n=2, c=1, hidden=1, relu=True), 1, 1, 2),
    "maps beside the places of 16 bytes": (Case(precision="fp16", shift=3, others=3, residual=True), 1, 1, 2),
    "maps that lie differently": (Case(shift=1, others=2, residual=True), 1, 1, 2),
    "too large": (Case(c=6, h=30, w=31, hidden=2, residual=True, device=SMALL), 0, 3, 2),
    "too large, float16, hard sigmoid": (
        Case(c=6, h=40, w=41, hidden=2, precision="fp16", hard=True, device=SMALL),
        0,
        3,
        2,
    ),
    "images that lie differently": (
        Case(n=9, precision="fp16", residual=True, device=Device(processors=1)),
        *(1, 1, 4),
    ),
    "one image after the other": (
        Case(n=20, c=5, h=3, w=3, device=Device(processors=1, cooperative=False)),
        *(0, 1, 16),
    ),
    "no cooperative launch": (Case(n=3, h=16, w=17, relu=True, device=Device(cooperative=False)), 0, 3, 3),
}


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    return compile_for_cpu(tmp_path_factory.mktemp("kernels"))


@pytest.mark.parametrize("name", CASES)
def test_the_kernels_compute_what_pytorch_does(kernels: ctypes.CDLL, name: str) -> None:
    case, *expected = CASES[name]
    found, how = judge(kernels, case)
    assert found.passed, found.detail
    assert [how[key] for key in ("one_kernel", "parts", "groups")] == expected


def test_a_batch_gives_what_its_images_give(kernels: ctypes.CDLL) -> None:
    """Neither the order of threads nor the other images change a bit, so that runs repeat."""
    case = Case(n=4, h=16, w=16)
    feeds = draw(case)
    batch, _ = run(kernels, case, feeds)
    for seed in (1, 2):
        assert np.array_equal(run(kernels, replace(case, seed=seed), feeds)[0], batch)
    alone = Feeds(feeds.x[2:3], feeds.w1, feeds.b1, feeds.w2, feeds.b2, None)
    assert np.array_equal(run(kernels, replace(case, n=1), alone)[0], batch[2:3])


@pytest.mark.parametrize("cooperative", [True, False])
def test_a_nan_stays_in_its_image(kernels: ctypes.CDLL, cooperative: bool) -> None:
    case = Case(n=3, relu=True, hard=True, device=Device(cooperative=cooperative))
    feeds = draw(case)
    feeds.x[1, 5, 3, 3] = np.nan
    found, _ = judge(kernels, case, feeds)
    assert found.passed, found.detail


def test_float16_is_rounded_to_nearest_even(kernels: ctypes.CDLL) -> None:
    """Every number of float16 plus another one, through an open gate."""
    bits = np.arange(1 << 16, dtype=np.uint16).view(np.float16).reshape(1, 64, 32, 32)
    x = np.where(np.isfinite(bits), bits, np.float16(0))
    more = np.random.default_rng(0).permutation(x.reshape(-1)).reshape(x.shape)
    case = Case(n=1, c=64, h=32, w=32, hidden=1, precision="fp16", residual=True, device=Device(cooperative=False))
    zeros = np.zeros((64, 1), np.float32)
    feeds = Feeds(x, zeros.reshape(1, 64), np.zeros(1, np.float32), zeros, np.full(64, 100, np.float32), more)
    with np.errstate(over="ignore"):
        expected = (x.astype(np.float32) + more.astype(np.float32)).astype(np.float16)
    assert np.array_equal(run(kernels, case, feeds)[0], expected)


@pytest.mark.parametrize(
    "sizes", [(1, 0, 4, 1), (1, 3, 0, 1), (1, 3, 4, 0), (1 << 20, 1 << 12, 1, 1), (1, 1 << 16, 1 << 15, 1)]
)
def test_sizes_that_cannot_be_are_refused(kernels: ctypes.CDLL, sizes: tuple[int, ...]) -> None:
    kernels.cpu_device(2, 1 << 14, 1 << 15, 1, 64, 0)
    assert kernels.attn2trt_channel_gate(*[None] * 7, *sizes, 0, 0, 0, None, None, None) == 1


def test_no_image_is_no_work(kernels: ctypes.CDLL) -> None:
    kernels.cpu_device(2, 1 << 14, 1 << 15, 1, 64, 0)
    assert kernels.attn2trt_channel_gate(*[None] * 7, 0, 3, 4, 1, 0, 0, 0, None, None, None) == 0


def test_the_workspace_grows_with_the_batch(kernels: ctypes.CDLL) -> None:
    found = [int(kernels.attn2trt_channel_gate_workspace(n, 300, 49, 20)) for n in (1, 2, 8, 64)]
    assert found == sorted(found)
    assert found[-1] >= 64 * 128 * 20 * 4


@pytest.mark.slow
@pytest.mark.parametrize("number", range(150))
def test_drawn_gates(kernels: ctypes.CDLL, number: int) -> None:
    found, _ = judge(kernels, random_case(number))
    assert found.passed, (random_case(number), found.detail)


BARRIER = "__syncthreads();"
MUTANTS = {
    "waits for too few": ("meet(gate.arrived + image, gate.parts)", "meet(gate.arrived + image, gate.parts - 1)"),
    "waits for too many": ("meet(gate.arrived + image, gate.parts)", "meet(gate.arrived + image, gate.parts + 1)"),
    "one counter for all images": ("gate.arrived + image", "gate.arrived"),
    "the wrong columns": ("sizes.c + first;\n        float sum", "sizes.c;\n        float sum"),
    "no activation between": ("hidden[j] = cut_off(sum);", "hidden[j] = sum;"),
    "a gate of the next channel": ("return gates[channel];", "return gates[channel + (left == 0 ? 1 : 0)];"),
    "a mean over one pixel more": ("means[k] = sum / static_cast<float>(pixels);", "means[k] = sum / (pixels + 1.0f);"),
    "the last elements left out": ("tail + thread; i < count;", "tail + thread; i < count - 1;"),
    "no relu": ("store(relu != 0 ? cut_off(value) : value, y);", "store(value, y);"),
    "a slope of another hard sigmoid": ("value / 6.0f + 0.5f", "value / 5.0f + 0.5f"),
}


def fails(library: ctypes.CDLL) -> bool:
    """Return True if some case shows that something is wrong."""
    for seed in range(6):
        for name in CASES:
            try:
                found, _ = judge(library, replace(CASES[name][0], seed=seed))
            except AssertionError:
                return True
            if not found.passed:
                return True
    return False


@pytest.mark.slow
def test_a_broken_kernel_is_seen(kernels: ctypes.CDLL, tmp_path: Path) -> None:
    """Each barrier left out, and each of MUTANTS, fails some case; the kernels themselves fail none."""
    assert not fails(kernels)
    text = (SOURCES / "channel_gate.cu").read_text()
    parts = text.split(BARRIER)
    broken = {
        f"without barrier {at}": BARRIER.join(parts[:at]) + BARRIER.join(parts[at:]) for at in range(1, len(parts))
    }
    for name, (old, new) in MUTANTS.items():
        assert text.count(old) >= 1, name
        broken[name] = text.replace(old, new)
    unseen = []
    for at, (name, changed) in enumerate(broken.items()):
        folder = tmp_path / str(at)
        shutil.copytree(SOURCES, folder / "sources")
        (folder / "sources" / "channel_gate.cu").write_text(changed)
        if not fails(compile_for_cpu(folder, folder / "sources")):
            unseen.append(name)
    assert unseen == []
