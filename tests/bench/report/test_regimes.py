"""Decode against prefill: which tokens are which, what the shares are means of, who leads, and what is left out."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import plotly.graph_objects as go
import pytest

from mohge.bench.records import Roof
from mohge.bench.report.cases import measured_groups, series_of
from mohge.bench.report.figures_regimes import decode_against_prefill
from mohge.bench.report.readings_regimes import regimes_reading, remarks, rows
from mohge.bench.report.regimes import DECODE, PREFILL, crossovers, leads, regime_of, shares_of
from mohge.bench.report.roofline import MATRIX, Roofs
from mohge.bench.report.sections import sections

ROOFS = Roofs(matrix=1.0, copy=1.0)


def series(build: Any, times: dict[str, dict[int, float]]) -> Any:
    """Records whose least time is one millisecond under ROOFS, so that a share is 1 over the milliseconds taken."""
    records = [
        build.passed(name, build.case(tokens=tokens), time, useful_flops=10**9, bytes=1)
        for name, by_tokens in times.items()
        for tokens, time in by_tokens.items()
    ]
    ((_, found),) = series_of(measured_groups(build.run(records)))
    return found


@pytest.mark.parametrize(
    ("tokens", "regime"),
    [(None, ""), (0, ""), (1, DECODE), (512, DECODE), (513, ""), (1023, ""), (1024, PREFILL), (65536, PREFILL)],
)
def test_decode_ends_at_512_tokens_and_prefill_begins_at_1024(tokens: int | None, regime: str) -> None:
    assert regime_of(tokens) == regime


def test_a_share_is_the_geometric_mean_over_the_tokens_that_all_have(build: Any) -> None:
    found = series(build, {"triton": {16: 2, 64: 8, 128: 100, 2048: 2}, "torch_loop": {16: 4, 64: 4}})
    shares = {(share.name, share.regime): share for share in shares_of(found, ROOFS)}
    assert list(shares) == [("triton", DECODE), ("torch_loop", DECODE), ("triton", PREFILL)]
    assert shares["triton", DECODE].tokens == (16, 64)
    assert shares["triton", DECODE].share == pytest.approx(math.sqrt(1 / 2 * 1 / 8))
    assert shares["triton", PREFILL].share == pytest.approx(1 / 2)
    assert {limit.limiter for share in shares.values() for limit in share.limits} == {MATRIX}
    assert remarks(found, list(shares.values())) == (
        "In decode, left out of the means, as not every implementation was timed there: 128 tokens.",
    )


def test_means_of_different_cases_are_said(build: Any) -> None:
    found = series(build, {"triton": {16: 2}, "torch_loop": {64: 4, 768: 3}})
    assert remarks(found, shares_of(found, ROOFS)) == (
        "Neither decode nor prefill, and not drawn: 768 tokens.",
        "In decode no tokens are common to all, so that the means are of different cases.",
    )


def test_the_sentence_says_who_leads_and_where_the_lead_changes(build: Any) -> None:
    found = series(build, {"triton": {1: 1, 64: 5, 2048: 10, 4096: 20}, "torch_loop": {1: 2, 64: 5, 2048: 5, 4096: 10}})
    assert [(before.tokens, after.tokens) for before, after in crossovers(leads(found))] == [(1, 2048)]
    shares = shares_of(found, ROOFS)
    assert regimes_reading(found, shares) == (
        "In decode triton is fastest at 1 token and the fastest two cannot be told apart at 64 tokens; in prefill "
        "torch_loop is fastest at 2\u202f048 and 4\u202f096 tokens. The lead goes from triton to torch_loop between "
        "1 and 2\u202f048 tokens."
    )
    assert [row[-1] for row in rows(found, shares)] == [
        "1 (1.00 ms)",
        "–",
        "–",
        "2\u202f048 (5.00 ms), 4\u202f096 (10.0 ms)",
    ]


@pytest.mark.parametrize(
    ("times", "said"),
    [
        ({"triton": {1: 1, 2048: 1}, "cupy": {1: 2, 2048: 2}}, "Nowhere in between does another one lead."),
        ({"triton": {1: 1}, "cupy": {1: 2}}, "Nothing was timed in prefill (1024 tokens or more)."),
        ({"triton": {2048: 1}, "cupy": {2048: 2}}, "Nothing was timed in decode (512 tokens or fewer)."),
        ({"triton": {2048: 2}}, "Only triton was timed: it reaches 50 % in prefill of its limit."),
    ],
)
def test_what_was_not_measured_is_said(build: Any, times: dict[str, dict[int, float]], said: str) -> None:
    found = series(build, times)
    assert said in regimes_reading(found, shares_of(found, ROOFS))


def test_decode_is_hollow_and_prefill_filled(build: Any) -> None:
    found = series(build, {"triton": {1: 1, 2048: 2}, "cupy": {1: 2}})
    figure = decode_against_prefill(shares_of(found, ROOFS))
    assert figure is not None
    go.Figure(figure)
    line, *marks = figure["data"]
    assert line["x"] == pytest.approx([100, 50])
    assert [mark["marker"]["symbol"] for mark in marks[:3]] == ["diamond-open", "star-open", "diamond"]
    assert figure["layout"]["annotations"][0]["text"] == "the roof"
    assert decode_against_prefill([]) is None


def test_without_roofs_the_section_says_which_are_missing(build: Any) -> None:
    run = build.run([build.passed("torch_loop", build.case(tokens=16), 9)])
    bare = replace(run, environment=replace(run.environment, roof=Roof({"bfloat16": 9.0}, 1.0)))
    section = next(section for section in sections(bare) if section.name == "regimes")
    assert not section.variants
    assert section.empty.endswith("(no matrix rate of float32 was measured in this run).")
