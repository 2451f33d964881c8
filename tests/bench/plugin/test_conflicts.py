"""Plugins that take pytest-benchmark's place or make its times worthless: said in one line, never ignored."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

pytest_plugins = ("pytester",)

ONE = "def test_one(scripted):\n    scripted('a')\n"
SCRIPT = {"a": [1.0, 2.0]}
XDIST = ("-p", "xdist", "-n", "1")
XDIST_LINE = "*gpu_benchmark needs the machine to itself, and pytest-xdist runs tests side by side*"
CODSPEED_LINE = "ERROR: gpu_benchmark needs pytest-benchmark, and pytest-codspeed has switched it off*"
# What matters of pytest-codspeed: it switches pytest-benchmark off and brings its own fixture.
CODSPEED = """
import pytest

class OtherBenchmark:
    def __call__(self, call, *arguments):
        raise AssertionError("pytest-codspeed was asked for a time")

    pedantic = __call__

def pytest_addoption(parser):
    parser.addoption("--codspeed", action="store_true", default=False)

@pytest.hookimpl(tryfirst=True)
def pytest_configure(config):
    if config.getoption("codspeed"):
        config.option.benchmark_disable = True
        config.pluginmanager.set_blocked("benchmark")

@pytest.fixture
def other():
    return OtherBenchmark()
"""
OVERRIDE = "import pytest\n\n@pytest.fixture\ndef benchmark(other):\n    return other\n\n"


def test_under_xdist_a_call_runs_once_and_a_warning_says_so(session: Any) -> None:
    result = session(ONE, *XDIST, script=SCRIPT)
    result.assert_outcomes(passed=1, warnings=1)
    result.stdout.fnmatch_lines([XDIST_LINE])


def test_under_xdist_a_time_asked_for_is_an_error(session: Any) -> None:
    result = session(ONE, *XDIST, "--benchmark-json=out.json", script=SCRIPT)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([XDIST_LINE])


def test_our_options_and_xdist_are_a_usage_error_at_once(session: Any) -> None:
    result = session(ONE, *XDIST, "--gpu-benchmark-seconds=1", script=SCRIPT)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {XDIST_LINE[1:]}"])


def test_under_xdist_disabled_is_disabled(session: Any) -> None:
    result = session(ONE, *XDIST, "--benchmark-disable", script=SCRIPT)
    result.assert_outcomes(passed=1, warnings=0)


def test_codspeed_that_measures_is_a_usage_error(session: Any, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(pytest_codspeed=CODSPEED)
    pytester.syspathinsert()
    result = session(OVERRIDE + ONE, "-p", "pytest_codspeed", "--codspeed", script=SCRIPT)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([CODSPEED_LINE])


def test_codspeed_is_not_asked_for_a_time_by_a_disabled_benchmark(session: Any, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(pytest_codspeed=CODSPEED)
    pytester.syspathinsert()
    options = ("-p", "pytest_codspeed", "--codspeed", "--benchmark-disable")
    session(OVERRIDE + ONE, *options, script=SCRIPT).assert_outcomes(passed=1)


def test_codspeed_that_only_lies_about_is_no_conflict(session: Any, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(pytest_codspeed=CODSPEED)
    pytester.syspathinsert()
    result = session(ONE, "-p", "pytest_codspeed", script=SCRIPT)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*Median*"])


HOLDER = """
import sys
from mohge.bench.runner.lock import device_lock

with device_lock("cpu"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_measurement_waits_for_another_process_and_says_for_whom(session: Any, saved: Any) -> None:
    """The other process gives the device back when this session has said that it waits for it."""
    held = subprocess.Popen([sys.executable, "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert held.stdout is not None
        assert held.stdout.readline() == "held\n"
        free = session(ONE, "--gpu-benchmark-no-lock", script=SCRIPT)
        free.assert_outcomes(passed=1)
        source = RELEASE.replace("PROCESS", str(held.pid)) + ONE
        waited = session(source, "--benchmark-json=out.json", script=SCRIPT)
    finally:
        held.kill()
        held.communicate()
    waited.assert_outcomes(passed=1)
    waited.stderr.fnmatch_lines(["gpu_benchmark: waiting for cpu: *--gpu-benchmark-no-lock goes on all the same"])
    assert len(saved()["benchmarks"]) == 1


RELEASE = """
import os, signal, pytest
from mohge.bench.plugin import hooks

@pytest.fixture(autouse=True)
def release(monkeypatch):
    said = hooks._say

    def say(config, text):
        said(config, text)
        os.kill(PROCESS, signal.SIGKILL)

    monkeypatch.setattr(hooks, "_say", say)

"""
