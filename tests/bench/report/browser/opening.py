"""How long a report takes to open in headless Chromium, without another program beside it:

python tests/bench/report/browser/opening.py report.html
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tornado.httpclient import AsyncHTTPClient
from tornado.websocket import WebSocketClientConnection, websocket_connect

# On the page's own clock, in ms: its first paint, its first figure, and the moment when every figure is drawn.
WATCH = """
window.seen = {};
new PerformanceObserver(list => list.getEntries().forEach(one => { seen[one.name] = Math.round(one.startTime); }))
  .observe({ type: "paint", buffered: true });
new MutationObserver(() => {
  if (!seen.figure && document.querySelector(".main-svg")) { seen.figure = Math.round(performance.now()); }
  if (!seen.all && document.documentElement.dataset.drawn) { seen.all = Math.round(performance.now()); }
}).observe(document, { subtree: true, childList: true, attributes: true });
"""


async def opened(page: Path) -> dict[str, int]:
    """What the page saw of its own opening."""
    program = shutil.which("chromium") or shutil.which("google-chrome") or "chromium"
    with tempfile.TemporaryDirectory() as profile:
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0", "--window-size=1280,900"]
        command = [program, *flags, f"--user-data-dir={profile}", "about:blank"]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        try:
            assert process.stderr is not None
            port = next(found[1] for line in process.stderr if (found := re.search(r"ws://127\.0\.0\.1:(\d+)/", line)))
            answer = await AsyncHTTPClient().fetch(f"http://127.0.0.1:{port}/json")
            (tab,) = (one for one in json.loads(answer.body) if one["type"] == "page")
            socket = await websocket_connect(tab["webSocketDebuggerUrl"])
            await _ask(socket, "Page.enable")
            await _ask(socket, "Page.addScriptToEvaluateOnNewDocument", source=WATCH)
            await _ask(socket, "Page.navigate", url=page.absolute().as_uri())
            while True:
                found = await _ask(socket, "Runtime.evaluate", expression="window.seen", returnByValue=True)
                seen = found["result"].get("value") or {}
                if "all" in seen:
                    return seen
                await asyncio.sleep(0.1)
        finally:
            process.terminate()
            process.wait()


async def _ask(socket: WebSocketClientConnection, method: str, **parameters: Any) -> dict[str, Any]:
    """The answer to a call of the DevTools protocol; events in between are passed over."""
    await socket.write_message(json.dumps({"id": 1, "method": method, "params": parameters}))
    while True:
        message = json.loads(await socket.read_message() or "{}")
        if message.get("id") == 1:
            return message["result"]


if __name__ == "__main__":
    print(json.dumps(asyncio.run(opened(Path(sys.argv[1])))))
