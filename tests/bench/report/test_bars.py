"""The first screen's bars: the rates of the table beside them, to scale, and nothing where nothing is compared."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest

from mohge.bench.report.bars import Bar, bars
from mohge.bench.report.cases import main_case
from mohge.bench.report.formats import rate_text
from mohge.bench.report.page import render


def drawn(build: Any, *records: Any) -> list[Bar]:
    group = main_case(build.run(list(records)))
    assert group is not None
    return bars(group)


def test_lengths_are_rates_and_whiskers_the_interval_of_the_time_turned_over(build: Any) -> None:
    where = build.case()
    slow, fast = build.passed("padded_bmm", where, 400, spread=0.05), build.passed("torch_loop", where, 100, spread=0.1)
    first, second = drawn(build, slow, fast)
    assert [first.implementation, second.implementation] == ["torch_loop", "padded_bmm"]
    assert first.high == pytest.approx(100)  # the fastest one's interval fills the width
    assert first.length / second.length == pytest.approx(fast.tflops / slow.tflops)
    for bar, record in ((first, fast), (second, slow)):
        assert bar.length / bar.low == pytest.approx(record.hot.high_us / record.hot.median_us)
        assert bar.high / bar.length == pytest.approx(record.hot.median_us / record.hot.low_us)
        assert bar.rate == rate_text(record.tflops)


def test_too_few_samples_have_no_whisker(build: Any) -> None:
    where = build.case()
    few = build.passed("torch_loop", where, 100, hot=build.samples(100_000.0, count=3))
    first, second = drawn(build, few, build.passed("padded_bmm", where, 400))
    assert not first.has_interval
    assert math.isnan(first.low)
    assert first.length == pytest.approx(100)
    assert second.has_interval


def test_one_implementation_is_no_comparison(build: Any) -> None:
    assert drawn(build, build.passed("torch_loop", build.case(), 100)) == []
    assert '<figure class="bars"' not in render(build.run([build.passed("torch_loop", build.case(), 100)]))
    assert '<figure class="bars"' not in render(build.run([]))


def test_names_stay_text(build: Any) -> None:
    where = build.case()
    page = render(build.run([build.passed("<b>mine</b>", where, 100), build.passed("padded_bmm", where, 400)]))
    figure = re.search(r'<figure class="bars".*?</figure>', page, re.DOTALL)
    assert figure is not None
    assert "&lt;b&gt;mine&lt;/b&gt;" in figure[0]
    assert "<b>mine" not in figure[0]
