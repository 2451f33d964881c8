"""The host twin must report what a GPU hides: every kernel of kernels/faults.cu has one fault, and a name for it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from mohge.dispatch.cuda.engine import Int64

SOURCE = Path(__file__).parent / "kernels" / "faults.cu"


@dataclass(frozen=True)
class Fault:
    kernel: str
    kind: str
    says: str  # part of the message
    floats: int = 0  # size of the input, 0 for none
    extra: tuple[Any, ...] = ()
    blocks: int = 1
    shared_bytes: int = 0
    integers: bool = False  # of the output


FAULTS = (
    # barriers that are missing
    Fault("missing_barrier", "race", "static shared memory, which thread", floats=64),
    Fault("too_small_a_barrier", "race", "no barrier between", floats=64),
    Fault("missing_warp_barrier", "race", "no barrier between", floats=64),
    Fault("lost_update", "race", "no barrier between", integers=True),
    Fault("global_conflict", "race", "argument 0", integers=True),
    Fault("other_block", "race", "in the same launch", blocks=4, integers=True),
    # barriers that not everybody reaches
    Fault("barrier_in_a_branch", "barrier", "has ended"),
    Fault("barrier_after_a_return", "barrier", "has ended", extra=(40,)),
    Fault("two_barriers_in_two_branches", "barrier", "waits at the block barrier"),
    Fault("shuffle_in_a_branch", "collective", "has ended", integers=True),
    Fault("different_collectives", "collective", "different calls", integers=True),
    # indexes
    Fault("read_past_the_end", "out_of_bounds", "reads 4 bytes at 0 bytes past the end of argument 1", 50, (50,)),
    Fault("write_past_the_end", "out_of_bounds", "writes 4 bytes at 0 bytes past the end of argument 0", extra=(256,)),
    Fault("read_before_the_start", "out_of_bounds", "4 bytes before argument 1", 64),
    Fault("into_the_next_argument", "out_of_bounds", "reads 4 bytes", 64, (Int64(64),)),
    Fault("outside_its_array", "out_of_bounds", "an index outside its array"),
    Fault("past_dynamic_shared", "out_of_bounds", "past the end of dynamic shared memory", shared_bytes=252),
    Fault("misaligned_pack", "misaligned", "moves 16 bytes", 64),
    Fault("cp_async_misaligned", "misaligned", "multiples of 16", 512),
    # shared memory nothing wrote
    Fault("unwritten_static", "unwritten", "which nothing wrote"),
    Fault("unwritten_dynamic", "unwritten", "which nothing wrote", shared_bytes=256),
    Fault("from_the_block_before", "unwritten", "which nothing wrote", blocks=4),
    # asynchronous copies
    Fault("cp_async_no_wait", "in_flight", "no wait", 256),
    Fault("cp_async_no_commit", "in_flight", "no wait", 256),
    Fault("cp_async_one_group_short", "in_flight", "no wait", 256),
    Fault("cp_async_no_barrier", "race", "no barrier between", 256),
    Fault("cp_async_too_early", "race", "no barrier between", 256),
    # what the language leaves undefined, and what a launch may not do
    Fault("writes_its_input", "read_only", "argument 1, which is const", 64),
    Fault("index_overflow", "overflow", "product", extra=(2**30,), integers=True),
    Fault("divides_by_zero", "overflow", "division", extra=(0,), integers=True),
    Fault("shifts_too_far", "overflow", "shift", extra=(32,), integers=True),
    Fault("uses_too_much_stack", "stack", "bytes of stack", extra=(7,), integers=True),
)


def launch(engine: Any, fault: Fault) -> None:
    output = torch.zeros(256, dtype=torch.int32 if fault.integers else torch.float32)
    inputs = [torch.ones(fault.floats)] if fault.floats else []
    module = engine.load(SOURCE, {})
    module.launch(fault.kernel, (fault.blocks,), (64,), [output, *inputs, *fault.extra], fault.shared_bytes)


@pytest.mark.parametrize("order", ["forward", "reverse", "random"])
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.kernel)
def test_fault_is_reported_in_every_order(host_engine, fault, order):
    engine = type(host_engine)(order=order)
    with pytest.raises(RuntimeError, match=fault.kind) as caught:
        launch(engine, fault)
    assert vars(caught.value)["kind"] == fault.kind
    assert fault.says in str(caught.value)


def test_every_planted_fault_is_listed():
    kernels = re.findall(r'^extern "C" __global__ void (\w+)', SOURCE.read_text(), re.MULTILINE)
    assert sorted(kernels) == sorted(fault.kernel for fault in FAULTS)


def test_message_names_kernel_block_thread_and_source_line(host_engine):
    with pytest.raises(RuntimeError) as caught:
        launch(host_engine, Fault("write_past_the_end", "", "", extra=(256,), blocks=1))
    line = 1 + next(i for i, text in enumerate(SOURCE.read_text().splitlines()) if "256 - 63" in text)
    assert "write_past_the_end, block (0, 0, 0): thread" in str(caught.value)
    assert f"faults.cu:{line}" in str(caught.value)


def test_engine_works_on_after_a_fault(host_engine):
    y = torch.zeros(64)
    module = host_engine.load(SOURCE, {})
    for _ in range(2):
        with pytest.raises(RuntimeError):
            launch(host_engine, FAULTS[0])
        module.launch("past_dynamic_shared", (1,), (64,), [y], 256)
        assert torch.equal(y, torch.ones(64))
