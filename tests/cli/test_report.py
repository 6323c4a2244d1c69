"""``attn2trt report``: into the bundle, or into a file that is free or ours."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import page_sample
import pytest
from cli_run import refused
from cli_run import run as run_command

run = functools.partial(run_command, "report")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return page_sample.write(tmp_path / "mine").path


def test_the_page_of_one_bundle_goes_into_it(place: Path) -> None:
    done = run(place)
    assert (done.exit_code, done.output) == (0, f"{place / 'report.html'}\n")
    assert (place / "report.html").is_file()


def test_json_names_the_bundles_and_the_page(place: Path, tmp_path: Path) -> None:
    done = run(place, "--json")
    assert json.loads(done.stdout) == {"bundles": [str(place)], "page": str(place / "report.html")}
    done = run(place, place, "-o", tmp_path / "page.html", "--json")
    assert json.loads(done.stdout)["page"] == str(tmp_path / "page.html")


def test_the_page_of_several_goes_to_a_file(place: Path, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    assert run(place, place, "-o", out).exit_code == 0
    assert run(place, "-o", out).exit_code == 0  # one of ours is replaced
    assert "side by side" not in out.read_text()
    assert not (place / "report.html").exists()
    out.write_text("mine")
    done = run(place, "-o", out)
    assert done.exit_code == 2
    assert "a file that this command did not write" in done.output
    assert run(place, "-o", out, "--force").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((), 2, "Missing argument"),
        (("PLACE", "PLACE"), 2, "received 2 bundles; expected -o with them; give one, as -o page.html"),
        (("PLACE", "PLACE", "-o", "x.html", "--add", __file__), 2, "received --add with 2 bundles"),
        (("PLACE", "--add", "no.json"), 2, "received --add no.json, which is not there; expected what attn2trt cost"),
        (("nothing",), 2, "is not a bundle"),
        (("PLACE", "-o", "no/such/page.html"), 2, "in a folder that does not exist"),
    ],
)
def test_bad_input_is_one_line(place: Path, arguments: tuple[str, ...], code: int, said: str) -> None:
    assert said in refused(run(*(place if part == "PLACE" else part for part in arguments)), code)
