"""Where experts live: policies that assign them to ranks, what that costs each rank, and a bound on the best."""

from .allocation import Placement, allocate, policies_for, rescore
from .assignment import Assignment, Solution
from .bounds import lower_bound
from .loads import Loads, read_loads
from .policies import POLICIES, Policy, rebalance
from .problem import Problem

__all__ = [
    "POLICIES",
    "Assignment",
    "Loads",
    "Placement",
    "Policy",
    "Problem",
    "Solution",
    "allocate",
    "lower_bound",
    "policies_for",
    "read_loads",
    "rebalance",
    "rescore",
]
