"""Making a GPU the current one, with torch's own argument checks and a driver call that only notes what it is asked."""

from __future__ import annotations

import pytest
import torch

from mohge.bench.gate import make_current


@pytest.mark.parametrize(("device", "asked"), [("cpu", []), ("cuda", []), ("cuda:0", [0]), ("cuda:1", [1])])
def test_every_name_of_a_device_can_be_made_current(
    device: str, asked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    monkeypatch.setattr(torch._C, "_cuda_setDevice", made.append, raising=False)
    make_current(torch.device(device))
    assert made == asked
