"""The ladder of versions: what a step is worth, where versions are folded away, what is said of those without times."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import plotly.graph_objects as go
import pytest

from mohge.bench.peers import VERSIONS, family_of
from mohge.bench.records import Record, Run, Status
from mohge.bench.report.cases import main_case, measured_groups
from mohge.bench.report.figures_ladder import ladder_figure
from mohge.bench.report.ladder import ladders
from mohge.bench.report.page import render
from mohge.bench.report.palette import colour
from mohge.bench.report.readings_ladder import HEADER, ladder_reading, remarks, step_text, table
from mohge.bench.report.sections import sections
from mohge.bench.report.verdict import verdict

STEPS = [name for name in VERSIONS if family_of(name) == "cupy"][:3]
FIRST, SECOND, THIRD = STEPS
OTHERS = {"padded_bmm": 90.0, "cupy": 10.0, "triton": 12.0}
NO_TIME: dict[str, Any] = {"hot": None, "cold": None, "phases": {}, "tflops": None, "share_of_roof": None}


def unsupported(record: Record, reason: str = "wgmma needs another GPU") -> Record:
    return replace(record, status=Status.UNSUPPORTED, reason=reason, **NO_TIME)


def timed(build: Any, tokens: int, **milliseconds: float) -> list[Record]:
    return [build.passed(name, build.case(tokens=tokens), time) for name, time in milliseconds.items()]


@pytest.fixture
def run(build: Any) -> Run:
    """Decode, where the second version wins and cupy takes it, and prefill, where each beats the one before."""
    few = timed(build, 16, **{FIRST: 40, SECOND: 10, THIRD: 20}, **OTHERS)
    many = timed(build, 256, **{FIRST: 400, SECOND: 100, THIRD: 50}, **{name: 5 * t for name, t in OTHERS.items()})
    return build.run([*many, *few])


def ladder_section(run: Run) -> Any:
    return next((section for section in sections(run) if section.name == "ladder"), None)


def row_of(run: Run, name: str, tokens: int) -> dict[str, str]:
    ((_, found),) = ladders(run)
    rows = [dict(zip(HEADER, row, strict=True)) for row in table(found, run.environment)]
    return next(row for row in rows if (row["implementation"], row["tokens"]) == (name, str(tokens)))


class TestSteps:
    def test_a_step_is_over_the_version_before(self, run: Run) -> None:
        ((case, (few, many)),) = ladders(run)
        assert (case.spec, few.case.tokens, many.case.tokens) == ("mohge-3b", 16, 256)
        assert [rung.record.implementation for rung in many.rungs] == STEPS
        first, second, third = many.rungs
        assert first.faster is None
        assert second.faster is not None
        assert third.faster is not None
        assert (second.faster.value, third.faster.value) == pytest.approx((4, 2), rel=0.05)
        assert third.faster.low < 2 < third.faster.high
        assert step_text(third).endswith(f" as fast as {SECOND}")
        assert (few.fastest.record.implementation, many.fastest.record.implementation) == (SECOND, THIRD)

    def test_the_implementation_itself_is_held_against_the_fastest_of_its_versions(self, run: Run) -> None:
        ((_, (few, many)),) = ladders(run)
        for ladder, best in ((few, SECOND), (many, THIRD)):
            assert ladder.itself is not None
            assert ladder.itself.before is not None
            assert ladder.itself.before.implementation == best
            assert ladder.itself.doubt == "undecided"

    def test_what_was_not_timed_is_passed_over_and_says_why(self, build: Any, run: Run) -> None:
        records = [unsupported(r) if r.implementation == SECOND else r for r in run.records]
        without = build.run(records)
        ((_, (_, many)),) = ladders(without)
        assert many.rungs[2].before is not None
        assert many.rungs[2].before.implementation == FIRST
        row = row_of(without, SECOND, 256)
        assert row["hot"] == "unsupported"
        (_, found) = ladders(without)[0]
        assert remarks(found)[0] == f"{SECOND} unsupported: wgmma needs another GPU."
        assert row["times as fast"] == row["gemm1"] == "–"

    @pytest.mark.parametrize("left", [[], STEPS[:1]])
    def test_there_is_no_ladder_of_fewer_than_two(self, build: Any, run: Run, left: list[str]) -> None:
        records = [r if r.implementation in (*left, *OTHERS) else unsupported(r) for r in run.records]
        assert ladders(build.run(records)) == []
        assert ladder_section(build.run(records)) is None


class TestSaid:
    def test_the_table_has_time_rate_share_step_and_phases(self, run: Run) -> None:
        row = row_of(run, THIRD, 256)
        assert row["hot"] == "50.0 ms"
        assert row["95 % interval"] == "49.0 ms to 51.0 ms"
        assert (row["gemm1"], row["gemm2"], row["as"]) == ("30.0 ms", "15.0 ms", SECOND)
        assert float(row["times as fast"].split()[0]) == pytest.approx(2, rel=0.05)
        assert row["share of the roof"].endswith(" % of matrix rate")

    def test_a_share_needs_a_measured_roof(self, build: Any, run: Run) -> None:
        bare = build.run(
            [replace(record, share_of_roof=None) for record in run.records],
            environment=replace(run.environment, roof=None),
        )
        assert row_of(bare, THIRD, 256)["share of the roof"] == "no measured roof"

    def test_the_sentence_says_who_is_fastest_where_and_the_largest_step(self, run: Run) -> None:
        ((_, found),) = ladders(run)
        reading = ladder_reading(found)
        assert f"At 16 tokens {SECOND} has the lowest time, 4.00 times as fast as {FIRST}; slower than" in reading
        assert (
            f"At 256 tokens {THIRD} has the lowest time, 8.00 times as fast as {FIRST}; the largest step is" in reading
        )
        assert reading.count(f"cupy itself cannot be told from {SECOND}.") == 1

    def test_what_is_undecided_is_called_that(self, build: Any) -> None:
        records = timed(build, 16, **{FIRST: 40, SECOND: 40.1}, padded_bmm=90)
        ((_, found),) = ladders(build.run(records))
        assert f"undecided against the one before: {SECOND}" in ladder_reading(found)
        figure = ladder_figure(found, build.run([]).environment)
        assert figure is not None
        assert figure["data"][0]["text"][1].strip().endswith("?")


class TestDrawn:
    def test_a_panel_for_each_number_of_tokens_in_the_colours_of_the_family(self, run: Run) -> None:
        ((_, found),) = ladders(run)
        figure = ladder_figure(found, run.environment)
        assert figure is not None
        go.Figure(figure)
        few, many = figure["data"]
        assert few["y"] == many["y"] == [*STEPS, "cupy"]
        assert few["marker"]["color"] == [colour(name) for name in few["y"]]
        assert few["meta"] == {"implementation": few["y"], "tokens": 16}
        assert many["x"][2] == pytest.approx(2 * many["x"][1])
        assert len(figure["layout"]["shapes"]) == 2  # the roof of each
        low, high = figure["layout"]["yaxis2"]["domain"]
        assert 0 < low < high < figure["layout"]["yaxis"]["domain"][0]

    def test_without_roofs_there_is_no_line_and_without_flops_no_panel(self, build: Any, run: Run) -> None:
        bare = replace(run, environment=replace(run.environment, roof=None))
        ((_, found),) = ladders(bare)
        figure = ladder_figure(found, bare.environment)
        assert figure is not None
        assert figure["layout"]["shapes"] == []
        records = [replace(record, useful_flops=None) for record in run.records]
        ((_, found),) = ladders(build.run(records))
        assert ladder_figure(found, run.environment) is None

    def test_the_ladder_with_the_most_versions_on_the_main_case_is_shown_first(self, build: Any, run: Run) -> None:
        short = [name for name in VERSIONS if family_of(name) == "triton"][:2]
        other = [replace(record, case=build.case(tokens=256, routing="zipf:1.0")) for record in run.records]
        records = [*timed(build, 256, **dict.fromkeys(short, 60.0)), *other[:6], *run.records]
        section = ladder_section(build.run(records))
        assert len(section.variants) == 3
        assert section.variants[section.first].label.startswith("cupy \u00b7 mohge-3b \u00b7 ")
        main = main_case(build.run(records))
        assert main is not None
        assert str(main.case.routing) in section.variants[section.first].label


class TestFolded:
    def test_versions_are_no_rivals_of_the_implementation_itself(self, run: Run) -> None:
        main = main_case(run)
        assert main is not None
        assert [record.implementation for record in main.fastest] == ["cupy", "triton", "padded_bmm"]
        assert verdict(run).sentence.startswith("cupy is fastest on mohge-3b (256 tokens")
        assert verdict(run).kind == "decided"

    def test_the_table_says_where_they_are_and_the_records_have_them(self, build: Any, run: Run) -> None:
        page = render(run)
        assert f"Not in this table: {', '.join(STEPS)}, versions of cupy. Their times:" in page
        assert '<a href="#ladder">the ladder</a>' in page
        assert page.count('data-section="ladder"') == 1
        rows = build.data(page, "record-rows")["rows"]
        assert sum(row[1] in STEPS for row in rows) == 6

    def test_a_version_stays_where_nobody_stands_for_it(self, build: Any, run: Run) -> None:
        alone = build.run([record for record in run.records if record.implementation != "cupy"])
        assert verdict(alone).sentence.startswith(f"{THIRD} is fastest")
        assert {record.implementation for group in measured_groups(alone) for record in group.timed} >= {*STEPS}
        failed = build.run([unsupported(r) if r.implementation == "cupy" else r for r in run.records])
        assert {record.implementation for group in measured_groups(failed) for record in group.timed} >= {*STEPS}

    def test_where_nobody_was_timed_the_versions_do_not_repeat_the_reason(self, build: Any, run: Run) -> None:
        records = [r if r.implementation in ("triton", "padded_bmm") else unsupported(r, "no GPU") for r in run.records]
        names = {record.implementation for group in measured_groups(build.run(records)) for record in group.records}
        assert names == {"triton", "padded_bmm", "cupy"}
