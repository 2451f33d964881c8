"""What the binaries of the Triton GEMMs say, compiled for sm_90 with no GPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mohge.kernels.compiled import STAND_INS, CompiledRecord, remembered
from mohge.kernels.triton.aot import (
    AotKernel,
    Job,
    Selection,
    compile_all,
    compile_job,
    inspect_binary,
    jobs,
    key,
    main,
    recalled,
)
from mohge.kernels.triton.config import Configuration, compiled_ahead
from mohge.kernels.triton.tile import MOST_SHARED_BYTES, SPECIALISED, Tile

GEMMS = Selection(dtypes=("bfloat16", "float32"), kernels=("gate_up", "down", "activate"))
TILES = [(dtype, tiles) for dtype in GEMMS.dtypes for tiles in compiled_ahead(dtype)]
# Hopper, per SM: shared memory in bytes, of which the driver keeps some for each block; registers, given out by eights.
SHARED_PER_SM, SHARED_RESERVED, REGISTERS_PER_SM = 228 * 1024, 1024, 65536


@pytest.fixture(scope="session")
def compiled() -> dict[tuple[str, str, str], CompiledRecord]:
    """Every configuration of both GEMMs; float16 differs from bfloat16 in the type of its instructions only."""
    return {(record.name, record.configuration, record.dtype): record for record in compile_all(GEMMS)}


def both(tiles: Configuration) -> tuple[tuple[str, Tile], tuple[str, Tile]]:
    return ("gate_up", tiles.fc1), ("down", tiles.fc2)


@pytest.mark.parametrize(("dtype", "tiles"), TILES, ids=lambda value: getattr(value, "name", value))
def test_binary_fits_the_processor(compiled: dict, dtype: str, tiles: Configuration) -> None:
    for name, tile in both(tiles):
        record = compiled[name, tiles.name, dtype]
        assert record.error is None
        assert record.architecture == "sm_90"
        assert record.spills == 0
        expected = tile.shared_bytes(dtype)
        assert record.shared_bytes <= expected if tile.loop == SPECIALISED else record.shared_bytes == expected
        assert 0 < record.shared_bytes <= MOST_SHARED_BYTES
        registers = -(-record.registers // 8) * 8 * tile.threads
        assert tile.blocks_per_sm * registers <= REGISTERS_PER_SM
        assert tile.blocks_per_sm * (record.shared_bytes + SHARED_RESERVED) <= SHARED_PER_SM


@pytest.mark.parametrize(("dtype", "tiles"), TILES, ids=lambda value: getattr(value, "name", value))
def test_binary_uses_tensor_cores_in_half_precision_only(compiled: dict, dtype: str, tiles: Configuration) -> None:
    for name, tile in both(tiles):
        record = compiled[name, tiles.name, dtype]
        assert (record.tensor_instructions > 0) == (dtype != "float32")
        assert (record.warpgroup_instructions > 0) == tile.uses_warpgroups(dtype)


@pytest.mark.parametrize(("dtype", "tiles"), TILES, ids=lambda value: getattr(value, "name", value))
def test_binary_loads_through_descriptors_where_asked(compiled: dict, dtype: str, tiles: Configuration) -> None:
    """At least one load of each described operand stands in the main loop."""
    for name, tile in both(tiles):
        loads = compiled[name, tiles.name, dtype].descriptor_loads
        assert loads >= tile.descriptors
        assert (loads > 0) == (tile.descriptors > 0)


@pytest.mark.parametrize("dtype", GEMMS.dtypes)
def test_sums_of_splits_are_added_without_spilling(compiled: dict, dtype: str) -> None:
    record = compiled["activate", "dispatch", dtype]
    assert (record.error, record.spills, record.tensor_instructions) == (None, 0, 0)


SIXTEEN_BYTES = """
import json, re
from mohge.dispatch.aot import compile_ahead
from mohge.kernels.triton.config import LARGE, MEDIUM, SMALL
from mohge.kernels.triton.signatures import gemms
from mohge.reference import LayerSpec

spec = LayerSpec("odd widths, H a multiple of 8 only", 1032, (385, 7), 2, 1, 2)
for tiles in (SMALL, MEDIUM, LARGE):
    for kernel in gemms(tiles.for_layer(spec, "bfloat16"), spec, "bfloat16"):
        ptx = compile_ahead(kernel).asm["ptx"]
        copies = re.findall(r"cp\\.async\\.c[ag][^;]* (0x[0-9a-f]+), ", ptx)
        stores = re.findall(r"st\\.global([.\\w]*)", ptx)
        print(json.dumps([kernel.name, tiles.name, sorted(set(copies)), sorted(set(stores)), ptx.count(".local")]))
"""


def test_odd_widths_and_a_hidden_size_of_any_multiple_of_8_move_16_bytes_at_a_time() -> None:
    kept = {name: value for name, value in os.environ.items() if name not in STAND_INS}
    done = subprocess.run([sys.executable, "-c", SIXTEEN_BYTES], capture_output=True, text=True, env=kept, check=False)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(lines) == 6
    for name, tiles, copies, stores, local in lines:
        assert (copies, stores, local) == (["0x10"], [".v4.b32"], 0), (name, tiles)


def test_everything_is_listed_once_and_dispatch_is_there_too() -> None:
    records = [job.record for job in jobs()]
    assert len(set(records)) == len(records)
    assert {record.dtype for record in records} == {"bfloat16", "float16", "float32", "int32"}
    for dtype in ("bfloat16", "float16", "float32"):
        named = {record.configuration for record in records if record.name == "down" and record.dtype == dtype}
        assert named == {tiles.name for tiles in compiled_ahead(dtype)}
        assert any(record.configuration == "dispatch" and record.dtype == dtype for record in records)


def test_every_job_is_kept_under_a_key_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MOHGE_CACHE", str(tmp_path))
    everything = jobs()
    assert [recalled(job) for job in everything] == [None] * len(everything)
    for job in everything:
        remembered(key(job.kernel), lambda job=job: [job.record])
    assert [recalled(job) for job in everything] == [job.record for job in everything]
    # "tiny" and "small" differ in fc2 only: their fc1 is compiled once.
    assert len(list(tmp_path.iterdir())) == len(everything) - 2


def test_kernel_that_cannot_compile_is_a_record_with_its_error() -> None:
    record = CompiledRecord("broken", "none", "float32", "sm_90")
    failed = compile_job(Job(AotKernel("broken", None, {}, {}), record))
    assert failed.error is not None
    assert "broken" in failed.error
    assert failed.registers is None
    with pytest.raises(subprocess.CalledProcessError):
        inspect_binary(b"not a binary", record)


def test_process_that_ends_early_is_a_record_with_its_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MOHGE_CACHE", str(tmp_path))  # where nothing is kept
    selection = Selection(dtypes=("float32",), kernels=("down",))
    records = compile_all(selection, workers=2, timeout=0.01)
    assert [record.error for record in records] == ["not compiled within 0.01 s"] * 2


@pytest.mark.parametrize(
    ("selection", "workers", "message"),
    [
        (Selection(dtypes=("float64",)), 1, "dtype: expected one of bfloat16, float16, float32, got 'float64'"),
        (Selection(kernels=("up",)), 1, "kernel: expected one of .*gate_up.*, got 'up'"),
        (GEMMS, 0, "workers: expected at least 1, got 0"),
    ],
)
def test_bad_selection_is_refused(selection: Selection, workers: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        compile_all(selection, workers)


def test_command_refuses_to_compile_where_triton_interprets(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert main([]) == 2
    assert "TRITON_INTERPRET is set" in capsys.readouterr().err


def test_command_prints_one_line_for_an_unknown_kernel(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    assert main(["--kernel", "up"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("kernel: expected one of")
    assert len(error.splitlines()) == 1
