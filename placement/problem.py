"""What a policy is asked to solve: experts with costs, ranks with room, speed and memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..reference import LayerSpec, expert_parameters
from .checks import check_whole

SLOTS = ("even", "any")


@dataclass(frozen=True, eq=False)
class Problem:
    """One layer to place. E experts, P ranks, C = E + replicas copies in all.

    spec:      the layer
    loads:     int64 or float64[E]  rows routed to every expert
    work:      float64[E]           useful FLOPs of every expert
    ranks:     P
    replicas:  spare copies beyond one of each expert
    least:     int64[P]             copies a rank holds at least
    most:      int64[P]             copies a rank holds at most
    speeds:    float64[P]           how fast a rank works; a rank's time is its cost over its speed
    caps:      float64[P]           bytes of expert weights a rank can hold, inf where nothing limits it
    sizes:     int64[E]             bytes of every expert's weights
    nodes:     the ranks lie on this many nodes, P/nodes consecutive ones on each
    costs:     float64[E] or None   what to balance in place of the policy's own rows or work, for example seconds
    slots:     how `least` and `most` came about: "even", "any" or "given"
    """

    spec: LayerSpec
    loads: NDArray[Any]
    work: NDArray[np.float64]
    ranks: int
    replicas: int
    least: NDArray[np.int64]
    most: NDArray[np.int64]
    speeds: NDArray[np.float64]
    caps: NDArray[np.float64]
    sizes: NDArray[np.int64]
    nodes: int = 1
    costs: NDArray[np.float64] | None = None
    slots: str = "even"

    @property
    def copies(self) -> int:
        """C = E + replicas."""
        return self.spec.experts + self.replicas

    @property
    def capped(self) -> bool:
        """Whether memory limits any rank."""
        return bool(np.isfinite(self.caps).any())

    def balanced(self, by: str) -> NDArray[np.float64]:
        """What to balance, float64[E]: the caller's costs where given, else "work" or "rows"."""
        if self.costs is not None:
            return self.costs
        return self.work if by == "work" else self.loads.astype(np.float64)

    def unit(self, by: str) -> str:
        """The unit of `balanced`, for people."""
        return "cost" if self.costs is not None else "FLOPs" if by == "work" else "rows"


def make_problem(
    spec: LayerSpec,
    loads: Any,
    ranks: int,
    *,
    dtype_bytes: int = 2,
    replicas: int = 0,
    slots: str | Sequence[int] = "even",
    speeds: Sequence[float] | None = None,
    memory_cap: float | Sequence[float] | None = None,
    nodes: int = 1,
    costs: Sequence[float] | None = None,
) -> Problem:
    """Check what was asked and settle how many copies each rank holds. Options as in `allocate`. Raises ValueError."""
    loads = checked_loads(loads, spec)
    check_whole("ranks", ranks, 1)
    check_whole("dtype_bytes", dtype_bytes, 1)
    check_whole("replicas", replicas, 0)
    check_whole("nodes", nodes, 1)
    copies = spec.experts + replicas
    if ranks > copies and isinstance(slots, str) and slots == "even":
        raise ValueError(f"ranks: expected at most {copies} (one expert each), got {ranks}")
    if replicas > spec.experts * (ranks - 1):
        raise ValueError(
            f"replicas: expected at most {spec.experts * (ranks - 1)} (every expert on each of {ranks} ranks), "
            f"got {replicas}"
        )
    if ranks % nodes:
        raise ValueError(f"nodes: expected a number that divides {ranks} ranks, got {nodes}")
    least, most = _room(slots, copies, int(ranks), spec.experts)
    return Problem(
        spec=spec,
        loads=loads,
        work=2.0 * loads * expert_parameters(spec),
        ranks=int(ranks),
        replicas=int(replicas),
        least=least,
        most=most,
        speeds=per_rank("speeds", 1.0 if speeds is None else speeds, int(ranks)),
        caps=per_rank("memory_cap", np.inf if memory_cap is None else memory_cap, int(ranks), infinite=True),
        sizes=expert_parameters(spec) * int(dtype_bytes),
        nodes=int(nodes),
        costs=None if costs is None else checked_loads(costs, spec, "costs").astype(np.float64),
        slots=slots if isinstance(slots, str) else "given",
    )


def checked_loads(loads: Any, spec: LayerSpec, name: str = "loads") -> NDArray[Any]:
    """`loads` as int64 or float64[E]: finite, none negative, not all zero. Raises ValueError."""
    loads = np.asarray(loads)
    if loads.shape != (spec.experts,):
        raise ValueError(
            f"{name}: expected one number for each of {spec.experts} experts, got shape {list(loads.shape)}"
        )
    if not (np.issubdtype(loads.dtype, np.integer) or np.issubdtype(loads.dtype, np.floating)):
        raise ValueError(f"{name}: expected numbers, got {loads.dtype}")
    bad = ~np.isfinite(loads) | (loads < 0)
    if bad.any():
        expert = int(np.argmax(bad))
        raise ValueError(f"{name}: expected finite numbers of at least 0, got {loads[expert]} for expert {expert}")
    if not loads.any():
        raise ValueError(f"{name}: expected rows for at least one expert, got only zeros")
    return loads.astype(np.int64 if np.issubdtype(loads.dtype, np.integer) else np.float64)


def _room(
    slots: str | Sequence[int], copies: int, ranks: int, experts: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The fewest and the most copies of each rank, int64[P] twice; no rank can hold an expert twice."""
    if isinstance(slots, str):
        if slots not in SLOTS:
            raise ValueError(f"slots: expected {', '.join(SLOTS)} or one number per rank, got {slots!r}")
        floor, extra = divmod(copies, ranks)
        least = floor if slots == "even" else 0
        most = floor + bool(extra) if slots == "even" else experts
        return np.full(ranks, least, dtype=np.int64), np.full(ranks, most, dtype=np.int64)
    given = np.asarray(slots)
    if given.shape != (ranks,) or not np.issubdtype(given.dtype, np.integer):
        raise ValueError(
            f"slots: expected {', '.join(SLOTS)} or one whole number for each of {ranks} ranks, got {slots!r}"
        )
    if (given < 0).any() or (given > experts).any() or given.sum() != copies:
        raise ValueError(
            f"slots: expected numbers from 0 to {experts} with the sum {copies} (every copy in a slot), "
            f"got {given.tolist()}"
        )
    return given.astype(np.int64), given.astype(np.int64)


def per_rank(name: str, values: Any, ranks: int, infinite: bool = False) -> NDArray[np.float64]:
    """`values`, one number or one per rank, as float64[P]: above 0, and finite unless `infinite`. Raises ValueError."""
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name}: expected a number, or one for each of {ranks} ranks, got {values!r}") from None
    if array.shape not in ((), (ranks,)):
        raise ValueError(f"{name}: expected a number, or one for each of {ranks} ranks, got shape {list(array.shape)}")
    if not (array > 0).all() or not (infinite or np.isfinite(array).all()):
        raise ValueError(f"{name}: expected numbers above 0, got {array.tolist()}")
    return np.broadcast_to(array, (ranks,)).copy()
