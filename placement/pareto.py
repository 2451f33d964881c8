"""Which of several choices nobody can object to: none other is at least as good in everything and better in one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def pareto_front(points: Any) -> NDArray[np.int64]:
    """Indices of the points that no other dominates, ascending, int64[F].

    points float[N, M]: N choices with M costs each, for example seconds, bytes of memory and bytes of traffic; less is
    better in every column. Equal points are all kept. Raises ValueError for another shape or NaN.

    >>> pareto_front([[1, 4], [2, 2], [3, 3], [4, 1]]).tolist()
    [0, 1, 3]
    """
    costs = np.asarray(points, dtype=np.float64)
    if costs.ndim != 2 or not costs.shape[1]:
        raise ValueError(f"points: expected shape [choices, costs], got {list(costs.shape)}")
    if np.isnan(costs).any():
        raise ValueError(f"points: expected numbers, got NaN for choice {int(np.argwhere(np.isnan(costs))[0, 0])}")
    kept = [
        index
        for index, own in enumerate(costs)
        # One comparison with all others at a time: N x M numbers in memory and not N x N x M.
        if not ((costs <= own).all(axis=1) & (costs < own).any(axis=1)).any()
    ]
    return np.array(kept, dtype=np.int64)
