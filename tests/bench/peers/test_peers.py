"""Peers: right where they run, a reason where they do not, and their version in every record."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import metadata
from typing import Any

import numpy as np
import pytest
import torch

from mohge.bench.peers import CONTESTANTS, PEERS, VERSIONS, contestant, peer_notes
from mohge.bench.peers import table as peers_table
from mohge.bench.runner.grids import check_implementations
from mohge.bench.runner.jobs import Job, Source
from mohge.bench.runner.process import NOBODY
from mohge.bench.runner.worker import Worker
from mohge.dispatch import DispatchPlan, make_plan
from mohge.kernels import IMPLEMENTATIONS, PHASES, load
from mohge.reference import ExpertWeights, LayerSpec, Routing, expert_ffn

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
CPU = torch.device("cpu")
RISING = LayerSpec("rising", 32, (16, 48, 64), 2, 3, 2, shared_width=16)
MERGED = LayerSpec("two neighbouring groups of one width", 16, (32, 32, 16), 2, 2, 2)
UNIFORM = LayerSpec("uniform", 16, (32, 32), 2, 2, 2)
ALLOWED = {torch.float32: 2e-5, torch.float16: 2e-3, torch.bfloat16: 1.5e-2}


@dataclass(frozen=True)
class Case:
    """Tokens that use only the first `active` experts (all when None)."""

    intent: str
    spec: LayerSpec
    tokens: int
    active: int | None = None


CASES = [
    Case("no tokens", RISING, 0),
    Case("one token", RISING, 1),
    Case("nothing is a multiple", RISING, 37),
    Case("more rows than one tile, empty experts and an empty width", RISING, 70, active=3),
    Case("merged groups", MERGED, 19),
    Case("one width", UNIFORM, 9),
]


def routing_of(spec: LayerSpec, tokens: int, active: int | None = None) -> Routing:
    generator = np.random.default_rng(tokens)
    ids = np.argsort(generator.random((tokens, active or spec.experts)), axis=1)[:, : spec.top_k]
    return Routing(ids, (generator.random((tokens, spec.top_k)) + 0.1).astype(np.float32))


def plan_of(routing: Routing, spec: LayerSpec) -> DispatchPlan:
    ids, weights = (torch.from_numpy(array).to(DEVICE) for array in (routing.expert_ids, routing.weights))
    return make_plan(Routing(ids, weights), spec)


def hidden_of(spec: LayerSpec, tokens: int, dtype: torch.dtype) -> torch.Tensor:
    generator = np.random.default_rng(tokens + 1)
    return torch.from_numpy(generator.standard_normal((tokens, spec.hidden))).to(DEVICE, dtype)


def relative(y: torch.Tensor, expected: np.ndarray) -> float:
    return float(np.linalg.norm(y.double().cpu().numpy() - expected) / max(np.linalg.norm(expected), 1e-30))


@pytest.fixture
def peer(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Callable[[str], Any]:
    """A peer by name that runs here, or skips: its autotuner needs a GPU, so without one it gets a single choice."""

    def found(name: str) -> Any:
        if PEERS[name].missing:
            pytest.skip(f"{name}: {PEERS[name].missing}")
        monkeypatch.setenv("LIGER_FUSED_MOE_AUTOTUNE", "0")
        implementation = PEERS[name].load()
        if name == "moe_ops" and DEVICE == "cpu":
            import moe_ops  # pyright: ignore[reportMissingImports]
            from moe_ops import grouped_gemm_ops, grouped_gemm_ops_sm90  # pyright: ignore[reportMissingImports]

            kernel = grouped_gemm_ops.gmm_forward_kernel
            monkeypatch.setattr(kernel, "configs", kernel.configs[3:4])
            for module in (moe_ops, grouped_gemm_ops_sm90):
                monkeypatch.setattr(module, "supports_tma", lambda dtype=None: False)
        if name == "cupy_per_group" and DEVICE == "cpu":
            from mohge.bench.peers.per_group import PerGroup
            from mohge.kernels.cupy.implementation import CupyImplementation

            assert isinstance(implementation, PerGroup)
            return replace(implementation, inner=CupyImplementation(engine=request.getfixturevalue("host_engine")))
        return implementation

    return found


def combinations() -> list[Any]:
    dtypes = (torch.float16, torch.bfloat16) if DEVICE == "cuda" else (torch.float32, torch.float16)
    return [
        pytest.param(name, case, dtype, id=f"{name}-{case.intent}-{str(dtype).removeprefix('torch.')}")
        for name in PEERS
        for case in CASES
        for dtype in dtypes
        if not (case.spec is UNIFORM and name in ("torch_grouped_mm_padded", "triton_per_group", "cupy_per_group"))
    ]


@pytest.mark.parametrize(("name", "case", "dtype"), combinations())
def test_peers_agree_with_the_reference(peer: Any, name: str, case: Case, dtype: torch.dtype) -> None:
    implementation = peer(name)
    reason = implementation.supports(case.spec, dtype, torch.device(DEVICE))
    if reason is not None and DEVICE == "cuda":
        pytest.skip(reason)
    assert reason is None
    weights = ExpertWeights.random(case.spec, 1)
    routing, x = routing_of(case.spec, case.tokens, case.active), hidden_of(case.spec, case.tokens, dtype)
    plan = plan_of(routing, case.spec)
    layer = implementation.prepare(case.spec, weights, DEVICE, dtype)
    expected = expert_ffn(x.double().cpu().numpy(), weights, routing, case.spec)
    y = layer(x, plan)
    assert y.dtype == dtype
    assert y.shape == x.shape
    assert relative(y, expected) < ALLOWED[dtype]
    if case.tokens == 37:
        phases = layer.phases(x, plan)
        assert set(phases) <= set(PHASES)
        assert [phase for phase in PHASES if phase in phases] == list(phases)
        last = [call() for _ in range(2) for call in phases.values()][-1]
        assert relative(last, expected) < ALLOWED[dtype]


@pytest.mark.parametrize("name", PEERS)
def test_the_shared_expert_is_added_and_bad_calls_are_refused(peer: Any, name: str) -> None:
    dtype = torch.float16 if DEVICE == "cpu" else torch.bfloat16
    implementation = peer(name)
    if implementation.supports(RISING, dtype, torch.device(DEVICE)):
        pytest.skip("cannot run here")
    weights = ExpertWeights.random(RISING, 2, shared=True)
    routing, x = routing_of(RISING, 7), hidden_of(RISING, 7, dtype)
    layer = implementation.prepare(RISING, weights, DEVICE, dtype)
    expected = expert_ffn(x.double().cpu().numpy(), weights, routing, RISING)
    plan = plan_of(routing, RISING)
    assert relative(layer(x, plan), expected) < ALLOWED[dtype]
    for call in (layer, layer.phases):
        with pytest.raises(ValueError, match="x: expected"):
            call(x.double(), plan)


def test_padding_to_the_widest_executes_what_it_costs() -> None:
    counts = np.array([3, 0, 5, 1, 0, 2])
    weights = ExpertWeights.random(RISING, 1)
    layer = PEERS["torch_grouped_mm_padded"].prepare(RISING, weights, "cpu", torch.float32)
    assert layer.executed_flops(counts) == 11 * 6 * 32 * 64


def test_liger_s_rows_come_in_whole_tiles(peer: Any) -> None:
    layer = peer("liger").prepare(UNIFORM, ExpertWeights.random(UNIFORM, 1), "cpu", torch.float32)
    assert layer.executed_flops(np.array([1, 64, 65, 0])) == 6 * 16 * 32 * 64 * 4


def test_launching_by_group_leaves_work_and_lists_as_they_are(peer: Any) -> None:
    """All groups' lists together name each tile of the one list once, and every group's only its own experts."""
    implementation = peer("triton_per_group")
    weights, plan = ExpertWeights.random(RISING, 1), plan_of(routing_of(RISING, 50), RISING)
    dtype = torch.float32 if DEVICE == "cpu" else torch.bfloat16
    layer = implementation.prepare(RISING, weights, DEVICE, dtype)
    counts = np.bincount(routing_of(RISING, 50).expert_ids.ravel(), minlength=6)
    assert layer.executed_flops(counts) == load("triton").prepare(RISING, weights, DEVICE, dtype).executed_flops(counts)

    def tiles(work: Any) -> list[tuple[int, ...]]:
        entries = zip(work.fc1.expert.tolist(), work.fc1.row.tolist(), work.fc1.column.tolist(), strict=True)
        return list(entries)[: int(work.fc1.count)]

    lists = [tiles(part.plan(plan)) for part in layer.parts]
    assert [sorted({expert for expert, _, _ in mine}) for mine in lists] == [[0, 1], [2, 3], [4, 5]]
    assert sorted(tile for mine in lists for tile in mine) == sorted(tiles(layer.whole.plan(plan)))


REASONS = {
    "padded, one width": ("torch_grouped_mm_padded", UNIFORM, torch.float32, "with one width this is torch_grouped_mm"),
    "by group, one width": ("triton_per_group", UNIFORM, torch.float32, "with one width this is triton"),
    "odd rows": ("moe_ops", LayerSpec("odd", 12, (16, 8), 1, 1, 1), torch.float16, "expected hidden to be a multiple"),
    "bfloat16 on a CPU": ("liger", RISING, torch.bfloat16, "interpreter computes bfloat16 dot products wrongly"),
}


@pytest.mark.skipif(DEVICE == "cuda", reason="what a CPU's interpreter cannot do")
@pytest.mark.parametrize("case", REASONS)
def test_reasons(peer: Any, case: str) -> None:
    name, spec, dtype, reason = REASONS[case]
    implementation = peer(name)
    assert reason in str(implementation.supports(spec, dtype, CPU))
    with pytest.raises(ValueError, match=name):
        implementation.prepare(spec, ExpertWeights.random(spec, 1), "cpu", dtype)


def records_of(job: Job) -> dict[str, dict[str, Any]]:
    output = io.StringIO()
    Worker(job, output, bytearray([NOBODY])).run()
    events = [json.loads(line) for line in output.getvalue().splitlines()]
    return {e["record"]["implementation"]: e["record"] for e in events if e["event"] == "record"}


def test_records_carry_the_peer_s_version_and_a_missing_one_is_a_record(monkeypatch: pytest.MonkeyPatch) -> None:
    real = metadata.version

    def version(package: str) -> str:
        if package == "liger-kernel":
            raise metadata.PackageNotFoundError(package)
        return real(package)

    monkeypatch.setattr(peers_table.metadata, "version", version)
    names = ("torch_loop", "torch_grouped_mm_padded", "liger")
    records = records_of(Job(RISING, "cpu", "float32", "interpreted", ((5, Source("uniform")),), names))
    assert [records[name]["status"] for name in names] == ["passed", "passed", "unsupported"]
    assert records["liger"]["reason"].startswith("not installed: liger-kernel")
    assert records["torch_grouped_mm_padded"]["notes"] == {"peer": f"torch {real('torch')}"}
    assert records["liger"]["notes"] == {"peer": "liger-kernel, not installed"}
    assert "peer" not in records["torch_loop"].get("notes", {})
    with pytest.raises(ValueError, match="liger: not installed"):
        PEERS["liger"].load()


def test_a_peer_that_cannot_be_imported_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("no driver")

    monkeypatch.setattr(peers_table.importlib, "import_module", broken)
    reason = PEERS["torch_grouped_mm_padded"].supports(RISING, torch.float32, CPU)
    assert reason == "torch_grouped_mm_padded: cannot be imported: RuntimeError: no driver"


def test_names() -> None:
    tables = (*PEERS, *IMPLEMENTATIONS, *VERSIONS)
    assert len(tables) == len(set(tables))
    assert set(CONTESTANTS) == set(tables)
    assert check_implementations("triton,peers") == ("triton", *PEERS)
    assert contestant("torch_loop") is load("torch_loop")
    assert peer_notes("triton") == peer_notes("triton_per_group") == {}
    with pytest.raises(ValueError, match=r"unknown implementation 'ligre'; did you mean 'liger'\? Known: triton"):
        contestant("ligre")
    for name in PEERS:
        if not PEERS[name].missing:
            assert CONTESTANTS[name].description
