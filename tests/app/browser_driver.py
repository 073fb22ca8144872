"""Drives a headless Chromium over the DevTools protocol, for the tests of pages. Needs no package beyond viser's own.

with Browser(900, 600) as browser:
    browser.open("http://127.0.0.1:8080")
    picture = browser.stable_screenshot()
"""

from __future__ import annotations

import base64
import itertools
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, TypeVar

import imageio.v3 as iio
import numpy as np
from websockets.sync.client import connect

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless=new",
    "--no-sandbox",  # as root Chromium does not start with one
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--remote-debugging-port=0",
    "--no-first-run",
    "--disable-extensions",
    "--disable-background-networking",
)
PATIENCE = 120.0  # seconds: a busy machine without a GPU draws slowly
POLL_SECONDS = 0.3

Found = TypeVar("Found")


def chromium() -> str | None:
    """The path of a Chromium or Chrome on this machine, or None."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


def wait_for(attempt: Callable[[], Found], what: str) -> Found:
    """Tries until the attempt gives something true.

    Raises:
        TimeoutError: it gave nothing within `PATIENCE`.
    """
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if found := attempt():
            return found
        time.sleep(POLL_SECONDS)
    raise TimeoutError(f"waited {PATIENCE:.0f} s for {what}")


class Browser:
    """One page of a headless Chromium; a CSS pixel is a pixel of its screenshots."""

    def __init__(self, width: int, height: int):
        self._numbers = itertools.count(1)
        self._session: str | None = None
        with ExitStack() as stack:
            profile = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
            arguments = [f"--window-size={width},{height}", f"--user-data-dir={profile}", "about:blank"]
            command = [chromium() or NAMES[0], *FLAGS, *arguments]
            self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            stack.callback(self._process.wait)
            stack.callback(self._process.kill)
            self._socket = stack.enter_context(connect(self._devtools_address(), max_size=None))
            target = self._call("Target.createTarget", url="about:blank")["targetId"]
            self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
            size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
            self._call("Emulation.setDeviceMetricsOverride", **size)
            self._cleanup = stack.pop_all()

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *exception: object) -> None:
        self._cleanup.close()

    def open(self, url: str) -> None:
        """Goes to a page and waits until its files are loaded; what its scripts draw comes later."""
        self._call("Page.enable")
        self._call("Page.navigate", url=url)
        while self._receive().get("method") != "Page.loadEventFired":
            pass

    def evaluate(self, script: str) -> Any:
        """The value of a JavaScript expression in the page."""
        answer = self._call("Runtime.evaluate", expression=script, returnByValue=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{script}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def box_of(self, selector: str) -> tuple[float, float, float, float]:
        """Left, top, width and height in pixels of the first element that a CSS selector names."""
        script = f"(({{x, y, width, height}}) => [x, y, width, height])(document.querySelector({selector!r})"
        left, top, width, height = self.evaluate(f"{script}.getBoundingClientRect())")
        return left, top, width, height

    def screenshot(self, selector: str) -> np.ndarray:
        """What is seen where that element stands, (height, width, 3) bytes of sRGB."""
        left, top, width, height = (round(length) for length in self.box_of(selector))
        data = self._call("Page.captureScreenshot", format="png")["data"]
        picture = np.asarray(iio.imread(base64.b64decode(data), extension=".png"))
        return picture[top : top + height, left : left + width, :3]

    def picture_when(self, ready: Callable[[np.ndarray], bool], selector: str, what: str) -> np.ndarray:
        """The first screenshot of the element that is `ready` and equals the one before it; `what` names it."""
        pictures = [self.screenshot(selector)]

        def at_rest() -> bool:
            pictures[:] = [pictures[-1], self.screenshot(selector)]
            return ready(pictures[1]) and np.array_equal(*pictures)

        wait_for(at_rest, what)
        return pictures[1]

    def click(self, x: float, y: float) -> None:
        """Presses and releases the left button at a point of the page."""
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            pressed = {} if kind == "mouseMoved" else {"button": "left", "clickCount": 1}
            self._call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **pressed)

    def press(self, key: str, code: int) -> None:
        """Presses and releases a key: its DOM name ("Enter") and Windows virtual key code (13)."""
        for kind in ("rawKeyDown", "keyUp"):
            self._call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code)

    def type(self, text: str) -> None:
        """Inserts text where the cursor is."""
        self._call("Input.insertText", text=text)

    def _devtools_address(self) -> str:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            if "DevTools listening on " in line:
                return line.split(" on ", 1)[1].strip()
        raise RuntimeError("Chromium ended before it listened")

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        self._socket.send(json.dumps(message | ({"sessionId": self._session} if self._session else {})))
        while (answer := self._receive()).get("id") != number:
            pass
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']['message']}")
        return answer["result"]

    def _receive(self) -> dict[str, Any]:
        return json.loads(self._socket.recv(timeout=PATIENCE))
