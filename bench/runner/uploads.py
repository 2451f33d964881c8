"""The weights of a layer on the device, once for all that are prepared from them."""

from __future__ import annotations

from typing import Any

import torch

from ...kernels.packing import as_tensor
from ...reference import DenseExpert, ExpertWeights, LayerSpec, expert_parameters

# Of the device's free memory: what is prepared from the weights needs about as much again for each layer.
MOST_OF_FREE = 0.125


def uploaded(weights: ExpertWeights, spec: LayerSpec, device: torch.device, dtype: torch.dtype) -> ExpertWeights:
    """The weights rounded to `dtype` on `device`, so that preparing a layer of that dtype packs them there instead of
    rounding and copying them from the host again; as they are for a CPU, and where they would take much of a GPU.
    """
    if device.type == "cpu" or not _fits(spec, device, dtype):
        return weights

    def up(matrix: Any) -> torch.Tensor:
        return as_tensor(matrix).to(device).to(dtype)

    lists = {name: [up(matrix) for matrix in getattr(weights, name)] for name in ("gate", "up", "down")}
    shared = weights.shared
    dense = None if shared is None else DenseExpert(up(shared.gate), up(shared.up), up(shared.down))
    return ExpertWeights(**lists, shared=dense)


def _fits(spec: LayerSpec, device: torch.device, dtype: torch.dtype) -> bool:
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return int(expert_parameters(spec).sum()) * dtype.itemsize <= MOST_OF_FREE * free
