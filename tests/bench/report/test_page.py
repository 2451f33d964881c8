"""The page as a file: self-contained, safe against names, and never without an answer."""

from __future__ import annotations

import json
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from plotly.offline import get_plotlyjs

from mohge.bench.records import Environment, Run
from mohge.bench.report.page import facts, render, write_report

EVIL = "</script><script>alert(1)</script>"
FETCHING = re.compile(
    r"""(?:\bsrc|\bhref|\bsrcset|\baction)\s*=(?!"\#)|@import|\burl\(|\bfetch\(|XMLHttpRequest|//cdn""", re.IGNORECASE
)


def without_plotly(page: str) -> str:
    """The page with plotly.js taken out, once."""
    library = get_plotlyjs()
    assert page.count(library) == 1
    return page.replace(library, "")


@pytest.fixture(scope="module")
def page(believable: Run) -> str:
    return render(believable)


def test_it_is_one_file_that_fetches_nothing(page: str) -> None:
    own = without_plotly(page)
    assert FETCHING.search(own) is None
    assert re.search(r"https?://", own) is None
    assert "default-src 'none'" in own


def test_plotly_stands_in_it_once_and_it_is_small(page: str) -> None:
    assert page.count("* plotly.js v") == 1
    assert len(page.encode()) < 6_000_000


def test_it_says_what_was_asked_found_and_how(page: str) -> None:
    own = without_plotly(page)
    for words in (
        "Which implementation of the heterogeneous grouped expert FFN is fastest on this machine",
        "torch_loop is fastest on mohge-3b",
        "Placed (predicted from the same routing): lpt",
        "There was no GPU",
        "gpt-oss-20b-hetero/4 (scaled down)",
        "mohge-3b with its hidden size and widths divided by 32, 2 experts a group",
        '<span class="badge interpreted">interpreted</span>',
        '<span class="badge simulated">simulated</span>',
        "failed: out of shared memory",
        "18.75 % fewer expert parameters",
        "mohge run --minutes 2",
        "stopped by interval narrow enough",
        "cafe0123 with changes not committed",
        "needs a GPU",
    ):
        assert words in own, words
    for name in ("time", "rate", "work", "uniform", "phases", "samples", "placement", "compiled"):
        assert own.count(f'data-figure="{name}"') == 1


def test_names_stay_text(build: Any) -> None:
    where = replace(build.case(spec=EVIL, routing=EVIL, dtype=EVIL, device=EVIL), id=EVIL)
    records = [build.passed(EVIL, where, 10), build.passed("padded_bmm", where, 20), build.compiled(EVIL, 3)]
    environment = Environment(gpu={"name": EVIL, "uuid": None, "memory_bytes": 2**30}, libraries={EVIL: EVIL})
    run = build.run([*records], [build.placement(where, EVIL, [1.0, 2.0])], environment=environment, name=EVIL)
    own = without_plotly(render(replace(run, command=["mohge", EVIL])))
    assert "<script>alert" not in own
    assert "&lt;script&gt;alert(1)" in own
    time_figures = build.data(own, "figures-time")["figures"]
    assert time_figures[0]["data"][-1]["name"] in ("padded_bmm", EVIL.replace("<", "&lt;").replace(">", "&gt;"))
    assert "<script" not in json.dumps(build.data(own, "figures-placement"))


@pytest.mark.parametrize("records", [0, 1])
def test_a_run_without_times_still_makes_a_page(build: Any, records: int) -> None:
    run = build.run([build.compiled("triton", 0)] * records, environment=Environment(), git=None, finished=None)
    own = without_plotly(render(run))
    for words in ("Not measured", "No implementation was measured", "Nothing was timed", "holds no placements"):
        assert words in own
    assert "interrupted" in own
    assert "not a repository" in own


def test_it_is_written_where_asked(believable: Run, page: str, tmp_path: Path) -> None:
    begin = time.perf_counter()
    write_report(believable, tmp_path / "report.html")
    assert time.perf_counter() - begin < 10
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == page


def test_a_place_that_cannot_be_written_is_named(believable: Run, tmp_path: Path) -> None:
    target = tmp_path / "absent" / "report.html"
    with pytest.raises(ValueError, match=r"report\.html: expected a file that can be written") as caught:
        write_report(believable, target)
    assert "\n" not in str(caught.value)


def test_how_a_run_was_made_stands_among_the_facts(build: Any) -> None:
    again = [
        {"at": "2026-01-02T03:04", "differences": ["torch 2.11.0 (was 2.10.0)"]},
        {"at": "2026-01-03", "cases": 2},
        7,
    ]
    run = build.run([], notes={"lock": "another run held the device", "empty": "", "resumed": again, "odd": [1]})
    known = dict(facts(run))
    assert known["lock"] == "another run held the device"
    assert known["resumed 2026-01-02T03:04"] == "with differences: torch 2.11.0 (was 2.10.0)"
    assert known["resumed 2026-01-03"] == "as it was started"
    assert not {"empty", "odd", "resumed"} & set(known)
