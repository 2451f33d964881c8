"""The page in a real browser: every figure is drawn and nothing complains. Needs Chromium or Chrome on the PATH."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mohge.bench.records import Clocks, Environment, LabelledRun, Run
from mohge.bench.report.page import render, write_report
from mohge.bench.report.page_several import write_several
from mohge.bench.report.traces import spans_of
from mohge.bench.telemetry import read_trace
from mohge.bench.telemetry.synthetic import write_synthetic

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
});
</script>"""


@pytest.fixture(scope="module")
def browser() -> str:
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no Chromium or Chrome on the PATH (install one, for example: apt install chromium)")
    return found


def opened(browser: str, page: Path, tmp_path: Path, fragment: str = "") -> tuple[str, str]:
    """The document after its scripts ran, and what the browser logged."""
    command = [browser, *QUIET, f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=10000", "--dump-dom"]
    done = subprocess.run([*command, page.as_uri() + fragment], capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, done.stderr


def tried(browser: str, text: str, steps: str, tmp_path: Path, fragment: str = "") -> tuple[dict[str, Any], str, str]:
    """What the steps said of a page, the document after them, and what the browser logged."""
    page = tmp_path / "report.html"
    page.write_text(text.replace("</body>", f"{STEPS.replace('STEPS', steps)}</body>"), encoding="utf-8")
    document, log = opened(browser, page, tmp_path, fragment)
    said = re.search(r'<html[^>]* data-said="([^"]*)"', document)
    assert said is not None, log
    found = json.loads(html.unescape(said[1]))
    assert "failed" not in found, found["failed"]
    return found, document, log


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
    said, document, log = tried(browser, render(believable), PICK, tmp_path)
    assert_drawn(document, log)
    assert said == {"shown": "00100", "moved": True}


PICK = """
  var axis = () => figure("time").querySelector(".yaxislayer-above").innerHTML;
  var before = axis();
  set(document.querySelector('select[data-pick="time"]'), "2");
  await pause(300);
  said.shown = [...document.querySelectorAll('[data-variant="time"]')].map(panel => Number(!panel.hidden)).join("");
  said.moved = axis() !== before;
"""
ALONE = """
  var pick = document.querySelector('select[data-pick="telemetry"]');
  var bars = () => figure("telemetry").querySelectorAll(".barlayer .point path").length;
  var all = bars();
  set(pick, "2");
  await pause(300);
  said.bars = [all, bars()];
  set(pick, "3");
  await pause(300);
  said.hidden = figure("telemetry").hidden;
"""


def test_telemetry_and_tuning_are_drawn(browser: str, build: Any, tmp_path: Path) -> None:
    spans = spans_of(read_trace(write_synthetic(tmp_path / "trace.jsonl")))
    begins = {span.lane: span.begin for span in spans if span.whole}
    records = [build.watched(build.passed(name, build.case(), 9), begin) for name, begin in begins.items()]
    hot = replace(records[0].hot, suspects=[1, 2])
    records[0] = replace(records[0], hot=hot, clocks=Clocks("nvml", 4, 1980.0))
    records.append(build.watched(build.passed("cupy", build.case(tokens=16), 9), trace="absent.jsonl"))
    tuned = build.study(pareto=[4])
    tuned = replace(tuned, trials=[{**trial, "energy_j": 0.05} for trial in tuned.trials])
    run = build.run(records, environment=Environment(gpu={"name": "Some GPU"}), tuning=[tuned])
    said, document, log = tried(browser, render(run, tmp_path), ALONE, tmp_path)
    drawn = re.sub(r'<div class="figure[^>]*hidden="".*?</div>', "", document)  # chosen last: a case without a trace
    assert_drawn(drawn, log)
    assert said == {"bars": [5, 1], "hidden": True}
    for name in ("energy", "samples", "tuning_history", "tuning_finalists", "tuning_importance", "tuning_pareto"):
        assert f'data-figure="{name}"' in drawn


def test_markup_in_names_does_not_run(browser: str, build: Any, tmp_path: Path) -> None:
    where = replace(build.case(spec=EVIL, routing=EVIL), id=EVIL)
    records = [build.passed(EVIL, where, 10), build.passed("padded_bmm", where, 20), build.compiled(EVIL, 1)]
    page = tmp_path / "report.html"
    write_report(build.run(records, [build.placement(where, EVIL, [1.0, 2.0])]), page)
    document, log = opened(browser, page, tmp_path)
    assert_drawn(document, log)
    assert "data-evil" not in document
    assert "<img src" not in re.sub(r"<script.*?</script>", "", document, flags=re.DOTALL)


def test_several_runs_are_drawn_and_markup_in_their_names_stays_text(
    browser: str, believable: Run, build: Any, tmp_path: Path
) -> None:
    page = tmp_path / "report.html"
    later = replace(believable, started="2026-01-02T12:00:00+00:00")
    elsewhere = replace(believable, environment=replace(believable.environment, gpu={"name": EVIL}))
    runs = [(EVIL, believable), ("later", later), ("elsewhere", elsewhere), ("empty", build.run([]))]
    write_several([LabelledRun(label, run, tmp_path) for label, run in runs], page)
    document, log = opened(browser, page, tmp_path)
    assert_drawn(document, log)
    assert {"change", "trend", "beside"} <= set(re.findall(r'data-figure="(\w+)"', document))
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
