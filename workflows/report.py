"""``report``: the page of a bundle, written into it when a command adds to what it shows, or of several in a file."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from ..core.arguments import checked
from ..core.bundle import Bundle, Folder, open_bundle
from ..core.command_line import CommandLine, quoted
from ..core.dimension import Dim
from ..core.extend import changing, extend
from ..core.file_hashes import require_unchanged
from ..core.input_path import require_readable
from ..core.manifest import REFERENCE, REPORT
from ..core.progress import Remark
from ..core.tensor_spec import optima
from ..core.typed_json import parsed
from ..engines.tensorrt.flavours import FLAVOURS
from ..errors import Attn2trtError, InputError, MissingRequirement, StorageError, one_line
from ..report.bundle_view import BENCHMARK, COST, PREDICTIONS, VALIDATED
from ..validate.place import Boundary
from ..validate.predictions.results import Predictions
from ..validate.verdict import Verdict

ROLE = "what people look at"
# Entries of the manifest by the command that writes such a document.
DOCUMENTS = {f"attn2trt {COST}": COST, f"attn2trt {BENCHMARK}": BENCHMARK}
LARGEST_BYTES = 64 << 20
KEPT_CHANGES = 100  # changed images of each runtime in the manifest

Note = Callable[[str], object]


@checked
def report_bundle(bundle: Folder, *, add: Sequence[Path | str] = ()) -> Bundle:
    """Write the page of a bundle anew, after taking up documents that ``cost`` and ``benchmark`` wrote about it.

    Args:
        bundle: The bundle, or its folder.
        add: Documents; a later one of the same command replaces the one in the bundle.

    Returns:
        The bundle with the page in it.

    Raises:
        InputError: A document is none of these commands, or about something else.
        CheckFailed: A file of the bundle has changed.
        MissingRequirement: The template engine is not installed.
        StorageError: Another command changes the bundle now.
    """
    with changing(bundle) as opened:
        require_unchanged(opened)
        entries = dict(_document(opened, Path(file)) for file in add)
        text = _page(opened.with_entries(entries), opened.path)
        return _put(opened, text, entries)


def report_page(paths: Sequence[Path | str]) -> str:
    """Return one page of several bundles, beside each other. Raises as ``report_bundle`` does."""
    from ..report.page import page

    bundles = [open_bundle(path) for path in paths]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for _ in pool.map(require_unchanged, bundles):  # raises what one of them raised
            pass
    if why := why_no_page():
        raise MissingRequirement(f"a page of bundles: {why}")
    return page(bundles)


def write_page(shown: Path, note: Note) -> Callable[[Bundle], dict[str, str]]:
    """Return a function that writes the page of a bundle that is being made, for ``BundleWriter.commit``.

    Args:
        shown: The path of the bundle as the user writes it.
        note: Is given a sentence if there is no page; the bundle is whole without it.
    """

    def write(bundle: Bundle) -> dict[str, str]:
        text = _page_or_note(bundle, shown, note)
        if text is None:
            return {}
        (bundle.path / REPORT).write_text(text, encoding="utf-8", errors="replace")
        return {REPORT: ROLE}

    return write


def extend_and_report(
    bundle: Bundle, files: Mapping[str, str], entries: Mapping[str, Any], *, note: Note, without: Collection[str] = ()
) -> Bundle:
    """Do what ``core.extend.extend`` does, then write the page anew.

    The page of before goes first, so that none says what the bundle no longer does. ``note`` is given the reason if no
    page can be written; without a template engine the one of before stays.
    """
    if why := why_no_page():
        note(Remark(f"{REPORT} was not written anew: {why}"))
        return extend(bundle, files, entries, without=without)
    extended = extend(bundle, files, entries, without=[*without, REPORT])
    text = _page_or_note(extended, bundle.path, note)
    return extended if text is None else _put(extended, text, {})


def record(bundle: Bundle, entries: Mapping[str, Any], note: Note) -> None:
    """Keep in a bundle what a command found out about it, and write its page anew.

    The command's own result stands if that is not possible: ``note`` is then given the reason.

    Args:
        bundle: The bundle as it was opened before the work; what is there now must have the same graphs and cases.
        entries: Those of the manifest.
        note: As for ``extend_and_report``. The folder may be read-only, or another command's at this moment.
    """
    try:
        with changing(bundle.path) as current:
            if _content(current) != _content(bundle):
                raise StorageError(f"{bundle.path} was replaced by another command meanwhile; run this one again")
            extend_and_report(current, {}, entries, note=note)
    except (StorageError, InputError) as error:
        note(Remark(f"{REPORT} was not written anew: {error}"))
    except OSError as error:
        note(Remark(f"{REPORT} was not written anew: writing {error.filename or bundle.path} failed: {error.strerror}"))


def _content(bundle: Bundle) -> list[str]:
    """Return the hashes of the files that a measurement depends on."""
    return [bundle.manifest["files"][name]["sha256"] for name in (*bundle.graph_files, REFERENCE)]


def validated(
    bundle: Bundle,
    verdict: Verdict,
    *,
    machine: Mapping[str, Any],
    max_error: float | None = None,
    network: Mapping[str, Sequence[Boundary]] | None = None,
    predictions: Predictions | None = None,
) -> dict[str, Any]:
    """Return the entry of the manifest that keeps a verdict of ``validate``.

    Args:
        bundle: The bundle; what an earlier call measured along the network is kept if this one did not.
        verdict: The verdict.
        machine: What ran it.
        max_error: The budget that was asked for.
        network: What each graph loses at the outputs of modules, by the label of its stage.
        predictions: What was found on a data set; what an earlier call found is kept if this one compared none.
    """
    earlier = bundle.manifest.get(VALIDATED, {}).get("network", {})
    compared = bundle.manifest.get(VALIDATED, {}).get(PREDICTIONS)
    if predictions is not None:
        compared = predictions.to_json(most=KEPT_CHANGES)
    lines = {label: [boundary.to_text() for boundary in found] for label, found in (network or {}).items()}
    entry = {"verdict": verdict.to_json(), "machine": dict(machine), "max_error": max_error}
    kept = {} if compared is None else {PREDICTIONS: compared}
    return {VALIDATED: {**entry, "network": lines or earlier, **kept}}


def made_by() -> dict[str, str]:
    """Return the entry of the manifest for the command line that runs; none if Python called without one."""
    line = _command_line()
    return {} if line is None else {"command": str(line)}


def _command_line() -> CommandLine | None:
    context = click.get_current_context(silent=True)
    line = None if context is None else context.find_root().obj
    return line if isinstance(line, CommandLine) else None


def why_no_page() -> str:
    """Return the reason if no page can be written here, with what to do about it."""
    return "" if find_spec("jinja2") is not None else "it needs jinja2, which is not installed; pip install jinja2"


def _page(bundle: Bundle, shown: Path) -> str:
    from ..report.page import page

    if why := why_no_page():
        raise MissingRequirement(f"{REPORT}: {why}")
    line = _command_line()
    return page([bundle], shown=[shown if line is None else line.shown(shown)])


def _page_or_note(bundle: Bundle, shown: Path, note: Note) -> str | None:
    """Return the page; None, and a note, if there is none. The work done before is worth more than the page."""
    try:
        return _page(bundle, shown)
    except Attn2trtError as error:
        note(Remark(f"{REPORT} was not written: {error}"))
    except Exception as error:
        note(
            Remark(
                f"{REPORT} was not written: {type(error).__name__}: {error}; attn2trt report {shown} --debug says where"
            )
        )
    return None


def _put(bundle: Bundle, text: str, entries: Mapping[str, Any]) -> Bundle:
    """Put the page in its place. While it is replaced it is not listed, so that the bundle is whole at any moment."""
    without = extend(bundle, {}, entries, without=[REPORT]) if REPORT in bundle.manifest["files"] or entries else bundle
    partial = bundle.path / f"{REPORT}.partial-{os.getpid()}"
    try:
        partial.write_text(text, encoding="utf-8", errors="replace")
        partial.replace(bundle.path / REPORT)
    finally:
        partial.unlink(missing_ok=True)
    return extend(without, {REPORT: ROLE}, {})


def _document(bundle: Bundle, file: Path) -> tuple[str, Mapping[str, Any]]:
    """Return the entry of the manifest for a document, and the document."""
    expected = "expected what attn2trt cost or attn2trt benchmark writes with -o; give such a file"
    require_readable(file, "what attn2trt cost or attn2trt benchmark writes with -o", option="--add")
    if file.stat().st_size > LARGEST_BYTES:
        raise InputError(f"received --add {file}, which is too large; {expected}")
    try:
        document = parsed(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"received --add {file}, which is no JSON ({error}); {expected}") from error
    command = document.get("command") if isinstance(document, dict) else None
    if not isinstance(command, str) or command not in DOCUMENTS:
        raise InputError(f"received --add {file}, a document of {one_line(command or 'no command')}; {expected}")
    if document.get("target") != bundle.name:
        raise InputError(
            f"received --add {file}, which is about {document.get('target')}; expected {bundle.name}; run "
            f"{_again(bundle, document, file)}"
        )
    if document.get("reference") not in (None, "", bundle.reference_hash):
        raise InputError(
            f"received --add {file}, which was measured on another bundle of {bundle.name}, of other weights or cases; "
            f"run {_again(bundle, document, file)}"
        )
    if shape := _other_shape(bundle, document):
        raise InputError(
            f"received --add {file}, which was measured with {shape}; expected inputs of the bundle, "
            f"{', '.join(map(str, bundle.inputs))}; run {_again(bundle, document, file)}"
        )
    return DOCUMENTS[command], document


def _again(bundle: Bundle, document: Mapping[str, Any], file: Path) -> str:
    """Return the command line that measures what a document is about on this bundle. ``cost`` takes one for a plan."""
    command, runtime = str(document["command"]), document.get("runtime")
    place, to = quoted(bundle.path), f"-o {quoted(file)}"
    if DOCUMENTS[command] == BENCHMARK:
        return f"{command} {place} {to}"
    if runtime in FLAVOURS:
        return f"{command} {place} --runtime {runtime} {to}"
    sizes = optima(bundle.axes)
    shapes = ",".join(f"{spec.name}={'x'.join(map(str, spec.resolve(sizes)))}" for spec in bundle.inputs)
    return f"{command} {shlex.quote(bundle.name)} --shape {shlex.quote(shapes)} {to}"


def _other_shape(bundle: Bundle, document: Mapping[str, Any]) -> str:
    """Return the inputs that a document was measured with if they are none of the bundle's; "" if they may be.

    A document about a TARGET names no bundle: one of the same name may have been built for other sizes.
    """
    specs = {spec.name: spec for spec in bundle.inputs}
    batches = document.get("batches")
    timed = batches if isinstance(batches, list) else [document]
    for inputs in (entry.get("inputs") for entry in timed if isinstance(entry, Mapping)):
        if not isinstance(inputs, Mapping) or not all(isinstance(shape, list) for shape in inputs.values()):
            continue  # the page says what it cannot read
        right = inputs.keys() == specs.keys() and all(
            _holds(bundle, specs[name].shape, shape) for name, shape in inputs.items()
        )
        if not right:
            return ", ".join(f"{name}={'x'.join(map(str, shape))}" for name, shape in inputs.items())
    return ""


def _holds(bundle: Bundle, dims: Sequence[Dim], sizes: Sequence[Any]) -> bool:
    """Tell whether these sizes are inside of a shape's ranges; what is tied to other axes may be any."""
    return len(dims) == len(sizes) and all(
        size == dim if isinstance(dim, int) else dim not in bundle.axes or size in bundle.axes[dim].sizes
        for dim, size in zip(dims, sizes, strict=True)
    )
