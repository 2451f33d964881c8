"""Small pytest sessions inside a test, with a timer that hands out what the test wrote down."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_benchmark.plugin

# Imported before any session starts inside this process: what such a session imports first is forgotten after it.
from mohge.bench.plugin import fixture, hooks

PRELOADED = (fixture, hooks, pytest_benchmark.plugin)
CONFTEST = '''
import pytest
from mohge.bench.timing import Prepared

class ScriptedTimer:
    """A call's samples, in microseconds: SCRIPT[what the call returns], over and over."""
    def __init__(self):
        self.taken = []
    def seconds(self):
        return 0.0
    def prepare(self, call):
        return Prepared(call)
    def sample(self, prepared, *, cold):
        name = prepared.call()
        times = SCRIPT[name]
        self.taken.append(name)
        return times[self.taken.count(name) % len(times)]
    def method(self, prepared, *, cold):
        return "scripted, cold" if cold else "scripted"

SCRIPT = {}
TIMER = ScriptedTimer()

def pytest_benchmark_generate_machine_info(config):
    return {"node": "here", "cpu": {"brand_raw": "some CPU", "hz_actual": [1, 0]}}

@pytest.fixture
def scripted(gpu_benchmark):
    return lambda name, **options: gpu_benchmark(
        lambda: name, timer=TIMER, **{"min_samples": 6, "max_samples": 6, "warmup": 0.0, "target": 1e-9, **options}
    )
'''


@pytest.fixture(autouse=True)
def own_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nobody else's measurement holds up a test."""
    monkeypatch.setenv("MOHGE_LOCKS", str(tmp_path / "locks"))
    return tmp_path / "locks"


@pytest.fixture
def session(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Runs a test file with the plugin: session(source, *options, script={name: samples})."""
    # pytest-benchmark would take the session for one of the worker that runs this test.
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")

    def run(source: str, *options: str, script: dict[str, list[float]] | None = None) -> Any:
        pytester.makeconftest(CONFTEST.replace("SCRIPT = {}", f"SCRIPT = {script or {}!r}"))
        pytester.makepyfile(test_it=source)
        arguments = ("-p", "benchmark", "-p", "mohge.bench.plugin", *options)
        return pytester.runpytest_inprocess(*arguments)

    return run


@pytest.fixture
def saved(pytester: pytest.Pytester) -> Callable[..., dict[str, Any]]:
    """The content of a JSON file that a session wrote."""

    def read(name: str = "out.json") -> dict[str, Any]:
        return json.loads((Path(pytester.path) / name).read_text(encoding="utf-8"))

    return read
