"""Recorded routing from PyTorch's files, and traces of others as workloads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mohge.bench.workloads import open_recorded, open_trace, parse_routing, routing_counts, trace_fits
from mohge.reference import LayerSpec

SPEC = LayerSpec("eight", hidden=4, widths=(3, 5), experts_per_group=4, top_k=2, top_groups=2)


def test_sglangs_dump(tmp_path: Path) -> None:
    """The file of the recorder's mode `stat`, with the layout its own tests write."""
    path = tmp_path / "expert_distribution_recorder_1700000000.0.pt"
    counts = torch.arange(2 * 3 * 8, dtype=torch.int32).reshape(2, 3, 8)
    torch.save({"rank": 0, "logical_count": counts, "average_utilization_rate_over_window": 0.42}, path)
    recorded = open_recorded(path)
    for layer in range(3):
        assert recorded.counts(["all"], layer).tolist() == counts.sum(dim=0)[layer].tolist()
    assert trace_fits(path, SPEC)
    assert open_trace(path, layer=2).counts().tolist() == counts.sum(dim=0)[2].tolist()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64])
def test_eplbs_weights_as_a_tensor(tmp_path: Path, dtype: torch.dtype) -> None:
    torch.save(torch.tensor([[1, 2, 3, 4, 5, 6, 7, 8]], dtype=dtype), tmp_path / "weight.pt")
    assert open_recorded(tmp_path / "weight.pt", experts=8).counts(["all"], 0).tolist() == [1, 2, 3, 4, 5, 6, 7, 8]


class Evil:
    """What a pickle may do when it is read by anything but weights_only."""

    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("code ran",)


@pytest.mark.parametrize("kind", ["text", "cut", "code"])
def test_files_that_are_not_tensors(tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "dump.pt"
    torch.save({"logical_count": Evil() if kind == "code" else torch.ones(100, 8)}, path)
    if kind == "text":
        path.write_text("logical_count")
    elif kind == "cut":
        path.write_bytes(path.read_bytes()[:400])
    with pytest.raises(ValueError, match=r"dump\.pt: not a PyTorch file of tensors: ") as raised:
        open_recorded(path)
    assert "\n" not in str(raised.value)
    assert not capsys.readouterr().out


def test_a_megatron_trace_is_a_workload(tmp_path: Path) -> None:
    """E is not in the file: expert 7 is never used there, and the layer has it all the same."""
    ids = np.array([np.random.default_rng(token).permutation(7)[:2] for token in range(9)])
    path = tmp_path / "router_trace_rank0.jsonl"
    path.write_text(json.dumps({"step": 0, "layer": 4, "top_indices": ids.tolist()}) + "\n")
    got = routing_counts(parse_routing("trace", trace=path, layer=4).routing(SPEC, 18), 8)
    np.testing.assert_array_equal(got, 2 * np.bincount(ids.ravel(), minlength=8))
