"""The rows behind a figure, the records of the run, and what can be saved of them, in the browser."""

from __future__ import annotations

import csv
import io
from typing import Any

from mohge.bench.records import Run
from mohge.bench.report.page import render

# Keeps what would be downloaded instead.
CAUGHT = """
  var saved = [], kept = URL.createObjectURL;
  URL.createObjectURL = blob => { saved.push(blob); return "blob:none"; };
  HTMLAnchorElement.prototype.click = function () {};
  var tool = (name, text) =>
    [...document.querySelectorAll('[data-tools="' + name + '"] .tool')].find(made => made.textContent === text).click();
  var table = box => [...box.querySelectorAll("tr")].map(row => [...row.cells].map(cell => cell.textContent));
"""


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text.lstrip("\ufeff"))))


def test_the_rows_behind_a_figure_are_those_that_are_drawn(browser: Any, believable: Run) -> None:
    steps = """
  document.querySelector('[value="padded_bmm"]').click();
  await pause(200);
  tool("time", "CSV");
  said.csv = await saved[0].text();
  said.name = root.dataset.saved;
  var behind = document.querySelector('[data-behind="time"]');
  said.closed = behind.querySelector("table") === null;
  behind.open = true;
  await pause(100);
  said.table = table(behind);
"""
    said = browser.tried(render(believable), CAUGHT + steps)
    found = rows(said["csv"])
    assert said["name"] == "mohge-run-time.csv"
    assert {row["implementation"] for row in found} == {"torch_loop", "torch_grouped_mm"}
    assert {row["provenance"] for row in found} == {"measured"}
    assert all(float(row["time, ms"]) > 0 for row in found)
    assert said["closed"] is True
    assert len(said["table"]) == len(found) + 1
    browser.assert_drawn(said.document, said.log)


def test_a_name_is_never_a_formula(browser: Any, build: Any) -> None:
    evil = '=HYPERLINK("x"),\n@a'
    records = [build.passed(name, build.case(), 9) for name in ("padded_bmm", evil)]
    steps = """
  tool("work", "CSV");
  said.csv = await saved[0].text();
"""
    said = browser.tried(render(build.run(records)), CAUGHT + steps)
    assert {row["implementation"] for row in rows(said["csv"])} == {"padded_bmm", "'" + evil}


def test_a_picture_is_of_the_figure_as_it_is_shown(browser: Any, believable: Run) -> None:
    steps = """
  URL.createObjectURL = kept;
  var picture = new Image();
  HTMLAnchorElement.prototype.click = function () { picture.src = this.href; };
  tool("phases", "PNG");
  while (!picture.naturalWidth) { await pause(20); }
  said.size = [picture.naturalWidth, picture.naturalHeight];
  said.figure = [figure("phases").clientWidth, figure("phases")._fullLayout.height];
  var canvas = document.createElement("canvas");
  canvas.width = canvas.height = 1;
  canvas.getContext("2d").drawImage(picture, 0, 0);
  said.corner = [...canvas.getContext("2d").getImageData(0, 0, 1, 1).data];
"""
    said = browser.tried(render(believable), CAUGHT + steps)
    assert said["size"] == [2 * side for side in said["figure"]]
    assert said["corner"] == [255, 255, 255, 255]


def test_the_records_behind_a_figure_come_with_the_command_of_each(browser: Any, believable: Run) -> None:
    steps = """
  var link = document.querySelector('[data-tools="work"] a');
  HTMLAnchorElement.prototype.click.call(link);
  link.dispatchEvent(new MouseEvent("click", {bubbles: true, cancelable: true}));
  await pause(300);
  var records = document.getElementById("records");
  said.own = table(records);
  said.at = location.hash;
  [...records.querySelectorAll(".tool")].find(made => made.textContent === "all records").click();
  await pause(100);
  said.all = table(records).length - 1;
  [...records.querySelectorAll(".tool")].find(made => made.textContent === "CSV").click();
  said.csv = await saved[0].text();
"""
    said = browser.tried(render(believable), CAUGHT + steps)
    header, *own = said["own"]
    assert said["all"] == len(believable.records) == len(rows(said["csv"]))
    assert 0 < len(own) < said["all"]
    assert said["at"] == "#at=records"
    cases = {tuple(row[header.index(name)] for name in ("spec", "tokens", "routing")) for row in own}
    assert len(cases) == 1
    measured = [row for row in rows(said["csv"]) if row["implementation"] == "padded_bmm" and row["spec"] == "mohge-3b"]
    assert measured[0]["command"].startswith("mohge bench --spec mohge-3b --tokens 16 --routing router --dtype float32")
    assert measured[0]["command"].endswith("--implementations padded_bmm")
