"""Run as a program: two rows more in the table of precisions, and what every room then knows of them.

``python made_up_precisions.py tables`` asks each reader of the table; ``deploy FOLDER`` makes a bundle and judges it.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

ROWS = """
    Precision(
        name="fp15", words="float15", dtype="float16", graph="casts", unit_roundoff=2.0**-11, largest=65504.0,
        healthy=4.5, limit=7.0, budget=3e-2, share=0.1, kernels="half", oldest_tensorrt="10.15",
        first_capability="12.0", layer_words=("FP15",), kernel_words=("f15", "kfp15"), is_tried=True,
    ),
    Precision(
        name="int7", words="int7", dtype="int8", graph="quantised", unit_roundoff=2.0**-7, largest=63.0, healthy=3.0,
        limit=5.0, budget=2e-1, share=0.9, is_optimised=False, opset=10, per_channel=True, is_tried=True,
        most_in_float32=0.25,
    ),
"""
END = ")\nPRECISIONS = {"


def add_rows() -> None:
    """Import the table as if the rows had been written into its file, before anything else reads it."""
    import attn2trt.core

    name = "attn2trt.core.precision"
    path = Path(attn2trt.core.__file__).with_name("precision.py")
    source = path.read_text(encoding="utf-8")
    assert source.count(END) == 1
    spec = importlib.util.spec_from_loader(name, loader=None)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = attn2trt.core.precision = module  # type: ignore[attr-defined]
    exec(compile(source.replace(END, ROWS + END), path, "exec"), module.__dict__)


def tables() -> None:
    """Ask every reader of the table."""
    from rich.console import Console

    from attn2trt.cli.main import main
    from attn2trt.core import precision as table
    from attn2trt.engines.tensorrt import kernel_names, layers, targets
    from attn2trt.engines.timing import runtimes
    from attn2trt.report.table import verdict_table
    from attn2trt.validate.comparison import Comparison
    from attn2trt.validate.stages import ort_process as ort
    from attn2trt.validate.stages.stage import ORT_CPU, WRITTEN, Stage, lower_stages, read_stage
    from attn2trt.validate.verdict import Verdict, stage_result
    from attn2trt.workflows.options import PrecisionRequest

    assert table.parse_precisions("int7,fp15,fp32") == ("fp15", "int7")
    assert table.TRIED == ("int8", "int7", "fp16", "bf16", "fp15", "tf32")
    assert table.oldest_tensorrt(17, "fp15") == "10.15"
    assert "fp15 3e-2, int7 2e-1" in table.named_budgets()
    assert targets.split_targets(("8.9", "12.0"), "fp15") == (("12.0",), ("8.9",))
    assert kernel_names.kernel_precision("sm120_xmma_gemm_f15f15_f15f15_f15") == "fp15"
    assert layers._precision({"Format": "Row major FP15 format"}, "format") == "fp15"
    assert {"tensorrt-fp15", "tensorrt-rtx-int7", "tensorrt-fp15-graph"} <= {*runtimes.RUNTIMES}
    assert [stage.label for stage in lower_stages("fp15")] == ["fp15", "fp15 onnxruntime cpu"]
    assert [stage.label for stage in lower_stages("int7")] == ["int7"]
    assert read_stage({"stage": "tensorrt fp15, rows"}).precision == "fp15"
    assert ort.is_optimised(Stage(ORT_CPU, "fp15"))
    assert not ort.is_optimised(Stage(ORT_CPU, "int7"))
    assert PrecisionRequest.of("auto").lower == table.TRIED
    assert table.INTEGERS == ("int8", "int8-fp16", "int7")
    with (console := Console(width=200)).capture() as capture:
        found = Comparison("y", 1e-3, 1e-3, 1.0, "l2", (0,), True, "")
        console.print(verdict_table(Verdict((stage_result(Stage(WRITTEN, "fp15"), [("traced", found)]),))))
    assert "(7 in float15)" in capture.get()
    sys.argv = ["attn2trt", "deploy", "--help"]
    main()


def deploy(folder: str) -> None:
    """Make a bundle with graphs in both, and judge it again."""
    import attn2trt

    options = {"shapes": ["2x16x8x8"], "dynamic": "batch=1:2:3", "capabilities": "none", "precision": "fp15,int7"}
    bundle = attn2trt.deploy("cbam", out=folder, **options)  # type: ignore[arg-type]
    for verdict in (attn2trt.Verdict.from_json(bundle.manifest["verdict"]), attn2trt.validate_bundle(bundle.path)):
        print({stage.label: stage.status for stage in verdict.stages if stage.stage.precision in ("fp15", "int7")})
    print(*(finding.detail for finding in attn2trt.verify_bundle(bundle.path)), sep="\n")


if __name__ == "__main__":
    add_rows()
    {"tables": tables, "deploy": deploy}[sys.argv[1]](*sys.argv[2:])
