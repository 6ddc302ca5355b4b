"""Headless Chromium under a test's control: the DevTools protocol through a pipe, so no port, no driver, no network.

See https://chromedevtools.github.io/devtools-protocol/. Messages are JSON, each ended by a null byte; Chromium reads
them from its file descriptor 3 and writes to 4.
"""

import json
import os
import select
import subprocess
import time
from pathlib import Path
from typing import Any

TIMEOUT = 30
KEYS = {"Enter": (13, "\r"), "Escape": (27, ""), "Tab": (9, ""), " ": (32, " ")}
# Whatever name or address a page asks for is not found: the network is out of reach.
OPTIONS = [
    "--headless",
    "--remote-debugging-pipe",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--window-size=1200,900",
]


class Chromium:
    """One browser with one page."""

    def __init__(self, profile: Path) -> None:
        """Start it on an empty page; what it says goes to a file in its profile's folder."""
        profile.mkdir(parents=True, exist_ok=True)
        # Chromium's own sandbox refuses to run as root.
        sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
        command = ["chromium", *OPTIONS, *sandbox, f"--user-data-dir={profile}", "about:blank"]
        with (profile / "chromium.log").open("wb") as log:
            self.process = subprocess.Popen(
                ["sh", "-c", 'exec "$@" 3<&0 4>&1 </dev/null >&2', "sh", *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                bufsize=0,
            )
        self.events: list[dict[str, Any]] = []
        self.unread, self.count, self.session = b"", 0, ""
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def close(self) -> None:
        """Stop it."""
        self.session = ""
        self.send("Browser.close")
        self.process.wait(TIMEOUT)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe:
                pipe.close()

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Return what a method of the protocol answers; events that come before are kept."""
        self.count += 1
        message: dict[str, Any] = {"id": self.count, "method": method, "params": parameters}
        message |= {"sessionId": self.session} if self.session else {}
        assert self.process.stdin
        self.process.stdin.write(json.dumps(message).encode() + b"\0")
        while (answer := self.receive()).get("id") != self.count:
            self.events.append(answer)
        assert "error" not in answer, f"{method}: {answer['error']}"
        return answer["result"]

    def receive(self) -> dict[str, Any]:
        """Return the next message."""
        assert self.process.stdout
        deadline = time.monotonic() + TIMEOUT
        while b"\0" not in self.unread:
            ready, _, _ = select.select([self.process.stdout], [], [], max(0, deadline - time.monotonic()))
            assert ready, f"Chromium did not answer within {TIMEOUT} seconds"
            part = os.read(self.process.stdout.fileno(), 1 << 16)
            assert part, "Chromium has ended"
            self.unread += part
        message, _, self.unread = self.unread.partition(b"\0")
        return json.loads(message)

    def open(self, path: Path) -> None:
        """Open a file and wait until it has loaded with all it holds."""
        self.events.clear()
        answer = self.send("Page.navigate", url=path.resolve().as_uri())
        assert "errorText" not in answer, answer["errorText"]
        while not self.of("Page.loadEventFired"):
            self.events.append(self.receive())

    def of(self, method: str) -> list[dict[str, Any]]:
        """Return what the events of a kind said since the page was opened."""
        return [event["params"] for event in self.events if event.get("method") == method]

    def complaints(self) -> list[str]:
        """Return the console's errors and warnings, exceptions, and what did not load."""
        self.evaluate("0")  # whatever was said before has come when this is answered
        said = [call for call in self.of("Runtime.consoleAPICalled") if call["type"] in ("error", "warning", "assert")]
        logged = [entry["entry"] for entry in self.of("Log.entryAdded") if entry["entry"]["level"] != "verbose"]
        return [str(part) for part in (*said, *logged, *self.of("Runtime.exceptionThrown"))] + [
            str(failure) for failure in self.of("Network.loadingFailed")
        ]

    def requests(self) -> list[str]:
        """Return the addresses that were asked for, those within the page (data:) left out."""
        self.evaluate("0")
        urls = [event["request"]["url"] for event in self.of("Network.requestWillBeSent")]
        return [url for url in urls if not url.startswith("data:")]

    def evaluate(self, expression: str) -> Any:
        """Return the value of an expression of JavaScript in the page; promises are waited for."""
        answer = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def click(self, element: str) -> None:
        """Click with the mouse on the middle of the element that an expression gives."""
        self.evaluate(f"({element}).scrollIntoView({{block: 'center'}})")
        box = self.evaluate(f"(({element}).getBoundingClientRect()).toJSON()")
        assert box["width"] > 0 and box["height"] > 0, f"{element} cannot be seen"
        place = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **place)

    def press(self, key: str) -> None:
        """Press and release a key."""
        code, text = KEYS[key]
        about = {"key": key, "code": {" ": "Space"}.get(key, key), "windowsVirtualKeyCode": code}
        self.send("Input.dispatchKeyEvent", type="keyDown", text=text, **about)
        self.send("Input.dispatchKeyEvent", type="keyUp", **about)

    def type(self, text: str) -> None:
        """Type a text where the focus is."""
        self.send("Input.insertText", text=text)
