"""What a study answers, as tables for people; every figure is simulated, and where its seconds are from is said."""

from __future__ import annotations

import math

from ..records import Run, TransferRecord, WhatIfRecord
from ..report.formats import seconds_text
from ..whatif import wanted_of
from ..whatif.answers import Choice, Question, best, choice, fronts, in_one_sentence, question, reasons, worth
from ..whatif.sweep import NOTE
from ..whatif.transfers import best_elsewhere, means
from .output import console, table

# What is shown of long lists; the run file and --csv have everything.
MOST_ROWS, MOST_QUESTIONS, MOST_REASONS, MOST_WINDOWS = 12, 2, 8, 8


def show_answers(run: Run) -> None:
    """Best choices, Pareto fronts, whether balancing pays, and what was impossible."""
    records = sorted(run.what_if, key=lambda record: record.number)
    wanted, _ = wanted_of(run)
    possible = [record for record in records if record.possible]
    _say(f"{len(records)} scenarios, {len(possible)} possible, all simulated")
    _show_best(possible, wanted.baseline)
    _show_fronts(possible)
    _show_worth(possible, wanted.baseline, wanted.horizon)
    _show_transfers(run.transfers)
    _show_reasons(records)
    _show_sources(run)


def _show_best(records: list[WhatIfRecord], baseline: str) -> None:
    numbers = ("ranks", "time", f"{baseline} over it", "memory", "traffic", "first in")
    found = best(records, baseline)
    rows = [
        [
            *(each.spec, str(each.tokens), str(each.choice.ranks), each.choice.cluster, _words(each.choice)),
            *(seconds_text(each.seconds), "" if each.against is None else f"{each.against:.3f}"),
            *(_bytes(each.memory), _bytes(each.traffic), f"{each.won}/{each.questions}"),
        ]
        for each in found[:MOST_ROWS]
    ]
    columns = ["spec", "tokens", "ranks", "cluster", "placement", *numbers[1:]]
    _titled("quickest over all routings (geometric mean of one layer's step)", columns, rows, numbers)
    _more(len(found), MOST_ROWS, "combinations")


def _show_fronts(records: list[WhatIfRecord]) -> None:
    found = fronts(records)
    numbers = ("ranks", "time", "memory", "traffic", "work/bound")
    for asked, front in list(found.items())[:MOST_QUESTIONS]:
        rows = [
            [
                *(str(record.ranks), record.cluster, _words(choice(record)), seconds_text(record.seconds or 0.0)),
                *(_bytes(record.memory), _bytes(record.traffic), f"{record.work_over_bound:.3f}"),
            ]
            for record in front[:MOST_ROWS]
        ]
        title = f"{asked.spec}, {asked.tokens} tokens, {_routing(asked)}: beaten by none in time, memory and traffic"
        _titled(title, ["ranks", "cluster", "placement", *numbers[1:]], rows, numbers)
        _more(len(front), MOST_ROWS, "placements")
    _more(len(found), MOST_QUESTIONS, "routings with a front of their own")


def _show_worth(records: list[WhatIfRecord], baseline: str, horizon: int) -> None:
    found = worth(records, horizon)
    ordered = sorted(found, key=lambda each: -each.paid.net_s)
    shown = ordered if len(ordered) <= MOST_ROWS else [*ordered[: MOST_ROWS // 2], *ordered[-MOST_ROWS // 2 :]]
    alike = len({(each.record.spec, each.record.tokens) for each in found}) == 1
    rows = [
        [
            *(() if alike else (each.record.spec, str(each.record.tokens))),
            *(_routing(question(each.record)), str(each.record.ranks)),
            *(_words(choice(each.record)), "yes" if each.paid.worth else "no", _steps(each.paid.steps)),
            *map(seconds_text, (each.record.migration_s or 0.0, each.paid.saved_s, each.paid.net_s)),
        ]
        for each in shown
    ]
    numbers = ("tokens", "ranks", "pays after", "migration", "a step", "net")
    columns = [*(() if alike else ("spec", "tokens")), "routing", "ranks", "placement", "worth it", *numbers[2:]]
    title = f"is balancing worth it here? from {baseline} as it is, net after {horizon} steps like the next one"
    _titled(title, columns, rows, numbers)
    _more(len(found), MOST_ROWS, "cases between these")
    _say(in_one_sentence(found))


def _show_transfers(records: list[TransferRecord]) -> None:
    """How even every plan is on what it was made from and elsewhere, and one matrix in full."""
    possible = [record for record in records if record.on_others is not None]
    if not possible:
        return
    numbers = ("ranks", "on its own", "on others")
    ordered = sorted(possible, key=lambda record: (record.spec, record.ranks, record.on_others))
    rows = [
        [
            *(record.spec, str(record.ranks), _plan_words(record)),
            *(f"{record.on_own:.3f}", f"{record.on_others:.3f}"),
        ]
        for record in ordered[:MOST_ROWS]
    ]
    first = possible[0]
    title = (
        f"plan on one part of {first.trace}, score on another: largest over mean work of a rank, mean over "
        f"{len(first.layers)} layers"
    )
    _titled(title, ["spec", "ranks", "placement", *numbers[1:]], rows, numbers)
    _more(len(ordered), MOST_ROWS, "plans")
    shown = list(best_elsewhere(possible))[-1]
    windows = shown.windows[:MOST_WINDOWS]
    cells = [
        [name, *(f"{score:.3f}" for score in line[:MOST_WINDOWS])]
        for name, line in zip(windows, means(shown).tolist(), strict=False)
    ]
    title = f"{_plan_words(shown)}, {shown.spec} on {shown.ranks} ranks: planned on (line), scored on (column)"
    _titled(title, ["", *windows], cells, tuple(windows))
    _more(len(shown.windows), MOST_WINDOWS, "parts")


def _plan_words(record: TransferRecord) -> str:
    return f"{record.policy} + {record.replicas} replicas" if record.replicas else record.policy


def _show_reasons(records: list[WhatIfRecord]) -> None:
    found = reasons(records)
    if found:
        _say("")
    for reason, count in found.most_common(MOST_REASONS):
        _say(f"impossible, {count}: {reason}")
    _more(len(found), MOST_REASONS, "reasons")


def _show_sources(run: Run) -> None:
    note = run.notes[NOTE]
    costs: dict[str, list[str]] = {}
    for hidden, source in note.get("costs", {}).items():
        costs.setdefault(source, []).append(hidden)
    for source, hidden in costs.items():
        _say(f"\nseconds of experts (H {', '.join(hidden)}): {source}")
    links: dict[str, list[str]] = {}
    for name, source in note.get("links", {}).items():
        links.setdefault(source, []).append(name)
    for source, names in links.items():
        _say(f"links of {', '.join(names)}: {source}")


def _routing(asked: Question) -> str:
    loss = f", group loss {asked.group_loss:g}" if asked.group_loss else ""
    seed = f", seed {asked.seed}" if asked.seed else ""
    return f"{asked.routing}{loss}{seed}"


def _words(chosen: Choice) -> str:
    more = f" + {chosen.replicas} replicas" if chosen.replicas else ""
    cap = f", cap {chosen.capacity:g}" if chosen.capacity is not None else ""
    style = f", {chosen.style}" if chosen.style != "by_rank" else ""
    return f"{chosen.policy}{more}{cap}{style}"


def _steps(steps: float) -> str:
    return f"{math.ceil(steps)} steps" if math.isfinite(steps) else "never"


def _bytes(number: float | None) -> str:
    number = number or 0
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number:.0f} B"


def _titled(title: str, columns: list[str], rows: list[list[str]], right: tuple[str, ...]) -> None:
    """A table under a title that may be wider than it."""
    _say(f"\n{title}")
    table("", columns, rows, right=right)


def _more(count: int, shown: int, what: str) -> None:
    if count > shown:
        _say(f"{count - shown} more {what}: in the run file and --csv")


def _say(text: str) -> None:
    console.print(text, highlight=False, soft_wrap=True, markup=False)
