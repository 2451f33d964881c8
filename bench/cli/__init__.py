"""The command line: one file per subcommand, put together in app.py."""

from __future__ import annotations

import os
import signal

INTERRUPTED = 130  # the exit code of a command ended by Ctrl-C


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit; see `run_app`."""
    # Importing takes seconds, and nothing has been started yet that would have to be ended.
    before = signal.getsignal(signal.SIGINT)
    handled = before is signal.default_int_handler
    if handled:
        signal.signal(signal.SIGINT, _leave)
    try:
        from .app import run_app
    finally:
        if handled:
            signal.signal(signal.SIGINT, before)
    run_app(arguments)


def _leave(*_: object) -> None:
    os.write(2, b"mohge: interrupted; nothing had been started\n")
    os._exit(INTERRUPTED)


__all__ = ["INTERRUPTED", "main"]
