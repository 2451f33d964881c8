"""One small layer of each implementation, checked: quick enough to run under NVIDIA's checkers of memory and races."""

from __future__ import annotations

import argparse
import sys

from ...reference import ExpertWeights, LayerSpec
from ..runner.grids import check_implementations

# Widths and rows that no tile divides, an expert without rows, and two token counts in one process: a second, smaller
# call finds what the first left behind.
SPEC = {"name": "small", "hidden": 128, "widths": (32, 96, 160), "experts_per_group": 2, "top_k": 2, "top_groups": 2}
TOKENS = (37, 5)


def main(arguments: list[str] | None = None) -> int:
    """The exit code: 1 when an implementation that supports the layer fails it, or none does."""
    parser = argparse.ArgumentParser(prog="python -m mohge.bench.batch.small", description=__doc__)
    parser.add_argument("--implementations", required=True, help="separated by commas: names, all, peers, ladder")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--ahead", action="store_true", help="compile first what they launch, on all cores")
    asked = parser.parse_args(arguments)
    try:
        names = check_implementations(asked.implementations) or ()
    except ValueError as error:
        parser.error(str(error))
    if asked.ahead:
        _compile_ahead(names, asked.device, asked.dtype)
    outcomes = [_tried(name, asked.device, asked.dtype) for name in names]
    return 0 if all(found is not False for found in outcomes) and any(outcomes) else 1


def _compile_ahead(names: tuple[str, ...], device: str, dtype: str) -> None:
    from ..runner.compiling import begun
    from ..runner.jobs import Job, Source

    cases = tuple((tokens, Source("uniform")) for tokens in TOKENS)
    compilers = begun(Job(LayerSpec(**SPEC), device, dtype, "measured", cases, names))
    if compilers.what:
        print(compilers.what, flush=True)
    compilers.wait()


def _tried(name: str, device: str, dtype_name: str) -> bool | None:
    """Whether its output is right; None where it does not support this."""
    import torch

    from ..gate import answer, place, pose
    from ..peers import contestant
    from ..workloads import parse_routing

    spec, dtype = LayerSpec(**SPEC), getattr(torch, dtype_name)
    implementation = contestant(name)
    reason = implementation.supports(spec, dtype, torch.device(device))
    if reason is not None:
        print(f"{name}: not supported: {reason}", flush=True)
        return None
    weights = ExpertWeights.random(spec, 0)
    right = True
    try:
        layer = implementation.prepare(spec, weights, device, dtype)
        for tokens in TOKENS:
            question = pose(spec, weights, parse_routing("zipf:1.5").routing(spec, tokens), dtype)
            result = answer(layer, place(question, device))
            print(f"{name}, {tokens} tokens: {result.status} {result.reason}".rstrip(), flush=True)
            right &= result.passed
    except Exception as error:  # whatever it is, the others are tried too
        print(f"{name}: {type(error).__name__}: {error}", flush=True)
        return False
    return right


if __name__ == "__main__":
    sys.exit(main())
