"""The record of a study, built from its storage: complete at any moment, whoever has worked on it."""

from __future__ import annotations

from typing import Any

from ...kernels.tuned import spec_class
from ..records import Provenance, TuningRecord
from ..timing import RULE
from .board import Board
from .finals import tied, winner_of
from .outcome import Outcome
from .storage import optuna, quiet
from .sweep import SweepBoard
from .task import StudyTask

PROVENANCE = {
    "measured": Provenance.MEASURED,
    "predicted": Provenance.PREDICTED,
    "replayed": Provenance.SIMULATED,
}
# Fewer completed trials say nothing of what matters.
_FEWEST_FOR_IMPORTANCE = 10


def tuning_record(
    board: Board, task: StudyTask, finalists: list[dict[str, Any]] | None = None, ended: str = ""
) -> TuningRecord:
    """The study as a run file carries it. `finalists`: those of `run_finals`; without them there is no winner yet.
    `ended`: why trials ended, in words.
    """
    trials = [_trial(trial) for trial in board.trials()]
    winner, verdict = winner_of(finalists, task) if finalists is not None else (None, "")
    notes: dict[str, Any] = {
        "verdict": verdict,
        "ended": ended,
        "mode": task.mode,
        "current": dict(task.current),
        "built_in": dict(task.built_in),
        "routings": [source.text for source in task.sources],
        "choices": {name: list(values) for name, values in task.choices.items()},
        "sampler": task.sampler,
        "dtype": task.dtype,
    }
    same = [entry["number"] for entry in finalists or [] if tied(entry, task)]
    if same:
        notes["tied"] = same  # with the current configuration, as far as a prediction tells
    if task.machine is not None:
        notes["machine"] = task.machine.to_dict()
    if task.replay:
        notes["replayed"] = task.replay
    if any("clocks" in case for trial in trials for case in trial["cases"]):
        notes["clocks_rule"] = RULE
    importance, method = _importance(board)
    if method:
        notes["importance_method"] = method
    return TuningRecord(
        implementation=task.implementation,
        provenance=PROVENANCE[task.mode],
        gpu=None if task.mode != "measured" else task.gpu,
        spec_class=spec_class(task.spec),
        tokens=task.bucket,
        routing_class=task.routing_class,
        case=task.cases()[0].to_record(),
        objective=objective(task),
        trials=trials,
        importance=importance,
        pareto=_pareto(trials),
        finalists=finalists or [],
        winner=winner,
        study=task.name,
        notes=notes,
    )


def objective(task: StudyTask) -> str:
    """What was minimised, in words."""
    time = "cold" if task.decode else "hot"
    how = {
        "measured": f"{time} time over that of the current configuration, timed in the same interleaved rounds",
        "predicted": f"predicted time over that of the current configuration, on {task.gpu}; nothing was run",
        "replayed": f"recorded {time} time over that of the current configuration, looked up in {task.replay}",
    }[task.mode]
    worst = f", the worst of {len(task.sources)} routings" if len(task.sources) > 1 else ""
    return how + worst + ("; and energy of a call in J" if task.energy else "")


def _trial(trial: Any) -> dict[str, Any]:
    """One trial: Optuna's state, the outcome, and what it found."""
    attributes = trial.user_attrs
    found = attributes.get("result") or {}
    worker = attributes.get("worker") or {}
    return {
        "number": trial.number,
        "state": trial.state.name,
        "outcome": attributes.get("outcome") or ("running" if trial.state.name == "RUNNING" else str(Outcome.LOST)),
        "reason": attributes.get("reason", ""),
        "origin": attributes.get("origin", ""),
        "values": dict(attributes.get("values") or trial.params),
        "ratio": found.get("ratio"),
        "time_us": found.get("time_us"),
        "energy_j": found.get("energy_j"),
        "seconds": found.get("seconds", 0.0),
        "started": trial.datetime_start.isoformat(timespec="seconds") if trial.datetime_start else None,
        "worker": f"{str(worker.get('host', '')).partition('/')[0]}:{worker.get('pid', '')}",
        "cases": found.get("cases", []),
        "resources": found.get("resources", []),
    }


def _importance(board: Board) -> tuple[dict[str, float], str]:
    """Share of the time by parameter, and how it was found; nothing where too few trials say anything.

    PED-ANOVA: how differently a parameter is distributed among the best trials and among all. It needs no forest of
    trees, so no further package, and looks at the good end of the space, where a tuner's question lies.
    """
    if isinstance(board, SweepBoard):  # Optuna's measure of a study of Optuna's
        return {}, ""
    package = optuna()
    complete = [t for t in board.trials() if t.state.name == "COMPLETE" and t.user_attrs.get("outcome") == "complete"]
    if len(complete) < _FEWEST_FOR_IMPORTANCE:
        return {}, ""
    with quiet():
        evaluator = package.importance.PedAnovaImportanceEvaluator(target_quantile=0.25)
        found = package.importance.get_param_importances(
            board.study, evaluator=evaluator, target=lambda trial: trial.values[0]
        )
    return {name: float(share) for name, share in found.items()}, "PED-ANOVA of the best quarter against all"


def _pareto(trials: list[dict[str, Any]]) -> list[int]:
    """Numbers of the complete trials with an energy that no other one beats in both time and energy, fastest first."""
    known = [t for t in trials if t["outcome"] == Outcome.COMPLETE and t["energy_j"] is not None]
    known.sort(key=lambda trial: (trial["ratio"], trial["energy_j"]))
    front: list[dict[str, Any]] = []
    for trial in known:
        if not front or trial["energy_j"] < front[-1]["energy_j"]:
            front.append(trial)
    return [trial["number"] for trial in front]
