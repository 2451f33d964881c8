"""From a policy's name to a placement with what it costs every rank."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..reference import LayerSpec, expert_parameters
from .bounds import lower_bound
from .policies import POLICIES


@dataclass(frozen=True)
class Placement:
    """Which rank holds which expert, and what that costs each rank. E experts, P ranks.

    policy:      the policy's name
    spec:        the layer's name
    ranks:       P
    rank_of:     int64[E]            the rank of every expert
    rows:        int64 or float64[P] rows routed to the rank's experts (int64 where the loads were whole numbers)
    work:        float64[P]          useful FLOPs, n_e * 6 * H * W_e summed over the rank's experts
    parameters:  int64[P]            expert parameters resident on the rank
    memory:      int64[P]            bytes of these parameters
    bound:       proven lower bound on the largest work of any placement with floor(E/P) or ceil(E/P) experts a rank
    note:        what had to be bent to make the placement, or empty
    """

    policy: str
    spec: str
    ranks: int
    rank_of: NDArray[np.int64]
    rows: NDArray[Any]
    work: NDArray[np.float64]
    parameters: NDArray[np.int64]
    memory: NDArray[np.int64]
    bound: float
    note: str = ""

    @property
    def straggler(self) -> int:
        """The rank with the most work, the lowest of equals."""
        return int(np.argmax(self.work))

    @property
    def rows_max_over_mean(self) -> float:
        """Largest over mean rows of a rank: 1 is perfect balance."""
        return _max_over_mean(self.rows)

    @property
    def work_max_over_mean(self) -> float:
        """Largest over mean FLOPs of a rank."""
        return _max_over_mean(self.work)

    @property
    def memory_max_over_mean(self) -> float:
        """Largest over mean bytes of a rank."""
        return _max_over_mean(self.memory)

    @property
    def work_over_bound(self) -> float:
        """Largest FLOPs of a rank over `bound`: 1.02 is at most 2 % above the best possible."""
        return float(self.work.max()) / self.bound


def allocate(
    policy: str, spec: LayerSpec, loads: Any, ranks: int, *, dtype_bytes: int = 2, **options: Any
) -> Placement:
    """Place the experts of `spec` on `ranks` ranks under the policy called `policy`.

    loads: rows routed to every expert, int or float[E]; dtype_bytes: bytes per parameter, for the memory; options: what
    the policy takes besides (see POLICIES). Raises ValueError for an unknown policy or option, loads of another length,
    negative, not finite or all zero, and ranks below 1 or above the number of experts.
    """
    if policy not in POLICIES:
        near = difflib.get_close_matches(str(policy), POLICIES, n=1, cutoff=0.3)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        raise ValueError(f"unknown policy {policy!r}{hint} Known: {', '.join(POLICIES)}")
    chosen = POLICIES[policy]
    for option in options:
        if option not in chosen.options:
            takes = ", ".join(("dtype_bytes", *chosen.options))
            raise ValueError(f"policy {policy!r}: unknown option {option!r}; it takes {takes}")
    loads = _checked_loads(loads, spec)
    _check_whole("ranks", ranks)
    _check_whole("dtype_bytes", dtype_bytes)
    if ranks > spec.experts:
        raise ValueError(f"ranks: expected at most {spec.experts} (one expert each), got {ranks}")
    ranks = int(ranks)
    rank_of = chosen.function(spec, loads, ranks, **options)
    work = 2.0 * loads * expert_parameters(spec)
    parameters = _per_rank(expert_parameters(spec), rank_of, ranks)
    return Placement(
        policy=policy,
        spec=spec.name,
        ranks=ranks,
        rank_of=rank_of,
        rows=_per_rank(loads, rank_of, ranks),
        work=_per_rank(work, rank_of, ranks),
        parameters=parameters,
        memory=parameters * int(dtype_bytes),
        bound=lower_bound(work, ranks),
        note=_note(spec.experts, ranks),
    )


def _checked_loads(loads: Any, spec: LayerSpec) -> NDArray[Any]:
    loads = np.asarray(loads)
    if loads.shape != (spec.experts,):
        raise ValueError(
            f"loads: expected one number for each of {spec.experts} experts, got shape {list(loads.shape)}"
        )
    if not (np.issubdtype(loads.dtype, np.integer) or np.issubdtype(loads.dtype, np.floating)):
        raise ValueError(f"loads: expected numbers, got {loads.dtype}")
    bad = ~np.isfinite(loads) | (loads < 0)
    if bad.any():
        expert = int(np.argmax(bad))
        raise ValueError(f"loads: expected finite numbers of at least 0, got {loads[expert]} for expert {expert}")
    if not loads.any():
        raise ValueError("loads: expected rows for at least one expert, got only zeros")
    return loads.astype(np.int64 if np.issubdtype(loads.dtype, np.integer) else np.float64)


def _check_whole(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise ValueError(f"{name}: expected a whole number of at least 1, got {value!r}")


def _per_rank(values: NDArray[Any], rank_of: NDArray[np.int64], ranks: int) -> NDArray[Any]:
    """Sum values [E] over each rank's experts, [P], in the values' own dtype so that integers stay exact."""
    total = np.zeros(ranks, dtype=values.dtype)
    np.add.at(total, rank_of, values)
    return total


def _max_over_mean(values: NDArray[Any]) -> float:
    return float(values.max() / values.mean())


def _note(experts: int, ranks: int) -> str:
    least, extra = divmod(experts, ranks)
    if not extra:
        return ""
    return f"{ranks} ranks do not divide {experts} experts: {extra} hold {least + 1}, {ranks - extra} hold {least}"
