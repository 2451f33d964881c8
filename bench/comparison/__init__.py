"""Comparison: the ratio of two sets of samples with an interval, and the verdict it allows."""

from .compare import compare_implementations, compare_runs
from .matching import together
from .result import Change, Comparison, Missing, Options, Ratio, Row, Verdict

__all__ = [
    "Change",
    "Comparison",
    "Missing",
    "Options",
    "Ratio",
    "Row",
    "Verdict",
    "compare_implementations",
    "compare_runs",
    "together",
]
