"""Choosing what is shown: chips, lists, sliders and legends, in the browser; every figure and table follows."""

from __future__ import annotations

from typing import Any

import pytest

from mohge.bench.records import Environment, Run
from mohge.bench.report.page import render

# What is drawn of each implementation in a figure of points, by the names in its legend or hover.
HELPERS = """
  var bar = document.getElementById("filter");
  var shown = name => figure(name).data.filter(t => (t.visible ?? true) === true && t.showlegend !== false)
    .map(t => t.name);
  var rows = name => [...document.querySelectorAll(name + " tbody tr")].filter(row => row.getClientRects().length)
    .map(row => row.cells[0].textContent);
  var firstBars = () => [...document.querySelectorAll(".bars li")].filter(bar => bar.getClientRects().length)
    .map(bar => bar.querySelector(".name").textContent);
  var press = async name => {
    bar.querySelector('[value="' + name + '"]').click();
    await pause(200);
  };
  var cases = name => [...document.querySelector('select[data-pick="' + name + '"]').options]
    .filter(o => !o.disabled).map(o => o.text);
"""


def test_chips_hide_an_implementation_in_every_figure_and_table(browser: Any, believable: Run) -> None:
    steps = """
  said.before = [shown("time"), shown("phases"), figure("work").data[0].y, rows("#table .case")];
  var lines = () => [figure("regimes").layout.yaxis.ticktext, figure("regimes").layout.height,
    [...new Set(figure("regimes").data.filter(t => t.meta && t.visible !== false && t.visible !== "legendonly")
      .flatMap(t => t.y).filter(y => y !== null).map(Math.round))].sort()];
  said.lines = [lines()];
  await press("torch_loop");
  said.after = [shown("time"), shown("phases"), figure("work").data[0].y, rows("#table .case")];
  said.lines.push(lines());
  said.bars = figure("work").querySelectorAll(".barlayer .point path").length;
  said.address = location.hash;
  said.told = document.getElementById("narrowed").hidden;
  said.first = firstBars();
  for (const name of ["padded_bmm", "torch_grouped_mm", "triton", "cupy", "numba"]) { await press(name); }
  said.empty = [!document.querySelector('[data-nothing="work"]').hidden, figure("work").hidden, rows("#table .case")];
  said.none = [!document.querySelector('[data-nothing="regimes"]').hidden, figure("regimes").hidden];
  bar.querySelector("[type=reset]").click();
  await pause(200);
  said.reset = [shown("time"), shown("phases"), figure("work").data[0].y, rows("#table .case")];
  said.clean = location.hash;
"""
    said = browser.tried(render(believable), HELPERS + steps)
    names = ["padded_bmm", "torch_loop", "torch_grouped_mm"]
    assert all(set(names) <= set(part) for part in said["before"])
    assert all("torch_loop" not in part and {"padded_bmm", "torch_grouped_mm"} <= set(part) for part in said["after"])
    (all_rows, height, _), (rows_left, lower, places) = said["lines"]
    assert rows_left == [name for name in all_rows if name != "torch_loop"]
    assert places == list(range(len(rows_left)))  # no row stays blank where torch_loop was
    assert lower < height
    assert said["none"] == [True, True]
    assert sorted(said["first"]) == ["padded_bmm", "torch_grouped_mm"]
    assert said["bars"] == 4  # useful and added FLOPs of two
    assert "implementation=padded_bmm" in said["address"]
    assert "torch_loop" not in said["address"]
    assert said["told"] is False
    assert said["empty"] == [True, True, []]
    assert said["reset"] == said["before"]
    assert said["clean"] == ""
    browser.assert_drawn(said.document, said.log)


def test_layer_routing_and_tokens_leave_only_the_cases_that_match(browser: Any, believable: Run) -> None:
    steps = """
  said.all = cases("work").length;
  set(bar.elements.spec, "mohge-3b");
  set(bar.elements.from, "64");
  await pause(300);
  said.work = cases("work");
  said.tokens = figure("time").data.filter(t => t.mode === "lines+markers").map(t => Math.min(...t.x));
  said.labels = document.querySelector('[data-variant="work"]:not([hidden]) .reading') !== null;
  said.address = location.hash;
  set(bar.elements.from, "256");
  set(bar.elements.to, "16");
  said.ends = [bar.elements.from.value, bar.elements.to.value];
"""
    said = browser.tried(render(believable), HELPERS + steps)
    assert 0 < len(said["work"]) < said["all"]
    assert all(label.startswith("mohge-3b ·") and "16 tokens" not in label for label in said["work"])
    assert set(said["tokens"]) == {64}
    assert said["address"] == "#spec=mohge-3b&from=64"
    assert said["ends"] == ["16", "16"]


def test_an_address_brings_the_same_view_back(browser: Any, believable: Run) -> None:
    steps = """
  said.chosen = [...bar.querySelectorAll("[name=implementation]:checked")].map(box => box.value);
  said.spec = bar.elements.spec.value;
  said.pick = document.querySelector('select[data-pick="phases"]').selectedIndex;
  said.shown = shown("phases");
  said.at = document.getElementById("phases").getBoundingClientRect().top < innerHeight;
"""
    fragment = "#implementation=torch_loop&implementation=absent&spec=absent&case.phases=1&at=phases"
    said = browser.tried(render(believable), HELPERS + steps, fragment)
    assert said.found == {"chosen": ["torch_loop"], "spec": "", "pick": 1, "shown": ["torch_loop"], "at": True}


def test_a_click_in_a_legend_shows_one_alone_and_a_second_brings_the_others_back(browser: Any, believable: Run) -> None:
    steps = """
  var click = async name => {
    var entry = [...figure("time").querySelectorAll(".legend .traces")].find(e => e.textContent.includes(name));
    for (const kind of ["mousedown", "mouseup"]) {
      entry.querySelector(".legendtoggle").dispatchEvent(new MouseEvent(kind, {bubbles: true}));
    }
    await pause(800);
  };
  await click("torch_loop");
  said.alone = [shown("time"), shown("phases")];
  await click("torch_loop");
  said.all = [shown("time").length, shown("phases").length];
"""
    said = browser.tried(render(believable), HELPERS + steps)
    assert said["alone"] == [["torch_loop"], ["torch_loop"]]
    assert said["all"] == [3, 3]


def test_a_slider_runs_through_routings_that_differ_in_their_skew(browser: Any, build: Any) -> None:
    cases = [build.case(routing=f"zipf:{skew}") for skew in (0.8, 1.2, 2.0)] + [build.case(routing="uniform")]
    records = [build.passed(name, where, 9) for where in cases for name in ("triton", "padded_bmm")]
    steps = """
  var pick = document.querySelector('select[data-pick="work"]'), box = document.querySelector('[data-sliders="work"]');
  var slider = box.querySelector("[name=skew]");
  said.uniform = slider.closest("label").hidden;
  set(pick, "0");
  await pause(200);
  said.first = [slider.closest("label").hidden, slider.max, slider.value];
  slider.value = "2";
  slider.dispatchEvent(new Event("input", {bubbles: true}));
  await pause(200);
  said.last = [pick.selectedOptions[0].text, slider.nextElementSibling.textContent];
  said.steps = box.querySelector("[name=step]").closest("label").hidden;
"""
    said = browser.tried(render(build.run(records)), HELPERS + steps)
    assert said["uniform"] is True
    assert said["first"] == [False, "2", "0"]
    assert "zipf:2.0" in said["last"][0]
    assert said["last"][1] == "2"
    assert said["steps"] is True


@pytest.mark.parametrize("many", [False, True])
def test_what_leaves_no_choice_is_not_offered(build: Any, many: bool) -> None:
    names = ("triton", "padded_bmm") if many else ("triton",)
    page = render(build.run([build.passed(name, build.case(), 9) for name in names], environment=Environment()))
    assert ('id="filter"' in page) == many
    assert '<select name="spec">' not in page
    assert '<select name="from"' not in page
