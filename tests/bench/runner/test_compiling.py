"""What is compiled before a job's launches is what they look for: under their keys, all of it, and nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mohge.dispatch.cuda.compiler import cannot_compile
from mohge.kernels import tuned

SCRIPT = Path(__file__).with_name("compiled_launches.py")
TILE = {"block_m": 16, "block_n": 64, "block_k": 32, "num_warps": 4, "num_stages": 2, "band": 2, "blocks_per_sm": 1}
TILE |= {"descriptors": 0, "swap": 0, "split_k": 4, "loop": 0, "epilogue": 1}
# A skewed routing of 200 tokens gets tiles of its own, and splits of fc1 that a further kernel adds.
ROW = {
    "implementation": "triton",
    "gpu": "cpu",
    "spec_class": "h256-w32+64-e8-k2",
    "tokens": 256,
    "routing_class": "skewed",
    "dtype": "bfloat16",
    "values": {f"{gemm}_{name}": value for gemm in ("fc1", "fc2") for name, value in TILE.items()},
    "provenance": "simulated",
    "source": "test",
}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    if (reason := cannot_compile()) is not None:
        pytest.skip(reason)
    pytest.importorskip("triton")
    folder = tmp_path_factory.mktemp("caches")
    tuned.write_table([ROW], folder / "tuned.json")
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment |= {"TRITON_CACHE_DIR": str(folder / "triton"), "MOHGE_CACHE": str(folder / "mohge")}
    environment |= {"MOHGE_TUNED": str(folder / "tuned.json")}
    done = subprocess.run([sys.executable, str(SCRIPT)], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert "not compiled ahead" not in done.stderr, done.stderr
    return json.loads(done.stdout)


def test_launches_find_everything(found: dict[str, Any]) -> None:
    assert found["kept"] == found["asked"] > 40
    assert found["left"] == []


def test_nothing_is_compiled_for_nobody(found: dict[str, Any]) -> None:
    assert found["compiled"] == found["asked"]


def test_compilers_that_fail_take_nothing_with_them(found: dict[str, Any]) -> None:
    earnest = found["earnest"]
    assert earnest["what"] == "compiling 4 kernels on 2 cores"
    assert earnest["before"] == [False, False]
    assert earnest["after"] == [True, True]


def test_a_launch_of_triton_takes_what_another_process_compiled(found: dict[str, Any]) -> None:
    assert found["earnest"]["hits"] == [True]
