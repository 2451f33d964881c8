"""Dispatch in CUDA C++ (cuda/*.cu), compiled by NVRTC and launched through CuPy on torch's stream."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from .cuda.engine import CupyEngine, Engine, default_engine
from .plan import DispatchPlan, ListRequest, TileSchedule, empty_schedules

FOLDER = Path(__file__).parent / "cuda"
THREADS = 256
SLOTS = 4 * THREADS  # of one block of the counting sort: enough blocks to fill a GPU from some 130 k routed rows on
MOST_SHARED_BYTES = 232448  # of a block on Hopper
MOST_EXPERTS = MOST_SHARED_BYTES // 4 // (THREADS // 32 + 1)  # a count per warp and a start for each, in plan_place
PACK_BYTES = 16  # the widest load and store of a thread

ELEMENTS = {torch.float32: "float", torch.float16: "__half", torch.bfloat16: "__nv_bfloat16", torch.float64: "double"}
IDS = {torch.int32: "int", torch.int64: "long long"}

# What is compiled ahead of time for inspection: every file, in each kind of variant that is ever launched.
VARIANTS: tuple[tuple[str, dict[str, int | str]], ...] = (
    *(("plan.cu", {"ID": name, "THREADS": THREADS, "SLOTS": SLOTS}) for name in IDS.values()),
    ("schedule.cu", {"THREADS": THREADS}),
    ("rows.cu", {"ELEMENT": "float", "PACK": 4}),
    ("rows.cu", {"ELEMENT": "double", "PACK": 2}),
    ("rows.cu", {"ELEMENT": "__nv_bfloat16", "PACK": 8}),
    ("rows.cu", {"ELEMENT": "__half", "PACK": 1}),
)


class CupyBackend:
    """The kernels of cuda/ behind `Backend`.

    engine: what compiles and launches them; None means CuPy on the GPU. With an engine that executes them on the CPU,
    CPU tensors work.
    """

    name = "cupy"

    def __init__(self, engine: Engine | None = None) -> None:
        self._engine = engine

    def unavailable(self, device: torch.device) -> str | None:
        """See `Backend.unavailable`: needs a GPU, CuPy, NVRTC and the CUDA headers, unless the engine was given."""
        return CupyEngine.unavailable(device) if self._engine is None else None

    def make_plan(self, expert_ids: torch.Tensor, weights: torch.Tensor, experts: int) -> DispatchPlan:
        """See `Backend.make_plan`. Raises ValueError for more experts than a block has shared memory for."""
        if experts > MOST_EXPERTS:
            raise ValueError(f"expected at most {MOST_EXPERTS} experts, which shared memory can count, got {experts}")
        tokens, top_k = expert_ids.shape
        slots = tokens * top_k
        expert_ids = (expert_ids if expert_ids.dtype in IDS else expert_ids.to(torch.int32)).contiguous()
        weights = weights.to(torch.float32).contiguous()
        blocks = max(1, -(-slots // SLOTS))
        block_counts, totals, expert_offsets, row_token, token_row = (
            torch.empty(shape, dtype=torch.int32, device=expert_ids.device)
            for shape in ((experts, blocks), (experts,), (experts + 1,), (slots,), (tokens, top_k))
        )
        row_weight = torch.empty_like(weights).view(slots)
        module = self._load("plan.cu", {"ID": IDS[expert_ids.dtype], "THREADS": THREADS, "SLOTS": SLOTS})
        warps = THREADS // 32
        count_args = [expert_ids, block_counts, slots, experts]
        module.launch("plan_count", (blocks,), (THREADS,), count_args, 4 * warps * experts)
        module.launch("plan_scan", (-(-experts // warps),), (THREADS,), [block_counts, totals, blocks, experts])
        place_args = [expert_ids, weights, block_counts, totals, expert_offsets, row_token, token_row, row_weight]
        shared_bytes = 4 * (warps + 1) * experts
        module.launch("plan_place", (blocks,), (THREADS,), [*place_args, slots, experts, top_k], shared_bytes)
        return DispatchPlan(expert_offsets, row_token, token_row, row_weight)

    def make_schedules(
        self, plan: DispatchPlan, order: torch.Tensor, requests: Sequence[ListRequest]
    ) -> tuple[TileSchedule, ...]:
        """See `Backend.make_schedules`: one launch for every two lists."""
        schedules = empty_schedules(plan, order, requests)
        module = self._load("schedule.cu", {"THREADS": THREADS})
        lists = list(zip(requests, schedules, strict=True))
        for first in range(0, len(lists), 2):
            pair = lists[first : first + 2]
            one, other = pair[0], pair[-1]  # a list without a second one is named twice and made once
            grid = (-(-max(made.bound for _, made in pair) // THREADS), len(pair))
            args = [plan.expert_offsets, order, *_list_args(*one), *_list_args(*other), plan.experts]
            module.launch("schedule_tiles", grid, (THREADS,), args, 4 * (plan.experts + 1))
        return tuple(schedules)

    def permute(self, x: torch.Tensor, plan: DispatchPlan) -> torch.Tensor:
        """See `Backend.permute`. Raises ValueError for a dtype that is not floating point of 16, 32 or 64 bits."""
        rows = x.new_empty((plan.rows, x.shape[1]))
        self._launch_rows("permute_rows", x, plan.tokens, [x, plan.token_row, rows], plan.top_k)
        return rows

    def combine(self, rows: torch.Tensor, plan: DispatchPlan) -> torch.Tensor:
        """See `Backend.combine`; one fused multiply-add per term. Float64 is accumulated in float64."""
        y = rows.new_empty((plan.tokens, rows.shape[1]))
        self._launch_rows("combine_rows", rows, plan.tokens, [rows, plan.token_row, plan.row_weight, y], plan.top_k)
        return y

    def _launch_rows(self, kernel: str, given: torch.Tensor, tokens: int, args: list[torch.Tensor], top_k: int) -> None:
        if given.dtype not in ELEMENTS:
            raise ValueError(f"expected one of {', '.join(map(str, ELEMENTS))}, got {given.dtype}")
        hidden = given.shape[1]
        pack = PACK_BYTES // given.itemsize
        while hidden % pack or given.data_ptr() % (pack * given.itemsize):
            pack //= 2
        module = self._load("rows.cu", {"ELEMENT": ELEMENTS[given.dtype], "PACK": pack})
        threads = min(THREADS, max(32, -(-hidden // pack // 32) * 32))
        module.launch(kernel, (tokens,), (threads,), [*args, hidden, top_k])

    def _load(self, source: str, defines: dict[str, int | str]):
        engine = self._engine if self._engine is not None else default_engine()
        return engine.load(FOLDER / source, defines)


def _list_args(request: ListRequest, schedule: TileSchedule) -> list[torch.Tensor | int]:
    """What `schedule_tiles` takes for one list."""
    arrays = [request.columns, schedule.expert, schedule.row, schedule.column, schedule.count]
    return [*arrays, schedule.bound, request.block_rows, request.band]


BACKEND = CupyBackend()
