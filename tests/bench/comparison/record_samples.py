"""Records the samples in data/: one implementation timed against itself, in several processes one after another.

    python tests/bench/comparison/record_samples.py tests/bench/comparison/data/a_against_a.json

Every process prepares `torch_loop` several times (each copy with weights of its own in memory, as two implementations
have them) and times the copies in interleaved rounds, as `mohge bench` does: "runs" with two other implementations
beside them, "long" without and with more rounds, so that the median is better known. data/held_out.json was recorded
later, on a machine with more to do, when the allowances of `mohge compare` stood.
"""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

COMMAND = "python tests/bench/comparison/record_samples.py tests/bench/comparison/data/"
# processes, rounds in each, copies of torch_loop, and what else is timed in the same rounds
SETS: dict[str, tuple[int, int, int, tuple[str, ...]]] = {
    "runs": (12, 160, 4, ("torch_grouped_mm", "padded_bmm")),
    "long": (6, 800, 3, ()),
}
SHAPE: dict[str, Any] = {
    "hidden": 128,
    "widths": (64, 96, 128, 160),
    "experts_per_group": 4,
    "top_k": 3,
    "top_groups": 2,
}
TOKENS = 96


def record_process(kind: str) -> dict[str, list[int]]:
    """Samples of one process in microseconds, by name."""
    import torch

    from mohge.bench.timing import CpuTimer, Samples, measure_interleaved
    from mohge.dispatch import make_plan, on_device
    from mohge.kernels import load
    from mohge.reference import ExpertWeights, LayerSpec, Router, route

    _, rounds, copies, others = SETS[kind]
    spec = LayerSpec("small", **SHAPE)
    x = torch.randn(TOKENS, spec.hidden)
    plan = make_plan(on_device(route(x, Router.random(spec), spec), "cpu"), spec)
    weights = ExpertWeights.random(spec)
    names = {f"torch_loop_{copy}": "torch_loop" for copy in range(copies)} | {name: name for name in others}
    layers = {key: load(name).prepare(spec, weights, "cpu", torch.float32) for key, name in names.items()}
    results = measure_interleaved(
        {key: (lambda layer=layer: layer(x, plan)) for key, layer in layers.items()},
        timer=CpuTimer(),
        cold=False,
        min_samples=rounds,
        max_samples=rounds,
        seconds=600.0,
    )
    samples = {key: result.samples_us for key, result in results.items() if isinstance(result, Samples)}
    return {key: [round(value) for value in values] for key, values in samples.items()}


def main(output: Path) -> None:
    """Record every run in a process of its own and write the file."""
    from mohge.bench.records import collect_environment

    environment = collect_environment()
    origin = {
        "command": COMMAND + output.name,
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": f"{environment.cpu['cores']} shared cores of {environment.cpu['model']}",
        "threads": environment.cpu["threads"],
        "torch": environment.libraries["torch"],
        "layer": {**SHAPE, "tokens": TOKENS, "dtype": "float32"},
        "unit": "us",
    }
    parts = [f'"origin": {json.dumps(origin)}']
    for kind, (processes, *_) in SETS.items():
        words = [sys.executable, __file__, "--process", kind]
        lines = [
            subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip() for _ in range(processes)
        ]
        parts.append(f'"{kind}": [\n' + ",\n".join(lines) + "\n]")
    output.write_text("{\n" + ",\n".join(parts) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1] == "--process":
        print(json.dumps(record_process(sys.argv[2]), separators=(",", ":")))
    else:
        main(Path(sys.argv[1]))
