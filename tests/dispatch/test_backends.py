"""The table of backends: names, lazy imports, reasons."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from mohge.dispatch import BACKENDS, backends, load_backend, make_plan, unavailable
from mohge.reference import LayerSpec, Routing


@pytest.mark.parametrize("name", BACKENDS)
def test_a_backend_knows_its_name_and_whether_it_works_here(name):
    reason = unavailable(name, "cpu")
    assert reason is None or (reason and "\n" not in reason)
    assert load_backend(name).name == name


def test_unknown_names_are_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"unknown dispatch backend 'tritn'; did you mean 'triton'\? Known: torch, "):
        load_backend("tritn")
    with pytest.raises(ValueError, match="unknown dispatch backend 'metal'"):
        unavailable("metal", "cpu")


def test_a_library_that_is_missing_is_a_reason(monkeypatch):
    monkeypatch.setitem(backends.BACKENDS, "cupy", "mohge.dispatch.no_such_module")
    assert "'cupy' cannot be imported: No module named 'mohge.dispatch.no_such_module'" in str(
        unavailable("cupy", "cpu")
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_a_reason():
    assert unavailable("torch", "cuda") == "torch sees no CUDA GPU in this process"
    assert unavailable("triton", "cuda") is not None


def test_a_backend_that_cannot_work_here_says_why(monkeypatch):
    monkeypatch.setattr(type(load_backend("torch")), "unavailable", lambda *_: "it is Sunday")
    spec = LayerSpec("one", 4, (8,), 1, 1, 1)
    with pytest.raises(ValueError, match="dispatch backend 'torch' cannot work on cpu: it is Sunday"):
        make_plan(Routing(torch.zeros(1, 1, dtype=torch.int64), torch.ones(1, 1)), spec)


def test_importing_dispatch_imports_no_gpu_library():
    code = "import sys, mohge.dispatch; print([m for m in ('triton', 'cupy', 'numba') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
