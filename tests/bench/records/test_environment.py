"""The environment that travels with a run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mohge.bench.records import Roof, collect_environment, git_state, source_hash
from mohge.bench.records.environment import gpu_facts, last_level_cache_bytes


def test_the_environment_names_what_decides_a_time() -> None:
    environment = collect_environment("cpu", roof=Roof(copy_tbps=0.1))
    assert environment.gpu is None
    assert environment.roof == Roof(copy_tbps=0.1)
    assert {"torch", "numpy"} <= set(environment.libraries)
    assert environment.cpu["cores"] >= 1
    assert environment.cpu["model"]
    assert environment.python == ".".join(map(str, sys.version_info[:3]))


@pytest.mark.gpu
def test_the_gpu_is_named_by_uuid() -> None:
    facts = gpu_facts()
    assert facts is not None
    assert facts["uuid"].startswith("GPU-")
    assert facts["driver"]
    assert facts["l2_bytes"] > 0


@pytest.mark.parametrize(
    ("sizes", "expected"), [(["32K", "1024K", "36608K"], 36608 * 2**10), (["2M"], 2**21), (["512"], 512), ([], None)]
)
def test_the_last_level_cache_is_the_largest(tmp_path: Path, sizes: list[str], expected: int | None) -> None:
    for number, size in enumerate(sizes):
        (tmp_path / f"index{number}").mkdir()
        (tmp_path / f"index{number}" / "size").write_text(size + "\n")
    assert last_level_cache_bytes(tmp_path) == expected


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True)


def test_the_revision_and_whether_it_was_changed(tmp_path: Path) -> None:
    assert git_state(tmp_path) is None
    git(tmp_path, "init")
    assert git_state(tmp_path) is None  # no revision yet
    (tmp_path / "a.py").write_text("1")
    git(tmp_path, "add", "a.py")
    git(tmp_path, "commit", "-m", "first")
    state = git_state(tmp_path)
    assert state is not None
    assert len(state.revision) == 40
    assert not state.dirty
    (tmp_path / "a.py").write_text("2")
    changed = git_state(tmp_path)
    assert changed is not None
    assert changed.dirty
    (tmp_path / "inside").mkdir()
    assert git_state(tmp_path / "inside") is None  # an installed wheel inside another repository


def test_the_source_hash_follows_the_kernels_and_nothing_else(tmp_path: Path) -> None:
    for name in ("kernels/triton/gemm.py", "kernels/cupy/tile.cu", "kernels/cupy/wrap.cuh", "dispatch/plan.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    seen = {source_hash(tmp_path)}
    for name in ("bench/timing.py", "kernels/README.md", "kernels/__pycache__/x.pyc"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("other")
    seen.add(source_hash(tmp_path))
    assert len(seen) == 1
    for name in ("kernels/triton/gemm.py", "kernels/cupy/tile.cu", "kernels/cupy/wrap.cuh", "dispatch/new.py"):
        (tmp_path / name).write_text("changed")
        seen.add(source_hash(tmp_path))
    (tmp_path / "dispatch/new.py").rename(tmp_path / "dispatch/renamed.py")
    seen.add(source_hash(tmp_path))
    assert len(seen) == 6
    assert source_hash() != source_hash(tmp_path)


def test_collecting_imports_nothing_that_draws_or_decodes() -> None:
    code = (
        "import sys; from mohge.bench.records import collect_environment, RunWriter, load_run\n"
        "import mohge.bench.workloads; collect_environment('cpu')\n"
        "print([n for n in ('plotly', 'jinja2', 'msgspec', 'optuna', 'platformdirs', 'cupy') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
