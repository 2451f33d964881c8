"""Packed weights hold every row of every expert, where the documentation says."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mohge.kernels.packing import pack
from mohge.reference import ExpertWeights, LayerSpec

SPEC = LayerSpec("odd", 7, (3, 10, 1), 2, 2, 2)
WEIGHTS = ExpertWeights.random(SPEC, 1)


def expected_rows(expert: int, interleave: int) -> np.ndarray:
    """The documented order, written as a loop over blocks."""
    gate, up = WEIGHTS.gate[expert], WEIGHTS.up[expert]
    block = interleave or len(gate)
    pieces = [piece for start in range(0, len(gate), block) for piece in (gate[start:][:block], up[start:][:block])]
    return np.concatenate(pieces)


@pytest.mark.parametrize("interleave", [0, 1, 2, 3, 4, 10, 32])
def test_rows_are_where_they_should_be(interleave: int) -> None:
    packed = pack(SPEC, WEIGHTS, "cpu", torch.float32, interleave=interleave)
    assert packed.gate_up.shape == (2 * 28, 7)
    assert packed.down_t.shape == (28, 7)
    for expert in range(SPEC.experts):
        np.testing.assert_array_equal(packed.gate_up_of(expert).numpy(), expected_rows(expert, interleave))
        np.testing.assert_array_equal(packed.down_t_of(expert).numpy(), WEIGHTS.down[expert].T)


def test_the_documented_example() -> None:
    spec = LayerSpec("example", 1, (3,), 1, 1, 1)
    gate, up = np.array([[0.0], [1.0], [2.0]]), np.array([[10.0], [11.0], [12.0]])
    weights = ExpertWeights([gate], [up], [np.zeros((1, 3))])
    for interleave, rows in ((0, [0, 1, 2, 10, 11, 12]), (1, [0, 10, 1, 11, 2, 12]), (2, [0, 1, 10, 11, 2, 12])):
        packed = pack(spec, weights, "cpu", torch.float32, interleave=interleave)
        assert packed.gate_up[:, 0].tolist() == rows


def test_offsets_order_and_their_dtypes() -> None:
    packed = pack(SPEC, WEIGHTS, "cpu", torch.float32)
    assert packed.width_offsets.tolist() == [0, 3, 6, 16, 26, 27, 28]
    assert packed.width_offsets.dtype == np.int64
    assert torch.equal(packed.offsets_int64, torch.from_numpy(packed.width_offsets))
    assert torch.equal(packed.offsets_int32, torch.from_numpy(packed.width_offsets).int())
    assert packed.widths_int32.tolist() == SPEC.expert_widths.tolist()
    assert packed.order.tolist() == [2, 3, 0, 1, 4, 5]
    assert {t.dtype for t in (packed.order, packed.offsets_int32, packed.widths_int32)} == {torch.int32}
    assert (packed.experts, packed.hidden) == (6, 7)


def test_a_range_of_experts_is_a_view() -> None:
    packed = pack(SPEC, WEIGHTS, "cpu", torch.float32)
    assert torch.equal(packed.gate_up_of(2, 4), packed.gate_up[12:52])
    assert packed.down_t_of(2, 4).data_ptr() == packed.down_t[6].data_ptr()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_rounding_is_torch_s(dtype: torch.dtype) -> None:
    packed = pack(SPEC, WEIGHTS, "cpu", dtype, interleave=2)
    assert packed.gate_up.dtype == packed.down_t.dtype == dtype
    assert torch.equal(packed.gate_up_of(3), torch.from_numpy(expected_rows(3, 2)).to(dtype))


def test_torch_float64_and_read_only_weights_are_accepted_and_left_alone() -> None:
    gate, up = ([torch.from_numpy(m).double() for m in matrices] for matrices in (WEIGHTS.gate, WEIGHTS.up))
    down = [matrix.copy() for matrix in WEIGHTS.down]
    for matrix in down:
        matrix.setflags(write=False)
    packed = pack(SPEC, ExpertWeights(gate, up, down), "cpu", torch.float32)
    plain = pack(SPEC, WEIGHTS, "cpu", torch.float32)
    assert torch.equal(packed.gate_up, plain.gate_up)
    assert torch.equal(packed.down_t, plain.down_t)
    packed.down_t.zero_()
    np.testing.assert_array_equal(down[0], WEIGHTS.down[0])


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="interleave: expected 0 or more rows, got -1"):
        pack(SPEC, WEIGHTS, "cpu", torch.float32, interleave=-1)
    other = LayerSpec("other", 7, (3, 10, 2), 2, 2, 2)
    with pytest.raises(ValueError, match=r"weights.gate\[4\]: expected shape \[2, 7\], got \[1, 7\]"):
        pack(other, WEIGHTS, "cpu", torch.float32)
