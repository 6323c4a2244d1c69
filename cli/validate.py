"""``attn2trt validate``: a bundle against the PyTorch outputs that it recorded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from ..core.bundle import open_bundle
from .dataset import DatasetOptions, dataset_options, predictions_code, worse_code
from .formats import Formats, format_option
from .options import bundle_argument, float32_truth_option, max_error_option, output_options, require_option
from .output import print_json, print_note, print_rich, stages
from .requirements import check
from .server import check_server_options, judge_server, server_options
from .summary import exit_code


@click.command("validate")
@bundle_argument
@max_error_option
@float32_truth_option
@require_option
@click.option("--network", is_flag=True, help="Measure every graph module by module beside float32, for the report.")
@dataset_options
@server_options
@format_option
@output_options
def command(
    bundle: Path,
    max_error: float | None,
    allow_float32_truth: bool,
    require: tuple[str, ...],
    network: bool,
    server: str | None,
    model: str | None,
    model_version: int | None,
    precision: str | None,
    server_timeout: float,
    formats: tuple[str, ...],
    as_json: bool,
    **dataset_values: Any,
) -> int:
    """Judge every runtime here on what BUNDLE recorded of PyTorch.

    Needs no PyTorch: inputs, float64 outputs and floors are in the bundle. With --dataset the predictions of every
    runtime are compared on a folder of images as well. With --server the cases go through the wire to a server that
    serves BUNDLE, and nothing else is judged.
    """
    wanted = Formats(formats, as_json=as_json)
    with wanted.errors_of(str(bundle)):
        dataset = DatasetOptions(dataset_values)
        dataset.require_no_server(server)
        check_server_options(server, network=network, model=model, version=model_version, precision=precision)
        check(require)
    if server is not None:
        return judge_server(
            bundle,
            server,
            model=model or "",
            version="" if model_version is None else str(model_version),
            precision=precision,
            seconds=server_timeout,
            max_error=max_error,
            allow_float32_truth=allow_float32_truth,
            wanted=wanted,
        )
    judging = {"max_error": max_error, "allow_float32_truth": allow_float32_truth}
    return _judge_here(bundle, dataset, wanted, network=network, as_json=as_json, judging=judging)


def _judge_here(
    bundle: Path, dataset: DatasetOptions, wanted: Formats, *, network: bool, as_json: bool, judging: Mapping[str, Any]
) -> int:
    """Judge the runtimes of this machine, keep and print what was found; return the exit code."""
    from ..engines.timing.machine import describe
    from ..report.formats.finding import outcome_of
    from ..workflows.network import measure_network
    from ..workflows.report import record, validated
    from ..workflows.validate import validate_bundle

    with wanted.errors_of(str(bundle)), stages() as progress:
        opened = open_bundle(bundle)
        order = dataset.order(bundle)  # a wrong data set is found before the minutes that the verdict takes
        verdict = validate_bundle(bundle, progress=progress, **judging)
        measured = measure_network(bundle, progress=progress) if network else {}
        predicted = None if order is None else order.attempt(verdict=verdict, progress=progress)
    found = {"max_error": judging["max_error"], "network": measured, "predictions": predicted}
    record(opened, validated(opened, verdict, machine=describe(), **found), print_note)
    wanted.write(outcome_of(opened.name, verdict, opened.manifest, str(bundle), predictions=predicted))
    code = worse_code(exit_code(verdict), predictions_code(predicted))
    if as_json:
        more = {} if predicted is None else {"predictions": predicted.to_json()}
        print_json({"path": str(bundle), "passed": code == 0, "verdict": verdict.to_json(), **more})
    elif not wanted.is_printed:
        from ..report.predictions_table import predictions_table
        from ..report.table import verdict_table

        print_rich(verdict_table(verdict), *([] if predicted is None else [predictions_table(predicted)]))
    return code
