"""The table of versions in `kernels/cupy/README.md`: what each reaches, from a committed run, and nothing else.

The last column of each row is made from the newest run under `bench/results` in which the most versions were timed; a
version that no committed run has timed is "not measured". `python -m mohge.bench.report.readme` writes it.
"""

from __future__ import annotations

import re
from pathlib import Path

from ..peers import LADDERS
from ..records import Run, load_run, source_hash
from .cases import is_timed
from .formats import digits, tokens_text
from .ladder import Ladder, ladders
from .machine import machine_text

ROOT = Path(__file__).resolve().parents[2]
READMES = {"cupy": ROOT / "kernels" / "cupy" / "README.md"}  # by implementation
NOT_MEASURED = "not measured"
_BLOCK = re.compile(r"<!-- versions -->\n\n(?P<table>(?:\|.*\n)+)\n(?:(?!<!--).+\n\n)?<!-- end of versions -->")
_ROW = re.compile(r"\| \[`(?P<version>\w+)\.cu`\].*\|$")


def with_figures(text: str, family: str, results: Path = ROOT / "bench" / "results") -> str:
    """A README's text with the last column of its table of versions made anew, and under it where that is from.

    Raises ValueError for a text without such a table, for one that lacks a version or has one that there is not, and
    for a committed run that cannot be read.
    """
    block = _BLOCK.search(text)
    if block is None:
        raise ValueError("expected a table between <!-- versions --> and <!-- end of versions -->, found none")
    lines = block["table"].splitlines()
    named = [found["version"] for line in lines if (found := _ROW.match(line))]
    if tuple(named) != LADDERS[family]:
        raise ValueError(f"expected rows for {', '.join(LADDERS[family])} in this order, got {', '.join(named)}")
    path = newest(family, results)
    run = load_run(path) if path is not None else None
    measured = _measured(run, family) if run is not None else ()
    rows = [_filled(line, family, measured) for line in lines]
    where = f"{_origin(run, path, measured)}\n\n" if run is not None and path is not None else ""
    made = "\n".join(["<!-- versions -->", "", *rows, "", f"{where}<!-- end of versions -->"])
    return text[: block.start()] + made + text[block.end() :]


def newest(family: str, results: Path) -> Path | None:
    """The committed run that timed the most versions, of those the one started last; None where none timed two."""
    ranked = []
    for path in sorted(results.rglob("run.json")):
        run = load_run(path)
        measured = _measured(run, family)
        if measured:
            ranked.append((max(len(ladder.timed) for ladder in measured), run.started, str(path), path))
    return max(ranked)[-1] if ranked else None


def _measured(run: Run, family: str) -> tuple[Ladder, ...]:
    """The ladders of the layer, routing and dtype on which the most versions were timed, of those the first."""
    found = [mine for _, mine in ladders(run) if mine[0].family == family]
    return max(found, key=lambda mine: max(len(ladder.timed) for ladder in mine), default=())


def _filled(line: str, family: str, measured: tuple[Ladder, ...]) -> str:
    row = _ROW.match(line)
    if row is None:
        return line
    before, _, _ = line.removesuffix("|").rpartition("|")
    name = f"{family}_{row['version']}"
    return f"{before}| {_figure(name, measured)} |"


def _figure(name: str, measured: tuple[Ladder, ...]) -> str:
    """What a version reaches at the most and at the fewest tokens it was timed on: "688 at 65 536 tokens, 20 at 64"."""
    timed = [rung.record for ladder in measured for rung in ladder.rungs if rung.record.implementation == name]
    timed = [record for record in timed if is_timed(record) and record.tflops]
    if not timed:
        return NOT_MEASURED
    ends = dict.fromkeys((timed[-1].case.tokens, timed[0].case.tokens))
    rates = {record.case.tokens: record.tflops for record in timed}
    return ", ".join(f"{digits(rates[tokens])} at {tokens_text(tokens or 0)}" for tokens in ends)


def _origin(run: Run, path: Path, measured: tuple[Ladder, ...]) -> str:
    """Where the column is from, and whether the kernels have changed since."""
    case = measured[0].case
    layer = f"{case.spec} ({', '.join(part for part in (case.routing, case.dtype) if part)})"
    file = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
    said = f"Useful rate of the whole layer on {layer}, measured on {machine_text(run)}: `{file}`."
    stale = " Stale: the kernels' sources have changed since this run." if run.source_hash != source_hash() else ""
    return said + stale
