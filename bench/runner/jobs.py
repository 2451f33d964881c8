"""What one worker process is asked to do: one spec, one device, one dtype, several cases and implementations."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from ...reference import LayerSpec
from ..records import CaseRecord
from ..workloads import Case, Workload, parse_routing


@dataclass(frozen=True)
class Source:
    """A routing by its text; for "trace" also the file, the domain and the layer (see `workloads.parse_routing`)."""

    text: str
    trace: str | None = None
    domain: str | None = None
    layer: int | None = None

    def workload(self) -> Workload:
        """The workload meant. Raises ValueError."""
        return parse_routing(self.text, trace=self.trace, domain=self.domain, layer=self.layer)


@dataclass(frozen=True)
class TimingLimits:
    """When the measurement of one case stops.

    seconds:     longest time for all implementations of a case together, once cold and once hot; the cases of a job
                 share theirs, so that slow ones get more (see budget.py)
    min_samples: per implementation; max_samples likewise
    warmup:      seconds each implementation runs untimed before
    target:      half width of the 95 % interval of the median, as a share of the median, that is narrow enough
    timer:       the way of timing, one of timing.WAYS
    """

    seconds: float = 4.0
    min_samples: int = 5
    max_samples: int = 200
    target: float = 0.01
    warmup: float = 0.1
    timer: str = "auto"


@dataclass(frozen=True)
class TelemetryPlan:
    """Which cases are replayed under a sampler after they were timed, and how.

    source:  nvml, or a trace file that is played in its place
    cases:   their ids
    seconds: length of each implementation's window
    trace:   the file the readings go to
    """

    source: str
    cases: tuple[str, ...]
    seconds: float
    trace: str = ""


@dataclass(frozen=True)
class Job:
    """All cases of one spec that share prepared weights.

    mode:  "measured", or how the kernels are stood in for: "interpreted", "simulated"; then nothing is timed
    cases: tokens and routing of each
    step:  where in time rotating and burst routings are
    roofs: measure the machine's limits before the cases
    timeout: seconds one implementation may run without an answer before it is stopped
    telemetry: the second pass, without times; None: there is none
    """

    spec: LayerSpec
    device: str
    dtype: str
    mode: str
    cases: tuple[tuple[int, Source], ...]
    implementations: tuple[str, ...]
    limits: TimingLimits = TimingLimits()
    seed: int = 0
    step: int = 0
    roofs: bool = False
    timeout: float = 180.0
    telemetry: TelemetryPlan | None = None

    def case(self, index: int) -> Case:
        """Case number `index`. Raises ValueError when its routing is none."""
        tokens, source = self.cases[index]
        kind = self.device.partition(":")[0]
        return Case(self.spec, tokens, source.workload(), self.dtype, kind, self.seed, self.step)

    def case_record(self, index: int) -> CaseRecord:
        """Case number `index` as a run file carries it."""
        return self.case(index).to_record()

    def without(self, implementation: str, finished: int) -> Job:
        """The same job for what is left after `finished` cases, leaving one implementation out."""
        rest = tuple(name for name in self.implementations if name != implementation)
        return replace(self, cases=self.cases[finished:], implementations=rest)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, for the worker's standard input."""
        return {**asdict(self), "spec": self.spec.to_dict()}

    @classmethod
    def from_dict(cls, table: dict[str, Any]) -> Job:
        """The inverse of `to_dict`. Raises ValueError for anything else."""
        try:
            return cls(
                **{
                    **table,
                    "spec": LayerSpec.from_dict(table["spec"]),
                    "cases": tuple((tokens, Source(**source)) for tokens, source in table["cases"]),
                    "implementations": tuple(table["implementations"]),
                    "limits": TimingLimits(**table["limits"]),
                    "telemetry": _telemetry_plan(table.get("telemetry")),
                }
            )
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"job: expected the fields of a job, got {error!r}") from error


def _telemetry_plan(table: dict[str, Any] | None) -> TelemetryPlan | None:
    return TelemetryPlan(**{**table, "cases": tuple(table["cases"])}) if table else None


def scaled_down(spec: LayerSpec, factor: int, experts_per_group: int | None = None) -> LayerSpec:
    """The same layer with every width divided by `factor`, visibly named: for what is interpreted or simulated.

    With `experts_per_group` the groups are made smaller too, and K is lowered to what they can serve.
    """
    per_group = experts_per_group or spec.experts_per_group
    name = f"{spec.name}/{factor}" if per_group == spec.experts_per_group else f"{spec.name}/{factor}, N={per_group}"
    return LayerSpec(
        name=name,
        hidden=max(8, spec.hidden // factor),
        widths=tuple(max(1, width // factor) for width in spec.widths),
        experts_per_group=per_group,
        top_k=min(spec.top_k, spec.top_groups * per_group),
        top_groups=spec.top_groups,
        shared_width=spec.shared_width // factor,
    )
