"""How even ranks are, in the four ways that public tools measure it, each under its own name.

The four disagree as soon as layers differ, so a figure without its name cannot be compared with another tool's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Balance:
    """Four measures of one quantity on ranks, over one or more layers.

    max_over_mean:      mean over layers of max/mean (EPLB, MegaBlocks): 1 is even, P is all on one rank
    mean_over_max:      mean over layers of mean/max (SGLang's "balancedness"): 1 is even, 1/P is all on one rank
    total_mean_to_max:  sum over layers of mean / sum over layers of max (vLLM): busy layers count more
    excess:             mean over layers of max/mean - 1 (TensorRT-LLM): 0 is even

    >>> balance([[1, 3], [2, 2]])
    Balance(max_over_mean=1.25, mean_over_max=0.8333333333333333, total_mean_to_max=0.8, excess=0.25)
    """

    max_over_mean: float
    mean_over_max: float
    total_mean_to_max: float
    excess: float


@dataclass(frozen=True)
class Balances:
    """The four measures on rows ("tokens" in other tools), on FLOPs and on seconds of compute."""

    rows: Balance
    flops: Balance
    seconds: Balance


def balance(values: Any) -> Balance:
    """Measure values [P] of one layer or [L, P] of several, each rank's rows, FLOPs or seconds, all at least 0.

    A layer in which no rank has anything is left out; when all are such, everything is even. Raises ValueError.
    """
    table = np.atleast_2d(np.asarray(values, dtype=np.float64))
    if table.ndim != 2 or not table.shape[1]:
        raise ValueError(f"values: expected shape [ranks] or [layers, ranks], got {list(np.shape(values))}")
    if not (np.isfinite(table) & (table >= 0)).all():
        raise ValueError("values: expected finite numbers of at least 0")
    fullest, mean = table.max(axis=1), table.mean(axis=1)
    busy = fullest > 0
    if not busy.any():
        return Balance(1.0, 1.0, 1.0, 0.0)
    ratio = fullest[busy] / mean[busy]
    return Balance(
        max_over_mean=float(ratio.mean()),
        mean_over_max=float((1 / ratio).mean()),
        total_mean_to_max=float(mean.sum() / fullest.sum()),
        excess=float((ratio - 1).mean()),
    )


def balances(rows: Any, flops: Any, seconds: Any) -> Balances:
    """The four measures of each of the three quantities. Raises ValueError naming the quantity."""
    measured = {}
    for name, values in (("rows", rows), ("flops", flops), ("seconds", seconds)):
        try:
            measured[name] = balance(values)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
    return Balances(**measured)
