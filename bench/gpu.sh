#!/usr/bin/env bash
# Everything worth doing on a GPU in one batch of under 10 minutes: the tests marked gpu, then the benchmark grid.
# Usage: PYTHON=python3 bench/gpu.sh RESULTS, with the package importable (`make gpu` sees to it).
# Needs torch, triton, cupy, numba-cuda, typer, rich, filelock and scipy; for the tests also hypothesis and pytest with
# pytest-benchmark and pytest-timeout. Neither plotly nor jinja2.
# RESULTS receives the test log and the run file; copy it back and run `mohge report` on the run.
set -uo pipefail
python=${PYTHON:-python3}
results=${1:?usage: bench/gpu.sh RESULTS}
mkdir -p "$results"
failed=0

# numba-cuda looks for libNVVM below CUDA_HOME where NVIDIA's wheel of it is not installed.
if [ -z "${CUDA_HOME:-}" ] && [ -d /usr/local/cuda ]; then export CUDA_HOME=/usr/local/cuda; fi
if ! ls "${MOHGE_TRACES:-traces}"/*.topk.npz >/dev/null 2>&1 && ! ls ../shared/data/*.topk.npz >/dev/null 2>&1; then
    echo "no per-token trace in ${MOHGE_TRACES:-traces} or ../shared/data: gpt-oss-20b-hetero is left out"
fi

timeout 60 "$python" -m mohge doctor --json "$results/doctor.json" || failed=1
# Only the folders that hold GPU tests: the others need the report's libraries. A deprecation in a library version
# nobody has tried is no failure here.
timeout 230 "$python" -m pytest -m gpu -q --no-header -W default -rfE --tb=short --session-timeout=200 \
    tests/kernels tests/dispatch tests/host_twin tests/bench/records tests/bench/timing tests/bench/telemetry 2>&1 |
    tee "$results/tests.log" || failed=1
# The second pass, under NVML, adds up to two minutes to these.
timeout 300 "$python" -m mohge run --device cuda --minutes 1.5 --no-report --out "$results" 2>&1 |
    tee "$results/run.log" || failed=1
exit $failed
