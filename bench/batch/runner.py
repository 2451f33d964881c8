"""Runs the steps of a part one after another, each under its limit, all of them within the part's budget."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import tarfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from .step import MODULE, Step
from .summary import Result, write_summary

# From the polite end of a step (it keeps what it has) to the other one, and to let go of the device.
GRACE_S = 10.0
LOOK_S = 0.1
# NVIDIA's compilers of numba-cuda and of nvcc are looked for here where the variable does not say.
CUDA_HOME = Path("/usr/local/cuda")


@dataclass(frozen=True)
class Batch:
    """A part to be run: its name, steps, seconds in all, and the folder that gets everything.

    pack: a second folder that gets the summary and one archive after every step; None: there is none
    """

    part: str
    steps: Sequence[Step]
    budget: float
    folder: Path
    pack: Path | None = None

    def run(self, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> list[Result]:
        """Do what the budget allows; the results so far are on disk after every step."""
        self.folder.mkdir(parents=True, exist_ok=True)
        results = [Result(step.name, "not begun", estimate=step.estimate) for step in self.steps]
        ends = clock() + self.budget
        self._keep(results)
        for number, step in enumerate(self.steps):
            left = ends - clock() - GRACE_S
            grant = step.granted(left, self.steps[number + 1 :])
            say(f"[{number + 1}/{len(self.steps)}] {step.name}: estimate {step.estimate:.0f} s, limit {grant:.0f} s")
            results[number] = self._done(step, grant, results[number])
            say(f"    {results[number].line()}")
            self._keep(results)
        return results

    def _done(self, step: Step, grant: float, result: Result) -> Result:
        if grant < step.least:
            return replace(result, status="no time", why=f"{grant:.0f} s left, needs {step.least:.0f}")
        if step.needs and not _installed(step.needs):
            return replace(result, status="not installed", why=step.needs)
        folder, log = self.folder / step.name, self.folder / f"{step.name}.log"
        folder.mkdir(exist_ok=True)
        command = step.command(grant, str(folder))
        result = replace(result, command=command, limit=grant)
        begin = time.monotonic()
        with log.open("w", encoding="utf-8") as output:
            try:
                code, late = run_limited(command, grant, output, {**_environment(), **step.environment})
            except OSError as error:
                return replace(result, status="failed", why=f"{command[0]}: {error.strerror}")
        return replace(result, seconds=time.monotonic() - begin).ended(step, code, late, log, folder)

    def _keep(self, results: Sequence[Result]) -> None:
        write_summary(self.part, self.budget, results, self.folder)
        if self.pack is not None:
            self.pack.mkdir(parents=True, exist_ok=True)
            shutil.copy(self.folder / "summary.md", self.pack / f"{self.part}.md")
            archive = self.pack / f"{self.part}.tar.gz"
            with tarfile.open(archive.with_suffix(".part"), "w:gz", compresslevel=3) as packed:
                packed.add(self.folder, arcname=self.part)
            archive.with_suffix(".part").replace(archive)


def _installed(name: str) -> bool:
    if name.startswith(MODULE):
        return importlib.util.find_spec(name.removeprefix(MODULE)) is not None
    return shutil.which(name) is not None


def run_limited(
    command: Sequence[str], seconds: float, output: object, environment: dict[str, str]
) -> tuple[int, bool]:
    """The exit code of a command, and whether its limit ended it: first asked to end, so that it keeps what it
    has, then killed with all of its process group. Raises OSError when it cannot be started.
    """
    process = subprocess.Popen(
        list(command),
        stdin=subprocess.DEVNULL,
        stdout=output,  # type: ignore[arg-type]
        stderr=subprocess.STDOUT,
        env=environment,
        start_new_session=True,
    )
    try:
        return process.wait(seconds), False
    except subprocess.TimeoutExpired:
        _signal(process, signal.SIGTERM)
        try:
            return process.wait(GRACE_S), True
        except subprocess.TimeoutExpired:
            return -signal.SIGKILL, True
    finally:
        _signal(process, signal.SIGKILL)
        process.wait()


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    # The group outlives its first process where that has left others behind.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def _environment() -> dict[str, str]:
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "COLUMNS": "160"}
    if CUDA_HOME.is_dir():
        environment.setdefault("CUDA_HOME", str(CUDA_HOME))
    return environment
