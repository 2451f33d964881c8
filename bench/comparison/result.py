"""What a comparison is: a row per case and implementation, with a verdict and the reasons behind it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum

from ..records import CaseRecord, Provenance, Status

AUTO, NO_ANCHOR = "auto", "none"
HOT, COLD, PHASES = "hot", "cold", "phases:"


class Verdict(StrEnum):
    """What the samples allow to be said of B against A; the rule is `decide` in verdict.py."""

    FASTER = "faster"
    SLOWER = "slower"
    SAME = "same"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class Options:
    """What is compared and how.

    which:           the times: "hot", "cold", "phases:NAME"
    threshold:       a change smaller than this share does not matter
    anchor:          an implementation that did not change, "auto" (the baselines that both have) or "none"
    run_to_run:      standard deviation of a median from run to run, as a share, where the runs do not show it; None
                     takes it from the spread of the samples (`deviation` in effects.py)
    case:            only cases whose id or title has this text or matches this pattern (*, ?); all when empty
    implementations: only these; all when empty
    force:           compare although the environments differ in what matters
    """

    which: tuple[str, ...] = (HOT,)
    threshold: float = 0.02
    anchor: str = AUTO
    run_to_run: float | None = None
    case: str = ""
    implementations: tuple[str, ...] = ()
    force: bool = False

    def __post_init__(self) -> None:
        for name in self.which:
            if name not in (HOT, COLD) and not (name.startswith(PHASES) and len(name) > len(PHASES)):
                raise ValueError(f"which: expected hot, cold or phases:NAME, got {name!r}")
        if not 0 < self.threshold < 1:
            raise ValueError(f"threshold: expected more than 0 % and less than 100 %, got {self.threshold * 100:g} %")
        if self.run_to_run is not None and not 0 <= self.run_to_run < 1:
            raise ValueError(f"run_to_run: expected 0 % or more and less than 100 %, got {self.run_to_run * 100:g} %")


@dataclass(frozen=True)
class Ratio:
    """Time of B over time of A, above 1 where B is slower, with a 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Row:
    """One implementation, or pair of implementations, on one case.

    which:       the times compared;  a_us, b_us: medians of the samples used, over several runs their geometric mean
    ratio:       what the verdict is about;  raw: the ratio without anchors, where `ratio` has them
    p_value:     of this ratio being 1;  p_adjusted: the same among all rows of the comparison (Holm)
    method:      how the interval was made, in words;  anchors: the implementations divided by
    samples:     rounds used of A and of B, over all runs;  left_out: rounds left out as suspect
    more_samples, more_runs: how many more of A and of B each it would take to decide, where that would help
    """

    case: CaseRecord
    implementation: str
    which: str
    a_us: float
    b_us: float
    ratio: Ratio
    verdict: Verdict
    p_value: float
    p_adjusted: float
    method: str
    samples: tuple[int, int]
    raw: Ratio | None = None
    anchors: tuple[str, ...] = ()
    left_out: int = 0
    more_samples: int | None = None
    more_runs: int | None = None
    note: str = ""


@dataclass(frozen=True)
class Change:
    """A case whose status is not `passed` on both sides. regression: it passed in A and failed in B."""

    case: CaseRecord
    implementation: str
    provenance: Provenance
    before: Status
    after: Status
    reason: str
    regression: bool


@dataclass(frozen=True)
class Missing:
    """What only one side has, or what has no time to compare, and why."""

    case: CaseRecord
    implementation: str
    side: str
    reason: str


@dataclass(frozen=True)
class Comparison:
    """B against A.

    a, b:     what was compared, in words;  runs_a, runs_b: how many runs of each
    options:  how;  anchors: the implementations used as anchors in some row
    changes:  statuses that are not `passed` on both sides;  missing: what could not be compared
    warnings: what differs between the sides, or disturbed a run
    refused:  what `force` overruled;  multiplicity: how many rows at once were allowed for, in words
    """

    a: str
    b: str
    runs_a: int
    runs_b: int
    options: Options
    rows: tuple[Row, ...]
    changes: tuple[Change, ...] = ()
    missing: tuple[Missing, ...] = ()
    anchors: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    multiplicity: str = ""

    @property
    def counts(self) -> dict[str, int]:
        """Rows under each verdict, all four named."""
        found = Counter(row.verdict for row in self.rows)
        return {str(verdict): found[verdict] for verdict in Verdict}

    @property
    def broken(self) -> tuple[Change, ...]:
        """What passed in A and failed in B."""
        return tuple(change for change in self.changes if change.regression)
