"""The first screen's figure: the rates of the main case as bars, which are there before anything is drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..records import Record
from .cases import Group, has_interval, has_times, hot_median
from .formats import NONE, is_number, percent_text, rate_text
from .palette import colour


@dataclass(frozen=True)
class Bar:
    """One implementation's useful rate. length, low, high: in percent of the figure's width, NaN without an interval.

    Rate r and 95 % interval of r where the fastest one's interval ends at m: length 100 r / m.
    """

    implementation: str
    colour: str
    rate: str
    share: str
    length: float
    low: float
    high: float

    @property
    def meta(self) -> Mapping[str, Any]:
        """What the page's filter goes by."""
        return {"implementation": self.implementation}

    @property
    def has_interval(self) -> bool:
        """Whether there is one to draw."""
        return is_number(self.low)


def bars(group: Group) -> list[Bar]:
    """The timed implementations of a case, the fastest first; empty where there are not two to compare."""
    timed = [record for record in group.fastest if is_number(record.tflops) and record.tflops > 0]
    rates = [_rates(record) for record in timed]
    most = max((high if is_number(high) else rate for rate, _, high in rates), default=0.0)
    if len(timed) < 2 or not is_number(most):
        return []
    return [
        Bar(
            implementation=record.implementation,
            colour=colour(record.implementation),
            rate=rate_text(rate),
            share=percent_text(record.share_of_roof) if is_number(record.share_of_roof) else NONE,
            length=100 * rate / most,
            low=100 * low / most,
            high=100 * high / most,
        )
        for record, (rate, low, high) in zip(timed, rates, strict=True)
    ]


def _rates(record: Record) -> tuple[float, float, float]:
    """The useful rate and its interval, which is that of the time turned over, in 1e12 FLOP/s."""
    rate, median, hot = float(record.tflops or 0), hot_median(record), record.hot
    if not has_times(hot) or not has_interval(hot):
        return rate, float("nan"), float("nan")
    return rate, rate * median / hot.high_us, rate * median / hot.low_us
