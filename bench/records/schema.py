"""What a run file holds, field by field (DESIGN.md section 6). Readers outside rely on the names."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .plan import Plan
from .provenance import Provenance
from .status import Status
from .what_if import TransferRecord, WhatIfRecord
from .what_if_steps import StepRecord

BASELINE = "padded_bmm"  # what speed-ups are over: the honest picture of ignoring heterogeneity
# Raised when a field changes its meaning or goes, with a step in upgrades.py; new fields may appear beside the old.
# 2: clocks and telemetry have named fields, and the newest records of an unfinished run may stand in its journal.
SCHEMA = 2


@dataclass(frozen=True)
class CaseRecord:
    """The case: spec and routing by name; `layer` has the spec's fields, `id` tells cases apart across runs.

    What was compiled but not run has no tokens, routing or dtype.
    """

    spec: str
    tokens: int | None
    routing: str | None
    dtype: str | None
    device: str
    id: str = ""
    seed: int = 0
    step: int = 0
    layer: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> tuple[Any, ...]:
        """What makes two records' cases one, in whichever run."""
        return (self.id, self.spec, self.tokens, self.routing, self.dtype, self.device, self.seed, self.step)


@dataclass(frozen=True)
class ErrorRecord:
    """What the correctness gate found.

    relative: Frobenius norm of the difference over that of the reference
    worst:    the largest element's difference, in units of the tolerance's scale
    where:    its [token, column]
    checked:  what was compared with what, in words
    """

    relative: float | None = None
    worst: float | None = None
    where: list[int] | None = None
    checked: str = ""


@dataclass(frozen=True)
class Samples:
    """Times of one call, in microseconds, in the order they were taken.

    low_us, high_us: a 95 % interval of the median, block bootstrap; NaN (null) with fewer than five samples
    method:          how it was timed, in words
    stop:            why sampling stopped
    timer:           the way it was timed in a word (cpu, events, graph, cupti); empty in files older than this field
    suspects:        places in samples_us of those taken under a throttle reason or far below the run's own clock, and
                     of `unhidden`; they stay among the samples, and the median and its interval leave them out while
                     five and half remain
    unhidden:        places of those with launches in them although the method hides them: the host was too slow
    busy_share:      share of the time in which the device was busy, median over the samples, where the timer sees that
    """

    samples_us: list[float]
    median_us: float
    low_us: float
    high_us: float
    method: str
    stop: str
    timer: str = ""
    suspects: list[int] = field(default_factory=list)
    unhidden: list[int] = field(default_factory=list)
    busy_share: float | None = None


@dataclass(frozen=True)
class Clocks:
    """What the device's clocks did while a record's samples were taken.

    source:     who was asked: nvml, recorded, ...
    samples:    how many readings there are
    sm_mhz:     median of the SM clock; low_mhz, high_mhz: its extremes;  memory_mhz: median of the memory clock
    throttle:   readings under each throttle reason, by name
    suspects:   timing samples marked suspicious for the clocks' sake, over all of the record's times
    rule:       when a sample is marked, in words
    """

    source: str
    samples: int
    sm_mhz: float | None = None
    low_mhz: float | None = None
    high_mhz: float | None = None
    memory_mhz: float | None = None
    throttle: dict[str, int] = field(default_factory=dict)
    suspects: int = 0
    rule: str = ""


@dataclass(frozen=True)
class Telemetry:
    """Sustained replay of one call under a sampler, apart from its timing. Means over the window, shares from 0 to 1.

    window_s:         length of the window, after discarded_s of rise;  samples: readings in it;  calls: replays in it
    source:           nvml, recorded or synthetic
    sm, occupancy, tensor, dram: shares of the SMs, of their warps, of the tensor pipe, of memory bandwidth in use
    utilization:      share of time at least one kernel ran
    power_w:          mean power;  energy_j: energy of the window, from the counter where there is one
    joule_per_token, tflop_per_joule: energy over tokens computed, useful 1e12 FLOP over energy
    sm_mhz:           median SM clock;  temperature_c: the highest;  memory_bytes: the most in use
    interval:         [low, high], a 95 % interval of each mean, by the name of its field
    throttle:         share of readings under each throttle reason
    unavailable:      metrics this device or driver does not give, each with the reason
    trace:            file with the readings, beside the run file;  begin_s, end_s: the window on that file's clock
    energy_source:    counter, or the power metric it was integrated from
    effective:        how many independent readings each mean is worth, by the name of its field
    phases:           window_s, samples and the means of separate stretches in which one phase was replayed, by phase
    cost:             share of one core that sampling took
    notes:            what a reader should know of these figures, in words
    """

    window_s: float
    samples: int
    source: str
    sm: float | None = None
    occupancy: float | None = None
    tensor: float | None = None
    dram: float | None = None
    utilization: float | None = None
    power_w: float | None = None
    energy_j: float | None = None
    joule_per_token: float | None = None
    tflop_per_joule: float | None = None
    sm_mhz: float | None = None
    temperature_c: float | None = None
    memory_bytes: int | None = None
    calls: int = 0
    discarded_s: float = 0.0
    interval: dict[str, list[float]] = field(default_factory=dict)
    throttle: dict[str, float] = field(default_factory=dict)
    unavailable: dict[str, str] = field(default_factory=dict)
    trace: str = ""
    begin_s: float | None = None
    end_s: float | None = None
    energy_source: str = ""
    effective: dict[str, float] = field(default_factory=dict)
    phases: dict[str, dict[str, float]] = field(default_factory=dict)
    cost: float | None = None
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Speedup:
    """How many times faster than `baseline`, median over median of hot samples taken in the same interleaved rounds.

    low, high: a 95 % interval of the ratio, block bootstrap over rounds; NaN (null) with fewer than five of them
    rounds:    how many counted; 0 in files older than this field
    """

    baseline: str
    ratio: float
    low: float
    high: float
    rounds: int = 0

    @property
    def doubt(self) -> str:
        """Why nothing may be called faster or slower, in words; empty where the interval leaves out 1."""
        if self.low > 1 or self.high < 1:
            return ""
        if self.low <= 1 <= self.high:
            return "undecided"
        return f"undecided: {self.rounds} rounds are too few" if self.rounds else "undecided: no interval"


@dataclass(frozen=True)
class Record:
    """One implementation on one case. Times exist only under `passed`: ValueError otherwise.

    useful_flops:  what the mathematics needs;  executed_flops: what tiles and padding cost
    tflops:        useful, from the hot median, in 1e12 / s
    share_of_roof: tflops over the matrix rate measured in the same run
    phases:        hot times of the call's phases, by name: route (the router, where there is one; the same samples in
                   every record of a case), plan (from the routing to the work list), permute, gemm1, gemm2, combine,
                   shared, and end_to_end (route, plan and layer in one call); what is fused into another is left out
    resources:     what ahead-of-time compilation says of each kernel, for provenance "compiled"
    """

    implementation: str
    provenance: Provenance
    status: Status
    case: CaseRecord
    reason: str = ""
    error: ErrorRecord | None = None
    cold: Samples | None = None
    hot: Samples | None = None
    phases: dict[str, Samples] = field(default_factory=dict)
    useful_flops: int | None = None
    executed_flops: int | None = None
    bytes: int | None = None
    tflops: float | None = None
    share_of_roof: float | None = None
    speedup: Speedup | None = None
    resources: list[dict[str, Any]] = field(default_factory=list)
    clocks: Clocks | None = None
    telemetry: Telemetry | None = None
    notes: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        timed = [
            name
            for name in ("cold", "hot", "phases", "tflops", "share_of_roof", "speedup", "telemetry")
            if getattr(self, name)
        ]
        if timed and self.status != Status.PASSED:
            raise ValueError(f"{', '.join(timed)}: expected none under status {self.status}, only under passed")


@dataclass(frozen=True)
class RankTimes:
    """A placement's ranks run one after another on one device, each its experts with its rows, beside the simulated.

    implementation: who computed;  costs: what the simulated seconds are from, "measured: ..." or "predicted: ..."
    rows:           rows each rank computed
    measured_s:     median seconds of each rank, hot, 0 without rows; None where it was not timed
    low_s, high_s:  95 % intervals of these
    simulated_s:    what the cost model says of each rank
    errors:         simulated over measured, minus 1, of each rank; None where that is not known
    makespan_s, simulated_makespan_s, makespan_error: the same of the slowest rank; exchanges are no part of it
    cases:          ids of the ranks' own records in this run; empty for a rank without rows
    reasons:        why a rank was not timed, by its number
    """

    implementation: str
    costs: str
    rows: list[int]
    measured_s: list[float | None]
    low_s: list[float | None]
    high_s: list[float | None]
    simulated_s: list[float]
    errors: list[float | None]
    simulated_makespan_s: float
    makespan_s: float | None = None
    makespan_error: float | None = None
    cases: list[str] = field(default_factory=list)
    reasons: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class PlacementRecord:
    """A placement of a case's experts. provenance: predicted or simulated unless ranks were measured.

    rank_of:      the rank of every expert, or a list of ranks where it has replicas
    shares:       for each expert the share of its rows that each of these ranks takes; None where nothing is replicated
    rows:         rows per rank;  work: FLOPs per rank;  seconds: per rank
    parameters:   resident on each rank;  memory: their bytes in the case's dtype
    bytes_matrix: bytes from rank to rank, [P][P]
    bound:        no placement has less work on its busiest rank (work over speed, where ranks differ in speed)
    size_bound:   none of those that give every rank equally many experts of every width; None where this is not one
    straggler:    the rank with the most work
    measured:     the ranks' times on one device; then `seconds` are those, and provenance is measured
    notes:        placement (what had to be bent), solver (its status, value, bound, unit, gap and time limit), costs
                  (how far the measured ranks' cost model is from points it was not told)
    The ratios are those of placement.Placement under the same names.
    """

    case: CaseRecord
    policy: str
    ranks: int
    rank_of: list[Any]
    rows: list[float]
    work: list[float]
    provenance: Provenance
    seconds: list[float] | None = None
    parameters: list[int] | None = None
    memory: list[float] | None = None
    bytes_matrix: list[list[float]] | None = None
    shares: list[list[float]] | None = None
    bound: float | None = None
    size_bound: float | None = None
    straggler: int | None = None
    rows_max_over_mean: float | None = None
    work_max_over_mean: float | None = None
    work_over_bound: float | None = None
    work_over_size_bound: float | None = None
    memory_max_over_mean: float | None = None
    notes: dict[str, Any] = field(default_factory=dict)
    measured: RankTimes | None = None


@dataclass(frozen=True)
class TuningRecord:
    """One study: an implementation's configurations on one class of case.

    gpu:           the GPU's name, or None where nothing was run
    spec_class, tokens, routing_class: what the winner is for, as the table of tuned configurations keys it
    case:          the case the trials ran
    objective:     what was minimised, in words, with its unit
    trials:        of each, in order: number, state (Optuna's), outcome (complete, invalid, pruned_static, incorrect,
                   crashed, timeout, out_of_memory, duplicate, lost, not_recorded, running), reason, origin (current,
                   built-in, sampler, again, ...), values (the configuration), ratio (its time over that of the current
                   configuration, in the case where it does worst), time_us and energy_j there, seconds it took,
                   started, worker, cases (times and ratio of each routing), resources (as compiled)
    importance:    share by parameter of what tells the best trials from all; the method is in the notes
    pareto:        numbers of the trials that no other one beats in both time and energy, fastest first
    finalists:     the best trials timed again against each other, interleaved, best first: number, values, outcome,
                   ratio with ratio_low and ratio_high, time_us, cases, ...
    winner:        the finalist that beats the current configuration, or None where that one is kept
    study:         the study's name in its storage
    notes:         verdict and ended (in words), mode, current and built_in (configurations), routings, choices,
                   sampler, dtype; machine (the rates a prediction assumes), replayed (the file)
    """

    implementation: str
    provenance: Provenance
    gpu: str | None
    spec_class: str
    tokens: int
    routing_class: str
    case: CaseRecord
    objective: str
    trials: list[dict[str, Any]] = field(default_factory=list)
    importance: dict[str, float] = field(default_factory=dict)
    pareto: list[int] = field(default_factory=list)
    finalists: list[dict[str, Any]] = field(default_factory=list)
    winner: dict[str, Any] | None = None
    study: str = ""
    notes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Roof:
    """Rates measured in this run. matmul_tflops: 1e12 FLOP / s by dtype;  copy_tbps: 1e12 bytes / s, read + written."""

    matmul_tflops: dict[str, float] = field(default_factory=dict)
    copy_tbps: float | None = None
    method: str = ""


@dataclass(frozen=True)
class Environment:
    """The machine a run was made on; `gpu` is None without one."""

    gpu: dict[str, Any] | None = None
    roof: Roof | None = None
    libraries: dict[str, str] = field(default_factory=dict)
    cpu: dict[str, Any] = field(default_factory=dict)
    python: str = ""
    platform: str = ""


@dataclass(frozen=True)
class GitRecord:
    """The revision the suite ran from, and whether files differed from it."""

    revision: str
    dirty: bool


@dataclass(frozen=True)
class Run:
    """One invocation's results: everything in run.json.

    command:  the words that reproduce it;  started, finished: ISO 8601, UTC; finished is None when it was interrupted
    plan:     what was to be done, while it is not finished; None where the run cannot be resumed
    """

    command: list[str]
    started: str
    source_hash: str
    environment: Environment
    schema: int = SCHEMA
    name: str = "run"
    finished: str | None = None
    git: GitRecord | None = None
    plan: Plan | None = None
    records: list[Record] = field(default_factory=list)
    placements: list[PlacementRecord] = field(default_factory=list)
    tuning: list[TuningRecord] = field(default_factory=list)
    what_if: list[WhatIfRecord] = field(default_factory=list)
    transfers: list[TransferRecord] = field(default_factory=list)
    steps: list[StepRecord] = field(default_factory=list)
    notes: dict[str, Any] = field(default_factory=dict)
