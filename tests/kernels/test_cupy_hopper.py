"""The Hopper kernels (wgmma, persistent, swapped) executed on the host, right and with planted faults."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from mohge.kernels.cupy import launch
from mohge.kernels.cupy.config import Config, Configuration, PersistentConfig, SwappedConfig, WgmmaConfig
from mohge.kernels.cupy.implementation import CupyImplementation
from mohge.kernels.cupy.shipped import PERSISTENT, SWAPPED_CONFIGS, WGMMA_CONFIGS
from mohge.reference import LayerSpec
from tests.kernels.planted import Fault, PatchedEngine

LIMIT = {torch.float16: 1e-3, torch.bfloat16: 8e-3}  # relative Frobenius error
WGMMA = WgmmaConfig(block_m=128, block_n=128, stages=3)
# Two widths of the cases take turns, others share tiles; in both GEMMs.
PERSIST = PersistentConfig(block_m=128, block_n=128, stages=3, pingpong_below=100)
SWAPPED = SwappedConfig(block_m=16, block_n=128, stages=3)
CONFIGS: dict[str, Config] = {"wgmma": WGMMA, "persistent": PERSIST, "swapped": SWAPPED}


@dataclass(frozen=True)
class Case:
    """A layer of two experts a group, of which those below `used` get all rows."""

    name: str
    hidden: int
    widths: tuple[int, ...]
    top_k: int
    tokens: int
    used: int | None = None

    @property
    def spec(self) -> LayerSpec:
        return LayerSpec(self.name, self.hidden, self.widths, 2, self.top_k, len(self.widths))

    def __str__(self) -> str:
        return self.name.replace(" ", "-")


UNEVEN = Case("uneven counts and widths", 24, (8, 40, 17), 2, 23)
CASES = [
    UNEVEN,
    Case("zero tokens", 24, (8, 16), 2, 0),
    Case("one token", 24, (8, 16), 3, 1),
    Case("smallest layer", 8, (1, 2), 2, 11),
    Case("all tokens on one expert and full tiles", 16, (16, 24), 1, 128, 1),
    Case("one row more than a tile", 16, (64, 24), 1, 129, 1),
    Case("one row more than a short tile", 16, (64, 24), 1, 17, 1),
    Case("several column blocks and a long inner dimension", 264, (72, 200), 2, 19),
    Case("more tiles than blocks of both modes", 72, (130, 40), 2, 150),
]


@pytest.fixture(autouse=True)
def poisoned_memory() -> Iterator[None]:
    """torch.empty holds NaN, so that an element nobody wrote shows."""
    torch.use_deterministic_algorithms(True)
    assert torch.empty(1).isnan().all()
    yield
    torch.use_deterministic_algorithms(False)


def error(case: Case, version: str, config: Any, engine: Any, make_problem: Callable[..., Any], dtype: Any) -> float:
    problem = make_problem(case.spec, case.tokens, dtype, case.used)
    layer = CupyImplementation(version, engine, config).prepare(case.spec, problem.weights, "cpu", dtype)
    y = layer(problem.x, problem.plan)
    assert y.dtype == dtype
    assert tuple(y.shape) == problem.expected.shape
    return problem.error(layer) if case.tokens else 0.0


@pytest.mark.parametrize("version", CONFIGS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_matches_the_reference(case: Case, version: str, host_engine: Any, make_problem: Any) -> None:
    assert error(case, version, CONFIGS[version], host_engine, make_problem, torch.float16) < LIMIT[torch.float16]


@pytest.mark.parametrize(
    ("version", "config"),
    [
        ("wgmma", Configuration.both(WGMMA_CONFIGS["many rows"])),
        ("wgmma", Configuration.both(WgmmaConfig(block_m=256, block_n=128, stages=2))),
        ("persistent", PERSISTENT),
        *(("swapped", Configuration.both(config)) for config in SWAPPED_CONFIGS.values()),
        ("swapped", Configuration.both(SwappedConfig(block_m=32, block_n=64, stages=2))),
        ("swapped", Configuration(SWAPPED_CONFIGS["few rows"], SWAPPED_CONFIGS["single rows"])),
    ],
    ids=["wgmma-shipped", "wgmma-tall-two-stages", "persistent-shipped",
         *(f"swapped-{name.replace(' ', '-')}" for name in SWAPPED_CONFIGS), "swapped-two-stages", "swapped-mixed"],
)  # fmt: skip
def test_every_configuration_computes_the_same(
    version: str, config: Configuration, host_engine: Any, make_problem: Any
) -> None:
    case = Case("wide", 72, (40, 1024), 2, 9)  # one width below the shipped 1024, where consumers take turns
    assert error(case, version, config, host_engine, make_problem, torch.bfloat16) < LIMIT[torch.bfloat16]


@pytest.mark.parametrize(("version", "order"), [("persistent", "forward"), ("persistent", "reverse"),
                                                ("swapped", "forward"), ("swapped", "reverse")])  # fmt: skip
def test_the_order_of_threads_changes_nothing(version: str, order: Any, host_engine: Any, make_problem: Any) -> None:
    results = []
    for engine in (host_engine, type(host_engine)(order=order)):
        problem = make_problem(UNEVEN.spec, UNEVEN.tokens, torch.float16)
        layer = CupyImplementation(version, engine, CONFIGS[version])
        layer = layer.prepare(UNEVEN.spec, problem.weights, "cpu", torch.float16)
        results.append(layer(problem.x, problem.plan))
    assert torch.equal(*results)


@pytest.mark.parametrize("tokens", [88, 90])
def test_auto_takes_the_persistent_kernels_for_many_rows_and_phases_repeat(
    tokens: int, host_engine: Any, make_problem: Any
) -> None:
    problem = make_problem(LayerSpec("many", 16, (24,), 2, 1, 1), tokens, torch.bfloat16)
    layer = CupyImplementation("auto", host_engine).prepare(problem.spec, problem.weights, "cpu", torch.bfloat16)
    assert isinstance(layer, launch.CupyLayer)
    assert [layer.choices.of(count, "any").version for count in (88, 90)] == ["swapped", "persistent"]
    assert problem.error(layer) < LIMIT[torch.bfloat16]
    expected = layer(problem.x, problem.plan)
    phases = layer.phases(problem.x, problem.plan)
    for _ in range(2):
        assert torch.equal([phase() for phase in phases.values()][-1], expected)


@pytest.mark.parametrize("settled", [range(1, 10), range(3, 10)], ids=["the-activation-too", "all-but-the-weights"])
def test_a_launcher_that_promises_wrongly_what_can_be_read_early_is_noticed(
    settled: range, host_engine: Any, make_problem: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "SETTLED", {"swapped_fc2": settled})
    with pytest.raises(RuntimeError) as caught:
        error(UNEVEN, "swapped", SWAPPED, host_engine, make_problem, torch.float16)
    assert vars(caught.value)["kind"] == "dependency"


# ---- faults: a line of the sources replaced by a wrong one must be noticed


WORK, RING, TILE = "work.cuh", "ring.cuh", "hopper_tile.cuh"
PERSISTENT_CU, SWAPPED_CU = "persistent.cu", "swapped.cu"
FULL_WAIT = "chip::barrier_wait(ring.full + place.stage, place.phase);"
EMPTY_WAIT = "chip::barrier_wait(ring.empty + place.stage, place.phase ^ 1);"
EXPECTED = "COLUMNS * LINE * 2);\n#pragma"
TWICE = {"error", "race", "out_of_bounds"}  # by two blocks, and others by none
WRONG_ROWS = {"race", "out_of_bounds", "error"}
UNSEEN = {"in_flight", "unwritten", "race"}
FAULTS = [
    # barriers
    Fault("does not wait for a full stage", RING, FULL_WAIT, "", UNSEEN),
    Fault("does not wait for an empty stage", RING, EMPTY_WAIT, "", {"in_flight", "race", "barrier"}),
    Fault("waits for the wrong phase", RING, "place.phase ^ 1", "place.phase", {"barrier"}),
    Fault("no block barrier after the first ones", RING, "    chip::block_barrier();\n", "", {"race", "unwritten"}),
    Fault("gives a stage back too early", RING, "chip::wgmma_wait<1>();", "", {"race", "in_flight"}),
    Fault("gathers too far ahead", TILE, "STAGES < 4 ? STAGES - 2 : 2", "STAGES - 1", {"compile"}),
    Fault("arrives before the copies", RING, "chip::cp_async_wait<LAG>();", "", {"in_flight"}),
    # what the async proxy sees
    Fault("barriers unknown to the copy engine", RING, "        chip::barrier_init_fence();\n", "", {"proxy"}),
    Fault("gathered rows unknown to wgmma", RING, "        chip::async_proxy_fence();\n", "", {"proxy"}),
    Fault("no fence before products", RING, "chip::wgmma_fence();", "", {"proxy"}),
    Fault("reads sums too early", RING, "    chip::wgmma_wait<0>();\n", "", {"error"}),
    # boxes, swizzles, strides
    Fault("box one line off", TILE, "full, k, first_line + line)", "full, k, first_line + line + 1)", {"error"}),
    Fault("box one column off", TILE, "first_column + block * LINE,", "first_column + block * LINE + 8,", {"error"}),
    Fault("expects too few bytes", TILE, EXPECTED, EXPECTED.replace(");", " - 128);"), {"barrier"}),
    Fault("wrong swizzle", RING, "(chunk ^ line % 8)", "chunk", {"error"}),
    Fault("wrong stride of column blocks", TILE, "LINE * LINE * 2)", "LINE * 16)", {"error"}),
    # tiles and rows
    Fault("stores rows of the next expert", TILE, "line < tile.rows, ", "true, ", WRONG_ROWS),
    Fault("transposes pairs wrongly", RING, "if (j & mask) continue;", "if (j & 1) continue;", WRONG_ROWS),
    Fault("starts before its inputs are there", PERSISTENT_CU, "    chip::previous_grid_wait();\n", "", {"dependency"}),
    Fault("skips tiles", PERSISTENT_CU, "entry_of(++round)", "entry_of(round += 2)", {"error"}),
    Fault("deals some tiles twice", WORK, "gridDim.x - 1 - blockIdx.x", "gridDim.x - blockIdx.x", TWICE),
    Fault("gives no turn", PERSISTENT_CU, "chip::named_barrier_arrive(consumer", "(void)(consumer", {"barrier"}),
    Fault("stays in its stages", PERSISTENT_CU, "if (consumer == 0) place.advance(steps);", "", {"barrier"}),
]  # fmt: skip

# What the kernels with swapped operands do by themselves.
WAITS = "    chip::previous_grid_wait();\n    chip::next_grid_may_start();\n"
FC1_WAITS = "    chip::previous_grid_wait();   // the work list"
EARLY = "    chip::next_grid_may_start();\n" + FC1_WAITS
STREAM_WAIT = "        wait_until_empty(ring, place);\n        chip::Barrier"
UP_BOX, DOWN_BOX, ROW_BOX = "full, k, first_line)", "first_line + k)", "k, tile.first_row)"
INSIDE = "row < rows && column < columns)"
SWAPPED_FAULTS = [
    # waits
    Fault("fc2 does not wait for fc1", SWAPPED_CU, WAITS, "", {"dependency"}),
    Fault("fc1 starts before its inputs are there", SWAPPED_CU, FC1_WAITS, "    //", {"dependency"}),
    Fault("fc1 lets fc2 start too early", SWAPPED_CU, FC1_WAITS, EARLY, {"dependency"}),
    Fault("streams into stages in use", SWAPPED_CU, STREAM_WAIT, "chip::Barrier", {"in_flight", "race", "barrier"}),
    Fault("rows nobody waits for", SWAPPED_CU, "make_ring(1 + COPIERS)", "make_ring(1)", {"barrier", *UNSEEN}),
    # boxes and operands
    Fault("box of gate and up one line off", SWAPPED_CU, UP_BOX, UP_BOX[:-1] + " + 1)", {"error"}),
    Fault("box of down one line off", SWAPPED_CU, DOWN_BOX, DOWN_BOX[:-1] + " + 1)", {"error"}),
    Fault("box of rows one line off", SWAPPED_CU, ROW_BOX, ROW_BOX[:-1] + " + 1)", {"error"}),
    Fault("the same box for both consumers", SWAPPED_CU, "column + block * 64,", "column,", {"error"}),
    Fault("expects the bytes of rows only", SWAPPED_CU, "(full, WEIGHT_BYTES)", "(full, ROW_BYTES)", {"barrier"}),
    Fault("does not transpose down", SWAPPED_CU, "_COLUMNS = WEIGHTS_BY_COLUMNS", "_COLUMNS = false", {"error"}),
    Fault("takes the other consumer's lines", SWAPPED_CU, "consumer * 64 * LINE;", "(1 - consumer) * 64 * LINE;",
          {"error"}),
    # tiles, rows, columns
    Fault("skips a tile", SWAPPED_CU, "entry_of(++round)", "entry_of(round += 2)", {"error"}),
    Fault("swaps gate and up", SWAPPED_CU, "swiglu(gate[0], up[0])", "swiglu(up[0], gate[0])", {"error"}),
    Fault("stores rows of the next expert", SWAPPED_CU, INSIDE, "column < columns)", WRONG_ROWS),
    Fault("stores columns past the last", SWAPPED_CU, INSIDE, "row < rows)", WRONG_ROWS),
    Fault("does not transpose sums", SWAPPED_CU, "chip::transpose_8x8(pair(m + 1))", "pair(m + 1)", {"error"}),
]  # fmt: skip


def noticed(version: str, engine: Any, make_problem: Any) -> tuple[str, str]:
    """The kind of the fault that running a layer reports, "error" for wrong numbers, and its text."""
    case = Case("faulty", 264, (8, 200), 2, 45)
    try:
        found = error(case, version, CONFIGS[version], engine, make_problem, torch.float16)
    except RuntimeError as fault:
        return getattr(fault, "kind", "none"), str(fault)
    return ("error", str(found)) if found > LIMIT[torch.float16] else ("none", "nothing was noticed")


@pytest.mark.parametrize("fault", [*FAULTS, *SWAPPED_FAULTS], ids=str)
def test_planted_fault_is_noticed(fault: Fault, host_engine: Any, make_problem: Any, tmp_path: Path) -> None:
    fault.plant(tmp_path)
    version = {WORK: "persistent", PERSISTENT_CU: "persistent", SWAPPED_CU: "swapped"}.get(fault.file, "wgmma")
    kind, says = noticed(version, PatchedEngine(host_engine, tmp_path), make_problem)
    assert kind in fault.kinds, says


def test_a_box_one_line_short_is_noticed(host_engine: Any, make_problem: Any) -> None:
    kind, says = noticed("wgmma", PatchedEngine(host_engine, launch.FOLDER, short=1), make_problem)
    assert kind == "barrier", says
    assert re.search(r"\b128 bytes are missing", says)
