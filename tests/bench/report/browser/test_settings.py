"""The page in the dark, on a phone, on paper and with more cases than its text holds, in the browser."""

from __future__ import annotations

import re
from typing import Any

import pytest

from mohge.bench.records import Run
from mohge.bench.report import embedding, page
from mohge.bench.report.page import render
from mohge.bench.report.palette import colour

COLOURS = """
  said.page = getComputedStyle(root).backgroundColor;
  said.text = figure("time").querySelector(".xtitle").style.fill;
  said.chip = getComputedStyle(document.querySelector('.chip:has([value="padded_bmm"]) i')).color;
"""


def test_figures_take_the_colours_of_a_dark_page(browser: Any, believable: Run) -> None:
    flags = ("--blink-settings=preferredColorScheme=0",)
    said = browser.tried(render(believable), COLOURS, "", *flags)
    browser.assert_drawn(said.document, said.log)
    assert _lightness(said["page"]) < 40 < 200 < _lightness(said["text"])
    red, green, blue = (int(colour("padded_bmm")[place : place + 2], 16) for place in (1, 3, 5))
    assert said["chip"] == f"rgb({red}, {green}, {blue})"  # an implementation's colour is one


def _lightness(shade: str) -> float:
    return sum(map(int, re.findall(r"\d+", shade)[:3])) / 3


def test_nothing_is_wider_than_a_phone(browser: Any, believable: Run) -> None:
    steps = """
  said.page = [root.scrollWidth, root.clientWidth];
  said.figures = [...document.querySelectorAll(".figure .main-svg")].every(svg => svg.clientWidth <= root.clientWidth);
  said.bar = document.getElementById("filter").clientHeight;
"""
    said = browser.tried(render(believable), steps, width=400)
    assert said["page"][0] == said["page"][1] <= 400
    assert said["figures"] is True
    assert said["bar"] < 120  # of 800: the rest is for what it filters


def test_on_paper_every_figure_has_its_width_and_every_table_is_open(browser: Any, believable: Run) -> None:
    steps = """
  var widths = () => [...document.querySelectorAll(".figure:not([hidden]) > .js-plotly-plot, .figure.js-plotly-plot")]
    .map(drawn => drawn._fullLayout.width);
  var closed = () => document.querySelectorAll("details:not([open]):not(.behind):not(#records)").length;
  said.before = closed();
  document.querySelector('[value="padded_bmm"]').click();
  dispatchEvent(new Event("beforeprint"));
  await pause(100);
  said.widths = [...new Set(widths())];
  said.closed = closed();
  said.told = document.getElementById("printed").textContent;
  dispatchEvent(new Event("afterprint"));
  await pause(100);
  said.after = [closed(), widths().some(width => width === 700)];
"""
    said = browser.tried(render(believable), steps)
    assert said["before"] > 0
    assert said["widths"] == [700]
    assert said["closed"] == 0
    assert said["told"].startswith("Only what was chosen is in the figures and tables: implementations ")
    assert "padded_bmm" not in said["told"]
    assert said["after"] == [said["before"], False]


def test_it_prints(browser: Any, believable: Run) -> None:
    paper = browser.folder / "report.pdf"
    browser.run(browser.written(render(believable)), "", f"--print-to-pdf={paper}")
    text = paper.read_bytes()
    assert text.startswith(b"%PDF")
    assert len(re.findall(rb"/Type\s*/Page\b", text)) > 3


def test_more_cases_than_the_text_holds_are_unpacked_when_asked_for(
    browser: Any, build: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedding, "PACKED_FROM", 1000)
    monkeypatch.setattr(embedding, "BLOCK_OF", 3000)
    monkeypatch.setattr(page, "MOST_PANELS", 2)
    monkeypatch.setattr(page, "MOST_TABLES", 1)
    cases = [build.case(tokens=2**power) for power in range(5)]
    records = [build.passed(name, where, 9) for where in cases for name in ("triton", "padded_bmm")]
    steps = """
  said.panels = document.querySelectorAll('[data-variant="work"]').length;
  set(document.querySelector('select[data-pick="work"]'), "3");
  await pause(500);
  var panel = document.querySelector('[data-variant="work"]:not([hidden])');
  said.place = panel.dataset.place;
  said.reading = panel.querySelector(".reading").textContent;
  said.drawn = figure("work").data.length;
  said.records = document.querySelectorAll("#table .case").length;
"""
    text = render(build.run(records))
    assert 'id="figures-work-1"' in text  # what is picked lies in another part of the section's data
    said = browser.tried(text, steps)
    assert said["panels"] == 3  # the first two and the one that is shown first
    assert said["place"] == "3"
    assert said["drawn"] > 0
    assert "padded_bmm executes 3.00 times" in said["reading"]
    assert said["records"] == 2
    browser.assert_drawn(said.document, said.log)
