"""What is printed as a command can be pasted into a shell."""

from __future__ import annotations

from pathlib import Path

import pytest

from attn2trt.core.bundle import open_bundle
from attn2trt.core.command_line import quoted
from attn2trt.errors import InputError


@pytest.mark.parametrize(
    ("path", "word"),
    [
        ("bundles/se", "bundles/se"),
        ("my folder", "'my folder'"),
        ("-out", "./-out"),
        ("--a b", "'./--a b'"),
        ("~/x", "'./~/x'"),
    ],
)
def test_a_path_is_one_argument_and_no_option(path: str, word: str) -> None:
    assert quoted(Path(path)) == word


def test_the_command_of_a_message_names_the_file_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("-my net.onnx").touch()
    with pytest.raises(InputError, match=r"by `attn2trt deploy './-my net\.onnx'`"):
        open_bundle("-my net.onnx")
