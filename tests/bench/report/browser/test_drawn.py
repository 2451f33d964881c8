"""The page in a real browser: every figure is drawn and nothing complains."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from mohge.bench.records import Clocks, Environment, LabelledRun, Run, load_run
from mohge.bench.report.page import render
from mohge.bench.report.page_several import render_several
from mohge.bench.report.traces import spans_of
from mohge.bench.telemetry import read_trace
from mohge.bench.telemetry.synthetic import write_synthetic

EVIL = "<script>document.documentElement.dataset.evil=1</script><img src=x onerror=alert(1)>"


def test_every_figure_is_drawn_and_another_case_can_be_picked(browser: Any, believable: Run) -> None:
    said = browser.tried(render(believable), PICK)
    browser.assert_drawn(said.document, said.log)
    assert (said["shown"], said["moved"]) == ("00100", True)
    assert [name for name in said["asked"] if not name.startswith(("data:", "blob:"))] == []  # of any network


PICK = """
  var axis = () => figure("time").querySelector(".yaxislayer-above").innerHTML;
  var before = axis();
  set(document.querySelector('select[data-pick="time"]'), "2");
  await pause(300);
  said.shown = [...document.querySelectorAll('[data-variant="time"]')].map(panel => Number(!panel.hidden)).join("");
  said.moved = axis() !== before;
  said.asked = performance.getEntriesByType("resource").map(one => one.name);
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
  var study = name => document.querySelector('select[data-pick="' + name + '"]').value;
  set(document.querySelector('select[data-pick="tuning_history"]'), "1");
  await pause(300);
  said.studies = [study("tuning_history"), study("tuning_finalists"), study("tuning_importance"), location.hash];
  said.without = [!document.querySelector('[data-nothing="tuning_pareto"]').hidden, figure("tuning_pareto").hidden];
  document.querySelector('[data-nothing="tuning_pareto"] button').click();
  await pause(300);
  said.again = [study("tuning_history"), figure("tuning_pareto").hidden, location.hash];
"""


def test_telemetry_and_tuning_are_drawn(browser: Any, build: Any, tmp_path: Path) -> None:
    spans = spans_of(read_trace(write_synthetic(tmp_path / "trace.jsonl")))
    begins = {span.lane: span.begin for span in spans if span.whole}
    records = [build.watched(build.passed(name, build.case(), 9), begin) for name, begin in begins.items()]
    hot = replace(records[0].hot, suspects=[1, 2])
    records[0] = replace(records[0], hot=hot, clocks=Clocks("nvml", 4, 1980.0))
    records.append(build.watched(build.passed("cupy", build.case(tokens=16), 9), trace="absent.jsonl"))
    tuned = build.study(pareto=[4])
    tuned = replace(tuned, trials=[{**trial, "energy_j": 0.05} for trial in tuned.trials])
    run = build.run(records, environment=Environment(gpu={"name": "Some GPU"}), tuning=[tuned, build.study("cupy")])
    said = browser.tried(render(run, tmp_path), ALONE)
    document, log = said.document, said.log
    drawn = re.sub(r'<div class="figure[^>]*hidden="".*?</div>', "", document)  # chosen last: a case without a trace
    browser.assert_drawn(drawn, log)
    assert (said["bars"], said["hidden"]) == ([5, 1], True)
    assert said["studies"] == ["1", "1", "1", "#case.telemetry=3&study=1"]  # one choice for all that have the study
    assert said["without"] == [True, True]  # no energy was measured in it, and no other study stands in its place
    assert said["again"] == ["0", False, ""]
    for name in ("energy", "samples", "tuning_history", "tuning_finalists", "tuning_importance", "tuning_pareto"):
        assert f'data-figure="{name}"' in drawn


SKEWED = """
  var skew = document.querySelector('[data-sliders="what_if_worth"] [name=skew]');
  var lines = () => figure("what_if_worth").querySelector(".scatterlayer").innerHTML;
  var before = lines();
  skew.value = "2";
  skew.dispatchEvent(new Event("input", {bubbles: true}));
  await pause(300);
  said.moved = lines() !== before;
  said.chosen = document.querySelector('select[data-pick="what_if_worth"]').selectedOptions[0].text;
"""


def test_a_what_if_study_is_drawn_and_a_slider_runs_through_its_skews(browser: Any) -> None:
    """The committed one, as the README shows it."""
    study = load_run(Path(__file__).resolve().parents[4] / "bench" / "results" / "what-if")
    said = browser.tried(render(study), SKEWED)
    browser.assert_drawn(said.document, said.log)
    assert said["moved"] is True
    assert "zipf:1.4" in said["chosen"]
    for name in ("what_if_best", "what_if_worth", "what_if_front", "step_ranks", "step_timeline", "step_traffic"):
        assert f'data-figure="{name}"' in said.document


def test_markup_in_names_does_not_run(browser: Any, build: Any) -> None:
    where = replace(build.case(spec=EVIL, routing=EVIL), id=EVIL)
    records = [build.passed(EVIL, where, 10), build.passed("padded_bmm", where, 20), build.compiled(EVIL, 1)]
    document, log = browser.opened(render(build.run(records, [build.placement(where, EVIL, [1.0, 2.0])])))
    browser.assert_drawn(document, log)
    assert "data-evil" not in document
    assert "<img src" not in re.sub(r"<script.*?</script>", "", document, flags=re.DOTALL)


def test_several_runs_are_drawn_and_markup_in_their_names_stays_text(
    browser: Any, believable: Run, build: Any, tmp_path: Path
) -> None:
    later = replace(believable, started="2026-01-02T12:00:00+00:00")
    elsewhere = replace(believable, environment=replace(believable.environment, gpu={"name": EVIL}))
    runs = [(EVIL, believable), ("later", later), ("elsewhere", elsewhere), ("empty", build.run([]))]
    document, log = browser.opened(render_several([LabelledRun(label, run, tmp_path) for label, run in runs]))
    browser.assert_drawn(document, log)
    assert {"change", "trend", "beside"} <= set(re.findall(r'data-figure="(\w+)"', document))
    assert "data-evil" not in document
    assert "<img src" not in re.sub(r"<script.*?</script>", "", document, flags=re.DOTALL)


def test_the_check_sees_a_script_that_fails(browser: Any, build: Any) -> None:
    broken = render(build.run([])).replace(
        "</body>", "<img src='http://127.0.0.1:9/x.png'><script>broken()</script></body>"
    )
    document, log = browser.opened(broken)
    assert 'data-drawn="yes"' in document  # a run without records draws its page all the same
    assert "data-error=" in document
    assert "CONSOLE" in log
    assert "Content Security Policy" in log
