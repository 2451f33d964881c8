"""The plugin is found, loads once however often it is named, and costs sessions that do not use it nothing."""

from __future__ import annotations

import importlib
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

pytest_plugins = ("pytester",)

ROOT = Path(__file__).resolve().parents[3]
PLAIN = "def test_plain():\n    pass\n"


def entry_point() -> str:
    table = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return table["project"]["entry-points"]["pytest11"]["mohge"]


def test_pyproject_declares_a_module_that_names_the_hooks() -> None:
    assert importlib.import_module(entry_point()).pytest_plugins == ("mohge.bench.plugin.hooks",)


def test_entry_point_and_option_together_load_it_once(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The entry point as an installed distribution has it, beside -p in both spellings."""
    info = pytester.mkdir("installed-1.dist-info")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: installed\nVersion: 1\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(f"[pytest11]\nmohge = {entry_point()}\n", encoding="utf-8")
    pytester.syspathinsert()
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makepyfile(PLAIN + "\ndef test_fixture(gpu_benchmark):\n    assert gpu_benchmark(lambda: 3) == 3\n")
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    named = ("-p", "benchmark", "--benchmark-disable", "-p", "mohge")
    for more in ((), ("-p", "mohge.bench.plugin"), ("-p", "mohge.bench.plugin.hooks")):
        pytester.runpytest_inprocess(*named, *more).assert_outcomes(passed=2)


def test_importing_it_imports_no_library() -> None:
    listing = f"import sys, {entry_point()}, mohge.bench.plugin.hooks; print(*{{n.split('.')[0] for n in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", listing], capture_output=True, text=True, check=True)
    heavy = {"torch", "numpy", "scipy", "triton", "cupy", "numba", "typer", "rich", "pynvml", "pytest_benchmark"}
    assert not heavy & set(done.stdout.split())


def test_without_pytest_benchmark_other_tests_run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makepyfile(PLAIN)
    pytester.runpytest_inprocess("-p", "mohge.bench.plugin", "--strict-markers").assert_outcomes(passed=1)
