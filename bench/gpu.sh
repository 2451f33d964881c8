#!/usr/bin/env bash
# Everything worth doing on a GPU in one batch of under 10 minutes: the tests marked gpu, then the benchmark grid.
# Usage: PYTHON=python3 bench/gpu.sh RESULTS. Needs torch, triton, cupy, numba-cuda, pytest and typer, not plotly.
# The results folder holds the test log, the run file and the table; copy it back and run `mohge report` on it.
set -uo pipefail
python=${PYTHON:-python3}
results=${1:?usage: bench/gpu.sh RESULTS}
mkdir -p "$results"
failed=0

"$python" -m mohge doctor --json "$results/doctor.json" || failed=1
timeout 240 "$python" -m pytest -m gpu -q --no-header 2>&1 | tee "$results/tests.log" || failed=1
timeout 330 "$python" -m mohge run --device cuda --minutes 5 --no-report --out "$results/run" 2>&1 |
    tee "$results/run.log" || failed=1
exit $failed
