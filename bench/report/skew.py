"""How unevenly a measured routing spread its rows, read back from what the padded baseline executed."""

from __future__ import annotations

from ..records import BASELINE, CaseRecord
from .cases import Group, widths
from .formats import is_number


def skew_of(group: Group) -> float | None:
    """Rows of the fullest expert over those of the mean expert, of the routing this case was timed with.

    padded_bmm gives every one of the E experts the rows of the fullest and the width of the widest, so it executes
    6 * H * max W * E * max n FLOPs; the mean is R / E = T * K / E. None where it left no count or the run file does
    not say the layer.
    """
    counts = (record.executed_flops for record in group.records if record.implementation == BASELINE)
    executed = next(filter(None, counts), None)
    rows = _rows(group.case)
    hidden = group.case.layer.get("hidden")
    if not (is_number(executed) and is_number(hidden) and hidden > 0 and rows):
        return None
    return executed / (6 * hidden * max(widths(group.case))) / rows


def _rows(case: CaseRecord) -> float | None:
    """Rows of the whole batch, R = T * K; None where the run file does not say, or there are none."""
    top_k = case.layer.get("top_k")
    if not (is_number(top_k) and top_k > 0 and case.tokens and widths(case) and min(widths(case)) > 0):
        return None
    return case.tokens * top_k
