"""The page in a real browser: Chromium or Chrome on the PATH, driven by a script that is put into the page."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
QUIET = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
    "--v=0",
    "--window-size=1280,900",
]
# Runs the steps once every figure is drawn, and leaves what they said in the document.
STEPS = """<script>
addEventListener("load", async function () {
  var root = document.documentElement, said = {};
  var pause = ms => new Promise(done => setTimeout(done, ms));
  var figure = name => document.querySelector('[data-figure="' + name + '"]');
  var set = (control, value) => { control.value = value; control.dispatchEvent(new Event("change", {bubbles: true})); };
  while (root.dataset.drawn !== "yes") { await pause(20); }
  try {
STEPS
  } catch (error) { said.failed = String(error.stack || error); }
  root.dataset.said = JSON.stringify(said);
  if (parent !== window) { parent.postMessage(root.dataset.said, "*"); }
});
</script>"""


# A page as wide as a phone's window, which no window of the browser itself can be: it says what the page in it said.
FRAME = """<!doctype html><html><body>
<iframe src="report.html" width="WIDTH" height="800" style="border: 0"></iframe>
<script>addEventListener("message", event => { document.documentElement.dataset.said = event.data; });</script>
</body></html>"""


@dataclass(frozen=True)
class Browser:
    """A browser without a window, and a folder of its own for a test."""

    program: str
    folder: Path

    def written(self, text: str) -> Path:
        """The page as a file."""
        page = self.folder / "report.html"
        page.write_text(text, encoding="utf-8")
        return page

    def opened(self, text: str, fragment: str = "", *flags: str) -> tuple[str, str]:
        """The document after its scripts ran, and what the browser logged."""
        return self.run(self.written(text), fragment, "--dump-dom", *flags)

    def tried(self, text: str, steps: str, fragment: str = "", *flags: str, width: int = 0) -> Said:
        """What the steps said of a page, the document after them, and what the browser logged.

        width: in pixels, of a frame around the page; without it the page has the window to itself
        """
        page = self.written(text.replace("</body>", f"{STEPS.replace('STEPS', steps)}</body>"))
        if width:
            page = page.with_name("frame.html")
            page.write_text(FRAME.replace("WIDTH", str(width)), encoding="utf-8")
        document, log = self.run(page, fragment, "--dump-dom", *flags)
        told = re.search(r'<html[^>]* data-said="([^"]*)"', document)
        assert told is not None, log
        found = json.loads(html.unescape(told[1]))
        assert "failed" not in found, found["failed"]
        return Said(found, document, log)

    def assert_drawn(self, document: str, log: str) -> None:
        """Every figure is drawn, and no script failed or was blocked."""
        root = re.search(r"<html[^>]*>", document)
        assert root is not None
        assert 'data-drawn="yes"' in root.group()
        assert "data-error" not in root.group()
        assert "CONSOLE" not in log
        containers = re.findall(r'<div class="figure[^>]*data-figure="(\w+)"', document)
        assert len(containers) == document.count('<div class="user-select-none svg-container"') > 0
        assert document.count('class="main-svg"') >= len(containers)
        assert "sendChartToCloud" not in re.sub(r"<script.*?</script>", "", document, flags=re.DOTALL)

    def run(self, page: Path, fragment: str, *flags: str) -> tuple[str, str]:
        """What the browser printed and logged."""
        # Virtual time runs ahead while the browser unpacks something elsewhere: far more of it than the steps take.
        own = (f"--user-data-dir={self.folder / 'profile'}", "--virtual-time-budget=60000", *flags)
        command = [self.program, *QUIET, *own, page.as_uri() + fragment]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        return done.stdout, done.stderr


@dataclass(frozen=True)
class Said:
    """What came of trying steps in a page."""

    found: dict[str, Any]
    document: str
    log: str

    def __getitem__(self, name: str) -> Any:
        return self.found[name]


@pytest.fixture
def browser(tmp_path: Path) -> Browser:
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no Chromium or Chrome on the PATH (install one, for example: apt install chromium)")
    return Browser(found, tmp_path)
