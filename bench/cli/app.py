"""The `mohge` command: collects the subcommands and turns bad input into one line and exit code 2."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from ... import __version__
from .bench import bench
from .compare import compare
from .doctor import doctor
from .place import place
from .report import report
from .run import run

# Typer brings its own copy of Click or depends on it, by version; its errors are found through one that it exports.
UsageError: Any = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")

app = typer.Typer(
    name="mohge",
    help="Benchmark the heterogeneous grouped expert FFN of MoHGE: kernels, dispatch, placement.",
    invoke_without_command=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (run, doctor, bench, compare, place, report):
    app.command(epilog=command.__doc__.partition("Example: ")[2] if command.__doc__ else None)(command)


INTERRUPTED = 130  # the exit code of a command ended by Ctrl-C


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


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 ran and the answer is no, 2 bad input, 130 interrupted."""
    try:
        code = app(args=arguments, standalone_mode=False)
    except UsageError as error:
        context = getattr(error, "ctx", None)
        _complain(error.format_message(), f"{context.command_path} --help" if context else "mohge --help")
        sys.exit(2)
    except ValueError as error:
        _complain(str(error))
        sys.exit(2)
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    if code == INTERRUPTED:  # some versions of Typer raise, others return it
        _complain("interrupted; what was finished is kept")
    sys.exit(code if isinstance(code, int) else 0)


def _complain(text: str, hint: str = "") -> None:
    line = " ".join(text.split())
    print(f"mohge: {line}" + (f" (see {hint})" if hint else ""), file=sys.stderr)
