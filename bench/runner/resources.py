"""What ahead-of-time compilation says of every kernel: registers, spills, shared memory, tensor-core instructions."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from .process import Children, output_of

# Modules that answer `--json -`; run apart, because they need an environment without interpreter and simulator.
REPORTERS = {
    "triton": "mohge.kernels.triton.aot",
    "cupy": "mohge.kernels.cupy.aot",
    "numba": "mohge.kernels.numba.aot",
}
# What is run on Hopper; the reporters themselves cover the other dtypes too, in several times the time.
DTYPE = "bfloat16"
# `python -m MODULE ...`, but ending with the process that started it.
_APART = (
    "import runpy, sys; from mohge.bench.runner.process import die_with_parent; die_with_parent(); del sys.argv[0]; "
    "runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)"
)


def compile_ahead(
    implementation: str, children: Children, *, seconds: float = 240.0
) -> tuple[list[dict[str, Any]], str | None]:
    """The resources of every kernel of an implementation, and None or the reason why there are none.

    Raises StoppedError when `children` are stopped meanwhile.
    """
    unset = ("TRITON_INTERPRET", "NUMBA_ENABLE_CUDASIM")
    environment = {key: value for key, value in os.environ.items() if key not in unset}
    command = [sys.executable, "-c", _APART, REPORTERS[implementation], "--dtype", DTYPE, "--json", "-"]
    done = output_of(command, children, seconds=seconds, environment=environment)
    if done is None:
        return [], f"compilation took longer than {seconds:.0f} s"
    try:
        resources = json.loads(done.stdout)
    except json.JSONDecodeError:
        last = [line.strip() for line in done.stderr.splitlines() if line.strip()][-1:]
        return [], last[0] if last else f"the compiler ended with exit code {done.returncode}"
    return resources, None


def summary(resources: list[dict[str, Any]]) -> str:
    """One line: how many kernels, the most registers, spills, and how many use tensor cores."""
    good = [entry for entry in resources if not entry.get("error")]
    if not good:
        return "no kernel compiled"
    spills = sum(1 for entry in good if entry["spills"])
    tensor = sum(1 for entry in good if entry["tensor_instructions"])
    parts = [
        f"{len(good)} kernels compiled for {good[0]['architecture']}",
        f"at most {max(entry['registers'] for entry in good)} registers",
        f"{spills} with spills" if spills else "no spills",
        f"{tensor} with tensor-core instructions" if tensor else "no tensor-core instructions",
    ]
    failed = len(resources) - len(good)
    return ", ".join(parts + ([f"{failed} failed to compile"] if failed else []))
