"""The correctness gate: a layer is right against the float64 reference, on fresh numbers, before anyone times it."""

from .check import answer, check
from .compare import Difference, difference, not_finite
from .context import context_error, make_current
from .expected import REFERENCE_FLOPS, SAMPLED_TOKENS
from .kept import KeptQuestions
from .placed import Placed, place
from .poison import NaNWhereUninitialized
from .question import Question, pose
from .result import GateResult, Trusted
from .tolerance import TOLERANCES, Tolerance, tolerance_for

__all__ = [
    "REFERENCE_FLOPS",
    "SAMPLED_TOKENS",
    "TOLERANCES",
    "Difference",
    "GateResult",
    "KeptQuestions",
    "NaNWhereUninitialized",
    "Placed",
    "Question",
    "Tolerance",
    "Trusted",
    "answer",
    "check",
    "context_error",
    "difference",
    "make_current",
    "not_finite",
    "place",
    "pose",
    "tolerance_for",
]
