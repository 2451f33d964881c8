"""The report of a run: one HTML file that opens anywhere, with nothing fetched from anywhere."""

from .page import render, write_report

__all__ = ["render", "write_report"]
