"""Empty words on the command line: as a path, one would mean the current folder, which nobody asks for like that."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Annotated, Any, get_args, get_origin, get_type_hints


def refuse_empty_paths(words: Sequence[str], commands: Sequence[Callable[..., Any]]) -> None:
    """Raise ValueError for an option that takes a path, and for an argument, with nothing in it.

    words: the command line, its first word the command's name. An unset shell variable in quotes is how they come.
    """
    named = {command.__name__.replace("_", "-"): command for command in commands}
    if not words or words[0] not in named:
        return
    options = path_options(named[words[0]])
    mine = words[: words.index("--")] if "--" in words else words  # what follows is another program's
    for before, word in pairwise(mine):
        option, equals, value = word.partition("=")
        if equals and not value and option in options:
            raise ValueError(f"{option}: expected a path, got an empty one")
        if word == "" and before in options:
            raise ValueError(f"{before}: expected a path, got an empty one")
        if word == "" and not before.startswith("-"):
            raise ValueError(f"{words[0]}: expected a word after {before!r}, got an empty one")


def path_options(command: Callable[..., Any]) -> set[str]:
    """The options of a command whose value is a path, by its type or by what its help calls it."""
    found: set[str] = set()
    for name, hint in get_type_hints(command, include_extras=True).items():
        if get_origin(hint) is not Annotated:
            continue
        kind, *told = get_args(hint)
        metavar = next((str(each.metavar) for each in told if getattr(each, "metavar", None)), "")
        if "Path" in str(kind) or "FILE" in metavar or "RUN" in metavar:
            # Inside Annotated, Typer takes the first name of an option for its default until it is asked.
            names = [word for each in told for word in (each.default, *(each.param_decls or ()))]
            options = {word for word in names if isinstance(word, str) and word.startswith("-")}
            found |= options or {f"--{name.replace('_', '-')}"}
    return found
