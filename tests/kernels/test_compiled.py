"""Compiled once, kept on disk: what is kept, what is not, and what one configuration's kernels say of themselves."""

from __future__ import annotations

import importlib
import json
import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from mohge.kernels import compiled, load
from mohge.kernels.compiled import CompiledRecord, compile_apart, recall, remembered, sources_of
from mohge.kernels.values import Value
from mohge.reference import LayerSpec

SPEC = LayerSpec("odd", 40, (8, 24, 17), 2, 2, 3)
RECORD = CompiledRecord("kernel", "small", "float16", "sm_90", 64, 0, 1024, 8, 0)
BROKEN = replace(RECORD, registers=None, error="no compiler")
VALUES: dict[str, dict[str, Value]] = {
    "triton": {
        "fc1_block_m": 16, "fc1_block_n": 32, "fc1_block_k": 32, "fc1_num_warps": 4, "fc1_num_stages": 2,
        "fc1_band": 8, "fc1_blocks_per_sm": 1, "fc1_descriptors": 0, "fc1_swap": 0, "fc1_split_k": 1,
        "fc1_loop": 0, "fc1_epilogue": 1,
        "fc2_block_m": 32, "fc2_block_n": 64, "fc2_block_k": 32, "fc2_num_warps": 4, "fc2_num_stages": 3,
        "fc2_band": 8, "fc2_blocks_per_sm": 1, "fc2_descriptors": 0, "fc2_swap": 0, "fc2_split_k": 1,
        "fc2_loop": 0, "fc2_epilogue": 1,
    },
    "cupy": {
        "version": "mma",
        "fc1_block_m": 16, "fc1_block_n": 64, "fc1_block_k": 32, "fc1_blocks_per_sm": 1, "fc1_band": 8,
        "fc1_stages": 2, "fc1_warps_m": 1, "fc1_warps_n": 2,
        "fc2_block_m": 32, "fc2_block_n": 64, "fc2_block_k": 64, "fc2_blocks_per_sm": 1, "fc2_band": 8,
        "fc2_stages": 3, "fc2_warps_m": 2, "fc2_warps_n": 1,
    },
    "numba": {
        "fc1_block_m": 16, "fc1_block_n": 16, "fc1_block_k": 8, "fc1_thread_m": 2, "fc1_thread_n": 2,
        "fc1_band": 8, "fc1_blocks_per_sm": 1,
        "fc2_block_m": 16, "fc2_block_n": 32, "fc2_block_k": 8, "fc2_thread_m": 2, "fc2_thread_n": 4,
        "fc2_band": 8, "fc2_blocks_per_sm": 1,
    },
}  # fmt: skip


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MOHGE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


class Compiler:
    """Gives `records` and counts how often it was asked."""

    def __init__(self, *records: CompiledRecord) -> None:
        self.records, self.asked = list(records), 0

    def __call__(self) -> list[CompiledRecord]:
        self.asked += 1
        return self.records


def test_the_same_parts_are_compiled_once_and_others_again() -> None:
    compiler = Compiler(RECORD, replace(RECORD, name="other"))
    for _ in range(2):
        assert remembered(["source", b"values"], compiler) == compiler.records
    assert compiler.asked == 1
    assert recall(["sourcevalues"]) is None
    remembered(["source", b"other values"], compiler)
    assert compiler.asked == 2


def test_an_error_is_not_kept() -> None:
    assert remembered(["parts"], Compiler(RECORD, BROKEN))[1].error == "no compiler"
    assert remembered(["parts"], Compiler(RECORD, RECORD)) == [RECORD, RECORD]


@pytest.mark.parametrize("content", ["", "{", "[1]", '[{"name": "kernel"}]', '[{"speed": 3}]', "3"])
def test_a_file_that_holds_no_records_is_replaced(content: str, own_cache: Path) -> None:
    remembered(["parts"], Compiler(RECORD))
    (file,) = own_cache.iterdir()
    file.write_text(content)
    compiler = Compiler(RECORD)
    assert remembered(["parts"], compiler) == [RECORD]
    assert compiler.asked == 1
    assert json.loads(file.read_text()) == [asdict(RECORD)]


def test_a_cache_that_cannot_be_written_costs_time_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MOHGE_CACHE", str(tmp_path / "file" / "inside"))
    compiler = Compiler(RECORD)
    for _ in range(2):
        assert remembered(["parts"], compiler) == [RECORD]
    assert compiler.asked == 2


def test_any_change_of_a_source_changes_the_key(tmp_path: Path) -> None:
    (tmp_path / "kernel.cu").write_text("one")
    (tmp_path / "notes.txt").write_text("not compiled")
    first = sources_of(tmp_path)
    assert first == ["kernel.cu", b"one"]
    (tmp_path / "kernel.cu").write_text("two")
    assert sources_of(tmp_path) != first


def test_a_process_that_brings_nothing_is_a_record_with_its_error_for_each_kernel() -> None:
    failed = [replace(RECORD, registers=None), replace(RECORD, name="other", registers=None)]
    records = compile_apart("mohge.no_such_module", failed, VALUES["triton"], SPEC)
    assert [record.name for record in records] == ["kernel", "other"]
    for record in records:
        assert record.error is not None
        assert record.error.startswith("the compiling process ended with 1: ")
        assert "no_such_module" in record.error
    late = compile_apart("mohge.kernels.triton.aot", failed, VALUES["triton"], SPEC, timeout=0.01)
    assert [record.error for record in late] == ["not compiled within 0.01 s"] * 2


@pytest.mark.parametrize("name", VALUES)
def test_one_configuration_compiles_here_and_is_kept(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process Triton may interpret and Numba simulate: another one compiles then."""
    implementation: Any = load(name)
    records = implementation.compile_values(VALUES[name], SPEC, "bfloat16")
    counts = [0, 0, 3, 0, 0, 0]
    works = implementation.gemm_work(VALUES[name], counts, SPEC, "bfloat16")
    assert [record["name"] for record in records] == [work.kernel for work in works]
    for record in records:
        assert record["error"] is None
        assert record["dtype"] == "bfloat16"
        assert 16 < record["registers"] <= 255
        assert record["shared_bytes"] > 0
        assert (record["tensor_instructions"] > 0) == (name != "numba")

    def refuse(*arguments: Any, **options: Any) -> Any:
        raise AssertionError(f"nothing may be started here, but {arguments} was")

    monkeypatch.setattr(compiled.subprocess, "run", refuse)
    assert implementation.compile_values(VALUES[name], SPEC, "bfloat16") == records
    moved = {**VALUES[name], "fc1_band": 1}  # decides the order of tiles only, which no binary knows
    assert implementation.compile_values(moved, SPEC, "bfloat16") == records


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--values", "{"], "--values: expected a JSON table"),
        (["--values", "[1]"], "expected JSON tables"),
        (["--values", "{}"], "(fc1_block_m: expected a value, got none|version: expected one of)"),
        (["--values", "{}", "--spec", "3"], "expected JSON tables"),
        (["--values", "{}", "--spec", '{"name": "x"}'], "hidden|LayerSpec|field"),
        (["--spec", "{}"], "--spec: expected --values beside it"),
    ],
    ids=str,
)
def test_command_says_in_one_line_what_is_wrong(
    name: str,
    arguments: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    command = importlib.import_module(f"mohge.kernels.{name}.aot").main
    try:
        code = command(arguments)
    except SystemExit as ended:  # argparse's way
        code = ended.code
    assert code == 2
    *_, last = capsys.readouterr().err.splitlines()
    assert re.search(message, last)
