"""Weights uploaded once: rounded as every implementation would round them, and let be where they do not fit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from mohge.bench.runner import uploads
from mohge.bench.runner.uploads import uploaded
from mohge.dispatch import make_plan, on_device
from mohge.kernels import load
from mohge.reference import ExpertWeights, LayerSpec, Routing

SPEC = LayerSpec("tiny", 8, (8, 16), 2, 2, 1, shared_width=4)
WEIGHTS = ExpertWeights.random(SPEC, 1, shared=True)
CPU, META = torch.device("cpu"), torch.device("meta")


def test_a_cpu_reads_the_host_s_own() -> None:
    assert uploaded(WEIGHTS, SPEC, CPU, torch.bfloat16) is WEIGHTS


def test_every_matrix_goes_to_the_device_in_its_dtype() -> None:
    there = uploaded(WEIGHTS, SPEC, META, torch.bfloat16)
    there.check(SPEC)
    assert there.shared is not None
    matrices = [*there.gate, *there.up, *there.down, there.shared.gate, there.shared.up, there.shared.down]
    assert {(matrix.device.type, matrix.dtype) for matrix in matrices} == {("meta", torch.bfloat16)}


def test_what_would_take_much_of_a_gpu_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "_fits", lambda *_: False)
    assert uploaded(WEIGHTS, SPEC, META, torch.float32) is WEIGHTS


@pytest.mark.parametrize("name", ["torch_loop", "torch_grouped_mm", "padded_bmm"])
def test_layers_of_rounded_weights_are_those_of_the_originals(name: str) -> None:
    """Rounding twice is rounding once: their outputs have the same bits."""

    def rounded(matrices: list[Any]) -> list[torch.Tensor]:
        return [torch.from_numpy(matrix).bfloat16() for matrix in matrices]

    weights = ExpertWeights.random(SPEC, 1)
    there = ExpertWeights(rounded(weights.gate), rounded(weights.up), rounded(weights.down))
    generator = np.random.default_rng(0)
    routing = Routing(np.array([[0, 1], [3, 2], [1, 0]]), generator.random((3, 2)).astype(np.float32))
    x = torch.from_numpy(generator.standard_normal((3, SPEC.hidden))).bfloat16()
    plan = make_plan(on_device(routing, CPU), SPEC)
    ours, theirs = (load(name).prepare(SPEC, each, CPU, torch.bfloat16)(x, plan) for each in (there, weights))
    assert torch.equal(ours, theirs)
    assert ours.abs().min() > 0
