"""Deploy modules that lie, end the process, crash, hang, or do not compute a function of their inputs."""

from __future__ import annotations

import json
from dataclasses import dataclass

from attacks.record import Row, Scene

HEAD = """import ctypes, os, random, signal, subprocess, sys, threading, time
import numpy, torch
from torch import nn
class Net(nn.Module):
    calls = 0
    def __init__(self):
        super().__init__()
        self.c = nn.Conv2d(3, 4, 1)
        self.register_buffer("seen", torch.zeros(1))
        self.memory = None
    def forward(self, x):
        Net.calls += 1
        y = self.c(x)
"""


@dataclass(frozen=True)
class Module:
    """A module by the last lines of its forward, and the exit codes that are right for it."""

    forward: str
    codes: tuple[int, ...]
    after: str = "make = Net"


REFUSED, EITHER, FAILED, INTERRUPTED = (2,), (1, 2), (1,), (1, 2, 130)
MODULES = {
    # what is not a function of the inputs must not pass
    "memory": Module(
        "self.memory = y if self.memory is None else self.memory.detach() * 0.5 + y; return self.memory", EITHER
    ),
    "counter": Module("return y * (1 + Net.calls % 2)", EITHER),
    "buffer": Module("self.seen += 1; return y * self.seen", EITHER),
    "python random": Module("return y if random.random() < 0.5 else y * 2", EITHER),
    "numpy random": Module("return y * float(numpy.random.rand())", EITHER),
    "torch random": Module("return y + torch.rand(1)", EITHER),
    "clock": Module("return y * (1 + time.time() % 1)", EITHER),
    "process clock": Module("return y * (1 + time.perf_counter_ns() % 7)", EITHER),
    "entropy": Module("return y * (1 + os.urandom(1)[0])", EITHER),
    "dropout": Module("return nn.functional.dropout(y, 0.5, True)", EITHER),
    "batch statistics": Module("return nn.functional.batch_norm(y, None, None, training=True)", (0, 1, 2)),
    "global list": Module("LIST.append(1); return y * len(LIST)", EITHER, "LIST = []\nmake = Net"),
    "file": Module(
        "open('n', 'a').write('x'); return y * os.path.getsize('n')",
        EITHER,
    ),
    "object id": Module("return y * (1 + id(y) % 4096)", EITHER),
    # what ends the process
    **{
        f"{where} {how}": Module(
            f"if Net.calls > 3: {how}\n        return y" if where == "forward" else "return y",
            INTERRUPTED if "Keyboard" in how else FAILED if where == "forward" else REFUSED,
            f"def make():\n    {how}"
            if where == "factory"
            else f"{how}\nmake = Net"
            if where == "import"
            else "make = Net",
        )
        for where in ("import", "factory", "forward")
        for how in (
            "os._exit(0)",
            "os._exit(5)",
            "sys.exit(0)",
            "os.execv('/bin/true', ['true'])",
            "raise KeyboardInterrupt",
        )
        if (where, how) != ("import", "raise KeyboardInterrupt")
    },
    "forward base exception": Module(
        "if Net.calls > 2: raise type('Own', (BaseException,), {})('mine')\n        return y", FAILED
    ),
    "abort": Module("os.abort()", FAILED),
    "segmentation fault": Module("ctypes.string_at(0)", FAILED),
    "kills itself": Module("os.kill(os.getpid(), signal.SIGKILL)", FAILED),
    "hangs": Module("time.sleep(1000)", FAILED),
    "spins": Module("\n        while True: pass", FAILED),
    "allocates": Module("return torch.zeros(1 << 50)", EITHER),
    "recursion": Module("return self(x)", EITHER),
    # what meddles with the command
    "raw stdout": Module("os.write(1, b'raw'); os.system('echo raw'); print('raw'); return y", (0, 1, 2)),
    "closes descriptors": Module("[os.close(n) for n in (1, 2)]; return y", (0, 1, 2)),
    "closes all": Module("os.closerange(3, 200); return y", (0, 1, 2)),
    "changes folder": Module("os.chdir('/'); return y", (0,)),
    "forks a sleeper": Module("subprocess.Popen(['sleep', '300']) if Net.calls == 1 else None; return y", (0, 1, 2)),
    "forks": Module("os.fork() if Net.calls == 1 else None; return y", (0, 1, 2)),
    "thread": Module(
        "threading.Thread(target=time.sleep, args=(300,)).start() if Net.calls == 1 else None; return y", (0, 1, 2)
    ),
    "ignores signals": Module("signal.signal(signal.SIGTERM, signal.SIG_IGN); return y", (0, 1, 2)),
    "escape sequence": Module("raise ValueError('\\x1b[2J\\x1b]0;x\\x07')", EITHER),
    "many lines": Module("raise ValueError('a\\nb\\nerror: c\\n' * 50)", EITHER),
    "default type": Module("torch.set_default_dtype(torch.float64); return y", (0, 1, 2)),
    "global gradient": Module("torch.set_grad_enabled(True); return y", (0, 1, 2)),
    "repr raises": Module(
        "return y", REFUSED, "class R(Net):\n    def __repr__(self): raise ValueError('no')\nmake = R"
    ),
    "state raises": Module(
        "return y", REFUSED, "class R(Net):\n    def state_dict(self, *a, **k): raise ValueError('no')\nmake = R"
    ),
    # odd outputs
    "input": Module("return x", (0, 2)),
    "input twice": Module("return x, x", (0, 2)),
    "nothing": Module("return None", REFUSED),
    "empty": Module("return ()", REFUSED),
    "text": Module("return 'y'", REFUSED),
    "complex": Module("return torch.complex(y, y)", REFUSED),
    "not finite": Module("return y / 0", (1, 2)),
    "branch on values": Module("return y if y.sum() > 0 else y * 2", EITHER),
    "branch on size": Module("return y if x.shape[0] - 2 else y * 2", EITHER),
    "not a module": Module("return y", REFUSED, "make = 5"),
    "factory of none": Module("return y", REFUSED, "make = lambda: None"),
    "syntax": Module("return y", REFUSED, "def ("),
}


def hostile(scene: Scene, name: str) -> None:
    """Deploy the module: the right exit code, one document on stdout, and a bundle exactly if there is a verdict."""
    module = MODULES[name]
    (scene.folder / "net.py").write_text(f"{HEAD}        {module.forward}\n{module.after}\n")
    scene.note(f"benchmarks/attacks/modules.py: MODULES[{name!r}]")
    limit = "8" if name in ("hangs", "spins") else "100"
    words = ("deploy", "py:net:make", "--shape", "2x3x8x8", "--for", "none", "-o", "out/mine", "--json")
    axes = ("--dynamic", "batch=1:2:8") if name == "branch on size" else ()  # at a fixed size it is no branch
    ran = scene.run(*words, *axes, "--time-limit", limit)
    scene.need(ran.code in module.codes, f"exit code {ran.code}, expected {module.codes}: {ran.err.strip()[-300:]}")
    scene.need("Traceback (most recent" not in ran.err, f"a traceback: {ran.err.strip()[-300:]}")
    scene.need("\x1b" not in ran.err + ran.out, "an escape sequence was printed")
    if ran.code == 2:
        errors = [line for line in ran.err.splitlines() if line.startswith("error:")]
        scene.need(len(errors) == 1, f"{len(errors)} error lines: {ran.err.strip()[-300:]}")
    if ran.out:
        try:
            passed = json.loads(ran.out)["passed"]
        except ValueError:
            scene.need(False, f"stdout is not one JSON document: {ran.out[:80]!r}")
        else:
            scene.need(passed == (ran.code == 0), f"passed is {passed} with exit code {ran.code}")
    if ran.code == 0:
        scene.need(ran.out, "exit code 0 and no document")
        scene.whole("out/mine")
    scene.clean("out")


def edited(scene: Scene, what: str) -> None:
    """Deploy, edit something that the module depends on, deploy again: the old verdict is not given back."""
    source = "import json, helper\nfrom torch import nn\nclass Net(nn.Module):\n    def __init__(self):\n"
    source += "        super().__init__()\n        self.c = nn.Conv2d(3, 4, 1)\n"
    source += "        self.by = json.load(open('by.json'))\n"
    source += "    def forward(self, x):\n        return helper.act(self.c(x)) * self.by\n"
    (scene.folder / "net.py").write_text(source)
    (scene.folder / "helper.py").write_text("import torch\ndef act(x): return torch.relu(x)\n")
    (scene.folder / "by.json").write_text("2.0")
    words = ("deploy", "py:net:Net", "--shape", "2x3x8x8", "--for", "none", "-o", "out/mine", "--json")
    scene.expect(scene.run(*words), {0})
    before = (scene.folder / "out/mine/model.onnx").read_bytes()
    if what == "helper":
        (scene.folder / "helper.py").write_text("import torch\ndef act(x): return torch.sigmoid(x)\n")
    elif what == "file":
        (scene.folder / "by.json").write_text("3.0")
    else:
        (scene.folder / "net.py").write_text(source.replace("* self.by", "+ self.by"))
    scene.note(f"edit the {what} that the module depends on")
    scene.expect(scene.run(*words), {0})
    scene.need((scene.folder / "out/mine/model.onnx").read_bytes() != before, "the graph of before the edit was kept")


def module_attack(scene: Scene, name: str) -> None:
    """Play one of the attacks above."""
    if name.startswith("edited "):
        edited(scene, name.removeprefix("edited "))
    else:
        hostile(scene, name)


ROWS = (Row("modules", [*MODULES, "edited helper", "edited file", "edited source"], module_attack),)
