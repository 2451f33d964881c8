"""The ladder of versions in a browser as wide as a phone: every panel is drawn, versions are filtered like others."""

from __future__ import annotations

from typing import Any

from mohge.bench.peers import VERSIONS, family_of
from mohge.bench.report.page import render

LADDER = """
  var bars = () => [...figure("ladder").querySelectorAll(".barlayer .point path")]
    .filter(bar => bar.getBBox().width > 0).length;
  said.bars = [bars()];
  var chip = document.querySelector('input[name="implementation"][value="VERSION"]');
  chip.click();
  await pause(300);
  said.bars.push(bars());
  said.rows = [...document.querySelectorAll("#ladder tbody tr")].filter(row => !row.hidden).length;
  said.first = [...document.querySelectorAll("#table .case tbody th")].map(cell => cell.textContent);
  said.wide = document.documentElement.scrollWidth > innerWidth;
  var texts = [...figure("ladder").querySelectorAll(".annotation-text")];
  said.cut = texts.filter(one => one.getBoundingClientRect().right > innerWidth).length;
"""


def test_the_ladder_is_drawn_and_filtered_on_a_phone(browser: Any, build: Any) -> None:
    versions = [name for name in VERSIONS if family_of(name) == "cupy"]
    names = [*versions, "cupy", "padded_bmm"]
    records = [
        build.passed(name, build.case(tokens=tokens), (10 + 3 * place) * tokens / 16)
        for tokens in (16, 256)
        for place, name in enumerate(names)
    ]
    steps = LADDER.replace("VERSION", versions[0])
    said = browser.tried(render(build.run(records)), steps, width=390)
    assert said["bars"] == [2 * (len(versions) + 1), 2 * len(versions)]
    assert said["rows"] == 2 * len(versions)
    assert said["first"] == ["cupy", "padded_bmm"] * 2
    assert (said["wide"], said["cut"]) == (False, 0)
