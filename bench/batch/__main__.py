"""`python -m mohge.bench.batch PART`: run one part, or say what it would do."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from pathlib import Path

from .parts import BUDGET_S, PARTS, Where
from .runner import Batch
from .step import Step, planned

FAILED = ("failed",)


def main(arguments: list[str] | None = None) -> int:
    """The exit code: 0, 1 when a step failed, 2 for bad input."""
    parser = argparse.ArgumentParser(prog="python -m mohge.bench.batch", description=__doc__)
    parser.add_argument("part", help=f"one of {', '.join(PARTS)}")
    parser.add_argument("--out", type=Path, default=Path("gpu-results"), help="folder of the results")
    parser.add_argument("--pack", type=Path, help="folder that gets PART.md and PART.tar.gz after every step")
    parser.add_argument("--budget", type=float, default=BUDGET_S, help="seconds for the whole part")
    parser.add_argument("--only", default="", help="steps, separated by commas")
    parser.add_argument("--device", default="cuda", help="cpu tries the commands where there is no GPU")
    parser.add_argument("--dry", action="store_true", help="print the steps with estimates, limits and commands")
    asked = parser.parse_args(arguments)
    if asked.part not in PARTS:
        parser.error(f"part: expected one of {', '.join(PARTS)}, got {asked.part!r}")
    traces = Path(os.environ.get("MOHGE_TRACES") or ("traces" if Path("traces").is_dir() else "../shared/data"))
    where = Where(asked.device, traces)
    steps = PARTS[asked.part](where)
    only = [name for name in asked.only.split(",") if name]
    unknown = sorted({*only} - {step.name for step in steps})
    if unknown:
        parser.error(f"--only: expected some of {', '.join(step.name for step in steps)}, got {', '.join(unknown)}")
    steps = [step for step in steps if not only or step.name in only]
    batch = Batch(asked.part, steps, asked.budget, asked.out / asked.part, asked.pack)
    _print_plan(batch)
    for pattern in ("olmoe*.counts.csv", "*.topk.npz"):
        if where.found(pattern) is None:
            print(f"no {pattern} in {traces}: what needs it is left out (MOHGE_TRACES names another folder)")
    if asked.dry:
        return 0
    results = batch.run(lambda text: print(text, flush=True))
    print((batch.folder / "summary.md").read_text(encoding="utf-8"), flush=True)
    return 1 if any(result.status in FAILED for result in results) else 0


def _print_plan(batch: Batch) -> None:
    """Every step with its estimate, the limit it gets if those before take theirs, and its command."""
    print(f"{batch.part}: {len(batch.steps)} steps, {batch.budget:.0f} s at most, estimates in seconds")
    for step, grant in zip(batch.steps, planned(batch.steps, batch.budget), strict=True):
        limit = f"{grant:4.0f}" if grant else "none"
        print(f"  {step.name:24} estimate {step.estimate:4.0f}  limit {limit}  {_command(batch, step, grant)}")
    sys.stdout.flush()


def _command(batch: Batch, step: Step, grant: float) -> str:
    return shlex.join(step.command(grant or step.estimate, str(batch.folder / step.name)))


if __name__ == "__main__":
    sys.exit(main())
