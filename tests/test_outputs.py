"""The commands of the tutorial and of the how-to pages run as the pages say, and their outputs are theirs."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import pytest
from scripts import load_script

from attn2trt.validate.verdict import FAILED, NOT_CHECKED, PASSED

ROOT = Path(__file__).resolve().parents[1]
TUTORIAL = ROOT / "docs/tutorial.md"
PAGES = [TUTORIAL, ROOT / "docs/ci.md", *sorted((ROOT / "docs/howto").glob("*.md"))]
Rows = list[tuple[str, str]]  # (stage, result)
SMALL = """# Page

```python
# net.py
print("from the file")
```

```sh
python net.py
```

<!-- output, first 1 lines -->
old
<!-- end -->

```sh
echo two; echo lines; exit 3
```

<!-- output, first 1 lines, exit code 3 -->
<!-- end -->

<!-- not run: it needs a GPU -->
```sh
false
```

```sh
true
```
"""


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    return load_script("generate_outputs", "docs")


def test_a_page_gets_the_outputs_of_its_commands(generator: ModuleType, tmp_path: Path) -> None:
    generator.write_files(SMALL, tmp_path)
    written = generator.with_outputs(SMALL, list(generator.run(generator.steps(SMALL), tmp_path)))
    assert "<!-- output, first 1 lines -->\n```text\nfrom the file\n```\n<!-- end -->" in written
    assert "exit code 3 -->\n```text\ntwo\n…\n```\n<!-- end -->" in written
    assert generator.with_outputs(written, list(generator.run(generator.steps(written), tmp_path))) == written


def test_another_exit_code_is_an_error(generator: ModuleType, tmp_path: Path) -> None:
    steps = generator.steps(SMALL.replace("exit 3", "exit 1"))
    with pytest.raises(SystemExit, match="exit code 1, expected 3"):
        list(generator.run(steps[1:], tmp_path))


def test_a_block_that_cannot_run_here_is_left_alone(generator: ModuleType) -> None:
    assert [step.commands for step in generator.steps(SMALL)] == [
        "python net.py\n",
        "echo two; echo lines; exit 3\n",
        "true\n",
    ]
    assert "false" in generator.with_outputs(SMALL, ["", "", ""])


PREPARED = """<!-- run after: test -f net.py && word=$(echo "$REPOSITORY") -->
```sh
ls "$word/docs/generate_outputs.py" > /dev/null && echo ready
```

<!-- output -->
old
<!-- end -->
"""


def test_a_block_is_run_after_what_prepares_it(generator: ModuleType, tmp_path: Path) -> None:
    unprepared = list(generator.run(generator.steps(PREPARED), tmp_path))
    assert unprepared == [None]
    assert generator.with_outputs(PREPARED, unprepared) == PREPARED
    (tmp_path / "net.py").touch()
    written = generator.with_outputs(PREPARED, list(generator.run(generator.steps(PREPARED), tmp_path)))
    assert "<!-- output -->\n```text\nready\n```\n<!-- end -->" in written


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_output_on_a_page_comes_from_its_commands(page: Path) -> None:
    typed = re.sub(r"^<!-- output.*?^<!-- end -->$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    kinds = re.findall(r"^```(\w*)\n.*?^```$", typed, flags=re.MULTILINE | re.DOTALL)
    assert set(kinds) <= {"sh", "python", "toml", "yaml"}


def test_a_page_whose_package_is_not_there_is_known(generator: ModuleType) -> None:
    assert generator.lacking("<!-- needs re -->\n<!-- needs no_such_package -->") == "no_such_package"
    assert generator.lacking(SMALL) == ""


def test_every_page_with_outputs_is_found(generator: ModuleType) -> None:
    assert set(generator.pages()) == set(PAGES)


def results(output: str) -> Rows:
    """Return (stage, result) of a verdict's tables, without those that depend on the machine."""
    rows = re.findall(r"^│ (\S.*?) +│ (\S.*?) +│", output, re.MULTILINE)
    machine = ("tensorrt", "onnxruntime cuda", "onnxruntime cpu, tuned")
    return [row for row in rows if row[1] in (PASSED, FAILED, NOT_CHECKED) and not row[0].startswith(machine)]


def test_the_tutorial_shows_a_failure_and_its_repair(generator: ModuleType) -> None:
    shown = [results(step.shown or "") for step in generator.steps(TUTORIAL.read_text(encoding="utf-8"))]
    assert sum(("fp16", "failed") in rows for rows in shown) == 1
    broken = next(number for number, rows in enumerate(shown) if ("fp16", "failed") in rows)
    assert ("torch → onnx", "passed") in shown[broken]
    assert ("fp16", "passed") in shown[broken + 1]


def differing(generator: ModuleType, page: str, folder: Path) -> dict[str, tuple[Rows, Rows]]:
    """Return the results that are there and those that the page shows, by the commands of which they differ."""
    found = {}
    steps = generator.steps(page)
    for step, output in zip(steps, generator.run(steps, folder), strict=True):
        if output is None or step.shown is None:
            continue
        there, shown = results(step.shorten(output)), results(step.shown)
        if there != shown:
            found[step.commands] = (there, shown)
    return found


ROW = "│ fp16 │ {} │ 9 cases │"


def test_only_results_that_a_page_shows_are_compared(generator: ModuleType, tmp_path: Path) -> None:
    commands = f"```sh\necho '{ROW.format('passed')}'\n```\n"
    shown = "\n<!-- output -->\n```text\n{}\n```\n<!-- end -->\n"
    assert differing(generator, commands, tmp_path) == {}
    assert differing(generator, commands + shown.format(ROW.format("passed")), tmp_path) == {}
    for other, rows in ((ROW.format("failed"), [("fp16", "failed")]), ("nothing", [])):
        (found,) = differing(generator, commands + shown.format(other), tmp_path).values()
        assert found == ([("fp16", "passed")], rows)
    (found,) = differing(generator, commands + "\n<!-- output -->\n<!-- end -->\n", tmp_path).values()
    assert found == ([("fp16", "passed")], [])


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_commands_give_what_the_page_shows(generator: ModuleType, page: Path, tmp_path: Path) -> None:
    text = page.read_text(encoding="utf-8")
    if package := generator.lacking(text):
        pytest.skip(f"{package} is not installed")
    generator.write_files(text, tmp_path)
    assert differing(generator, text, tmp_path) == {}
