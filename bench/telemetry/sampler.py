"""The observer of a stretch of work: starts the sampling process before it, marks phases during it, reads what came."""

from __future__ import annotations

import contextlib
import json
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .source import UnavailableError
from .sources import LIVE
from .trace_file import Mark, Trace, TraceWriter, read_trace

COMMAND = (sys.executable, "-m", "mohge.bench.telemetry.sampling")
SHORTEST_PERIOD_S = 0.02  # below it NVML repeats itself
_PATIENCE_S = 60.0  # for a process that starts, or that finishes its last reading


class Sampler:
    """Readings of a GPU in a file while something runs: before, during, after, results, in that order.

    path:     the trace file, which is appended to
    source:   nvml, or a trace file to play in its place
    gpu:      NVML's index or a UUID; None: the first that CUDA_VISIBLE_DEVICES allows
    period_s: time between readings
    """

    def __init__(self, path: str | Path, source: str = LIVE, gpu: str | None = None, period_s: float = 0.1) -> None:
        if not period_s >= SHORTEST_PERIOD_S:
            raise ValueError(f"period: expected at least {SHORTEST_PERIOD_S} s, got {period_s}")
        self.path, self._gpu, self._period_s = Path(path), gpu, period_s
        # The sampling process may be started in another folder than the one a relative name was meant in.
        self._source = source if source == LIVE else str(Path(source).absolute())
        self._process: subprocess.Popen[str] | None = None
        self._writer: TraceWriter | None = None
        self._start = 0  # of this stretch in the file

    def before(self) -> None:
        """Start sampling; returns when the first reading is in the file. Raises UnavailableError with the reason."""
        self._start = self.path.stat().st_size if self.path.exists() else 0
        arguments = {"path": str(self.path.absolute()), "source": self._source, "gpu": self._gpu}
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115 (closed in after)
        self._process = subprocess.Popen(
            [*COMMAND, json.dumps({**arguments, "period_s": self._period_s})],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            start_new_session=True,  # what ends the watched program's group must leave the last reading and its line
        )
        answer = self._answer()
        if "ready" not in answer:
            reason = answer.get("error") or answer.get("end") or self._last_error()
            self.after()
            raise UnavailableError(reason)
        self._writer = TraceWriter(self.path)

    def during(self) -> str | None:
        """None while sampling goes on, else why it ended: cheap enough to be asked between calls."""
        process = self._process
        if process is not None and process.poll() is None:
            return None
        return "the sampling process has ended" if process is not None else "sampling has not begun"

    @contextlib.contextmanager
    def mark(self, lane: str, name: str) -> Iterator[None]:
        """A phase: its begin and end enter the trace, on the readings' clock."""
        self._mark("begin", lane, name)
        try:
            yield
        finally:
            self._mark("end", lane, name)

    def after(self) -> None:
        """Stop sampling: a last reading, then the line with what sampling took. Harmless when it is over."""
        if self._process is not None:
            process, self._process = self._process, None
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.communicate(timeout=_PATIENCE_S)  # closes its standard input: the sign to stop
            if process.poll() is None:
                process.kill()
                process.communicate()
            self._errors.close()
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def results(self) -> Trace:
        """What this sampler wrote so far, whatever was in the file before. Raises ValueError."""
        return read_trace(self.path, self._start)

    def _mark(self, mark: str, lane: str, name: str) -> None:
        if self._writer is not None:
            self._writer.mark(Mark(time.monotonic(), mark, lane, name))

    def _answer(self) -> dict[str, Any]:
        """The first line the process says; empty when it ended without one."""
        assert self._process is not None
        assert self._process.stdout is not None
        answered, _, _ = select.select([self._process.stdout], [], [], _PATIENCE_S)
        line = self._process.stdout.readline() if answered else ""
        return json.loads(line) if line.strip() else {}

    def _last_error(self) -> str:
        self._errors.seek(0)
        lines = [line.strip() for line in self._errors.read().splitlines() if line.strip()]
        return f"the sampling process ended before its first reading: {lines[-1] if lines else 'without a word'}"
