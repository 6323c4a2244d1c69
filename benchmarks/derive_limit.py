"""Print the largest ratio that healthy models reach, so that the verdict's limit is set from data.

    python benchmarks/derive_limit.py --seeds 3 se cbam coord_att resnet50+cbam

Every target is deployed with each seed (weights and cases) and with dynamic axes; one line per target and seed holds
the worst ratio of each way to measure, and where the largest was. The limit (attn2trt.validate.metrics.LIMIT) must
stay well above the last line's, and the ratios of broken graphs well above the limit.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from attn2trt.pipeline import deploy
from attn2trt.validate.metrics import LIMIT
from attn2trt.validate.verdict import Comparison, Verdict

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
    parser.add_argument("--seeds", type=int, default=3, help="seeds 0 to this, exclusive (default: 3)")
    parser.add_argument("--dynamic", help=f"default: {BLOCK_AXES} for a block, {BACKBONE_AXES} for a backbone")
    options = parser.parse_args()
    largest: dict[str, float] = dict.fromkeys(WAYS, 0.0)
    failures = []
    with tempfile.TemporaryDirectory() as folder:
        for target in options.targets:
            axes = options.dynamic or (BLOCK_AXES if target.split(":")[0] in BLOCKS else BACKBONE_AXES)
            for seed in range(options.seeds):
                began = time.perf_counter()
                bundle = deploy(target, dynamic=axes, seed=seed, out=Path(folder) / "bundle", force=True)
                verdict = Verdict.from_json(bundle.manifest["verdict"])
                found = summarise(verdict, largest)
                print(f"{target:28} seed {seed}  {found}  {time.perf_counter() - began:6.1f} s", flush=True)
                if verdict.first_failure is not None:
                    failures.append(f"{target} seed {seed}: {verdict.first_failure.stage}: {verdict.first_failure.why}")
    print("largest of all: " + "  ".join(f"{way} {ratio:.3g}" for way, ratio in largest.items()) + f"; limit {LIMIT:g}")
    if failures:
        print(*failures, sep="\n")
        sys.exit(1)


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
