"""Print the largest ratio that healthy models reach, so that the verdict's limit is set from data.

    python benchmarks/derive_limit.py --seeds 2 --case-seeds 3 se cbam coord_att resnet50+cbam

Every target is exported with each seed of its weights, with dynamic axes, and judged in ONNX Runtime as written and
as optimised, on the cases of every case seed. One line per export holds the worst ratio of each way to measure, and
where the largest was. The limit (attn2trt.validate.metrics.LIMIT) must stay well above the last line's.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from attn2trt.engines.ort_runtime import OrtRuntime
from attn2trt.export.trace.exporter import trace
from attn2trt.modules.catalog import resolve
from attn2trt.validate.cases import make_cases
from attn2trt.validate.metrics import LIMIT
from attn2trt.validate.reference import references
from attn2trt.validate.verdict import Comparison, StageResult, Verdict, judge_all

BLOCKS = ["se", "cbam", "eca", "coord_att", "gam", "psa"]
BACKBONES = ["resnet18", "resnet50", "mobilenetv2_100", "efficientnet_b0"]
WAYS = ("l2", "max", "channel", "absolute")
BLOCK_AXES = "batch=1:2:8,height=16:32:64,width=16:32:64"
BACKBONE_AXES = "batch=1:2:4"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "targets", nargs="*", default=BLOCKS + BACKBONES, help="default: the blocks and plain backbones"
    )
    parser.add_argument("--seeds", type=int, default=2, help="weights: seeds 0 to this, exclusive (default: 2)")
    parser.add_argument("--case-seeds", type=int, default=3, help="inputs for each: as above (default: 3)")
    parser.add_argument("--dynamic", help=f"default: {BLOCK_AXES} for a block, {BACKBONE_AXES} for a backbone")
    options = parser.parse_args()
    largest: dict[str, float] = dict.fromkeys(WAYS, 0.0)
    failures = []
    for spec in options.targets:
        axes = options.dynamic or (BLOCK_AXES if spec.split(":")[0] in BLOCKS else BACKBONE_AXES)
        for seed in range(options.seeds):
            began = time.perf_counter()
            verdict = judged(spec, axes, seed, range(options.case_seeds))
            found = summarise(verdict, largest)
            print(f"{spec:28} seed {seed}  {found}  {time.perf_counter() - began:6.1f} s", flush=True)
            failures += [f"{spec} seed {seed}: {stage.stage}: {stage.why}" for stage in verdict.stages if stage.why]
    print("largest of all: " + "  ".join(f"{way} {ratio:.3g}" for way, ratio in largest.items()) + f"; limit {LIMIT:g}")
    if failures:
        print(*failures, sep="\n")
        sys.exit(1)


def judged(spec: str, axes: str, seed: int, case_seeds: range) -> Verdict:
    """The export of one set of weights, judged on the cases of every seed."""
    target = resolve(spec, dynamic=axes, seed=seed)
    module = target.build()
    stages: list[StageResult] = []
    with tempfile.TemporaryDirectory() as folder:
        graph = trace(target, module, Path(folder) / "model.onnx", opset=17)
        with OrtRuntime(graph.path, optimise=False) as plain, OrtRuntime(graph.path) as optimised:
            for case_seed in case_seeds:
                cases = make_cases(target.inputs, target.axes, seed=case_seed)
                truths = references(module, cases, [output.name for output in graph.outputs])
                runs = {f"as written, cases {case_seed}": plain.run, f"optimised, cases {case_seed}": optimised.run}
                stages += judge_all(runs, zip(cases, truths, strict=True))
    return Verdict(tuple(stages))


def summarise(verdict: Verdict, largest: dict[str, float]) -> str:
    """The worst ratio of each way and the place of the worst of all; ``largest`` is raised to them."""
    found: list[tuple[str, str, Comparison]] = [
        (stage.stage, case, comparison) for stage in verdict.stages for case, comparison in stage.comparisons
    ]
    parts = []
    for way in WAYS:
        worst = max((comparison.ratio for _, _, comparison in found if comparison.which == way), default=0.0)
        largest[way] = max(largest[way], worst)
        parts.append(f"{way} {worst:5.2f}")
    stage, case, comparison = max(found, key=lambda entry: entry[2].ratio)
    return "  ".join(parts) + f"  ({stage}, {case}, {comparison.output}, error {comparison.error:.1e})"


if __name__ == "__main__":
    main()
