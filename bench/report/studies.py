"""What a tuning study says of its trials, and the sentence that answers it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from ..records import Provenance, Run, TuningRecord
from .formats import NONE, digits, interval_text, is_number, listed, percent_text, time_text, whole
from .palette import colour
from .verdict import Verdict

Entry = Mapping[str, Any]  # a trial or a finalist


def trials_of(study: TuningRecord) -> list[Entry]:
    """The trials that have a number, in order."""
    return [trial for trial in study.trials if is_number(trial.get("number"))]


def ratio_of(entry: Entry) -> float | None:
    """Time over that of the current configuration, of a complete trial or finalist; else None."""
    ratio = entry.get("ratio")
    return ratio if entry.get("outcome") == "complete" and is_number(ratio) and ratio > 0 else None


def is_current(study: TuningRecord, entry: Entry) -> bool:
    """Whether a trial or finalist has the values that are used now."""
    current = study.notes.get("current")
    return bool(current) and _key(entry.get("values")) == _key(current)


def _key(values: Any) -> str:
    return json.dumps(values, sort_keys=True, default=str)


def best_so_far(study: TuningRecord) -> list[tuple[int, float]]:
    """(trial, ratio) of every trial that was better than all before it."""
    best: list[tuple[int, float]] = []
    for trial in trials_of(study):
        ratio = ratio_of(trial)
        if ratio is not None and (not best or ratio < best[-1][1]):
            best.append((trial["number"], ratio))
    return best


def differences(values: Any, current: Any) -> list[str]:
    """Where a configuration differs from another one, as "name value"."""
    if not isinstance(values, Mapping):
        return []
    known = current if isinstance(current, Mapping) else {}
    return [f"{name} {value}" for name, value in values.items() if value != known.get(name)]


def finalist_name(study: TuningRecord, entry: Entry) -> str:
    """A finalist by its trial."""
    return f"trial {entry.get('number')}{', the current one' if is_current(study, entry) else ''}"


def interval_of(entry: Entry) -> str:
    """The interval of a finalist's ratio in parentheses; empty where it has none."""
    ends = interval_text(entry.get("ratio_low"), entry.get("ratio_high"))
    return f"({ends})" if ends else ""


def is_only_tuning(run: Run) -> bool:
    """Whether a run has tuned and measured no implementation beside."""
    return bool(run.tuning) and not run.records


def study_title(study: TuningRecord) -> str:
    """One line that names a study."""
    parts = [study.implementation, study.case.spec, f"up to {whole(study.tokens)} tokens"]
    return " · ".join([*parts, f"{study.routing_class} ({', '.join(_routings(study))})", *_dtype(study)])


def study_phrase(study: TuningRecord) -> str:
    """The same as part of a sentence: what was tried, and in parentheses on what."""
    parts = [f"{whole(study.case.tokens)} tokens", listed(_routings(study)), *_dtype(study)]
    return f"{study.case.spec} ({', '.join(parts)})"


def _routings(study: TuningRecord) -> list[str]:
    known = study.notes.get("routings")
    return [str(name) for name in known] if isinstance(known, list) and known else [str(study.case.routing)]


def _dtype(study: TuningRecord) -> list[str]:
    return [study.case.dtype] if study.case.dtype else []


def tuning_verdict(run: Run) -> Verdict:
    """What won against the current configuration and by how much; for several studies the largest gain."""
    won = [study for study in run.tuning if study.winner is not None and ratio_of(study.winner) is not None]
    chosen = min(won, key=lambda study: ratio_of(study.winner or {}) or 1.0) if won else run.tuning[0]
    kind, sentence = _sentence(chosen)
    remarks = []
    if len(run.tuning) > 1:
        remarks.append(
            f"{len(won)} of {len(run.tuning)} studies found a faster "
            f"configuration; {'the largest gain' if won else 'the first one'} is named here, all are in the table."
        )
    if any(study.provenance == Provenance.PREDICTED for study in run.tuning):
        remarks.append("Nothing was run: times are predicted from counted work and compiled binaries.")
    if run.finished is None:
        remarks.append("The run was interrupted: what it had finished is drawn.")
    return Verdict(kind, sentence, tuple(remarks))


def _sentence(study: TuningRecord) -> tuple[str, str]:
    """The kind of the verdict and its sentence, for one study."""
    label = {
        Provenance.PREDICTED: f"Predicted{_machine(study)}, not measured: ",
        Provenance.SIMULATED: "Looked up in a recorded study, nothing was run: ",
    }.get(study.provenance, "")
    kind = "decided" if study.provenance == Provenance.MEASURED else "predicted"
    where = f"{study_phrase(study)}{f' on {study.gpu}' if study.gpu else ''}"
    winner = study.winner
    if winner is not None and ratio_of(winner) is not None:
        takes = f"{digits(ratio_of(winner))} times {interval_of(winner)}".strip()
        trial = f"{'trial' if label else 'Trial'} {winner.get('number')} of {study.implementation}"
        return kind, f"{label}{trial} takes {takes} the time of the current configuration on {where}{_times(winner)}."
    what = f"{label}{study.implementation} on {where}"
    verdict = str(study.notes.get("verdict") or "")
    if verdict:
        return kind, f"{what}: {verdict}."
    best = best_so_far(study)
    if not best:
        return "undecided", f"{what}: undecided, no trial is complete."
    so_far = f"its best trial takes {digits(best[-1][1])} times the time of the current configuration"
    return "undecided", f"{what}: undecided, {so_far} and was not tried again."


def _machine(study: TuningRecord) -> str:
    machine = study.notes.get("machine")
    return f" for {machine['name']}" if isinstance(machine, Mapping) and machine.get("name") else ""


def _times(winner: Entry) -> str:
    """Both times in the routing where the winner does worst; empty where they are not known."""
    known = [case for case in winner.get("cases") or [] if is_number(case.get("ratio"))]
    if not known:
        return ""
    worst = max(known, key=lambda case: case["ratio"])
    mine, current = worst.get("time_us", worst.get("predicted_us")), worst.get("current_us")
    if not (is_number(mine) and is_number(current)):
        return ""
    worst_of = f" on {worst.get('routing')}, where it does worst" if len(known) > 1 else ""
    return f": {time_text(mine)} against {time_text(current)}{worst_of}"


def outcomes_text(study: TuningRecord) -> str:
    """How the trials ended, most frequent first."""
    counts = Counter(str(trial.get("outcome")).replace("_", " ") for trial in trials_of(study))
    return listed([f"{count} {outcome}" for outcome, count in counts.most_common()])


def study_rows(run: Run) -> list[dict[str, Any]]:
    """One row of texts for each study."""
    return [_study_row(study) for study in run.tuning]


def _study_row(study: TuningRecord) -> dict[str, Any]:
    winner = study.winner
    ratio = ratio_of(winner) if winner is not None else None
    return {
        "implementation": study.implementation,
        "colour": colour(study.implementation),
        "title": study_title(study).partition(" · ")[2],
        "provenance": str(study.provenance),
        "trials": whole(len(study.trials)),
        "outcomes": outcomes_text(study),
        "winner": f"trial {winner.get('number')}" if winner is not None else "the current one stays",
        "ratio": digits(ratio),
        "interval": interval_of(winner).strip("()") if winner is not None else "",
        "time": time_text(winner.get("time_us")) if winner is not None else NONE,
        "saved": percent_text(1 - ratio) if ratio is not None else NONE,
        "best": ratio is not None and study.provenance == Provenance.MEASURED,
    }
