"""Importing the package must touch neither CUDA nor the report libraries: it has to work anywhere, fast.

And no command imports torch, which takes seconds, before it has something to compute.
"""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

HEAVY = ("triton", "cupy", "numba", "numba_cuda", "cuda", "pynvml")
REPORTING = ("plotly", "jinja2", "msgspec", "optuna", "platformdirs", "PIL")
# Half a second, for what few commands compute.
SLOW = ("torch", "scipy.optimize", "scipy.sparse", "scipy.stats")

CASES = {
    "mohge": (*HEAVY, *REPORTING, *SLOW),
    "mohge.reference": (*HEAVY, *REPORTING, *SLOW),
    "mohge.placement": (*HEAVY, *REPORTING, *SLOW),
    "mohge.dispatch": (*HEAVY, *REPORTING),
    "mohge.kernels": (*HEAVY, *REPORTING),
    "mohge.bench.cli": (*HEAVY, *REPORTING, *SLOW),
    "mohge.bench.cli.app": (*HEAVY, *REPORTING, *SLOW),
    "mohge.bench.timing": (*HEAVY, *REPORTING, *SLOW),
    "mohge.bench.comparison": (*HEAVY, *REPORTING, *SLOW),
    "mohge.bench.report.verdict": (*HEAVY, *REPORTING, *SLOW),
    "mohge.bench.runner.worker": REPORTING,
    "mohge.bench.export": REPORTING,
    "mohge.bench.whatif": (*HEAVY, *REPORTING, "torch", "dask", "distributed", "joblib"),
    "mohge.bench.batch.__main__": (*HEAVY, *REPORTING, "torch"),
    "mohge.bench.tuning.campaign": REPORTING,
    "mohge.bench.plugin.fixture": (*HEAVY, *REPORTING),
}


ENVIRONMENT = {k: v for k, v in os.environ.items() if k not in ("TRITON_INTERPRET", "NUMBA_ENABLE_CUDASIM")}


@cache
def imported_by(module: str) -> frozenset[str]:
    """The modules that a process has after importing this one."""
    listing = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", listing], capture_output=True, text=True, env=ENVIRONMENT, check=True)
    return frozenset(done.stdout.split())


@pytest.mark.parametrize("module", CASES)
def test_import_stays_light(module: str) -> None:
    ours = imported_by(module)
    if "torch" in ours:  # which may look for its optional companions itself; what counts is what we add to it
        ours -= imported_by("torch") - {"torch"}
    assert not ours & set(CASES[module]), f"{module} imports {ours & set(CASES[module])}"


RUN = Path(__file__).resolve().parents[2] / "bench" / "results" / "cpu" / "run.json"
COMMANDS = {
    "help": ["--help"],
    "version": ["--version"],
    "help of run": ["run", "--help"],
    "help of place": ["place", "--help"],
    "help of tune": ["tune", "--help"],
    "what-if": ["what-if", "--grid", "tokens=16 ranks=2", "--workers", "1", "--out", "{folder}"],
    "compare": ["compare", str(RUN), str(RUN)],
    "report": ["report", str(RUN), "--output", "{folder}/report.html"],
}
CALL = """
import sys
from mohge.bench.cli import main
try:
    main(sys.argv[1:])
except SystemExit as ended:
    assert not ended.code, ended.code
print("torch" in sys.modules)
"""


@pytest.mark.parametrize("name", COMMANDS)
def test_commands_that_compute_nothing_do_without_torch(name: str, tmp_path: Path) -> None:
    arguments = [word.format(folder=tmp_path) for word in COMMANDS[name]]
    done = subprocess.run([sys.executable, "-c", CALL, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "False"
