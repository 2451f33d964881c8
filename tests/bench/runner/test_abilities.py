"""What `mohge doctor` says of an implementation with several versions."""

from __future__ import annotations

import pytest
import torch

from mohge.bench.runner import abilities
from mohge.kernels.cupy.implementation import CupyImplementation


@pytest.mark.parametrize(
    ("capability", "says"),
    [((9, 0), "on a GPU: persistent"), ((8, 0), "on a GPU: mma; not persistent: wgmma needs compute capability 9.0")],
)
def test_the_version_that_this_gpu_gets_and_why(
    capability: tuple[int, int], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(abilities, "cuda_device", lambda: "a GPU")
    monkeypatch.setattr(CupyImplementation, "supports", lambda *_: None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device=None: capability)
    ability = abilities.implementation_ability("cupy")
    assert ability.mode == "measured"
    assert ability.detail.startswith(says)
