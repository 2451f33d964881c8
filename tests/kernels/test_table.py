"""The table of implementations: complete, literal, lazy, and helpful about names."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from mohge.kernels import IMPLEMENTATIONS, load
from mohge.kernels.table import Entry
from mohge.reference import ExpertWeights, LayerSpec

NAMES = ["triton", "cupy", "numba", "numba_mma", "padded_bmm", "torch_loop", "torch_grouped_mm"]
SPEC = LayerSpec("small", 16, (8,), 2, 1, 1)


def test_the_promised_names() -> None:
    assert list(IMPLEMENTATIONS) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_entry_and_implementation_agree(name: str) -> None:
    implementation = load(name)
    entry = IMPLEMENTATIONS[name]
    assert implementation.name == entry.name == name
    assert entry.description == implementation.description
    assert implementation.description
    assert "\n" not in implementation.description
    cpu = torch.device("cpu")
    assert entry.supports(SPEC, torch.float32, cpu) == implementation.supports(SPEC, torch.float32, cpu)


@pytest.mark.parametrize("name", NAMES)
def test_an_impossible_dtype_has_a_reason_and_prepare_repeats_it(name: str) -> None:
    reason = IMPLEMENTATIONS[name].supports(SPEC, torch.float64, torch.device("cpu"))
    assert reason
    assert "\n" not in reason
    with pytest.raises(ValueError, match="float64"):
        IMPLEMENTATIONS[name].prepare(SPEC, ExpertWeights.random(SPEC), "cpu", torch.float64)


@pytest.mark.parametrize(
    ("name", "hint"),
    [("tritn", "did you mean 'triton'"), ("torch_lop", "'torch_loop'"), ("zzz", "Known: triton, cupy")],
)
def test_an_unknown_name_suggests_the_nearest(name: str, hint: str) -> None:
    with pytest.raises(ValueError, match=hint):
        load(name)


def test_a_missing_library_is_a_reason_not_a_crash() -> None:
    entry = Entry("absent", ".no_such_module")
    reason = entry.supports(SPEC, torch.float32, torch.device("cpu"))
    assert reason is not None
    assert reason.startswith("absent: cannot be imported: ")
    with pytest.raises(ValueError, match="absent: cannot be imported"):
        entry.prepare(SPEC, None, "cpu", torch.float32)  # type: ignore[arg-type]


def test_importing_the_table_imports_no_implementation() -> None:
    code = (
        "import sys, mohge.kernels as k; list(k.IMPLEMENTATIONS); "
        "print([m for m in sys.modules if m.split('.')[0] in ('torch', 'triton', 'cupy', 'numba')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
