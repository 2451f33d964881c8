"""Where experts live: policies that assign them to ranks, what that costs each rank, and a bound on the best."""

from .allocation import Placement, allocate
from .bounds import lower_bound
from .loads import Loads, read_loads
from .policies import POLICIES, Policy

__all__ = ["POLICIES", "Loads", "Placement", "Policy", "allocate", "lower_bound", "read_loads"]
