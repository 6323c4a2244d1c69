"""A headless Chromium that is asked over a pipe, by the DevTools protocol: what a reader would see."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
FOUND = next(filter(None, map(shutil.which, NAMES)), None)


class Page:
    """One page; ``problems`` are what the browser's console says: errors, warnings, and what the policy forbids."""

    def __init__(self, asks: int, answers: int) -> None:
        self._asks, self._answers, self._number, self._rest = asks, answers, 0, b""
        self._session = ""
        self.problems: list[str] = []
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Log", "Runtime", "Network"):
            self._call(f"{domain}.enable")

    def open(
        self, file: Path, *, width: int = 1280, height: int = 900, dark: bool = False, printed: bool = False
    ) -> None:
        """Load a file in a window of this size, or as it would be printed at this width."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._call("Emulation.setEmulatedMedia", media="print" if printed else "", features=[scheme])
        self._call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        self._call("Page.navigate", url=file.resolve().as_uri())
        while self.value("document.readyState") != "complete":
            pass

    def value(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page, which itself may run none."""
        found = self._call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def picture(self, file: Path, *, whole: bool = True) -> None:
        """Write what is shown to a PNG file."""
        found = self._call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        file.write_bytes(base64.b64decode(found["data"]))

    def _call(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._asks, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result
            self._hear(answer)

    def _hear(self, event: dict[str, Any]) -> None:
        method, params = event.get("method"), event.get("params", {})
        if method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.problems.append(params["entry"]["text"])
        elif method in ("Runtime.exceptionThrown", "Runtime.consoleAPICalled"):
            self.problems.append(json.dumps(params))
        elif method == "Network.requestWillBeSent" and not params["request"]["url"].startswith(("file:", "data:")):
            self.problems.append(f"asked the network for {params['request']['url']}")

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            more = os.read(self._answers, 1 << 20)
            assert more, "the browser has ended"
            self._rest += more
        message, _, self._rest = self._rest.partition(b"\0")
        answer: dict[str, Any] = json.loads(message)
        return answer


@contextmanager
def browser(folder: Path) -> Iterator[Page]:
    """Start the browser with its profile in ``folder``."""
    assert FOUND is not None
    asks_out, asks_in = os.pipe()
    answers_out, answers_in = os.pipe()
    flags = ("--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", "--no-first-run")
    # the protocol's pipes are the descriptors 3 and 4
    line = f'exec "$@" 3<&{asks_out} 4>&{answers_in}'
    started = subprocess.Popen(
        ["bash", "-c", line, "bash", FOUND, *flags, f"--user-data-dir={folder / 'profile'}"],
        pass_fds=(asks_out, answers_in),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(asks_out)
    os.close(answers_in)
    try:
        yield Page(asks_in, answers_out)
    finally:
        os.close(asks_in)
        started.terminate()
        started.wait(30)
        os.close(answers_out)
