from __future__ import annotations

import numpy as np
import pytest

from mohge.reference import (
    LayerSpec,
    expert_flops,
    expert_parameters,
    intermediate_bytes,
    layer_bytes,
    per_group,
    permute_bytes,
    weight_bytes,
)

MOHGE, UNIFORM = LayerSpec.preset("mohge-3b"), LayerSpec.preset("mohge-3b-uniform")
TINY = LayerSpec("tiny", hidden=2, widths=(3, 5), experts_per_group=2, top_k=2, top_groups=2)
COUNTS = np.array([4, 0, 1, 3])  # T = 4 tokens


def test_parameters_of_mohge_3b_by_hand() -> None:
    parameters = expert_parameters(MOHGE)
    assert parameters[0] == 3 * 1024 * 384 == 1_179_648
    assert parameters[63] == 3 * 1024 * 1280 == 3_932_160
    assert per_group(parameters, MOHGE)[0] == 8 * 1_179_648
    assert parameters.sum() == 163_577_856
    assert expert_parameters(UNIFORM).sum() == 201_326_592
    assert 163_577_856 / 201_326_592 - 1 == -0.1875


@pytest.mark.parametrize(
    ("tokens", "rows_an_expert", "flops"),
    # 64 experts of mean width 832: T * 6 rows of 6 * 1024 * 832 FLOPs.
    [(64, 6, 1.963e9), (1024, 96, 31.41e9), (16384, 1536, 0.5025e12), (65536, 6144, 2.010e12)],
)
def test_useful_flops_of_mohge_3b_under_uniform_routing(tokens: int, rows_an_expert: int, flops: float) -> None:
    total = expert_flops(np.full(64, rows_an_expert), MOHGE).sum()
    assert total == tokens * 6 * 6 * 1024 * 832
    assert total == pytest.approx(flops, rel=5e-4)


def test_bytes_of_mohge_3b_by_hand() -> None:
    counts = np.full(64, 1536)
    assert weight_bytes(counts, MOHGE, 2).sum() == 327_155_712
    assert layer_bytes(counts, 16384, MOHGE, 2) == 327_155_712 + 2 * 16384 * 1024 * 2
    assert permute_bytes(16384, MOHGE, 2) == 33_554_432 + 201_326_592


def test_tiny_layer_by_hand() -> None:
    assert expert_parameters(TINY).tolist() == [18, 18, 30, 30]
    assert expert_flops(COUNTS, TINY).tolist() == [144, 0, 60, 180]
    assert per_group(expert_flops(COUNTS, TINY), TINY).tolist() == [144, 240]
    assert weight_bytes(COUNTS, TINY, 4).tolist() == [72, 0, 120, 120]
    assert intermediate_bytes(COUNTS, TINY, 4).tolist() == [96, 0, 40, 120]
    assert layer_bytes(COUNTS, 4, TINY, 4) == 312 + 64
    assert layer_bytes(COUNTS, 4, TINY, 4, separate_gemms=True) == 312 + 64 + 256
    assert permute_bytes(4, TINY, 4) == (4 + 8) * 2 * 4


def test_zero_tokens_move_and_compute_nothing() -> None:
    none = np.zeros(4, dtype=int)
    assert expert_flops(none, TINY).sum() == 0
    assert layer_bytes(none, 0, TINY, 2, separate_gemms=True) == permute_bytes(0, TINY, 2) == 0


def test_small_integer_counts_do_not_wrap() -> None:
    assert expert_flops(np.full(64, 30_000, dtype=np.int16), MOHGE)[63] == 30_000 * 6 * 1024 * 1280


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ([1, 2, 3], r"counts: expected one number for each of 4 experts, got shape \[3\]"),
        ([[1, 2, 3, 4]], r"counts: expected one number for each of 4 experts, got shape \[1, 4\]"),
        ([1.0, 2.0, 3.0, 4.0], "counts: expected whole numbers, got float64"),
        ([1, 2, -3, 4], "counts: expected no negative number, got -3 for expert 2"),
    ],
)
def test_bad_counts(counts: list, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        expert_flops(counts, TINY)


def test_other_bad_input() -> None:
    with pytest.raises(ValueError, match=r"^counts: expected 10 rows \(5 tokens x 2\), got 8$"):
        layer_bytes(COUNTS, 5, TINY, 2)
    for wrong in (0, -2, 2.0, True):
        with pytest.raises(ValueError, match=f"^dtype_bytes: expected a whole number of at least 1, got {wrong}$"):
            layer_bytes(COUNTS, 4, TINY, wrong)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=r"^values: expected one number for each of 4 experts, got shape \[2\]$"):
        per_group([1, 2], TINY)
