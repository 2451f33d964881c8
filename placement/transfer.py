"""Plan on one window, score on another: how much of a placement's balance was only the window it was made from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Transfer:
    """Every plan under every window's loads.

    windows:  names of the windows, W of them
    scores:   float64[L, W, W]: of layer l, planned on window a, scored on window b; the unit is that of the score
    """

    windows: tuple[str, ...]
    scores: NDArray[np.float64]

    @property
    def matrix(self) -> NDArray[np.float64]:
        """Mean over layers, float64[W, W]: line = planned on, column = scored on."""
        return self.scores.mean(axis=0)

    @property
    def on_own(self) -> float:
        """Mean score of plans on the window they were made from: what a report must not show alone."""
        return float(np.diagonal(self.scores, axis1=1, axis2=2).mean())

    @property
    def on_others(self) -> float:
        """Mean score of plans on windows they have not seen; the windows' own where there is only one."""
        other = ~np.eye(len(self.windows), dtype=bool)
        return float(self.scores[:, other].mean()) if other.any() else self.on_own


def transfer(
    plan: Callable[[NDArray[Any]], Any], score: Callable[[Any, NDArray[Any]], float], windows: Mapping[str, Any]
) -> Transfer:
    """Make a plan from each window's loads and score it on all windows', layer by layer.

    plan:     loads [E] -> a placement
    score:    (placement, loads [E]) -> a number, for example the largest over the mean work of a rank
    windows:  name -> loads [E], or [L, E] for several layers; all of one shape
    Raises ValueError for no windows and for shapes that differ.
    """
    if not windows:
        raise ValueError("windows: expected at least one, got none")
    tables = {name: np.atleast_2d(np.asarray(loads)) for name, loads in windows.items()}
    shapes = {name: table.shape for name, table in tables.items()}
    first = next(iter(shapes.values()))
    for name, shape in shapes.items():
        if shape != first or len(shape) != 2:
            raise ValueError(
                f"windows: expected loads of shape {list(first)} everywhere, got {list(shape)} for {name!r}"
            )
    names = tuple(tables)
    scores = np.empty((first[0], len(names), len(names)))
    for layer in range(first[0]):
        for own, name in enumerate(names):
            placement = plan(tables[name][layer])
            scores[layer, own] = [score(placement, tables[other][layer]) for other in names]
    return Transfer(names, scores)
