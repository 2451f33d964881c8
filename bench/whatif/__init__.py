"""What-if studies: a grid of scenarios, each placed and simulated, and what they answer."""

from .grid import AXES, Grid, parse_grid
from .scenario import Materials, Scenario
from .solve import Solver, solve
from .study import Study, Wanted, make_study
from .sweep import NOTE, NOTHING, Done, notes_of, run_study, size_of, wanted_of

__all__ = [
    "AXES",
    "NOTE",
    "NOTHING",
    "Done",
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
    "size_of",
    "solve",
    "wanted_of",
]
