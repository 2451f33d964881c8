"""Several runs in one report: which are of one machine, which cases they share, and what differs between them.

Runs that `mohge compare` would compare are of one machine: they show it over time. Those that it refuses to compare are
of different machines, and stand side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property

from ..comparison.environments import differences, disturbances, refusals
from ..comparison.matching import ways
from ..records import CaseRecord, LabelledRun, Record, Samples
from .cases import Group, has_times, is_timed, measured_groups, weight
from .formats import listed
from .machine import machine_text

OVER_TIME, SIDE_BY_SIDE, BOTH = "over time", "side by side", "over time and side by side"


@dataclass(frozen=True)
class Machine:
    """A machine with its runs, by the time they started."""

    name: str
    runs: tuple[LabelledRun, ...]


@dataclass(frozen=True)
class SharedCase:
    """A measured case and its records in each run that has it, by the run's place."""

    case: CaseRecord
    groups: dict[int, Group]

    @property
    def timed(self) -> list[int]:
        """Places of the runs in which it has a time."""
        return [place for place, group in self.groups.items() if group.timed]

    def record(self, place: int, implementation: str) -> Record | None:
        """The last record of an implementation in a run."""
        group = self.groups.get(place)
        found = [record for record in group.records if record.implementation == implementation] if group else []
        return found[-1] if found else None

    def time(self, place: int, implementation: str) -> Samples | None:
        """Its hot times there, where it has any."""
        record = self.record(place, implementation)
        return record.hot if record is not None and is_timed(record) and has_times(record.hot) else None

    @property
    def implementations(self) -> list[str]:
        """The names met in any run."""
        return list(dict.fromkeys(record.implementation for group in self.groups.values() for record in group.records))

    @property
    def timed_implementations(self) -> list[str]:
        """Those with a time in any run."""
        return [name for name in self.implementations if any(self.time(place, name) for place in self.groups)]


class Several:
    """Two runs or more. `runs`: machine by machine as given, on each by the time they started. Raises ValueError."""

    def __init__(self, given: Sequence[LabelledRun]) -> None:
        if len(given) < 2:
            raise ValueError(f"runs: expected two or more, got {len(given)}")
        self.machines = _machines(given)
        self.runs = tuple(item for machine in self.machines for item in machine.runs)
        self.labels = [item.label for item in self.runs]

    @property
    def kind(self) -> str:
        """OVER_TIME, SIDE_BY_SIDE or BOTH."""
        if len(self.machines) == 1:
            return OVER_TIME
        return BOTH if any(len(machine.runs) > 1 for machine in self.machines) else SIDE_BY_SIDE

    @cached_property
    def cases(self) -> list[SharedCase]:
        """Every measured case, first those timed on most machines and in most runs, then as a single report does."""
        found: dict[tuple[object, ...], dict[int, Group]] = {}
        for place, item in enumerate(self.runs):
            for group in measured_groups(item.run):
                found.setdefault(group.case.key, {})[place] = group
        cases = [SharedCase(next(iter(groups.values())).case, groups) for groups in found.values()]
        order = range(len(cases))
        ranked = sorted(order, key=lambda index: (*self._rank(cases[index]), index), reverse=True)
        return [cases[index] for index in ranked]

    @property
    def main(self) -> SharedCase | None:
        """The case the first screen is about; None where no run measured anything."""
        return self.cases[0] if self.cases else None

    @cached_property
    def differences(self) -> dict[str, list[str]]:
        """What is not the same in all runs: each fact with its text in each run."""
        return differences([item.run for item in self.runs])

    @cached_property
    def remarks(self) -> list[str]:
        """What a reader must know: which runs stand beside which, what differs, and what was disturbed."""
        found = [self._standing(), self._differing()]
        found += [f"{text}." for item in self.runs for text in disturbances(item.label, item.run)]
        found += _timers(self)
        return found

    def places(self, machine: Machine) -> list[int]:
        """Where a machine's runs are among all."""
        start = self.labels.index(machine.runs[0].label)
        return list(range(start, start + len(machine.runs)))

    def _rank(self, case: SharedCase) -> tuple[int, int, bool, bool, bool, int]:
        machines = sum(bool(set(self.places(machine)) & set(case.timed)) for machine in self.machines)
        return machines, len(case.timed), *weight(max(case.groups.values(), key=weight))

    def _standing(self) -> str:
        if self.kind == OVER_TIME:
            cards = {(item.run.environment.gpu or {}).get("uuid") for item in self.runs}
            of = f", on {len(cards)} different cards" if len(cards) > 1 else ""
            return f"All runs are of one kind of machine, {self.machines[0].name}{of}: they show it over time."
        counts = [f"{machine.name} ({listed([item.label for item in machine.runs])})" for machine in self.machines]
        return (
            f"The runs are of {len(self.machines)} machines: {'; '.join(counts)}. "
            "They stand side by side and have no common trend."
        )

    def _differing(self) -> str:
        names = list(self.differences)
        if not names:
            return "GPU, CPU, libraries, revision and kernel sources are the same in all runs."
        return f"Between the runs differ: {listed(names)}."


def started(item: LabelledRun) -> datetime | None:
    """When a run started, in UTC; None where its file has no such time."""
    try:
        time = datetime.fromisoformat(item.run.started)
    except ValueError:
        return None
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def _machines(given: Sequence[LabelledRun]) -> tuple[Machine, ...]:
    groups: list[list[LabelledRun]] = []
    for item in given:
        mine = next((group for group in groups if not refusals([group[0].run, item.run])), None)
        if mine is None:
            groups.append([item])
        else:
            mine.append(item)
    earliest = datetime.min.replace(tzinfo=UTC)
    ordered = [sorted(group, key=lambda item: started(item) or earliest) for group in groups]
    names = [machine_text(group[0].run) for group in ordered]
    threads = [""] * len(names)
    for place, group in enumerate(ordered):
        if names.count(names[place]) > 1:  # such machines differ in the threads that torch had
            threads[place] = f", {group[0].run.environment.cpu.get('threads') or 'unknown'} threads"
    return tuple(Machine(name + more, tuple(group)) for name, more, group in zip(names, threads, ordered, strict=True))


def _timers(several: Several) -> list[str]:
    """Which times were taken in different ways, a line for each pair of ways."""
    met: dict[tuple[str, str], list[str]] = {}
    for case in several.cases:
        for name in case.timed_implementations:
            series = [samples for place in case.groups if (samples := case.time(place, name)) is not None]
            for other in series[1:]:
                here, there = ways(series[0], other)
                if here != there:
                    met.setdefault((here, there), []).append(name)
    return [
        f"{listed(list(dict.fromkeys(names)))} was timed by {here} in one run and by {there} in another: "
        "such times are not joined by a line."
        for (here, there), names in met.items()
    ]
