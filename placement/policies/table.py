"""The literal table of policies."""

from __future__ import annotations

from ..problem import Problem
from .eplb import eplb
from .exact import exact
from .fixed import (
    aga,
    contiguous,
    one_size_per_rank,
    one_size_reason,
    round_robin,
    round_robin_reason,
)
from .greedy import lpt, stratified
from .policy import Policy, once_each


def _anything(_problem: Problem) -> str | None:
    """No limit: it heeds replicas, slots, speeds and memory caps."""
    return None


POLICIES: dict[str, Policy] = {
    "aga": Policy("aga", "released MoHGE: every rank the same mix of widths, blind to loads", aga, once_each),
    "contiguous": Policy("contiguous", "experts in the order of their ids", contiguous, once_each),
    "one_size_per_rank": Policy(
        "one_size_per_rank", "every rank one width only, the opposite of aga", one_size_per_rank, one_size_reason
    ),
    "round_robin": Policy("round_robin", "expert e on rank e mod P", round_robin, round_robin_reason),
    "lpt": Policy(
        "lpt", "dearest expert first, to the rank with the least work", lpt, once_each, options=("by", "swaps")
    ),
    "eplb": Policy(
        "eplb", "DeepSeek's EPLB: replicate the hottest, then pack", eplb, _anything, options=("by", "mode", "groups")
    ),
    "stratified": Policy(
        "stratified",
        "aga's widths and memory, experts chosen by load, then swaps",
        stratified,
        once_each,
        options=("by",),
    ),
    "exact": Policy(
        "exact",
        "the best there is, or the best in a time limit with the solver's bound",
        exact,
        _anything,
        options=("by", "solver", "time_limit_s"),
        quick=False,
    ),
}
