"""Known layers, as data. A preset's fields are those of LayerSpec without its name."""

from __future__ import annotations

from typing import Any


def _rising(mean: int, groups: int = 8) -> tuple[int, ...]:
    """Widths that rise arithmetically with the given mean, from about 0.6 to 1.4 times it, in steps of whole 64s.

    The step keeps every width a multiple of 32 for the presets below, so that rows of any width stay 16-byte aligned.
    """
    step = mean // groups // 64 * 64
    first = mean - step * (groups - 1) // 2
    return tuple(first + step * group for group in range(groups))


PRESETS: dict[str, dict[str, Any]] = {
    # The released 3B configuration of MoHGE and the homogeneous layer it is compared with (arXiv 2604.23108).
    "mohge-3b": {
        "hidden": 1024,
        "widths": (384, 512, 640, 768, 896, 1024, 1152, 1280),
        "experts_per_group": 8,
        "top_k": 6,
        "top_groups": 4,
        "shared_width": 2048,
    },
    "mohge-3b-uniform": {
        "hidden": 1024,
        "widths": (1024,) * 8,
        "experts_per_group": 8,
        "top_k": 6,
        "top_groups": 4,
        "shared_width": 2048,
    },
    # Uniform layers of public models: one group, so the group router is the identity.
    "qwen3-30b-a3b": {"hidden": 2048, "widths": (768,), "experts_per_group": 128, "top_k": 8, "top_groups": 1},
    "olmoe-1b-7b": {"hidden": 2048, "widths": (1024,), "experts_per_group": 64, "top_k": 8, "top_groups": 1},
    "mixtral-8x7b": {"hidden": 4096, "widths": (14336,), "experts_per_group": 8, "top_k": 2, "top_groups": 1},
    "deepseek-v3": {"hidden": 7168, "widths": (2048,), "experts_per_group": 256, "top_k": 8, "top_groups": 1},
    "gpt-oss-20b": {"hidden": 2880, "widths": (2880,), "experts_per_group": 32, "top_k": 4, "top_groups": 1},
    # The same experts and K in 8 groups of unequal width with the same mean.
    "gpt-oss-20b-hetero": {
        "hidden": 2880,
        "widths": _rising(2880),
        "experts_per_group": 4,
        "top_k": 4,
        "top_groups": 4,
    },
    "olmoe-1b-7b-hetero": {
        "hidden": 2048,
        "widths": _rising(1024),
        "experts_per_group": 8,
        "top_k": 8,
        "top_groups": 4,
    },
}
