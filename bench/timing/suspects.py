"""Which samples count: suspect ones are left out of medians and intervals while enough others remain."""

from __future__ import annotations

from collections.abc import Collection

from ..records import Samples
from .resample import FEWEST

# With less than this share left, the suspects are no exception but what this machine does: then all count. So they do
# where too few would be left for an interval.
LEAST_SHARE_LEFT = 0.5


def counting(total: int, suspects: Collection[int]) -> list[int]:
    """The places, out of `total`, of the samples that count: all but `suspects`, or all of them when fewer than five
    or fewer than half would be left.
    """
    left = [place for place in range(total) if place not in suspects]
    return left if len(left) >= max(FEWEST, LEAST_SHARE_LEFT * total) else list(range(total))


def left_out_text(total: int, suspects: Collection[int]) -> str:
    """What became of the suspects, as the end of a stop reason; empty without any."""
    if not suspects:
        return ""
    if len(counting(total, suspects)) == total:
        return f"; {len(suspects)} of {total} samples suspect and counted: too few others"
    return f"; {len(suspects)} of {total} samples suspect and left out"


def by_clocks(samples: Samples) -> int:
    """How many samples are suspect for what the clocks did, not for launches in them."""
    return len(set(samples.suspects) - set(samples.unhidden))


def unhidden_text(total: int, unhidden: Collection[int], suspects: Collection[int]) -> str:
    """What became of samples whose launches could not be hidden, as the end of a method; empty without any."""
    if not unhidden:
        return ""
    fate = "counted: too few others" if len(counting(total, suspects)) == total else "left out"
    return f"; {len(unhidden)} of {total} samples have launches in them, the host was too slow: {fate}"


def counted_pairs(a: Samples, b: Samples) -> tuple[list[float], list[float]]:
    """The samples of both from the same rounds, as far as they count: a round suspect in either is left out."""
    both = min(len(a.samples_us), len(b.samples_us))
    suspects = {place for samples in (a, b) for place in samples.suspects if place < both}
    places = counting(both, suspects)
    return [a.samples_us[place] for place in places], [b.samples_us[place] for place in places]
