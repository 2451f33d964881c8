"""The table of tuned launch configurations: what its rows mean, how it is read, and which row a launch gets.

`tuned.json` beside this file is the reviewed table; MOHGE_TUNED names another one. It has one row for each combination
of implementation, GPU, dtype, spec class, token bucket and routing class that was tuned:

    {"implementation": "triton", "gpu": "NVIDIA H200", "spec_class": "h1024-w384..1280x8-e64-k6", "tokens": 16384,
     "routing_class": "skewed", "dtype": "bfloat16", "values": {"fc1_block_m": 128, ...}, "provenance": "measured",
     "source": "runs/.../run.json", "time_us": ...}

Implementation, GPU, dtype and spec class of a launch must equal the row's. Then the first that exists is taken of:

1. the launch's token bucket, or else the nearest one within a factor of FARTHEST, of the launch's routing class;
2. the same of routing class "any".

Where none exists, the implementation's built-in choice stands. "any" is what a launch has that was told nothing, so a
tuner that means to serve those writes a row "any": the configuration that is best over all its routings. The suite's
own workers know the counts of a case and tell its layers; who serves a model would know them as an average.
"""

from __future__ import annotations

import functools
import itertools
import json
import math
import os
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .values import Value

if TYPE_CHECKING:
    from ..reference import LayerSpec

VERSION = 1
TABLE = Path(__file__).with_name("tuned.json")
VARIABLE = "MOHGE_TUNED"

ROUTING_CLASSES = ("any", "balanced", "skewed")
# Spread of the experts' popularity up to which a routing is balanced: a standard deviation of half the mean.
BALANCED_SPREAD = 0.25
# How many times larger or smaller a bucket may be whose row still serves. Further away, mean rows an expert have left
# the range of one built-in choice, which is then the better guess.
FARTHEST = 4
MOST_BUCKET = 2**30

# Values by (implementation, GPU, dtype, spec class, routing class), then by token bucket.
Index = dict[tuple[str | int, ...], dict[int, Mapping[str, Value]]]

PROVENANCES = ("measured", "simulated", "synthetic", "predicted")


@dataclass(frozen=True)
class TunedRow:
    """One row of the table.

    gpu:           the name torch gives the GPU; "cpu" for what runs in an interpreter, a simulator or on the host
    tokens:        the upper end of its token bucket
    provenance:    how the values were found to be best; the table of the package holds measured rows only
    source:        the run file that says so
    time_us:       the layer's time there, in microseconds

    Raises ValueError for a field that is none.
    """

    implementation: str
    gpu: str
    spec_class: str
    tokens: int
    routing_class: str
    dtype: str
    values: Mapping[str, Value]
    provenance: str
    source: str
    time_us: float | None = None

    def __post_init__(self) -> None:
        for name in ("implementation", "gpu", "spec_class", "dtype", "source"):
            _expect(isinstance(getattr(self, name), str) and getattr(self, name), name, "a text", getattr(self, name))
        whole = isinstance(self.tokens, int) and not isinstance(self.tokens, bool)
        bucket = whole and 1 <= self.tokens <= MOST_BUCKET and token_bucket(self.tokens) == self.tokens
        _expect(bucket, "tokens", f"a power of two up to {MOST_BUCKET}, the end of a bucket", self.tokens)
        _expect(self.routing_class in ROUTING_CLASSES, "routing_class", _one_of(ROUTING_CLASSES), self.routing_class)
        _expect(self.provenance in PROVENANCES, "provenance", _one_of(PROVENANCES), self.provenance)
        plain = isinstance(self.values, Mapping) and all(
            isinstance(name, str) and isinstance(value, int | str) for name, value in self.values.items()
        )
        _expect(plain and self.values, "values", "whole numbers and texts by parameter name", self.values)
        timed = self.time_us is None or (isinstance(self.time_us, int | float) and 0 < self.time_us < math.inf)
        _expect(timed, "time_us", "a time in microseconds above 0, or none", self.time_us)

    @property
    def key(self) -> tuple[str | int, ...]:
        """What a table has one row for."""
        return (self.implementation, self.gpu, self.dtype, self.spec_class, self.routing_class, self.tokens)

    @classmethod
    def from_dict(cls, table: Mapping[str, Any]) -> TunedRow:
        """A row from plain JSON types. Raises ValueError for a field that is missing, unknown or none."""
        known = {field.name for field in fields(cls)}
        _expect(isinstance(table, Mapping), "row", "a table of fields", table)
        missing, unknown = sorted(known - {"time_us"} - {*table}), sorted({*table} - known)
        if missing or unknown:
            what = f"no {missing[0]}" if missing else f"{unknown[0]}, which is no field"
            raise ValueError(f"row: expected the fields {', '.join(field.name for field in fields(cls))}, got {what}")
        return cls(**table)


def spec_class(spec: LayerSpec) -> str:
    """What about a layer decides its launches: H, the widths and how often each occurs, E, K. "h1024-w768-e128-k8".

    Widths are in rising order: one number when all are equal, "384..1280x8" for eight in equal steps that are equally
    frequent, otherwise each width with how often it occurs, as "8*2+16" where twice as many experts are 8 wide as 16.
    Names, the order of the groups and how experts are dealt to groups of the same width do not count.
    """
    occurs = Counter(spec.widths)
    widths, common = sorted(occurs), math.gcd(*occurs.values())
    steps = {after - before for before, after in itertools.pairwise(widths)}
    if len(widths) == 1:
        text = str(widths[0])
    elif len(widths) > 2 and len(steps) == 1 and len({*occurs.values()}) == 1:
        text = f"{widths[0]}..{widths[-1]}x{len(widths)}"
    else:
        shares = [(width, occurs[width] // common) for width in widths]
        text = "+".join(str(width) if share == 1 else f"{width}*{share}" for width, share in shares)
    return f"h{spec.hidden}-w{text}-e{spec.experts}-k{spec.top_k}"


def token_bucket(tokens: int) -> int:
    """The least power of two that is not below `tokens`; 1 for none. Raises ValueError below 0."""
    if tokens < 0:
        raise ValueError(f"tokens: expected 0 or more, got {tokens}")
    return 1 << max(0, tokens - 1).bit_length()


def routing_class(counts: NDArray[np.int64]) -> str:
    """Whether a routing is "balanced" or "skewed", from rows per expert `counts` int[E] on the host.

    The measure is the squared coefficient of variation of the experts' popularity, with the noise of a fair draw taken
    out: (variance - mean) / mean² of the counts. Tokens that choose at random give about 0 whatever their number, where
    the largest count over the mean would call every small batch skewed. Above BALANCED_SPREAD is skewed.
    """
    rows = np.asarray(counts, dtype=np.float64)
    mean = rows.mean() if rows.size else 0.0
    if mean == 0:
        return "balanced"
    return "skewed" if (rows.var() - mean) / mean**2 > BALANCED_SPREAD else "balanced"


def lookup(
    implementation: str, gpu: str, spec: LayerSpec, tokens: int, routing_class: str, dtype: str
) -> Mapping[str, Value] | None:
    """The values for a launch of `tokens` tokens, or None for the built-in choice: the order at the top of this file.

    Reads a table when it has changed. Raises ValueError for a table that is none and for an unknown routing class.
    """
    return ladder(implementation, gpu, spec, routing_class, dtype).get(token_bucket(tokens))


def ladder(
    implementation: str, gpu: str, spec: LayerSpec, routing_class: str, dtype: str
) -> Mapping[int, Mapping[str, Value]]:
    """The values of every token bucket for which `lookup` finds some: what a launcher holds on to."""
    if routing_class not in ROUTING_CLASSES:
        raise ValueError(f"routing_class: expected {_one_of(ROUTING_CLASSES)}, got {routing_class!r}")
    index = _index(table_path())
    served: dict[int, Mapping[str, Value]] = {}
    for asked in dict.fromkeys((routing_class, "any")):
        rows = index.get((implementation, gpu, dtype, spec_class(spec), asked), {})
        for bucket in _buckets():
            near = min(rows, key=lambda tokens, bucket=bucket: (_apart(tokens, bucket), tokens), default=None)
            if bucket not in served and near is not None and _apart(near, bucket) <= FARTHEST:
                served[bucket] = rows[near]
    return served


def _apart(one: int, other: int) -> int:
    return max(one, other) // min(one, other)


def _buckets() -> Iterable[int]:
    return (1 << power for power in range(MOST_BUCKET.bit_length()))


def table_path() -> Path:
    """The table in force: $MOHGE_TUNED, else that of the package."""
    return Path(os.environ.get(VARIABLE) or TABLE)


def _index(path: Path) -> Index:
    """The table by launches, read again only when the file has changed."""
    try:
        state = path.stat()
    except OSError as error:
        raise ValueError(f"tuned table {path}: cannot be read: {error.strerror}") from error
    return _index_of(path, state.st_mtime_ns, state.st_size)


@functools.lru_cache(maxsize=8)
def _index_of(path: Path, modified: int, size: int) -> Index:  # noqa: ARG001  (part of the cache's key)
    index: Index = {}
    for row in read_table(path):
        index.setdefault(row.key[:-1], {})[row.tokens] = row.values
    return index


def forget() -> None:
    """Read tables afresh from now on, even a file that looks unchanged; prepared layers keep what they have."""
    _index_of.cache_clear()


def read_table(path: Path | str | None = None) -> tuple[TunedRow, ...]:
    """The rows of a table, by default the one in force.

    Raises ValueError, with the file and the row, for a file that cannot be read, another version, a row that is none
    and two rows for the same launches.
    """
    path = Path(path) if path is not None else table_path()
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"tuned table {path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ValueError(f"tuned table {path}: expected JSON: {error}") from error
    if not isinstance(table, dict) or table.get("tuned") != VERSION or not isinstance(table.get("rows"), list):
        raise ValueError(f'tuned table {path}: expected {{"tuned": {VERSION}, "rows": [...]}}')
    rows: dict[tuple[str | int, ...], TunedRow] = {}
    for number, entry in enumerate(table["rows"]):
        try:
            row = TunedRow.from_dict(entry)
            _expect(row.key not in rows, "row", "one row for the same launches", row.key)
        except ValueError as error:
            raise ValueError(f"tuned table {path}, row {number}: {error}") from error
        rows[row.key] = row
    return tuple(rows.values())


def write_table(rows: Iterable[TunedRow | Mapping[str, Any]], path: Path | str) -> None:
    """Write rows in the order of their keys, so that a changed table shows only what changed; whole or not at all.

    Raises ValueError for a row that is none, for two rows for the same launches, and when the file cannot be written.
    """
    checked = [row if isinstance(row, TunedRow) else TunedRow.from_dict(row) for row in rows]
    twice = [key for key, times in Counter(row.key for row in checked).items() if times > 1]
    _expect(not twice, "rows", "one row for the same launches", twice)
    listed = [
        {name: value for name, value in asdict(row).items() if value is not None}
        for row in sorted(checked, key=lambda row: row.key)
    ]
    path = Path(path)
    try:
        handle, scratch = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(json.dumps({"tuned": VERSION, "rows": listed}, indent=1) + "\n")
        Path(scratch).replace(path)
    except OSError as error:
        raise ValueError(f"tuned table {path}: cannot be written: {error.strerror}") from error


def _expect(holds: object, name: str, expected: str, got: object) -> None:
    if not holds:
        raise ValueError(f"{name}: expected {expected}, got {got!r}")


def _one_of(names: Iterable[str]) -> str:
    return f"one of {', '.join(names)}"
