"""A program in place of nvcc that knows some GPUs, and headers in place of TensorRT's."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

SCRIPT = """\
#!/bin/sh
case "$*" in
    --version) echo "Cuda compilation tools, release {release}, V1"; exit 0 ;;
    --list-gpu-code) printf 'sm_75\\nsm_80\\nsm_90\\nsm_120\\n'; exit 0 ;;
esac
{fails}
out=; shared=
while [ $# -gt 0 ]; do
    case "$1" in -o) out=$2 ;; -shared) shared=yes ;; esac
    shift
done
[ -n "$shared" ] || {{ echo kernels > "$out"; exit 0; }}
echo "{code}" | gcc -shared -fPIC -x c - -o "$out"
"""
NAMES = ("setLoggerFinder", "getCreators", "getPluginCreators", "attn2trt_channel_gate")
CODE = " ".join(f"void {name}(void) {{}}" for name in NAMES)


def write_nvcc(root: Path, *, release: str = "13.0", fails: str = "", code: str = CODE) -> Path:
    """Write ``bin/nvcc`` and return the folder. ``fails`` is what it runs before it compiles."""
    if shutil.which("gcc") is None or shutil.which("g++") is None:
        pytest.skip("gcc is not installed")
    nvcc = root / "bin/nvcc"
    nvcc.parent.mkdir(parents=True)
    nvcc.write_text(SCRIPT.format(release=release, fails=fails, code=code))
    nvcc.chmod(0o755)
    return root


def write_headers(folder: Path, version: str = "10.13.3") -> Path:
    """Write headers of this version, whose numbers have names of their own as in TensorRT 10 and 11."""
    folder.mkdir(parents=True)
    numbers = dict(zip(("MAJOR", "MINOR", "PATCH"), version.split("."), strict=True))
    lines = [f"#define TRT_{part}_ENTERPRISE {number}" for part, number in numbers.items()]
    lines += [f"#define NV_TENSORRT_{part} TRT_{part}_ENTERPRISE //!< TensorRT's." for part in numbers]
    (folder / "NvInferVersion.h").write_text("\n".join(lines))
    (folder / "NvInferPlugin.h").write_text("")
    return folder
