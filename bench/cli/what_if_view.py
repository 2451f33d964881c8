"""What a study answers, as tables for people; every figure is simulated, and where its seconds are from is said."""

from __future__ import annotations

from ..records import Run, WhatIfRecord
from ..whatif import wanted_of
from ..whatif.answers import Choice, Question, best, choice, fronts, in_one_sentence, reasons, worth
from ..whatif.sweep import NOTE
from .output import console, table

# What is shown of long lists; the run file and --csv have everything.
MOST_ROWS, MOST_QUESTIONS, MOST_REASONS = 12, 2, 8


def show_answers(run: Run) -> None:
    """Best choices, Pareto fronts, whether balancing pays, and what was impossible."""
    records = sorted(run.what_if, key=lambda record: record.number)
    wanted, _ = wanted_of(run)
    possible = [record for record in records if record.possible]
    _say(f"{len(records)} scenarios, {len(possible)} possible, all simulated")
    _show_best(possible, wanted.baseline)
    _show_fronts(possible)
    _show_worth(possible, wanted.baseline, wanted.horizon)
    _show_reasons(records)
    _show_sources(run)


def _show_best(records: list[WhatIfRecord], baseline: str) -> None:
    numbers = ("ranks", "time", f"{baseline} over it", "memory", "traffic", "first in")
    found = best(records, baseline)
    rows = [
        [
            *(each.spec, str(each.tokens), str(each.choice.ranks), each.choice.cluster, _words(each.choice)),
            *(_time(each.seconds), "" if each.against is None else f"{each.against:.3f}"),
            *(_bytes(each.memory), _bytes(each.traffic), f"{each.won}/{each.questions}"),
        ]
        for each in found[:MOST_ROWS]
    ]
    columns = ["spec", "tokens", "ranks", "cluster", "placement", *numbers[1:]]
    table("\nquickest over all routings (geometric mean of one layer's step)", columns, rows, right=numbers)
    _more(len(found), MOST_ROWS, "combinations")


def _show_fronts(records: list[WhatIfRecord]) -> None:
    found = fronts(records)
    numbers = ("ranks", "time", "memory", "traffic", "work/bound")
    for asked, front in list(found.items())[:MOST_QUESTIONS]:
        rows = [
            [
                *(str(record.ranks), record.cluster, _words(choice(record)), _time(record.seconds or 0.0)),
                *(_bytes(record.memory), _bytes(record.traffic), f"{record.work_over_bound:.3f}"),
            ]
            for record in front[:MOST_ROWS]
        ]
        title = f"\n{_asked(asked)}: beaten by none in time, memory and traffic"
        table(title, ["ranks", "cluster", "placement", *numbers[1:]], rows, right=numbers)
        _more(len(front), MOST_ROWS, "placements")
    _more(len(found), MOST_QUESTIONS, "routings with a front of their own")


def _show_worth(records: list[WhatIfRecord], baseline: str, horizon: int) -> None:
    found = worth(records, horizon)
    ordered = sorted(found, key=lambda each: -each.paid.net_s)
    shown = ordered if len(ordered) <= MOST_ROWS else [*ordered[: MOST_ROWS // 2], *ordered[-MOST_ROWS // 2 :]]
    rows = [
        [
            _asked(Question(*(getattr(each.record, name) for name in Question._fields))),
            *(str(each.record.ranks), each.record.cluster, _words(choice(each.record))),
            str(each.paid),
        ]
        for each in shown
    ]
    title = f"\nis balancing worth it here? from {baseline} as it is, migration paid, {horizon} steps"
    table(title, ["routing", "ranks", "cluster", "placement", ""], rows, right=("ranks",))
    _more(len(found), MOST_ROWS, "cases between these")
    _say(in_one_sentence(found))


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


def _asked(asked: Question) -> str:
    loss = f", group loss {asked.group_loss:g}" if asked.group_loss else ""
    seed = f", seed {asked.seed}" if asked.seed else ""
    return f"{asked.spec}, {asked.tokens} tokens, {asked.routing}{loss}{seed}"


def _words(chosen: Choice) -> str:
    more = f" + {chosen.replicas} replicas" if chosen.replicas else ""
    cap = f", cap {chosen.capacity:g}" if chosen.capacity is not None else ""
    style = f", {chosen.style}" if chosen.style != "by_rank" else ""
    return f"{chosen.policy}{more}{cap}{style}"


def _time(seconds: float) -> str:
    return f"{seconds * 1e3:.3g} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.3g} µs"


def _bytes(number: float | None) -> str:
    number = number or 0
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number:.0f} B"


def _more(count: int, shown: int, what: str) -> None:
    if count > shown:
        _say(f"{count - shown} more {what}: in the run file and --csv")


def _say(text: str) -> None:
    console.print(text, highlight=False, soft_wrap=True, markup=False)
