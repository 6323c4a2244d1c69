"""gpu_tune.py with two small cases, for a pretended GPU: PyTorch computes on none, so that its times are stood in for.

python small_tune.py PLACE FOLDER ...: as gpu_tune.py, with results and page in PLACE.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve()
sys.path.insert(0, str(HERE.parents[2] / "benchmarks"))

import gpu_tune  # noqa: E402
import gpu_tune_page  # noqa: E402
from gpu import tune_run, tune_timing, tune_work  # noqa: E402
from gpu_check import start  # noqa: E402

PLACE = Path(sys.argv[1])
SMALL: Any = {"shape": "2x16x4x4", "dynamic": "batch=1:2:4", "batches": (4,)}
WAVES: Any = (
    (tune_work.TuneCase("se", "se", **SMALL),),
    (
        tune_work.TuneCase(
            "cbam-int8", "cbam", precisions=tune_work.INTEGERS, plain=(), pytorch=False, beside="se", **SMALL
        ),
    ),
)


class Run(tune_run.TuneRun):
    """A run whose steps are this file's."""

    def _command(self, step: Any) -> list[str]:
        python, _, *words = super()._command(step)
        return [python, str(HERE), str(PLACE), *words]


def of_pytorch(*_: object, **__: object) -> dict[str, Any]:
    about = {"precision": "fp16", "input": "float32", "p90_ms": 1.0, "why": ""}
    timing = [{"what": what, "ms": ms, **about} for what, ms in (("eager", 0.4), ("torch.compile", 0.3))]
    return {"timing": timing, "differences": {}}


tune_work.WAVES = WAVES
tune_timing.compile_pytorch = lambda *_: {}  # type: ignore[assignment]
tune_timing.time_pytorch = of_pytorch  # type: ignore[assignment]
tune_run.TuneRun = Run  # type: ignore[misc]
gpu_tune_page.RESULTS, gpu_tune_page.PAGE = PLACE / "gpu_tune.json", PLACE / "gpu_tune.md"

if __name__ == "__main__":
    start(lambda: gpu_tune.main(gpu_tune.parse(sys.argv[2:])))
