"""Without a GPU, Triton is interpreted and Numba simulated; both must be told before they are imported."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

import pytest


def _gpu_present() -> bool:
    return Path("/proc/driver/nvidia/version").exists() or any(Path("/dev").glob("nvidia[0-9c]*"))


if not _gpu_present():
    os.environ.setdefault("TRITON_INTERPRET", "1")
    os.environ.setdefault("NUMBA_ENABLE_CUDASIM", "1")
    os.environ.setdefault("LIGER_FUSED_MOE_AUTOTUNE", "0")  # its autotuner needs a GPU, and is made when it is imported


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a GPU, with the reason, where torch sees none."""
    if not any(item.get_closest_marker("gpu") for item in items):
        return
    import torch

    if torch.cuda.is_available():
        return
    skip = pytest.mark.skip(reason="no NVIDIA GPU that torch can use")
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(skip)


@pytest.fixture(scope="session", autouse=True)
def _own_locks(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Commands that tests run wait for each other within one process of the test run, not across all of them."""
    os.environ["MOHGE_LOCKS"] = str(tmp_path_factory.mktemp("locks"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real routing traces beside the repository; skips where it is absent."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"real routing traces are not at {folder}")
    return folder


@pytest.fixture(scope="session")
def host_engine() -> Any:
    """The engine that runs .cu files on the host (tests/host_twin/host.py); skips where there is no g++."""
    specification = importlib.util.spec_from_file_location("host_twin", Path(__file__).parent / "host_twin" / "host.py")
    assert specification is not None
    assert specification.loader is not None
    host = importlib.util.module_from_spec(specification)
    sys.modules["host_twin"] = host
    specification.loader.exec_module(host)
    if host.compiler_version() is None:
        pytest.skip("no g++ to compile the CUDA C++ for the host")
    return host.HostEngine()
