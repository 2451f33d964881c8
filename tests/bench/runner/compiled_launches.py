"""Prints what launches find in the caches after everything `needed` names was compiled, for a Hopper GPU that is not
there, and what became of compilers that fail.

Run by test_compiling.py in a process that does not interpret, with empty caches. The compilers are asked in earnest for
two kernels. For the rest only what takes their time is left out: they leave an empty binary under their own key.
"""

from __future__ import annotations

import json
import os
import runpy
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import triton
import triton.compiler
from triton import knobs
from triton.runtime import JITFunction, driver
from triton.runtime.cache import FileCacheManager

from mohge.bench.peers import PEERS, VERSIONS
from mohge.bench.peers.per_group import PerGroupLayer
from mohge.bench.runner.compiling import Compilers, needed
from mohge.bench.runner.jobs import Job, Source
from mohge.bench.runner.proof import PROOF_TOKENS
from mohge.dispatch import api, combine, make_plan, on_device, permute, triton_plan
from mohge.dispatch.aot import TritonCompilation
from mohge.dispatch.backends import load_backend
from mohge.dispatch.compilation import Compilation, Target
from mohge.dispatch.cuda import compiler
from mohge.kernels import load
from mohge.kernels.cupy.launch import FOLDER, defines
from mohge.kernels.cupy.shipped import TILE_CONFIGS
from mohge.kernels.triton.layer import TritonLayer
from mohge.kernels.tunable import for_routing
from mohge.kernels.tuned import ROUTING_CLASSES
from mohge.reference import ExpertWeights, LayerSpec, Routing

TARGET = Target("sm_90a", "cpu")
SPEC = LayerSpec("small", 256, (32, 64), 4, 2, 2)
TOKENS = (1, 16, 200, 2000)  # a quarter of a row an expert, to 500: every built-in configuration
NAMES = ("triton", "cupy", "torch_loop", *VERSIONS, "triton_per_group", "cupy_per_group")
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Failing:
    """A compilation that ends in its own way."""

    name: str
    make: Callable[[], None]
    key: str = ""

    def kept(self) -> bool:
        return False


def refuse() -> None:
    raise ValueError("refused")


def crash() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def in_earnest() -> dict[str, Any]:
    """Two kernels, which no layer here launches, compiled beside a compiler that refuses and one that crashes."""
    (kernel,) = (one for one in triton_plan.launched(4000, 2, 64) if one.name.startswith("plan_count"))
    good: list[Compilation] = [
        TritonCompilation(kernel, 90),
        compiler.CubinCompilation(FOLDER / "tile.cu", defines(TILE_CONFIGS["few rows"], torch.float16), "sm_90a"),
    ]
    before = [each.kept() for each in good]
    compilers = Compilers([Failing("refused", refuse), good[0], Failing("crashed", crash), good[1]], 2)
    compilers.wait()
    hits: list[bool] = []
    knobs.compilation.listener = lambda *, cache_hit, **_: hits.append(cache_hit)
    good[0].make()
    knobs.compilation.listener = None
    return {"what": compilers.what, "before": before, "after": [each.kept() for each in good], "hits": hits}


asked: dict[str, bool] = {}  # by Triton's key, or the cubin's file: whether it was there when it was looked for
real_compile = triton.compile


class StopError(Exception):
    """Triton has come to its cache."""


class Storing(FileCacheManager):
    """Keeps an empty binary for whatever is looked for."""

    def get_group(self, filename: str) -> Any:
        self.put_group(filename, {filename: self.put("{}", filename)})
        raise StopError


class Finding(FileCacheManager):
    """Notes whether what is looked for is there."""

    def get_group(self, filename: str) -> Any:
        asked[self.key] = bool(super().get_group(filename))
        raise StopError


def up_to_the_cache(manager: type[FileCacheManager]) -> Callable[..., None]:
    """In the place of `triton.compile`: the same up to where it looks into its cache, which is a `manager`."""

    def stopped(*arguments: Any, **options: Any) -> None:
        with knobs.cache.scope():
            knobs.cache.manager_class = manager if knobs.cache.manager_class is None else knobs.cache.manager_class
            try:
                real_compile(*arguments, **options)
            except StopError:
                return
        raise AssertionError("Triton did not look into its cache")

    return stopped


def launching() -> None:
    """A Hopper GPU whose kernels are looked for and not run, on tensors of the host."""
    hopper: Any = runpy.run_path(str(Path(__file__).parents[2] / "kernels" / "triton_launch_keys.py"))["Hopper"]()
    driver.set_active(hopper)
    triton.compile = triton.compiler.compile = up_to_the_cache(Finding)
    compiler._compile = lambda *_: sys.exit("compiled again")
    api.choose_backend = lambda name, _: load_backend(name or "triton")
    JITFunction.__getitem__ = lambda self, grid: lambda *words, **more: self.warmup(*words, grid=grid, **more)


class Engine:
    """Looks for cubins as the engine for GPUs does, and launches nothing."""

    def load(self, source_file: Path, constants: Any) -> Any:
        self.wanted = source_file, constants
        return self

    def launch(self, *_: Any, **__: Any) -> None:
        name = compiler.cubin_name(*self.wanted, TARGET.architecture)
        asked[name] = compiler.cache_folder().joinpath(name).exists()


def prepared(name: str, dtype: str) -> Any:
    """A layer as `prepare` makes it on a GPU."""
    kind = getattr(torch, dtype)
    if name.endswith("_per_group"):
        whole = prepared(name.removesuffix("_per_group"), dtype)
        return PerGroupLayer.split(whole, PEERS[name].load().launches, CPU, kind)  # pyright: ignore[reportAttributeAccessIssue]
    implementation: Any = VERSIONS[name].load() if name in VERSIONS else load(name)
    weights = ExpertWeights.random(SPEC)
    if name.startswith("cupy"):
        return replace(implementation, engine=Engine()).prepare(SPEC, weights, CPU, kind)
    found = implementation._choices(SPEC, dtype, TARGET.gpu)
    return TritonLayer.prepare(SPEC, weights, CPU, kind, found, "any")


def call(name: str, dtype: str) -> None:
    """Everything a worker does with an implementation on every number of tokens."""
    layer = None if name == "torch_loop" else prepared(name, dtype)
    for tokens in (*TOKENS, PROOF_TOKENS):
        routing = Routing(torch.zeros(tokens, 2, dtype=torch.int64), torch.ones(tokens, 2))
        plan = make_plan(on_device(routing, CPU), SPEC, validate=False)
        x = torch.ones(tokens, SPEC.hidden, dtype=getattr(torch, dtype))
        if layer is None:
            combine(permute(x, plan), plan)
        elif tokens in TOKENS:
            for routing_class in ROUTING_CLASSES:
                for_routing(layer, routing_class)(x, plan)


def job_of(dtype: str) -> Job:
    """A job of everything that can compute in a dtype."""
    only16 = [name for name in NAMES if name.startswith("cupy_") and name not in ("cupy_tile", "cupy_per_group")]
    names = [name for name in NAMES if dtype != "float32" or name not in only16]
    return Job(SPEC, "cuda", dtype, "measured", tuple((tokens, Source("uniform")) for tokens in TOKENS), tuple(names))


def main() -> None:
    found: dict[str, Any] = {"earnest": in_earnest(), "left": []}
    compiler._compile = lambda *_: b"cubin"
    triton.compile = up_to_the_cache(Storing)
    jobs = [job_of(dtype) for dtype in ("bfloat16", "float32")]
    compiled = 0
    for job in jobs:
        todo = needed(job, job.implementations, TARGET)
        Compilers(todo, 2).wait()
        compiled += len(todo)
        found["left"] += [one.name for one in needed(job, job.implementations, TARGET)]
    launching()
    for job in jobs:
        for name in job.implementations:
            call(name, job.dtype)
    print(json.dumps({**found, "compiled": compiled, "asked": len(asked), "kept": sum(asked.values())}))


if __name__ == "__main__":
    main()
