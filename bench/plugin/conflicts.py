"""Other plugins that take the place of pytest-benchmark, or make its times worthless."""

from __future__ import annotations

import os

import pytest

# Options that make sense only for somebody who wants times.
_ASKING = ("only", "enable", "json", "save", "autosave", "compare", "compare_fail", "histogram")


def conflict(config: pytest.Config) -> str | None:
    """Why no time can be taken in this session, in one line, or None."""
    if codspeed_enabled(config):
        return (
            "gpu_benchmark needs pytest-benchmark, and pytest-codspeed has switched it off: "
            "run without --codspeed and CODSPEED_ENV, or with --benchmark-disable"
        )
    if xdist_active(config):
        return (
            "gpu_benchmark needs the machine to itself, and pytest-xdist runs tests side by side: "
            "run without -n, or with --benchmark-disable"
        )
    return None


def codspeed_enabled(config: pytest.Config) -> bool:
    """Whether pytest-codspeed is loaded and measures, which takes pytest-benchmark out of the session."""
    loaded = any(
        getattr(plugin, "__name__", "").startswith("pytest_codspeed") for plugin in config.pluginmanager.get_plugins()
    )
    return loaded and (bool(config.getoption("codspeed", False)) or "CODSPEED_ENV" in os.environ)


def xdist_active(config: pytest.Config) -> bool:
    """Whether tests run in several processes: seen from the one that hands them out, or from inside one."""
    return xdist_worker(config) is not None or config.getoption("dist", "no") != "no"


def xdist_worker(config: pytest.Config) -> str | None:
    """The name of the pytest-xdist worker this process is, or None."""
    given = getattr(config, "workerinput", None)
    return None if given is None else str(given["workerid"])


def switched_off(config: pytest.Config) -> bool:
    """Whether the command line, or the ini file, asks for no times. To be asked before other plugins change that."""
    off = config.getoption("benchmark_disable", False) or config.getoption("benchmark_skip", False)
    return bool(off) and not config.getoption("benchmark_enable", False)


def asked_for(config: pytest.Config) -> bool:
    """Whether the command line has an option that only makes sense with times."""
    return asked_for_ours(config) or any(config.getoption(f"benchmark_{name}", None) for name in _ASKING)


def asked_for_ours(config: pytest.Config) -> bool:
    """Whether the command line has one of this plugin's options."""
    options = vars(config.option)
    ours = [value for name, value in options.items() if name.startswith("gpu_benchmark_")]
    return any(value is not None and value is not False for value in ours)
