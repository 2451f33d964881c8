"""The run file: what it holds, writing it so that nothing finished is lost, reading it, and the environment in it."""

from .clocks import THROTTLE_REASONS, ClockReading
from .environment import collect_environment, driver_version, git_state, source_hash
from .labelled import LabelledRun, load_runs, run_labels
from .plan import Plan
from .provenance import Provenance
from .reading import FILE_NAME, load_run, run_path
from .run_file import RunWriter, check_writable
from .schema import (
    BASELINE,
    SCHEMA,
    CaseRecord,
    Clocks,
    Environment,
    ErrorRecord,
    GitRecord,
    PlacementRecord,
    RankTimes,
    Record,
    Roof,
    Run,
    Samples,
    Speedup,
    Telemetry,
    TuningRecord,
)
from .status import Status, status_of
from .uncollected import uncollected
from .what_if import IMPOSSIBLE, POSSIBLE, TransferRecord, WhatIfRecord
from .what_if_steps import StepRecord

__all__ = [
    "BASELINE",
    "FILE_NAME",
    "IMPOSSIBLE",
    "POSSIBLE",
    "SCHEMA",
    "THROTTLE_REASONS",
    "CaseRecord",
    "ClockReading",
    "Clocks",
    "Environment",
    "ErrorRecord",
    "GitRecord",
    "LabelledRun",
    "PlacementRecord",
    "Plan",
    "Provenance",
    "RankTimes",
    "Record",
    "Roof",
    "Run",
    "RunWriter",
    "Samples",
    "Speedup",
    "Status",
    "StepRecord",
    "Telemetry",
    "TransferRecord",
    "TuningRecord",
    "WhatIfRecord",
    "check_writable",
    "collect_environment",
    "driver_version",
    "git_state",
    "load_run",
    "load_runs",
    "run_labels",
    "run_path",
    "source_hash",
    "status_of",
    "uncollected",
]
