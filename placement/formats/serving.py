"""Loads as serving engines and EPLB hand them around: tables of rows by layer and logical expert."""

from __future__ import annotations

from typing import Any

import numpy as np

from .recorded import CountsFile
from .source import Source

LOGICAL_COUNT = "logical_count"
WEIGHT = "weight"
# What the same recorder writes in its other modes; per physical expert, so useless without the placement of then.
_OTHER_MODES = ("records", "global_physical_count")


def read_eplb(source: Source) -> CountsFile:
    """EPLB's `weight` [layers, logical experts], the argument of its `rebalance_experts`.

    EPLB has no file of its own. Accepted: that matrix as a .npy array, as a tensor alone in a .pt file, or in .json as
    a list of lists, alone or under "weight" (other keys stand beside it unread). One line [E] is one layer. Entries are
    rows: whole numbers of at least 0, also where they are stored as floats; scale estimates up before. Layers are
    numbered from 0 in the order of the table.

    Source: github.com/deepseek-ai/EPLB, eplb.py (`rebalance_experts`) and the example of its README. Raises ValueError.
    """
    value, name = source.value, WEIGHT
    if isinstance(value, dict):
        if WEIGHT not in value:
            raise ValueError(f"{source.path}: expected a matrix or the key {WEIGHT!r}, got the keys {_keys(value)}")
        value = value[WEIGHT]
    if isinstance(value, np.ndarray) and value.ndim == 1:
        value = value[None]
    elif isinstance(value, list) and value and not isinstance(value[0], list):
        value = [value]
    axes = "layer, expert"
    table = source.whole(source.numbers(value, name, axes), name, axes)
    return source.counts(table, "EPLB weights")


def read_sglang(source: Source) -> CountsFile:
    """SGLang's expert distribution: `logical_count` [forward passes, layers, logical experts], or without the first.

    Accepted: the .pt file that `/dump_expert_distribution_record` leaves in the modes `stat` and `stat_approx` (keys
    rank, logical_count, average_utilization_rate_over_window), and the .json with the same key that
    `--init-expert-location` takes. Forward passes are added up; unused places of the recorder's buffer are zeros.
    Dense layers are lines of zeros there and are left out, so that layers keep the model's numbers. Its other modes
    count physical experts and are refused.

    Source: github.com/sgl-project/sglang, python/sglang/srt/eplb/expert_distribution.py (`_StatAccumulator.dump`) and
    expert_location.py (`compute_initial_expert_location_metadata`). Raises ValueError.
    """
    value = source.value
    if not isinstance(value, dict) or LOGICAL_COUNT not in value:
        got = f"the keys {_keys(value)}" if isinstance(value, dict) else type(value).__name__
        hint = ""
        if isinstance(value, dict) and any(key in value for key in _OTHER_MODES):
            hint = "; record with --expert-distribution-recorder-mode stat"
        raise ValueError(f"{source.path}: expected the key {LOGICAL_COUNT!r}, got {got}{hint}")
    counts = value[LOGICAL_COUNT]
    passes = _dimensions(counts) == 3
    axes = "forward pass, layer, expert" if passes else "layer, expert"
    table = source.whole(source.numbers(counts, LOGICAL_COUNT, axes), LOGICAL_COUNT, axes)
    origin = "SGLang logical_count"
    if passes:
        used = int(table.any(axis=(1, 2)).sum())
        table = table.sum(axis=0)
        origin += f", {used} forward passes added up"
    return source.counts(table, origin)


def _dimensions(value: Any) -> int:
    if isinstance(value, np.ndarray):
        return value.ndim
    return 1 + _dimensions(value[0]) if isinstance(value, list) and value else int(isinstance(value, list))


def _keys(value: dict[Any, Any]) -> str:
    return ", ".join(repr(str(key)) for key in list(value)[:6]) or "none"
