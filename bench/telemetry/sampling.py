"""The sampling process: `python -m mohge.bench.telemetry.sampling`, started by `Sampler`.

A process of its own, not a thread: every query of a thread would take the interpreter lock from the host code that
launches kernels, up to the interpreter's switch interval (5 ms) at a time, and the readings would be late whenever that
code holds the lock. It ends when its standard input does, so it never outlives the program it watches, and it goes on
writing when that program hangs or crashes.
"""

from __future__ import annotations

import json
import select
import signal
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .source import Source, SourceLostError
from .sources import make_source
from .trace_file import Cost, Header, TraceWriter, boot_id

STOPPED = "stopped"


def sample(
    source: Source,
    writer: TraceWriter,
    period_s: float,
    wait: Callable[[float], bool],
    *,
    clock: Callable[[], float] = time.monotonic,
    cpu_clock: Callable[[], float] = time.process_time,
    ready: Callable[[Header], Any] = lambda _header: None,
) -> str:
    """Write readings of an opened source every `period_s` until wait(seconds) says to stop, or the source is lost.

    The first reading comes before the header, so that the header can say what the device refuses; ready(header) is
    called once both are written. Returns why it ended, which is also in the file's last line.
    """
    first, why = None, STOPPED
    try:
        first = source.read(clock())
    except SourceLostError as error:
        why = f"lost: {error}"
    known = dict(source.unavailable)
    header = Header(
        source.kind, source.describe(), datetime.now(UTC).isoformat(timespec="seconds"), period_s, known, boot_id()
    )
    writer.header(header)
    if first is None:
        writer.end(clock(), why, Cost(0.0, 0.0, 0), {})
        return why
    writer.reading(first)
    ready(header)
    begin, begin_cpu = clock(), cpu_clock()
    readings, reading_s, late_s, stopped = 0, 0.0, 0.0, False
    due = begin + period_s
    while not stopped:
        stopped = wait(max(0.0, due - clock()))  # a last reading follows when told to stop
        now = clock()
        late_s = max(late_s, now - due)
        try:
            reading = source.read(now)
        except SourceLostError as error:
            why = f"lost: {error}"
            break
        writer.reading(reading)
        readings += 1
        after = clock()
        reading_s += after - now
        # Times that were missed are left out: a burst of readings would tell nothing.
        due += period_s * max(1, -(-(after - due) // period_s))
    cost = Cost(cpu_clock() - begin_cpu, clock() - begin, readings, 1e6 * reading_s / max(readings, 1), late_s)
    news = {name: reason for name, reason in source.unavailable.items() if name not in known}
    writer.end(clock(), why, cost, news)
    return why


def main() -> int:
    """Sample what the argument (a JSON object) names until standard input ends; standard output says how it goes."""
    arguments = json.loads(sys.argv[1])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the watched program; its end ends this one
    try:
        source = make_source(arguments["source"], arguments["gpu"])
        source.open()
        writer = TraceWriter(Path(arguments["path"]))  # no file without a source
    except ValueError as error:
        _say(error=str(error))
        return 2
    try:
        why = sample(source, writer, arguments["period_s"], _wait, ready=lambda header: _say(ready=header.line()))
        _say(end=why)
    except ValueError as error:  # the file can no longer be written
        _say(error=str(error))
        return 2
    finally:
        source.close()
        writer.close()
    return 0


def _wait(seconds: float) -> bool:
    """Wait; True as soon as standard input has ended or says anything."""
    readable, _, _ = select.select([sys.stdin], [], [], seconds)
    return bool(readable)


def _say(**table: Any) -> None:
    try:
        print(json.dumps(table), flush=True)
    except BrokenPipeError:  # nobody listens any more; the file has it all
        sys.stdout = None


if __name__ == "__main__":
    sys.exit(main())
