"""What the layer is: spec, router, losses, expert FFN, permutation and accounting, in NumPy float64."""

from .accounting import (
    expert_flops,
    expert_parameters,
    intermediate_bytes,
    layer_bytes,
    per_group,
    permute_bytes,
    weight_bytes,
)
from .ffn import DenseExpert, ExpertWeights, expert_ffn
from .losses import group_loss, intra_group_loss, resting_shares
from .permutation import Permutation, combine_rows, expert_counts, permutation, permute_rows
from .presets import PRESETS
from .routing import Router, Routing, check_routing, route
from .schedule import tile_list
from .spec import LayerSpec

__all__ = [
    "PRESETS",
    "DenseExpert",
    "ExpertWeights",
    "LayerSpec",
    "Permutation",
    "Router",
    "Routing",
    "check_routing",
    "combine_rows",
    "expert_counts",
    "expert_ffn",
    "expert_flops",
    "expert_parameters",
    "group_loss",
    "intermediate_bytes",
    "intra_group_loss",
    "layer_bytes",
    "per_group",
    "permutation",
    "permute_bytes",
    "permute_rows",
    "resting_shares",
    "route",
    "tile_list",
    "weight_bytes",
]
