"""What `mohge doctor` says of an implementation with several versions."""

from __future__ import annotations

from pathlib import Path

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


def test_what_a_gpu_machine_without_optuna_and_checkers_can_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(abilities, "cuda_device", lambda: "a GPU")
    monkeypatch.setattr(abilities, "installed", lambda _package: None)
    monkeypatch.setattr(abilities.shutil, "which", lambda _program: None)
    tuning, checkers, twin = abilities._tuning(), abilities._sanitizer(), abilities._host_twin()
    assert (tuning.mode, checkers.mode, twin.mode) == ("measured", "no", "no")
    assert "--sampler sweep" in tuning.detail
    assert "not on the PATH" in checkers.detail
    monkeypatch.setattr(abilities.shutil, "which", lambda program: f"/usr/bin/{program}")
    assert abilities._sanitizer().mode == "complete"


def test_recorded_routings_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOHGE_TRACES", str(tmp_path))
    assert abilities._traces().mode == "no"
    (tmp_path / "a.counts.csv").touch()
    assert abilities._traces().detail == "a.counts.csv"
