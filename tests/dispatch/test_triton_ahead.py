"""The Triton dispatch kernels compiled for Hopper without one, in a process that does not interpret."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import triton

from mohge.dispatch import aot
from mohge.dispatch.aot import AotKernel, compile_ahead

CODE = """
import json
from mohge.dispatch.aot import compile_ahead
from mohge.dispatch.triton_backend import aot_kernels

for kernel in aot_kernels():
    compiled = compile_ahead(kernel, 90)
    ptx = compiled.asm["ptx"]
    wide = sum(line.count(".v4.b32") for line in ptx.splitlines() if "ld.global" in line or "st.global" in line)
    print(json.dumps([kernel.name, ".target sm_90" in ptx, ptx.count(".local"), wide, len(compiled.asm["cubin"])]))
"""


@pytest.fixture(scope="module")
def compiled() -> dict[str, list]:
    kept = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, env=kept, check=False)
    assert done.returncode == 0, done.stderr
    return {name: rest for name, *rest in map(json.loads, done.stdout.splitlines())}


def test_every_kernel_compiles_for_hopper_without_local_memory(compiled):
    assert len(compiled) >= 14
    for name, (hopper, local, _, size) in compiled.items():
        assert hopper, name
        assert local == 0, f"{name}: spills or arrays in local memory"
        assert size > 1000, name


@pytest.mark.parametrize("dtype", ["bf16", "fp16", "fp32", "bf16/1032"])
@pytest.mark.parametrize("name", ["permute_rows", "combine_rows"])
def test_rows_move_sixteen_bytes_at_a_time(compiled, name, dtype):
    _, _, wide, _ = compiled[f"{name}/{dtype}"]
    assert wide >= 2 * 7  # two tiles of a thread: one load and six stores, or six loads and one store


def test_a_wrong_signature_is_refused():
    wrong = AotKernel("wrong", triton.JITFunction(_nothing), {"count": "i32", "extra": "i32"}, {})
    with pytest.raises(ValueError, match=r"wrong: missing arguments \['size'\], unknown arguments \['extra'\]"):
        compile_ahead(wrong)


def test_an_interpreted_kernel_is_refused():
    with pytest.raises(ValueError, match="wrong: expected a compiled Triton function; unset TRITON_INTERPRET"):
        compile_ahead(AotKernel("wrong", _nothing, {}, {}))


@pytest.mark.parametrize(
    ("version", "asked"), [((3, 6), ["MODE"]), ((3, 7), ["SIZE", "MODE"]), ((3, 9), ["SIZE", "MODE"])]
)
def test_constants_are_asked_for_as_a_launch_of_each_version_does(monkeypatch, version, asked):
    """Seen in what launches of 3.6, 3.7, 3.8 and 3.9 look for (tests/bench/runner/compiled_launches.py under each)."""
    monkeypatch.setattr(aot, "_triton_version", lambda: version)
    kernel = AotKernel("constants", _nothing, {}, {"SIZE": 16, "MODE": "ieee"})
    assert [name for name in kernel.constexprs if aot._asked(kernel, name)] == asked


def _nothing(count, size):
    """Never compiled."""
