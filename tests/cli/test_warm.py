"""Modules that a child has loaded are there for the next; a user's own never are."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

CODE = """
import sys
from pathlib import Path
from attn2trt.cli.warm import report_modules

folder = Path(sys.argv[1])

sys.path.insert(0, str(folder))
(folder / "this_is_mine.py").touch()
before = set(sys.modules)
import attn2trt.report.sweep_table, this_is_mine
report_modules(before, folder)
print((folder / "modules").read_text())
"""


def test_a_child_reports_what_it_loaded_and_not_what_the_user_wrote(tmp_path: Path) -> None:
    ran = subprocess.run([sys.executable, "-c", CODE, str(tmp_path)], capture_output=True, text=True, check=True)
    names = json.loads(ran.stdout)
    assert "attn2trt.report.sweep_table" in names
    assert "this_is_mine" not in names


def test_only_known_packages_are_imported_and_the_report_is_removed(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("raise SystemExit(9)")
    names = ["mine", "attn2trt.no_such", "attn2trt.report.sweep_table", "torch; import mine", 3, "onnx/../mine"]
    (tmp_path / "modules").write_text(json.dumps(names))
    code = (
        "import sys; from pathlib import Path; from attn2trt.cli.warm import import_modules, take_modules\n"
        "sys.path.insert(0, sys.argv[1]); import_modules(take_modules(Path(sys.argv[1])))\n"
        "assert not take_modules(Path(sys.argv[1]))\n"
        "print('attn2trt.report.sweep_table' in sys.modules, 'mine' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["True", "False"]
    assert not (tmp_path / "modules").exists()
