"""How the CUDA C++ kernels' weights lie: gate and up in alternating eights, widths in whole stages, then zeros."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mohge.kernels.cupy.hopper_config import padded
from mohge.kernels.cupy.weights import tile_weights
from mohge.reference import ExpertWeights, LayerSpec

SPEC = LayerSpec("weights", 16, (3, 64, 70), 2, 2, 3)


def test_every_row_is_where_the_kernels_look_for_it() -> None:
    weights = ExpertWeights.random(SPEC)
    tiled = tile_weights(SPEC, weights, "cpu", torch.float32)
    widths = SPEC.expert_widths
    rows = padded(widths)
    assert rows.tolist() == [64, 64, 64, 64, 128, 128]
    assert tiled.most_padded == 128
    offsets = tiled.offsets_int64.numpy()
    np.testing.assert_array_equal(offsets, [0, *np.cumsum(rows)])
    assert tuple(tiled.gate_up.shape) == (2 * rows.sum(), 16)
    seen = np.zeros(len(tiled.gate_up), bool)
    for expert, width in enumerate(widths):
        columns = np.arange(width)
        gate = 2 * offsets[expert] + columns // 8 * 16 + columns % 8
        for at, matrix in ((gate, weights.gate), (gate + 8, weights.up)):
            torch.testing.assert_close(tiled.gate_up[at], torch.from_numpy(matrix[expert]).float())
            seen[at] = True
        down = tiled.down_t[offsets[expert] : offsets[expert] + rows[expert]]
        torch.testing.assert_close(down[:width], torch.from_numpy(weights.down[expert].T).float())
        assert not down[width:].any()
    assert not tiled.gate_up[~seen].any()


def test_numbers_on_the_device_and_the_order() -> None:
    tiled = tile_weights(SPEC, ExpertWeights.random(SPEC), "cpu", torch.bfloat16)
    assert tiled.widths_int32.tolist() == [3, 3, 64, 64, 70, 70]
    assert tiled.padded_int32.tolist() == [64, 64, 64, 64, 128, 128]
    assert tiled.order.tolist() == [4, 5, 2, 3, 0, 1]
    assert {tiled.gate_up.dtype, tiled.down_t.dtype} == {torch.bfloat16}


def test_weights_of_another_layer_are_refused() -> None:
    with pytest.raises(ValueError, match="expected"):
        tile_weights(SPEC, ExpertWeights.random(LayerSpec("other", 16, (3, 64, 71), 2, 2, 3)), "cpu", torch.float16)
