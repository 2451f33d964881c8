"""What-if studies: a grid of scenarios, each placed and simulated, and what they answer."""

from .scenario import Materials, Scenario
from .solve import Solver, solve

__all__ = ["Materials", "Scenario", "Solver", "solve"]
