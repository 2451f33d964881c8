"""The command line: one file per subcommand, `main` in app.py."""

from .app import main

__all__ = ["main"]
