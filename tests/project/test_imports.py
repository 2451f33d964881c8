"""Importing the package must touch neither CUDA nor the report libraries: it has to work anywhere, fast."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

HEAVY = ("triton", "cupy", "numba", "numba_cuda", "cuda", "pynvml")
REPORTING = ("plotly", "jinja2", "msgspec", "optuna", "platformdirs", "PIL")

CASES = {
    "mohge": (*HEAVY, *REPORTING, "torch"),
    "mohge.reference": (*HEAVY, *REPORTING, "torch"),
    "mohge.placement": (*HEAVY, *REPORTING, "torch"),
    "mohge.dispatch": (*HEAVY, *REPORTING),
    "mohge.kernels": (*HEAVY, *REPORTING),
    "mohge.bench.cli.app": REPORTING,
    "mohge.bench.runner.worker": REPORTING,
    "mohge.bench.export": REPORTING,
    "mohge.bench.plugin.fixture": (*HEAVY, *REPORTING),
}


@pytest.mark.parametrize("module", CASES)
def test_import_stays_light(module: str) -> None:
    environment = {k: v for k, v in os.environ.items() if k not in ("TRITON_INTERPRET", "NUMBA_ENABLE_CUDASIM")}
    listing = f"import sys, {module}; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", listing], capture_output=True, text=True, env=environment, check=True)
    # torch itself may look for its optional companions; what counts is what we add to a bare `import torch`.
    bare = subprocess.run(
        [sys.executable, "-c", "import sys, torch; print(*{n.split('.')[0] for n in sys.modules})"],
        capture_output=True,
        text=True,
        env=environment,
        check=True,
    )
    ours = set(done.stdout.split())
    if "torch" in ours:
        ours -= set(bare.stdout.split()) - {"torch"}
    assert not ours & set(CASES[module]), f"{module} imports {ours & set(CASES[module])}"
