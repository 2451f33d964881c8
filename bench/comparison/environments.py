"""What differs between the machines and sources of runs: what forbids a comparison, and what a reader must know."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..records import Run, Samples
from .matching import ways

_GPU_REFUSED = ("name",)
_GPU_WARNED = ("uuid", "driver", "cuda", "sms", "memory_bytes")
_CPU = ("model", "cores", "threads")
_SUSPECT_SHARE = 0.1


def refusals(runs: Sequence[Run]) -> list[str]:
    """Why these runs cannot be compared: different devices. Empty when they can."""
    found = []
    first = runs[0].environment
    for other in (run.environment for run in runs[1:]):
        if first.gpu is None and other.gpu is None:
            found += _differing("CPU", first.cpu, other.cpu, _CPU)
        elif first.gpu is None or other.gpu is None:
            names = [gpu.get("name", "unknown") if gpu else "none" for gpu in (first.gpu, other.gpu)]
            found.append(f"GPU: {names[0]} in one, {names[1]} in the other")
        else:
            found += _differing("GPU", first.gpu, other.gpu, _GPU_REFUSED)
    return list(dict.fromkeys(found))


def timer_refusal(name: str, a: Samples, b: Samples) -> str:
    """Why two series cannot be compared: they were timed in different ways. Empty when they can."""
    one, other = ways(a, b)
    return f"timer of {name}: {one} in one, {other} in the other" if one != other else ""


def warnings(labels: Sequence[str], runs: Sequence[Run]) -> list[str]:
    """What differs without forbidding a comparison (usually it is what is compared), and runs that were disturbed."""
    found = []
    first = runs[0]
    for run in runs[1:]:
        here, there = first.environment, run.environment
        if here.gpu and there.gpu:
            found += _differing("GPU", here.gpu, there.gpu, _GPU_WARNED)
            found += _differing("CPU", here.cpu, there.cpu, _CPU)
        names = sorted({*here.libraries, *there.libraries})
        found += _differing("version of", here.libraries, there.libraries, names)
        for what, mine, theirs in (
            ("Python", here.python, there.python),
            ("platform", here.platform, there.platform),
            ("git revision", _revision(first), _revision(run)),
            ("kernel sources", first.source_hash[:12], run.source_hash[:12]),
        ):
            if mine != theirs:
                found.append(f"{what}: {mine or 'unknown'} in one, {theirs or 'unknown'} in the other")
    found = list(dict.fromkeys(found))
    for label, run in zip(labels, runs, strict=True):
        found += disturbances(label, run)
    return found


def differences(runs: Sequence[Run]) -> dict[str, list[str]]:
    """What is not the same in all runs: each fact with its text in each run, of those the other functions look at."""
    facts = [_facts(run) for run in runs]
    names = dict.fromkeys(name for known in facts for name in known)
    found = {name: [known.get(name, "unknown") for known in facts] for name in names}
    return {name: texts for name, texts in found.items() if len(set(texts)) > 1}


def _facts(run: Run) -> dict[str, str]:
    here = run.environment
    gpu = here.gpu or dict.fromkeys((*_GPU_REFUSED, *_GPU_WARNED), "no GPU")
    facts = {"GPU" if name == "name" else f"GPU {name}": gpu.get(name) for name in (*_GPU_REFUSED, *_GPU_WARNED)}
    facts |= {"CPU" if name == "model" else f"CPU {name}": here.cpu.get(name) for name in _CPU}
    facts |= here.libraries
    facts |= {"Python": here.python, "platform": here.platform}
    facts |= {"git revision": _revision(run), "kernel sources": run.source_hash[:12]}
    return {name.replace("_", " "): _text(None if value == "" else value) for name, value in facts.items()}


def disturbances(label: str, run: Run) -> list[str]:
    """An interrupted run, and one with many samples under a throttle reason."""
    found = [f"{label} was interrupted: only what it had finished is compared"] if run.finished is None else []
    series = [samples for record in run.records for samples in (record.hot, record.cold) if samples is not None]
    taken = sum(len(samples.samples_us) for samples in series)
    suspect = sum(len(samples.suspects) for samples in series)
    if taken and suspect > _SUSPECT_SHARE * taken:
        found.append(f"{label}: {suspect} of {taken} samples are suspect (throttled or far below the run's own clock)")
    return found


def _differing(what: str, here: dict[str, Any], there: dict[str, Any], names: Sequence[str]) -> list[str]:
    return [
        f"{what} {name}: {_text(here.get(name))} in one, {_text(there.get(name))} in the other"
        for name in names
        if here.get(name) != there.get(name)
    ]


def _text(value: Any) -> str:
    return "unknown" if value is None else str(value)


def _revision(run: Run) -> str:
    if run.git is None:
        return ""
    return run.git.revision[:12] + (" with changes" if run.git.dirty else "")
