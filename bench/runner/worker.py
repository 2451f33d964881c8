"""The worker process: reads a job from standard input, writes events as JSON lines to standard output.

Events: begin (what is being done), alive, roof, counts (rows per expert of a case), record, and case when all records
of a case are out. The file named on the command line holds one byte, the number of the running implementation, so that
the supervisor knows whom to blame when this process dies or falls silent.
"""

from __future__ import annotations

import gc
import json
import mmap
import os
import sys
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from ...dispatch import make_plan, on_device
from ...kernels import Layer
from ...kernels.tunable import for_routing
from ...kernels.tuned import routing_class
from ...reference import ExpertWeights, Router, Routing, expert_flops, layer_bytes
from ..gate import GateResult, Trusted, answer, context_error, make_current, place, pose
from ..peers import CONTESTANTS, peer_notes
from ..records import BASELINE, ErrorRecord, Provenance, Record, Status, Telemetry, status_of
from ..records.codec import dumps
from ..telemetry import clock_watch
from ..timing import measure_roofs, open_timer
from ..workloads import Case, DeviceRouter, routing_counts
from .blame import Blame, Marker
from .budget import Budget
from .compiling import begun
from .jobs import Job
from .phases import Front
from .process import CONTEXT_LOST, die_with_parent, event_output
from .proof import PROOF_IMPLEMENTATIONS, Proofs, proven
from .stopwatch import TEMPERATURES, GuardedTimer, Times, speedup, time_layers
from .telemetry_pass import observe_case
from .uploads import uploaded


class Worker:
    """One job: prepared layers, and the way to the supervisor."""

    def __init__(self, job: Job, output: TextIO, marker: Marker) -> None:
        import torch

        self._job, self._output = job, output
        self._blame = Blame(marker, job.implementations, self._leave_if_context_is_lost)
        self._dtype, self._device = getattr(torch, job.dtype), torch.device(job.device)
        make_current(self._device)
        self._compilers = begun(job)  # and at work while weights are made
        if self._compilers.what:
            self._emit(event="begin", what=f"{job.spec.name}: {self._compilers.what}")
        self._weights = ExpertWeights.random(job.spec, job.seed)
        self._proofs = Proofs(job.spec, self._weights, self._dtype, self._device, job.seed)
        self._layers: dict[str, Layer] = {}
        self._refused: dict[str, tuple[Status, str]] = {}
        self._trusted: dict[str, Trusted | None] = {}
        self._telemetry: dict[str, Telemetry | str] = {}  # of the case at hand
        self._watch = clock_watch(self._device)
        self._budget = Budget.of(job.limits.seconds, len(TEMPERATURES) * len(job.cases))

    def run(self) -> None:
        """All cases, in order."""
        self._compilers.wait(partial(self._emit, event="alive"))
        if self._job.roofs:
            self._emit(event="begin", what="measuring the roofs")
            self._emit(event="roof", roof=measure_roofs(self._job.device, [self._job.dtype], watch=self._watch))
        weights = uploaded(self._weights, self._job.spec, self._device, self._dtype)
        for name in self._job.implementations:
            self._prepare(name, weights)
        del weights
        self._free_memory()
        for index in range(len(self._job.cases)):
            self._budget.turns = len(TEMPERATURES) * (len(self._job.cases) - index)  # a case may not have used its own
            self._case(self._job.case(index))
            self._emit(event="case")

    def _prepare(self, name: str, weights: ExpertWeights) -> None:
        self._emit(event="begin", what=f"{self._job.spec.name}: preparing {name}")
        implementation = CONTESTANTS[name]
        reason = implementation.supports(self._job.spec, self._dtype, self._device)
        if reason is not None:
            self._refused[name] = (Status.UNSUPPORTED, reason)
            return
        with self._blame.running(name):
            try:
                self._layers[name] = implementation.prepare(self._job.spec, weights, self._device, self._dtype)
            except Exception as error:  # one implementation's failure is its record
                self._refused[name] = status_of(error)
                self._leave_if_context_is_lost()
        if name in self._refused:
            self._free_memory()

    def _case(self, case: Case) -> None:
        try:
            self._checked_and_timed(case)
        except Exception as error:  # not an implementation's: inputs, reference, plan
            status, reason = status_of(error)
            if status is not Status.OUT_OF_MEMORY:
                raise
            self._blame.nobody()
            outcome = status, f"the case itself does not fit: {reason}"
            for name in self._job.implementations:
                self._emit(event="record", record=self._untimed(name, case, self._refused.get(name, outcome)))
        self._free_memory()

    def _untimed(self, name: str, case: Case, outcome: tuple[Status, str]) -> Record:
        status, reason = outcome
        mode, notes = Provenance(self._job.mode), peer_notes(name)
        return Record(name, mode, status, case.to_record(), reason=reason, notes=notes)

    def _checked_and_timed(self, case: Case) -> None:
        inputs = case.inputs()
        counts = routing_counts(inputs.routing, case.spec.experts)
        self._emit(event="counts", case=case.to_record(), counts=counts)
        routing = routing_class(counts)
        self._layers = {name: for_routing(layer, routing) for name, layer in self._layers.items()}
        outcomes = dict(self._refused)
        errors: dict[str, ErrorRecord] = {}
        for name, result in self._checked(case, inputs.routing).items():
            outcomes[name] = (result.status, result.reason)
            errors[name] = _error_record(result)
        passed = [name for name, (status, _) in outcomes.items() if status is Status.PASSED]
        times: dict[str, Times] = {}
        self._telemetry = {}
        if passed and self._job.mode == "measured" and case.tokens:
            times = self._time(case, passed, inputs.x, inputs.routing)
        for name in self._job.implementations:
            outcome = (times[name].failure if name in times else None) or outcomes[name]
            self._emit(event="record", record=self._record(name, case, counts, outcome, errors.get(name), times))

    def _checked(self, case: Case, routing: Routing) -> dict[str, GateResult]:
        """What the gate says of every prepared layer, all asked the same question."""
        self._emit(event="begin", what=f"{_title(case)}: computing the reference")
        question = pose(case.spec, self._weights, routing, self._dtype)
        asked, results = place(question, self._device), {}
        for name, layer in self._layers.items():
            self._emit(event="begin", what=f"{_title(case)}: checking {name}")
            proof = None if question.tokens is None else self._prove(name)
            with self._blame.running(name):
                results[name] = answer(layer, asked, proof)
                if results[name].status is Status.CRASHED:
                    self._leave_if_context_is_lost()
            if not results[name].passed:  # it may have written where it should not, or filled the memory
                asked = None
                self._free_memory()
                asked = place(question, self._device)
        return results

    def _prove(self, candidate: str) -> Trusted | None:
        """Another implementation than `candidate` that was itself checked whole, for cases too large for the
        reference; None when there is none.
        """
        name = next((name for name in PROOF_IMPLEMENTATIONS if name in self._layers and name != candidate), None)
        if name is None:
            return None
        if name not in self._trusted:
            layer = self._layers[name]
            with self._blame.running(name):
                result = self._proofs.prove(layer)
                if result.status is Status.CRASHED:
                    self._leave_if_context_is_lost()
            trusted = Trusted(name, self._blame.layer(name, layer), result)
            self._trusted[name] = trusted if proven(result) else None
        return self._trusted[name]

    def _leave_if_context_is_lost(self) -> None:
        """End this process when an error has broken the CUDA context: every later call of anybody would fail in it.

        The marker still names the implementation that was running, so the supervisor blames the right one and goes on
        in a fresh process.
        """
        error = context_error(self._device)
        if error is not None:
            print(f"the CUDA context is lost: {error}", file=sys.stderr, flush=True)
            os._exit(CONTEXT_LOST)

    def _time(self, case: Case, names: list[str], x: Any, routing: Routing) -> dict[str, Times]:
        import torch

        self._emit(event="begin", what=f"{_title(case)}: timing")
        hidden = torch.from_numpy(x).to(self._device, self._dtype)
        front = Front(case.spec, on_device(routing, self._device), self._router(case))
        plan = make_plan(front.routing, case.spec)
        layers = {name: self._layers[name] for name in names}
        alive = partial(self._emit, event="alive")
        limits = self._job.limits
        try:
            with open_timer(self._job.device, limits.timer) as device_timer:
                timer = GuardedTimer(device_timer, self._leave_if_context_is_lost)
                times = time_layers(
                    layers,
                    hidden,
                    plan,
                    timer,
                    limits,
                    self._blame.wrapping,
                    alive,
                    front=front,
                    watch=self._watch,
                    budget=self._budget,
                )
            timed = {name: layer for name, layer in layers.items() if times[name].failure is None}
            if self._job.telemetry and case.to_record().id in self._job.telemetry.cases:
                self._blame.nobody()
                self._emit(event="begin", what=f"{_title(case)}: telemetry")
                self._telemetry = observe_case(self._job, case, timed, hidden, plan, self._blame, alive)
            return times
        finally:
            self._blame.nobody()

    def _router(self, case: Case) -> DeviceRouter | None:
        """The router the case's routing is from, on the device; None where it is from a distribution or a trace."""
        if case.workload.kind != "router":
            return None
        return DeviceRouter.on(Router.random(case.spec, case.seed), case.spec, self._device)

    def _record(
        self,
        name: str,
        case: Case,
        counts: Any,
        outcome: tuple[Status, str],
        error: ErrorRecord | None,
        times: dict[str, Times],
    ) -> Record:
        status, reason = outcome
        known = name in self._layers
        flops = int(expert_flops(counts, case.spec).sum())
        record: dict[str, Any] = {
            "implementation": name,
            "provenance": Provenance(self._job.mode),
            "status": status,
            "case": case.to_record(),
            "reason": reason,
            "error": error,
            "useful_flops": flops,
            "executed_flops": int(self._layers[name].executed_flops(counts)) if known else None,
            "bytes": layer_bytes(counts, case.tokens, case.spec, self._dtype.itemsize, separate_gemms=True),
            "notes": peer_notes(name),
        }
        mine = times.get(name)
        if status is Status.PASSED and mine is not None and mine.hot is not None:
            record |= {
                "hot": mine.hot,
                "cold": mine.cold,
                "phases": mine.phases,
                "tflops": flops / mine.hot.median_us * 1e-6,
                "speedup": speedup(mine, times.get(BASELINE)),
                "clocks": mine.clocks,
            }
            observed = self._telemetry.get(name)
            if observed is not None:
                if isinstance(observed, str):
                    record["notes"] |= {"telemetry": observed}
                else:
                    record["telemetry"] = observed
        return Record(**record)

    def _free_memory(self) -> None:
        """What an implementation that failed has left behind must not be missing for the next."""
        gc.collect()
        if self._device.type == "cuda":
            import torch

            torch.cuda.empty_cache()

    def _emit(self, **event: Any) -> None:
        self._output.write(dumps(event) + "\n")
        self._output.flush()


def _error_record(result: GateResult) -> ErrorRecord:
    where = None if result.where is None else list(result.where)
    return ErrorRecord(result.relative, result.worst, where, result.checked)


def _title(case: Case) -> str:
    return f"{case.spec.name}, {case.tokens} tokens, {case.routing}"


def main() -> None:
    """Read the job, keep standard output for events alone, run."""
    die_with_parent()
    job = Job.from_dict(json.load(sys.stdin))
    output = event_output()
    with Path(sys.argv[1]).open("r+b") as file:
        Worker(job, output, mmap.mmap(file.fileno(), 1)).run()


if __name__ == "__main__":
    main()
