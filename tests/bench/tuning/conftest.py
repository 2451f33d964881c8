"""Studies of the tunables in fake_tunables.py, which worker processes import through PYTHONPATH."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mohge.bench.runner.jobs import Source
from mohge.bench.tuning import H200, StudyTask, TrialLimits
from mohge.bench.tuning.task import with_configurations

HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def _fakes_can_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    inherited = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), *(str(Path(path).absolute()) for path in inherited)]))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.syspath_prepend(str(HERE))
    assert str(HERE) in sys.path


@pytest.fixture
def make_task() -> Callable[..., StudyTask]:
    """make_task("PLAIN", mode="predicted", trials=3, ...)."""

    def make(name: str, mode: str = "measured", **changes: Any) -> StudyTask:
        from fake_tunables import SPEC  # ty: the folder is on the path by the fixture above

        task = StudyTask(
            implementation=f"fake_tunables:{name}",
            spec=SPEC,
            tokens=300,
            routing_class="balanced",
            dtype="float32",
            device="cpu",
            gpu="cpu",
            mode=mode,
            sources=(Source("uniform"),),
            choices={},
            current={},
            built_in={},
            limits=TrialLimits(seconds=0.02, timeout=30.0, min_samples=3, max_samples=10),
            machine=H200 if mode == "predicted" else None,
            sampler="grid",
        )
        return with_configurations(replace(task, **changes))

    return make


@pytest.fixture(params=["sqlite", "journal"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A storage that several processes can share."""
    return f"sqlite:///{tmp_path}/study.db" if request.param == "sqlite" else f"journal:{tmp_path}/study.log"
