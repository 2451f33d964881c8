from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from mohge.reference import tile_list


def test_worked_example() -> None:
    tiles = tile_list([2, 2, 0, 2], 1, [1, 1, 1, 2], [3, 0, 1, 2], band=2)
    assert [expert for expert, _, _ in tiles] == [3, 3, 3, 3, 0, 0, 1, 1]
    assert [row for _, row, _ in tiles] == [4, 5, 4, 5, 0, 1, 2, 3]
    assert [column for _, _, column in tiles] == [0, 0, 1, 1, 0, 0, 0, 0]


def test_a_band_is_finished_before_the_next() -> None:
    # 5 rows in blocks of 2 are the row blocks at 0, 2, 4; a band holds two of them.
    assert tile_list([5], 2, [2], [0], band=2) == [(0, 0, 0), (0, 2, 0), (0, 0, 1), (0, 2, 1), (0, 4, 0), (0, 4, 1)]


@dataclass(frozen=True)
class Case:
    name: str
    counts: list[int]
    block_rows: int
    columns: list[int]
    order: list[int]
    band: int


CASES = [
    Case("odd sizes", [7, 1, 13], 4, [3, 1, 2], [2, 0, 1], 2),
    Case("empty experts", [0, 5, 0, 0, 9, 0], 3, [1, 2, 3, 4, 5, 6], [5, 4, 3, 2, 1, 0], 8),
    Case("zero tokens", [0, 0], 16, [4, 4], [1, 0], 8),
    Case("one token", [0, 1], 128, [3, 3], [0, 1], 8),
    Case("everything on one expert", [0, 100, 0], 7, [2, 2, 2], [0, 1, 2], 4),
    Case("no experts", [], 4, [], [], 1),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_tile_once_in_the_order_of_experts(case: Case) -> None:
    tiles = tile_list(case.counts, case.block_rows, case.columns, case.order, case.band)
    first = [sum(case.counts[:expert]) for expert in range(len(case.counts))]
    expected = {
        (expert, first[expert] + row, column)
        for expert, rows in enumerate(case.counts)
        for row in range(0, rows, case.block_rows)
        for column in range(case.columns[expert])
    }
    assert len(tiles) == len(expected)
    assert set(tiles) == expected
    seen = list(dict.fromkeys(expert for expert, _, _ in tiles))
    assert seen == [expert for expert in case.order if case.counts[expert]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"columns": [1]}, "columns: expected 2 numbers like counts, got 1"),
        ({"order": [0]}, "order: expected 2 numbers like counts, got 1"),
        ({"order": [1, 1]}, r"order: expected every expert of 0 to 1 once, got \[1, 1\]"),
        ({"counts": [3, -1]}, "counts: expected no negative number, got -1"),
        ({"columns": [1, -2]}, "columns: expected no negative number, got -2"),
        ({"block_rows": 0}, "block_rows: expected at least 1, got 0"),
        ({"band": 0}, "band: expected at least 1, got 0"),
    ],
)
def test_bad_schedule(change: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"counts": [3, 2], "block_rows": 2, "columns": [1, 1], "order": [1, 0], "band": 2}
    with pytest.raises(ValueError, match=f"^{message}$"):
        tile_list(**{**arguments, **change})
