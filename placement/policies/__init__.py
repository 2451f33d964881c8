"""Placement policies: pure functions from a problem (a layer, its loads, ranks) to an assignment of its experts."""

from .eplb import rebalance
from .greedy import stratify
from .policy import Policy
from .table import POLICIES

__all__ = ["POLICIES", "Policy", "rebalance", "stratify"]
