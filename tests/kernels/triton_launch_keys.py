"""Prints, for every built-in configuration, under what Triton keeps its GEMMs: compiled ahead, and at a launch.

Run by test_triton_launch_keys.py in a process that does not interpret. Nothing is compiled: what Triton would compile
is asked for its key. The driver says it is a Hopper GPU's, and the tensors lie on the host.
"""

from __future__ import annotations

import json
from typing import Any

import torch
import triton.compiler
from triton.backends.compiler import GPUTarget
from triton.compiler import make_backend
from triton.runtime import driver

from mohge.dispatch import aot, make_plan, make_schedule, on_device
from mohge.kernels.triton import layer as module
from mohge.kernels.triton.config import compiled_ahead
from mohge.kernels.triton.implementation import IMPLEMENTATION
from mohge.kernels.triton.signatures import gemms
from mohge.reference import ExpertWeights, LayerSpec, Routing

SPEC = LayerSpec("small", 256, (32, 64), 2, 2, 2)
TARGET = GPUTarget("cuda", 90, 32)


class Hopper:
    """What Triton asks of a driver before it compiles."""

    def get_current_target(self) -> GPUTarget:
        return TARGET

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int | None = None) -> int:
        return 0

    def get_active_torch_device(self) -> torch.device:
        return torch.device("cpu")


class Warmed:
    """A kernel that is compiled where it would be launched."""

    def __init__(self, kernel: Any) -> None:
        self._kernel = kernel

    def __getitem__(self, grid: Any) -> Any:
        return lambda *arguments, **constants: self._kernel.warmup(*arguments, grid=grid, **constants)


asked: list[str] = []


def ask(source: Any, target: GPUTarget = TARGET, options: Any = None, **_: Any) -> None:
    """In the place of `triton.compile`."""
    parsed: Any = make_backend(target).parse_options(dict(options or {}, **source.parse_options()))
    asked.append(f"{source.hash()} {parsed.hash()}")


def keys(dtype: str, configuration: Any) -> tuple[list[str], list[str]]:
    """Of both GEMMs, ahead and at a launch."""
    asked.clear()
    fixed = configuration.for_layer(SPEC, dtype)
    for kernel in gemms(fixed, SPEC, dtype):
        aot.compile_ahead(kernel)
    ahead = list(asked)
    asked.clear()
    cpu, kind = torch.device("cpu"), getattr(torch, dtype)
    found = IMPLEMENTATION._choices(SPEC, dtype, "none", configuration)
    layer = module.TritonLayer.prepare(SPEC, ExpertWeights.random(SPEC), cpu, kind, found, "any")
    ids = torch.tensor([[0, 2], [1, 3], [2, 0]])
    plan = make_plan(on_device(Routing(ids.numpy(), torch.ones(3, 2).numpy()), cpu), SPEC)
    lists = []
    for tile in (fixed.fc1, fixed.fc2):
        columns = layer.columns[tile]
        lists.append(make_schedule(plan, tile.block_m, columns.blocks, layer.weights.order, columns.most, tile.band))
    work = module.Work(fixed, *lists)
    buffers = layer._buffers(plan, work)
    layer.gate_up(torch.ones(3, SPEC.hidden, dtype=kind), plan, work, buffers)
    layer.down(plan, work, buffers)
    return ahead, [asked[0], asked[-1]]  # between them what adds the splits of fc1, if there are any


def main() -> None:
    hopper: Any = Hopper()
    driver.set_active(hopper)
    triton.compile = triton.compiler.compile = ask
    for name in ("gate_up_kernel", "down_kernel", "activate_kernel"):
        setattr(module, name, Warmed(getattr(module, name)))
    found = {
        f"{dtype} {number}": keys(dtype, configuration)
        for dtype in ("bfloat16", "float32")
        for number, configuration in enumerate(compiled_ahead(dtype))
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
