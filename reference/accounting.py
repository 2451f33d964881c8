"""What a layer costs by arithmetic alone: parameters, useful FLOPs and the fewest bytes, of its routed experts.

Everything is per expert, int64[E]; `per_group` sums the experts of each group and `.sum()` gives the layer. The dense
shared expert is not counted: it is the same for every implementation. FLOPs count a multiply-add as two.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .spec import LayerSpec


def expert_parameters(spec: LayerSpec) -> NDArray[np.int64]:
    """3 * H * W_e: gate, up and down, int64[E]."""
    return 3 * spec.hidden * spec.expert_widths


def expert_flops(counts: Any, spec: LayerSpec) -> NDArray[np.int64]:
    """Useful FLOPs n_e * 6 * H * W_e, int64[E]: 4 * H * W_e a row for gate and up, 2 * H * W_e for down.

    counts int[E], rows per expert. Raises ValueError.
    """
    return 2 * checked_counts(counts, spec) * expert_parameters(spec)


def weight_bytes(counts: Any, spec: LayerSpec, dtype_bytes: int) -> NDArray[np.int64]:
    """Bytes of the weights that must be read, int64[E]: each expert with rows once, an expert without rows never."""
    _check_dtype_bytes(dtype_bytes)
    return np.where(checked_counts(counts, spec) > 0, expert_parameters(spec) * dtype_bytes, 0)


def intermediate_bytes(counts: Any, spec: LayerSpec, dtype_bytes: int) -> NDArray[np.int64]:
    """Bytes of the [n_e, W_e] activation between the two GEMMs, written once and read once, int64[E]."""
    _check_dtype_bytes(dtype_bytes)
    return 2 * checked_counts(counts, spec) * spec.expert_widths * dtype_bytes


def layer_bytes(counts: Any, tokens: int, spec: LayerSpec, dtype_bytes: int, *, separate_gemms: bool = False) -> int:
    """The fewest bytes the layer can move: weights of experts with rows, x in, y out.

    With `separate_gemms` also the intermediate activation, which leaves the chip between two launches. counts int[E];
    x and y are [tokens, H]. Raises ValueError when the counts are not those of `tokens` tokens with K experts each.
    """
    rows = int(checked_counts(counts, spec).sum())
    if rows != tokens * spec.top_k:
        raise ValueError(f"counts: expected {tokens * spec.top_k} rows ({tokens} tokens x {spec.top_k}), got {rows}")
    total = int(weight_bytes(counts, spec, dtype_bytes).sum()) + 2 * tokens * spec.hidden * dtype_bytes
    if separate_gemms:
        total += int(intermediate_bytes(counts, spec, dtype_bytes).sum())
    return total


def permute_bytes(tokens: int, spec: LayerSpec, dtype_bytes: int) -> int:
    """Bytes of a permute on its own: x [T, H] read once, rows [R, H] written. A combine on its own moves as many."""
    _check_dtype_bytes(dtype_bytes)
    return (tokens + tokens * spec.top_k) * spec.hidden * dtype_bytes


def per_group(values: Any, spec: LayerSpec) -> NDArray[Any]:
    """A number per expert summed over each group, [G]; values [E] in expert order. Raises ValueError."""
    values = np.asarray(values)
    if values.shape != (spec.experts,):
        raise ValueError(
            f"values: expected one number for each of {spec.experts} experts, got shape {list(values.shape)}"
        )
    return values.reshape(spec.groups, spec.experts_per_group).sum(axis=1)


def checked_counts(counts: Any, spec: LayerSpec) -> NDArray[np.int64]:
    """Give counts as int64[E]. Raises ValueError for another length, negative counts, or anything but whole numbers."""
    counts = np.asarray(counts)
    if counts.shape != (spec.experts,):
        raise ValueError(
            f"counts: expected one number for each of {spec.experts} experts, got shape {list(counts.shape)}"
        )
    if not np.issubdtype(counts.dtype, np.integer):
        raise ValueError(f"counts: expected whole numbers, got {counts.dtype}")
    if (counts < 0).any():
        expert = int(np.argmax(counts < 0))
        raise ValueError(f"counts: expected no negative number, got {counts[expert]} for expert {expert}")
    return counts.astype(np.int64)


def _check_dtype_bytes(dtype_bytes: int) -> None:
    if isinstance(dtype_bytes, bool) or not isinstance(dtype_bytes, int) or dtype_bytes < 1:
        raise ValueError(f"dtype_bytes: expected a whole number of at least 1, got {dtype_bytes!r}")
