"""A worker tells its layers the routing class of each case, so that they launch what was tuned for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mohge.bench.runner.jobs import Job, Source
from mohge.kernels import load
from mohge.kernels.tunable import Tunable
from mohge.kernels.tuned import TunedRow, spec_class, write_table
from mohge.reference import LayerSpec

SPEC = LayerSpec("small", 16, (8, 16), 4, 1, 1)
JOB = Job(
    SPEC, "cpu", "float32", "interpreted", ((64, Source("uniform")), (64, Source("hot_set:0.25,0.9"))), ("triton",)
)


@pytest.mark.skipif(torch.cuda.is_available(), reason="interprets")
def test_only_the_skewed_case_gets_the_row_for_skewed_routings(tmp_path: Path) -> None:
    triton = load("triton")
    assert isinstance(triton, Tunable)
    built_in = triton.current_values(SPEC, 64, "float32")
    values = {**built_in, "fc1_block_m": 32, "fc2_block_m": 32}
    table, marker = tmp_path / "table.json", tmp_path / "marker"
    write_table(
        [TunedRow("triton", "cpu", spec_class(SPEC), 64, "skewed", "float32", values, "synthetic", "no")], table
    )
    marker.write_bytes(b"\xff")
    environment = {**os.environ, "TRITON_INTERPRET": "1", "MOHGE_TUNED": str(table)}
    command = [sys.executable, "-m", "mohge.bench.runner.worker", str(marker)]
    text = json.dumps(JOB.to_dict())
    done = subprocess.run(command, input=text, capture_output=True, text=True, env=environment, check=True)
    events = [json.loads(line) for line in done.stdout.splitlines()]
    counts = [event["counts"] for event in events if event["event"] == "counts"]
    records = [event["record"] for event in events if event["event"] == "record"]
    assert [record["status"] for record in records] == ["passed", "passed"]
    for record, rows, used in zip(records, counts, (built_in, values), strict=True):
        works = triton.gemm_work(used, rows, SPEC, "float32")
        assert record["executed_flops"] == sum(work.tile_flops.sum() for work in works)
        others = triton.gemm_work(values if used is built_in else built_in, rows, SPEC, "float32")
        assert record["executed_flops"] != sum(work.tile_flops.sum() for work in others)
