"""The stored results of a benchmark: their heading, the rows of an earlier run, and their page.

Rows are measured side by side, and stored one by one: an interrupted run then keeps what it measured.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from datetime import date
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

from page_text import versions_text

Row = dict[str, Any]
# the day, the versions and the code of which a run's rows are
ORIGIN = ("date", "versions", "sources")


def row_options(about: str | None, metavar: str, *, kept: str, stores_named: bool = False) -> argparse.ArgumentParser:
    """Return the options of a benchmark that measures named rows side by side.

    ``kept`` says what --resume keeps; ``stores_named``: with it, named rows are stored beside those.
    """
    named = "only these; printed, and with --resume stored" if stores_named else "only these, printed and not written"
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar=metavar, help=named)
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes (default: the number of cores)")
    parser.add_argument("--resume", action="store_true", help=f"keep {kept}")
    return parser


def target_options(about: str | None, targets: Sequence[str]) -> argparse.Namespace:
    """Return the named targets and whether their rows are kept, for a benchmark that prints the rows of named ones.

    Ends the program if rows are to be kept of what is none of the ``targets``.
    """
    options = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("names", nargs="*", metavar="TARGET", help="these alone, printed")
    options.add_argument("--keep", action="store_true", help="replace their rows in the results and the page, too")
    asked = options.parse_args()
    if asked.keep and not {*asked.names} <= {*targets}:
        options.error(f"--keep replaces rows of {', '.join(targets)}; received {' '.join(asked.names)}")
    return asked


def by_target(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Return the rows of each target."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row["target"], []).append(row)
    return found


def heading(*packages: str) -> dict[str, Any]:
    """Return the date, the machine and the versions of the packages that the results depend on."""
    return {
        "date": date.today().isoformat(),
        "machine": f"{platform.machine()}, {platform.system()}, {os.cpu_count()} cores, CPU only",
        "versions": {name: version(name) for name in packages},
    }


def rows_before(
    results: Path, document: Mapping[str, Any], keeps: Callable[[Row], bool] = lambda _: False
) -> list[Row]:
    """Return the stored rows of the same code and versions, and of those of others the rows to be kept.

    A row of other code or versions notes its own, with its day, as ``measured``.
    """
    before = json.loads(results.read_text()) if results.exists() else {}
    origin = {key: before[key] for key in ORIGIN if key in before}
    is_same = all(origin.get(key) == document[key] for key in ("versions", "sources"))
    found = {} if is_same else {"measured": origin}
    return [found | row for row in before.get("rows", ()) if (is_same and "measured" not in row) or keeps(row)]


def of_earlier_runs(rows: Iterable[Row]) -> list[str]:
    """Return the note of a page some of whose rows were kept from earlier runs: how many, of when and what."""
    runs = Counter((run["date"], versions_text(run)) for row in rows if (run := row.get("measured")))
    notes = [
        f"{number} {'row is' if number == 1 else 'rows are'} of an earlier run, on {date} ({versions})."
        for (date, versions), number in sorted(runs.items())
    ]
    return ["", *notes] if notes else []


def side_by_side(measure: Callable[..., Any], calls: Iterable[Sequence[object]], jobs: int | None) -> Iterator[Any]:
    """Yield what each call returns as soon as it ends, each in a process that starts anew.

    Once the caller stops, as on Ctrl-C, no further call begins. So no more are given to the pool than it has processes:
    it hands one more to them ahead, which cannot be taken back.
    """
    if jobs != 1:  # one core for each; more threads inside a job would only wait for each other
        os.environ["OMP_NUM_THREADS"] = "1"
    left, processes = iter(calls), jobs or os.cpu_count() or 1
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        at_work = {pool.submit(measure, *call) for call in islice(left, processes)}
        while at_work:
            done, at_work = wait(at_work, return_when=FIRST_COMPLETED)
            at_work |= {pool.submit(measure, *call) for call in islice(left, len(done))}
            for job in done:
                yield job.result()


def store(document: Mapping[str, Any], results: Path, page: Path, text: str) -> None:
    """Write the results and their page. Do it after every row."""
    results.parent.mkdir(exist_ok=True)
    results.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    page.write_text(text, encoding="utf-8")
