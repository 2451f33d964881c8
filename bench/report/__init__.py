"""The report of a run: one HTML file that opens anywhere, with nothing fetched from anywhere.

The page needs plotly, which is imported when it is asked for; what a run is in words (cases, verdict, formats) needs
nothing, so that it serves other formats too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .page import render, write_report

__all__ = ["render", "write_report"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import page

    return getattr(page, name)
