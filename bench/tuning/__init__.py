"""The tuning study: which launch configuration of an implementation is fastest for a class of case.

A study has one task (`task.py`) and one place in an Optuna storage (`board.py`); any number of processes on any number
of machines work on it (`loop.py`). What a configuration is worth is found by an evaluator (`evaluate.py`): measured or
predicted in a process of its own (`worker.py`), or looked up in a recorded study (`replay.py`). The best are timed
again against each other (`finals.py`), the record is built from the storage (`summary.py`), and a winner becomes a row
proposed for the table of tuned configurations (`proposal.py`). Optuna is imported when a study is opened, not before.
"""

from .outcome import Outcome, Result
from .predict import H200, Machine
from .proposal import apply_rows, proposed_rows, table_diff
from .task import StudyTask, TrialLimits, load_tunable

__all__ = [
    "H200",
    "Machine",
    "Outcome",
    "Result",
    "StudyTask",
    "TrialLimits",
    "apply_rows",
    "load_tunable",
    "proposed_rows",
    "table_diff",
]
