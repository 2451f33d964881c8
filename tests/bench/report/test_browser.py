"""The page in a real browser: every figure is drawn and nothing complains. Needs Chromium or Chrome on the PATH."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mohge.bench.records import Run
from mohge.bench.report.page import render, write_report

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
EVIL = "<script>document.documentElement.dataset.evil=1</script><img src=x onerror=alert(1)>"
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
PICK = """<script>
addEventListener("load", function () {
  var axis = () => document.querySelector('[data-figure="time"] .yaxislayer-above').innerHTML;
  var pick = document.querySelector('select[data-pick="time"]');
  var before = axis();
  pick.value = "2";
  pick.dispatchEvent(new Event("change"));
  setTimeout(function () {
    var shown = [...document.querySelectorAll('[data-variant="time"]')].map(panel => !panel.hidden);
    document.documentElement.dataset.shown = shown.map(Number).join("");
    document.documentElement.dataset.moved = axis() !== before;
  }, 500);
});
</script>"""


@pytest.fixture(scope="module")
def browser() -> str:
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no Chromium or Chrome on the PATH (install one, for example: apt install chromium)")
    return found


def opened(browser: str, page: Path, tmp_path: Path) -> tuple[str, str]:
    """The document after its scripts ran, and what the browser logged."""
    command = [browser, *QUIET, f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=10000", "--dump-dom"]
    done = subprocess.run([*command, page.as_uri()], capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, done.stderr


def assert_drawn(document: str, log: str) -> None:
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


def test_every_figure_is_drawn_and_another_case_can_be_picked(browser: str, believable: Run, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    page.write_text(render(believable).replace("</body>", f"{PICK}</body>"), encoding="utf-8")
    document, log = opened(browser, page, tmp_path)
    assert_drawn(document, log)
    assert 'data-shown="00100"' in document
    assert 'data-moved="true"' in document


def test_markup_in_names_does_not_run(browser: str, build: Any, tmp_path: Path) -> None:
    where = replace(build.case(spec=EVIL, routing=EVIL), id=EVIL)
    records = [build.passed(EVIL, where, 10), build.passed("padded_bmm", where, 20), build.compiled(EVIL, 1)]
    page = tmp_path / "report.html"
    write_report(build.run(records, [build.placement(where, EVIL, [1.0, 2.0])]), page)
    document, log = opened(browser, page, tmp_path)
    assert_drawn(document, log)
    assert "data-evil" not in document
    assert "<img src" not in re.sub(r"<script.*?</script>", "", document, flags=re.DOTALL)


def test_the_check_sees_a_script_that_fails(browser: str, build: Any, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    broken = render(build.run([])).replace(
        "</body>", "<img src='http://127.0.0.1:9/x.png'><script>broken()</script></body>"
    )
    page.write_text(broken, encoding="utf-8")
    document, log = opened(browser, page, tmp_path)
    assert 'data-drawn="yes"' in document  # a run without records draws its page all the same
    assert "data-error=" in document
    assert "CONSOLE" in log
    assert "Content Security Policy" in log
