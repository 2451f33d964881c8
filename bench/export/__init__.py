"""Runs in the formats of other tools: Perfetto, CSV, a Markdown table, pytest-benchmark. Nothing is measured here.

Every format is a function from runs to pieces of text, so that a large one is never whole in memory.
"""

from .markdown import markdown
from .perfetto import perfetto
from .saved_benchmarks import benchmark_json
from .table import records_csv, samples_csv

__all__ = ["benchmark_json", "markdown", "perfetto", "records_csv", "samples_csv"]
