"""Seconds of each phase of a step, for the whole batch or for an equal part of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..reference import LayerSpec
from .cluster import Cluster
from .costs import CostModel, rank_seconds
from .traffic import Traffic


@dataclass(frozen=True)
class StepCosts:
    """What a step's phases take; `parts` cuts the batch into equal parts, each of which pays every start-up again.

    traffic:             vectors exchanged and rows computed
    tokens_of:           int64[P], tokens that live on each rank
    dispatch_bytes, combine_bytes: bytes of a value on the wire
    """

    traffic: Traffic
    tokens_of: NDArray[np.int64]
    spec: LayerSpec
    cluster: Cluster
    costs: CostModel
    dispatch_bytes: float
    combine_bytes: float

    def shared(self) -> NDArray[np.float64]:
        """Seconds of the dense expert that every token passes through on its home rank, float64[P]."""
        if not self.spec.shared_width:
            return np.zeros(self.cluster.ranks)
        return self.costs.expert_seconds(self.tokens_of, self.spec.shared_width) / self.cluster.speed_of

    def compute(self, parts: int = 1) -> NDArray[np.float64]:
        """Seconds of each rank's experts, float64[P]."""
        rows = self.traffic.expert_rows / parts
        return rank_seconds(self.costs, rows, self.spec.expert_widths, self.cluster.speed_of)

    def dispatch(self, parts: int = 1) -> float:
        """Seconds of sending vectors out."""
        vector = self.spec.hidden * self.dispatch_bytes / parts
        return exchange_seconds(self.traffic.inside * vector, self.traffic.between * vector, self.cluster)

    def combine(self, parts: int = 1) -> float:
        """Seconds of sending results back."""
        vector = self.spec.hidden * self.combine_bytes / parts
        return exchange_seconds(self.traffic.inside.T * vector, self.traffic.between.T * vector, self.cluster)


def exchange_seconds(inside: NDArray[np.float64], between: NDArray[np.float64], cluster: Cluster) -> float:
    """Seconds of one exchange, from the bytes each rank sends to each other, float64[P, P], inside and between nodes.

    On each class of links that of the rank that sends or receives most. The two classes work at the same time, also
    where vectors are passed on (they are in a stream), so the slower of the two counts.
    """
    seconds = cluster.inside.time(_fullest(inside))
    if cluster.between is not None:
        seconds = max(seconds, cluster.between.time(_fullest(between)))
    return seconds


def _fullest(matrix: NDArray[np.float64]) -> float:
    """The most bytes that any rank sends or receives."""
    return float(max(matrix.sum(axis=0).max(), matrix.sum(axis=1).max()))
