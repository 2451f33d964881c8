"""Reads a large trace in a process of its own, while the one that asked for it goes on with other work."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from .trace_file import Trace, read_trace

# From here on reading takes longer than starting a process: 16 MB are 70 000 readings of 13 metrics and take 0.4 s.
LARGE_BYTES = 16 * 2**20


def begin_reading(path: Path) -> Callable[[], Trace]:
    """Begin to read the trace in a file; what is returned waits for it and raises what `read_trace` raises.

    The trace is that of the moment of this call or a little later. A process that nobody waits for ends with this one:
    it cannot give its trace to anybody. One that fails is made up for by reading here.
    """
    try:
        large = path.stat().st_size >= LARGE_BYTES
    except OSError:  # which read_trace says in its own words
        large = False
    if not large:
        return partial(read_trace, path)
    command = [sys.executable, "-m", __name__, str(path)]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return partial(_end_reading, process, path)


def _end_reading(process: subprocess.Popen[bytes], path: Path) -> Trace:
    with process:
        assert process.stdout is not None
        try:
            found = pickle.load(process.stdout)
        except (EOFError, pickle.UnpicklingError, AttributeError, ImportError):
            found = None
    return found if isinstance(found, Trace) else read_trace(path)


def main() -> None:
    """Read the trace whose path is the argument, and write it to the standard output for `begin_reading`."""
    try:
        pickle.dump(read_trace(sys.argv[1]), sys.stdout.buffer, protocol=pickle.HIGHEST_PROTOCOL)
    except (ValueError, BrokenPipeError):
        sys.exit(1)


if __name__ == "__main__":
    main()
