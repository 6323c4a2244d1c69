"""Stands in for gpu_step.py: notes when it runs, and writes the row that is wanted of the step, or dies.

``behaviour.json`` in the folder has by step's name, or by kind: "seconds" to wait, "until" for the path of a file to
wait for, "die" or "kill" instead of a row, "row" for more fields of it, and "python" for the path of an interpreter to
put there. It imports nothing that takes time.
"""

import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("folder", type=Path)
others = ("minutes", "build-seconds", "level", "timing-caches")
for option in ("step", "setting", "since", "for", "without-tactics", *others):
    parser.add_argument(f"--{option}", default="")
given = parser.parse_args()
kind, _, rest = given.step.partition("-")
told = json.loads((given.folder / "behaviour.json").read_text())
behaviour = told.get(given.step, told.get(kind, {}))


def note(what):
    with (given.folder / "events").open("a") as events:
        events.write(
            json.dumps({"what": what, "step": given.step, "time": time.monotonic(), "pid": os.getpid()}) + "\n"
        )


note("start")
print("on the way", given.step, flush=True)
if "python" in behaviour:
    python = Path(behaviour["python"])
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
time.sleep(behaviour.get("seconds", 0.0))
while "until" in behaviour and not Path(behaviour["until"]).exists():
    time.sleep(0.01)
note("end")
if behaviour.get("kill"):
    os.kill(os.getpid(), signal.SIGKILL)
if behaviour.get("die"):
    sys.exit("Error: it broke")
row = {"step": given.step, "kind": kind, "case": rest.split("-")[0], "precision": "", "batch": 0, "status": "done"}
row |= {"setting": given.setting, "seconds": time.monotonic() - float(given.since), **behaviour.get("row", {})}
(given.folder / "rows").mkdir(exist_ok=True)
partial = given.folder / "rows" / f".{given.step}.partial"
partial.write_text(json.dumps(row))
partial.replace(given.folder / "rows" / f"{given.step}.json")
