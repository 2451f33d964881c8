"""What an exchange over one class of links takes: a straight line, or a table of measured exchanges.

An exchange is one all-to-all; its size is the most bytes that any rank sends to, or receives from, *other* ranks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

PROVENANCES = ("measured", "predicted")


@dataclass(frozen=True)
class Link:
    """One class of links, with t(b) = alpha_s + b / bytes_per_s, or a table where there is one.

    name:         what reports call it
    alpha_s:      seconds an exchange takes however small it is
    bytes_per_s:  bytes a second and rank, in one direction
    source:       where the numbers are from
    provenance:   "measured" for a table of measured exchanges; "predicted" for a straight line
    sizes:        float64[M] bytes of the table's exchanges, ascending; empty without a table
    seconds:      float64[M] what they took

    >>> Link("wire", alpha_s=1e-5, bytes_per_s=1e9).time(1e6)
    0.00101
    """

    name: str
    alpha_s: float
    bytes_per_s: float
    source: str = ""
    provenance: str = "predicted"
    sizes: NDArray[np.float64] = field(default_factory=lambda: np.empty(0), compare=False)
    seconds: NDArray[np.float64] = field(default_factory=lambda: np.empty(0), compare=False)

    def __post_init__(self) -> None:
        if not (np.isfinite(self.alpha_s) and self.alpha_s >= 0):
            raise ValueError(f"link {self.name!r}: alpha_s: expected seconds of at least 0, got {self.alpha_s}")
        if not (np.isfinite(self.bytes_per_s) and self.bytes_per_s > 0):
            raise ValueError(f"link {self.name!r}: bytes_per_s: expected a number above 0, got {self.bytes_per_s}")
        if self.provenance not in PROVENANCES:
            raise ValueError(
                f"link {self.name!r}: provenance: expected one of {', '.join(PROVENANCES)}, got {self.provenance!r}"
            )

    def time(self, size: float) -> float:
        """Seconds of an exchange of `size` bytes; nothing to exchange takes no time.

        Between two entries of a table the time is a power of the size; below the first it is the first's, above the
        last it goes on at the last two's rate. Raises ValueError for a negative size.
        """
        return float(self.times(size))

    def times(self, sizes: Any) -> NDArray[np.float64]:
        """The same for many exchanges, float64[...]."""
        sizes = np.asarray(sizes, dtype=np.float64)
        if not (sizes >= 0).all():
            raise ValueError(f"size: expected bytes of at least 0, got {sizes[~(sizes >= 0)].ravel()[0]:g}")
        if not len(self.sizes):
            seconds = self.alpha_s + sizes / self.bytes_per_s
        else:
            inner = np.log(np.clip(sizes, self.sizes[0], self.sizes[-1]))
            inside = np.exp(np.interp(inner, np.log(self.sizes), np.log(self.seconds)))
            beyond = self.seconds[-1] + (sizes - self.sizes[-1]) / self.bytes_per_s
            seconds = np.where(sizes > self.sizes[-1], beyond, inside)
        return np.where(sizes > 0, seconds, 0.0)


def table_link(name: str, sizes: Any, seconds: Any, source: str) -> Link:
    """A link from measured exchanges: sizes bytes[M] and seconds[M], in any order, at least two sizes.

    Of several measurements of one size the median counts. Its alpha_s is the quickest exchange, its bytes_per_s the
    rate between the two largest sizes. Raises ValueError.
    """
    sizes, seconds = np.asarray(sizes, dtype=np.float64), np.asarray(seconds, dtype=np.float64)
    if sizes.ndim != 1 or sizes.shape != seconds.shape:
        raise ValueError(f"link {name!r}: expected as many seconds as sizes, got {list(seconds.shape)}")
    if not ((np.isfinite(sizes) & (sizes > 0)).all() and (np.isfinite(seconds) & (seconds > 0)).all()):
        raise ValueError(f"link {name!r}: expected bytes and seconds above 0")
    known = np.unique(sizes)
    if len(known) < 2:
        raise ValueError(f"link {name!r}: expected exchanges of at least 2 sizes, got {len(known)}")
    took = np.array([np.median(seconds[sizes == size]) for size in known])
    rise = took[-1] - took[-2]
    rate = (known[-1] - known[-2]) / rise if rise > 0 else known[-1] / took[-1]
    return Link(name, float(took.min()), float(rate), source, "measured", known, took)


def line_errors(sizes: Any, seconds: Any, link: Link) -> NDArray[np.float64]:
    """How far `link` is from measured exchanges: (its seconds - measured) / measured, float64[M]."""
    measured = np.asarray(seconds, dtype=np.float64)
    return np.array([link.time(float(size)) for size in np.asarray(sizes)]) / measured - 1
