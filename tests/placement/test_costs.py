from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mohge.placement import (
    CostTable,
    Roofline,
    cost_table,
    fit_roofline,
    h200_roofline,
    held_out_error,
    model_error,
    rank_seconds,
)

ROOF = Roofline(hidden=4, flops_per_s=1e6, bytes_per_s=1e5, overhead_s=1e-3)


def grid(rows: Any, widths: Any) -> tuple[np.ndarray, np.ndarray]:
    return tuple(axis.ravel() for axis in np.meshgrid(rows, widths))  # type: ignore[return-value]


def test_roofline_by_hand() -> None:
    # 2 rows, width 3: 6*2*4*3 = 144 FLOPs in 144 us; 36 weights and 2 rows of 14 values, 128 bytes in 1280 us.
    assert float(ROOF.expert_seconds(2, 3)) == pytest.approx(1e-3 + 1280e-6)
    # 1000 rows: 72000 FLOPs in 72 ms; (36 + 14000) values are 28072 bytes in 280.72 ms.
    assert float(ROOF.expert_seconds(1000, 3)) == pytest.approx(1e-3 + 0.28072)
    assert ROOF.provenance == "predicted"
    assert "assumed" in h200_roofline(4).source


@pytest.mark.parametrize("model", [ROOF, cost_table([1, 9, 1, 9], [2, 2, 6, 6], [2, 4, 3, 9], "t", overhead_s=1.0)])
def test_no_rows_take_no_time_and_more_of_anything_never_less(model: Any) -> None:
    seconds = model.expert_seconds(np.arange(40)[:, None], np.arange(1, 20))
    assert (seconds[0] == 0).all()
    assert (seconds[1:] >= model.overhead_s).all()
    assert (np.diff(seconds, axis=0) >= 0).all()
    assert (np.diff(seconds[1:], axis=1) >= 0).all()


def test_table_passes_through_its_points_and_between_them() -> None:
    table = cost_table([10, 20, 40, 10, 20, 40], [4, 4, 4, 8, 8, 8], [3, 4, 6, 5, 7, 11], "t", overhead_s=2.0)
    assert isinstance(table, CostTable)
    assert table.expert_seconds([10, 40, 20], [4, 8, 8]).tolist() == [3, 11, 7]
    assert float(table.expert_seconds(30, 4)) == 5  # between rows
    assert float(table.expert_seconds(20, 6)) == 5.5  # between widths
    assert float(table.expert_seconds(80, 4)) == 10  # above the largest, at the last rate
    assert float(table.expert_seconds(3, 4)) == 3  # below the smallest: what the smallest takes
    assert float(table.expert_seconds(20, 2)) == 3  # half as wide as the narrowest: half of what is not start-up
    assert float(table.expert_seconds(20, 12)) == 10  # beyond the widest, at the last two widths' rate
    assert table.provenance == "measured"


def test_repeated_points_count_with_their_median_and_one_width_scales() -> None:
    table = cost_table([10, 10, 10, 20], [4, 4, 4, 4], [1, 3, 9, 5], "t", overhead_s=1.0)
    assert float(table.expert_seconds(10, 4)) == 3
    assert float(table.expert_seconds(10, 8)) == 5


def test_start_up_is_read_from_the_smallest_points() -> None:
    assert cost_table([10, 20], [4, 4], [3, 4], "t").overhead_s == 2.0
    assert cost_table([10, 20], [4, 4], [3, 9], "t").overhead_s == 0.0  # never below nothing
    assert cost_table([10, 20], [4, 4], [3, 2], "t").overhead_s == 2.0  # never above the quickest point


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (([], [], []), "as many rows, widths and seconds"),
        (([1, 2], [1], [1, 2]), "as many rows, widths and seconds"),
        (([0, 2], [1, 1], [1, 2]), "rows: expected finite numbers above 0"),
        (([1, 2], [1, 1], [1, 0]), "seconds: expected finite numbers above 0"),
        (([1, 2, 3], [1, 1, 2], [1, 1, 1]), "at least 2 numbers of rows for width 2, got 1"),
    ],
)
def test_bad_points_are_named(points: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cost_table(points[0], points[1], points[2], "t")


def test_bad_questions_are_named() -> None:
    with pytest.raises(ValueError, match="rows: expected"):
        ROOF.expert_seconds(-1, 3)
    with pytest.raises(ValueError, match="widths: expected"):
        ROOF.expert_seconds(1, 0)
    with pytest.raises(ValueError, match="flops_per_s: expected a number above 0, got 0"):
        Roofline(4, 0, 1)
    with pytest.raises(ValueError, match="overhead_s: expected 0 to the quickest point, 1, got 2"):
        cost_table([1, 2], [1, 1], [1, 2], "t", overhead_s=2)


def test_a_ranks_start_up_counts_once_and_speeds_divide() -> None:
    rows = np.array([[2, 0, 0], [1000, 0, 2], [0, 0, 0]])
    seconds = rank_seconds(ROOF, rows, [3, 3, 3], [1.0, 1.0, 0.5])
    assert seconds == pytest.approx([1e-3 + 1280e-6 + 0.28072, 0.0, 2 * (1e-3 + 1280e-6)])


def test_the_error_of_a_model_says_how_far_and_to_which_side() -> None:
    rows, widths = grid([1, 10, 100], [2, 4])
    measured = ROOF.expert_seconds(rows, widths)
    assert model_error(ROOF, rows, widths, measured).worst == pytest.approx(0)
    twice = model_error(ROOF, rows, widths, measured / 2)
    assert (twice.median, twice.bias) == (pytest.approx(1.0), pytest.approx(1.0))
    assert str(twice) == "model error 100.0% in the median, 100.0% at worst over 6 points"
    assert model_error(ROOF, rows, widths, measured * 2).bias == pytest.approx(-0.5)


def test_held_out_points_are_predicted_from_the_others() -> None:
    rows, widths = grid([1, 2, 3, 4], [2, 4])
    straight = held_out_error(rows, widths, rows * 0.5 + widths)
    assert straight.worst == pytest.approx(0)
    assert len(straight.errors) == 4
    bent = held_out_error(rows, widths, np.where(rows == 2, 2.0, rows + widths))
    assert bent.worst > 0.5
    with pytest.raises(ValueError, match="at least 3 numbers of rows"):
        held_out_error([1, 2], [2, 2], [1, 1])


def test_a_fitted_roofline_finds_its_own_rates_and_says_how_far_it_is_off() -> None:
    # 20 FLOPs a byte: small batches are bound by memory, large ones by arithmetic, so both rates can be seen.
    rows, widths = grid([1, 8, 64, 512, 4096, 32768], [512, 1024, 2048])
    true = Roofline(64, flops_per_s=2e10, bytes_per_s=1e9, overhead_s=1e-4)
    fitted = fit_roofline(64, rows, widths, true.expert_seconds(rows, widths))
    assert fitted.flops_per_s == pytest.approx(true.flops_per_s, rel=1e-3)
    assert fitted.bytes_per_s == pytest.approx(true.bytes_per_s, rel=1e-3)
    assert fitted.overhead_s == pytest.approx(true.overhead_s, rel=1e-2)
    assert fitted.provenance == "predicted"
    assert fitted.source.startswith("fitted: model error 0.0% in the median")
    with pytest.raises(ValueError, match="at least 3"):
        fit_roofline(64, [1, 2], [1, 1], [1, 1])
