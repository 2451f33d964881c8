"""The dispatch plan and the tile schedule: what every backend builds and every implementation reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class DispatchPlan:
    """A routing turned into memory order: rows sorted by expert, then token, then slot.

    expert_offsets: int32[E + 1]  rows expert_offsets[e] to expert_offsets[e + 1] belong to expert e
    row_token:      int32[R]      the token whose hidden vector is row r
    token_row:      int32[T, K]   the row of token t's k-th expert (the inverse map)
    row_weight:     float32[R]    the combine weight of row r

    All arrays live where the routing lived. T, K, E and R = T * K are known from their shapes, so launches can be
    sized without reading anything back.

    A worked example, T = 3 tokens, K = 2, E = 4; nobody uses expert 2:

        expert_ids = [[3, 0],      weights = [[.7, .3],
                      [0, 1],                 [.6, .4],
                      [1, 3]]                 [.9, .1]]

        row             0   1 | 2   3 | 4   5        experts 0, 1 and 3 (expert 2 has no rows)
        row_token      [0,  1,  1,  2,  0,  2]
        row_weight     [.3, .6, .4, .9, .7, .1]
        expert_offsets [0, 2, 4, 4, 6]
        token_row      [[4, 0],
                        [1, 2],
                        [3, 5]]
    """

    expert_offsets: Any
    row_token: Any
    token_row: Any
    row_weight: Any

    @property
    def tokens(self) -> int:
        """T."""
        return int(self.token_row.shape[0])

    @property
    def top_k(self) -> int:
        """K."""
        return int(self.token_row.shape[1])

    @property
    def rows(self) -> int:
        """R = T * K."""
        return int(self.row_token.shape[0])

    @property
    def experts(self) -> int:
        """E."""
        return int(self.expert_offsets.shape[0]) - 1


@dataclass(frozen=True)
class TileSchedule:
    """The work list of a grouped GEMM: one entry per output tile, experts in a chosen order.

    expert: int32[bound]  the tile's expert, -1 past the end
    row:    int32[bound]  its first row, an absolute index into the permuted rows, -1 past the end
    column: int32[bound]  its column block, counted in blocks, -1 past the end
    count:  int32[1]      how many entries are used; stays on the device
    block_rows:           BLOCK_M; the last tile of an expert may have fewer rows

    `bound` depends on T, K, E and the columns alone (see `schedule_bound`), so a grid sized by it never needs `count`
    on the host. Inside an expert, tiles are ordered in bands of `band` row blocks: rows of a band first, then the next
    column, then the next band, so that a band's activations and one weight block stay in L2 together.

    With the plan of `DispatchPlan`'s example, block_rows = 1, columns = [1, 1, 1, 2], order = [3, 0, 1, 2], band = 2:

        expert [3, 3, 3, 3, 0, 0, 1, 1, -1, ...]
        row    [4, 5, 4, 5, 0, 1, 2, 3, -1, ...]
        column [0, 0, 1, 1, 0, 0, 0, 0, -1, ...]
        count  [8]
    """

    expert: Any
    row: Any
    column: Any
    count: Any
    block_rows: int

    @property
    def bound(self) -> int:
        """The number of entries, used or not."""
        return int(self.expert.shape[0])


@dataclass(frozen=True)
class ListRequest:
    """What a tile schedule depends on beside the plan and the order of its experts.

    block_rows:        rows of a tile
    columns: int[E]    column blocks of each expert, each from 0 to most_columns
    most_columns:      the largest of `columns`, or any number above: what the list has room for
    band:              row blocks of an expert that share one pass over its columns
    """

    block_rows: int
    columns: Any
    most_columns: int
    band: int = 8


def row_block_bound(rows: int, experts: int, block_rows: int) -> int:
    """The most row blocks any routing of `rows` rows over `experts` experts can need.

    With a experts in use, sum of ceil(n_e / B) <= floor((R - a) / B) + a, which grows with a <= min(E, R).
    """
    active = min(experts, rows)
    return (rows - active) // block_rows + active


def schedule_bound(rows: int, experts: int, block_rows: int, most_columns: int) -> int:
    """The most tiles any routing can need: every row block with the largest number of column blocks; at least 1."""
    return max(1, row_block_bound(rows, experts, block_rows) * most_columns)


def empty_schedules(plan: DispatchPlan, order: Any, requests: Sequence[ListRequest]) -> list[TileSchedule]:
    """Room for the lists on the device of `order` int32[E], its size known from shapes, in one allocation.

    Every array starts on 16 bytes whatever the bounds are, so that Triton compiles one kernel for all of them.
    """
    bounds = [schedule_bound(plan.rows, plan.experts, each.block_rows, each.most_columns) for each in requests]
    sizes = [size for bound in bounds for size in (bound, bound, bound, 1)]
    gaps = [-size % 4 for size in sizes]
    room = order.new_empty(sum(sizes) + sum(gaps))
    arrays = iter(room.split([part for pair in zip(sizes, gaps, strict=True) for part in pair])[::2])
    return [
        TileSchedule(next(arrays), next(arrays), next(arrays), next(arrays), request.block_rows) for request in requests
    ]
