"""Write errors.md, the errors that a new user meets, by running the real commands in an empty folder.

``python docs/generate_errors.py`` rewrites the page; it ends with an error if a command prints more than one line,
ends with another exit code than the page promises, or leaves something behind. The entry of a command that this machine
cannot run, by the packages that it has, is left as it is.
"""

from __future__ import annotations

import os
import pickle
import re
import shlex
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

PAGE = Path(__file__).with_name("errors.md")
SMALL = "--shape 2x16x8x8"
TEMPORARY = re.compile(r"(?<=\.partial-)\d+-[0-9a-f]+")  # the part of a temporary name that differs with every run
ENTRY = re.compile(r"^\$ (attn2trt .*)\n(error: .*)$", re.MULTILINE)

SWEEPS = {
    "sweep.toml": 'targets = ["se"]\n',
    "key.toml": 'target = ["se"]\n',
    "option.toml": 'targets = ["se"]\n[deploy]\nshap = "2x16x8x8"\n',
    "empty.toml": "targets = []\n",
    "twice.toml": 'targets = ["se", "se"]\n',
}
NETS = """\
import os

import torch
from torch import nn


class Gate(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Conv2d(channels, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.scale(x).sigmoid()


def gate() -> nn.Module:
    return Gate(16)


def broken() -> nn.Module:
    return Gate(width)


def number() -> int:
    return 7


def ending() -> nn.Module:
    os._exit(0)


class Branching(Gate):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.mean() > 0:
            return super().forward(x)
        return x


def branching() -> nn.Module:
    return Branching(16)


class RowByRow(Gate):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([super(RowByRow, self).forward(x[:, :, row : row + 1]) for row in range(x.shape[2])], 2)


class Root(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x * x + 1).sqrt()


def root() -> nn.Module:
    return Root()


def row_by_row() -> nn.Module:
    return RowByRow(16)


def in_training() -> nn.Module:
    return nn.Sequential(nn.Conv2d(16, 16, 1), torch.ao.quantization.FakeQuantize())
"""


TWO = """\
from torch import nn


class Small(nn.Sequential):
    pass


class Large(nn.Sequential):
    pass
"""


@dataclass(frozen=True)
class Step:
    """One command, and what its entry on the page depends on.

    Attributes:
        heading: Stands above the entry, unless it is empty.
        command: The command line.
        exit_code: The exit code that it must have.
        note: Stands above the command, unless it is empty.
        limit_blocks: The limit on the size of files that it runs under, in blocks of 1024 bytes.
        quoted: The words of another package in the message, as ``before…after``: its version decides them.
        needs: The package without which the message is another one.
        without: The package with which the message is another one.
    """

    heading: str
    command: str
    exit_code: int = 2
    note: str = ""
    limit_blocks: int | None = None
    quoted: str = ""
    needs: str = ""
    without: str = ""

    @property
    def hindrance(self) -> str:
        """The reason why this machine prints another message; "" if it does not."""
        if self.needs and find_spec(self.needs) is None:
            return f"{self.needs} is not installed"
        if self.without and find_spec(self.without) is not None:
            return f"{self.without} is installed"
        return ""

    def own_words(self, message: str) -> str:
        """Return the message without the words of another package. Raises ValueError if they are not there."""
        if not self.quoted:
            return message
        before, after = self.quoted.split("…")
        start = message.index(before) + len(before)
        return f"{message[:start]}…{message[message.index(after, start) :]}"


STEPS = (
    Step("A command, block, backbone or option that does not exist", "attn2trt depoly cbam"),
    Step("", "attn2trt deploy cbma"),
    Step("", "attn2trt deploy resnet51+cbam"),
    Step("", "attn2trt deploy eca:kernel=5"),
    Step("", "attn2trt deploy eca:k=4"),
    Step("", "attn2trt deploy resnet18+cbam@stage7"),
    Step("", "attn2trt deploy cbam --ouput here", quoted="error: …; see"),
    Step("", "attn2trt deploy resnet18 --imgsz 640", note="A name that another tool's option has:"),
    Step("A shape that the model cannot take", "attn2trt deploy cbam --shape 2x16"),
    Step("", "attn2trt deploy cbam --shape 2xCx56x56"),
    Step("", "attn2trt deploy psa --shape 2x30x8x8"),
    Step("", "attn2trt deploy py:nets:gate --shape 2x3x8x8", quoted="RuntimeError: … at nets.py"),
    Step("", "attn2trt deploy py:nets:gate"),
    Step("Ranges that contradict the shape, or themselves", f"attn2trt deploy cbam {SMALL} --dynamic batch=8:2:1"),
    Step("", f"attn2trt deploy cbam {SMALL} --dynamic height=16:32:64"),
    Step("", f"attn2trt deploy cbam {SMALL} --dynamic channels=8:16:32"),
    Step("", f"attn2trt deploy cbam {SMALL} --dynamic batch=many"),
    Step(
        "", f"attn2trt deploy cbam {SMALL} --dynamic height=4:8:30:8", note="Sizes that are no multiples of the fourth:"
    ),
    Step(
        "",
        "attn2trt deploy py:nets:gate --shape 1x16x8x8 --dynamic batch=1:1:8",
        note="A batch is traced at 2 or more:",
    ),
    Step(
        "",
        "attn2trt deploy py:nets:gate --shape 2x16x20x3 --dynamic height",
        note="A height of what looks like channels last:",
    ),
    Step("Your own module", f"attn2trt deploy netz.py {SMALL}"),
    Step("", f"attn2trt deploy two.py {SMALL}", note="A file with two modules to choose from:"),
    Step("", "attn2trt deploy py:netz:gate --shape 2x16x8x8"),
    Step("", f"attn2trt deploy py:nets:gates {SMALL}"),
    Step("", f"attn2trt deploy py:nets:broken {SMALL}"),
    Step("", f"attn2trt deploy py:nets:number {SMALL}"),
    Step("", f"attn2trt deploy py:nets:ending {SMALL}", note="Code that ends the process:"),
    Step(
        "",
        f"attn2trt deploy py:nets:branching {SMALL}",
        note="Python that asks for the value of a tensor:",
        quoted="cannot be traced: … at nets.py",
    ),
    Step(
        "",
        f"attn2trt deploy py:nets:row_by_row {SMALL} --dynamic height=4:8:16",
        note="Python that fixes a size that was to be dynamic; without `--dynamic height` the module exports:",
    ),
    Step(
        "",
        f"attn2trt deploy py:nets:in_training {SMALL}",
        note="A network of quantisation-aware training whose levels change with every run "
        "([howto/quantised_training.md](howto/quantised_training.md)):",
    ),
    Step("Checkpoints", f"attn2trt deploy py:nets:gate {SMALL} --checkpoint missing.safetensors"),
    Step(
        "",
        f"attn2trt deploy py:nets:gate {SMALL} --checkpoint ''",
        note="An empty text, which a shell makes of a variable without a value:",
    ),
    Step(
        "",
        f"attn2trt deploy py:nets:gate {SMALL} --checkpoint text.safetensors",
        quoted="is not safetensors (…); expected",
    ),
    Step("", f"attn2trt deploy py:nets:gate {SMALL} --checkpoint runs-code.pt", note="A pickle that would run code:"),
    Step("", f"attn2trt deploy py:nets:gate {SMALL} --checkpoint other.safetensors"),
    Step("Folders", f"attn2trt deploy se {SMALL} -o holiday", note="A folder that holds something else:"),
    Step("", f"attn2trt deploy se {SMALL} -o project", note="A `bundle.json` that is somebody else's:"),
    Step("", f"attn2trt deploy se {SMALL} -o latest", note="A link, whatever it leads to:"),
    Step("", "attn2trt validate holiday"),
    Step("", "attn2trt verify nowhere"),
    Step("", f"attn2trt deploy se {SMALL} -o /proc/bundle", exit_code=4),
    Step(
        "",
        f"attn2trt export se {SMALL} -o small/se",
        exit_code=4,
        limit_blocks=2,
        note="A write that fails half way (a limit on file sizes stands for the full disk):",
    ),
    Step("Precisions", f"attn2trt deploy se {SMALL} --precision fp32,fp4"),
    Step("", f"attn2trt deploy se {SMALL} --precision auto,fp16"),
    Step("", f"attn2trt export se {SMALL} --precision auto"),
    Step("", f"attn2trt deploy se {SMALL} --keep-fp32 fc.0"),
    Step("", f"attn2trt deploy se {SMALL} --precision fp16 --keep-fp32 fc.9"),
    Step("", f"attn2trt deploy se {SMALL} --io fp16"),
    Step("", f"attn2trt deploy se {SMALL} --precision bf16 --io bf16"),
    Step("", f"attn2trt deploy cbam {SMALL} --precision fp16 --calibration entropy"),
    Step("", f"attn2trt deploy cbam {SMALL} --precision int8 --calibration best"),
    Step("", f"attn2trt deploy cbam {SMALL} --precision int8 --calibrate nets.py"),
    Step("ONNX files and plans that something else wrote", "attn2trt deploy missing.onnx"),
    Step("", "attn2trt deploy text.onnx", quoted="beginning of one (…); expected"),
    Step("", "attn2trt deploy gate/model.onnx --opset 20 -o new"),
    Step("", "attn2trt deploy gate/model.onnx --precision auto -o new"),
    Step("", "attn2trt deploy gate/model.onnx --dynamic height=8:8:16 -o new"),
    Step("", "attn2trt show onnx:gate/model.onnx"),
    Step("", "attn2trt compile gate/model.onnx"),
    Step("", "attn2trt check gate/model.onnx --plan text.onnx"),
    Step("", "attn2trt check gate/model.onnx --plan text.onnx --trust"),
    Step(
        "",
        "attn2trt check gate/model.onnx --plan cut.plan --trust",
        note="The beginning of a plan of TensorRT for RTX:",
    ),
    Step(
        "",
        "attn2trt check gate/model.onnx --plan model.plan --trust",
        exit_code=3,
        note="A plan of TensorRT, on a machine without a GPU:",
        without="tensorrt",
    ),
    Step("Benchmarks", "attn2trt benchmark se --runtime ort-gpu"),
    Step("", "attn2trt benchmark se --batch 0"),
    Step("", "attn2trt benchmark se -o results/latency.json"),
    Step("", "attn2trt benchmark se -o nets.py", note="A file that no command of attn2trt wrote:"),
    Step("What a block costs", "attn2trt cost resnet18"),
    Step("", "attn2trt cost se"),
    Step("", "attn2trt cost bundles/resnet18+se"),
    Step("", "attn2trt cost resnet18+se --seconds 0", quoted="error: …; see"),
    Step("", "attn2trt cost resnet18+se --plot cost.jpg"),
    Step("", "attn2trt cost resnet18+se --precision fp16"),
    Step("", "attn2trt cost resnet18+se --runtime tensorrt"),
    Step("", "attn2trt cost gate --runtime tensorrt --precision fp16"),
    Step("Plans", "attn2trt compile holiday"),
    Step("", "attn2trt compile gate --profile batch=1:2:64", note="Ranges that the bundle was not checked for:"),
    Step("", "attn2trt compile gate --profile batch=9:1:1"),
    Step("Sweeps", "attn2trt sweep sweep.toml -o holiday"),
    Step("", "attn2trt sweep key.toml"),
    Step("", "attn2trt sweep option.toml"),
    Step("", "attn2trt sweep empty.toml"),
    Step("", "attn2trt sweep twice.toml"),
    Step("", "attn2trt sweep sweep.toml --ray 127.0.0.1:1", exit_code=3, note="Without Ray:", without="ray"),
    Step("Tuning", "attn2trt tune holiday"),
    Step("", "attn2trt tune gate --at batch=64"),
    Step("Serving", "attn2trt triton gate -o holiday", note="A folder that holds something else:"),
    Step("", "attn2trt triton gate -o models --backend tensorrt"),
    Step("", "attn2trt triton gate -o models --precision fp16"),
    Step("", "attn2trt triton gate -o models --name ../gate"),
    Step("", "attn2trt validate gate --server localhost:8001"),
    Step("", "attn2trt validate gate --model gate"),
    Step(
        "",
        "attn2trt validate gate --server grpc://localhost:1",
        exit_code=3,
        note="Nobody listens there:",
        quoted="localhost:1 (…); start",
        needs="tritonclient",
    ),
    Step("", "attn2trt programs gate -o holiday"),
    Step("", "attn2trt plugin -o holiday"),
    Step("A data set", "attn2trt validate gate --dataset holiday"),
    Step("", "attn2trt validate gate --dataset photographs"),
    Step("", "attn2trt validate gate --max-flips 0.5%"),
    Step("", "attn2trt validate gate --dataset holiday --preprocessing imagenet"),
    Step("What this machine lacks", f"attn2trt deploy se {SMALL} --require tensorrt", exit_code=3, without="tensorrt"),
    Step("", "attn2trt compile gate", exit_code=3, without="tensorrt"),
)


class RunsCode:
    """Unpickling this would run a shell command."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch ran",)


def prepare(folder: Path) -> None:
    """Write the files that the steps refer to."""
    import numpy as np
    from safetensors.numpy import save_file

    (folder / "nets.py").write_text(NETS)
    (folder / "two.py").write_text(TWO)
    (folder / "text.safetensors").write_text("not weights\n")
    (folder / "runs-code.pt").write_bytes(pickle.dumps(RunsCode()))
    (folder / "text.onnx").write_text("not a graph\n")
    for name, tag, version in (("model.plan", b"ftrt", (8, 6, 1, 6)), ("cut.plan", b"vtrt", (1, 7, 1, 116))):
        (folder / name).write_bytes(tag + struct.pack("<IIIQ4B", 0, 2, 0, 141_100, *version))
    weights = {"scale.weight": np.zeros((8, 16, 1, 1), np.float32), "shift.bias": np.zeros(16, np.float32)}
    save_file(weights, folder / "other.safetensors")
    command = f"export py:nets:gate {SMALL} --dynamic batch=1:2:8 -o gate"
    ran = [sys.executable, "-m", "attn2trt", *shlex.split(command)]
    subprocess.run(ran, cwd=folder, capture_output=True, check=False)  # 3: an export alone checks nothing
    for name, text in SWEEPS.items():
        (folder / name).write_text(text)
    (folder / "holiday").mkdir()
    (folder / "holiday" / "photo.txt").write_text("sea\n")
    (folder / "project").mkdir()
    (folder / "project" / "bundle.json").write_text('{"name": "my app"}\n')
    (folder / "latest").symlink_to("gate")


@contextmanager
def prepared() -> Iterator[Path]:
    """Yield a folder in which the steps run, and remove it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        prepare(folder)
        yield folder


def run(step: Step, folder: Path) -> str:
    """Return the error line of one step. SystemExit is raised for anything else that it prints, gives or leaves."""
    arguments = shlex.split(step.command)[1:]
    line = shlex.join([sys.executable, "-m", "attn2trt", *arguments])
    if step.limit_blocks is not None:
        # A limit on the size of any file stands for the full disk: the write fails half way in the same manner.
        line = f"ulimit -f {step.limit_blocks}; {line}"
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    before = listing(folder)
    ran = subprocess.run(["bash", "-c", line], cwd=folder, env=environment, capture_output=True, text=True, check=False)
    lines = ran.stderr.strip().splitlines()
    if ran.returncode != step.exit_code or len(lines) != 1 or ran.stdout:
        raise SystemExit(
            f"{step.command}\nexit code {ran.returncode}, expected {step.exit_code}\n{ran.stderr}{ran.stdout}"
        )
    if listing(folder) != before:
        raise SystemExit(f"{step.command}\nleft {set(listing(folder)) ^ set(before)}")
    return essence(lines[0], folder)


def essence(line: str, folder: Path) -> str:
    """Return a message without the folder that it was printed in, and without what differs with every run."""
    return TEMPORARY.sub("…", line.replace(str(folder), "…"))


def listing(folder: Path) -> list[str]:
    """Return every file below the folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def shown(text: str) -> dict[str, str]:
    """Return the messages of a page by their commands."""
    return dict(ENTRY.findall(text))


def page(messages: Mapping[str, str]) -> str:
    """Return the whole page, with the messages by their commands."""
    parts = [
        "# The errors you may meet\n",
        "Search this page for the first words of yours. Every error is one line on stderr: what was received, what was",
        "expected, what to do next. The exit code is 2, bad input, unless `echo $?` shows another. No file is written.",
        f"`--debug` adds the traceback. `python docs/{Path(__file__).name}` runs each command below in a folder that",
        "holds a small `nets.py`, a bundle of it, checkpoints that do not fit, and photos. The words of PyTorch or",
        "another package are those of its version then.\n",
    ]
    for step in STEPS:
        parts += [f"## {step.heading}\n"] if step.heading else []
        parts += [f"{step.note}\n"] if step.note else []
        entry = f"$ {step.command}\n{messages[step.command]}\n"
        entry += f"$ echo $?\n{step.exit_code}\n" if step.exit_code != Step.exit_code else ""
        parts.append(f"```console\n{entry}```\n")
    return "\n".join(parts)


def write() -> None:
    """Write the page; an entry that this machine cannot print stays as it is."""
    messages = shown(PAGE.read_text(encoding="utf-8"))
    with prepared() as folder:
        for step in STEPS:
            if reason := step.hindrance:
                print(f"left as it is, since {reason}: {step.command}")
            else:
                messages[step.command] = run(step, folder)
    PAGE.write_text(page(messages), encoding="utf-8")
    print(PAGE)


if __name__ == "__main__":
    write()
