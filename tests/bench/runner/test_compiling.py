"""What is compiled before a job's launches is what they look for: under their keys, all of it, and nothing else."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mohge.bench.runner import compiling
from mohge.bench.runner import worker as worker_module
from mohge.bench.runner.jobs import Job, Source
from mohge.bench.runner.process import NOBODY
from mohge.bench.runner.worker import Worker
from mohge.dispatch.compilation import Target
from mohge.dispatch.cuda.compiler import cannot_compile
from mohge.kernels import tuned
from mohge.reference import LayerSpec

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


TAKING_LONG = """
import os, sys, time
from mohge.bench.runner import compiling

class Long:
    name, key = "long", ""
    def make(self):
        open(sys.argv[1] + "/" + str(os.getpid()), "w").close()
        time.sleep(600)

compiling.LIMIT_S = float(sys.argv[2])
compilers = compiling.Compilers([Long(), Long()], 2)
compilers.wait()
print("ended")
"""


def test_compilers_end_with_what_they_compile_for(tmp_path: Path) -> None:
    worker = subprocess.Popen([sys.executable, "-c", TAKING_LONG, str(tmp_path), "600"])
    _until(lambda: len(list(tmp_path.iterdir())) == 2)
    worker.kill()
    worker.wait()
    pids = [int(file.name) for file in tmp_path.iterdir()]
    _until(lambda: not any(_running(pid) for pid in pids))


def test_a_compiler_that_hangs_is_ended(tmp_path: Path) -> None:
    words = [sys.executable, "-c", TAKING_LONG, str(tmp_path), "0.5"]
    assert subprocess.run(words, capture_output=True, text=True, check=True, timeout=120).stdout == "ended\n"


def _until(holds: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _running(pid: int) -> bool:
    """A process that nobody has waited for yet counts as ended."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


JOB = Job(LayerSpec("tiny", 8, (4, 8), 2, 2, 1), "cpu", "float32", "measured", ((3, Source("uniform")),), ("triton",))


def test_a_cpu_compiles_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "needed", lambda *_: pytest.fail("asked what is needed"))
    compilers = compiling.begun(JOB)
    assert compilers.what == ""
    compilers.wait()


def test_only_what_supports_the_layer_on_the_gpu_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(compiling, "needed", lambda job, names, target: asked.append((job.device, names, target)) or [])
    monkeypatch.setattr(compiling.Target, "of", lambda _: Target("sm_90a", "a GPU"))
    table = {"yes": SimpleNamespace(supports=lambda *_: None), "no": SimpleNamespace(supports=lambda *_: "too wide")}
    monkeypatch.setattr(compiling, "CONTESTANTS", table)
    compiling.begun(replace(JOB, device="cuda:1", implementations=("no", "yes")))
    assert asked == [("cuda:1", ["yes"], Target("sm_90a", "a GPU"))]


def test_what_cannot_be_listed_is_left_to_its_launch(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> Any:
        raise ValueError("no compiler here")

    entry = SimpleNamespace(compilations=lambda *_: broken())
    good = SimpleNamespace(compilations=lambda *_: [SimpleNamespace(name="tile.cu", key="a", kept=lambda: False)] * 2)
    monkeypatch.setattr(compiling, "CONTESTANTS", {"broken": entry, "good": good, "baseline": object()})
    monkeypatch.setattr(compiling, "dispatched", lambda *_: [])
    found = compiling.needed(JOB, ["broken", "good", "baseline"], Target("sm_90a"))
    assert [each.name for each in found] == ["tile.cu"]
    assert capsys.readouterr().err == "not compiled ahead: ValueError: no compiler here\n"


def test_a_system_that_gives_no_process_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused() -> int:
        raise BlockingIOError("no more processes")

    monkeypatch.setattr(os, "fork", refused)
    never: Any = SimpleNamespace(make=list)
    compilers = compiling.Compilers([never], 1)
    compilers.wait()
    assert compilers.what == "compiling 1 kernel on 1 core"


def test_a_worker_says_what_is_compiled_and_waits_before_it_measures(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    waited = SimpleNamespace(what="compiling 37 kernels on 16 cores", wait=lambda _: order.append("waited"))
    monkeypatch.setattr(worker_module, "begun", lambda _: waited)
    monkeypatch.setattr(worker_module, "measure_roofs", lambda *_, **__: order.append("roofs"))
    output = io.StringIO()
    Worker(replace(JOB, roofs=True, implementations=("torch_loop",)), output, bytearray([NOBODY])).run()
    assert order == ["waited", "roofs"]
    first = json.loads(output.getvalue().splitlines()[0])
    assert first == {"event": "begin", "what": "tiny: compiling 37 kernels on 16 cores"}
