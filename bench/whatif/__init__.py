"""What-if studies: a grid of scenarios, each placed and simulated, and what they answer."""

from .grid import AXES, Grid, parse_grid
from .scenario import Materials, Scenario
from .solve import Solver, solve
from .study import Study, Wanted, make_study
from .sweep import NOTE, notes_of, run_study, wanted_of

__all__ = [
    "AXES",
    "NOTE",
    "Grid",
    "Materials",
    "Scenario",
    "Solver",
    "Study",
    "Wanted",
    "make_study",
    "notes_of",
    "parse_grid",
    "run_study",
    "solve",
    "wanted_of",
]
