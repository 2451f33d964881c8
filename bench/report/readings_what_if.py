"""Sentences about a what-if study: who is best, whether moving pays, what cannot be beaten."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from ..records import Run, TransferRecord, WhatIfRecord
from ..whatif.answers import in_one_sentence, reasons, worth
from ..whatif.settings import Setting, main_setting, seconds_of, settings, solved
from .figures_what_if import front_of, times_as_fast
from .formats import bytes_text, counted, digits, is_number, listed, percent_text, time_text, whole
from .readings_placement import OPTIMAL
from .scenarios import choice_name, facts, title, wanted, words
from .verdict import Verdict


def baseline_of(run: Run) -> str:
    """The policy whose placement there is now, in words."""
    return str(wanted(run, "baseline") or "the present placement")


def horizon_of(run: Run) -> int | None:
    """Steps until the next re-placement; None where the run does not say."""
    horizon = wanted(run, "horizon")
    return int(horizon) if is_number(horizon) else None


def worth_sentence(setting: Setting, baseline: str, horizon: int | None) -> str:
    """Is balancing worth it here? For the choice that gains most within the horizon."""
    known = [row for row in setting.choices if is_number(row.net_s) and is_number(row.saved_s)]
    if not known:
        return f"Whether balancing is worth it is not known: {baseline} cannot be placed here."
    best = max(known, key=lambda row: (row.net_s or 0.0, -row.number))
    steps = f" in {whole(horizon)} steps" if horizon is not None else ""
    if (best.net_s or 0.0) <= 0 or (best.saved_s or 0.0) <= 0:
        return f"Balancing is not worth it here: no choice gains anything over {baseline}{steps}."
    after = f"{whole(-(-best.pays_after // 1))} steps" if is_number(best.pays_after) else "no step"
    moved = (
        f"moving {bytes_text(best.migration_bytes)} takes {time_text(1e6 * (best.migration_s or 0.0))}, "
        f"has paid after {after}"
        if best.migration_bytes
        else "nothing has to move, which"
    )
    return (
        f"Balancing is worth it here: from {baseline} to {choice_name(best)} {moved} and gains "
        f"{time_text(1e6 * (best.net_s or 0.0))}{steps}, {percent_text(_share(best, horizon))} of the time."
    )


def _share(row: WhatIfRecord, horizon: int | None) -> float | None:
    """The net gain over the time that the steps until the horizon would have taken."""
    before = (row.seconds or 0.0) + (row.saved_s or 0.0)
    return (row.net_s or 0.0) / (before * horizon) if horizon and before > 0 else None


def best_sentence(setting: Setting, baseline: str) -> str:
    """The quickest choice of a setting, and its distance from the bound."""
    best = setting.best
    gain = times_as_fast(best)
    said = f"{choice_name(best)} is the quickest with {time_text(seconds_of(best) * 1e6)} a step"
    if gain is not None and gain > OPTIMAL:
        said += f", {digits(gain)} times as fast as under {baseline}"
    if is_number(best.work_over_bound) and best.work_over_bound <= OPTIMAL:
        said += "; no placement leaves the busiest rank less work"
    elif is_number(best.work_over_bound):
        said += f"; its busiest rank has {best.work_over_bound:.3f} times the work of a proven bound"
    return f"{said}{'; it does not fit the memory' if best.fits is False else ''}"


def what_if_verdict(run: Run) -> Verdict:
    """The best placement of the main setting and whether balancing is worth it, both simulated."""
    found = settings(run.what_if)
    if not found:
        why = _impossible(run)
        if run.transfers and not run.what_if:
            return Verdict(
                "predicted",
                f"Simulated, not measured: {transfer_sentence(best_transfer(run.transfers) or run.transfers[0])}",
                (),
            )
        return Verdict("not measured", f"Nothing is possible: {why or 'this run holds no scenario'}.", ())
    main, rows = main_setting(found), solved(run.what_if)
    layer, *rest = title(main.given, rows).split(" · ")
    where = f"{layer} ({', '.join(rest)})"
    worth = worth_sentence(main, baseline_of(run), horizon_of(run))
    remarks = [worth]
    remarks += _over_all(run, found)
    best_plan = best_transfer(run.transfers)
    if best_plan is not None:
        remarks.append(_capital(transfer_sentence(best_plan)))
    remarks += cost_source(run)
    if run.finished is None:
        remarks.append("The study was interrupted: what it had finished is drawn.")
    return Verdict(
        "predicted", f"Simulated, not measured: on {where} {best_sentence(main, baseline_of(run))}.", tuple(remarks)
    )


def _over_all(run: Run, found: Sequence[Setting]) -> list[str]:
    """Who is quickest how often, and how often balancing pays; nothing for a single setting."""
    if len(found) < 2:
        return []
    wins = Counter(setting.best.policy for setting in found)
    best = listed([f"{policy} in {count}" for policy, count in wins.most_common(3)])
    horizon = horizon_of(run)
    paid = f" Over all, {in_one_sentence(worth(run.what_if, horizon))}." if horizon else ""
    return [f"Of {counted(len(found), 'setting')} the quickest is {best}.{paid}"]


def impossible_sentence(run: Run) -> tuple[str, ...]:
    """How many scenarios cannot be, and why; nothing where all can."""
    count = sum(not record.possible for record in run.what_if)
    said = f"{counted(count, 'scenario')} of {whole(len(run.what_if))} cannot be: {_impossible(run)}."
    return (said,) if count else ()


def _impossible(run: Run) -> str:
    """Why scenarios are impossible, most frequent reason first."""
    known = reasons(run.what_if)
    said = [f"{reason} ({count})" for reason, count in known.most_common(1)]
    more = len(known) - len(said)
    return "; ".join(said) + (f"; {counted(more, 'more reason')}" if more > 0 else "")


def cost_source(run: Run) -> list[str]:
    """Where the simulated seconds of experts are from, as the run's notes say it."""
    costs = facts(run).get("costs")
    return (
        [f"Seconds of experts (H {hidden}) {said}." for hidden, said in costs.items()]
        if isinstance(costs, dict)
        else []
    )


def link_sources(run: Run) -> tuple[str, ...]:
    """The same of the links of every cluster."""
    links = facts(run).get("links")
    return tuple(f"Links of {name}: {said}." for name, said in links.items()) if isinstance(links, dict) else ()


def front_reading(records: Sequence[WhatIfRecord]) -> str:
    """Who is on the front, and what to give for less of each."""
    front = front_of(records)
    if not front:
        return "No choice fits the memory of its cluster."
    quick, lean = front[0], min(front, key=lambda row: (row.memory or 0, seconds_of(row)))
    quiet = min(front, key=lambda row: (row.traffic or 0.0, seconds_of(row)))
    said = f"{len(front)} of {len(records)} choices are beaten by none in time, memory and traffic together. "
    said += f"Quickest: {_on(quick)}, {time_text(seconds_of(quick) * 1e6)}"
    said += f"; least memory: {_on(lean)}, {bytes_text(lean.memory)}; least traffic: {_on(quiet)}, "
    said += f"{bytes_text(quiet.traffic)}. Faint: beaten. Numbers: ranks + spare copies."
    return f"{said} Line: the border for time and this quantity alone."


def _on(row: WhatIfRecord) -> str:
    return f"{choice_name(row)} on {row.ranks} ranks"


def along_reading(axis: str, ends: tuple[tuple[Any, WhatIfRecord], tuple[Any, WhatIfRecord]]) -> str:
    """The quickest choice at either end of an axis, as (value, scenario)."""
    (low, first), (high, last) = ends
    times = [time_text(seconds_of(row) * 1e6) for row in (first, last)]
    where = [words(axis, value) for value in (low, high)]
    if choice_name(first) == choice_name(last):
        return f"{choice_name(first)} is the quickest at {where[0]} ({times[0]} a step) and at {where[1]} ({times[1]})."
    return (
        f"At {where[0]} {choice_name(first)} is the quickest ({times[0]} a step), "
        f"at {where[1]} {choice_name(last)} ({times[1]})."
    )


def transfer_sentence(record: TransferRecord) -> str:
    """What a plan loses away from the loads it was made from."""
    where = f"{record.policy} on {record.ranks} ranks"
    if not (is_number(record.on_own) and is_number(record.on_others)):
        return f"{where}: {record.reason or 'no plan was scored'}."
    return (
        f"a plan of {where} leaves the busiest rank with {digits(record.on_own)} times the mean work on the loads it "
        f"was made from, and with {digits(record.on_others)} times on others."
    )


def best_transfer(records: Sequence[TransferRecord]) -> TransferRecord | None:
    """The plan that is most even on loads it has not seen; None where none was scored."""
    known = [record for record in records if is_number(record.on_others)]
    return min(known, key=lambda record: record.on_others or 0.0) if known else None


def transfer_reading(record: TransferRecord) -> str:
    """The same under the matrix, with how to read it."""
    return f"{_capital(transfer_sentence(record))} Bold: scored where it was made. 1 is even."


def _capital(said: str) -> str:
    return f"{said[:1].upper()}{said[1:]}"
