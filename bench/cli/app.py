"""The `mohge` command: collects the subcommands and turns bad input into one line and exit code 2."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from ... import __version__
from . import INTERRUPTED
from .bench import bench
from .compare import compare
from .doctor import doctor
from .empty import refuse_empty_paths
from .export import ExportCommand, export
from .place import place
from .report import report
from .run import run
from .trace import trace
from .tune import tune
from .what_if import what_if

# Typer brings its own copy of Click or depends on it, by version; its errors are found through one that it exports.
UsageError: Any = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")

BAD_INPUT = 2  # the exit code

app = typer.Typer(
    name="mohge",
    help="Benchmark the heterogeneous grouped expert FFN of MoHGE: kernels, dispatch, placement.",
    invoke_without_command=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
CLASSES: dict[Any, type[TyperCommand]] = {export: ExportCommand}  # which reads its arguments in its own way
COMMANDS = (run, doctor, bench, compare, tune, place, what_if, trace, report, export)
for command in COMMANDS:
    epilog = command.__doc__.partition("Example: ")[2] if command.__doc__ else None
    app.command(cls=CLASSES.get(command), epilog=epilog)(command)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mohge {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    if context.invoked_subcommand is None and not version:
        typer.echo(context.get_help())


def run_app(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 ran and the answer is no, 2 bad input, 130 interrupted (Ctrl-C), 143
    terminated, 129 the terminal has gone.
    """
    with _signals_as_interrupts() as received:
        sys.exit(_ended(arguments, received))


def _ended(arguments: list[str] | None, received: list[int]) -> int:
    """The exit code, after what is wrong has been said."""
    try:
        refuse_empty_paths(sys.argv[1:] if arguments is None else arguments, COMMANDS)
        code = app(args=arguments, standalone_mode=False)
        sys.stdout.flush()
    except UsageError as error:
        context = getattr(error, "ctx", None)
        _complain(error.format_message(), f"{context.command_path} --help" if context else "mohge --help")
        return BAD_INPUT
    except ValueError as error:
        _complain(str(error))
        return BAD_INPUT
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except OSError as error:
        _complain(f"{error.filename or 'output'}: {error.strerror or error}")
        return BAD_INPUT
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    if code == INTERRUPTED:  # some versions of Typer raise, others return it
        _complain("interrupted; what was finished is kept")
        return 128 + received[0] if received else INTERRUPTED
    return code if isinstance(code, int) else 0


@contextlib.contextmanager
def _signals_as_interrupts() -> Iterator[list[int]]:
    """Have a request to end treated as Ctrl-C; gives the list that it enters."""
    received: list[int] = []

    def interrupt(number: int, _: object) -> None:
        received.append(number)
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _complain(text: str, hint: str = "") -> None:
    line = " ".join(text.split())
    print(f"mohge: {line}" + (f" (see {hint})" if hint else ""), file=sys.stderr)
