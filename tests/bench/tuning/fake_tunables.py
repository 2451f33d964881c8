"""Tunables of a plain torch layer whose configurations misbehave in every way, for studies that run on a CPU.

Named in tasks as "fake_tunables:FAULTY" and so on: workers import this file through PYTHONPATH.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mohge.kernels import Layer, load, tuned
from mohge.kernels.tunable import GemmWork, Value
from mohge.reference import LayerSpec

SPEC = LayerSpec("tiny", hidden=16, widths=(8, 16), experts_per_group=2, top_k=2, top_groups=2)
# Long beside everything else, so that a busy machine does not make the slower configuration the faster one.
DELAY_S = 0.005
# Every worker process adds a line for every configuration that it runs, so that tests can count.
LOG_VARIABLE = "FAKE_TUNABLES_LOG"
# And one to this file, with its number, for every one that it compiles.
COMPILERS_VARIABLE = "FAKE_TUNABLES_COMPILERS"
# The configuration of this delay does not come back.
PAUSE_VARIABLE = "FAKE_TUNABLES_PAUSE"


class FakeLayer:
    """torch_loop with a configuration: `delay` times DELAY_S of sleep, and a `fault`."""

    def __init__(self, inner: Layer, values: Mapping[str, Value]) -> None:
        import torch

        self._torch, self._inner, self._values = torch, inner, values

    def __call__(self, x: Any, plan: Any) -> Any:
        fault = self._values.get("fault", "none")
        if fault == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        if fault == "hang":
            time.sleep(600)
        if fault == "memory":
            raise self._torch.OutOfMemoryError("fake: tried to allocate 1 TiB")
        if fault == "raise":
            raise RuntimeError("fake: an illegal memory access was encountered")
        time.sleep(int(self._values["delay"]) * DELAY_S)
        y = self._inner(x, plan)
        return y * 1.5 if fault == "wrong" else y

    def phases(self, x: Any, plan: Any) -> Any:
        return self._inner.phases(x, plan)

    def executed_flops(self, counts: Any) -> int:
        return self._inner.executed_flops(counts)


class FakeTunable:
    """`space`: the choices;  `binaries`: by the value of "binary", what compiling says beside the usual."""

    def __init__(self, space: dict[str, tuple[Value, ...]], current: dict[str, Value], binaries: Any = None) -> None:
        self._space, self._current = space, current
        self._binaries: dict[Value, dict[str, Any]] = binaries or {}

    def space(self, spec: LayerSpec, dtype: str) -> dict[str, tuple[Value, ...]]:
        return self._space

    def check_values(self, values: Mapping[str, Value], spec: LayerSpec, dtype: str) -> str | None:
        for name in self._space:
            if name not in values and name != "idle":
                return f"{name}: expected a value, got none"
        return "delay: expected no 13" if values["delay"] == 13 else None

    def current_values(self, spec: LayerSpec, rows: int, dtype: str) -> dict[str, Value]:
        found = tuned.lookup("fake", "cpu", spec, rows // spec.top_k, "any", dtype)
        return dict(found or self._current)

    def compile_values(self, values: Mapping[str, Value], spec: LayerSpec, dtype: str) -> list[dict[str, Any]]:
        if COMPILERS_VARIABLE in os.environ:
            with Path(os.environ[COMPILERS_VARIABLE]).open("a", encoding="utf-8") as file:
                file.write(f"{os.getpid()}\n")
        if values.get("binary") == "dies":
            os.kill(os.getpid(), signal.SIGSEGV)
        usual = {"registers": 64, "spills": 0, "shared_bytes": 1024, "tensor_instructions": 8, "error": None}
        return [
            {"name": name, **usual, **self._binaries.get(values.get("binary", "good"), {})} for name in ("up", "down")
        ]

    def gemm_work(self, values: Mapping[str, Value], counts: Any, spec: LayerSpec, dtype: str) -> list[GemmWork]:
        tiles = np.full(300, 1e9 * (1 + float(values["delay"])))
        return [GemmWork(name, tiles, 10_000_000, 1_000_000, 128) for name in ("up", "down")]

    def prepare_values(
        self, values: Mapping[str, Value], spec: LayerSpec, weights: Any, device: Any, dtype: Any
    ) -> Any:
        if LOG_VARIABLE in os.environ:
            with Path(os.environ[LOG_VARIABLE]).open("a", encoding="utf-8") as file:
                file.write(f"{sorted(values.items())}\n")
            if str(values["delay"]) == os.environ.get(PAUSE_VARIABLE):
                time.sleep(600)
        return FakeLayer(load("torch_loop").prepare(spec, weights, device, dtype), values)


# Six configurations of rising cost; the current one is in the middle.
PLAIN = FakeTunable({"delay": (0, 1, 4, 8, 12, 13)}, {"delay": 8})
# Every fault once, beside a good configuration.
FAULTY = FakeTunable(
    {"delay": (0, 13), "fault": ("none", "memory", "raise", "wrong", "crash", "hang"), "idle": (0, 1)},
    {"delay": 0, "fault": "none"},
)
STATIC = FakeTunable(
    {"delay": (0, 10), "binary": ("good", "spills", "shared", "scalar", "broken")},
    {"delay": 10, "binary": "good"},
    {
        "spills": {"spills": 96},
        "shared": {"shared_bytes": 300_000},
        "scalar": {"tensor_instructions": 0},
        "broken": {"error": "ptxas died\nwith much to say"},
    },
)
# A compiler that crashes on one configuration.
CRASHING = FakeTunable({"delay": (0, 4, 8), "binary": ("good", "dies")}, {"delay": 8, "binary": "good"})
BROKEN = FakeTunable({"delay": (0, 1), "fault": ("wrong",)}, {"delay": 0, "fault": "wrong"})
