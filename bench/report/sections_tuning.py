"""The report's sections of tuning: trials in order, what matters, time against energy, the finalists."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..records import Provenance, Run, TuningRecord
from . import figures_tuning as figures
from .formats import NONE, digits, is_number, listed, percent_text, time_text, whole
from .plot import Figure
from .section import Section, Variant
from .studies import (
    best_so_far,
    differences,
    finalist_name,
    interval_of,
    is_current,
    outcomes_text,
    ratio_of,
    study_title,
    trials_of,
)

Rows = tuple[tuple[str, ...], ...]
_SHARES = ("parameter", "share", "current", "best", "values tried")
_FINALISTS = ("finalist", "time over the current one's", "95 % interval", "time", "differs from the current one in")
_ENERGIES = ("trial on the front", "time over the current one's", "time", "energy of a call", "differs in")


def tuning_sections(run: Run) -> list[Section]:
    """The four sections of a run that has tuned; none of another one."""
    if not run.tuning:
        return []
    return [
        _section(
            run,
            "tuning_history",
            "Tuning: trials in order",
            "Every configuration that was tried, by its time over that of the current one: lower is better. Below, the "
            "trials that came to nothing, by their outcome.",
            "No trial was made.",
            lambda study: (figures.history(study), _history(study), (), ()),
            _clocks_rule,
        ),
        _section(
            run,
            "tuning_finalists",
            "Tuning: the finalists",
            "The best trials and the current configuration once more, side by side; left of the line is faster.",
            "No trial was good enough, or there was no time left, to try any of them again.",
            lambda study: (figures.finalists(study), _finalists(study), _FINALISTS, _finalist_rows(study)),
            _held_back,
        ),
        _section(
            run,
            "tuning_importance",
            "Tuning: which parameters matter",
            "How much each parameter tells the best trials from all others.",
            "Too few trials are complete to say which parameters matter.",
            lambda study: (figures.importance(study), _importance(study), _SHARES, _share_rows(study)),
        ),
        _section(
            run,
            "tuning_pareto",
            "Tuning: time against energy",
            "Each trial by its time and the energy of a call; on the line, those that no other one beats in both.",
            "No energy was measured: `mohge tune --energy` does, on a GPU.",
            lambda study: (figures.pareto(study), _pareto(study), _ENERGIES, _front_rows(study)),
        ),
    ]


def _section(
    run: Run,
    name: str,
    title: str,
    lead: str,
    empty: str,
    draw: Callable[[TuningRecord], tuple[Figure | None, str, tuple[str, ...], Rows]],
    remarks: Callable[[TuningRecord], tuple[str, ...]] = lambda _: (),
) -> Section:
    kinds = [study.provenance for study in run.tuning]
    # Studies of several kinds in one run: the label of what was not measured.
    provenance = next((kind for kind in kinds if kind != Provenance.MEASURED), Provenance.MEASURED)
    section = Section(name, title, lead, str(provenance), empty)
    for place, study in enumerate(run.tuning):
        figure, reading, header, rows = draw(study)
        if figure is not None:
            # By its study the page shows the same one in all sections of tuning.
            meta = {"implementation": study.implementation, "spec": study.case.spec, "study": str(place)}
            section.variants.append(Variant(study_title(study), figure, reading, header, rows, remarks(study), meta))
    return section


def _history(study: TuningRecord) -> str:
    trials = trials_of(study)
    best = best_so_far(study)
    found = "none is complete"
    if best:
        number, ratio = best[-1]
        found = f"the best, trial {number}, takes {digits(ratio)} times the time of the current configuration"
    ended = f" It ended because {study.notes['ended']}." if study.notes.get("ended") else ""
    head = f"Of {whole(len(trials))} trials, {outcomes_text(study)}: {found}."
    return f"{head}{ended} Minimised: {study.objective}."


def _finalists(study: TuningRecord) -> str:
    how = {
        Provenance.MEASURED: "Timed again against each other, in turns.",
        Provenance.PREDICTED: "Predicted, so without intervals; nothing was run.",
    }.get(study.provenance, "Looked up in a recorded study; nothing was run.")
    verdict = str(study.notes.get("verdict") or "no verdict was reached")
    return f"{verdict[:1].upper()}{verdict[1:]}. {how}"


def _finalist_rows(study: TuningRecord) -> Rows:
    rows = []
    for entry in study.finalists:
        own = is_current(study, entry)
        changes = listed(differences(entry.get("values"), study.notes.get("current")))
        if ratio_of(entry) is None:
            reason = f"{str(entry.get('outcome')).replace('_', ' ')}: {entry.get('reason', '')}"
            rows.append((finalist_name(study, entry), NONE, NONE, NONE, reason))
        else:
            numbers = (digits(ratio_of(entry)), interval_of(entry).strip("()") or NONE, time_text(entry.get("time_us")))
            rows.append((finalist_name(study, entry), *numbers, "nothing" if own else changes or "nothing"))
    return tuple(rows)


def _clocks_rule(study: TuningRecord) -> tuple[str, ...]:
    """When a sample of a trial is suspect, where clocks were watched."""
    rule = str(study.notes.get("clocks_rule") or "")
    return (f"{rule[:1].upper()}{rule[1:]}.",) if rule else ()


def _held_back(study: TuningRecord) -> tuple[str, ...]:
    """Which finalists were timed while the clocks were held back."""
    held = [entry for entry in study.finalists if ratio_of(entry) is not None and entry.get("reason")]
    return tuple(f"{finalist_name(study, entry)}: {entry['reason']}." for entry in held)


def _importance(study: TuningRecord) -> str:
    shares = {name: share for name, share in study.importance.items() if is_number(share)}
    if not shares:
        return ""
    name = max(shares, key=lambda name: shares[name])
    method = f" {study.notes['importance_method']}." if study.notes.get("importance_method") else ""
    return f"{name} matters most, {percent_text(shares[name])} of it all.{method}"


def _share_rows(study: TuningRecord) -> Rows:
    shares = {name: share for name, share in study.importance.items() if is_number(share)}
    current, choices = _table(study.notes.get("current")), _table(study.notes.get("choices"))
    best = _table((study.winner or _best(study)).get("values"))
    rows = []
    for name in sorted(shares, key=lambda name: -shares[name]):
        tried = choices.get(name)
        values = ", ".join(map(str, tried)) if isinstance(tried, list) else NONE
        rows.append((name, percent_text(shares[name]), str(current.get(name, NONE)), str(best.get(name, NONE)), values))
    return tuple(rows)


def _best(study: TuningRecord) -> Mapping[str, object]:
    """The best trial; empty where none is complete."""
    best = best_so_far(study)
    return next((trial for trial in trials_of(study) if best and trial["number"] == best[-1][0]), {})


def _table(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


def _pareto(study: TuningRecord) -> str:
    front = _front_rows(study)
    if not front:
        return "No trial has both a time and an energy."
    if len(front) == 1:
        return f"{front[0][0]} is both the fastest and the one with the least energy ({front[0][3]} a call)."
    fastest, thriftiest = front[0], front[-1]
    return (
        f"{fastest[0]} is fastest ({fastest[1]} times, {fastest[3]} a call); "
        f"{thriftiest[0]} needs least energy ({thriftiest[1]} times, {thriftiest[3]} a call)."
    )


def _front_rows(study: TuningRecord) -> Rows:
    trials = {trial["number"]: trial for trial in trials_of(study)}
    rows = []
    for number in study.pareto:
        trial = trials.get(number)
        if trial is not None and ratio_of(trial) is not None and is_number(trial.get("energy_j")):
            energy = f"{digits(trial['energy_j'] * 1e3)} mJ"
            changes = listed(differences(trial.get("values"), study.notes.get("current"))) or "nothing"
            numbers = (digits(ratio_of(trial)), time_text(trial.get("time_us")), energy)
            rows.append((finalist_name(study, trial), *numbers, changes))
    return tuple(rows)
