"""The Markdown table for a pull request: the verdict, the table of the main case, the machine and the command."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterator, Sequence

from ..records import LabelledRun, Run
from ..report.cases import Group, case_title, is_measured, main_case, measured_groups, scale_text
from ..report.formats import NONE, counted, listed
from ..report.ladder import ladders
from ..report.machine import machine_text
from ..report.readings_ladder import HEADER, ladder_reading, remarks, table
from ..report.verdict import table_rows, verdict

_COLUMNS = (
    *("implementation", "status", "hot", "95 % interval", "times as fast as padded_bmm", "cold"),
    *("useful TFLOP/s", "executed", "of roof", "error"),
)
_LEFT = ("implementation", "status")
_VERSIONS = ("torch", "triton", "cupy-cuda13x", "numba-cuda")
# Inside a line only these begin something in Markdown; an underscore between letters does not.
_SPECIAL = re.compile(r"[\\`*\[\]|~]|(?<![^\W_])_|_(?![^\W_])")


def markdown(runs: Sequence[LabelledRun]) -> Iterator[str]:
    """A part for every run; with a heading each where there are several."""
    for number, item in enumerate(runs):
        if number:
            yield "\n"
        if len(runs) > 1:
            yield f"### {escaped(item.label)}\n\n"
        yield from _part(item.run)


def _part(run: Run) -> Iterator[str]:
    found = verdict(run)
    yield f"**{escaped(found.sentence)}**\n\n"
    for remark in found.remarks:
        yield f"{escaped(remark)}\n\n"
    main = main_case(run)
    if main is not None:
        yield from _table(main, run)
        others = [group for group in measured_groups(run) if group != main]
        if others:
            yield f"<details><summary>{counted(len(others), 'more measured case')}</summary>\n\n"
            for group in others:
                yield from _table(group, run)
            yield "</details>\n\n"
    yield from _ladders(run)
    unmeasured = Counter(f"{record.provenance}" for record in run.records if not is_measured(record))
    if unmeasured:
        counts = listed([f"{count} {name}" for name, count in unmeasured.items()])
        yield f"Not timed, so not in a table: {counts}.\n\n"
    yield from _origin(run)


def _table(group: Group, run: Run) -> Iterator[str]:
    scale = scale_text(group.case)
    title = f"{case_title(group.case)}{f' ({scale})' if scale else ''}, measured on {machine_text(run)}:"
    yield f"{escaped(title)}\n\n| {' | '.join(_COLUMNS)} |\n"
    yield f"|{'|'.join('---' if name in _LEFT else '--:' for name in _COLUMNS)}|\n"
    for row in table_rows(group, run.environment):
        status = f"{row['status']}: {row['reason']}" if row["reason"] and not row["passed"] else row["status"]
        speedup = f"{row['speedup']} ({row['speedup_interval']})" if row["speedup_interval"] else row["speedup"]
        numbers = (row["hot"], row["hot_interval"] or NONE, speedup, row["cold"], row["useful"], row["executed"])
        share = f"{row['share']}, {row['own']}" if row["own"] else row["share"]
        cells = [code(row["implementation"]), *map(escaped, (status, *numbers, share, row["error"]))]
        yield f"| {' | '.join(cells)} |\n"
    yield "\n"


def _ladders(run: Run) -> Iterator[str]:
    """The versions of each implementation that has several with times, in decode and in prefill."""
    for case, found in ladders(run):
        what = ", ".join(part for part in (case.spec, case.routing, case.dtype) if part)
        yield f"{escaped(f'The ladder of {found[0].family} ({what}). {ladder_reading(found)}')}\n\n"
        yield f"| {' | '.join(HEADER)} |\n|---|{'--:|' * (len(HEADER) - 1)}\n"
        for name, *rest in table(found, run.environment):
            yield f"| {' | '.join([code(name), *map(escaped, rest)])} |\n"
        yield f"\n{escaped(' '.join(remarks(found)))}\n\n"


def _origin(run: Run) -> Iterator[str]:
    libraries = run.environment.libraries
    versions = [f"{name} {libraries[name]}" for name in _VERSIONS if name in libraries]
    gpu = run.environment.gpu or {}
    versions += [f"{name} {gpu[name]}" for name in ("driver", "cuda") if gpu.get(name)]
    revision = f"revision {run.git.revision[:12]}{' with changes' if run.git.dirty else ''}" if run.git else ""
    facts = [*versions, revision, f"kernel sources {run.source_hash[:12]}", f"started {run.started}"]
    yield f"Machine: {escaped(machine_text(run))}; {escaped(', '.join(filter(None, facts)))}.\n\n"
    command = shlex.join(run.command)
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", command)), default=0))
    yield f"{fence}\n{command}\n{fence}\n"


def escaped(text: str) -> str:
    """`text` so that Markdown and HTML leave it as it is, in one line."""
    line = " ".join(text.split("\n")).replace("\r", " ")
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _SPECIAL.sub(r"\\\g<0>", line)


def code(text: str) -> str:
    """`text` as code in a cell of a table, where a pipe must be escaped also in code."""
    line = " ".join(text.split()).replace("|", "\\|")
    fence = "`" * (1 + max(map(len, re.findall("`+", line)), default=0))
    space = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{fence}{space}{line}{space}{fence}"
